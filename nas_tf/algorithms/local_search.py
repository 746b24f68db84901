"""Local search: of the best architecture so far one answer is changed, until no other answer is better.

White et al. (arXiv 2005.02960) find that it is hard to beat where accuracies are known with little noise. Of an
architecture whose neighbours were all tried, the next best one's follow. It begins with random architectures, and in a
search from a parent with the parent. Where the front is the goal, neighbours of the front's members are tried in turns.
"""

import dataclasses

import numpy as np

from nas_tf import algorithms
from nas_tf.algorithms import _neighbours
from nas_tf.settings import Settings, knob
from nas_tf.trial import Suggestion

FINDS_FRONTS = True
_TRIES = 50  # to draw an architecture that was not suggested before


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The settings of local search."""

    initial: int = knob(10, "Random architectures at the beginning; a search from a parent has none.", least=1)


def make(config, num_choices, seed, problem=algorithms.Problem()):  # noqa: B008  it is frozen
    """Returns the `LocalSearch` over `num_choices`, a tuple of how many choices each decision has."""
    return LocalSearch(config, num_choices, seed, problem)


class LocalSearch(algorithms.Algorithm):
    """Changes one answer of the best trial; the order of its neighbours is drawn."""

    def __init__(self, config, num_choices, seed, problem):
        self._config, self._num_choices, self._problem = config, tuple(num_choices), problem
        self._rng = np.random.default_rng(seed)
        self._trials, self._suggested, self._orders, self._turn = [], set(), {}, 0

    def suggest(self, count, running=()):
        self._suggested.update(self._problem.canonical(trial.tokens) for trial in running)
        return [self._suggest() for _ in range(count)]

    def update(self, trials):
        self._trials += trials
        self._suggested.update(self._problem.canonical(trial.tokens) for trial in trials)

    def _suggest(self):
        start = self._problem.start
        if start is not None and self._problem.canonical(start) not in self._suggested:
            return self._noted(tuple(start), "the parent")
        if len(self._suggested) >= self._config.initial or start is not None:
            for place in self._places():
                for tokens in self._neighbours(place):
                    if self._problem.canonical(tokens) not in self._suggested:
                        return self._noted(tokens, "near the best")
        for _ in range(_TRIES):
            tokens = _neighbours.drawn(self._num_choices, self._rng)
            if self._problem.canonical(tokens) not in self._suggested:
                break
        return self._noted(tokens, "random")

    def _noted(self, tokens, note):
        self._suggested.add(self._problem.canonical(tokens))
        return Suggestion(tokens, note)

    def _places(self):
        """Yields the tokens whose neighbours are to be tried, the best first."""
        start = self._problem.start
        if not self._trials:
            return iter([tuple(start)] if start is not None else [])
        if not self._problem.is_front:
            return (trial.tokens for trial in sorted(self._trials, key=lambda trial: -trial.reward))
        layers = _neighbours.layers(*zip(*(_neighbours.facts(each, self._problem.cost) for each in self._trials)))
        on = [trial.tokens for trial, layer in zip(self._trials, layers) if layer == 0]
        self._turn += 1
        first = self._turn % len(on)
        others = sorted(range(len(layers)), key=lambda i: layers[i])
        return iter([*on[first:], *on[:first], *(self._trials[i].tokens for i in others if layers[i])])

    def _neighbours(self, tokens):
        """Returns a list of neighbours, in an order of their own that stays."""
        if tokens not in self._orders:
            found = _neighbours.neighbours(tokens, self._num_choices)
            self._orders[tokens] = [found[i] for i in self._rng.permutation(len(found))]
        return self._orders[tokens]
