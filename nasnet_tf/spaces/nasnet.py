"""NASNet's cell search space (arXiv 1707.07012, section 3.1): a Normal and a Reduction cell, stacked at any scale.

Where the paper leaves it open, the authors' code (tensorflow/models, `research/slim/nets/nasnet`) and Keras's
`applications.nasnet` decide:

* State 0 is the cell's input behind ReLU, a 1 x 1 convolution to the cell's filters, and batch normalisation. State 1
  is the input of the cell before, behind a factorized reduction if it is larger than state 0, else behind a 1 x 1
  convolution too. (NASNet's code leaves that convolution out where the channels agree by chance. With it, the order in
  which a cell concatenates never matters.) No cell is before the first one: there, state 1 is the stem's output, and
  operations that keep channels read a projection of it.
* In a Reduction cell, operations on states 0 and 1 have stride 2. `identity` is then a factorized reduction, and a
  pooling window reads zeros beyond the border.
* `concat` is followed by ReLU, a 1 x 1 convolution back to the cell's filters, and batch normalisation.
* The output of a sampled cell is the concatenation of all states that no block reads, cell inputs included.
* Drop path follows every operation but `identity`.
"""

import dataclasses
import functools
import pathlib

from nas_tf.settings import Settings, knob
from nas_tf.space import Decision, SearchSpace
from nas_tf.trial import UserError
from nasnet_tf.spaces import _units
from nasnet_tf.spaces._cell import COMBINERS, NUM_INPUTS, OPERATIONS, Block, Cell, NASNet
from nasnet_tf.spaces._network import build

__all__ = ["SPACE", "Block", "Cell", "NASNet", "NASNetSpace", "Scale", "build"]

QUESTIONS = ("input1", "input2", "op1", "op2", "combine")


@dataclasses.dataclass(frozen=True)
class Scale(Settings):
    """How cells are stacked: in three stages of Normal cells, with a Reduction cell between stages.

    Every stage has twice the filters of the stage before. The papers' "N @ P" names P = 24 F, the channels that the
    last cell of NASNet-A returns.

    Attributes:
        image_size: height and width of the images in pixels.
        num_classes: how many classes the network tells apart.
        cells: Normal cells in a stage (N).
        filters: filters in the first stage (F).
        stem: `"cifar"` is one convolution; `"imagenet"` is one of stride 2 and two Reduction cells with F/4 and F/2
            filters.
        stem_filters: filters of that convolution; 0: 3 F for `cifar`, 32 for `imagenet`.
        skip_reduction_input: whether, behind a Reduction cell, state 1 is not the input of the cell before but of the
            one before that (NASNet-A large).
        auxiliary_head: whether there is a second output, the class scores at two thirds of the depth.
        drop_path_keep: probability to keep a path in the last training step and the last cell.
        drop_path: how the probability falls from 1 to `drop_path_keep`: `"v3"` over training and with depth (the
            default; NASNet's code), `"v1"` over training only, `"v2"` with depth only; `"constant"`: it does not begin
            at 1.
        dropout_rate: share of features that is dropped before the classifier while training.
        bn_momentum, bn_epsilon: of batch normalisation, with Keras's meaning.
        activation: `"relu"`, or `"relu6"`, which ends every ReLU at 6 and so loses less at int8. Latency tables are not
            made for it.

    Raises:
        UserError: no network can be built with one of these values.
    """

    image_size: int = knob(224, least=1, most=4096)
    num_classes: int = knob(1000, least=1, most=1_000_000)
    cells: int = knob(4, least=1, most=100)
    filters: int = knob(44, least=1, most=4096)
    stem: str = knob("imagenet", choices=("cifar", "imagenet"))
    stem_filters: int = knob(0, least=0, most=4096)
    skip_reduction_input: bool = False
    auxiliary_head: bool = False
    drop_path_keep: float = knob(1.0, above=0, most=1)
    drop_path: str = knob("v3", choices=("v1", "v2", "v3", "constant"))
    dropout_rate: float = knob(0.0, least=0, below=1)
    bn_momentum: float = knob(0.9997, least=0, below=1)
    bn_epsilon: float = knob(1e-3, above=0)
    activation: str = knob("relu", choices=("relu", "relu6"))

    def __post_init__(self):
        super().__post_init__()
        if self.stem == "imagenet" and (self.filters % 4 or self.filters < 8):
            raise UserError(
                "Expected filters to be a multiple of 4, 8 at least: the two Reduction cells of the imagenet stem have "
                f"a quarter and half of them. Received: filters={self.filters}"
            )
        least = {"cifar": 3, "imagenet": 19}[self.stem]
        if self.image_size < least:
            raise UserError(
                f"Expected image_size of at least {least}: with the {self.stem} stem a smaller image is one pixel "
                f"before its last reduction. Received: image_size={self.image_size}"
            )


