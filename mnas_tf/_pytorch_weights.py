"""Weights of timm's networks, carried over layer by layer.

They are MnasNets (mnasnet_* are B1, semnasnet_* A1, mnasnet_small), EfficientNet-Lite (tf_efficientnet_lite*) and
MobileNetV4 (mobilenetv4_conv_*). timm is github.com/huggingface/pytorch-image-models. Its networks are in
`timm/models/efficientnet.py` and `mobilenetv3.py`, and its tensors have the names in `_efficientnet_blocks.py` there.
Its weights are safetensors files, which NumPy reads. timm rounds the filters of every width as this project does, and
neither rounds the squeezed ones to multiples of 8: no width differs.
"""

import os
import re

from mnas_tf._conventions import PYTORCH, PYTORCH_PLAIN_INPUT, TENSORFLOW, conventions_of
from nas_tf.trial import UserError, first_line

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
# What MobileNetV4 has beside these: its kinds of layers say in their names what they are.
_MOBILENET_V4 = {
    "plain_conv": "conv",
    "plain_bn": "bn1",
    "fused_conv": "conv_exp",
    "fused_bn": "bn1",
    "fused_project_conv": "conv_pwl",
    "fused_project_bn": "bn2",
    "uib_start_depthwise_conv": "dw_start.conv",
    "uib_start_depthwise_bn": "dw_start.bn",
    "uib_expand_conv": "pw_exp.conv",
    "uib_expand_bn": "pw_exp.bn",
    "uib_depthwise_conv": "dw_mid.conv",
    "uib_depthwise_bn": "dw_mid.bn",
    "uib_project_conv": "pw_proj.conv",
    "uib_project_bn": "pw_proj.bn",
}
_MOBILENET_V4_ENDS = {**_ENDS, "head_bn": "norm_head"}


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
    tensors = read_tensors(path)
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

    The classifier, and MobileNetV4's head before it, are in it even if `model` has none.

    Raises:
        UserError: timm has no such network.
    """
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    is_mobilenet_v4 = any("_uib_" in name for name in layers)
    ends, top = (_MOBILENET_V4_ENDS, ("head_conv", "head_bn", _HEAD)) if is_mobilenet_v4 else (_ENDS, (_HEAD,))
    names = {}
    for name in dict.fromkeys((*layers, *top)):
        place = re.fullmatch(r"(block(\d+)_layer(\d+))_(.*)", name)
        expanded = _EXPANDED if place and f"{place[1]}_expand_conv" in layers else _PLAIN
        kind = _MOBILENET_V4 if is_mobilenet_v4 else expanded
        if name in ends:
            their = ends[name]
        elif place and place[4] in kind:
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


def read_tensors(path):
    """Returns a dict from tensor name to float32 array, of a safetensors file.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not os.path.isfile(path):
        raise UserError(f"Expected a .safetensors file of timm's weights. There is no file {str(path)!r}")
    try:
        return {name: tensor.astype("float32") for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:  # the last three: types NumPy lacks
        raise UserError(
            f"{path} is damaged, or no safetensors file that NumPy can read: {first_line(error)}"
        ) from error


def _check_built(model):
    if conventions_of(model) not in (PYTORCH, PYTORCH_PLAIN_INPUT, TENSORFLOW):
        raise UserError(
            "Expected a network as PyTorch builds it, for PyTorch's weights. Received: one of another Scale. Build it "
            "with padding='symmetric', bn_epsilon=1e-5, input_normalization='imagenet', "
            "or as mnas_tf.published.scale_for says"
        )
    layers = {layer.name: layer for layer in model.layers}
    for name in layers:
        place = name.removesuffix("_project_conv")
        if place != name and not place.endswith(("_uib", "_fused")):
            depthwise, first = (layers.get(f"{place}_{each}_conv") for each in ("depthwise", "expand"))
            inputs = (first or depthwise).input.shape[-1]
            keeps_shape = inputs == layers[name].filters and max(depthwise.strides) == 1
            if (f"{place}_add" in layers) != keeps_shape or f"{place}_pool" in layers:
                raise UserError(
                    "Expected a network whose layers add their input where they keep its shape, and only there, as "
                    f"timm's do. Received: one whose {place} does not. mnasnet_small is mnasnet_small_timm there"
                )
