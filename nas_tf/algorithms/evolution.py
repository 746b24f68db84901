"""Regularised evolution (Real et al., arXiv 1802.01548): the best of some recent trials, with one answer changed.

A search from a parent begins at the parent and goes outward from it: the first suggestion is the parent, and as long as
the population is not full, suggestions are the parent with one answer changed. Others begin with random architectures.
"""

import collections
import dataclasses

import numpy as np

from nas_tf import algorithms
from nas_tf.settings import Settings, knob
from nas_tf.trial import Suggestion

_TRIES = 50  # to find an architecture that was not suggested before


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The settings of evolution. The paper's population is 100 and its sample 25, for 20,000 trials."""

    population: int = knob(10, "How many of the latest trials may have offspring.", least=2)
    sample: int = knob(3, "How many of these are drawn, of which the best has the offspring.", least=1)
    batch_size: int = knob(4, "Architectures asked for at a time.", least=1)


def make(config, num_choices, seed, start=None):
    """Returns the `Evolution` over `num_choices`, a tuple of how many choices each decision has.

    `start` are the tokens that it begins at; None: at random ones.
    """
    return Evolution(config, num_choices, seed, start)


class Evolution(algorithms.Algorithm):
    """Ageing evolution: of a trial's offspring one answer differs, and the oldest trial dies, not the worst."""

    def __init__(self, config, num_choices, seed, start=None):
        self._config, self._num_choices, self._start = config, tuple(num_choices), start and tuple(start)
        self._rng = np.random.default_rng(seed)
        self._open = [i for i, count in enumerate(self._num_choices) if count > 1]
        self._population = collections.deque(maxlen=config.population)
        self._suggested = set()

    @property
    def batch_size(self):
        return self._config.batch_size

    def suggest(self, count):
        return [self._suggest() for _ in range(count)]

    def update(self, trials):
        self._population.extend((trial.reward, trial.tokens) for trial in trials)
        self._suggested.update(trial.tokens for trial in trials)

    def _suggest(self):
        if self._start is not None and self._start not in self._suggested:
            return self._noted(self._start, "the parent")
        for _ in range(_TRIES):
            if len(self._population) >= self._config.population:
                tokens, note = self._changed(self._best_of_sample()), "evolved"
            elif self._start is not None:
                tokens, note = self._changed(self._start), "near the parent"
            else:
                tokens, note = tuple(self._rng.integers(self._num_choices).tolist()), "random"
            if tokens not in self._suggested:
                break
        return self._noted(tokens, note)

    def _noted(self, tokens, note):
        self._suggested.add(tokens)
        return Suggestion(tokens, note)

    def _best_of_sample(self):
        size = min(self._config.sample, len(self._population))
        chosen = self._rng.choice(len(self._population), size, replace=False)
        return max((self._population[i] for i in sorted(chosen)), key=lambda each: each[0])[1]

    def _changed(self, tokens):
        """Returns tokens of which one answer is another."""
        if not self._open:
            return tokens
        changed = list(tokens)
        place = self._open[int(self._rng.integers(len(self._open)))]
        others = [token for token in range(self._num_choices[place]) if token != tokens[place]]
        changed[place] = others[int(self._rng.integers(len(others)))]
        return tuple(changed)
