"""A toy algorithm as a part of a user's own: it counts through the space."""

import dataclasses

from nas_tf.algorithms import Algorithm
from nas_tf.settings import Settings, knob
from nas_tf.trial import Suggestion


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    first: int = knob(0, "Number to count from.", least=0)


def make(config, num_choices, seed):
    return Counting(config, num_choices)


class Counting(Algorithm):
    def __init__(self, config, num_choices):
        self._next, self._num_choices = config.first, num_choices

    def suggest(self, count, running=()):
        numbers = range(self._next, self._next + count)
        self._next += count
        return [Suggestion(tuple(n // 3**i % c for i, c in enumerate(self._num_choices))) for n in numbers]

    def update(self, trials):
        pass
