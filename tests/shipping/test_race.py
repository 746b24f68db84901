"""The race: who is trained how, who is judged on what, and who ships."""

import dataclasses
import pathlib

import numpy as np
import pytest

from nas_tf.datasets import Images
from nas_tf.networks.description import Accuracies, NetworkDescription
from nas_tf.reports import race as report
from nas_tf.shipping import imports, race
from nas_tf.shipping.entrants import Entrant
from nas_tf.shipping.imports import Import
from nas_tf.shipping.race import Fold, Race
from nas_tf.shipping.tries import first_tries
from nas_tf.training.recipe import PLANS, Recipe
from nas_tf.trial import Latency, Trial

IMAGES = 1000
RATES = (0.02, 0.02 / 4)


class Scripted(Race):
    """A race whose trainings are known: `validation[name, rate]` and `share[name]` of the race images right, the same
    first ones by all but for `luck`, which every seed draws."""

    def __init__(self, validation, share, luck=0.0):
        class Workshop:
            say = staticmethod(lambda line: None)
            setup = type("Setup", (), {"task": type("Task", (), {"seed": 5})})

        super().__init__(Workshop)
        self.validation, self.share, self.luck, self.trained = validation, share, luck, []

    def _train(self, entrant, attempt, seed, fold=None):
        self.trained.append((entrant.name, attempt.name, seed))
        reached = self.validation[entrant.name, attempt.recipe.learning_rate]
        failure = None if reached else "diverged"
        return dataclasses.replace(entrant.description, accuracy=Accuracies(validation=reached), failure=failure)

    def _right(self, entrant, attempt, seed):
        found = np.arange(IMAGES) < self.share[entrant.name] * IMAGES
        rng = np.random.default_rng((seed, len(entrant.name)))
        return np.where(rng.random(IMAGES) < self.luck, rng.random(IMAGES) < 0.5, found)


def entrant(name, latency_ms):
    trial = Trial(int(name.split()[1]), (0,)) if name.startswith("trial") else None
    description = NetworkDescription(name, {"image_size": 8}, ("a", "b"), {}, latency=Latency.estimate(latency_ms))
    return Entrant(name, pathlib.Path(name), 8, Recipe(1), None, (None, None), description, None, trial)


def run(shares, latencies, luck=0.0, validation=0.5):
    """The `Scripted` race of networks by name, and its verdict."""
    ran = Scripted({(name, rate): validation for name in shares for rate in RATES}, shares, luck)
    finished = ran.run([entrant(name, latencies[name]) for name in shares])
    return ran, finished, ran.decide(finished)


SEARCHED, OTHER, IMPORT = "trial 3", "trial 4", "efficientnet_lite0 at 8 px"


def test_a_published_network_that_is_better_than_every_trial_ships():
    ran, _, verdict = run({SEARCHED: 0.7, OTHER: 0.72, IMPORT: 0.8}, {SEARCHED: 1.0, OTHER: 1.0, IMPORT: 2.0})
    assert verdict.winner.entrant.name == IMPORT and verdict.other.entrant.name == OTHER
    assert "-8.0 points, the import is better (p = 0.000)" in str(verdict)
    # Both of the best are trained with three seeds, nothing else is.
    seeds = {name: {seed for other, _, seed in ran.trained if other == name} for name in (SEARCHED, OTHER, IMPORT)}
    assert seeds == {SEARCHED: {5}, OTHER: {5, 6, 7}, IMPORT: {5, 6, 7}}
    assert [len(each.rights) for each in (verdict.winner, verdict.other)] == [3, 3]


@pytest.mark.parametrize(
    "searched_ms,imported_ms,ships", [(1.0, 2.0, SEARCHED), (2.0, 1.0, IMPORT), (1.0, 1.0, IMPORT)]
)
def test_a_searched_network_within_noise_of_an_import_does_not_win_by_it(searched_ms, imported_ms, ships):
    """Half of all answers are luck: a lead of 1 point on 1,000 images is noise, and the faster of the two ships."""
    _, _, verdict = run({SEARCHED: 0.71, IMPORT: 0.7}, {SEARCHED: searched_ms, IMPORT: imported_ms}, luck=0.5)
    assert 0.05 <= verdict.p_value <= 0.95 and verdict.winner.entrant.name == ships
    assert "noise" in str(verdict) and "the faster of the two" in str(verdict)


