"""Random search: every choice of every decision is equally likely, whatever the trials were worth."""

import dataclasses

import numpy as np

from nas_tf import algorithms
from nas_tf.settings import Settings
from nas_tf.trial import Suggestion


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Nothing to choose."""


def make(config, num_choices, seed):
    """Returns the `RandomSearch` over `num_choices`, a tuple of how many choices each decision has."""
    return RandomSearch(num_choices, seed)


class RandomSearch(algorithms.Algorithm):
    """Draws uniformly. The sequence does not depend on how many suggestions are asked for at a time."""

    def __init__(self, num_choices, seed):
        self._num_choices = tuple(num_choices)
        self._rng = np.random.default_rng(seed)

    def suggest(self, count, running=()):
        tokens = self._rng.integers(self._num_choices, size=(count, len(self._num_choices)))
        return [Suggestion(tuple(row), "random") for row in tokens.tolist()]

    def update(self, trials):
        """Learns nothing."""
