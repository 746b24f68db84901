"""From an architecture of the MnasNet family and a scale to a Keras model."""

import dataclasses
import math

from mnas_tf.spaces import _units
from mnas_tf.spaces._architecture import check_whole
from nas_tf import blocks as nn
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Scale:
    """The size at which an architecture is built: a proxy that is trained, or a deployment that is timed.

    Every image size from 1 up can be built ("same" padding throughout); below 32 px the last maps are 1 x 1. A width
    multiplier other than 1 scales the filters of stem and blocks, rounded to multiples of 8; the head keeps its own.

    Raises:
        UserError: a value is none that a network can be built from.
    """

    image_size: int = 224
    num_classes: int = 1000
    width_multiplier: float = 1.0
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    dropout_rate: float = 0.2

    def __post_init__(self):
        check_whole("image_size", self.image_size)
        check_whole("num_classes", self.num_classes)
        for name, expected, fits in (
            ("width_multiplier", "finite and > 0", lambda value: 0 < value < math.inf),
            ("bn_momentum", "from 0 to below 1", lambda value: 0 <= value < 1),
            ("bn_epsilon", "finite and > 0", lambda value: 0 < value < math.inf),
            ("dropout_rate", "from 0 to below 1", lambda value: 0 <= value < 1),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not fits(value):
                raise UserError(f"Expected {name} to be {expected}. Received: {name}={value!r}")

    def filters(self, filters):
        """`filters` x the width multiplier, to the nearest multiple of 8 that is not more than 10 % below it."""
        if self.width_multiplier == 1:
            return filters
        exact = filters * self.width_multiplier
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * exact else rounded


def latency_scale(scale):
    """dict: what of a `Scale` the latency of a network depends on."""
    return {name: getattr(scale, name) for name in ("image_size", "num_classes", "width_multiplier")}


def halved(size):
    """int: pixels behind the stem."""
    return -(-size // 2)


def build(architecture, scale):
    """The `keras.Model` of a `MnasNet` at `scale`: float32 [batch, size, size, 3] to probabilities [batch, classes]."""
    import keras

    inputs = keras.Input((scale.image_size, scale.image_size, 3), name="image")
    outputs = classifier(features(inputs, architecture, scale), scale, "softmax")
    return keras.Model(inputs, outputs, name="mnasnet")


def features(x, architecture, scale):
    """The head's output, float32 [batch, height, width, head_filters], of images float32 [batch, height, width, 3]."""
    norm = nn.BatchNorm(scale.bn_momentum, scale.bn_epsilon)
    x = nn.conv_bn(x, scale.filters(architecture.stem_filters), 3, "stem", norm, strides=2)
    for number, block in enumerate(architecture.blocks, 1):
        for layer, (input_filters, strides, skip) in enumerate(block.layers(), 1):
            x = _layer(x, block, input_filters, strides, skip, f"block{number}_layer{layer}", scale, norm)
    return nn.conv_bn(x, architecture.head_filters, 1, "head", norm)


def classifier(x, scale, activation):
    """Class scores float32 [batch, num_classes] of the head's output."""
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="mean")(x)
    if scale.dropout_rate:
        x = layers.Dropout(scale.dropout_rate, name="dropout")(x)
    return layers.Dense(scale.num_classes, activation=activation, name="predictions")(x)


def _layer(inputs, block, input_filters, strides, skip, name, scale, norm):
    filters = scale.filters(block.filters)
    squeeze_filters = _units.squeeze(block.se_ratio, scale.filters(input_filters))
    if block.op == "conv":
        x = nn.conv(inputs, filters, block.kernel_size, name, norm, strides, squeeze_filters)
    else:
        x = nn.mbconv(inputs, filters, block.kernel_size, name, norm, strides, block.expansion_ratio, squeeze_filters)
    if skip == "identity":
        return nn.identity_skip(x, inputs, name)
    return nn.pool_skip(x, inputs, name, strides) if skip == "pool" else x
