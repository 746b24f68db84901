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
from nasnet_tf.spaces._network import build, feature_maps
from nasnet_tf.spaces._scale import Scale

__all__ = ["SPACE", "Block", "Cell", "NASNet", "NASNetSpace", "Scale", "build"]

QUESTIONS = ("input1", "input2", "op1", "op2", "combine")


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

    def feature_maps(self, architecture, scale):
        return feature_maps(architecture, scale)

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
