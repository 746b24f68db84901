"""The weights of `keras.applications.NASNet*`, carried over layer by layer to the same networks as built here."""

import json
import os
import re
import warnings
import zipfile


def load(model, weights, key, include_top, classes):
    """Gives `model`, a NASNet-A from `nasnet_tf.published`, the weights that `weights` name: `"imagenet"`, or the path
    of a file of this very network or of its counterpart in `keras.applications`. `key` is None where there is none.

    Raises:
        ValueError: there is no such file, or it holds another network.
    """
    path = os.fspath(weights)
    if path == "imagenet" and key and not (include_top and classes != 1000):
        try:
            counterpart = _counterpart(model, key, include_top, classes, "imagenet")
        except Exception as error:  # a download's, or Keras's own about the input's size
            raise ValueError(f"Keras gives no ImageNet weights for {model.name}: {_first_line(error)}") from error
        return carry_over(counterpart, model)
    if not (path.endswith((".h5", ".keras")) and os.path.isfile(path)):
        known = "None, 'imagenet' (with 1000 classes, or without the top)" if key else "None"
        raise ValueError(
            f"Expected weights to be {known}, or the path of a .h5, .weights.h5 or .keras file of this network"
            f"{' or of its counterpart in keras.applications' if key else ''}. Received: weights={path!r}"
        )
    try:
        names = _layer_names(path)
        if key and "stem_conv1" in names:
            counterpart = _counterpart(model, key, include_top, classes, None)
            _load_all(counterpart, path)
            return carry_over(counterpart, model)
        if "stem_conv" not in names:
            raise ValueError("it has no layer called stem_conv")
        return _load_all(model, path)
    except Exception as error:  # Keras, h5py and zipfile raise their own kinds
        raise ValueError(
            f"{path!r} holds the weights of another network than {model.name}: {_first_line(error)}"
        ) from error


def _load_all(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras only warns where a file has no weights for a layer
        model.load_weights(path)


def _layer_names(path):
    """The names of the layers whose weights a file of Keras holds."""
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive:
            return {layer.get("name") for layer in json.loads(archive.read("config.json"))["config"]["layers"]}
    import h5py

    names = set()
    with h5py.File(path) as file:
        file.visititems(lambda group, item: names.update((*group.split("/"), item.attrs.get("name", ""))))
    return names


def carry_over(source, target):
    """Copies the weights of a `keras.applications` NASNet into `target`, the same network as built here.

    Raises:
        ValueError: they are two networks.
    """
    copied = 0
    for layer in target.layers:
        if layer.weights:
            values = source.get_layer(their_name(layer.name, target)).get_weights()
            layer.set_weights(values)
            copied += len(values)
    if copied != len(source.weights):
        raise ValueError(f"Expected {copied} weights, as {target.name} has. Received: {len(source.weights)}")


def _counterpart(model, key, include_top, classes, weights):
    from keras import applications

    make = {"nasnet_a_mobile": applications.NASNetMobile, "nasnet_a_large": applications.NASNetLarge}[key]
    return make(input_shape=tuple(model.inputs[0].shape[1:]), include_top=include_top, weights=weights, classes=classes)


def _first_line(error):
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def their_name(name, target):
    """What `keras.applications` calls the layer `name` of `target`."""
    if name in ("stem_conv", "stem_bn", "predictions"):
        return {"stem_conv": "stem_conv1", "stem_bn": "stem_bn1", "predictions": "predictions"}[name]
    cell, inside = re.fullmatch(r"(stem\d|reduction\d|stage\d_cell\d+)_(.*)", name).groups()
    cells = max(int(m[1]) for m in (re.match(r"stage1_cell(\d+)_", layer.name) for layer in target.layers) if m)
    kind = "normal" if cell.startswith("stage") else "reduction"
    cell = _their_cell(cell, cells)
    if inside.startswith("previous"):
        what = {"previous_conv": "conv_projection", "previous_1_conv": "conv_1", "previous_2_conv": "conv_2"}
        return f"adjust_{what.get(inside, 'bn')}_{cell}"
    if inside.startswith("begin"):
        return f"{kind}_{inside.removeprefix('begin_')}_1_{cell}"
    block, side, number, what = re.fullmatch(r"block(\d)_(left|right)_(\d)_(conv|bn)", inside).groups()
    if kind == "reduction" and (block, side) == ("5", "left"):
        block = "4"  # so it is named there
    return f"separable_conv_{number}{'_bn' if what == 'bn' else ''}_{kind}_{side}{block}_{cell}"


def _their_cell(cell, cells):
    numbers = [int(number) for number in re.findall(r"\d+", cell)]
    if cell.startswith("stem"):
        return f"stem_{numbers[0]}"
    if cell.startswith("reduction"):
        return f"reduce_{numbers[0] * cells}"
    stage, number = numbers
    return str(number - 1 if stage == 1 else (stage - 1) * cells + number)
