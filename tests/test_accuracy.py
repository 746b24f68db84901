"""Every accuracy has its error bar, and is held against guessing."""

import math

import numpy as np
import pytest

from nas_tf import accuracy
from nas_tf.accuracy import Chance, are_apart, chance_of, standard_error


def test_the_standard_error_is_that_of_the_split():
    """Measured: the deviation of the accuracies that one network has on many splits of 400 images."""
    rng = np.random.default_rng(0)
    measured = rng.binomial(400, 0.7, 20_000) / 400
    assert standard_error(0.7, 400) == pytest.approx(measured.std(), rel=0.02)
    assert standard_error(1.0, 50) == standard_error(0.0, 50) == 0.0


def test_accuracies_are_apart_beyond_two_standard_errors_of_the_difference():
    error = standard_error(0.5, 100)  # 5 points; of a difference of two, 7.1
    assert not are_apart(0.5, 0.5 + 0.14, error, error) and are_apart(0.5, 0.5 + 0.15, error, error)
    assert are_apart(0.5, 0.5, None, error)


def test_chance_is_the_largest_class_and_its_standard_error():
    facts = {"num_examples": {"validation": 400, "test": 100}, "largest_class": {"validation": 0.25, "test": 0.3}}
    chance = chance_of(facts)
    assert chance == Chance(0.25, 400) and chance_of(facts, "test") == Chance(0.3, 100)
    assert chance.bound == pytest.approx(0.25 + math.sqrt(0.25 * 0.75 / 400))
    assert not chance.is_beaten_by(0.27) and chance.is_beaten_by(0.28)
    assert str(chance) == "guessing reaches 25.0 ± 2.2 % of 400 images"
    assert chance_of({"num_examples": {"validation": 400}}) is None  # written by an earlier version


def test_text_has_the_error_bar():
    assert accuracy.text(0.725, 400) == "72.5 ± 2.2 %" and accuracy.text(0.725, error=0.01) == "72.5 ± 1.0 %"
    assert accuracy.text(0.725) == "72.5 %"