def test_a_searched_network_that_is_better_beyond_noise_wins_though_it_is_slower():
    _, _, verdict = run({SEARCHED: 0.76, IMPORT: 0.7}, {SEARCHED: 2.0, IMPORT: 1.0}, luck=0.2)
    assert verdict.winner.entrant.name == SEARCHED and verdict.p_value < 0.05 and "more than chance" in str(verdict)


def test_the_validation_images_say_which_try_counts_and_what_diverged_is_left_out():
    validation = {
        (SEARCHED, RATES[0]): 0.6,
        (SEARCHED, RATES[1]): 0.8,
        (IMPORT, RATES[0]): None,
        (IMPORT, RATES[1]): None,
    }
    finished = Scripted(validation, {SEARCHED: 0.5, IMPORT: 0.9}).run([entrant(SEARCHED, 1.0), entrant(IMPORT, 1.0)])
    assert [each.entrant.name for each in finished] == [SEARCHED]
    assert finished[0].attempt.recipe.learning_rate == RATES[1] and finished[0].description.accuracy.validation == 0.8


def test_every_entrant_gets_the_same_two_rates():
    assert [each.recipe.learning_rate for each in first_tries(Recipe(1))] == pytest.approx(RATES)
    finetune = PLANS["finetune"].recipe
    rates = [each.recipe.learning_rate for each in first_tries(finetune)]
    assert rates == [finetune.learning_rate, finetune.other_learning_rate]
    assert not any(each.recipe.other_learning_rate for each in first_tries(finetune))


class Numbered:
    """A data set whose images are all different: its first pixel says which one it is."""

    def read(self, first, count):
        images = np.zeros((count, 4, 4, 3), np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(first, first + count), 256)
        return Images(images, (np.arange(count) % 2).astype(np.int32))

    def race(self):
        return self.read(0, 60)

    def train(self):
        return self.read(60, 340)


def numbers(split):
    return set((256 * split.images[:, 0, 0, 0].astype(int) + split.images[:, 0, 0, 1]).tolist())


def test_few_race_images_are_cross_validated():
    """Every image is raced once, on weights that were not trained on it."""
    folds = [Fold(Numbered(), number) for number in range(race.FOLDS)]
    raced = [numbers(fold.race()) for fold in folds]
    assert sum(map(len, raced)) == 400 and set().union(*raced) == set(range(400))
    for fold, part in zip(folds, raced):
        assert numbers(fold.train()) == set(range(400)) - part


@pytest.mark.parametrize("most", range(1, 8))
def test_the_largest_image_size_within_the_target_is_found(most):
    sizes, asked = imports.grid(64), []
    assert sizes == [80, 72, 64, 56, 48, 40, 32]

    def fits(size):
        asked.append(size)
        return size <= sizes[-most]

    assert imports.largest(sizes, fits) == sizes[-most] and len(asked) <= 3
    assert imports.largest(sizes, lambda size: False) is None


def test_imports_and_scores_are_said_in_words(tmp_path):
    found = Import("mobilenet_v2", 0.35, 56, 1.0, "m")
    assert str(found) == "mobilenet_v2 x 0.35 at 56 px" and found.key == "mobilenet_v2_0.35_56"
    _, finished, _ = run({SEARCHED: 0.7, OTHER: 0.71, IMPORT: 0.72}, {SEARCHED: 1.0, OTHER: 1.0, IMPORT: 2.0})
    rows = [
        report.RaceRow(each.entrant.name, "import", each.accuracy, each.error, 1, 0.5, "rate", each.latency_ms, True)
        for each in finished
    ]
    text = report.text(rows, IMAGES)
    # They differ by less than their standard errors of 1.4 points: nothing is known but their mean.
    assert "72.0 ± 1.4" in text and text.count("71.0 ") >= 3 and "has been lucky" in text
    report.write_csv(tmp_path / "race.csv", rows)
    assert len((tmp_path / "race.csv").read_text().splitlines()) == 4
    report.draw(tmp_path / "race.png", rows, OTHER, target_ms=2.0)
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")


def test_imports_are_timed_in_steps_of_eight_pixels_by_bisection():
    sizes, asked = imports.grid(128), []
    assert sizes[0] == 160 and sizes[-1] == 64 and set(np.diff(sizes)) == {-8} and imports.grid(16) == [32]
    assert imports.largest(sizes, lambda size: asked.append(size) or size <= 107) == 104 and len(asked) <= 4
    assert imports.largest(sizes, lambda size: size <= 63) is None
