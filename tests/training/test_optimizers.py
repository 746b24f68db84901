"""Optimizers and schedules against values worked out by hand: one weight, ten steps."""

import keras
import numpy as np
import pytest

from mnas_tf.recipes import PLANS as MNASNET_PLANS
from nas_tf.training import optimizers
from nas_tf.training.recipe import Recipe
from nasnet_tf.recipes import PLANS as NASNET_PLANS

STEPS = range(1, 11)


def path_of(optimizer, gradient, start=0.0, name="kernel"):
    """The values of one weight after each of ten steps with a constant gradient."""
    weight, values = keras.Variable(start, name=name), []
    for _ in STEPS:
        optimizer.apply([np.float32(gradient)], [weight])
        values.append(float(weight))
    return values


class Asked(keras.optimizers.schedules.LearningRateSchedule):
    """0.1, 0.2, ...: it counts how often it is asked."""

    times = 0

    def __call__(self, step):
        self.times += 1
        return 0.1 * (keras.ops.cast(step, "float32") + 1)


def test_an_update_asks_its_schedule_once():
    """However many weights decay. Keras asks for each of them, and traces the schedule as often."""
    schedule = Asked()
    optimizer = optimizers.SGD(learning_rate=schedule, weight_decay=0.5)
    weights = [keras.Variable(1.0, name=f"kernel{i}") for i in range(5)]
    optimizer.build(weights)
    for step in (1, 2):
        schedule.times = 0
        optimizer.apply([np.float32(0.0)] * 5, weights)
        assert schedule.times == 1, step
    # Without a gradient only the decay acts: 1 - 0.1 x 0.5, and of that 1 - 0.2 x 0.5.
    assert [float(weight) for weight in weights] == pytest.approx([0.95 * 0.9] * 5)
    assert float(optimizer.learning_rate) == pytest.approx(0.3)  # the next one's


def test_rmsprop_from_accumulators_at_one():
    """Gradient 1: the mean square stays 1, so each step is 1 / sqrt(1 + 0.21) = 1 / 1.1, gathered with momentum 0.9:
    after n steps the momentum is 10 (1 - 0.9^n) / 1.1. From 0, the first step would be 1 / sqrt(0.1 + 0.21)."""
    momenta = [10 * (1 - 0.9**n) / 1.1 for n in STEPS]
    expected = -np.cumsum(momenta)
    assert expected[:3] == pytest.approx([-0.909091, -2.636364, -5.1])
    optimizer = optimizers.RMSprop(learning_rate=1.0, rho=0.9, momentum=0.9, epsilon=0.21)
    np.testing.assert_allclose(path_of(optimizer, 1.0), expected, rtol=1e-5)
    from_zero = path_of(keras.optimizers.RMSprop(1.0, rho=0.9, momentum=0.9, epsilon=0.21), 1.0)
    assert from_zero[0] == pytest.approx(-1 / np.sqrt(0.31)) and abs(from_zero[0] - expected[0]) > 0.8


def test_rmsprop_with_a_growing_mean_square():
    """Gradient 2: the mean square after n steps is 4 - 3 x 0.9^n; epsilon 1e-3 inside the root; no momentum."""
    expected = -np.cumsum([0.1 * 2 / np.sqrt(4 - 3 * 0.9**n + 1e-3) for n in STEPS])
    assert expected[0] == pytest.approx(-0.1753442, rel=1e-5)
    optimizer = optimizers.RMSprop(learning_rate=0.1, rho=0.9, momentum=0.0, epsilon=1e-3)
    np.testing.assert_allclose(path_of(optimizer, 2.0), expected, rtol=1e-5)


def test_l2_goes_through_the_gradient():
    """SGD at rate 0.1, loss gradient 0, L2 0.5: a weight of 1 shrinks to 0.95^n; biases only with `decay_biases`."""
    recipe = Recipe(1, learning_rate=0.1, momentum=0.0, weight_decay=0.5, weight_decay_form="l2")
    for decay_biases, name, shrinks in (
        (False, "kernel", True),
        (False, "bias", False),
        (True, "bias", True),
        (True, "gamma", False),
    ):
        optimizer = Recipe(**{**vars(recipe), "decay_biases": decay_biases}).make_optimizer(10)
        optimizer._learning_rate = optimizers.WarmExponential(0.1, 0, 1000, 1.0)
        expected = [0.95**n if shrinks else 1.0 for n in STEPS]
        np.testing.assert_allclose(path_of(optimizer, 0.0, 1.0, name), expected, rtol=1e-5)


