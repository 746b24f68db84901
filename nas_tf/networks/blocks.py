"""Blocks of layers in Keras's functional API, which both families use.

Each block takes a KerasTensor `x`, float32 [batch, height, width, channels], and returns another one. With stride s, a
size becomes ceil(size / s). A block called `name` names its layers `name_conv`, `name_bn`, `name_relu` and so on.
Convolutions begin with weights from a normal distribution of variance 2 / fan-out, as in Google's MnasNet code
(tensorflow/tpu, `mnasnet_model.py`).
"""

import dataclasses

from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Style:
    """What all layers of a network have in common.

    Attributes:
        bn_momentum: share of the old moving average that batch normalisation keeps, with Keras's meaning.
        bn_epsilon: epsilon of batch normalisation.
        activation: `"relu"`, or `"relu6"`, which ends at 6.
        padding: `"same"`, or `"symmetric"` for PyTorch's. With `"symmetric"` a k x k convolution with a stride reads
            k // 2 zeros on every side; with `"same"` it reads fewer zeros before an even size than behind it. A size
            becomes ceil(size / stride) with both. Without a stride they are the same, and pools are always `"same"`.
    """

    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    activation: str = "relu"
    padding: str = "same"

    def norm(self, x, name):
        """Returns `x` behind batch normalisation, which is called `name` and `_bn`."""
        from keras import layers

        return layers.BatchNormalization(momentum=self.bn_momentum, epsilon=self.bn_epsilon, name=f"{name}_bn")(x)

    def relu(self, x, name):
        """Returns `x` behind a ReLU called `name`."""
        from keras import layers

        return layers.ReLU(max_value=6.0 if self.activation == "relu6" else None, name=name)(x)

    def padded(self, x, kernel_size, strides, name):
        """Returns `(x, padding)`: what a convolution with this kernel and stride reads, and its own `padding`.

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
    """Returns `x` behind a convolution, batch normalisation and, if `relu` is true, ReLU."""
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
    """Returns `x` behind a depthwise convolution, batch normalisation and ReLU."""
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
    """Returns `x` behind squeeze-and-excitation with so many `squeeze_filters` (arXiv 1709.01507)."""
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
    """Returns `x` behind a regular convolution with ReLU and, if `squeeze_filters` > 0, squeeze-and-excitation."""
    x = conv_bn(x, filters, kernel_size, name, style, strides)
    return squeeze_excite(x, squeeze_filters, f"{name}_se", style) if squeeze_filters else x


def mbconv(x, filters, kernel_size, name, style, strides=1, expansion_ratio=1, squeeze_filters=0):
    """Returns `x` behind a mobile inverted bottleneck (arXiv 1801.04381) without its skip.

    It is a 1 x 1 convolution to `expansion_ratio` x channels, a depthwise convolution, squeeze-and-excitation, and a
    1 x 1 convolution to `filters` without ReLU. With expansion 1 it is a depthwise-separable convolution.

    Args:
        x: the tensor that it reads.
        filters: channels of the result.
        kernel_size: of the depthwise convolution.
        name: the beginning of its layers' names.
        style: the network's `Style`.
        strides: of the depthwise convolution.
        expansion_ratio: 1: there is no first convolution.
        squeeze_filters: 0: there is no squeeze-and-excitation.
    """
    if expansion_ratio > 1:
        x = conv_bn(x, expansion_ratio * x.shape[-1], 1, f"{name}_expand", style)
    x = depthwise_bn(x, kernel_size, f"{name}_depthwise", style, strides)
    if squeeze_filters:
        x = squeeze_excite(x, squeeze_filters, f"{name}_se", style)
    return conv_bn(x, filters, 1, f"{name}_project", style, relu=False)


def identity_skip(x, inputs, name):
    """Returns `x + inputs`, which have the same shape."""
    from keras import layers

    return layers.Add(name=f"{name}_add")([x, inputs])


def pool_skip(x, inputs, name, strides=1):
    """Returns the sum of `x` and the 3 x 3 average pool of `inputs` at `strides`, which have the same shape."""
    from keras import layers

    pooled = layers.AveragePooling2D(3, strides=strides, padding="same", name=f"{name}_pool")(inputs)
    return layers.Add(name=f"{name}_add")([x, pooled])


def _fan_out_normal():
    from keras import initializers

    return initializers.VarianceScaling(scale=2.0, mode="fan_out", distribution="untruncated_normal")
