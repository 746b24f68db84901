"""What `benchmarks.search_pays` says of leads, and `benchmarks.judges` of judges."""

import contextlib
import dataclasses
import math
import re
import types

import numpy as np
import pytest

from benchmarks import judges, search_pays
from benchmarks.contest import Contender, Facts
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


def contender(rival, name, latency_share):
    return Contender(rival, name, {"blocks": name}, "parent", 3, latency_share)


def test_a_report_corrects_over_rivals_and_says_what_each_training_reached(capsys):
    named = {
        "parent": [(contender("parent", "itself", 1.0), rows(0.76, 0.76, 0.76)[0][1])],
        "found": [(contender("found", "the best", 0.6), rows(0.75, 0.76, 0.74)[0][1])],
        "a": [(contender("a", "smaller", 0.59), rows(0.71, 0.72, 0.70)[0][1])],
        "c": [(contender("c", "greedy", 0.55), rows(0.75, 0.76, 0.74)[0][1])],
    }
    search_pays.report(0.6, named)
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "target 60% of the parent's latency; p is one-sided, corrected over a, c"
    found = {line.split()[0]: line for line in said if "±" in line}
    assert "found leads by -1.0" in found["parent"] and "leads" not in found["found"]
    alone = bootstrap(named["found"], named["a"])
    assert f"found leads by +4.0, p = {2 * alone:.4f}" in found["a"]  # twice: the least of two
    assert "found leads by +0.0" in found["c"]
    assert any(line.split()[:4] == ["a", "0.590", "of", "the"] and "71.0, 72.0, 70.0" in line for line in said)


def test_what_is_chosen_is_timed_once_and_all_together(tmp_path, monkeypatch):
    facts, timed = Facts(tmp_path / "facts.jsonl"), []

    def shares(bench, architectures):
        timed.append(architectures)
        return [0.5 + 0.01 * number for number in range(len(architectures))]

    monkeypatch.setattr(search_pays, "shares", shares)
    decodes = types.SimpleNamespace(space=types.SimpleNamespace(architecture=lambda value: value["blocks"]))
    chosen = {
        "found": [(contender("found", name, 0.6), rows(0.7)[0][1]) for name in ("one", "other")],
        "a": [(contender("a", "smaller", 0.59), rows(0.7)[0][1])],
    }
    for _ in range(2):
        together = search_pays.timed_together(decodes, facts, 0.6, chosen)
    assert timed == [["one", "other", "smaller"]]
    assert [each.latency_share for each, _ in together["found"]] == [0.5, 0.51]
    assert together["a"][0][0] == dataclasses.replace(chosen["a"][0][0], latency_share=0.52)


def test_judges_are_ordered_by_correlation_and_by_what_their_top_five_miss(capsys):
    truth = np.linspace(0.60, 0.83, 24)
    judges.report(truth, {"right": (10 * truth, 1.0), "wrong": (-truth, 2.5)})
    right, wrong = capsys.readouterr().out.splitlines()[-2:]
    figures = [re.findall(r"-?[\d.]+", line) for line in (right, wrong)]
    assert figures[0] == ["1.00", "1.00", "1.00", "0.0", "0.0", "0.0", "1.00"]
    assert figures[1][:4] == ["-1.00", "-1.00", "-1.00", "19.0"] and figures[1][-1] == "2.50"
    assert judges.regret(-truth, truth) == pytest.approx(19.0)
