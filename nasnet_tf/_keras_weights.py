"""The weights of `keras.applications.NASNet*`, carried over layer by layer to the same networks as built here."""

import os
import re

from nas_tf.networks import weights as keras_weights
from nas_tf.trial import UserError, first_line

# Normal cells in a stage, which tell the two networks apart.
_CELLS = {4: "NASNetMobile", 6: "NASNetLarge"}


def load(model, weights, key, include_top, classes):
    """Puts weights into a NASNet-A.

    Args:
        model: the `keras.Model`, from `nasnet_tf.published`.
        weights: `"imagenet"`, or the path of a file of this network or of its counterpart in `keras.applications`.
        key: name of the published network that has such a counterpart, or None.
        include_top: whether the head is loaded too.
        classes: the network's classes.

    Raises:
        ValueError: there is no such file, or it holds another network.
    """
    path = os.path.expanduser(weights)
    has_imagenet = key and not (include_top and classes != 1000)
    if not (path == "imagenet" and has_imagenet) and not (path.endswith((".h5", ".keras")) and os.path.isfile(path)):
        known = "None, 'imagenet' (with 1000 classes, or without the top)" if key else "None"
        raise ValueError(
            f"Expected weights to be {known}, or the path of a .h5, .weights.h5 or .keras file of this network"
            f"{' or of its counterpart in keras.applications' if key else ''}. Received: weights={path!r}"
        )
    values = _imagenet(model) if path == "imagenet" else None
    try:
        values = values or read(model, path)
        if not include_top:
            values.pop("predictions", None)
        keras_weights.put(model, values, path, head="same")
    except UserError as error:
        raise ValueError(f"{path!r} holds the weights of another network than {model.name}: {error}") from error


def read(model, path):
    """Returns a dict from layer name to list[np.ndarray], in the order of `get_weights()` of the `model`'s layers.

    The head has the number of classes that it was trained for.

    Args:
        model: `keras.Model` of a NASNet-A.
        path: `"imagenet"` for the weights that Keras downloads, or a file of a NASNet-A from here or from
            `keras.applications`.

    Raises:
        UserError: there are no such weights, or they are of another network.
    """
    path = os.fspath(path)
    if path == "imagenet":
        return _imagenet(model)
    if not path.endswith((".h5", ".keras")):
        raise UserError(
            "Expected weights: 'imagenet', the folder of a trained network, or a .keras, .weights.h5 or .h5 file. "
            f"Received: {path!r}"
        )
    values = keras_weights.read(path)
    return _renamed(values, model, path) if "stem_conv1" in values else values


def carry_over(source, target):
    """Copies the weights of a `keras.applications` NASNet into `target`, the same network as built here.

    Raises:
        UserError: they are not the same network.
    """
    keras_weights.put(target, _renamed(_values(source), target, source.name), source.name, head="same")


def _imagenet(model):
    from keras import applications

    name = _CELLS.get(_num_cells(model))
    if name is None:
        raise UserError(
            f"Expected a NASNet-A of 4 or 6 cells a stage, which Keras has weights for. Received: {_num_cells(model)} "
            f"cells a stage in {model.name}"
        )
    try:
        source = getattr(applications, name)(weights="imagenet")
    except Exception as error:  # the download's
        raise UserError(f"Keras cannot load its ImageNet weights for {model.name}: {first_line(error)}") from error
    return _renamed(_values(source), model, "imagenet")


def _values(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def _renamed(values, model, source):
    """Returns `values` of a `keras.applications` NASNet-A under the names of `model`'s layers."""
    values = {name: arrays for name, arrays in values.items() if arrays}
    found = {}
    for layer in model.layers:
        if layer.weights and not layer.name.startswith("auxiliary") and layer.name != "training_progress":
            theirs = their_name(layer.name, model)
            if theirs in values:
                found[layer.name] = values.pop(theirs)
    if "predictions" not in found and "predictions" in values:
        found["predictions"] = values.pop("predictions")
    if values:
        raise UserError(
            f"Expected the weights of this network. Received: {source}, of another: {len(values)} of its layers have "
            f"no place here, {next(iter(values))} among them"
        )
    return found


def their_name(name, target):
    """Returns what `keras.applications` calls the layer `name` of `target`, or None if it has no such layer."""
    if name in ("stem_conv", "stem_bn", "predictions"):
        return {"stem_conv": "stem_conv1", "stem_bn": "stem_bn1", "predictions": "predictions"}[name]
    place = re.fullmatch(r"(stem\d|reduction\d|stage\d_cell\d+)_(.*)", name)
    if not place:
        return None
    cell, inside = place.groups()
    kind = "normal" if cell.startswith("stage") else "reduction"
    cell = _their_cell(cell, _num_cells(target))
    if inside.startswith("previous"):
        what = {"previous_conv": "conv_projection", "previous_1_conv": "conv_1", "previous_2_conv": "conv_2"}
        return f"adjust_{what.get(inside, 'bn')}_{cell}"
    if inside.startswith("begin"):
        return f"{kind}_{inside.removeprefix('begin_')}_1_{cell}"
    operation = re.fullmatch(r"block(\d)_(left|right)_(\d)_(conv|bn)", inside)
    if not operation:
        return None
    block, side, number, what = operation.groups()
    if kind == "reduction" and (block, side) == ("5", "left"):
        block = "4"  # Keras names it so
    return f"separable_conv_{number}{'_bn' if what == 'bn' else ''}_{kind}_{side}{block}_{cell}"


def _num_cells(model):
    """Returns the number of Normal cells in a stage, 0 if the network is not a stack of cells."""
    found = (re.match(r"stage1_cell(\d+)_", layer.name) for layer in model.layers)
    return max((int(match[1]) for match in found if match), default=0)


def _their_cell(cell, cells):
    numbers = [int(number) for number in re.findall(r"\d+", cell)]
    if cell.startswith("stem"):
        return f"stem_{numbers[0]}"
    if cell.startswith("reduction"):
        return f"reduce_{numbers[0] * cells}"
    stage, number = numbers
    return str(number - 1 if stage == 1 else (stage - 1) * cells + number)
