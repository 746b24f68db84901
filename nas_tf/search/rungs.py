"""Rungs: every network is judged with little work, and the best of a rung with more (arXiv 1810.05934, 2003.10865).

A judge offers rungs (`nas_tf.judges.Judge.rung_works`). When a trial has reached one, it goes on to the next if it is
among the best share of all that have reached that rung so far; else it ends there. Networks are compared at the same
rung only.
"""

import bisect
import dataclasses

import numpy as np

from nas_tf.rewards import FrontReward, cost_of
from nas_tf.trial import UserError


class Rungs:
    """Decides who goes on, and gives algorithms accuracies that can be compared.

    Args:
        works: how much work each rung is, as `nas_tf.judges.Judge.rung_works`.
        share: of the trials of a rung, those that go on.
        reward: by which trials of a rung are compared: one of `nas_tf.rewards`. Where the front is the goal they are
            compared by how many others are at least as good in both accuracy and cost.
    """

    def __init__(self, works, share, reward):
        self.works, self._share, self._reward = works, share, reward
        self._reached = [_Reached() for _ in works]
        self._told = [([], []) for _ in works]  # accuracies at a rung, and at the one below it, each rising

    @property
    def mean_work(self):
        """float: the work of a trial in the mean, where that of judging without rungs is 1."""
        return sum(work * self._share**rung for rung, work in enumerate(self.works))

    def add(self, rung, measurement):
        """Takes what a trial has reached at a rung; returns whether it goes on to the next."""
        cost = cost_of(measurement.cost, self._reward.cost) if isinstance(self._reward, FrontReward) else None
        reached = self._reached[rung]
        number_better = reached.add(self._reward(measurement), cost)
        return rung + 1 < len(self.works) and number_better < self._share * len(reached)

    def told(self, trial):
        """Returns a finished trial as an algorithm is told of it: with an accuracy of the lowest rung.

        Those that have gone beyond a rung deal their accuracies there out again, in the order of the rung above. So the
        order of a higher rung counts, and no network is better just because it was trained for longer.
        """
        facts = trial.measurement
        if trial.state != "done":
            return dataclasses.replace(trial, measurement=None)  # it may have one of a lower rung
        accuracy = facts.accuracy
        for rung in range(len(facts.rungs) - 1, 0, -1):
            above, below = self._told[rung]
            bisect.insort(above, facts.rungs[rung])
            bisect.insort(below, facts.rungs[rung - 1])
            accuracy = below[bisect.bisect_left(above, accuracy)]
        facts = dataclasses.replace(facts, accuracy=accuracy, rungs=())
        return dataclasses.replace(trial, measurement=facts, reward=self._reward(facts))


class _Reached:
    """What trials have reached at one rung."""

    def __init__(self):
        self._rewards, self._costs, self._betters = np.zeros(0), np.zeros(0), np.zeros(0)

    def __len__(self):
        return len(self._rewards)

    def add(self, reward, cost):
        """Returns how many of the earlier ones are better; without a cost, by reward alone."""
        if cost is None:
            better = self._rewards > reward
        else:
            dominate = (self._rewards >= reward) & (self._costs <= cost)
            self._betters += (self._rewards <= reward) & (self._costs >= cost) & ~dominate
            better = self._betters < dominate.sum()
            self._betters = np.append(self._betters, dominate.sum())
            self._costs = np.append(self._costs, cost)
        self._rewards = np.append(self._rewards, reward)
        return int(better.sum())


def check_offered(judge, name, share):
    """Raises `UserError` if a share of trials is to go on, and the judge of that name offers no rungs."""
    if share is not None and len(judge.rung_works) < 2:
        raise UserError(
            f"--promoted_share={share:g} needs a judge that offers rungs: proxy, inherited, or blocks with "
            f"--blocks_accuracy=trained. Received: --judge={name}, which offers none here"
        )
