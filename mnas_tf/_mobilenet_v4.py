"""MobileNetV4's convolutional networks: universal inverted bottlenecks behind plain or fused convolutions.

Paper: arXiv 2404.10518. Layers: tensorflow/models, `official/vision/modeling/backbones/mobilenet.py`
(`MNV4ConvSmall_BLOCK_SPECS`, `_mnv4_conv_medium_block_specs`). A stage is the layers from one halving of the map to
the next, as in timm (`timm/models/mobilenetv3.py`), so that layers and timm's tensors are numbered alike.
"""

import dataclasses

from mnas_tf.spaces import _network
from nas_tf.networks import blocks as nn

STEM_FILTERS, HEAD_FILTERS = 32, 1280


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution with batch normalisation and ReLU."""

    kernel_size: int
    strides: int
    filters: int


@dataclasses.dataclass(frozen=True)
class FusedBottleneck:
    """A convolution to `expansion_ratio` x the channels that it reads, with ReLU, and a 1 x 1 one to `filters`."""

    kernel_size: int
    strides: int
    filters: int
    expansion_ratio: int


@dataclasses.dataclass(frozen=True)
class UniversalBottleneck:
    """An inverted bottleneck with a depthwise convolution before its expansion, behind it, at both places or at none.

    Attributes:
        start_kernel: size of the one before the expansion, which no ReLU follows; 0: there is none.
        middle_kernel: size of the one behind it; 0: there is none.
        strides: of the middle one, or of the first where there is no middle one.
        filters: channels of the result. Where the layer keeps its input's shape, the input is added.
        expansion_ratio: of the 1 x 1 convolution between them.
    """

    start_kernel: int
    middle_kernel: int
    strides: int
    filters: int
    expansion_ratio: int


@dataclasses.dataclass(frozen=True)
class MobileNetV4:
    """A network of the family: its stages, tuples of layers. Stem and head are the same in all."""

    stages: tuple[tuple, ...]


_Conv, _Fused, _Uib = Convolution, FusedBottleneck, UniversalBottleneck
CONV_S = MobileNetV4(
    (
        (_Conv(3, 2, 32), _Conv(1, 1, 32)),
        (_Conv(3, 2, 96), _Conv(1, 1, 64)),
        (_Uib(5, 5, 2, 96, 3), *(_Uib(0, 3, 1, 96, 2),) * 4, _Uib(3, 0, 1, 96, 4)),
        (
            _Uib(3, 3, 2, 128, 6),
            _Uib(5, 5, 1, 128, 4),
            _Uib(0, 5, 1, 128, 4),
            _Uib(0, 5, 1, 128, 3),
            *(_Uib(0, 3, 1, 128, 4),) * 2,
        ),
        (_Conv(1, 1, 960),),
    )
)
CONV_M = MobileNetV4(
    (
        (_Fused(3, 2, 48, 4),),
        (_Uib(3, 5, 2, 80, 4), _Uib(3, 3, 1, 80, 2)),
        (
            _Uib(3, 5, 2, 160, 6),
            *(_Uib(3, 3, 1, 160, 4),) * 2,
            _Uib(3, 5, 1, 160, 4),
            _Uib(3, 3, 1, 160, 4),
            _Uib(3, 0, 1, 160, 4),
            _Uib(0, 0, 1, 160, 2),
            _Uib(3, 0, 1, 160, 4),
        ),
        (
            _Uib(5, 5, 2, 256, 6),
            _Uib(5, 5, 1, 256, 4),
            *(_Uib(3, 5, 1, 256, 4),) * 2,
            _Uib(0, 0, 1, 256, 4),
            _Uib(3, 0, 1, 256, 4),
            _Uib(3, 5, 1, 256, 2),
            _Uib(5, 5, 1, 256, 4),
            *(_Uib(0, 0, 1, 256, 4),) * 2,
            _Uib(5, 0, 1, 256, 2),
        ),
        (_Conv(1, 1, 960),),
    )
)


def features(x, architecture, scale):
    """Returns the last stage's output, float32 [batch, height, width, filters].

    Args:
        x: the images, float32 [batch, height, width, 3] in [-1, 1].
        architecture: the `MobileNetV4`.
        scale: its `mnas_tf.spaces.mnasnet.Scale`. Widths below 1 keep the stem, as timm's do.
    """
    style = scale.style
    stem_filters = max(STEM_FILTERS, scale.filters(STEM_FILTERS))
    x = nn.conv_bn(_network.normalized(x, scale), stem_filters, 3, "stem", style, 2)
    for number, stage in enumerate(architecture.stages, 1):
        for position, layer in enumerate(stage, 1):
            x = _BUILDERS[type(layer)](x, layer, f"block{number}_layer{position}", scale, style)
    return x


def classifier(x, scale, activation):
    """Returns the class scores, float32 [batch, num_classes], of the last stage's output `x`.

    The head's 1 x 1 convolution reads the mean over all pixels, so it costs the same for every image size.
    """
    from keras import layers

    x = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    x = nn.conv_bn(x, HEAD_FILTERS, 1, "head", scale.style)
    return _network.scores(layers.Flatten(name="flat")(x), scale, activation)


def _convolution(x, layer, name, scale, style):
    return nn.conv_bn(x, scale.filters(layer.filters), layer.kernel_size, f"{name}_plain", style, layer.strides)


def _fused_bottleneck(x, layer, name, scale, style):
    wide = layer.expansion_ratio * x.shape[-1]
    x = nn.conv_bn(x, wide, layer.kernel_size, f"{name}_fused", style, layer.strides)
    return nn.conv_bn(x, scale.filters(layer.filters), 1, f"{name}_fused_project", style, relu=False)


def _universal_bottleneck(inputs, layer, name, scale, style):
    x, filters, wide = inputs, scale.filters(layer.filters), layer.expansion_ratio * inputs.shape[-1]
    if layer.start_kernel:
        strides = 1 if layer.middle_kernel else layer.strides
        x = _depthwise_without_relu(x, layer.start_kernel, f"{name}_uib_start_depthwise", style, strides)
    x = nn.conv_bn(x, wide, 1, f"{name}_uib_expand", style)
    if layer.middle_kernel:
        x = nn.depthwise_bn(x, layer.middle_kernel, f"{name}_uib_depthwise", style, layer.strides)
    x = nn.conv_bn(x, filters, 1, f"{name}_uib_project", style, relu=False)
    keeps_shape = layer.strides == 1 and filters == inputs.shape[-1]
    return nn.identity_skip(x, inputs, f"{name}_uib") if keeps_shape else x


def _depthwise_without_relu(x, kernel_size, name, style, strides):
    from keras import initializers, layers

    x, padding = style.padded(x, kernel_size, strides, name)
    x = layers.DepthwiseConv2D(
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        depthwise_initializer=initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=f"{name}_conv",
    )(x)
    return style.norm(x, name)


_BUILDERS = {
    Convolution: _convolution,
    FusedBottleneck: _fused_bottleneck,
    UniversalBottleneck: _universal_bottleneck,
}
