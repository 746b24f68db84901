"""MnasNet's factorised hierarchical search space (arXiv 1807.11626, section 4.1) on seven-block bases.

What a block's layers build, where the paper leaves it open:

* `conv`: a k x k convolution, batch normalisation, ReLU. `sepconv`: a k x k depthwise convolution, batch
  normalisation, ReLU, then a 1 x 1 convolution and batch normalisation. `mbconv`: the same behind a 1 x 1 expansion;
  with expansion 1 it is the `sepconv`.
* Squeeze-and-excitation follows the k x k convolution; it squeezes to se_ratio x the *layer's* input filters.
* Skip `identity` adds a layer's input where the layer keeps filters and size. Skip `pool` adds the 3 x 3 average
  pool of the input, with the layer's stride, where the layer keeps its filters: also where it halves the size.
  `none` adds nothing. Nothing follows the sum.
* Layers -1, 0, +1: the block repeats its layer once less, as often, or once more than the base. No block disappears.
* The image size is a decision only if sizes are asked for: the paper has one for all networks.

An architecture does not hold choices that change nothing: expansion is 1 except for `mbconv`, and the skip is `none`
where no layer of the block can take it. Filters are compared before the width multiplier, so that an architecture has
the same skips at every scale.
"""

import contextlib
import dataclasses
import functools
import itertools

from mnas_tf.spaces import _inheritance, _units
from mnas_tf.spaces._architecture import CONV_OPS, HEAD_FILTERS, SKIP_OPS, Block, MnasNet
from mnas_tf.spaces._feature_maps import feature_maps
from mnas_tf.spaces._network import (
    Scale,
    build,
    build_block,
    child_note,
    classifier,
    features,
    halved,
    latency_scale,
)
from nas_tf.settings import Settings, knob
from nas_tf.space import Decision, SearchSpace
from nas_tf.trial import UserError

__all__ = ["SPACE", "Block", "MnasNet", "MnasNetSpace", "Scale", "build", "classifier", "features"]

