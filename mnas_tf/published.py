"""Published networks as `keras.applications`-style functions, and the networks that are timed beside a search.

Their architectures: `mnas_tf._networks`. Where their weights come from: `mnas_tf._weight_files`.
"""

import dataclasses
import os

from mnas_tf import _networks, _weight_files
from mnas_tf._networks import ARCHITECTURES, KERAS_APPLICATIONS, MOBILENET_V2, RELU6, architecture, scale_for
from mnas_tf._parents import parent
from mnas_tf.spaces.mnasnet import Scale
from mnas_tf.spaces.mnasnet import build as build_mnasnet
from nas_tf.networks import weights as house_weights
from nas_tf.trial import UserError

__all__ = [
    "ARCHITECTURES",
    "KERAS_APPLICATIONS",
    "MOBILENET_V2",
    "ONE_WIDTH",
    "EfficientNetB0",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "EfficientNetLite3",
    "EfficientNetLite4",
    "MnasNetA1",
    "MnasNetB1",
    "MnasNetD1",
    "MnasNetSmall",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "MobileNetV4ConvM",
    "MobileNetV4ConvS",
    "NASNetMobile",
    "ProxylessNASMobile",
    "Scale",
    "architecture",
    "build",
    "parent",
    "scale_for",
]
ONE_WIDTH = ("nasnet_mobile", "efficientnet_b0")
# Layers behind the last map, in MobileNetV4, which pools before its head, and MobileNetV3.
_TOP = ("predictions", "head_conv", "head_bn", "conv_2")


def build(name, scale):
    """Returns the `keras.Model` of a published network with random weights, as it is timed and trained beside others.

    `mobilenet`, `mobilenet_v2` and `nasnet_mobile` are Keras's own. `mnas_tf.pretrained.build` takes published weights.

    Raises:
        UserError: no published network has that name, it has only one width, or Keras does not build it so small.
    """
    network = architecture(name)
    if name in RELU6:
        scale = dataclasses.replace(scale, activation="relu6")
    if name in ARCHITECTURES:
        return build_mnasnet(network, scale)
    if name not in ("mobilenet", "mobilenet_v2", "nasnet_mobile"):
        return _networks.whole(name, scale)
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


def _function(key, name, about, **published):
    """Returns the function of a network: `key` is its name here, `published` what differs from `Scale`."""

    def network(
        input_shape=None,
        alpha=1.0,
        include_top=True,
        weights=None,
        input_tensor=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        name=key,
    ):
        scale = Scale(num_classes=classes, width_multiplier=alpha, **published)
        return _model(key, scale, input_shape, include_top, weights, input_tensor, pooling, classifier_activation, name)

    network.__name__ = network.__qualname__ = name
    network.__doc__ = f"{about}\n{_ARGUMENTS}"
    return network


_ARGUMENTS = """
    It takes float32 [batch, height, width, 3] in [-1, 1], whatever its weights were trained on.

    Args:
        input_shape, include_top, input_tensor, pooling, classes, classifier_activation, name: as in
            `keras.applications`.
        alpha: factor on the filters.
        weights: None; "imagenet", which fetches the published weights (`mnas_tf.pretrained.widths` has the values of
            `alpha`); or the path of a file: `.weights.h5` or `.keras` of this network, or that of its publisher, timm's
            `.safetensors` or Keras's `.h5`, for which the network is built as it was there (`scale_for`).

    Raises:
        ValueError: there are no such weights, they cannot be fetched, or are of another network; or `pooling` is not
            None, "avg" or "max".
    """

