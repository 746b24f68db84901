"""Rewards and limits against the papers' formulas."""

import math

import pytest

from nas_tf.rewards import AccuracyReward, LatencyReward, Limits, Objective
from nas_tf.trial import Cost, Latency, Measurement, UserError


def measured(accuracy, latency_ms, num_params=4_000_000, mult_adds=300_000_000, **others):
    cost = Cost(num_params, mult_adds, 1_000_000, latency=Latency.estimate(latency_ms), **others)
    return Measurement(accuracy, cost, 1.0)


def test_soft_reward_doubling_latency_costs_five_percent():
    reward = LatencyReward(75.0, "soft")
    # MnasNet section 3.1: 2^-0.07 = 0.9526, "doubling the latency usually brings about 5 % relative accuracy gain".
    assert reward(measured(0.5, 150)) / reward(measured(0.5, 75)) == pytest.approx(0.95264, abs=1e-5)
    assert reward(measured(0.5, 37.5)) == pytest.approx(0.5 * 2**0.07)
    assert reward(measured(0.5, 75)) == 0.5


def test_hard_reward_is_flat_up_to_the_target_and_inverse_beyond():
    reward = LatencyReward(80.0, "hard")
    assert reward(measured(0.6, 10)) == reward(measured(0.6, 80)) == 0.6
    assert reward(measured(0.6, 160)) == pytest.approx(0.3)


def test_absolute_reward_falls_on_both_sides():
    reward = LatencyReward(84.0, "absolute")
    assert reward(measured(0.7, 84)) == 0.7
    assert reward(measured(0.7, 42)) == pytest.approx(0.7 - 0.10 * 0.5)
    assert reward(measured(0.7, 126)) == pytest.approx(0.7 - 0.10 * 0.5)
    assert LatencyReward(84.0, "absolute", beta=-0.3)(measured(0.7, 126)) == pytest.approx(0.55)


def test_cost_can_be_multiply_adds_or_parameters():
    facts = measured(0.8, 5, num_params=2_000_000, mult_adds=600_000_000)
    assert LatencyReward(300e6, "hard", "mult_adds")(facts) == pytest.approx(0.4)
    assert LatencyReward(1e6, "hard", "num_params")(facts) == pytest.approx(0.4)


def test_accuracy_reward_needs_no_latency():
    assert AccuracyReward()(Measurement(0.25, Cost(1, 1, 1), 1.0)) == 0.25


@pytest.mark.parametrize("target", [0.0, -3.0, math.nan, math.inf])
def test_a_target_is_finite_and_positive(target):
    with pytest.raises(UserError, match=r"Expected a target latency_ms that is a finite number > 0 milliseconds\. Rec"):
        LatencyReward(target)
    with pytest.raises(UserError, match="Expected --target_latency_ms to be"):
        Objective(target_latency_ms=target)


def test_a_positive_exponent_is_refused():
    with pytest.raises(UserError, match=r"Expected beta to be finite and <= 0 .* Received: 0\.5"):
        LatencyReward(5.0, beta=0.5)
    with pytest.raises(UserError, match="absolute reward has no alpha"):
        LatencyReward(5.0, "absolute", alpha=-0.1)


def test_objective_takes_its_target_from_the_network_named():
    references = {"mobilenet_v2": Cost(3, 300, 1, latency=Latency.estimate(7.5))}
    assert Objective().resolve(references) == LatencyReward(7.5)
    assert Objective(cost="mult_adds").resolve(references) == LatencyReward(300, cost="mult_adds")
    assert Objective(target_latency_ms=5).resolve({}) == LatencyReward(5)
    assert Objective(reward="accuracy").resolve({}) == AccuracyReward()
    with pytest.raises(UserError, match=r"--target_latency_of to be one of mobilenet_v2, .* Received: 'squeezenet'"):
        Objective(target_latency_of="squeezenet").resolve(references)
    with pytest.raises(UserError, match=r"none of which this device can judge here.*give --target_latency_ms=NUMBER"):
        Objective().resolve({})


def test_a_target_of_another_cost_is_refused():
    with pytest.raises(UserError, match="--target_mult_adds needs --cost=mult_adds"):
        Objective(target_mult_adds=3e8)
    with pytest.raises(UserError, match="a --reward with a target"):
        Objective(target_latency_ms=5, reward="accuracy")


def test_limits_name_what_is_broken():
    cost = Cost(num_params=5_000_000, mult_adds=1, peak_activation_bytes=100, tflite_bytes=20_000_000)
    assert Limits().violation(cost) is None
    assert Limits(max_num_params=5_000_000).violation(cost) is None
    assert Limits(max_num_params=4_000_000).violation(cost) == "num_params=5000000 is over --max_num_params=4000000"
    assert "tflite_bytes" in Limits(max_tflite_bytes=10_000_000).violation(cost)
    assert "peak_activation_bytes" in Limits(max_peak_activation_bytes=99).violation(cost)
    with pytest.raises(UserError, match="Expected --max_num_params to be above 0"):
        Limits(max_num_params=0)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_latency_that_is_none_is_an_error(value):
    with pytest.raises(ValueError, match=r"must be finite and > 0 ms\. Received: mean_ms="):
        Latency.estimate(value)
    with pytest.raises(ValueError, match="Received: median_ms="):
        Latency(mean_ms=1.0, median_ms=value, runs=3)


def test_a_latency_says_which_statistic_it_is():
    assert Latency(mean_ms=3.0, median_ms=2.0, runs=5).latency_ms == 2.0
    assert Latency(mean_ms=3.0, median_ms=2.0, runs=5, statistic="mean").latency_ms == 3.0
    with pytest.raises(ValueError, match="Only an estimate has no runs"):
        Latency(mean_ms=3.0, median_ms=2.0)
