"""The promise of `nas_tf.algorithms`, kept by every part found there."""

import json

import numpy as np
import pytest

from nas_tf import plugins
from nas_tf.trial import Trial, UserError

FOLDER = "nas_tf.algorithms"
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


def make(part, seed=0, num_choices=NUM_CHOICES):
    return part.make(num_choices, seed)


def as_trials(suggestions):
    """Finished trials with made-up rewards; every fourth is infeasible."""
    return [
        Trial(i, suggestion.tokens, reward=0.0, infeasible="diverged")
        if i % 4 == 3
        else Trial(i, suggestion.tokens, reward=0.5 + 0.01 * sum(suggestion.tokens))
        for i, suggestion in enumerate(suggestions)
    ]


def go_on(algorithm, rounds=2):
    """The suggestions of some rounds of suggesting and updating."""
    found = []
    for _ in range(rounds):
        suggestions = algorithm.suggest(algorithm.batch_size)
        algorithm.update(as_trials(suggestions))
        found += suggestions
    return found


def test_suggestions_are_tokens_in_range(part):
    algorithm = make(part)
    for count in (0, 1, algorithm.batch_size, algorithm.batch_size + 1):
        suggestions = algorithm.suggest(count)
        assert len(suggestions) == count
        for suggestion in suggestions:
            assert isinstance(suggestion.tokens, tuple) and len(suggestion.tokens) == len(NUM_CHOICES)
            assert all(type(token) is int and 0 <= token < n for token, n in zip(suggestion.tokens, NUM_CHOICES))


def test_same_seed_same_suggestions(part):
    first, second, other = go_on(make(part)), go_on(make(part)), go_on(make(part, seed=1))
    assert first == second
    # Two of some 20 suggestions out of 234 may agree by chance, all of them never.
    assert first != other or part.name == "listed"


def test_an_empty_list_changes_nothing(part):
    algorithm, untouched = make(part), make(part)
    algorithm.update([])
    assert go_on(algorithm) == go_on(untouched)


def test_learns_from_any_trials_in_any_number(part):
    algorithm = make(part)
    rng = np.random.default_rng(0)
    for count in (1, algorithm.batch_size - 1, 2 * algorithm.batch_size + 3):
        tokens = rng.integers(NUM_CHOICES, size=(count, len(NUM_CHOICES))).tolist()
        algorithm.update([Trial(i, tuple(row), note="warm start", reward=0.1 * i) for i, row in enumerate(tokens)])
    algorithm.update([Trial(0, (0,) * len(NUM_CHOICES), reward=0.0, infeasible="diverged")] * algorithm.batch_size)
    assert len(algorithm.suggest(3)) == 3


def test_evolution_begins_at_the_parent_and_goes_outward():
    start = (0, 5, 1, 2, 0, 0)
    algorithm = plugins.Part(FOLDER, "evolution", {"population": 6, "sample": 6}).make(NUM_CHOICES, 0, start=start)
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


def test_a_batch_size_below_one_is_refused(part):
    if part.name == "listed":
        pytest.skip("its batch is its list")
    with pytest.raises(UserError, match=r"_batch_size to be at least 1\. Received: 0"):
        part.module.Config(batch_size=0)