MnasNetA1 = _function(
    "mnasnet_a1",
    "MnasNetA1",
    "MnasNet-A1, with squeeze-and-excitation in three blocks: 3,887,038 parameters, 312 M multiply-adds at 224 px.",
)
MnasNetB1 = _function(
    "mnasnet_b1", "MnasNetB1", "MnasNet-B1, without squeeze-and-excitation: 4,383,312 parameters, 314 M multiply-adds."
)
MnasNetSmall = _function(
    "mnasnet_small",
    "MnasNetSmall",
    "MnasNet-small: 2,030,264 parameters, 68 M multiply-adds. With timm's weights, its first layer adds its input.",
    dropout_rate=0.0,
)
MnasNetD1 = _function("mnasnet_d1", "MnasNetD1", "MnasNet-d1, searched together with MnasFPN (arXiv 1912.01106).")
ProxylessNASMobile = _function(
    "proxylessnas_mobile",
    "ProxylessNASMobile",
    "ProxylessNAS-mobile (arXiv 1812.00332): 4,080,512 parameters, 320 M multiply-adds.",
)
MobileNetV2 = _function(
    "mobilenet_v2",
    "MobileNetV2",
    "MobileNetV2 (arXiv 1801.04381) of this house's layers: 3,504,872 parameters, 301 M multiply-adds.",
    activation="relu6",
)
EfficientNetLite0, EfficientNetLite1, EfficientNetLite2, EfficientNetLite3, EfficientNetLite4 = (
    _function(
        f"efficientnet_lite{number}",
        f"EfficientNetLite{number}",
        f"EfficientNet-Lite{number}, EfficientNet-B{number} with ReLU6 and without squeeze-and-excitation.",
        activation="relu6",
        dropout_rate=0.2 if number < 2 else 0.3,
    )
    for number in range(5)
)
MobileNetV4ConvS = _function(
    "mobilenet_v4_conv_s",
    "MobileNetV4ConvS",
    "MobileNetV4-Conv-S (arXiv 2404.10518): 3,774,024 parameters, 186 M multiply-adds at 224 px.",
)
MobileNetV4ConvM = _function(
    "mobilenet_v4_conv_m",
    "MobileNetV4ConvM",
    "MobileNetV4-Conv-M (arXiv 2404.10518): 9,715,512 parameters, 828 M multiply-adds at 224 px.",
)
MobileNetV3Small = _function("mobilenet_v3_small", "MobileNetV3Small", "MobileNetV3-Small, as Keras builds it.")
MobileNetV3Large = _function("mobilenet_v3_large", "MobileNetV3Large", "MobileNetV3-Large, as Keras builds it.")
EfficientNetB0 = _function("efficientnet_b0", "EfficientNetB0", "EfficientNet-B0, as Keras builds it; `alpha` is 1.")
NASNetMobile = _function(
    "nasnet_mobile",
    "NASNetMobile",
    "NASNet-A mobile, as Keras builds it; `alpha` is 1. Height and width must be known.",
    dropout_rate=0.5,
)


def _model(key, scale, input_shape, include_top, weights, input_tensor, pooling, classifier_activation, name):
    import keras

    if pooling not in (None, "avg", "max"):
        raise ValueError(f"Expected pooling to be None, 'avg' or 'max'. Received: pooling={pooling!r}")
    path = "" if weights is None else _path_of(key, scale, include_top, os.path.expanduser(weights))
    is_published = _networks.holds_published_weights(path)
    if is_published:
        _networks.check_kind(key, path)
        scale, key = scale_for(key, scale), _networks.weights_name(key)
    if input_tensor is None:
        inputs = x = keras.Input(input_shape or ((224, 224, 3) if include_top else (None, None, 3)), name="image")
    else:
        (inputs,), x = keras.utils.get_source_inputs(input_tensor), input_tensor
    x = _networks.scores(key, x, scale, classifier_activation) if include_top else _networks.features(key, x, scale)
    if pooling == "avg" and not include_top:
        x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    elif pooling == "max" and not include_top:
        x = keras.layers.GlobalMaxPooling2D(name="max")(x)
    model = keras.Model(inputs, x, name=name)
    if is_published:
        _put(model, _networks.read_weights(model, path), path)
    elif path and include_top and input_tensor is None:
        house_weights.load(model, path, head="same")
    elif path:
        _put(model, house_weights.read(path), path)
    return model


def _put(model, values, path):
    """Puts weights into a network, without those of a top that it does not have."""
    ours = {layer.name for layer in model.layers}
    kept = {name: arrays for name, arrays in values.items() if name in ours or name not in _TOP}
    house_weights.put(model, kept, path, head="same")


def _path_of(key, scale, include_top, weights):
    """Returns the path of a file that the argument `weights` names."""
    if weights == "imagenet":
        if key not in _weight_files.NAMES:
            raise ValueError(f"There are no published weights of {key}. Received: weights='imagenet'")
        if include_top and scale.num_classes != 1000:
            raise ValueError(
                "Expected classes=1000, or include_top=False, with weights='imagenet'. "
                f"Received: classes={scale.num_classes}"
            )
        return os.fspath(_weight_files.weights_file(key, scale.width_multiplier))
    if not (weights.endswith((".h5", ".keras", ".safetensors")) and os.path.isfile(weights)):
        raise ValueError(
            "Expected weights to be None, 'imagenet', or the path of a .weights.h5 or .keras file of this network, or "
            f"of its publisher's .safetensors or .h5. Received: weights={weights!r}"
        )
    return weights
