"""The units of which every network of the MnasNet family is made, as a latency table times them.

A layer without its skip is a unit: a k x k convolution, a depthwise-separable convolution or a mobile inverted
bottleneck, with its squeeze-and-excitation. The sum with the layer's input (`identity`) or with the average pool of
that input (`pool`), the stem, the head and the classifier are units too.
"""

import dataclasses
import functools

from mnas_tf.spaces._network import imagenet_normalization
from nas_tf.networks import blocks as nn
from nas_tf.space import Unit

_DEFAULT = nn.Style()


@dataclasses.dataclass(frozen=True)
class NetworkUnit(Unit):
    """One unit, with its shape as it is built, after the width multiplier.

    Attributes:
        kind: a layer's operation, or `identity`, `pool`, `stem`, `head` or `classifier`.
        size: height and width of its input in pixels.
        inputs: channels of its input.
        filters: channels of its output.
        kernel_size, strides, expansion_ratio: as in `Block`.
        squeeze_filters: channels of its squeeze-and-excitation; 0: it has none.
        style: of its network. It is no part of the name: a latency table is of one style.
        normalizes: whether a stem brings images to ImageNet's mean and deviation first.
    """

    kind: str
    size: int
    inputs: int
    filters: int
    kernel_size: int = 1
    strides: int = 1
    expansion_ratio: int = 1
    squeeze_filters: int = 0
    style: nn.Style = _DEFAULT
    normalizes: bool = False

    @property
    def name(self):
        text = f"{self.kind}_k{self.kernel_size}_s{self.strides}_e{self.expansion_ratio}_i{self.inputs}_o{self.filters}"
        return text + (f"_se{self.squeeze_filters}" if self.squeeze_filters else "") + f"@{self.size}"

    def build(self):
        import keras
        from keras import layers

        inputs = x = keras.Input((self.size, self.size, self.inputs), name="input")
        style = self.style
        if self.normalizes:
            x = imagenet_normalization(x)
        if self.kind in ("stem", "head"):
            x = nn.conv_bn(x, self.filters, self.kernel_size, self.kind, style, self.strides)
        elif self.kind == "classifier":
            x = layers.GlobalAveragePooling2D()(x)
            x = layers.Dense(self.filters, activation="softmax")(x)
        elif self.kind == "conv":
            x = nn.conv(x, self.filters, self.kernel_size, "conv", style, self.strides, self.squeeze_filters)
        elif self.kind in ("identity", "pool"):
            size = -(-self.size // self.strides)
            other = keras.Input((size, size, self.filters), name="other")
            skip = nn.pool_skip(other, x, "skip", self.strides) if self.kind == "pool" else layers.Add()([other, x])
            return keras.Model([inputs, other], skip)
        else:
            shape = self.strides, self.expansion_ratio, self.squeeze_filters
            x = nn.mbconv(x, self.filters, self.kernel_size, "layer", style, *shape)
        return keras.Model(inputs, x)


def groups_of_block(block, size):
    """Lists the layers of a `Block`, and their skips, with their shapes before the width multiplier.

    Args:
        block: the `Block`.
        size: height and width in pixels of the maps that it reads.

    Returns:
        A list of tuples: kind, size, input filters, filters, kernel size, strides, expansion ratio, se_ratio.
    """
    found, filters = [], block.filters
    for inputs, strides, skip in block.layers():
        shape = block.kernel_size, strides, block.expansion_ratio, block.se_ratio
        found.append((block.op, size, inputs, filters, *shape))
        if skip != "none":
            found.append((skip, size, inputs, filters, 3 if skip == "pool" else 1, strides, 1, 0.0))
        size = -(-size // strides)
    return found


def unit_of_group(group, scale):
    """Returns the `NetworkUnit` at `scale` of one of the tuples that `groups_of_block` returns."""
    kind, size, inputs, filters, kernel_size, strides, expansion_ratio, se_ratio = group
    built = scale.filters(inputs)
    squeeze_filters = scale.squeeze_filters(se_ratio, built)
    return NetworkUnit(
        kind,
        size,
        built,
        scale.filters(filters),
        kernel_size,
        strides,
        expansion_ratio,
        squeeze_filters,
        style_of(scale),
    )


def units_of_ends(stem_filters, last_filters, head_filters, size, image_size, scale):
    """Returns a dict from the `NetworkUnit`s of stem, head and classifier to 1.

    Args:
        stem_filters, last_filters, head_filters: channels that the stem, the last block and the head return.
        size, image_size: height and width of the head's input and of the images in pixels.
        scale: the `Scale`.
    """
    style, normalizes = style_of(scale), scale.input_normalization == "imagenet"
    return dict.fromkeys(
        (
            NetworkUnit("stem", image_size, 3, scale.filters(stem_filters), 3, 2, style=style, normalizes=normalizes),
            NetworkUnit("head", size, scale.filters(last_filters), head_filters, style=style),
            NetworkUnit("classifier", size, head_filters, scale.num_classes, style=style),
        ),
        1,
    )


@functools.lru_cache(maxsize=16)
def style_of(scale):
    """Returns what of a scale's `Style` a latency depends on."""
    return nn.Style(activation=scale.activation, padding=scale.padding)
