"""MnasNet's factorised hierarchical search space (arXiv 1807.11626, section 4.1) on two seven-block bases.

What a block's layers build, where the paper leaves it open:

* `conv`: a k x k convolution, batch normalisation, ReLU. `sepconv`: a k x k depthwise convolution, batch
  normalisation, ReLU, then a 1 x 1 convolution and batch normalisation. `mbconv`: the same behind a 1 x 1 expansion;
  with expansion 1 it is the `sepconv`.
* Squeeze-and-excitation stands after the k x k convolution; it squeezes to se_ratio x the *layer's* input filters.
* Skip `identity` adds a layer's input where the layer keeps filters and size. Skip `pool` adds the 3 x 3 average
  pool of the input, with the layer's stride, where the layer keeps its filters: also where it halves the size.
  `none` adds nothing. Nothing follows the sum.
* Layers -1, 0, +1: the block repeats its layer once less, as often, or once more than the base; no block vanishes.

A choice that changes nothing has no place in an architecture: expansion is 1 but for `mbconv`, and the skip is `none`
where no layer of the block could take it. Whether filters agree is judged before any width multiplier, so that an
architecture has the same skips at every scale.
"""

import dataclasses
import functools
import itertools
import math
from typing import Literal

from mnas_tf.spaces import _units
from mnas_tf.spaces._architecture import CONV_OPS, HEAD_FILTERS, SKIP_OPS, Block, MnasNet, check_whole
from nas_tf import blocks as nn
from nas_tf.flags import knob
from nas_tf.space import Decision, SearchSpace
from nas_tf.trial import UserError

__all__ = ["SPACE", "Block", "MnasNet", "MnasNetSpace", "Scale", "build", "features"]

QUESTIONS = ("conv_op", "expansion_ratio", "kernel_size", "se_ratio", "skip_op", "filters", "layers")
STEM_FILTERS = 32
STRIDES = (1, 2, 2, 2, 1, 2, 1)
# (filters, layers) of each block: MobileNetV2's (the paper's base), and those of the network that the search found.
BASES = {
    "mobilenet_v2": ((16, 1), (24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1)),
    "mnasnet_a1": ((16, 1), (24, 2), (40, 3), (80, 4), (112, 2), (160, 3), (320, 1)),
}


@dataclasses.dataclass(frozen=True)
class Scale:
    """The size at which an architecture is built: a proxy that is trained, or a deployment that is timed.

    Every image size from 1 up can be built ("same" padding throughout); below 32 px the last maps are 1 x 1. A width
    multiplier other than 1 scales the filters of stem and blocks, rounded to multiples of 8; the head keeps its own.

    Raises:
        UserError: a value is none that a network can be built from.
    """

    image_size: int = 224
    num_classes: int = 1000
    width_multiplier: float = 1.0
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    dropout_rate: float = 0.2

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

    def filters(self, filters):
        """`filters` x the width multiplier, to the nearest multiple of 8 that is not more than 10 % below it."""
        if self.width_multiplier == 1:
            return filters
        exact = filters * self.width_multiplier
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * exact else rounded


