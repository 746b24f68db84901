"""The published MnasNets as `keras.applications`-style functions, and the networks that are timed beside a search.

Block strings, stems and dropout: tensorflow/tpu, `models/official/mnasnet/mnasnet_models.py`. Google's code scales stem
and blocks by `alpha`, to multiples of 8, and keeps the head at 1280, and so does this. Google published no weights.
timm's, in PyTorch's layout, can be loaded.
"""

import os

from mnas_tf.spaces.mnasnet import MnasNet, Scale, classifier, features
from mnas_tf.spaces.mnasnet import build as build_mnasnet
from mnas_tf.spaces.proxylessnas import PROXYLESSNAS_MOBILE
from nas_tf.trial import UserError

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
}
ONE_WIDTH = ("nasnet_mobile",)
KERAS_APPLICATIONS = ("mobilenet", "mobilenet_v2", "nasnet_mobile")
# What an estimator judges in place of Keras's MobileNetV2: the same layers but for ReLU6 (arXiv 1801.04381, table 2).
MOBILENET_V2 = MnasNet.parse(
    "r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r3_k3_s22_e6_i24_o32 r4_k3_s22_e6_i32_o64 r3_k3_s11_e6_i64_o96 "
    "r3_k3_s22_e6_i96_o160 r1_k3_s11_e6_i160_o320_noskip"
)


def architecture(name):
    """Returns the `MnasNet` called `name`, or one with the layers of Keras's network of that name, or None.

    Raises:
        UserError: no published network has that name.
    """
    if name not in ARCHITECTURES and name not in KERAS_APPLICATIONS:
        known = ", ".join((*ARCHITECTURES, *KERAS_APPLICATIONS))
        raise UserError(f"Expected a published network, one of {known}. Received: {name!r}")
    return {**ARCHITECTURES, "mobilenet_v2": MOBILENET_V2}.get(name)


def build(name, scale):
    """Returns the `keras.Model` of a published network with random weights. NASNet-A mobile has only one width.

    Raises:
        UserError: no published network has that name, or Keras does not build it so small.
    """
    network = architecture(name)
    if name in ARCHITECTURES:
        return build_mnasnet(network, scale)
    if scale.image_size < 32:
        raise UserError(f"Keras builds {name} for images of 32 px or more. Received: image_size={scale.image_size}")
    from keras import applications

    input_shape = (scale.image_size, scale.image_size, 3)
    if name == "mobilenet":
        return applications.MobileNet(
            input_shape=input_shape, alpha=scale.width_multiplier, weights=None, classes=scale.num_classes
        )
    if name == "nasnet_mobile":
        return applications.NASNetMobile(input_shape=input_shape, weights=None, classes=scale.num_classes)
    return applications.MobileNetV2(
        input_shape=input_shape, alpha=scale.width_multiplier, weights=None, classes=scale.num_classes
    )


def MnasNetA1(
    input_shape=None,
    alpha=1.0,
    include_top=True,
    weights=None,
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name="mnasnet_a1",
):
    """MnasNet-A1, with squeeze-and-excitation in three blocks: 3,887,038 parameters, 312 M multiply-adds at 224 px.

    It takes float32 [batch, height, width, 3] in [-1, 1].

    Args:
        input_shape, include_top, input_tensor, pooling, classes, classifier_activation, name: as in
            `keras.applications`.
        alpha: factor on the filters.
        weights: None, or the path of a `.weights.h5` or `.keras` file of this network, or of a `.safetensors` file of
            timm's counterpart: `semnasnet_100`, `mnasnet_100` for B1, `mnasnet_small` for small. With timm's, the
            network is built as PyTorch's are (`mnas_tf._pytorch_weights.scale_for`).

    Raises:
        ValueError: `weights` is not such a file, or `pooling` is not None, "avg" or "max".
    """
    scale = Scale(num_classes=classes, width_multiplier=alpha)
    return _model(
        "mnasnet_a1", scale, input_shape, include_top, weights, input_tensor, pooling, classifier_activation, name
    )


