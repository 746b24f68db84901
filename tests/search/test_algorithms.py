"""The promise of `nas_tf.algorithms`, kept by every part found there."""

import json

import numpy as np
import pytest

from mnas_tf.search import Settings, search
from mnas_tf.spaces import mnasnet, proxylessnas
from nas_tf import plugins
from nas_tf.algorithms import Problem
from nas_tf.algorithms._gaussian_process import GaussianProcess
from nas_tf.algorithms._predictor import _Facts, _Found
from nas_tf.ranking import ranked
from nas_tf.rewards import AccuracyReward, FrontReward, Goal, LatencyReward, Objective
from nas_tf.search.problem import make_algorithm
from nas_tf.search.records import Records
from nas_tf.testing import AnySpace, QuickWorkers, check_algorithm, check_learning, run_search
from nas_tf.training.train import Trained
from nas_tf.trial import Cost, InfeasibleArchitecture, Measurement, Trial, UserError
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


@pytest.mark.parametrize(
    "name", [*sorted(set(LEARN) - {"ppo"}), "random_search", pytest.param("ppo", marks=pytest.mark.storm)]
)
def test_the_promise_is_kept_on_every_space(space, name):
    check_algorithm(name, space, num_trials=16)
    if name in LEARN:
        check_learning(name, space, num_trials=90, num_last=30)


def test_the_predictor_expects_less_of_a_lucky_network():
    """Accuracies err by 0.05, and are no better for one answer than for another, but for the first decision's."""
    space, records = AnySpace((4, 4, 4, 4)), Records(None)
    noise = np.random.default_rng(0).normal(0, 0.05, 4**4).reshape(4, 4, 4, 4)

    def accuracy(tokens, repeat):
        return Trained(float(0.5 + 0.05 * tokens[0] + noise[tokens]), 1.0, 0.0, 0.0, 0, standard_error=0.05)

    run_search(
        space, plugins.Part(FOLDER, "predictor"), 0, AccuracyReward(), QuickWorkers(accuracy), 60, records=records
    )
    trials = records.trials()
    said, expected = (
        np.array([getattr(*each) for each in rows])
        for rows in ([(trial.measurement, "accuracy") for trial in trials], [(trial, "expected") for trial in trials])
    )
    truth = np.array([0.5 + 0.05 * trial.tokens[0] for trial in trials])
    assert said.max() > 0.7 and ranked(trials, Goal(None))[0].tokens[0] == 3
    assert np.corrcoef(expected, truth)[0, 1] > np.corrcoef(said, truth)[0, 1] + 0.1
    # Another judge, which knows no error, is believed.
    records = Records(None)
    exact = QuickWorkers(lambda tokens, repeat: float(0.5 + 0.05 * tokens[0]))
    run_search(space, plugins.Part(FOLDER, "predictor"), 0, AccuracyReward(), exact, 20, records=records)
    assert {trial.expected for trial in records.trials()} == {None}


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


def found_by(name, num_trials, seed=0, reward=None, target=None, **options):
    """Trials of a search in which each answer of a decision is worth more and costs more than the one before it."""
    space = AnySpace((4,) * 8)
    reward = reward or (LatencyReward(target, "soft") if target else AccuracyReward())
    workers = QuickWorkers(lambda tokens, repeat: sum(tokens) / 24, latency_of, **options)
    return run_search(space, plugins.Part(FOLDER, name), seed, reward, workers, num_trials)


def latency_of(tokens):
    """The first decision costs most for what it is worth."""
    return 1.0 + 9 * tokens[0] + sum(tokens[1:])


def test_a_predicted_search_finds_the_best_within_a_target_that_it_learns_to_predict():
    """The first decision is not worth its cost: the best within 12 ms answers it with 0 and adds up to 11 elsewhere."""
    trials = found_by("predictor", 70, target=12.0)
    fitting = [trial for trial in trials if latency_of(trial.tokens) <= 12.0]
    assert max(trial.measurement.accuracy for trial in fitting) == pytest.approx(11 / 24)
    # It keeps to the target once it knows what costs what; random networks take 25 ms in the mean.
    assert np.mean([latency_of(trial.tokens) <= 12.0 for trial in trials[-20:]]) > 0.7


@pytest.mark.parametrize("name", ["evolution", "local_search", "predictor"])
def test_fronts_are_found(name):
    """Better than by random search, at every place of the front."""

    def missing(found):
        points = [(latency_of(trial.tokens), trial.measurement.accuracy) for trial in found]
        best = [max([accuracy for ms, accuracy in points if ms <= 1 + 3 * i], default=0.0) for i in range(1, 8)]
        return np.mean([min(3 * i, 21) / 24 for i in range(1, 8)]) - np.mean(best)

    wanted = [missing(found_by(name, 100, seed, FrontReward())) for seed in range(2)]
    random = [missing(found_by("random_search", 100, seed)) for seed in range(2)]
    assert max(wanted) < 0.8 * min(random)


@pytest.mark.parametrize("name", ["evolution", "local_search", "predictor"])
def test_a_front_is_searched_though_none_of_the_first_networks_can_be_measured(name):
    answers = []

    def accuracy(tokens, repeat):
        answers.append(tokens)
        if len(answers) <= 8:
            raise InfeasibleArchitecture("it diverges")
        return sum(tokens) / 24

    workers, part = QuickWorkers(accuracy, latency_of), plugins.Part(FOLDER, name)
    trials = run_search(AnySpace((4,) * 8), part, 0, FrontReward(), workers, 20)
    assert [trial.state for trial in trials] == ["infeasible"] * 8 + ["done"] * 12


