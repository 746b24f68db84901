"""Builds the Keras model of two cells at a scale."""

import dataclasses

from nas_tf.networks.blocks import Style
from nas_tf.trial import UserError
from nasnet_tf.spaces import _operations as nn
from nasnet_tf.spaces._cell import NUM_INPUTS

DEFAULT_STEM_FILTERS = 32


def build(architecture, scale):
    """Builds the `keras.Model` of a `NASNet` at a `Scale`.

    It takes float32 [batch, size, size, 3] and returns probabilities, float32 [batch, classes]; if the scale has an
    auxiliary head, a list of these and of the head's own.
    """
    import keras

    inputs = keras.Input((scale.image_size, scale.image_size, 3), name="image")
    last, two_thirds = features(inputs, architecture, scale)
    outputs = classifier(last, scale, "softmax")
    if scale.auxiliary_head:
        outputs = [outputs, auxiliary_head(two_thirds, scale)]
    return keras.Model(inputs, outputs, name="nasnet")


def features(images, architecture, scale):
    """Returns what the classifier and what the auxiliary head read, both behind a ReLU.

    Args:
        images: float32 [batch, height, width, 3], of known height and width.
        architecture: the `NASNet`.
        scale: its `Scale`.

    Returns:
        Two tensors, float32 [batch, height, width, channels]: the outputs of the last cell and of the last cell of the
        second stage.
    """
    _, two_thirds, last = _stages(images, architecture, scale)
    return last.relu, two_thirds.relu


def feature_maps(architecture, scale):
    """Builds the `keras.Model` of the maps of a `NASNet` that a detector reads, by name.

    `"C3"`, `"C4"` and `"C5"` are the outputs, behind a ReLU, of the last cell of each stage: the cells before each
    reduction, and the last one. They are at strides 8, 16 and 32.

    Raises:
        UserError: the network's strides are others at this scale.
    """
    import keras

    if scale.stem != "imagenet" or scale.image_size < 32:
        raise UserError(
            "Expected a network with maps at strides 8, 16 and 32, which the stem 'imagenet' gives to images of 32 px "
            f"or more. Received: stem {scale.stem!r}, images of {scale.image_size} px"
        )
    scale = dataclasses.replace(scale, auxiliary_head=False)
    inputs = keras.Input((scale.image_size, scale.image_size, 3), name="image")
    maps = zip(("C3", "C4", "C5"), _stages(inputs, architecture, scale))
    return keras.Model(inputs, {name: stage.relu for name, stage in maps}, name="nasnet_maps")


