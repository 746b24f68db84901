"""Regularised evolution (Real et al., arXiv 1802.01548): the best of some recent trials, with one answer changed.

A search from a parent begins at the parent and goes outward from it: the first suggestion is the parent, and as long as
the population is not full, suggestions are the parent with one answer changed. Others begin with random architectures.

Where the front is the goal, nobody dies of age: the population are the trials that the fewest layers of others beat in
both accuracy and cost (the non-dominated sorting of NSGA-II, Deb et al. 2002), twice as many, and all that nothing
beats. Each has the same chance of offspring.
"""

import collections
import dataclasses

import numpy as np

from nas_tf import algorithms
from nas_tf.algorithms import _neighbours
from nas_tf.settings import Settings, knob
from nas_tf.trial import Suggestion

FINDS_FRONTS = True
_TRIES = 50  # to find an architecture that was not suggested before


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The settings of evolution. The paper's population is 100 and its sample 25, for 20,000 trials."""

    population: int = knob(10, "How many of the latest trials may have offspring.", least=2)
    sample: int = knob(3, "How many of these are drawn, of which the best has the offspring.", least=1)


def make(config, num_choices, seed, problem=algorithms.Problem()):  # noqa: B008  it is frozen
    """Returns the `Evolution` over `num_choices`, a tuple of how many choices each decision has."""
    return Evolution(config, num_choices, seed, problem)


class Evolution(algorithms.Algorithm):
    """Ageing evolution: of a trial's offspring one answer differs, and the oldest trial dies, not the worst."""

    def __init__(self, config, num_choices, seed, problem):
        self._config, self._num_choices, self._problem = config, tuple(num_choices), problem
        self._rng = np.random.default_rng(seed)
        self._population = collections.deque(maxlen=None if problem.is_front else config.population)
        self._suggested = set()

    def suggest(self, count, running=()):
        return [self._suggest() for _ in range(count)]

    def update(self, trials):
        self._population.extend(trials)
        self._suggested.update(self._problem.canonical(trial.tokens) for trial in trials)
        if self._problem.is_front and self._population:
            layers = _neighbours.layers(
                *zip(*(_neighbours.facts(each, self._problem.cost) for each in self._population))
            )
            order = sorted(range(len(layers)), key=lambda i: layers[i])
            kept = max(2 * self._config.population, int((layers == 0).sum()))
            self._population = collections.deque(self._population[i] for i in sorted(order[:kept]))

    def _suggest(self):
        start = self._problem.start
        if start is not None and self._problem.canonical(start) not in self._suggested:
            return self._noted(tuple(start), "the parent")
        for _ in range(_TRIES):
            if len(self._population) >= self._config.population:
                tokens, note = self._changed(self._best_of_sample().tokens), "evolved"
            elif start is not None:
                tokens, note = self._changed(start), "near the parent"
            else:
                tokens, note = _neighbours.drawn(self._num_choices, self._rng), "random"
            if self._problem.canonical(tokens) not in self._suggested:
                break
        return self._noted(tokens, note)

    def _noted(self, tokens, note):
        self._suggested.add(self._problem.canonical(tokens))
        return Suggestion(tokens, note)

    def _best_of_sample(self):
        if not self._problem.is_front:
            size = min(self._config.sample, len(self._population))
            chosen = sorted(self._rng.choice(len(self._population), size, replace=False))
            return max((self._population[i] for i in chosen), key=lambda trial: trial.reward)
        return self._population[int(self._rng.integers(len(self._population)))]

    def _changed(self, tokens):
        return _neighbours.changed(tokens, self._num_choices, self._rng)
