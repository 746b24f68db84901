"""Published networks by name: their architectures, how they are built, and how their weights need them built.

MnasNet's block strings, stems and dropout: tensorflow/tpu, `models/official/mnasnet/mnasnet_models.py`. Google's code
scales stem and blocks by a width, to multiples of 8, and keeps the head at 1280, and so does this. EfficientNet-Lite's:
`models/official/efficientnet/lite/efficientnet_lite_builder.py` there.
"""

import dataclasses
import math
import os

from mnas_tf import _keras_networks, _mobilenet_v4, _pytorch_weights, _weight_files
from mnas_tf._conventions import PYTORCH
from mnas_tf.spaces._network import scores as dense_scores
from mnas_tf.spaces.mnasnet import MnasNet, Scale
from mnas_tf.spaces.mnasnet import classifier as mnasnet_classifier
from mnas_tf.spaces.mnasnet import features as mnasnet_features
from mnas_tf.spaces.proxylessnas import PROXYLESSNAS_MOBILE
from nas_tf.trial import UserError

_LITE0 = MnasNet.parse(
    "r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r2_k5_s22_e6_i24_o40 r3_k3_s22_e6_i40_o80 "
    "r3_k5_s11_e6_i80_o112 r4_k5_s22_e6_i112_o192 r1_k3_s11_e6_i192_o320_noskip"
)


def _efficientnet_lite(width, depth):
    """Returns EfficientNet-Lite0 wider and deeper, but for stem and head, and the depth of the first and last block.

    Filters become multiples of 8 as MnasNet's do; a block has so many layers, rounded up.
    """
    scale, blocks, inputs = Scale(width_multiplier=width), [], _LITE0.stem_filters
    for block in _LITE0.blocks:
        repeats = block.repeats if block in (_LITE0.blocks[0], _LITE0.blocks[-1]) else math.ceil(depth * block.repeats)
        filters = scale.filters(block.filters)
        blocks.append(dataclasses.replace(block, repeats=repeats, input_filters=inputs, filters=filters))
        inputs = filters
    return MnasNet(tuple(blocks))


ARCHITECTURES = {
    "mnasnet_a1": MnasNet.parse(
        "r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r3_k5_s22_e3_i24_o40_se0.25 r4_k3_s22_e6_i40_o80 "
        "r2_k3_s11_e6_i80_o112_se0.25 r3_k5_s22_e6_i112_o160_se0.25 r1_k3_s11_e6_i160_o320"
    ),
    "mnasnet_b1": MnasNet.parse(
        "r1_k3_s11_e1_i32_o16_noskip r3_k3_s22_e3_i16_o24 r3_k5_s22_e3_i24_o40 r3_k5_s22_e6_i40_o80 "
        "r2_k3_s11_e6_i80_o96 r4_k5_s22_e6_i96_o192 r1_k3_s11_e6_i192_o320_noskip"
    ),
    # Google's string begins with i16 behind a stem of 8: its code compares the 16 with o8 and adds no identity.
    "mnasnet_small": MnasNet.parse(
        "r1_k3_s11_e1_i8_o8_noskip r1_k3_s22_e3_i8_o16 r2_k3_s22_e6_i16_o16 r4_k5_s22_e6_i16_o32_se0.25 "
        "r3_k3_s11_e6_i32_o32_se0.25 r3_k5_s22_e6_i32_o88_se0.25 r1_k3_s11_e6_i88_o144"
    ),
    # timm's adds it, and its weights were trained with it.
    "mnasnet_small_timm": MnasNet.parse(
        "r1_k3_s11_e1_i8_o8 r1_k3_s22_e3_i8_o16 r2_k3_s22_e6_i16_o16 r4_k5_s22_e6_i16_o32_se0.25 "
        "r3_k3_s11_e6_i32_o32_se0.25 r3_k5_s22_e6_i32_o88_se0.25 r1_k3_s11_e6_i88_o144"
    ),
    "mnasnet_d1": MnasNet.parse(
        "r1_k3_s11_e9_i32_o24 r3_k3_s22_e9_i24_o36 r5_k3_s22_e9_i36_o48 r4_k5_s22_e9_i48_o96 "
        "r5_k7_s11_e3_i96_o96 r3_k3_s22_e9_i96_o80 r1_k7_s11_e6_i80_o320_noskip"
    ),
    "mnasnet_d1_320": MnasNet.parse(
        "r3_k5_s11_e6_i32_o24 r4_k7_s22_e9_i24_o36 r5_k5_s22_e9_i36_o48 r5_k7_s22_e6_i48_o96 "
        "r5_k3_s11_e9_i96_o144 r5_k5_s22_e6_i144_o160 r1_k7_s11_e9_i160_o320"
    ),
    "proxylessnas_mobile": PROXYLESSNAS_MOBILE,
    # Width and depth: efficientnet_lite_builder.py, `efficientnet_lite_params`.
    "efficientnet_lite0": _LITE0,
    "efficientnet_lite1": _efficientnet_lite(1.0, 1.1),
    "efficientnet_lite2": _efficientnet_lite(1.1, 1.2),
    "efficientnet_lite3": _efficientnet_lite(1.2, 1.4),
    "efficientnet_lite4": _efficientnet_lite(1.4, 1.8),
}
MOBILENET_V4 = {"mobilenet_v4_conv_s": _mobilenet_v4.CONV_S, "mobilenet_v4_conv_m": _mobilenet_v4.CONV_M}
KERAS_APPLICATIONS = ("mobilenet", "mobilenet_v2", *_keras_networks.FUNCTIONS)
RELU6 = ("mobilenet_v2", *(f"efficientnet_lite{number}" for number in range(5)))
# Keras's MobileNetV2 as blocks, which an estimator judges and which takes its weights (arXiv 1801.04381, table 2).
MOBILENET_V2 = MnasNet.parse(
    "r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r3_k3_s22_e6_i24_o32 r4_k3_s22_e6_i32_o64 r3_k3_s11_e6_i64_o96 "
    "r3_k3_s22_e6_i96_o160 r1_k3_s11_e6_i160_o320_noskip"
)


