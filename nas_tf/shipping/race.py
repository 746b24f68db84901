"""The race: a search's best networks and those that can be imported, trained alike; the best of all ships.

* Every entrant gets the same tries: the recipe at two learning rates, and the better of the two again with a teacher.
  The validation images say which try counts. They chose the trials too, so they do not say who wins.
* The race images do, which nothing has seen. Where there are too few, the entrants are trained anew on four fifths of
  race and training images, five times, and judged on the other fifth.
* The best searched network and the best import are trained with three seeds. The searched one wins only if a paired
  test on the same images says that it is better; else the faster of the two ships.
"""

import dataclasses
import functools
import pathlib
import typing

import numpy as np

from nas_tf import accuracy
from nas_tf.datasets import Images, scale_pixels
from nas_tf.files import write_array
from nas_tf.networks.description import NetworkDescription
from nas_tf.networks.folder import read_keras
from nas_tf.shipping.candidates import train
from nas_tf.training.recipe import Recipe
from nas_tf.trial import Trial

LEAST_IMAGES = 300  # in the race portion; with fewer, differences of 5 points are noise
FOLDS, SEEDS = 5, 3
SURE = 0.05  # of a lead: how likely it may be by chance alone
_SECOND_RATE = 1 / 4  # of the first, where the recipe names none
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A network in the race, before it is trained.

    Attributes:
        name: as in "trial 17" or "efficientnet_lite0 at 96 px".
        folder: its own.
        image_size: height and width of its images in pixels.
        recipe: the `nas_tf.training.recipe.Recipe` of its first try.
        build: `build(scale)` returns the `keras.Model`.
        scales: the scales at which it ships and is trained.
        description: its `NetworkDescription` before it is trained.
        start: `start(dataset)` returns what puts weights into it first (`nas_tf.training.network.train_network`), or
            None.
        trial: the `Trial` that it comes from; None for an import.
    """

    name: str
    folder: pathlib.Path
    image_size: int
    recipe: Recipe
    build: typing.Callable
    scales: tuple
    description: NetworkDescription
    start: typing.Callable
    trial: Trial | None = None

    @property
    def is_import(self):
        return self.trial is None


@dataclasses.dataclass(frozen=True)
class Try:
    """One way of training that every entrant gets.

    Attributes:
        name: what its folder is called.
        recipe: the `nas_tf.training.recipe.Recipe`.
        teacher: `keras.Model` that is learned from too, or None.
    """

    name: str
    recipe: Recipe
    teacher: object = None


@dataclasses.dataclass(frozen=True)
class Finisher:
    """An entrant with its best try.

    Attributes:
        entrant: the `Entrant`.
        attempt: the `Try`.
        folder: of that try, with `model.keras`.
        description: the `NetworkDescription` of that try.
        rights: tuple of bool [n], one for each seed: which race images were answered right.
    """

    entrant: Entrant
    attempt: Try
    folder: pathlib.Path
    description: NetworkDescription
    rights: tuple

    @property
    def right(self):
        """float [n]: the share of its trainings that answered each race image right."""
        return np.mean(self.rights, axis=0)

    @property
    def accuracy(self):
        """float: on the race images, in [0, 1]."""
        return float(self.right.mean())

    @property
    def error(self):
        """float: the standard error of `accuracy`, from the choice of images."""
        return float(self.right.std() / np.sqrt(len(self.right)))

    @property
    def latency_ms(self):
        return (self.description.latency_judged or self.description.latency).latency_ms


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Who ships, and why.

    Attributes:
        winner: the `Finisher` that ships.
        other: the best of the other kind, searched or import, or None.
        p_value: how likely the searched network's lead would be by chance; None: there was one kind only.
    """

    winner: Finisher
    other: Finisher | None = None
    p_value: float | None = None

    def __str__(self):
        """Why the winner ships, in words."""
        if self.other is None:
            return "the most accurate of the race on images that nothing had seen"
        searched, imported = sorted((self.winner, self.other), key=lambda each: each.entrant.is_import)
        lead = 100 * (searched.accuracy - imported.accuracy)
        words = (
            f"of the race images {searched.entrant.name}, searched, has {100 * searched.accuracy:.1f} % right and "
            f"{imported.entrant.name}, the best import, {100 * imported.accuracy:.1f} %: {lead:+.1f} points, "
        )
        if self.p_value < SURE:
            return f"{words}more than chance gives (p = {self.p_value:.3f})"
        if 1 - self.p_value < SURE:
            return f"{words}the import is better (p = {1 - self.p_value:.3f})"
        return f"{words}which is noise (p = {self.p_value:.2f}), and it is the faster of the two"


