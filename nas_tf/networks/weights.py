"""Puts the weights of one network into another with the same layers, to train it with another head, or to evaluate it.

Layers are known by their names: this project's builders name every layer. Files of Keras are read as the HDF5 that they
hold, without building a network.
"""

import io
import json
import os
import pathlib
import zipfile

from nas_tf.files import parse_json
from nas_tf.networks import _keras_file
from nas_tf.trial import UserError, first_line

# Settings that decide a layer's result and do not show in the shapes of its weights.
_SETTINGS = (
    "epsilon",
    "max_value",
    "negative_slope",
    "strides",
    "padding",
    "dilation_rate",
    "pool_size",
    "cropping",
    "scale",
    "offset",
    "activation",
)
_TRAINING_ONLY = ("Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "DropPath", "TrainingProgress")


def load(model, path, *, reader=None, head="any"):
    """Puts weights into a network.

    Layers that lead only to outputs after the first, such as an auxiliary head, keep their own weights. The head is the
    last layer with weights, if it is a Dense. If only its number of classes differs, it keeps its own weights too.

    Args:
        model: the `keras.Model`.
        path: the folder of a trained network, a `.keras` or `.weights.h5` file of Keras 3, or what `reader` reads.
        reader: `reader(model, path)` returns a dict from `model`'s layer names to lists of arrays, in the order of
            `get_weights()`.
        head: `"any"`, or `"same"`, for evaluation, which refuses a head of another number of classes.

    Returns:
        One line that says which weights: `path`, and whether the head kept its own.

    Raises:
        UserError: there are no such weights, they are damaged, or they are of another network.
    """
    path = os.fspath(path)
    if os.path.isdir(path) or path.endswith((".keras", ".weights.h5")):
        values = read(path)
        _check_settings(model, path)
    elif reader is not None:
        values = reader(model, path)
    else:
        raise UserError(
            f"Expected weights: the folder of a trained network, or a .keras or .weights.h5 file. Received: {path!r}"
        )
    return put(model, values, path, head)


def put(model, values, source, head="any"):
    """Puts arrays into a network, as `load` does, and returns one line that says which.

    Args:
        model: the `keras.Model`.
        values: dict from layer name to list[np.ndarray], in the order of `get_weights()`.
        source: what messages call them.
        head: as for `load`.

    Raises:
        UserError: they are of another network.
    """
    if head not in ("any", "same"):
        raise ValueError(f"Expected head to be 'any' or 'same'. Received: head={head!r}")
    ours = {layer.name: layer for layer in _network(model).layers if _shapes(layer.weights)}
    known = {layer.name for layer in model.layers}
    theirs = {
        name: arrays for name, arrays in values.items() if _shapes(arrays) and (name in ours or name not in known)
    }
    head_name, fresh = _head(ours), ""
    for name in (*ours, *(name for name in theirs if name not in ours)):
        here, there = (_shapes(each) for each in (ours[name].weights if name in ours else [], theirs.get(name, [])))
        if here == there:
            continue
        if name != head_name or (there and [shape[:-1] for shape in here] != [shape[:-1] for shape in there]):
            raise UserError(
                f"Expected the weights of this network. Received: {source}, of another: layer {name!r} has "
                f"{_text(there)} there, {_text(here)} here"
            )
        classes, needed = there[0][-1] if there else "no", here[0][-1]
        if head == "same":
            raise UserError(
                f"Expected weights for {needed} classes, as the data have. Received: {source}, for {classes} classes"
            )
        fresh = f" (head trained anew: the weights have {classes} classes, the data {needed})"
        theirs.pop(name, None)
    for name, arrays in theirs.items():
        ours[name].set_weights(arrays)
    return source + fresh


def read(path):
    """Returns the weights in a file as a dict from layer name to list[np.ndarray], in the order of `get_weights()`.

    Args:
        path: the folder of a trained network, a `.keras` or `.weights.h5` file of Keras 3, or a `.h5` file of an older
            Keras.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    import h5py

    path = _file(path)
    _keras_file.check(path)
    try:
        content = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content, "r") as file:
            return _keras_3(file) if "layers" in file else _older_keras(file)
    except UserError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # h5py and zipfile raise their own kinds
        raise UserError(f"{path} is damaged, or no file of Keras's weights: {first_line(error)}") from error


def _file(path):
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / "model.keras"
    if not path.is_file():
        raise UserError(f"Expected weights. There is no file {str(path)!r}")
    return path


def _keras_3(file):
    found = {}
    for group in file["layers"].values():
        for inner in group:
            if inner not in ("vars", "seed_generator"):
                raise UserError(f"{group.name} holds a layer inside it, {inner}, which cannot be found by name")
        if "vars" in group:
            variables = group["vars"]
            name = variables.attrs["name"]
            found[name] = [variables[str(number)][()] for number in range(len(variables))]
    return found


def _older_keras(file):
    group = file.get("model_weights", file)
    if not any(key.startswith("layer_names") for key in group.attrs):
        raise UserError("it names no layers")
    return {
        layer: [group[layer][weight][()] for weight in _words(group[layer], "weight_names")]
        for layer in _words(group, "layer_names")
    }


def _words(group, name):
    """Returns the list of strings in an attribute. A long one is spread over several attributes."""
    keys = (
        [name]
        if name in group.attrs
        else sorted((key for key in group.attrs if key.startswith(name)), key=lambda key: int(key.removeprefix(name)))
    )
    words = [word for key in keys for word in group.attrs[key]]
    return [word.decode() if isinstance(word, bytes) else str(word) for word in words]


def _check_settings(model, path):
    """Raises `UserError` if the network of a `.keras` file computes something else with the same weights."""
    path = _file(path)
    if path.suffix != ".keras":
        return
    try:
        with zipfile.ZipFile(path) as archive:
            config = parse_json(archive.read("config.json"))
        theirs = {each["config"]["name"]: (each["class_name"], each["config"]) for each in config["config"]["layers"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no network of Keras's layers: {first_line(error)}") from error
    network = _network(model)
    ours = {each.name: (type(each).__name__, each.get_config()) for each in _operations(network)}
    head_name = _head({layer.name: layer for layer in network.layers if layer.weights})
    known = {each.name for each in _operations(model)}
    for name in (*ours, *(name for name in theirs if name not in known)):
        kind = (ours.get(name) or theirs[name])[0]
        if name == head_name or kind in (*_TRAINING_ONLY, "InputLayer"):
            continue
        if name not in ours or name not in theirs:
            where = ("there", "here") if name not in ours else ("here", "there")
            raise UserError(
                f"Expected the weights of this network. Received: {path}, of another: layer {name!r} ({kind}) is "
                f"{where[0]} and not {where[1]}"
            )
        for setting in _SETTINGS:
            here, there = (json.dumps(each[name][1].get(setting), default=str) for each in (ours, theirs))
            if here != there:
                raise UserError(
                    f"Expected the weights of this network. Received: {path}, of another: layer {name!r} has "
                    f"{setting}={there} there, {here} here"
                )


def _network(model):
    """Returns the network that leads to the first output, with the same layers."""
    import keras

    return model if len(model.outputs) == 1 else keras.Model(model.inputs, model.outputs[0])


def _operations(model):
    """Returns the list of its layers and, in a functional model, of operations on tensors, which files list too."""
    return getattr(model, "operations", model.layers)


def _head(layers):
    """Returns the name of the last of `layers`, a dict from name to layer, if that is a Dense."""
    import keras

    name, layer = next(reversed(layers.items()), (None, None))
    return name if isinstance(layer, keras.layers.Dense) else None


def _shapes(arrays):
    """Returns the list of shapes, empty if all are counters, such as that of training steps."""
    shapes = [tuple(array.shape) for array in arrays]
    return shapes if any(shapes) else []


def _text(shapes):
    return " and ".join(map(str, shapes)) or "no weights"