def architecture(name):
    """Returns the `MnasNet` called `name`, or one with the layers of Keras's network of that name, or None.

    Raises:
        UserError: no published network has that name.
    """
    names = (*ARCHITECTURES, *MOBILENET_V4, *KERAS_APPLICATIONS)
    if name not in names:
        raise UserError(f"Expected a published network, one of {', '.join(names)}. Received: {name!r}")
    return {**ARCHITECTURES, "mobilenet_v2": MOBILENET_V2}.get(name)


def whole(name, scale):
    """Returns the `keras.Model` of a published network in this house's form, with random weights.

    It takes float32 [batch, size, size, 3] in [-1, 1], and ends in a Dense called `predictions`, float32 with softmax.

    Raises:
        UserError: no published network has that name, it has only one width, or Keras does not build it so small.
    """
    import keras

    architecture(name)
    inputs = keras.Input((scale.image_size, scale.image_size, 3), name="image")
    return keras.Model(inputs, scores(name, inputs, scale, "softmax"), name=name)


def scale_for(name_or_architecture, scale):
    """Returns the scale that published weights need: they decide padding, epsilon, activation and normalisation.

    Args:
        name_or_architecture: name of a published network, or a `MnasNet`. Weights of a `MnasNet` that is none of the
            published ones are PyTorch's, as those of MnasNets are.
        scale: the `Scale`, whose width is that of the weights.
    """
    name = _name_of(name_or_architecture)
    if name not in _weight_files.NAMES:
        return scale if name in KERAS_APPLICATIONS else PYTORCH.applied(scale)
    files = _weight_files.FILES
    conventions = files.get((name, scale.width_multiplier), files[name, 1.0]).conventions
    return conventions.applied(scale) if conventions else scale


def weights_name(name):
    """Returns the name of the network that published weights are of: timm's MnasNet-small has one skip more."""
    return "mnasnet_small_timm" if name == "mnasnet_small" else name


def holds_published_weights(path):
    """Returns whether a path is that of a file of timm's weights or of Keras's old `.h5` form."""
    return path.endswith((".safetensors", ".h5")) and not path.endswith(".weights.h5")


def check_kind(name_or_architecture, path):
    """Raises `UserError` if a file of published weights is of the other publisher than this network's."""
    name, kind = _name_of(name_or_architecture), ".safetensors"
    if name in _weight_files.NAMES:
        kind = _weight_files.FILES[name, 1.0].kind
    if not path.endswith(kind):
        publisher = "timm's" if kind == ".safetensors" else "keras.applications'"
        raise UserError(f"Expected {publisher} weights, a {kind} file, for {name or 'such blocks'}. Received: {path!r}")


def read_weights(model, path):
    """Returns a dict from layer name to list[np.ndarray] of a file of published weights.

    Raises:
        UserError: there is no such file, it is damaged, or of another network.
    """
    path = os.fspath(path)
    if path.endswith(".h5"):
        return _keras_networks.read(model, path)
    return _pytorch_weights.read(model, path)


def _name_of(name_or_architecture):
    """Returns the name of a published network, whatever the width of its head, or "" for another `MnasNet`."""
    if isinstance(name_or_architecture, str):
        architecture(name_or_architecture)
        return name_or_architecture
    known = {**ARCHITECTURES, "mobilenet_v2": MOBILENET_V2}
    return next(
        (name for name, each in known.items() if each.blocks == getattr(name_or_architecture, "blocks", None)), ""
    )


def _blocks(name, scale):
    """Returns the `MnasNet` of a name at a scale: MobileNetV2's head grows with widths above 1, as Keras's does."""
    if name != "mobilenet_v2":
        return ARCHITECTURES[name]
    return dataclasses.replace(MOBILENET_V2, head_filters=max(1280, scale.filters(1280)))


def features(name, x, scale):
    """Returns the last map of a published network, float32 [batch, height, width, channels], of images `x`."""
    if name in _keras_networks.FUNCTIONS:
        return _keras_networks.features(name, x, scale)
    if name in MOBILENET_V4:
        return _mobilenet_v4.features(x, MOBILENET_V4[name], scale)
    return mnasnet_features(x, _blocks(name, scale), scale)


def scores(name, x, scale, activation):
    """Returns its class scores, float32 [batch, num_classes]."""
    if name in _keras_networks.FUNCTIONS:
        return dense_scores(_keras_networks.pooled(name, x, scale), scale, activation)
    classify = _mobilenet_v4.classifier if name in MOBILENET_V4 else mnasnet_classifier
    return classify(features(name, x, scale), scale, activation)
