"""Which trials are raced: a search's single timings choose nothing near the target."""

import json
import types

import pytest

from nas_tf.rewards import Goal
from nas_tf.shipping import finalists as module
from nas_tf.shipping.finalists import considered, finalists
from nas_tf.shipping.turns import LEAST_ROUNDS, Turns
from nas_tf.trial import Cost, Latency, Measurement, Trial

GOAL = Goal(1.0)
# By trial: accuracy, milliseconds in the search, and what the network takes in truth.
KNOWN = {
    1: (0.80, 1.60, 1.60),
    2: (0.79, 1.01, 1.14),  # seemed to meet the target
    3: (0.78, 1.05, 0.97),  # seemed not to
    4: (0.77, 0.99, 0.99),
    5: (0.76, 0.98, 1.01),  # within the tolerance, which is left to the timing that decides
    6: (0.70, 0.60, 0.60),
}


class Truthful:
    """A device that says what a network takes, half as fast from some timing on."""

    def __init__(self, slow_from):
        self.slow_from, self.timed = slow_from, 0

    def brief(self):
        return self

    def measure(self, path):
        self.timed += 1
        true = {"target": 1.0, **{str(number): each[2] for number, each in KNOWN.items()}}[path]
        return Latency.estimate(true * (2 if self.timed > self.slow_from else 1))


def trials(numbers):
    def cost(ms):
        return Cost(num_params=1, mult_adds=1, peak_activation_bytes=1, latency=Latency.estimate(ms))

    return [
        Trial(number, (number,), measurement=Measurement(KNOWN[number][0], cost(KNOWN[number][1]), 1.0), reward=1.0)
        for number in numbers
    ]


@pytest.fixture
def workshop(monkeypatch):
    monkeypatch.setattr(module, "_file", lambda workshop, trial, folder: str(trial.id))
    lines = []
    return types.SimpleNamespace(say=lines.append, lines=lines)


BEST_FIRST = trials([2, 4, 5, 6, 3, 1])  # as the search's latencies have it, which let only 3 and 1 miss the target


@pytest.mark.parametrize("slow_from", [0, 13, 100])
def test_those_that_meet_the_target_in_turns_are_raced(workshop, tmp_path, slow_from):
    device = Truthful(slow_from)
    found = considered(BEST_FIRST, GOAL, 2)
    assert [each.id for each in found] == [2, 3, 4, 5, 6]
    chosen = finalists(workshop, tmp_path, found, GOAL, Turns(device, 1.0, "target"), 2)
    assert [each.id for each in chosen] == [3, 4]
    assert workshop.lines[-1].startswith("3 of 5 trials meet the target of 1.000 ms")
    # Once more: the same ones, and nothing is timed. The latencies of the search are what is recorded of them.
    timed = device.timed
    again = finalists(workshop, tmp_path, found, GOAL, Turns(device, 1.0, "target"), 2)
    assert again == chosen == trials([3, 4]) and device.timed == timed > 0


def test_trials_that_join_later_are_timed_then(workshop, tmp_path):
    """A search that goes on finds others, which stand among those that were timed before."""
    device = Truthful(100)
    finalists(workshop, tmp_path, trials([2, 4, 5]), GOAL, Turns(device, 1.0, "target"), 1)
    found = considered(BEST_FIRST, GOAL, 1)
    assert finalists(workshop, tmp_path, found, GOAL, Turns(device, 1.0, "target"), 1) == trials([3])


def test_trials_are_timed_until_enough_meet_the_target(workshop, tmp_path, monkeypatch):
    """The target of the search was too high: the first four of those near it are above it in truth."""
    for number, true in ((2, 1.2), (3, 1.1), (4, 1.1), (5, 1.1)):
        monkeypatch.setitem(KNOWN, number, (*KNOWN[number][:2], true))
    found = considered(BEST_FIRST, GOAL, 1)
    assert [each.id for each in found] == [2, 3, 4, 5, 6]
    device = Truthful(100)
    assert finalists(workshop, tmp_path, found, GOAL, Turns(device, 1.0, "target"), 1) == trials([6])
    assert device.timed == LEAST_ROUNDS * (5 + 2)  # the target's network among them
    # Killed after the first four, it goes on with the fifth.
    known = json.loads((tmp_path / "finalists.json").read_text())
    (tmp_path / "finalists.json").write_text(json.dumps({name: known[name] for name in "2345"}))
    assert finalists(workshop, tmp_path, found, GOAL, Turns(device, 1.0, "target"), 1) == trials([6])
    assert device.timed == LEAST_ROUNDS * (5 + 2 + 2)


def test_if_too_few_meet_it_the_fastest_of_the_others_follow(workshop, tmp_path):
    chosen = finalists(workshop, tmp_path, trials([2, 5, 4]), GOAL, Turns(Truthful(0), 1.0, "target"), 2)
    assert [each.id for each in chosen] == [5, 4]


def test_without_a_latency_to_keep_to_or_too_few_near_it_the_best_of_the_search_are_raced(workshop):
    for goal in (Goal(None), Goal(1.0, "mult_adds"), Goal(0.3)):
        assert [each.id for each in considered(BEST_FIRST, goal, 2)] == [2, 4]
        assert finalists(workshop, None, BEST_FIRST[:2], goal, None, 2) == BEST_FIRST[:2]