def _stages(images, architecture, scale):
    """Returns the outputs of the last cells of the three stages, as `_operations.State`s."""
    network = _Network(images, architecture, scale)
    if scale.stem == "imagenet":
        network.reduction("stem1", scale.filters // 4)
        network.reduction("stem2", scale.filters // 2)
    filters, found = scale.filters, []
    for stage in (1, 2, 3):
        if stage > 1:
            filters *= 2
            network.reduction(f"reduction{stage - 1}", filters)
        for number in range(1, scale.cells + 1):
            network.normal(f"stage{stage}_cell{number}", filters)
        found.append(network.last)
    return found


def classifier(x, scale, activation):
    """Returns the class scores, float32 [batch, num_classes], of the last cell's output `x`."""
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="mean")(x)
    if scale.dropout_rate:
        x = layers.Dropout(scale.dropout_rate, name="dropout")(x)
    return layers.Dense(scale.num_classes, activation=activation, dtype="float32", name="predictions")(x)


def auxiliary_head(x, scale):
    """Returns class scores, float32 [batch, num_classes], at two thirds of the depth.

    It is built as by `_build_aux_head` of NASNet's code.
    """
    from keras import layers

    style = _style(scale)
    window = min(5, *x.shape[1:3])
    x = layers.AveragePooling2D(window, strides=3, name="auxiliary_pool")(x)
    x = nn.conv_bn(x, 128, 1, "auxiliary_1", style)
    x = style.relu(x, "auxiliary_1_relu")
    x = layers.Conv2D(768, x.shape[1:3], use_bias=False, kernel_initializer="he_normal", name="auxiliary_2_conv")(x)
    x = style.relu(style.norm(x, "auxiliary_2"), "auxiliary_2_relu")
    x = layers.Flatten(name="auxiliary_flat")(x)
    return layers.Dense(scale.num_classes, activation="softmax", dtype="float32", name="auxiliary")(x)


def _style(scale):
    return Style(scale.bn_momentum, scale.bn_epsilon, scale.activation)


class _Network:
    """A network under construction: the outputs of its stem and of its cells so far, as `_operations.State`s."""

    def __init__(self, images, architecture, scale):
        from keras import layers

        self._architecture, self._scale = architecture, scale
        self._style = _style(scale)
        self._num_cells = 3 * scale.cells + (4 if scale.stem == "imagenet" else 2)
        self._cells_built = 0
        imagenet = scale.stem == "imagenet"
        x = layers.Conv2D(
            scale.stem_filters or (DEFAULT_STEM_FILTERS if imagenet else 3 * scale.filters),
            3,
            strides=2 if imagenet else 1,
            padding="valid" if imagenet else "same",
            use_bias=False,
            kernel_initializer="he_normal",
            name="stem_conv",
        )(images)
        self._outputs = [self._state(self._style.norm(x, "stem"), "stem")]
        self._skips_input = False
        self._progress = None
        if scale.drop_path_keep < 1 and scale.drop_path in ("v1", "v3"):
            from nas_tf.networks.drop_path import TrainingProgress

            self._progress = TrainingProgress(name="training_progress")(images)

    @property
    def last(self):
        """The output of the stem or cell that was added last."""
        return self._outputs[-1]

    def normal(self, name, filters):
        """Adds a Normal cell."""
        self._cell(self._architecture.normal, name, filters, strides=1)
        self._skips_input = False

    def reduction(self, name, filters):
        """Adds a Reduction cell."""
        self._cell(self._architecture.reduction, name, filters, strides=2)
        self._skips_input = self._scale.skip_reduction_input and not name.startswith("stem")

    def _cell(self, cell, name, filters, strides):
        from keras import layers

        self._cells_built += 1
        current = self.last
        begin = nn.conv_bn(current.relu, filters, 1, f"{name}_begin", self._style)
        states = [self._state(begin, f"{name}_begin"), self._previous(current, name, filters)]

        def apply(operation, state, name):
            return nn.apply(operation, states[state], filters, strides if state < NUM_INPUTS else 1, name)

        for number, block in enumerate(cell.blocks, 1):
            each = f"{name}_block{number}"
            results = []
            for side, (state, operation) in zip(("left", "right"), block.operands):
                result = apply(operation, state, f"{each}_{side}")
                results.append(result if operation == "identity" else self._drop(result, f"{each}_{side}"))
            if block.combine == "add":
                x = layers.Add(name=f"{each}_add")(results)
            else:
                x = self._style.relu(layers.Concatenate(name=f"{each}_concat")(results), f"{each}_concat_relu")
                x = nn.conv_bn(x, filters, 1, each, self._style)
            states.append(self._state(x, each))
        gathered = [apply("identity", state, f"{name}_output{state}") for state in cell.output]
        if len(gathered) > 1:
            gathered = [layers.Concatenate(name=f"{name}_concat")(gathered)]
        self._outputs.append(self._state(gathered[0], name))

    def _state(self, tensor, name):
        return nn.State(tensor, name, self._style)

    def _previous(self, current, name, filters):
        """Returns state 1 of the next cell, which reads `current`."""
        if len(self._outputs) == 1:
            return current
        previous = self._outputs[-3 if self._skips_input else -2]
        name = f"{name}_previous"
        if previous.tensor.shape[1:3] != current.tensor.shape[1:3]:
            return self._state(nn.factorized_reduction(previous, filters, name), name)
        return self._state(nn.conv_bn(previous.relu, filters, 1, name, self._style), name)

    def _drop(self, x, name):
        """Returns `x` behind a drop path. In versions 2 and 3 the depth decides how often it is dropped."""
        scale = self._scale
        if scale.drop_path_keep == 1:
            return x
        from nas_tf.networks.drop_path import DropPath

        depth = self._cells_built / self._num_cells if scale.drop_path in ("v2", "v3") else 1.0
        layer = DropPath(1 - depth * (1 - scale.drop_path_keep), name=f"{name}_drop")
        return layer(x if self._progress is None else (x, self._progress))
