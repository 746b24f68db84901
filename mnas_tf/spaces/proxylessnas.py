"""ProxylessNAS's search space (arXiv 1812.00332) as TuNAS has it (arXiv 2008.06120; google-research `tunas`).

A network is

* a 3 x 3 convolution of stride 2 to 32 filters;
* a depthwise-separable convolution to 16 filters, whose kernel size is chosen;
* six stages of mobile inverted bottlenecks: kernel size and expansion are chosen for each of their 21 layers, and every
  layer but the first of a stage can be left out;
* a 1 x 1 convolution to 1,280 filters;

with ReLU throughout. There are about 10^17 networks. Each is a `MnasNet` whose blocks have one layer.

It makes no difference which of two equal layers is left out: in the canonical form, the layers left out are the last
of their stage. Units are named by their place, as in the published latency model of Google's Pixel 1.
"""

import dataclasses
import functools
import itertools
import math

from mnas_tf.spaces import _units
from mnas_tf.spaces._architecture import HEAD_FILTERS, Block, MnasNet
from mnas_tf.spaces._feature_maps import feature_maps
from mnas_tf.spaces._network import Scale, build, child_note, halved, latency_scale
from nas_tf.networks import blocks as nn
from nas_tf.space import Decision, SearchSpace, Unit

__all__ = ["PROXYLESSNAS_MOBILE", "SPACE", "ProxylessNASSpace", "Scale"]

STEM_FILTERS, STEM_BLOCK_FILTERS = 32, 16
# (filters, stride, layers) of each stage.
STAGES = ((32, 2, 4), (40, 2, 4), (80, 2, 4), (96, 1, 4), (192, 2, 4), (320, 1, 1))
KERNEL_SIZES, EXPANSION_RATIOS, SKIP = (3, 5, 7), (3, 6), "skip"
OPERATIONS = tuple(f"k{kernel}_e{expansion}" for kernel, expansion in itertools.product(KERNEL_SIZES, EXPANSION_RATIOS))
PLACES = tuple((stage, layer) for stage, (_, _, layers) in enumerate(STAGES, 1) for layer in range(layers))


def _place(stage, layer):
    return f"stage{stage}/layer{layer}"


@dataclasses.dataclass(frozen=True)
class PlacedUnit(Unit):
    """A layer at its place, with the sum with its input.

    Attributes:
        name: its place and its operation.
        block: the `Block` of this one layer; None: the layer is left out.
        size: height and width in pixels of the maps that it reads.
        scale: the `Scale`.
    """

    name: str
    block: Block | None
    size: int
    scale: Scale

    @property
    def kind(self):
        return "skip" if self.block is None else f"{self.block.op}_{self.block.skip}"

    @property
    def costs_nothing(self):
        return self.block is None

    def build(self):
        import keras

        block, scale = self.block, self.scale
        inputs = x = keras.Input((self.size, self.size, scale.filters(block.input_filters)), name="input")
        style = _units.style_of(scale)
        filters, shape = scale.filters(block.filters), (block.strides, block.expansion_ratio)
        x = nn.mbconv(x, filters, block.kernel_size, "layer", style, *shape)
        return keras.Model(inputs, nn.identity_skip(x, inputs, "layer") if block.skip == "identity" else x)


@dataclasses.dataclass(frozen=True)
class ProxylessNASSpace(SearchSpace):
    """One decision for the block behind the stem, and one for each of 21 layers."""

    name = "proxylessnas"

    @functools.cached_property
    def decisions(self):
        layers = (Decision(_place(*place), OPERATIONS + ((SKIP,) if place[1] else ())) for place in PLACES)
        return (Decision("stem block", tuple(f"k{kernel}" for kernel in KERNEL_SIZES)), *layers)

    def decode(self, tokens):
        answers = self.answers(tokens)
        blocks = [_stem_block(int(answers["stem block"][1:]))]
        for stage, layer in PLACES:
            if answers[_place(stage, layer)] != SKIP:
                blocks.append(_block(stage, layer, answers[_place(stage, layer)]))
        return MnasNet(tuple(blocks))

    def encode(self, architecture):
        try:
            choices = [name.partition(":")[2] for name in _unit_names(architecture)]
            tokens = tuple(decision.choices.index(choice) for decision, choice in zip(self.decisions, choices))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{architecture} is no network of space {self.name!r}: {error.args[0]}") from error
        if self.decode(tokens) != architecture:
            raise ValueError(f"{architecture} is no network of space {self.name!r}: its stem, head or strides differ")
        return tokens

    def outline(self, architecture):
        return architecture.outline()

    def build(self, architecture, scale):
        return build(architecture, scale)

    def feature_maps(self, architecture, scale):
        return feature_maps(architecture, scale)

    def architecture(self, json_value):
        return MnasNet.from_json(json_value)

    def child_note(self, scale):
        return child_note([strides for _, strides, _ in STAGES], scale)

    def latency_scale(self, scale):
        return latency_scale(scale)

    def unit_groups(self, architecture, scale):
        """Returns a tuple of the names of the units; a layer that is left out has one too."""
        return ("stem", *_unit_names(architecture), "head", "classifier")

    def units(self, group, scale):
        return {_all_units(scale)[group]: 1}

    def all_units(self, scale):
        return list(_all_units(scale).values())


