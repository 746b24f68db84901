"""Functional Keras 3 blocks that both families use.

Each takes a KerasTensor float32 [batch, height, width, channels] and gives one; padding is "same", so that a stride s
gives ceil(size / s). A block called `name` names its layers `name_conv`, `name_bn`, `name_relu` and so on.
Convolutions start from a normal distribution of variance 2 / fan-out, as in Google's MnasNet code
(tensorflow/tpu, `mnasnet_model.py`).
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """How a network normalises: Keras's `momentum` (the share of the old moving average kept) and `epsilon`."""

    momentum: float = 0.99
    epsilon: float = 1e-3

    def __call__(self, x, name):
        from keras import layers

        return layers.BatchNormalization(momentum=self.momentum, epsilon=self.epsilon, name=f"{name}_bn")(x)


def conv_bn(x, filters, kernel_size, name, norm, strides=1, relu=True):
    """Convolution, batch normalisation, ReLU if `relu`: [batch, height / strides, width / strides, filters]."""
    from keras import layers

    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=_fan_out_normal(),
        name=f"{name}_conv",
    )(x)
    x = norm(x, name)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def depthwise_bn(x, kernel_size, name, norm, strides=1):
    """Depthwise convolution, batch normalisation, ReLU: [batch, height / strides, width / strides, channels]."""
    from keras import layers

    x = layers.DepthwiseConv2D(
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer=_fan_out_normal(),
        name=f"{name}_conv",
    )(x)
    return layers.ReLU(name=f"{name}_relu")(norm(x, name))


def squeeze_excite(x, squeeze_filters, name):
    """Scales each channel by a sigmoid of the channels' means, seen through `squeeze_filters` (arXiv 1709.01507)."""
    from keras import layers

    means = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    squeezed = layers.Conv2D(
        squeeze_filters, 1, activation="relu", kernel_initializer=_fan_out_normal(), name=f"{name}_squeeze"
    )(means)
    scales = layers.Conv2D(
        x.shape[-1], 1, activation="sigmoid", kernel_initializer=_fan_out_normal(), name=f"{name}_excite"
    )(squeezed)
    return layers.Multiply(name=f"{name}_scale")([x, scales])


def conv(x, filters, kernel_size, name, norm, strides=1, squeeze_filters=0):
    """A regular convolution with its ReLU, then squeeze-and-excitation where `squeeze_filters` > 0."""
    x = conv_bn(x, filters, kernel_size, name, norm, strides)
    return squeeze_excite(x, squeeze_filters, f"{name}_se") if squeeze_filters else x


def mbconv(x, filters, kernel_size, name, norm, strides=1, expansion_ratio=1, squeeze_filters=0):
    """Mobile inverted bottleneck (arXiv 1801.04381) without its skip; expansion 1 is a depthwise-separable convolution.

    1 x 1 convolution to `expansion_ratio` x channels where that is above 1, depthwise convolution,
    squeeze-and-excitation where `squeeze_filters` > 0, 1 x 1 convolution to `filters` without ReLU.
    """
    if expansion_ratio > 1:
        x = conv_bn(x, expansion_ratio * x.shape[-1], 1, f"{name}_expand", norm)
    x = depthwise_bn(x, kernel_size, f"{name}_depthwise", norm, strides)
    if squeeze_filters:
        x = squeeze_excite(x, squeeze_filters, f"{name}_se")
    return conv_bn(x, filters, 1, f"{name}_project", norm, relu=False)


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
