"""A search space of a user's own with networks of the MnasNet family of two blocks, which can inherit."""

import dataclasses
import itertools

from mnas_tf.spaces import _inheritance
from mnas_tf.spaces.mnasnet import SPACE as MNASNETS
from mnas_tf.spaces.mnasnet import Block, MnasNet, Scale, build, unit_groups, units
from nas_tf.space import Decision, SearchSpace

__all__ = ["SPACE", "Scale"]
CHOICES = {"kernel_size": (3, 5, 7), "expansion_ratio": (2, 3), "repeats": (1, 2)}
FIRST = Block("sepconv", 1, 3, 1, 1, 8, 8)


def second(**answers):
    return Block("mbconv", **answers, strides=2, input_filters=8, filters=12).canonical


@dataclasses.dataclass(frozen=True)
class SmallMnasNets(SearchSpace):
    image_sizes: tuple[int, ...] = ()
    kernel_sizes: tuple[int, ...] = CHOICES["kernel_size"]

    name = "small_mnasnets"

    @property
    def decisions(self):
        choices = {**CHOICES, "kernel_size": self.kernel_sizes}
        decisions = tuple(Decision(name, each) for name, each in choices.items())
        return (*decisions, *([Decision("image_size", (None, *self.image_sizes))] if self.image_sizes else []))

    def decode(self, tokens):
        answers = self.answers(tokens)
        size = answers.pop("image_size", None)
        return MnasNet((FIRST, second(**answers)), head_filters=24, image_size=size)

    def encode(self, architecture):
        values = {name: getattr(architecture.blocks[1], name) for name in CHOICES}
        values["image_size"] = architecture.image_size
        return tuple(decision.choices.index(values[decision.name]) for decision in self.decisions)

    def build(self, architecture, scale):
        return build(architecture, scale)

    def architecture(self, json_value):
        return MnasNet.from_json(json_value)

    def counterparts(self, architecture, parent):
        return _inheritance.counterparts(architecture, parent)

    def settings_for_blocks(self, architecture, image_size):
        return {"image_sizes": (3 * image_size // 4,)}

    def latency_scale(self, scale):
        return MNASNETS.latency_scale(scale)

    def unit_groups(self, architecture, scale):
        return unit_groups(architecture, scale)

    def units(self, group, scale):
        return units(group, scale)

    def all_units(self, scale):
        networks = (self.decode(tokens) for tokens in itertools.product(*map(range, self.num_choices)))
        groups = (group for each in networks for group in unit_groups(each, scale))
        return list(dict.fromkeys(unit for group in groups for unit in units(group, scale)))

    def blocks(self, architecture):
        return architecture.blocks

    def block_choices(self, parent):
        choices = (decision.choices for decision in self.decisions[: len(CHOICES)])
        first, own = parent.blocks
        borders = {"input_filters": own.input_filters, "filters": own.filters}
        offered = (second(**dict(zip(CHOICES, each))) for each in itertools.product(*choices))
        return (first,), tuple(dataclasses.replace(each, **borders) for each in offered)

    def slimmed(self, architecture, width):
        return MNASNETS.slimmed(architecture, width)

    def image_size(self, architecture):
        return architecture.image_size

    def child(self, architecture, proxy_scale, deploy_scale):
        return MNASNETS.child(architecture, proxy_scale, deploy_scale)

    def assembled(self, parent, blocks, image_size=None):
        return MNASNETS.assembled(parent, blocks, image_size)

    def build_block(self, architecture, number, scale):
        return MNASNETS.build_block(architecture, number, scale)


SPACE = SmallMnasNets()
