"""The promise of `nas_tf.algorithms`, kept by every part found there."""

import numpy as np
import pytest

from nas_tf import plugins
from nas_tf.trial import Trial, UserError

FOLDER = "nas_tf.algorithms"
# A decision without a choice, NASNet's 13 operations, and more than one of each size.
NUM_CHOICES = (1, 13, 2, 3, 1, 3)


@pytest.fixture(params=plugins.names(FOLDER))
def part(request):
    return plugins.Part(FOLDER, request.param)


def make(part, seed=0, num_choices=NUM_CHOICES):
    return part.module.make(part.config, num_choices, seed)


def as_trials(suggestions):
    """Finished trials with made-up rewards; every fourth is infeasible."""
    return [
        Trial(i, suggestion.tokens, reward=0.0, infeasible="diverged") if i % 4 == 3
        else Trial(i, suggestion.tokens, reward=0.5 + 0.01 * sum(suggestion.tokens))
        for i, suggestion in enumerate(suggestions)
    ]  # fmt: skip


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
    assert first != other


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


def test_restored_goes_on_identically(part, tmp_path):
    saved = make(part)
    go_on(saved)
    saved.suggest(1)
    saved.save(tmp_path / "state")
    restored = make(part, seed=7)
    restored.restore(tmp_path / "state")
    assert go_on(saved) == go_on(restored)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_saving_replaces_an_older_file(part, tmp_path):
    algorithm = make(part)
    algorithm.save(tmp_path / "state")
    go_on(algorithm)
    algorithm.save(tmp_path / "state")
    restored = make(part)
    restored.restore(tmp_path / "state")
    assert go_on(algorithm) == go_on(restored)


def test_restoring_a_damaged_file_is_refused_and_changes_nothing(part, tmp_path):
    algorithm, untouched = make(part), make(part)
    path = tmp_path / "state"
    algorithm.save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"not a saved state", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"the saved state of '{part.name}'. Received: a damaged file, .*state"):
            algorithm.restore(path)
    with pytest.raises(UserError, match=r"There is no file .*missing"):
        algorithm.restore(tmp_path / "missing")
    assert algorithm.suggest(5) == untouched.suggest(5)


def test_restoring_the_state_of_other_decisions_is_refused(part, tmp_path):
    make(part, num_choices=(2, 2)).save(tmp_path / "state")
    with pytest.raises(UserError, match=r"another decisions. Expected: \[1, 13, 2, 3, 1, 3\]. Received: \[2, 2\]"):
        make(part).restore(tmp_path / "state")


def test_restoring_the_state_of_another_algorithm_is_refused(part, tmp_path):
    other = next(name for name in plugins.names(FOLDER) if name != part.name)
    make(plugins.Part(FOLDER, other)).save(tmp_path / "state")
    with pytest.raises(UserError, match=f"another algorithm. Expected: {part.name}. Received: {other}"):
        make(part).restore(tmp_path / "state")


def test_a_batch_size_below_one_is_refused(part):
    with pytest.raises(UserError, match=r"at least 1\. Received: batch_size=0"):
        part.module.Config(batch_size=0)
