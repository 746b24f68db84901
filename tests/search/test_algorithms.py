"""The promise of `nas_tf.algorithms`, kept by every part found there."""

import json

import numpy as np
import pytest

from mnas_tf.spaces import mnasnet, proxylessnas
from nas_tf import plugins
from nas_tf.algorithms import Problem
from nas_tf.testing import AnySpace, check_algorithm, check_learning, make_algorithm
from nas_tf.trial import Trial
from nasnet_tf.spaces import nasbench201, nasnet

FOLDER = "nas_tf.algorithms"
LEARN = sorted(set(plugins.names(FOLDER)) - {"listed", "random_search"})
SPACES = [each.SPACE for each in (mnasnet, proxylessnas, nasnet, nasbench201)]
# A decision without a choice, NASNet's 13 operations, and more than one of each size.
NUM_CHOICES = (1, 13, 2, 3, 1, 3)


@pytest.fixture(params=plugins.names(FOLDER))
def part(request, tmp_path):
    settings = {}
    if request.param == "listed":  # what it suggests is in a file
        rng = np.random.default_rng(0)
        tokens = [[int(rng.integers(count)) for count in NUM_CHOICES] for _ in range(7)]
        (tmp_path / "listed.json").write_text(json.dumps({"tokens": tokens}))
        settings = {"file": str(tmp_path / "listed.json")}
    return plugins.Part(FOLDER, request.param, settings)


@pytest.fixture(scope="module", params=["mnasnet", "proxylessnas", "nasnet", "nasbench201"])
def space(request):
    return next(each for each in SPACES if each.name == request.param)


def test_the_promise_is_kept(part):
    check_algorithm(part, AnySpace(NUM_CHOICES))


@pytest.mark.parametrize("name", LEARN)
def test_it_learns(name):
    check_learning(name)


@pytest.mark.parametrize("name", [*sorted(set(LEARN) - {"ppo"}), pytest.param("ppo", marks=pytest.mark.storm)])
def test_the_promise_is_kept_on_every_space(space, name):
    check_algorithm(name, space, num_trials=16)
    check_learning(name, space, num_trials=90, num_last=30)


def test_what_random_search_finds_is_no_learning():
    with pytest.raises(AssertionError, match="its last 50 trials reach"):
        check_learning("random_search")


def test_an_empty_list_changes_nothing(part):
    found = []
    for lists in ([], [[]]):
        algorithm = make_algorithm(part, NUM_CHOICES, 0, Problem())
        for each in lists:
            algorithm.update(each)
        found.append(algorithm.suggest(3, []))
    assert found[0] == found[1]


def test_learns_from_any_trials_in_any_number(part):
    algorithm = make_algorithm(part, NUM_CHOICES, 0, Problem())
    rng = np.random.default_rng(0)
    for count in (1, 9, 23):
        tokens = rng.integers(NUM_CHOICES, size=(count, len(NUM_CHOICES))).tolist()
        algorithm.update([Trial(i, tuple(row), note="warm start", reward=0.1 * i) for i, row in enumerate(tokens)])
    algorithm.update([Trial(0, (0,) * len(NUM_CHOICES), reward=0.0, infeasible="diverged")] * 10)
    assert len(algorithm.suggest(3, [])) == 3


def test_evolution_begins_at_the_parent_and_goes_outward():
    start = (0, 5, 1, 2, 0, 0)
    part = plugins.Part(FOLDER, "evolution", {"population": 6, "sample": 6})
    algorithm = part.make(NUM_CHOICES, 0, problem=Problem(start=start))
    first = algorithm.suggest(6)
    assert first[0].tokens == start and len({each.tokens for each in first}) == 6
    assert all(sum(map(int.__ne__, each.tokens, start)) == 1 for each in first[1:])
    # The best of all six is always the parent of the next ones.
    trials = [Trial(i, each.tokens, reward=float(i == 4)) for i, each in enumerate(first)]
    algorithm.update(trials)
    later = algorithm.suggest(6)
    assert all(sum(map(int.__ne__, each.tokens, first[4].tokens)) == 1 for each in later)
    # It dies of age: six newer trials later nothing descends from it.
    algorithm.update([Trial(i, each.tokens, reward=0.5) for i, each in enumerate(later)])
    assert all(
        min(sum(map(int.__ne__, each.tokens, old.tokens)) for old in later) == 1 for each in algorithm.suggest(6)
    )