QUESTIONS = ("conv_op", "expansion_ratio", "kernel_size", "se_ratio", "skip_op", "filters", "layers")
STEM_FILTERS = 32
_IMAGE_SIZE, _WIDTH = "image_size", "width"
_SIZE_SHARES, _SIZE_STEP = (7 / 8, 3 / 4, 5 / 8, 1 / 2), 8  # of the deployment's size, to multiples of pixels
STRIDES = (1, 2, 2, 2, 1, 2, 1)
# (filters, layers) of each block of MobileNetV2, the paper's base, of networks of the paper, and of EfficientNet-Lite
# (tensorflow/tpu, `efficientnet_lite_builder.py`), whose weights children can begin with.
BASES = {
    "mobilenet_v2": ((16, 1), (24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1)),
    "mnasnet_a1": ((16, 1), (24, 2), (40, 3), (80, 4), (112, 2), (160, 3), (320, 1)),
    "mnasnet_b1": ((16, 1), (24, 3), (40, 3), (80, 3), (96, 2), (192, 4), (320, 1)),
    "efficientnet_lite0": ((16, 1), (24, 2), (40, 2), (80, 3), (112, 3), (192, 4), (320, 1)),
    "efficientnet_lite1": ((16, 1), (24, 3), (40, 3), (80, 4), (112, 4), (192, 5), (320, 1)),
    "efficientnet_lite2": ((16, 1), (24, 3), (48, 3), (88, 4), (120, 4), (208, 5), (352, 1)),
    "efficientnet_lite3": ((24, 1), (32, 3), (48, 3), (96, 5), (136, 5), (232, 6), (384, 1)),
    "efficientnet_lite4": ((24, 1), (32, 4), (56, 4), (112, 6), (160, 6), (272, 8), (448, 1)),
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
    expansion_ratios: tuple[int, ...] = knob((3, 6), "Expansion ratios to choose from; the paper's are 3,6.")
    filter_factors: tuple[float, ...] = knob(
        (0.75, 1.0, 1.25), "Factors on the base's filters to choose from; the paper's are 0.75,1,1.25."
    )
    layer_changes: tuple[int, ...] = knob(
        (-1, 0, 1), "Layers more than the base has, to choose from; the paper's are -1,0,1."
    )
    image_sizes: tuple[int, ...] = knob(
        (), "Image sizes in pixels to choose from beside the one at which networks ship; the paper has none."
    )
    widths: tuple[float, ...] = knob(
        (), "Factors on the filters of all blocks to choose from beside 1; the paper has none."
    )
    around: str = knob(
        "none",
        "Block strings of a network whose operation, squeeze-and-excitation and skip every block keeps, because with "
        "others nothing is inherited; none: every choice. Default with a --parent: the parent's.",
    )

    name = "mnasnet"

    def __post_init__(self):
        super().__post_init__()
        _check_choices("odd kernel sizes", "3,5,7", self.kernel_sizes, lambda size: _is_whole(size) and size % 2)
        _check_choices("expansion ratios", "3,4,6", self.expansion_ratios, _is_whole)
        _check_choices("filter factors", "0.75,1", self.filter_factors, lambda factor: 0 < factor <= 16)
        _check_choices("layer changes, 0 among them", "-1,0,1", self.layer_changes, _is_change, 0)
        if self.image_sizes:
            _check_choices("image sizes in pixels", "128,96", self.image_sizes, _is_whole)
        if self.widths:
            _check_choices("widths other than 1", "0.75,0.5", self.widths, lambda width: 0 < width <= 16 and width != 1)
        for name in ("kernel_sizes", "expansion_ratios", "filter_factors", "layer_changes", "image_sizes", "widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self._around and len(self._around.blocks) != len(STRIDES):
            raise UserError(f"Expected --mnasnet_around of {len(STRIDES)} blocks. Received: {self.around}")

    def __getstate__(self):
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # without its memory

    @functools.cached_property
    def _around(self):
        return None if self.around == "none" else MnasNet.parse(self.around)

    @functools.cached_property
    def decisions(self):
        decisions = []
        for number, (_, layers) in enumerate(BASES[self.base], 1):
            counts = tuple(change for change in self.layer_changes if layers + change >= 1)
            counts = tuple(layers + change for change in counts) if layers == 1 else counts
            factors = self.filter_factors
            choices = (CONV_OPS, self.expansion_ratios, self.kernel_sizes, (0, 0.25), SKIP_OPS, factors, counts)
            if self._around:
                choices = _kept(self._around.blocks[number - 1], choices)
            decisions += [Decision(f"block{number}/{question}", each) for question, each in zip(QUESTIONS, choices)]
        if self.image_sizes:
            decisions.append(Decision(_IMAGE_SIZE, (None, *self.image_sizes)))
        if self.widths:
            decisions.append(Decision(_WIDTH, (1.0, *self.widths)))
        return tuple(decisions)

    @property
    def prior(self):
        """A plain convolution, the slowest of the three operations, a tenth as often; everything else alike."""
        return tuple(tuple(0.1 if choice == "conv" else 1.0 for choice in each.choices) for each in self.decisions)

    def decode(self, tokens):
        tokens = self.check(tokens)
        of_blocks = len(STRIDES) * len(QUESTIONS)
        rest = zip(self.decisions[of_blocks:], tokens[of_blocks:])
        answers = {decision.name: decision.choices[token] for decision, token in rest}
        blocks, inputs = [], STEM_FILTERS
        for number in range(1, len(STRIDES) + 1):
            own = tokens[(number - 1) * len(QUESTIONS) : number * len(QUESTIONS)]
            blocks.append(self._decoded(number, own, inputs, answers.get(_WIDTH, 1.0)))
            inputs = blocks[-1].filters
        return MnasNet(tuple(blocks), image_size=answers.get(_IMAGE_SIZE))

    @functools.cached_property
    def _decoded(self):
        """`_decode_block` with a memory: searches decode thousands of networks a second, of few different blocks."""
        return functools.lru_cache(maxsize=1 << 16)(self._decode_block)

    def _decode_block(self, number, tokens, input_filters, width):
        answer = {each: self._choices(number, each)[token] for each, token in zip(QUESTIONS, tokens)}
        filters, layers = BASES[self.base][number - 1]
        return Block(
            op=answer["conv_op"],
            repeats=answer["layers"] if layers == 1 else layers + answer["layers"],
            kernel_size=answer["kernel_size"],
            strides=STRIDES[number - 1],
            expansion_ratio=answer["expansion_ratio"],
            input_filters=input_filters,
            filters=_narrowed(int(filters * answer["filters"]), width),
            se_ratio=answer["se_ratio"],
            skip=answer["skip_op"],
        )

    def encode(self, architecture):
        for what, value, expected in (
            ("blocks", len(architecture.blocks), len(STRIDES)),
            ("stem filters", architecture.stem_filters, STEM_FILTERS),
            ("head filters", architecture.head_filters, HEAD_FILTERS),
        ):
            if value != expected:
                raise ValueError(f"Networks of space {self.name!r} have {expected} {what}. Received: {value}")
        if architecture.image_size not in (None, *self.image_sizes):
            raise ValueError(
                f"Networks of space {self.name!r} have the image sizes {self.image_sizes} or the scale's own. "
                f"Received: {architecture.image_size}"
            )
        for width in self.widths:
            with contextlib.suppress(ValueError):
                return self._tokens(architecture, width)
        return self._tokens(architecture, 1.0)

    def _tokens(self, architecture, width):
        """Returns the tokens of an architecture whose blocks have `width` times the filters of another."""
        tokens = []
        for number, block in enumerate(architecture.blocks, 1):
            tokens += self._encoded(number, block, width)
        rest = {_IMAGE_SIZE: architecture.image_size, _WIDTH: width}
        return *tokens, *(self._token(each, rest[each.name]) for each in self.decisions[len(tokens) :])

    @functools.cached_property
    def _encoded(self):
        """`_encode_block` with a memory."""
        return functools.lru_cache(maxsize=1 << 16)(self._encode_block)

    def _encode_block(self, number, block, width):
        layers, strides = BASES[self.base][number - 1][1], STRIDES[number - 1]
        if block.strides != strides:
            raise ValueError(f"Block {number} of space {self.name!r} has strides {strides}. Received: {block}")
        open_to = {question: self._choices(number, question) for question in ("expansion_ratio", "skip_op")}
        answer = {
            "conv_op": block.op,
            "expansion_ratio": block.expansion_ratio if block.op == "mbconv" else open_to["expansion_ratio"][0],
            "kernel_size": block.kernel_size,
            "se_ratio": block.se_ratio,
            "skip_op": next((each for each in open_to["skip_op"] if _with_skip(block, each) == block), block.skip),
            "filters": self._factor(number, block.filters, width),
            "layers": block.repeats if layers == 1 else block.repeats - layers,
        }
        begin = (number - 1) * len(QUESTIONS)
        return tuple(
            self._token(decision, answer[question])
            for question, decision in zip(QUESTIONS, self.decisions[begin : begin + len(QUESTIONS)])
        )

    def _token(self, decision, choice):
        if choice not in decision.choices:
            raise ValueError(
                f"Decision {decision.name!r} on base {self.base!r} has the choices {decision.choices}. "
                f"Received: {choice}"
            )
        return decision.choices.index(choice)

    def outline(self, architecture):
        return architecture.outline()

    def build(self, architecture, scale):
        return build(architecture, scale)

    def feature_maps(self, architecture, scale):
        return feature_maps(architecture, scale)

    def image_size(self, architecture):
        return architecture.image_size

    def child(self, architecture, proxy_scale, deploy_scale):
        if not architecture.image_size:
            return architecture
        size = max(1, round(architecture.image_size * proxy_scale.image_size / deploy_scale.image_size))
        return dataclasses.replace(architecture, image_size=size)

    def blocks(self, architecture):
        return architecture.blocks

    def block_choices(self, parent):
        found = []
        for number, block in enumerate(parent.blocks, 1):
            choices = [self._choices(number, question) for question in QUESTIONS]
            layers = BASES[self.base][number - 1][1]
            choices[QUESTIONS.index("filters")] = (block.filters,)
            if layers > 1:
                choices[-1] = tuple(layers + change for change in choices[-1])
            found.append(
                tuple(
                    dict.fromkeys(
                        Block(
                            op, repeats, kernel, block.strides, expansion, block.input_filters, each, se, skip
                        ).canonical
                        for op, expansion, kernel, se, skip, each, repeats in itertools.product(*choices)
                    )
                )
            )
        return tuple(found)

    def assembled(self, parent, blocks, image_size=None):
        return dataclasses.replace(parent, blocks=tuple(blocks), image_size=image_size)

    def build_block(self, architecture, number, scale):
        return build_block(architecture, number, scale)

    def slimmed(self, architecture, width):
        blocks, inputs = [], architecture.stem_filters
        for block in architecture.blocks:
            blocks.append(dataclasses.replace(block, input_filters=inputs, filters=_narrowed(block.filters, width)))
            inputs = blocks[-1].filters
        return dataclasses.replace(architecture, blocks=tuple(blocks))

    def _factor(self, number, filters, width):
        """Returns the choice of the decision about filters that makes so many at a width, or what is none of them."""
        base = BASES[self.base][number - 1][0]
        for factor in self._choices(number, "filters"):
            if _narrowed(int(base * factor), width) == filters:
                return factor
        return filters / base if width == 1 else f"{filters} filters"

    def _choices(self, number, question):
        return self.decisions[(number - 1) * len(QUESTIONS) + QUESTIONS.index(question)].choices

    def settings_around(self, architecture):
        shape = tuple((block.filters, block.repeats) for block in architecture.blocks)
        base = next(({"base": name} for name, base in BASES.items() if base == shape), {})
        return {**base, "around": str(architecture)}

    def settings_for_blocks(self, architecture, image_size):
        sizes = [round(share * image_size / _SIZE_STEP) * _SIZE_STEP for share in _SIZE_SHARES]
        return {
            **self.settings_around(architecture),
            "expansion_ratios": (3, 4, 6),
            "filter_factors": (1.0,),
            "layer_changes": (-2, -1, 0, 1),
            "image_sizes": tuple(dict.fromkeys(size for size in sizes if 0 < size < image_size)),
        }

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
        """Returns every layer at its place, for every image size and every choice of the channels that it reads."""
        sizes, widths = dict.fromkeys((scale.image_size, *self.image_sizes)), (1.0, *self.widths)
        each = (self._all_units(scale, size, width) for size in sizes for width in widths)
        return list(dict.fromkeys(unit for units in each for unit in units))

    def _all_units(self, scale, image_size, width):
        found, reads, size = {}, (STEM_FILTERS,), halved(image_size)
        for number, ((filters, _), strides) in enumerate(zip(BASES[self.base], STRIDES), 1):
            questions = [d.choices for d in self.decisions if d.name.startswith(f"block{number}/")]
            factors = questions[QUESTIONS.index("filters")]
            returns = tuple(_narrowed(int(filters * factor), width) for factor in factors)
            for op, expansion, kernel, se_ratio, skip, _, _ in itertools.product(*questions[:5], (0,), (0,)):
                for inputs, outputs in itertools.product(reads, returns):
                    block = Block(op, 2, kernel, strides, expansion, inputs, outputs, se_ratio, skip)
                    found |= dict.fromkeys(
                        _units.unit_of_group(group, scale) for group in _units.groups_of_block(block, size)
                    )
            reads, size = returns, -(-size // strides)
        for last in reads:
            found |= _units.units_of_ends(STEM_FILTERS, last, HEAD_FILTERS, size, image_size, scale)
        return found


@functools.lru_cache(maxsize=1024)
def _narrowed(filters, width):
    return Scale(width_multiplier=width).filters(filters)


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_change(value):
    return isinstance(value, int) and abs(value) <= 8


def _check_choices(what, example, values, is_right, needed=None):
    """Raises `UserError` unless `values` are right, each once, at least one, and `needed` among them."""
    values = tuple(values)
    is_known = all(isinstance(each, (int, float)) and is_right(each) for each in values)
    if not values or len(set(values)) < len(values) or not is_known or (needed is not None and needed not in values):
        raise UserError(f"Expected {what}, each once, as {example}. Received: {values}")


def _kept(block, choices):
    """Returns a block's choices, in the order of `QUESTIONS`: those of `block` alone where nothing is inherited."""
    _, expansions, kernels, _, _, filters, counts = choices
    is_expanded = block.op == "mbconv"
    expansions = tuple(sorted({*expansions, block.expansion_ratio})) if is_expanded else expansions[:1]
    kernels = tuple(sorted({*kernels, block.kernel_size}))
    # A block of one layer that cannot take a skip has one as soon as it has a second layer.
    skip = "identity" if block.skip == "none" and block.repeats == 1 else block.skip
    return (block.op,), expansions, kernels, (block.se_ratio,), (skip,), filters, counts


@functools.lru_cache(maxsize=1 << 16)
def _with_skip(block, skip):
    return dataclasses.replace(block, skip=skip).canonical


def unit_groups(architecture, scale):
    """Returns a tuple of the architecture's layers and skips (`_units.groups_of_block`), and of its ends."""
    image_size = architecture.image_size or scale.image_size
    size, found = halved(image_size), []
    for block in architecture.blocks:
        found += _units.groups_of_block(block, size)
        size = -(-size // block.strides)
    filters = architecture.stem_filters, architecture.blocks[-1].filters, architecture.head_filters
    return (*found, ("ends", *filters, size, image_size))


def units(group, scale):
    """Returns a dict from each `_units.NetworkUnit` in one of the tuples that `unit_groups` returns to its count."""
    if group[0] == "ends":
        return _units.units_of_ends(*group[1:], scale)
    return {_units.unit_of_group(group, scale): 1}


SPACE = MnasNetSpace()
