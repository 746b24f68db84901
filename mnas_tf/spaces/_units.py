"""The pieces of which every network of the MnasNet family is made, as a latency table times them.

A layer is a unit without its skip: a k x k convolution, a depthwise-separable one, or a mobile inverted bottleneck,
with squeeze-and-excitation where it has one. The sum with the layer's input (`identity`) or with its average pool
(`pool`), the stem, the head and the classifier are units too.
"""

import dataclasses

from nas_tf import blocks as nn
from nas_tf.space import Unit


@dataclasses.dataclass(frozen=True)
class NetworkUnit(Unit):
    """`kind` is a layer's operation, `identity`, `pool`, `stem`, `head` or `classifier`; sizes are those of its input
    in pixels and channels, as they are built (after the width multiplier)."""

    kind: str
    size: int
    inputs: int
    filters: int
    kernel_size: int = 1
    strides: int = 1
    expansion_ratio: int = 1
    squeeze_filters: int = 0

    @property
    def name(self):
        text = f"{self.kind}_k{self.kernel_size}_s{self.strides}_e{self.expansion_ratio}_i{self.inputs}_o{self.filters}"
        return text + (f"_se{self.squeeze_filters}" if self.squeeze_filters else "") + f"@{self.size}"

    def build(self):
        import keras
        from keras import layers

        inputs = x = keras.Input((self.size, self.size, self.inputs), name="input")
        style = nn.Style()
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
            x = nn.mbconv(x, self.filters, self.kernel_size, "layer", style, self.strides, self.expansion_ratio,
                          self.squeeze_filters)  # fmt: skip
        return keras.Model(inputs, x)


def parts_of_block(block, size):
    """[(kind, size, input filters, filters, kernel size, strides, expansion, se_ratio), ...]: the layers, and their
    skips, of a `Block` that reads maps of `size` pixels, before any width multiplier."""
    found = []
    for inputs, strides, skip in block.layers():
        found.append((block.op, size, inputs, block.filters, block.kernel_size, strides, block.expansion_ratio,
                      block.se_ratio))  # fmt: skip
        if skip != "none":
            found.append((skip, size, inputs, block.filters, 3 if skip == "pool" else 1, strides, 1, 0.0))
        size = -(-size // strides)
    return found


def unit_of_part(part, scale):
    """The `NetworkUnit` that one of `parts_of_block` is at `scale`."""
    kind, size, inputs, filters, kernel_size, strides, expansion_ratio, se_ratio = part
    built = scale.filters(inputs)
    return NetworkUnit(
        kind, size, built, scale.filters(filters), kernel_size, strides, expansion_ratio,
        scale.squeeze_filters(se_ratio, built),
    )


def units_of_ends(stem_filters, last_filters, head_filters, size, scale):
    """dict of `NetworkUnit` to 1: the stem, the head and the classifier; `size` is that of the head's input."""
    return dict.fromkeys(
        (
            NetworkUnit("stem", scale.image_size, 3, scale.filters(stem_filters), 3, 2),
            NetworkUnit("head", size, scale.filters(last_filters), head_filters),
            NetworkUnit("classifier", size, head_filters, scale.num_classes),
        ),
        1,
    )