def test_one_that_ignores_what_runs_breaks_the_promise(tmp_path):
    (tmp_path / "forgetful.py").write_text(
        "import dataclasses\n"
        "from nas_tf.algorithms import Algorithm\n"
        "from nas_tf.trial import Suggestion\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Config:\n    pass\n"
        "class Forgetful(Algorithm):\n"
        "    def __init__(self, num_choices):\n        self.num_choices, self.known = num_choices, 0\n"
        "    def suggest(self, count, running=()):\n"
        "        tokens = tuple(self.known % choices for choices in self.num_choices)\n"
        "        return [Suggestion(tokens)] * count\n"
        "    def update(self, trials):\n        self.known += len(trials)\n"
        "def make(config, num_choices, seed):\n    return Forgetful(num_choices)\n"
    )
    with pytest.raises(AssertionError, match="of 6 suggestions, each made while the earlier ones ran, only 1 are"):
        check_algorithm(str(tmp_path / "forgetful.py"))


def test_errors_of_scores_reach_beyond_the_best_and_copies_make_none_smaller():
    def trial(number, accuracy, error):
        facts = Measurement(accuracy, Cost(1, 1, 1), 1.0, error)
        return Trial(number, (number,), measurement=facts, reward=accuracy)

    trials = [trial(number, 0.5 + 0.01 * number, 0.01) for number in range(11)]
    found = {each.tokens: _Found.of((each,), None) for each in trials}
    facts = _Facts(found, Problem())
    steps = np.diff(facts.scores)
    np.testing.assert_allclose(facts.errors[[0, -1]], steps[[0, -1]])
    np.testing.assert_allclose(facts.errors[1:-1], (steps[1:] + steps[:-1]) / 2)
    assert _Found.of((trials[3],) * 25, None).error == 0.01
    assert _Found.of((trials[3], trial(3, 0.52, 0.01)), None).error == pytest.approx(0.01 / np.sqrt(2))


def test_what_runs_is_not_suggested_again_and_counts_as_predicted():
    """With ten at once, a prediction that ignored those under way would suggest much the same ten times."""
    trials = found_by("predictor", 60, num_workers=10)
    assert len({trial.tokens for trial in trials}) == 60
    assert max(trial.measurement.accuracy for trial in trials) > 0.9


def test_noise_that_is_known_is_not_believed():
    """Of two networks that differ in all, one is known and the other measured with a large error."""
    process = GaussianProcess((2, 2, 2))
    tokens, values = [(0, 0, 0), (1, 1, 1)], np.array([1.0, -1.0])
    process.tune(tokens, values, np.zeros(2))
    process.fit(tokens, values, np.array([0.0, 3.0]))
    means, deviations = process.predict(tokens)
    assert means[0] > 0.9 and means[1] > -0.5 and deviations[0] < 0.1 < 0.5 < deviations[1]


def test_the_gaussian_process_is_the_textbooks():
    """Against the formulas with an inverse, for tokens that differ in each of the ways that its kernel knows."""
    rng = np.random.default_rng(0)
    choices = (3, 3, 2)
    tokens = np.array([rng.integers(choices) for _ in range(12)])
    values = rng.standard_normal(12)
    process = GaussianProcess(choices)
    process.tune(tokens, values, np.zeros(12))
    process.fit(tokens, values, np.full(12, 0.1))
    kernel = process._kernel

    def between(one, other):
        far = sum(w for w, a, b in zip(kernel.weights, one, other) if a != b)
        counts = [np.bincount(each[:2], minlength=3) for each in (one, other)]
        lasts = [np.bincount(each[2:], minlength=2) for each in (one, other)]
        squares = sum(((each[0] - each[1]) ** 2).sum() for each in (counts, lasts))
        return np.exp(-far - kernel.of_counts * squares)

    asked = np.array(list(np.ndindex(choices)))
    among = np.array([[between(a, b) for b in tokens] for a in tokens]) + np.eye(12) * (kernel.noise + 0.01)
    across = np.array([[between(a, b) for b in tokens] for a in asked])
    means, deviations = process.predict(asked)
    np.testing.assert_allclose(means, across @ np.linalg.inv(among) @ values, atol=1e-8)
    variances = 1 - np.einsum("ij,jk,ik->i", across, np.linalg.inv(among), across)
    np.testing.assert_allclose(deviations, np.sqrt(np.maximum(1e-9, variances)), atol=1e-6)


def test_local_search_tries_every_neighbour_of_the_best_before_it_moves_on():
    space = AnySpace((3, 3))
    part = plugins.Part(FOLDER, "local_search", {"initial": 1})
    workers = QuickWorkers(lambda tokens, repeat: 1.0 if tokens == (1, 1) else 0.1 * sum(tokens) + 0.1)
    trials = run_search(space, part, 0, AccuracyReward(), workers, 9, start=(1, 1))
    assert trials[0].tokens == (1, 1) and {trial.tokens for trial in trials[1:5]} == {(0, 1), (2, 1), (1, 0), (1, 2)}
    assert len({trial.tokens for trial in trials}) == 9


def test_the_controller_needs_a_number_to_maximise(tmp_path):
    settings = Settings(run_dir=str(tmp_path), device="simulated", algorithm="ppo", num_trials=1)
    with pytest.raises(UserError, match="--reward=front needs an algorithm that searches for fronts: evolution, local"):
        search(settings, Objective(reward="front"))
