"""Functional Keras 3 blocks that both families use.

Each takes a KerasTensor float32 [batch, height, width, channels] and gives one; a stride s gives
ceil(size / s). A block called `name` names its layers `name_conv`, `name_bn`, `name_relu` and so on.
Convolutions start from a normal distribution of variance 2 / fan-out, as in Google's MnasNet code
(tensorflow/tpu, `mnasnet_model.py`).
"""

import dataclasses

from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Style:
    """What the layers of a network do alike.

    `bn_momentum` is the share of the old moving average that batch normalisation keeps, as Keras means it.
    `activation` is "relu", or "relu6", which also ends at 6. `padding` is "same", or "symmetric" for PyTorch's: a
    k x k convolution with a stride then reads k // 2 zeros on every side of any size, where "same" has fewer in front
    of an even one. Both give ceil(size / stride); without a stride they are one, and pools are always "same".
    """

    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    activation: str = "relu"
    padding: str = "same"

    def norm(self, x, name):
        from keras import layers

        return layers.BatchNormalization(momentum=self.bn_momentum, epsilon=self.bn_epsilon, name=f"{name}_bn")(x)

    def relu(self, x, name):
        """`x` behind a layer called `name`."""
        from keras import layers

        return layers.ReLU(max_value=6.0 if self.activation == "relu6" else None, name=name)(x)

    def padded(self, x, kernel_size, strides, name):
        """`(x, padding)`: what a convolution with this kernel and stride reads, and its own `padding`.

        Raises:
            UserError: the padding is symmetric, and the kernel has no middle.
        """
        from keras import layers

        if self.padding == "same" or kernel_size == 1:
            return x, "same"
        if kernel_size % 2 == 0:
            raise UserError(f"Symmetric padding needs odd kernels. Received: {name} with kernel_size={kernel_size}")
        if strides == 1:
            return x, "same"
        return layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"


def conv_bn(x, filters, kernel_size, name, style, strides=1, relu=True):
    """Convolution, batch normalisation, ReLU if `relu`: [batch, height / strides, width / strides, filters]."""
    from keras import layers

    x, padding = style.padded(x, kernel_size, strides, name)
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer=_fan_out_normal(),
        name=f"{name}_conv",
    )(x)
    x = style.norm(x, name)
    return style.relu(x, f"{name}_relu") if relu else x


def depthwise_bn(x, kernel_size, name, style, strides=1):
    """Depthwise convolution, batch normalisation, ReLU: [batch, height / strides, width / strides, channels]."""
    from keras import layers

    x, padding = style.padded(x, kernel_size, strides, name)
    x = layers.DepthwiseConv2D(
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        depthwise_initializer=_fan_out_normal(),
        name=f"{name}_conv",
    )(x)
    return style.relu(style.norm(x, name), f"{name}_relu")


def squeeze_excite(x, squeeze_filters, name, style):
    """Scales each channel by a sigmoid of the channels' means, seen through `squeeze_filters` (arXiv 1709.01507)."""
    from keras import layers

    means = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    squeezed = layers.Conv2D(
        squeeze_filters, 1, activation=style.activation, kernel_initializer=_fan_out_normal(), name=f"{name}_squeeze"
    )(means)
    scales = layers.Conv2D(
        x.shape[-1], 1, activation="sigmoid", kernel_initializer=_fan_out_normal(), name=f"{name}_excite"
    )(squeezed)
    return layers.Multiply(name=f"{name}_scale")([x, scales])


def conv(x, filters, kernel_size, name, style, strides=1, squeeze_filters=0):
    """A regular convolution with its ReLU, then squeeze-and-excitation where `squeeze_filters` > 0."""
    x = conv_bn(x, filters, kernel_size, name, style, strides)
    return squeeze_excite(x, squeeze_filters, f"{name}_se", style) if squeeze_filters else x


def mbconv(x, filters, kernel_size, name, style, strides=1, expansion_ratio=1, squeeze_filters=0):
    """Mobile inverted bottleneck (arXiv 1801.04381) without its skip; expansion 1 is a depthwise-separable convolution.

    1 x 1 convolution to `expansion_ratio` x channels where that is above 1, depthwise convolution,
    squeeze-and-excitation where `squeeze_filters` > 0, 1 x 1 convolution to `filters` without ReLU.
    """
    if expansion_ratio > 1:
        x = conv_bn(x, expansion_ratio * x.shape[-1], 1, f"{name}_expand", style)
    x = depthwise_bn(x, kernel_size, f"{name}_depthwise", style, strides)
    if squeeze_filters:
        x = squeeze_excite(x, squeeze_filters, f"{name}_se", style)
    return conv_bn(x, filters, 1, f"{name}_project", style, relu=False)


def identity_skip(x, inputs, name):
    """`x + inputs`, of one shape."""
    from keras import layers

    return layers.Add(name=f"{name}_add")([x, inputs])


def pool_skip(x, inputs, name, strides=1):
    """`x` + the 3 x 3 average pool of `inputs` at `strides`; `x` has the channels of `inputs` and the pool's size."""
    from keras import layers

    pooled = layers.AveragePooling2D(3, strides=strides, padding="same", name=f"{name}_pool")(inputs)
    return layers.Add(name=f"{name}_add")([x, pooled])


def _fan_out_normal():
    from keras import initializers

    return initializers.VarianceScaling(scale=2.0, mode="fan_out", distribution="untruncated_normal")
