"""NASNet's cell search space (arXiv 1707.07012, section 3.1): a Normal and a Reduction cell, stacked at any scale.

Where the paper leaves it open, the authors' code (tensorflow/models, `research/slim/nets/nasnet`) and Keras's
`applications.nasnet` decide:

* State 0 is the cell's input behind ReLU, a 1 x 1 convolution to the cell's filters, and batch normalisation. State 1
  is the input of the cell before: by a factorized reduction where it is larger, else by a 1 x 1 convolution as well.
  (NASNet's code leaves that out where the channels agree by chance; with it, the order in which a cell concatenates
  never matters.) The first cell has no cell before it: there, state 1 is the stem's output as it is, and operations
  that keep channels read its projection.
* In a Reduction cell, operations on states 0 and 1 have stride 2. `identity` is then a factorized reduction, and a
  pooling window reads zeros beyond the border.
* `concat` is followed by ReLU, a 1 x 1 convolution back to the cell's filters, and batch normalisation.
* The output of a sampled cell is the concatenation of all states that no block reads, cell inputs included.
* Drop path follows every operation but `identity`.
"""

import dataclasses
import functools
import math
import pathlib
import typing

from nas_tf.flags import knob
from nas_tf.space import Decision, SearchSpace
from nas_tf.trial import UserError
from nasnet_tf.spaces import _units
from nasnet_tf.spaces._cell import COMBINERS, NUM_INPUTS, OPERATIONS, Block, Cell, NASNet
from nasnet_tf.spaces._network import build

__all__ = ["SPACE", "Block", "Cell", "NASNet", "NASNetSpace", "Scale", "build"]

QUESTIONS = ("input1", "input2", "op1", "op2", "combine")


@dataclasses.dataclass(frozen=True)
class Scale:
    """How cells are stacked: `cells` Normal cells a stage (N), `filters` in the first stage (F), three stages.

    The stem `cifar` is one convolution; `imagenet` one of stride 2 and two Reduction cells with F/4 and F/2 filters.
    Between stages stands a Reduction cell with twice the filters. The papers' "N @ P" names P = 24 F, the channels that
    NASNet-A's last cell gives. `stem_filters` 0 means 3 F for `cifar`, 32 for `imagenet`.

    `skip_reduction_input`: behind a Reduction cell, state 1 is the input of the cell before the one before (large).
    `drop_path_keep` is the probability of the last step in the last cell; `drop_path` says how others come to it: `v3`
    falls from 1 over training and with depth (the default; NASNet's code), `v1` over training only, `v2` with depth
    only, `constant` not at all. `auxiliary_head` adds a second output, the class scores at two thirds of the depth.
    `activation` "relu6" ends every ReLU at 6, which loses less at int8; latency tables have no such networks.

    Raises:
        UserError: a value is none that a network can be built from.
    """

    image_size: int = 224
    num_classes: int = 1000
    cells: int = 4
    filters: int = 44
    stem: typing.Literal["cifar", "imagenet"] = "imagenet"
    stem_filters: int = 0
    skip_reduction_input: bool = False
    auxiliary_head: bool = False
    drop_path_keep: float = 1.0
    drop_path: typing.Literal["v1", "v2", "v3", "constant"] = "v3"
    dropout_rate: float = 0.0
    bn_momentum: float = 0.9997
    bn_epsilon: float = 1e-3
    activation: typing.Literal["relu", "relu6"] = "relu"

    def __post_init__(self):
        for name, least in (("image_size", 1), ("num_classes", 1), ("cells", 1), ("filters", 1), ("stem_filters", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"Expected {name} to be a whole number from {least} up. Received: {name}={value!r}")
        for name, allowed in (
            ("stem", ("cifar", "imagenet")),
            ("drop_path", ("v1", "v2", "v3", "constant")),
            ("activation", ("relu", "relu6")),
        ):
            if getattr(self, name) not in allowed:
                raise UserError(f"Expected {name} to be one of {', '.join(allowed)}. Received: {getattr(self, name)!r}")
        for name, expected, fits in (
            ("drop_path_keep", "above 0 and at most 1", lambda value: 0 < value <= 1),
            ("dropout_rate", "from 0 to below 1", lambda value: 0 <= value < 1),
            ("bn_momentum", "from 0 to below 1", lambda value: 0 <= value < 1),
            ("bn_epsilon", "finite and > 0", lambda value: 0 < value < math.inf),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not fits(value):
                raise UserError(f"Expected {name} to be {expected}. Received: {name}={value!r}")
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
class NASNetSpace(SearchSpace):
    """Five decisions for each block of the Normal cell, then of the Reduction cell: 50 for the paper's five blocks."""

    blocks: int = knob(5, "Blocks in a cell.")
    operations: tuple[str, ...] = knob(OPERATIONS, "Operations to choose from.")

    name = "nasnet"

    def __post_init__(self):
        if not isinstance(self.blocks, int) or not 1 <= self.blocks <= 12:
            raise UserError(f"Expected 1 to 12 blocks in a cell. Received: blocks={self.blocks!r}")
        operations = tuple(self.operations)
        if not operations or len(set(operations)) < len(operations) or not set(operations) <= set(OPERATIONS):
            raise UserError(
                f"Expected operations among {', '.join(OPERATIONS)}, each once. Received: {','.join(operations)}"
            )
        object.__setattr__(self, "operations", operations)

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
            Cell(tuple(Block(*(next(choices) for _ in QUESTIONS)) for _ in range(self.blocks))).canonical
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
                    f"Cells of space {self.name!r} give the states that no block reads, here "
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

    def parts(self, architecture, scale):
        return _units.parts(architecture)

    def units(self, part, scale):
        return _units.units(part, scale)

    def all_units(self, scale):
        return _units.all_units(scale, self)

    def draw(self, architecture, folder):
        """Writes `normal_cell` and `reduction_cell`, each as .svg and .png."""
        from nasnet_tf.spaces._drawing import draw_cell

        drawn = []
        for name, cell, strides in (("normal", architecture.normal, 1), ("reduction", architecture.reduction, 2)):
            paths = [pathlib.Path(folder) / f"{name}_cell.{suffix}" for suffix in ("svg", "png")]
            draw_cell(cell, f"{name.capitalize()} cell ({cell.fingerprint[:8]})", strides, paths)
            drawn += paths
        return drawn


SPACE = NASNetSpace()
