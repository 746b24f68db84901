"""A search space of a user's own with networks of the MnasNet family of two blocks, which can inherit."""

import dataclasses

from mnas_tf.spaces import _inheritance
from mnas_tf.spaces.mnasnet import Block, MnasNet, Scale, build
from nas_tf.space import Decision, SearchSpace

__all__ = ["SPACE", "Scale"]


@dataclasses.dataclass(frozen=True)
class SmallMnasNets(SearchSpace):
    name = "small_mnasnets"
    decisions = (Decision("kernel_size", (3, 5, 7)), Decision("expansion_ratio", (2, 3)), Decision("repeats", (1, 2)))

    def decode(self, tokens):
        answers = self.answers(tokens)
        blocks = Block("sepconv", 1, 3, 1, 1, 8, 8), Block("mbconv", **answers, strides=2, input_filters=8, filters=12)
        return MnasNet(blocks, head_filters=24)

    def encode(self, architecture):
        block = architecture.blocks[1]
        return tuple(decision.choices.index(getattr(block, decision.name)) for decision in self.decisions)

    def build(self, architecture, scale):
        return build(architecture, scale)

    def architecture(self, json_value):
        return MnasNet.from_json(json_value)

    def counterparts(self, architecture, parent):
        return _inheritance.counterparts(architecture, parent)


SPACE = SmallMnasNets()