class Race:
    """The trainings of a race, each of which is kept in its folder and made once.

    Args:
        workshop: the `nas_tf.shipping.candidates.Workshop`.
        teacher: `keras.Model` of the same classes, or None: then there are two tries.
    """

    def __init__(self, workshop, teacher=None):
        self._workshop, self._teacher = workshop, teacher
        # Those of the last size stay decoded: the tries of a network come one after the other.
        self._dataset = functools.lru_cache(maxsize=1)(
            lambda image_size: workshop.setup.task.images.make(image_size, workshop.num_samples)
        )

    def run(self, entrants):
        """Trains the `Entrant`s and returns a list of `Finisher`s, not timed. Those that diverged are left out."""
        finished = []
        for number, entrant in enumerate(entrants, 1):
            self._workshop.say(f"[{number}/{len(entrants)}] {entrant.name}")
            finisher = self._finish(entrant)
            if finisher:
                finished.append(finisher)
                self._workshop.say(f"{entrant.name}: {said(finisher)} of the race images right")
        return finished

    def decide(self, finished):
        """Returns the `Verdict` over timed `Finisher`s, after training the best of each kind with more seeds."""
        finished = sorted(finished, key=lambda each: (-each.accuracy, each.latency_ms))
        best = [next((each for each in finished if each.entrant.is_import is kind), None) for kind in (False, True)]
        if None in best:
            return Verdict(finished[0])
        searched, imported = (self._with_seeds(each) for each in best)
        p_value = accuracy.p_value(searched.right, imported.right)
        if p_value < SURE:
            return Verdict(searched, imported, p_value)
        if 1 - p_value < SURE or imported.latency_ms <= searched.latency_ms:
            return Verdict(imported, searched, p_value)
        return Verdict(searched, imported, p_value)

    def _finish(self, entrant):
        """Returns the `Finisher` of an entrant's best try by validation images, or None if all diverged."""
        seed = self._workshop.setup.task.seed
        tries = [(each, self._train(entrant, each, seed)) for each in first_tries(entrant.recipe)]
        tries = [each for each in tries if each[1].failure is None]
        if self._teacher is not None and tries:
            best = max(tries, key=_validation)[0]
            taught = Try(f"{best.name}_teacher", best.recipe, self._teacher)
            tries += [(taught, self._train(entrant, taught, seed))]
            tries = [each for each in tries if each[1].failure is None]
        if not tries:
            return None
        attempt, description = max(tries, key=_validation)
        right = self._right(entrant, attempt, seed)
        return Finisher(entrant, attempt, entrant.folder / attempt.name, description, (right,))

    def _with_seeds(self, finisher):
        rights, entrant = list(finisher.rights), finisher.entrant
        for number in range(1, SEEDS):
            self._workshop.say(f"{entrant.name} with another seed, {number + 1} of {SEEDS}")
            seed = self._workshop.setup.task.seed + number
            if self._train(entrant, finisher.attempt, seed).failure is None:
                rights.append(self._right(entrant, finisher.attempt, seed))
        found = dataclasses.replace(finisher, rights=tuple(rights))
        self._workshop.say(f"{entrant.name}: {said(found)} of the race images right, mean of {len(rights)} seeds")
        return found

    def _train(self, entrant, attempt, seed, fold=None):
        """Trains a network unless that was done before, and returns its `NetworkDescription`, maybe with a failure."""
        workshop = self._workshop
        dataset = self._dataset(entrant.image_size)
        if fold is not None:
            dataset = Fold(dataset, fold)
        plan = dataclasses.replace(workshop.plan, recipe=attempt.recipe)
        own = dataclasses.replace(workshop, plan=plan, dataset=dataset)
        start, folder = entrant.start(dataset), self._folder(entrant, attempt, seed, fold)
        words = [entrant.name, attempt.name, f"seed {seed}", "" if fold is None else f"fold {fold + 1} of {FOLDS}"]
        name = ", ".join(filter(None, words))
        training = {"start": start, "teacher": attempt.teacher, "seed": seed, "name": name, "timed": False}
        return train(own, folder, entrant.build, entrant.scales, entrant.description, **training)

    def _folder(self, entrant, attempt, seed, fold=None):
        folder = entrant.folder / attempt.name
        if seed != self._workshop.setup.task.seed:
            folder /= f"seed_{seed}"
        return folder if fold is None else folder / f"fold_{fold}"

    def _right(self, entrant, attempt, seed):
        """Returns which race images a try of that seed answers right, bool [n]."""
        path = self._folder(entrant, attempt, seed) / "race.npy"
        if path.exists():
            return np.load(path, allow_pickle=False)
        dataset = self._dataset(entrant.image_size)
        if dataset.describe()["num_examples"]["race"] >= LEAST_IMAGES:
            found = answered_right(read_keras(path.parent / "model.keras"), dataset.race())
        else:
            folds = []
            for fold in range(FOLDS):
                self._train(entrant, attempt, seed, fold)
                model = read_keras(self._folder(entrant, attempt, seed, fold) / "model.keras")
                folds.append(answered_right(model, Fold(dataset, fold).race()))
            found = np.concatenate(folds)
        write_array(path, found)
        return found


class Fold:
    """A data set whose race images are every fifth of race and training images, and whose others are trained on."""

    def __init__(self, dataset, number):
        self._dataset, self._number = dataset, number

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def train(self):
        return self._part(is_race=False)

    def race(self):
        return self._part(is_race=True)

    def _part(self, is_race):
        race, train = self._dataset.race(), self._dataset.train()
        images, labels = np.concatenate([race.images, train.images]), np.concatenate([race.labels, train.labels])
        order = np.random.default_rng(0).permutation(len(labels))
        ours = order[self._number :: FOLDS]
        chosen = ours if is_race else np.setdiff1d(order, ours)
        return Images(images[chosen], labels[chosen])


def first_tries(recipe):
    """Returns the two tries that come first: the recipe at two learning rates."""
    other = recipe.other_learning_rate or _SECOND_RATE * recipe.peak_learning_rate
    alone = dataclasses.replace(recipe, other_learning_rate=0.0, learning_rate_batch=0)
    rates = recipe.peak_learning_rate, other
    return tuple(Try(f"rate_{rate:.3g}", dataclasses.replace(alone, learning_rate=rate)) for rate in rates)


def answered_right(model, split):
    """Returns which images of a split a network answers right, bool [n], in the order in which they are stored."""
    found = []
    for pixels, labels in split.batches(_BATCH):
        answers = np.asarray(model(scale_pixels(np.asarray(pixels)), training=False))
        found.append(answers.argmax(axis=1) == np.asarray(labels).reshape(-1))
    return np.concatenate(found)


def said(finisher):
    """Returns the race accuracy of a `Finisher` in percent with its standard error."""
    return accuracy.text(finisher.accuracy, error=finisher.error)


def _validation(found):
    return found[1].accuracy.validation
