"""Random search: every choice of every decision is equally likely, whatever the trials were worth."""

import dataclasses

import numpy as np

from nas_tf import algorithms
from nas_tf.settings import Settings, knob
from nas_tf.trial import Suggestion


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The settings of random search."""

    batch_size: int = knob(10, "Architectures asked for at a time; the suggestions do not depend on it.", least=1)


def make(config, num_choices, seed):
    """Returns the `RandomSearch` over `num_choices`, a tuple of how many choices each decision has."""
    return RandomSearch(config, num_choices, seed)


class RandomSearch(algorithms.Algorithm):
    """Draws uniformly. The sequence does not depend on how many suggestions are asked for at a time."""

    def __init__(self, config, num_choices, seed):
        self._config = config
        self._num_choices = tuple(num_choices)
        self._rng = np.random.default_rng(seed)

    @property
    def batch_size(self):
        return self._config.batch_size

    def suggest(self, count):
        tokens = self._rng.integers(self._num_choices, size=(count, len(self._num_choices)))
        return [Suggestion(tuple(row), "random") for row in tokens.tolist()]

    def update(self, trials):
        """Learns nothing."""
