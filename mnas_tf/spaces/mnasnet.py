"""MnasNet's factorised hierarchical search space (arXiv 1807.11626, section 4.1) on three seven-block bases.

What a block's layers build, where the paper leaves it open:

* `conv`: a k x k convolution, batch normalisation, ReLU. `sepconv`: a k x k depthwise convolution, batch
  normalisation, ReLU, then a 1 x 1 convolution and batch normalisation. `mbconv`: the same behind a 1 x 1 expansion;
  with expansion 1 it is the `sepconv`.
* Squeeze-and-excitation follows the k x k convolution; it squeezes to se_ratio x the *layer's* input filters.
* Skip `identity` adds a layer's input where the layer keeps filters and size. Skip `pool` adds the 3 x 3 average
  pool of the input, with the layer's stride, where the layer keeps its filters: also where it halves the size.
  `none` adds nothing. Nothing follows the sum.
* Layers -1, 0, +1: the block repeats its layer once less, as often, or once more than the base. No block disappears.

An architecture does not hold choices that change nothing: expansion is 1 except for `mbconv`, and the skip is `none`
where no layer of the block can take it. Filters are compared before the width multiplier, so that an architecture has
the same skips at every scale.
"""

import dataclasses
import functools
import itertools

from mnas_tf.spaces import _inheritance, _units
from mnas_tf.spaces._architecture import CONV_OPS, HEAD_FILTERS, SKIP_OPS, Block, MnasNet
from mnas_tf.spaces._network import Scale, build, child_note, classifier, features, halved, latency_scale
from nas_tf.settings import Settings, knob
from nas_tf.space import Decision, SearchSpace
from nas_tf.trial import UserError

__all__ = ["SPACE", "Block", "MnasNet", "MnasNetSpace", "Scale", "build", "classifier", "features"]

QUESTIONS = ("conv_op", "expansion_ratio", "kernel_size", "se_ratio", "skip_op", "filters", "layers")
STEM_FILTERS = 32
STRIDES = (1, 2, 2, 2, 1, 2, 1)
# (filters, layers) of each block of MobileNetV2, the paper's base, of the network that the paper's search found, and of
# EfficientNet-Lite0 (tensorflow/tpu, `efficientnet_lite_builder.py`), whose weights children can begin with.
BASES = {
    "mobilenet_v2": ((16, 1), (24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1)),
    "mnasnet_a1": ((16, 1), (24, 2), (40, 3), (80, 4), (112, 2), (160, 3), (320, 1)),
    "efficientnet_lite0": ((16, 1), (24, 2), (40, 2), (80, 3), (112, 3), (192, 4), (320, 1)),
}


