"""Weights of timm's MnasNets (mnasnet_* are B1, semnasnet_* A1, mnasnet_small), carried over layer by layer.

timm is github.com/huggingface/pytorch-image-models. Its networks are in `timm/models/efficientnet.py`, and its tensors
have the names in `_efficientnet_blocks.py` there. Its weights are safetensors files, which NumPy reads. timm rounds the
filters of every width as this project does, and neither rounds the squeezed ones to multiples of 8: no width differs.
"""

import dataclasses
import os
import re

from nas_tf.networks import weights
from nas_tf.trial import UserError

_BN_EPSILON = 1e-5
_HEAD = "predictions"
_ENDS = {
    "stem_conv": "conv_stem",
    "stem_bn": "bn1",
    "head_conv": "conv_head",
    "head_bn": "bn2",
    _HEAD: "classifier",
}
# After an expansion, the depthwise and the projecting convolution have other names than without one.
_EXPANDED = {
    "expand_conv": "conv_pw",
    "expand_bn": "bn1",
    "depthwise_conv": "conv_dw",
    "depthwise_bn": "bn2",
    "project_conv": "conv_pwl",
    "project_bn": "bn3",
    "se_squeeze": "se.conv_reduce",
    "se_excite": "se.conv_expand",
}
_PLAIN = {**_EXPANDED, "depthwise_bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2"}


def scale_for(scale):
    """Returns the `Scale` of PyTorch's networks: symmetric padding, its epsilon, ImageNet's mean and deviation."""
    return dataclasses.replace(scale, padding="symmetric", bn_epsilon=_BN_EPSILON, input_normalization="imagenet")


def load(model, path, include_top=True):
    """Puts the weights of a safetensors file into a network.

    Args:
        model: `keras.Model`, built at `scale_for(scale)`.
        path: of the safetensors file.
        include_top: whether the file's classifier is loaded too.

    Raises:
        UserError: there is no such file, it is damaged, it is of another network or of another number of classes, or
            `model` is built otherwise.
    """
    values = read(model, path)
    if not include_top:
        values.pop(_HEAD, None)
    weights.put(model, values, os.fspath(path), head="same")


def read(model, path):
    """Returns a dict from layer name to list[np.ndarray], in the order of `get_weights()` of the `model`'s layers.

    The classifier has the file's own number of classes. If the file has no classifier, the dict has none either.

    Raises:
        UserError: there is no such file, it is damaged or of another network, or `model` is built otherwise.
    """
    if not os.fspath(path).endswith(".safetensors"):
        raise UserError(
            "Expected weights: the folder of a trained network, a .keras or .weights.h5 file, or a .safetensors file "
            f"of timm's. Received: {os.fspath(path)!r}"
        )
    _check_built(model)
    tensors = _tensors(path)
    found = {}
    for layer, names in tensor_names(model).items():
        if layer == _HEAD and not any(name in tensors for name in names):
            continue
        missing = [name for name in names if name not in tensors]
        if missing:
            raise UserError(
                f"Expected timm's weights of this network. Received: {path}, of another: it has no {missing[0]} for "
                f"layer {layer!r}"
            )
        found[layer] = [to_keras(layer, tensors.pop(name)) for name in names]
    left = [name for name in tensors if not name.endswith("num_batches_tracked")]
    if left:
        raise UserError(
            f"Expected timm's weights of this network. Received: {path}, of another: {len(left)} of its tensors have "
            f"no place here, {left[0]} {tensors[left[0]].shape} among them"
        )
    return found


def tensor_names(model):
    """Returns a dict from each layer with weights to PyTorch's names of them, in the order of `get_weights()`.

    The classifier is in it even if `model` has none.

    Raises:
        UserError: timm has no such network.
    """
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    names = {}
    for name in (*layers, *([] if _HEAD in layers else [_HEAD])):
        place = re.fullmatch(r"(block(\d+)_layer(\d+))_(.*)", name)
        if name in _ENDS:
            their = _ENDS[name]
        elif place and place[4] in _EXPANDED:
            kind = _EXPANDED if f"{place[1]}_expand_conv" in layers else _PLAIN
            their = f"blocks.{int(place[2]) - 1}.{int(place[3]) - 1}.{kind[place[4]]}"
        else:
            raise UserError(f"Expected a network that timm has. Received: one with layer {name!r}")
        parts = ["weight", "bias", "running_mean", "running_var"] if name.endswith("_bn") else ["weight", "bias"]
        names[name] = [f"{their}.{part}" for part in (parts[:1] if name.endswith("_conv") else parts)]
    return names


def to_keras(layer, tensor):
    """Returns a weight in Keras's layout, where `tensor` has PyTorch's and `layer` is the name of its layer."""
    if tensor.ndim == 4:  # [out, in, height, width]; depthwise [channels, 1, height, width]
        return tensor.transpose((2, 3, 0, 1) if layer.endswith("depthwise_conv") else (2, 3, 1, 0))
    return tensor.T


def _tensors(path):
    """Returns a dict from tensor name to float32 array."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not os.path.isfile(path):
        raise UserError(f"Expected a .safetensors file of timm's weights. There is no file {str(path)!r}")
    try:
        return {name: tensor.astype("float32") for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:  # the last three: types NumPy lacks
        raise UserError(f"{path} is damaged, or no safetensors file that NumPy can read: {error}") from error


def _check_built(model):
    layers = {layer.name: layer for layer in model.layers}
    if not {"imagenet_normalization", "stem_pad", "stem_bn"} <= layers.keys() or (
        layers["stem_bn"].epsilon != _BN_EPSILON
    ):
        raise UserError(
            "Expected a network as PyTorch builds it, for PyTorch's weights. Received: one of another Scale. Build it "
            "with padding='symmetric', bn_epsilon=1e-5, input_normalization='imagenet'"
        )
    for name in layers:
        place = name.removesuffix("_project_conv")
        if place != name:
            depthwise, first = (layers.get(f"{place}_{each}_conv") for each in ("depthwise", "expand"))
            inputs = (first or depthwise).input.shape[-1]
            keeps_shape = inputs == layers[name].filters and max(depthwise.strides) == 1
            if (f"{place}_add" in layers) != keeps_shape or f"{place}_pool" in layers:
                raise UserError(
                    "Expected a network whose layers add their input where they keep its shape, and only there, as "
                    f"timm's do. Received: one whose {place} does not. mnasnet_small is mnasnet_small_timm there"
                )
