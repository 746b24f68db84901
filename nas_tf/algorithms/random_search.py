"""Random search: every choice of every decision equally likely, whatever came of the trials."""

import dataclasses

import numpy as np

from nas_tf import algorithms
from nas_tf.algorithms import _checkpoint
from nas_tf.flags import knob
from nas_tf.trial import Suggestion, UserError


@dataclasses.dataclass(frozen=True)
class Config:
    batch_size: int = knob(10, "Architectures asked for at a time; changes nothing in what is suggested.")

    def __post_init__(self):
        if self.batch_size < 1:
            raise UserError(f"Expected a batch size of at least 1. Received: batch_size={self.batch_size}")


def make(config, num_choices, seed):
    """The `RandomSearch` over `num_choices`, a tuple of how many choices each decision has."""
    return RandomSearch(config, num_choices, seed)


class RandomSearch(algorithms.Algorithm):
    """Draws uniformly; its sequence does not depend on how many suggestions are asked for at a time."""

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
        pass

    def save(self, path):
        _checkpoint.write(path, self._identity, {"generator": self._rng.bit_generator.state})

    def restore(self, path):
        state, _ = _checkpoint.read(path, self._identity)
        self._rng.bit_generator.state = state["generator"]

    @property
    def _identity(self):
        return {"algorithm": "random_search", "decisions": self._num_choices}