def _stem_block(kernel_size):
    return Block("sepconv", 1, kernel_size, 1, 1, STEM_FILTERS, STEM_BLOCK_FILTERS, skip="none")


@functools.cache
def _block(stage, layer, operation):
    kernel, expansion = (int(word[1:]) for word in operation.split("_"))
    filters, strides, _ = STAGES[stage - 1]
    before = STAGES[stage - 2][0] if stage > 1 else STEM_BLOCK_FILTERS
    if layer:
        return Block("mbconv", 1, kernel, 1, expansion, filters, filters, skip="identity")
    return Block("mbconv", 1, kernel, strides, expansion, before, filters, skip="none")


@functools.cache
def _names():
    """Lists the names of the units at each place, in the network's order.

    Each is a tuple: a dict from the blocks that may be there to their units' names, and the name of a layer left out.
    """
    names = [({_stem_block(k): f"stem block:k{k}" for k in KERNEL_SIZES}, f"stem block:{SKIP}")]
    for stage, layer in PLACES:
        place = _place(stage, layer)
        names.append(({_block(stage, layer, each): f"{place}:{each}" for each in OPERATIONS}, f"{place}:{SKIP}"))
    return names


def _unit_names(architecture):
    """Returns a list of the names of the units at each place, with those of layers that are left out.

    Raises:
        KeyError: the space has no place for a block.
    """
    found, blocks = [], iter(architecture.blocks)
    block = next(blocks)
    for layers, left_out in _names():
        if block in layers:
            found.append(layers[block])
            block = next(blocks, None)
        else:
            found.append(left_out)
    if block is not None:
        raise KeyError(f"there is no place for {block}")
    return found


@functools.lru_cache(maxsize=4)
def _all_units(scale):
    """Returns a dict from name to unit, at `scale`."""
    size = halved(scale.image_size)
    found = {f"stem block:k{k}": PlacedUnit(f"stem block:k{k}", _stem_block(k), size, scale) for k in KERNEL_SIZES}
    for stage, layer in PLACES:
        for operation in OPERATIONS:
            name = f"{_place(stage, layer)}:{operation}"
            found[name] = PlacedUnit(name, _block(stage, layer, operation), size, scale)
        if layer:
            name = f"{_place(stage, layer)}:{SKIP}"
            found[name] = PlacedUnit(name, None, size, scale)
        else:
            size = math.ceil(size / STAGES[stage - 1][1])
    ends = _units.units_of_ends(STEM_FILTERS, STAGES[-1][0], HEAD_FILTERS, size, scale.image_size, scale)
    return found | {unit.kind: _Named(unit.kind, unit) for unit in ends}


@dataclasses.dataclass(frozen=True)
class _Named(Unit):
    """Stem, head or classifier, under the name of its place."""

    name: str
    unit: Unit

    @property
    def kind(self):
        return self.unit.kind

    def build(self):
        return self.unit.build()


_MOBILE = (
    "k5_e3 k3_e3 skip skip k7_e3 k3_e3 k5_e3 k5_e3 k7_e6 k5_e3 k5_e3 k5_e3 k5_e6 k5_e3 k5_e3 k5_e3 k7_e6 k7_e6 k7_e3 "
    "k7_e3 k7_e6"
)
SPACE = ProxylessNASSpace()
# ProxylessNAS-mobile: 84 ms on a Pixel 1 in TuNAS's model.
PROXYLESSNAS_MOBILE = MnasNet(
    (_stem_block(3), *(_block(*place, op) for place, op in zip(PLACES, _MOBILE.split()) if op != SKIP))
)
