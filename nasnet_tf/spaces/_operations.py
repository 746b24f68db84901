"""The operations of a cell, in Keras's functional API (arXiv 1707.07012, section 3.1 and appendix A.4).

Every convolution is ReLU, convolution, batch normalisation. A separable convolution is applied twice, with nothing
between its depthwise and its pointwise half. At stride s, n pixels become ceil(n / s). All tensors are float32
[batch, height, width, channels].
"""

from functools import partial


class State:
    """A tensor that several operations read, and what they have in common, made when it is first asked for.

    Attributes:
        tensor: the tensor.
        name: the beginning of its layers' names.
        style: the network's `nas_tf.networks.blocks.Style`.
    """

    def __init__(self, tensor, name, style):
        self.tensor, self.name, self.style, self._made = tensor, name, style, {}

    @property
    def relu(self):
        """The tensor behind a ReLU."""
        return self._once("relu", lambda name: self.style.relu(self.tensor, name))

    def zero_padded(self, kernel_size):
        """Returns the tensor with the zeros around it that a window of `kernel_size` with stride 2 reads."""
        from keras import layers

        pads = []
        for size in self.tensor.shape[1:3]:
            total = max((-(-size // 2) - 1) * 2 + kernel_size - size, 0)
            pads.append((total // 2, total - total // 2))
        return self._once(f"pad{kernel_size}", lambda name: layers.ZeroPadding2D(tuple(pads), name=name)(self.tensor))

    def fitted(self, filters):
        """Returns a `State` with `filters` channels: this one, or its projection by a 1 x 1 convolution."""
        if self.tensor.shape[-1] == filters:
            return self
        return self._once(
            f"fit{filters}", lambda name: State(conv_bn(self.relu, filters, 1, name, self.style), name, self.style)
        )

    def _once(self, what, make):
        if what not in self._made:
            self._made[what] = make(f"{self.name}_{what}")
        return self._made[what]


def conv_bn(x, filters, kernel_size, name, style, strides=1, dilation=1):
    """Returns `x`, which is behind its ReLU, behind a convolution without bias and batch normalisation."""
    from keras import layers

    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return style.norm(x, name)


def every_second(x, name):
    """Returns every second pixel of `x`, in both directions.

    A 1 x 1 convolution with a stride of 2 would read the same pixels. But its gradient corrupts memory under oneDNN
    (TensorFlow 2.21 on the CPU) when one batch is smaller than another.
    """
    from keras import layers

    return layers.AveragePooling2D(1, strides=2, name=f"{name}_keep")(x)


def factorized_reduction(state, filters, name):
    """Returns the state's tensor at half its height and width, with at least 2 `filters`.

    It is the concatenation of two 1 x 1 convolutions of every second pixel. The second one reads the pixels that are
    one further down and to the right (`factorized_reduction` in NASNet's code).
    """
    from keras import layers

    shifted = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(state.relu)
    shifted = layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(shifted)
    halves = []
    for number, (x, count) in enumerate(((state.relu, filters // 2), (shifted, filters - filters // 2)), 1):
        conv = layers.Conv2D(count, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_{number}_conv")
        halves.append(conv(every_second(x, f"{name}_{number}")))
    return state.style.norm(layers.Concatenate(name=f"{name}_concat")(halves), name)


def apply(operation, state, filters, strides, name):
    """Applies an operation to a state.

    Args:
        operation: one of `_cell.OPERATIONS`.
        state: the `State` that it reads.
        filters: channels of its result.
        strides: 1, or 2 to halve height and width.
        name: the beginning of its layers' names.

    Returns:
        The resulting tensor.
    """
    return _OPERATIONS[operation](state, filters, strides, name)


def _identity(state, filters, strides, name):
    if strides == 1:
        return state.fitted(filters).tensor
    return factorized_reduction(state, filters, name)


def _conv(state, filters, strides, name, *, kernels):
    """One convolution, or one along each axis, which has the stride along that axis."""
    x = state.relu
    if strides > 1 and kernels == ((1, 1),):
        x, strides = every_second(x, name), 1
    for number, (height, width) in enumerate(kernels, 1):
        if number > 1:
            x = state.style.relu(x, f"{name}_{number}_relu")
        along = strides if len(kernels) == 1 else (strides if height > 1 else 1, strides if width > 1 else 1)
        x = conv_bn(x, filters, (height, width), f"{name}_{number}", state.style, along)
    return x


def _dilated_conv(state, filters, strides, name):
    """A 3 x 3 convolution with dilation 2.

    At stride 2 it reads only pixels that a stride of 2 keeps, so it is a plain convolution of those pixels.
    """
    if strides == 1:
        return conv_bn(state.relu, filters, 3, name, state.style, dilation=2)
    return conv_bn(every_second(state.relu, name), filters, 3, name, state.style)


def _separable_conv(state, filters, strides, name, *, kernel_size):
    from keras import layers

    x = state.relu
    for number, each in enumerate((strides, 1), 1):
        if number > 1:
            x = state.style.relu(x, f"{name}_{number}_relu")
        x = layers.SeparableConv2D(
            filters,
            kernel_size,
            strides=each,
            padding="same",
            use_bias=False,
            depthwise_initializer="he_normal",
            pointwise_initializer="he_normal",
            name=f"{name}_{number}_conv",
        )(x)
        x = state.style.norm(x, f"{name}_{number}")
    return x


def _pool(state, filters, strides, name, *, layer, size):
    from keras import layers

    state, pooling = state.fitted(filters), getattr(layers, layer)
    if strides == 1:
        return pooling(size, strides=1, padding="same", name=f"{name}_pool")(state.tensor)
    # As in keras.applications, whose weights can be loaded: averages count the zeros around the map.
    return pooling(size, strides=2, name=f"{name}_pool")(state.zero_padded(size))


_OPERATIONS = {
    "identity": _identity,
    "conv_1x3_3x1": partial(_conv, kernels=((1, 3), (3, 1))),
    "conv_1x7_7x1": partial(_conv, kernels=((1, 7), (7, 1))),
    "dil_conv_3x3": _dilated_conv,
    "avg_pool_3x3": partial(_pool, layer="AveragePooling2D", size=3),
    "max_pool_3x3": partial(_pool, layer="MaxPooling2D", size=3),
    "max_pool_5x5": partial(_pool, layer="MaxPooling2D", size=5),
    "max_pool_7x7": partial(_pool, layer="MaxPooling2D", size=7),
    "conv_1x1": partial(_conv, kernels=((1, 1),)),
    "conv_3x3": partial(_conv, kernels=((3, 3),)),
    "sep_conv_3x3": partial(_separable_conv, kernel_size=3),
    "sep_conv_5x5": partial(_separable_conv, kernel_size=5),
    "sep_conv_7x7": partial(_separable_conv, kernel_size=7),
}
