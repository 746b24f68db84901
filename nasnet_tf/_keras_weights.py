"""The weights of `keras.applications.NASNet*`, carried over layer by layer to the same networks as built here."""

import os
import re


def load(model, weights, key, include_top, classes):
    """Gives `model`, a NASNet-A from `nasnet_tf.published`, the weights that `weights` name: `"imagenet"`, or the path
    of a file of this very network or of its counterpart in `keras.applications`. `key` is None where there is none.

    Raises:
        ValueError: there is no such file, or it holds another network.
    """
    path = os.fspath(weights)
    if path == "imagenet" and key and not (include_top and classes != 1000):
        return carry_over(_counterpart(model, key, include_top, classes, "imagenet"), model)
    if not (path.endswith((".h5", ".keras")) and os.path.isfile(path)):
        known = "None, 'imagenet' (with 1000 classes, or without the top)" if key else "None"
        raise ValueError(
            f"Expected weights to be {known}, or the path of a .h5, .weights.h5 or .keras file of this network"
            f"{' or of its counterpart in keras.applications' if key else ''}. Received: weights={path!r}"
        )
    failures = []
    try:
        return model.load_weights(path)
    except Exception as error:  # Keras and h5py raise their own kinds
        failures.append(error)
    if key:
        counterpart = _counterpart(model, key, include_top, classes, None)
        try:
            counterpart.load_weights(path)
        except Exception as error:
            failures.append(error)
        else:
            return carry_over(counterpart, model)
    first_line = next(iter(str(failures[-1]).strip().splitlines()), type(failures[-1]).__name__)
    raise ValueError(f"{path!r} holds the weights of another network than {model.name}: {first_line}") from failures[-1]


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