@dataclasses.dataclass(frozen=True)
class MnasNetSpace(SearchSpace, Settings):
    """Seven decisions for each of seven blocks."""

    base: str = knob(
        "mobilenet_v2",
        "Network whose filters and layers the choices are relative to.",
        choices=tuple(BASES),
        flag="mnasnet_base",
    )
    kernel_sizes: tuple[int, ...] = knob((3, 5), "Kernel sizes to choose from; the paper's are 3,5.")
    around: str = knob(
        "none",
        "Block strings of a network whose operation, squeeze-and-excitation and skip every block keeps, because with "
        "others nothing is inherited; none: every choice. Default with a --parent: the parent's.",
    )

    name = "mnasnet"

    def __post_init__(self):
        super().__post_init__()
        sizes = tuple(self.kernel_sizes)
        if not sizes or len(set(sizes)) < len(sizes) or not all(isinstance(k, int) and k > 0 and k % 2 for k in sizes):
            raise UserError(f"Expected odd kernel sizes, each once, as 3,5,7. Received: kernel_sizes={sizes}")
        object.__setattr__(self, "kernel_sizes", sizes)
        if self._around and len(self._around.blocks) != len(STRIDES):
            raise UserError(f"Expected --mnasnet_around of {len(STRIDES)} blocks. Received: {self.around}")

    @functools.cached_property
    def _around(self):
        return None if self.around == "none" else MnasNet.parse(self.around)

    @functools.cached_property
    def decisions(self):
        decisions = []
        for number, (_, layers) in enumerate(BASES[self.base], 1):
            counts = (1, 2) if layers == 1 else (-1, 0, 1)
            choices = (CONV_OPS, (3, 6), self.kernel_sizes, (0, 0.25), SKIP_OPS, (0.75, 1.0, 1.25), counts)
            if self._around:
                choices = _kept(self._around.blocks[number - 1], choices)
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
            open_to = {question: self._choices(number, question) for question in ("expansion_ratio", "skip_op")}
            answer = {
                "conv_op": block.op,
                "expansion_ratio": block.expansion_ratio if block.op == "mbconv" else open_to["expansion_ratio"][0],
                "kernel_size": block.kernel_size,
                "se_ratio": block.se_ratio,
                "skip_op": next((each for each in open_to["skip_op"] if _with_skip(block, each) == block), block.skip),
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

    def outline(self, architecture):
        return architecture.outline()

    def build(self, architecture, scale):
        return build(architecture, scale)

    def _choices(self, number, question):
        return self.decisions[(number - 1) * len(QUESTIONS) + QUESTIONS.index(question)].choices

    def settings_around(self, architecture):
        shape = tuple((block.filters, block.repeats) for block in architecture.blocks)
        base = next(({"base": name} for name, base in BASES.items() if base == shape), {})
        return {**base, "around": str(architecture)}

    def architecture(self, json_value):
        return MnasNet.from_json(json_value)

    def child_note(self, scale):
        return child_note(STRIDES, scale)

    def counterparts(self, architecture, parent):
        return _inheritance.counterparts(architecture, parent)

    def latency_scale(self, scale):
        return latency_scale(scale)

    def unit_groups(self, architecture, scale):
        return unit_groups(architecture, scale)

    def units(self, group, scale):
        return units(group, scale)

    def all_units(self, scale):
        """Returns every layer at its place, for every choice of the channels that it reads."""
        found, reads, size = {}, (STEM_FILTERS,), halved(scale.image_size)
        for number, ((filters, _), strides) in enumerate(zip(BASES[self.base], STRIDES), 1):
            questions = [d.choices for d in self.decisions if d.name.startswith(f"block{number}/")]
            returns = tuple(int(filters * factor) for factor in questions[QUESTIONS.index("filters")])
            for op, expansion, kernel, se_ratio, skip, _, _ in itertools.product(*questions[:5], (0,), (0,)):
                for inputs, outputs in itertools.product(reads, returns):
                    block = Block(op, 2, kernel, strides, expansion, inputs, outputs, se_ratio, skip)
                    found |= dict.fromkeys(
                        _units.unit_of_group(group, scale) for group in _units.groups_of_block(block, size)
                    )
            reads, size = returns, -(-size // strides)
        for last in reads:
            found |= _units.units_of_ends(STEM_FILTERS, last, HEAD_FILTERS, size, scale)
        return list(found)


def _kept(block, choices):
    """Returns a block's choices, in the order of `QUESTIONS`: those of `block` alone where nothing is inherited."""
    _, expansions, kernels, _, _, filters, counts = choices
    is_expanded = block.op == "mbconv"
    expansions = tuple(sorted({*expansions, block.expansion_ratio})) if is_expanded else expansions[:1]
    kernels = tuple(sorted({*kernels, block.kernel_size}))
    # A block of one layer that cannot take a skip has one as soon as it has a second layer.
    skip = "identity" if block.skip == "none" and block.repeats == 1 else block.skip
    return (block.op,), expansions, kernels, (block.se_ratio,), (skip,), filters, counts


def _with_skip(block, skip):
    return dataclasses.replace(block, skip=skip).canonical


def unit_groups(architecture, scale):
    """Returns a tuple of the architecture's layers and skips (`_units.groups_of_block`), and of its ends."""
    size, found = halved(scale.image_size), []
    for block in architecture.blocks:
        found += _units.groups_of_block(block, size)
        size = -(-size // block.strides)
    ends = ("ends", architecture.stem_filters, architecture.blocks[-1].filters, architecture.head_filters, size)
    return (*found, ends)


def units(group, scale):
    """Returns a dict from each `_units.NetworkUnit` in one of the tuples that `unit_groups` returns to its count."""
    if group[0] == "ends":
        return _units.units_of_ends(*group[1:], scale)
    return {_units.unit_of_group(group, scale): 1}


SPACE = MnasNetSpace()
