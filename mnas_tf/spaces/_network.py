"""From an architecture of the MnasNet family and a scale to a Keras model."""

import dataclasses
import math
from typing import Literal

from mnas_tf.spaces._architecture import check_whole
from nas_tf import blocks as nn
from nas_tf.trial import UserError

# Of ImageNet's training images, as PyTorch's models take them: RGB, pixel / 255.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Scale:
    """The size at which an architecture is built: a proxy that is trained, or a deployment that is timed.

    Every image size from 1 up can be built; below 32 px the last maps are 1 x 1. A width multiplier other than 1
    scales the filters of stem and blocks, rounded to multiples of 8; the head keeps its own.

    For weights of PyTorch: `padding` "symmetric" (`nas_tf.blocks.Style`), and `input_normalization` "imagenet", a
    layer that turns the [-1, 1] that networks here take into (pixel / 255 - mean) / deviation. It cannot be folded
    into the stem, whose zeros at the border stand for the mean colour, which in [-1, 1] is another value in each
    channel. For int8: `activation` "relu6" ends every ReLU at 6, and without `squeeze_excite` no block has any.

    Raises:
        UserError: a value is none that a network can be built from.
    """

    image_size: int = 224
    num_classes: int = 1000
    width_multiplier: float = 1.0
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    dropout_rate: float = 0.2
    padding: Literal["same", "symmetric"] = "same"
    input_normalization: Literal["none", "imagenet"] = "none"
    activation: Literal["relu", "relu6"] = "relu"
    squeeze_excite: bool = True

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
        for name, allowed in (
            ("padding", ("same", "symmetric")),
            ("input_normalization", ("none", "imagenet")),
            ("activation", ("relu", "relu6")),
            ("squeeze_excite", (True, False)),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise UserError(f"Expected {name} to be one of {allowed}. Received: {name}={value!r}")

    @property
    def style(self):
        return nn.Style(self.bn_momentum, self.bn_epsilon, self.activation, self.padding)

    def filters(self, filters):
        """`filters` x the width multiplier, to the nearest multiple of 8 that is not more than 10 % below it."""
        if self.width_multiplier == 1:
            return filters
        exact = filters * self.width_multiplier
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * exact else rounded

    def squeeze_filters(self, se_ratio, built_inputs):
        """int: channels of a layer's squeeze-and-excitation, 0 for none, of the channels it reads as built."""
        return max(1, int(built_inputs * se_ratio)) if se_ratio and self.squeeze_excite else 0


def latency_scale(scale):
    """dict: what of a `Scale` the latency of a network depends on. Without squeeze-and-excitation the units are
    others, under other names, so that a table need not say.

    Raises:
        UserError: the units of such networks have no names of their own, so that no table can have them.
    """
    for name, expected in (("activation", "relu"), ("padding", "same"), ("input_normalization", "none")):
        if getattr(scale, name) != expected:
            raise UserError(
                f"A latency table is of networks with {name}={expected}. Received: {name}={getattr(scale, name)}. "
                "Have files timed by --device=android or --device=host"
            )
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
    style = scale.style
    if scale.input_normalization == "imagenet":
        x = _imagenet_normalized(x)
    x = nn.conv_bn(x, scale.filters(architecture.stem_filters), 3, "stem", style, strides=2)
    for number, block in enumerate(architecture.blocks, 1):
        for layer, (input_filters, strides, skip) in enumerate(block.layers(), 1):
            x = _layer(x, block, input_filters, strides, skip, f"block{number}_layer{layer}", scale, style)
    return nn.conv_bn(x, architecture.head_filters, 1, "head", style)


def classifier(x, scale, activation):
    """Class scores float32 [batch, num_classes] of the head's output."""
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="mean")(x)
    if scale.dropout_rate:
        x = layers.Dropout(scale.dropout_rate, name="dropout")(x)
    return layers.Dense(scale.num_classes, activation=activation, dtype="float32", name="predictions")(x)


def _imagenet_normalized(x):
    """(pixel / 255 - mean) / deviation of the `x` = pixel / 127.5 - 1, channel by channel of RGB."""
    from keras import layers

    scales = [0.5 / deviation for deviation in IMAGENET_DEVIATION]
    offsets = [(0.5 - mean) / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION)]
    return layers.Rescaling(scales, offsets, name="imagenet_normalization")(x)


def _layer(inputs, block, input_filters, strides, skip, name, scale, style):
    filters = scale.filters(block.filters)
    squeeze_filters = scale.squeeze_filters(block.se_ratio, scale.filters(input_filters))
    if block.op == "conv":
        x = nn.conv(inputs, filters, block.kernel_size, name, style, strides, squeeze_filters)
    else:
        x = nn.mbconv(
            inputs, filters, block.kernel_size, name, style, strides, block.expansion_ratio, squeeze_filters
        )
    if skip == "identity":
        return nn.identity_skip(x, inputs, name)
    return nn.pool_skip(x, inputs, name, strides) if skip == "pool" else x
