"""Builds the Keras model of an architecture of the MnasNet family at a scale."""

import dataclasses

from nas_tf.networks import blocks as nn
from nas_tf.settings import Settings, knob
from nas_tf.trial import UserError

# Mean and standard deviation of RGB, pixel / 255, over ImageNet's training images, as PyTorch's models take them.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STEM_STRIDES = 2


@dataclasses.dataclass(frozen=True)
class Scale(Settings):
    """The size at which an architecture is built: for a proxy that is trained, or for a deployment that is timed.

    Every image size from 1 up can be built; up to 32 px the last maps are 1 x 1, unless `least_map_size` is larger.

    Attributes:
        image_size: height and width of the images in pixels.
        num_classes: how many classes the network tells apart.
        width_multiplier: factor on the filters of stem and blocks. Unless it is 1, filters are rounded to multiples of
            `filter_multiple`. The head keeps its own filters.
        bn_momentum, bn_epsilon: of batch normalisation, with Keras's meaning.
        dropout_rate: share of features that is dropped before the classifier while training.
        padding: `"same"`, or `"symmetric"` for weights of PyTorch (`nas_tf.networks.blocks.Style`).
        input_normalization: `"none"`, or `"imagenet"` for weights of PyTorch: a layer turns the [-1, 1] that networks
            here take into (pixel / 255 - mean) / deviation. This cannot be folded into the stem: the zeros at its
            border stand for the mean colour, which in [-1, 1] has another value in each channel.
        activation: `"relu"`, or `"relu6"`, which ends every ReLU at 6 and so loses less at int8.
        squeeze_excite: whether blocks have the squeeze-and-excitation of the architecture, which loses at int8.
        filter_multiple: what filters are rounded to multiples of. 8 makes networks that run fast. With 1 even narrow
            networks of different filters stay different.
        least_map_size: height and width in pixels below which no stride makes maps smaller: such a layer has stride 1.
            On maps of 1 x 1 a kernel reads nothing but its centre.

    Raises:
        UserError: no network can be built with one of these values.
    """

    image_size: int = knob(224, least=1, most=4096)
    num_classes: int = knob(1000, least=1, most=1_000_000)
    width_multiplier: float = knob(1.0, above=0, most=16)
    bn_momentum: float = knob(0.99, least=0, below=1)
    bn_epsilon: float = knob(1e-3, above=0)
    dropout_rate: float = knob(0.2, least=0, below=1)
    padding: str = knob("same", choices=("same", "symmetric"))
    input_normalization: str = knob("none", choices=("none", "imagenet"))
    activation: str = knob("relu", choices=("relu", "relu6"))
    squeeze_excite: bool = knob(True, choices=(True, False))
    filter_multiple: int = knob(8, least=1, most=1024)
    least_map_size: int = knob(1, least=1, most=4096)

    @property
    def style(self):
        """The `nas_tf.networks.blocks.Style` of a network at this scale."""
        return nn.Style(self.bn_momentum, self.bn_epsilon, self.activation, self.padding)

    def filters(self, filters):
        """int: `filters` x the width multiplier, as the nearest multiple of `filter_multiple`.

        It is at least one multiple, and at most 10 % below the product; a multiple of 1 may be more below it.
        """
        if self.width_multiplier == 1:
            return filters
        exact, multiple = filters * self.width_multiplier, self.filter_multiple
        rounded = max(multiple, int((exact + multiple / 2) // multiple) * multiple)
        return rounded + multiple if rounded < 0.9 * exact and multiple > 1 else rounded

    def squeeze_filters(self, se_ratio, built_inputs):
        """int: channels of a layer's squeeze-and-excitation; 0: the layer has none.

        Args:
            se_ratio: the ratio of the block.
            built_inputs: channels that the layer reads at this scale.
        """
        return max(1, int(built_inputs * se_ratio)) if se_ratio and self.squeeze_excite else 0


def latency_scale(scale):
    """Returns a dict of all of a `Scale` that the latency of a network depends on.

    `squeeze_excite` is not in it: without squeeze-and-excitation units have other names.

    Raises:
        UserError: units at this scale have no names of their own, so that no table can hold them.
    """
    for name in ("filter_multiple", "least_map_size"):
        expected = getattr(Scale, name)
        if getattr(scale, name) != expected:
            raise UserError(
                f"A latency table is of networks with {name}={expected}. Received: {name}={getattr(scale, name)}. "
                "Have files timed by --device=android or --device=host"
            )
    style = {name: getattr(scale, name) for name in ("activation", "padding", "input_normalization")}
    own = {name: value for name, value in style.items() if value != getattr(Scale, name)}
    own = {"style": own} if own else {}  # tables of networks in the default style do not name it
    return {**{name: getattr(scale, name) for name in ("image_size", "num_classes", "width_multiplier")}, **own}


def sized(architecture, scale):
    """Returns the scale with the architecture's own image size, if it has one."""
    own = architecture.image_size
    return dataclasses.replace(scale, image_size=own) if own and own != scale.image_size else scale


def halved(size):
    """int: height and width behind the stem, in pixels, of images of this size."""
    return -(-size // 2)


def built_maps(strides, scale):
    """Lists `(size, strides)` of layers as they are built: the maps that a layer reads, in pixels, and its strides.

    Args:
        strides: the strides of each layer of an architecture, the stem's first.
        scale: the `Scale`. Its `least_map_size` makes strides 1.
    """
    size, found = scale.image_size, []
    for each in strides:
        built = each if -(-size // each) >= scale.least_map_size else 1
        found.append((size, built))
        size = -(-size // built)
    return found


def built_layers(architecture, scale):
    """Lists `built_maps` of the stem and of each layer of the blocks of a `MnasNet` at its own image size."""
    layers = (layer for block in architecture.blocks for layer in block.layers())
    return built_maps((STEM_STRIDES, *(strides for _, strides, _ in layers)), sized(architecture, scale))


def child_note(strides, scale):
    """Returns in words what networks have otherwise at `scale` than where they ship; empty: nothing.

    Args:
        strides: the strides of all blocks of the space's networks.
        scale: the `Scale` of children.
    """
    strides, notes = (STEM_STRIDES, *strides), []
    maps = built_maps(strides, scale)
    asked, kept = (sum(each > 1 for each in some) for some in (strides, (built for _, built in maps)))
    if kept < asked:
        size = -(-maps[-1][0] // maps[-1][1])
        notes.append(f"keep {kept} of {asked} strides, so that their last maps are {size} x {size} pixels")
    if scale.width_multiplier != 1 and scale.filter_multiple != Scale.filter_multiple:
        notes.append(f"have filters that are not rounded to multiples of {Scale.filter_multiple}")
    return f"children of {scale.image_size} px {', and '.join(notes)}" if notes else ""


def build(architecture, scale):
    """Builds the `keras.Model` of a `MnasNet` at a `Scale`, for images of its own size if it has one.

    It takes float32 [batch, size, size, 3] and returns probabilities, float32 [batch, classes].
    """
    import keras

    scale = sized(architecture, scale)
    inputs = keras.Input((scale.image_size, scale.image_size, 3), name="image")
    outputs = classifier(features(inputs, architecture, scale), scale, "softmax")
    return keras.Model(inputs, outputs, name="mnasnet")


def features(x, architecture, scale):
    """Returns the head's output, float32 [batch, height, width, head_filters].

    Args:
        x: the images, float32 [batch, height, width, 3].
        architecture: the `MnasNet`.
        scale: its `Scale`.
    """
    x = normalized(x, scale)
    built_strides = (strides for _, strides in built_layers(architecture, scale))
    x = nn.conv_bn(x, scale.filters(architecture.stem_filters), 3, "stem", scale.style, next(built_strides))
    for number, block in enumerate(architecture.blocks, 1):
        x = _block(x, block, number, built_strides, scale)
    return nn.conv_bn(x, architecture.head_filters, 1, "head", scale.style)


def build_block(architecture, number, scale):
    """Builds one block of a `MnasNet` alone, as a `keras.Model` from the map before it to the map behind it.

    Its layers have the names that they have in the network.

    Args:
        architecture: the `MnasNet`.
        number: of the block, from 1 on.
        scale: the `Scale`.
    """
    import keras

    before, block = architecture.blocks[: number - 1], architecture.blocks[number - 1]
    maps = built_layers(architecture, scale)[1 + sum(each.repeats for each in before) :]
    filters = scale.filters(block.input_filters)
    inputs = keras.Input((maps[0][0], maps[0][0], filters), name="map")
    return keras.Model(inputs, _block(inputs, block, number, (strides for _, strides in maps), scale))


def _block(x, block, number, built_strides, scale):
    for layer, (input_filters, _, skip) in enumerate(block.layers(), 1):
        name = f"block{number}_layer{layer}"
        x = _layer(x, block, input_filters, next(built_strides), skip, name, scale, scale.style)
    return x


def classifier(x, scale, activation):
    """Returns the class scores, float32 [batch, num_classes], of the head's output `x`."""
    from keras import layers

    return scores(layers.GlobalAveragePooling2D(name="mean")(x), scale, activation)


def scores(x, scale, activation):
    """Returns the class scores, float32 [batch, num_classes], of features `x`, [batch, channels]."""
    from keras import layers

    if scale.dropout_rate:
        x = layers.Dropout(scale.dropout_rate, name="dropout")(x)
    return layers.Dense(scale.num_classes, activation=activation, dtype="float32", name="predictions")(x)


def normalized(x, scale):
    """Returns what the stem reads of images `x` = pixel / 127.5 - 1, by the scale's `input_normalization`."""
    return x if scale.input_normalization == "none" else imagenet_normalization(x)


def imagenet_normalization(x):
    """Returns (pixel / 255 - mean) / deviation of images `x` = pixel / 127.5 - 1."""
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
        x = nn.mbconv(inputs, filters, block.kernel_size, name, style, strides, block.expansion_ratio, squeeze_filters)
    if skip == "identity":
        return nn.identity_skip(x, inputs, name)
    return nn.pool_skip(x, inputs, name, strides) if skip == "pool" else x