@dataclasses.dataclass(frozen=True)
class MnasNetSpace(SearchSpace):
    """Seven decisions for each of seven blocks."""

    base: Literal["mobilenet_v2", "mnasnet_a1"] = knob(
        "mobilenet_v2", "Network whose filters and layers the choices are relative to."
    )
    kernel_sizes: tuple[int, ...] = knob((3, 5), "Kernel sizes to choose from; the paper's are 3,5.")

    name = "mnasnet"

    def __post_init__(self):
        if self.base not in BASES:
            raise UserError(f"Expected base to be one of {', '.join(BASES)}. Received: base={self.base!r}")
        sizes = tuple(self.kernel_sizes)
        if not sizes or len(set(sizes)) < len(sizes) or not all(isinstance(k, int) and k > 0 and k % 2 for k in sizes):
            raise UserError(f"Expected odd kernel sizes, each once, as 3,5,7. Received: kernel_sizes={sizes}")
        object.__setattr__(self, "kernel_sizes", sizes)

    @functools.cached_property
    def decisions(self):
        decisions = []
        for number, (_, layers) in enumerate(BASES[self.base], 1):
            counts = (1, 2) if layers == 1 else (-1, 0, 1)
            choices = (CONV_OPS, (3, 6), self.kernel_sizes, (0, 0.25), SKIP_OPS, (0.75, 1.0, 1.25), counts)
            decisions += [Decision(f"block{number}/{question}", each) for question, each in zip(QUESTIONS, choices)]
        return tuple(decisions)

    def decode(self, tokens):
        answers = self.answers(tokens)
        blocks, inputs = [], STEM_FILTERS
        for number, ((filters, layers), strides) in enumerate(zip(BASES[self.base], STRIDES), 1):
            answer = {question: answers[f"block{number}/{question}"] for question in QUESTIONS}
            block = Block(
                op=answer["conv_op"],
                repeats=answer["layers"] if layers == 1 else layers + answer["layers"],
                kernel_size=answer["kernel_size"],
                strides=strides,
                expansion_ratio=answer["expansion_ratio"],
                input_filters=inputs,
                filters=int(filters * answer["filters"]),
                se_ratio=answer["se_ratio"],
                skip=answer["skip_op"],
            )
            blocks.append(block)
            inputs = block.filters
        return MnasNet(tuple(blocks))

    def encode(self, architecture):
        for what, value, expected in (
            ("blocks", len(architecture.blocks), len(STRIDES)),
            ("stem filters", architecture.stem_filters, STEM_FILTERS),
            ("head filters", architecture.head_filters, HEAD_FILTERS),
        ):
            if value != expected:
                raise ValueError(f"Networks of space {self.name!r} have {expected} {what}. Received: {value}")
        choices = {}
        for number, (block, (filters, layers), strides) in enumerate(
            zip(architecture.blocks, BASES[self.base], STRIDES), 1
        ):
            if block.strides != strides:
                raise ValueError(f"Block {number} of space {self.name!r} has strides {strides}. Received: {block}")
            answer = {
                "conv_op": block.op,
                "expansion_ratio": block.expansion_ratio if block.op == "mbconv" else 3,
                "kernel_size": block.kernel_size,
                "se_ratio": block.se_ratio,
                "skip_op": block.skip,
                "filters": block.filters / filters,
                "layers": block.repeats if layers == 1 else block.repeats - layers,
            }
            choices.update({f"block{number}/{question}": choice for question, choice in answer.items()})
        for decision in self.decisions:
            if choices[decision.name] not in decision.choices:
                raise ValueError(
                    f"Decision {decision.name!r} on base {self.base!r} has the choices {decision.choices}. "
                    f"Received: {choices[decision.name]}"
                )
        return tuple(decision.choices.index(choices[decision.name]) for decision in self.decisions)

    def build(self, architecture, scale):
        return build(architecture, scale)

    def architecture(self, json_value):
        return MnasNet.from_json(json_value)

    def latency_scale(self, scale):
        return latency_scale(scale)

    def parts(self, architecture, scale):
        return parts(architecture, scale)

    def units(self, part, scale):
        return units(part, scale)

    def all_units(self, scale):
        """Every layer at its place, with every choice of what it reads."""
        found, reads, size = {}, (STEM_FILTERS,), halved(scale.image_size)
        for number, ((filters, _), strides) in enumerate(zip(BASES[self.base], STRIDES), 1):
            questions = [d.choices for d in self.decisions if d.name.startswith(f"block{number}/")]
            gives = tuple(int(filters * factor) for factor in questions[QUESTIONS.index("filters")])
            for op, expansion, kernel, se_ratio, skip, _, _ in itertools.product(*questions[:5], (0,), (0,)):
                for inputs, outputs in itertools.product(reads, gives):
                    block = Block(op, 2, kernel, strides, expansion, inputs, outputs, se_ratio, skip)
                    found |= _units.units_of_block(block, size, scale)
            reads, size = gives, -(-size // strides)
        for last in reads:
            found |= _units.units_of_ends(STEM_FILTERS, last, HEAD_FILTERS, size, scale)
        return list(found)


def latency_scale(scale):
    """dict: what of a `Scale` the latency of a network depends on."""
    return {name: getattr(scale, name) for name in ("image_size", "num_classes", "width_multiplier")}


def parts(architecture, scale):
    """tuple: the architecture's blocks, each with the size of the maps it reads in pixels, and its two ends."""
    size, found = halved(scale.image_size), []
    for block in architecture.blocks:
        found.append((block, size))
        size = -(-size // block.strides)
    ends = (architecture.stem_filters, architecture.blocks[-1].filters, architecture.head_filters, size)
    return (*found, ends)


def units(part, scale):
    """dict of `_units.NetworkUnit` to its count in one of `parts`."""
    if isinstance(part[0], Block):
        return _units.units_of_block(*part, scale)
    return _units.units_of_ends(*part, scale)


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
    norm = nn.BatchNorm(scale.bn_momentum, scale.bn_epsilon)
    x = nn.conv_bn(x, scale.filters(architecture.stem_filters), 3, "stem", norm, strides=2)
    for number, block in enumerate(architecture.blocks, 1):
        for layer, (input_filters, strides, skip) in enumerate(block.layers(), 1):
            x = _layer(x, block, input_filters, strides, skip, f"block{number}_layer{layer}", scale, norm)
    return nn.conv_bn(x, architecture.head_filters, 1, "head", norm)


def classifier(x, scale, activation):
    """Class scores float32 [batch, num_classes] of the head's output."""
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="mean")(x)
    if scale.dropout_rate:
        x = layers.Dropout(scale.dropout_rate, name="dropout")(x)
    return layers.Dense(scale.num_classes, activation=activation, name="predictions")(x)


def _layer(inputs, block, input_filters, strides, skip, name, scale, norm):
    filters = scale.filters(block.filters)
    squeeze_filters = _units.squeeze(block, scale.filters(input_filters))
    if block.op == "conv":
        x = nn.conv(inputs, filters, block.kernel_size, name, norm, strides, squeeze_filters)
    else:
        x = nn.mbconv(inputs, filters, block.kernel_size, name, norm, strides, block.expansion_ratio, squeeze_filters)
    if skip == "identity":
        return nn.identity_skip(x, inputs, name)
    return nn.pool_skip(x, inputs, name, strides) if skip == "pool" else x


SPACE = MnasNetSpace()