def test_averages_have_tensorflows_ramp():
    """The weight is n after step n; its average begins with 0 and has decay min(0.5, (1 + n) / (10 + n))."""
    optimizer = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5)
    statistic = keras.Variable(5.0, name="moving_mean", trainable=False)
    optimizer._also_averaged = (statistic,)
    weight, averages = keras.Variable(0.0), []
    for _ in STEPS:
        optimizer.apply([np.float32(-1)], [weight])
        averages.append(float(optimizer._model_variables_moving_average[0]))
    # Decays 2/11, 3/12, 4/13, 5/14, 6/15, 7/16, 8/17, then 0.5 for 9/18, 10/19 and 11/20.
    expected, average = [], 0.0
    for n, decay in zip(STEPS, [2 / 11, 1 / 4, 4 / 13, 5 / 14, 2 / 5, 7 / 16, 8 / 17, 0.5, 0.5, 0.5]):
        average = decay * average + (1 - decay) * n
        expected.append(average)
    assert expected[:2] == pytest.approx([9 / 11, 1 / 4 * 9 / 11 + 3 / 4 * 2])
    np.testing.assert_allclose(averages, expected, rtol=1e-5)
    # Keras's own form begins with the first value and has no ramp: 1 after the first step.
    statistic.assign(7.0)
    optimizer.swap_averages()
    assert float(weight) == pytest.approx(expected[-1]) and float(statistic) == pytest.approx(5.0)
    optimizer.swap_averages()
    assert float(weight) == 10 and float(statistic) == 7


def rates(recipe, steps):
    schedule = recipe.make_optimizer(steps)._learning_rate
    return np.array([float(schedule(step)) for step in range(steps)])


def test_warm_up_and_decay_of_mnasnet():
    """4096 images a step: 0 to 0.256 in 5 epochs, then x 0.97 every 2.4, counted from the start. One step an epoch
    here, so that the ten first rates are 0, 0.0512, ..., then 0.256 x 0.97^2 (4.8 epochs have passed at 5)."""
    plan = MNASNET_PLANS["imagenet"]
    recipe = Recipe(**{**vars(plan.recipe), "batch_size": 4096, "epochs": 20})
    expected = [
        0,
        0.0512,
        0.1024,
        0.1536,
        0.2048,
        0.256 * 0.97**2,
        0.256 * 0.97**2,
        0.256 * 0.97**2,
        0.256 * 0.97**3,
        0.256 * 0.97**3,
    ]
    np.testing.assert_allclose(rates(recipe, 20)[:10], expected, rtol=1e-5)
    assert plan.scale == {"bn_momentum": 0.99, "bn_epsilon": 1e-3, "dropout_rate": 0.2}
    optimizer = recipe.make_optimizer(20)
    assert (optimizer.rho, optimizer.momentum, optimizer.epsilon, optimizer.l2) == (0.9, 0.9, 1e-3, 1e-5)
    assert (recipe.ema_decay, recipe.label_smoothing, plan.recipe.epochs) == (0.9999, 0.1, 350)


def test_learning_rates_grow_with_the_batch():
    recipe = NASNET_PLANS["imagenet"].recipe
    assert recipe.peak_learning_rate == pytest.approx(0.04)
    assert Recipe(**{**vars(recipe), "batch_size": 1600}).peak_learning_rate == pytest.approx(0.04 * 50)


def test_adamw():
    """Decoupled decay: with gradient 0 a weight of 1 shrinks by rate x decay a step."""
    recipe = Recipe(1, optimizer="adamw", learning_rate=0.1, weight_decay=0.05, warmup_fraction=0.0)
    optimizer = recipe.make_optimizer(10)
    optimizer._learning_rate = optimizers.WarmExponential(0.1, 0, 1000, 1.0)
    np.testing.assert_allclose(path_of(optimizer, 0.0, 1.0), [0.995**n for n in STEPS], rtol=1e-5)
