"""The reward steers the search, the constraint picks."""

import dataclasses
import itertools

import pytest

from nas_tf.ranking import pareto_front, ranked, repeated
from nas_tf.rewards import AccuracyReward, Goal, LatencyReward, Objective
from nas_tf.trial import Cost, Latency, Measurement, Trial

WITHIN_5_MS = Goal(5.0)


def trial(number, accuracy, latency_ms, num_params=1_000_000, mult_adds=10_000_000, **facts):
    cost = Cost(num_params, mult_adds, 1, latency=Latency.estimate(latency_ms))
    return Trial(number, (number,), measurement=Measurement(accuracy, cost, 1.0), reward=facts.pop("reward", 0.0))


def ids(trials, goal):
    return [each.id for each in ranked(trials, goal)]


def test_the_most_accurate_within_the_target_is_picked_whatever_its_reward():
    over, within = trial(1, 0.34, 5.5), trial(2, 0.30, 4.9)
    hard = LatencyReward(5.0, "hard")
    over, within = (dataclasses.replace(each, reward=hard(each.measurement)) for each in (over, within))
    assert over.reward > within.reward  # what steered the search would have shipped 10 % too slow a network
    assert ids([over, within], hard_goal(hard)) == [2, 1]


def hard_goal(reward):
    return Objective(target_latency_ms=5.0, reward="hard").goal(reward)


def test_the_target_has_two_percent_of_tolerance():
    assert ids([trial(1, 0.5, 5.1), trial(2, 0.4, 5.0)], WITHIN_5_MS) == [1, 2]
    assert ids([trial(1, 0.5, 5.101), trial(2, 0.4, 5.0)], WITHIN_5_MS) == [2, 1]


def test_without_a_target_accuracy_alone_picks():
    assert ids([trial(1, 0.5, 9.0), trial(2, 0.6, 99.0), trial(3, 0.6, 8.0)], Goal(None)) == [3, 2, 1]
    no_device = Objective(reward="accuracy").goal(AccuracyReward(), has_device=False)
    assert no_device == Goal(None, "mult_adds")


def test_if_none_meets_the_target_the_cheapest_that_is_not_dominated_is_picked():
    trials = [trial(1, 0.9, 20.0), trial(2, 0.3, 6.0), trial(3, 0.5, 6.0), trial(4, 0.4, 7.0)]
    picked = ranked(trials, WITHIN_5_MS)[0]
    assert picked.id == 3 and picked in pareto_front(trials)


@pytest.mark.parametrize("cost,target", [("mult_adds", 2_000_000), ("num_params", 2_000_000)])
def test_the_cost_may_be_another(cost, target):
    cheap = trial(1, 0.3, 50.0, **{cost: 2_000_000})
    assert ids([trial(2, 0.9, 1.0, **{cost: 3_000_000}), cheap], Goal(target, cost)) == [1, 2]


def test_a_network_over_a_hard_limit_is_never_picked():
    infeasible = dataclasses.replace(trial(1, 0.9, 1.0), infeasible="num_params=9 is over --max_num_params=5")
    assert ids([infeasible, trial(2, 0.1, 9.0)], WITHIN_5_MS) == [2]


REWARDS = [
    AccuracyReward(),
    *(
        LatencyReward(target, shape, cost, beta=beta)
        for shape, cost, beta, target in itertools.product(
            ("soft", "hard", "absolute"), ("latency_ms", "mult_adds", "num_params"), (None, -0.5, -3.0), (1.0, 1e6)
        )
    ),
]


@pytest.mark.parametrize("reward", REWARDS, ids=str)
def test_no_feasible_trial_earns_less_than_the_floor(reward):
    """An infeasible trial never ranks above a feasible one, whatever its accuracy and cost."""
    for accuracy, factor in itertools.product((0.0, 0.01, 0.25, 1.0), (1e-6, 0.1, 1.0, 4.0, 50.0, 1e9)):
        figure = max(1e-9, factor)
        cost = Cost(int(figure) + 1, int(figure) + 1, 1, latency=Latency.estimate(figure))
        assert reward(Measurement(accuracy, cost, 1.0)) >= reward.floor


def test_the_floor_of_the_absolute_reward_is_not_zero():
    reward = LatencyReward(10.0, "absolute")
    slow = trial(1, 0.25, 40.0).measurement
    assert reward(slow) == pytest.approx(0.25 - 0.3) and reward.floor < reward(slow) < 0


def test_what_was_measured_twice_is_found():
    one, other = trial(1, 0.5, 5.0), trial(2, 0.5, 5.0)
    again = dataclasses.replace(trial(3, 0.6, 5.5), tokens=(1,))
    copy = dataclasses.replace(one, id=4)
    assert repeated([one, other, again, copy]) == [(one, again)]


def test_networks_are_picked_by_what_is_expected_of_another_measurement():
    lucky = dataclasses.replace(trial(1, 0.62, 4.0), expected=0.58)
    solid = dataclasses.replace(trial(2, 0.61, 4.0), expected=0.60)
    assert ids([lucky, solid], WITHIN_5_MS) == [2, 1]