@dataclasses.dataclass(frozen=True)
class NASNetSpace(SearchSpace, Settings):
    """Five decisions for each block of the Normal cell, then of the Reduction cell: 50 for the paper's five blocks."""

    blocks: int = knob(5, "Blocks in a cell.", least=1, most=12, flag="nasnet_blocks")
    operations: tuple[str, ...] = knob(
        OPERATIONS,
        "Operations to choose from.",
        choices=OPERATIONS,
        required="the operations to choose from",
        flag="nasnet_operations",
    )

    name = "nasnet"

    def __post_init__(self):
        object.__setattr__(self, "operations", tuple(self.operations))
        super().__post_init__()
        if len(set(self.operations)) < len(self.operations):
            raise UserError(f"Expected each of --nasnet_operations once. Received: {', '.join(self.operations)}")

    @functools.cached_property
    def decisions(self):
        decisions = []
        for cell in ("normal", "reduction"):
            for number in range(1, self.blocks + 1):
                states = tuple(range(NUM_INPUTS + number - 1))
                choices = (states, states, self.operations, self.operations, COMBINERS)
                decisions += [
                    Decision(f"{cell}/block{number}/{question}", each) for question, each in zip(QUESTIONS, choices)
                ]
        return tuple(decisions)

    def decode(self, tokens):
        choices = iter(self.answers(tokens).values())
        cells = [
            _canonical_cell(tuple(tuple(next(choices) for _ in QUESTIONS) for _ in range(self.blocks)))
            for _ in ("normal", "reduction")
        ]
        return NASNet(*cells)

    def encode(self, architecture):
        tokens, decisions = [], iter(self.decisions)
        for cell in (architecture.normal, architecture.reduction):
            if len(cell.blocks) != self.blocks:
                raise ValueError(
                    f"Cells of space {self.name!r} have {self.blocks} blocks here. Received: {len(cell.blocks)}"
                )
            if cell.output != Cell(cell.blocks).output:
                raise ValueError(
                    f"Cells of space {self.name!r} concatenate the states that no block reads, here "
                    f"{Cell(cell.blocks).output}. Received: output={cell.output}"
                )
            for block in cell.blocks:
                for question in QUESTIONS:
                    decision, choice = next(decisions), getattr(block, question)
                    if choice not in decision.choices:
                        raise ValueError(
                            f"Decision {decision.name!r} has the choices {decision.choices}. Received: {choice!r}"
                        )
                    tokens.append(decision.choices.index(choice))
        return tuple(tokens)

    def outline(self, architecture):
        return [
            f"{name} cell, block {number}: {block.combine}("
            + ", ".join(f"{operation} of {state}" for state, operation in block.operands)
            + ")"
            for name, cell in (("normal", architecture.normal), ("reduction", architecture.reduction))
            for number, block in enumerate(cell.blocks, NUM_INPUTS)
        ]

    def build(self, architecture, scale):
        return build(architecture, scale)

    def architecture(self, json_value):
        return NASNet.from_json(json_value)

    def latency_scale(self, scale):
        if scale.activation != "relu":
            raise UserError(
                f"A latency table is of networks with ReLU. Received: activation={scale.activation}. Have files timed "
                "by --device=android or --device=host"
            )
        names = ("image_size", "num_classes", "cells", "filters", "stem", "stem_filters", "skip_reduction_input")
        return {name: getattr(scale, name) for name in names}

    def unit_groups(self, architecture, scale):
        return _units.unit_groups(architecture)

    def units(self, group, scale):
        return _units.units(group, scale)

    def all_units(self, scale):
        return _units.all_units(scale, self)

    def draw(self, architecture, folder):
        """Writes `normal_cell` and `reduction_cell`, each as .svg and .png, and returns the paths."""
        from nasnet_tf.spaces._drawing import draw_cell

        drawn = []
        for name, cell, strides in (("normal", architecture.normal, 1), ("reduction", architecture.reduction, 2)):
            paths = [pathlib.Path(folder) / f"{name}_cell.{suffix}" for suffix in ("svg", "png")]
            draw_cell(cell, f"{name.capitalize()} cell ({cell.fingerprint[:8]})", strides, paths)
            drawn += paths
        return drawn


@functools.lru_cache(maxsize=1 << 16)  # searches decode thousands of networks a second, many with a cell in common
def _canonical_cell(blocks):
    return Cell(tuple(_block(*choices) for choices in blocks)).canonical


_block = functools.lru_cache(maxsize=1 << 16)(Block)

SPACE = NASNetSpace()
