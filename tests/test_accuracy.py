"""Every accuracy has its error bar, and is held against guessing."""

import math

import numpy as np
import pytest
import scipy.stats

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


def test_the_paired_test_is_mcnemars():
    # 30 images only ours has right, 15 only theirs, 100 both or none: z = 15 / sqrt(45).
    ours, theirs = [1] * 30 + [0] * 15 + [1] * 60 + [0] * 40, [0] * 30 + [1] * 15 + [1] * 60 + [0] * 40
    assert accuracy.p_value(ours, theirs) == pytest.approx(scipy.stats.norm.sf(15 / 45**0.5))
    assert accuracy.p_value(theirs, ours) == pytest.approx(scipy.stats.norm.cdf(15 / 45**0.5))
    # Near the exact binomial tail, which counts half of the middle differently.
    assert accuracy.p_value(ours, theirs) == pytest.approx(scipy.stats.binom.sf(29, 45, 0.5), abs=0.01)
    assert accuracy.p_value([1, 0], [1, 0]) == 0.5
    assert accuracy.p_value([1, 1, 0.5], [0, 1, 0]) == pytest.approx(scipy.stats.norm.sf(1.5 / 1.25**0.5))


def test_the_best_of_many_equal_networks_is_shrunk_to_their_mean():
    rng = np.random.default_rng(0)
    alike = rng.binomial(400, 0.8, 50) / 400
    errors = [accuracy.standard_error(each, 400) for each in alike]
    found = accuracy.shrunk(list(alike), errors)
    # All have 80 %: the luck of the best of 50 is 2 to 3 standard errors of 2 points; a third is left at most.
    assert alike.max() > 0.84 and max(found) - 0.8 < (alike.max() - 0.8) / 3
    assert np.mean(found) == pytest.approx(alike.mean(), abs=0.002)
    apart = accuracy.shrunk([0.5, 0.9], [0.01, 0.01])
    assert apart == pytest.approx([0.5, 0.9], abs=0.001)
    assert accuracy.shrunk([0.7], [0.1]) == [0.7]