def MnasNetB1(
    input_shape=None,
    alpha=1.0,
    include_top=True,
    weights=None,
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name="mnasnet_b1",
):
    """MnasNet-B1, without squeeze-and-excitation: 4,383,312 parameters, 314 M multiply-adds. Arguments: `MnasNetA1`."""
    scale = Scale(num_classes=classes, width_multiplier=alpha)
    return _model(
        "mnasnet_b1", scale, input_shape, include_top, weights, input_tensor, pooling, classifier_activation, name
    )


def MnasNetSmall(
    input_shape=None,
    alpha=1.0,
    include_top=True,
    weights=None,
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name="mnasnet_small",
):
    """MnasNet-small, without dropout: 2,030,264 parameters, 68 M multiply-adds at 224 px. Arguments: `MnasNetA1`.

    With timm's weights, the first layer adds its input, as timm's does and Google's does not.
    """
    scale = Scale(num_classes=classes, width_multiplier=alpha, dropout_rate=0.0)
    return _model(
        "mnasnet_small", scale, input_shape, include_top, weights, input_tensor, pooling, classifier_activation, name
    )


def MnasNetD1(
    input_shape=None,
    alpha=1.0,
    include_top=True,
    weights=None,
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name="mnasnet_d1",
):
    """MnasNet-d1, the backbone searched together with MnasFPN (arXiv 1912.01106). Arguments: `MnasNetA1`."""
    scale = Scale(num_classes=classes, width_multiplier=alpha)
    return _model(
        "mnasnet_d1", scale, input_shape, include_top, weights, input_tensor, pooling, classifier_activation, name
    )


def ProxylessNASMobile(
    input_shape=None,
    alpha=1.0,
    include_top=True,
    weights=None,
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name="proxylessnas_mobile",
):
    """ProxylessNAS-mobile (arXiv 1812.00332): 4,080,512 parameters, 320 M multiply-adds. Arguments: `MnasNetA1`."""
    scale = Scale(num_classes=classes, width_multiplier=alpha)
    return _model(
        "proxylessnas_mobile",
        scale,
        input_shape,
        include_top,
        weights,
        input_tensor,
        pooling,
        classifier_activation,
        name,
    )


def _model(key, scale, input_shape, include_top, weights, input_tensor, pooling, classifier_activation, name):
    import keras

    if weights is not None:
        weights = os.path.expanduser(weights)
        _check_weights(weights)
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"Expected pooling to be None, 'avg' or 'max'. Received: pooling={pooling!r}")
    if input_tensor is None:
        inputs = x = keras.Input(input_shape or ((224, 224, 3) if include_top else (None, None, 3)), name="image")
    else:
        (inputs,), x = keras.utils.get_source_inputs(input_tensor), input_tensor
    is_pytorch = weights is not None and weights.endswith(".safetensors")
    if is_pytorch:
        from mnas_tf import _pytorch_weights

        scale = _pytorch_weights.scale_for(scale)
        key = {"mnasnet_small": "mnasnet_small_timm"}.get(key, key)
    x = features(x, ARCHITECTURES[key], scale)
    if include_top:
        x = classifier(x, scale, classifier_activation)
    elif pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    elif pooling == "max":
        x = keras.layers.GlobalMaxPooling2D(name="max")(x)
    model = keras.Model(inputs, x, name=name)
    if is_pytorch:
        _pytorch_weights.load(model, weights, include_top)
    elif weights is not None:
        from nas_tf.networks import weights as keras_weights

        if include_top and input_tensor is None:
            keras_weights.load(model, weights, head="same")
        else:
            values = keras_weights.read(weights)
            if not include_top:
                values.pop("predictions", None)
            keras_weights.put(model, values, weights, head="same")
    return model


def _check_weights(weights):
    if not (weights.endswith((".weights.h5", ".keras", ".safetensors")) and os.path.isfile(weights)):
        raise ValueError(
            "There are no published weights of MnasNet: expected weights to be None or the path of a .weights.h5 or "
            f".keras file of this network, or of timm's .safetensors. Received: weights={weights!r}"
        )
