"""What `benchmarks.search_pays` says of leads."""

import contextlib
import math

import numpy as np
import pytest

from benchmarks import search_pays
from benchmarks.contest import Facts
from benchmarks.search_pays import bootstrap, error_of
from nas_tf.recycling import Processes


def rows(*shares, count=2000, hard=0.5):
    """Trainings of one network: images above a share are wrong; half of the images are right for all."""
    places = np.linspace(0, 1, count)
    return [(None, np.array([(places < hard) | (places < share) for share in shares], float))]


def test_a_lead_counts_beyond_the_noise_of_images_and_of_trainings():
    steady, better = rows(0.70, 0.70, 0.70), rows(0.72, 0.72, 0.72)
    assert bootstrap(better, steady) < 0.001 < 0.999 < bootstrap(steady, better)
    # The same lead of 2 points, of trainings that differ by 8: images alone would call that certain.
    noisy = rows(0.76, 0.72, 0.68)
    assert 0.05 < bootstrap(noisy, steady) < 0.4
    assert bootstrap(steady, steady) > 0.9  # no lead at all


def test_trainings_that_differ_by_chance_are_no_lead(monkeypatch):
    """Two networks as good as each other, of three trainings that differ by 2 points: a lead is seldom seen."""
    rng = np.random.default_rng(1)
    draws = [[rows(*rng.normal(0.75, 0.02, 3), count=400) for _ in range(2)] for _ in range(60)]
    monkeypatch.setattr(search_pays, "_BOOTSTRAPS", 500)
    with np.errstate(all="raise"):
        p_values = np.array([bootstrap(ours, theirs) for ours, theirs in draws])
    assert np.mean(p_values < 0.05) < 0.15
    assert 0.3 < np.mean(p_values < 0.5) < 0.7


def test_searches_are_what_was_repeated_where_there_are_several():
    """Trainings of one search say nothing of how searches differ."""
    ours = rows(0.76, 0.76, 0.76) + rows(0.72, 0.72, 0.72) + rows(0.68, 0.68, 0.68)
    assert bootstrap(ours, rows(0.71, 0.71, 0.71)) > 0.1
    assert error_of(ours) > 0.04 / np.sqrt(3)


def test_errors_are_of_images_and_of_trainings():
    of_images = np.sqrt(0.7 * 0.3 / 2000)
    np.testing.assert_allclose(error_of(rows(0.7, 0.7)), of_images, rtol=0.01)
    np.testing.assert_allclose(error_of(rows(0.7)), of_images, rtol=0.01)
    assert error_of(rows(0.76, 0.72, 0.68)) > 0.04 / np.sqrt(3)


def test_rows_are_made_once_several_at_a_time_and_outlive_a_failure(tmp_path):
    path = tmp_path / "facts.jsonl"
    with contextlib.closing(Processes(2)) as processes:
        assert Facts(path).fill(processes, {"two": (math.sqrt, 4.0), "three": (math.sqrt, 9.0)}) == [2.0, 3.0]
    with contextlib.closing(Processes(1)) as processes:
        with pytest.raises(ValueError, match=r"math domain|nonnegative"):
            Facts(path).fill(
                processes, {"three": (math.sqrt, 16.0), "four": (math.sqrt, 16.0), "no": (math.sqrt, -1.0)}
            )
    known = Facts(path)
    assert known.get("three") == 3.0  # known before, so not made anew
    assert known.get("four") == 4.0
