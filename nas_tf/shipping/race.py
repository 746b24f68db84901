"""The race: a search's best networks and those that can be imported, trained alike; the best of all ships.

* Every entrant gets the same tries: the recipe at two learning rates, and the better of the two again with a teacher,
  or fewer where there is less time. The validation images say which try counts. They chose the trials too, so they do
  not say who wins.
* The race images do, which nothing has seen. Where there are too few, the entrants are trained anew on four fifths of
  race and training images, five times, and judged on the other fifth.
* The best searched network and the best import are trained with three seeds, where there is time. The searched one
  wins only if a paired test on the same images says that it is better; else the faster of the two ships.
"""

import dataclasses
import functools
import time

import numpy as np

from nas_tf import accuracy
from nas_tf.datasets import Images, scale_pixels
from nas_tf.files import write_array
from nas_tf.networks.folder import read_keras
from nas_tf.quiet import count
from nas_tf.shipping.away import Training, train_all
from nas_tf.shipping.candidates import DESCRIPTION, train
from nas_tf.shipping.tries import TRIES, Try, first_tries
from nas_tf.shipping.verdict import SURE, Finisher, Verdict, said
from nas_tf.training.evaluate import traced

LEAST_IMAGES = 300  # in the race portion; with fewer, differences of 5 points are noise
FOLDS, SEEDS = 5, 3
_BATCH = 64
RIGHT = "race.npy"  # in the folder of a try: which race images it answers right
_TAUGHT = "_teacher"  # what the name of a try with a teacher ends in


@dataclasses.dataclass
class Allowance:
    """The time that the trainings of a race may take. What has begun is not ended, so that it has to be foreseen.

    Attributes:
        ends_at: the `time.monotonic` by which all has to be done.
        training_seconds: what a training takes, renewed by each one that is made.
        after_seconds: what comes after the trainings.
    """

    ends_at: float
    training_seconds: float
    after_seconds: float

    def has(self, trainings):
        """Returns whether there is time for that many trainings more. For none there always is."""
        return (
            trainings == 0 or time.monotonic() + trainings * self.training_seconds + self.after_seconds <= self.ends_at
        )


class Race:
    """The trainings of a race, each of which is kept in its folder and made once.

    Args:
        workshop: the `nas_tf.shipping.candidates.Workshop`.
        teacher: `keras.Model` of the same classes, or None: then there are two tries at most.
        tries: 1 (the recipe as it is), 2 (at both rates) or 3 (and with the teacher).
        seeds: how often the best of each kind are trained.
        allowance: the `Allowance`; None: there is time for everything.
        calls: makes trainings elsewhere, all of a stage at once (`nas_tf.shipping.away`); None: they are made here.
    """

    def __init__(self, workshop, teacher=None, tries=TRIES, seeds=SEEDS, allowance=None, calls=None):
        self._workshop, self._teacher = workshop, teacher if tries == TRIES else None
        self._tries, self._seeds, self._allowance, self._calls = tries, seeds, allowance, calls
        # Those of the last size stay decoded: the tries of a network come one after the other.
        self._dataset = functools.lru_cache(maxsize=1)(
            lambda image_size: workshop.setup.task.images.make(image_size, workshop.num_samples)
        )

    def run(self, entrants):
        """Trains the `Entrant`s and returns a list of `Finisher`s, not timed. Those that diverged are left out."""
        finished = []
        self._ahead_of_all(entrants)
        for number, entrant in enumerate(entrants, 1):
            is_last_hope = number == len(entrants) and not finished
            if self._allowance and not is_last_hope and not self._allowance.has(self._missing(entrant)):
                self._workshop.say(f"[{number}/{len(entrants)}] {entrant.name} is left out: there is no time for it")
                continue
            self._workshop.say(f"[{number}/{len(entrants)}] {entrant.name}")
            finisher = self.finish(entrant)
            if finisher:
                finished.append(finisher)
                self._workshop.say(f"{entrant.name}: {said(finisher)} of the race images right")
        return finished

    def _ahead_of_all(self, entrants):
        """Makes elsewhere, in three stages, what `finish` will find."""
        if self._calls is None:
            return
        seed = self._workshop.setup.task.seed
        self._ahead([Training(e, each, seed) for e in entrants for each in first_tries(e.recipe, self._tries)])
        best = [(e, self._best_of(e, seed)) for e in entrants if self._all_there(e, seed)]
        if self._teacher is not None:
            self._ahead([Training(e, self._taught(each), seed) for e, each in best if each])
            best = [(e, self._best_of(e, seed, with_teacher=True)) for e, _ in best]
        few = [(e, each) for e, each in best if each and not self._has_race_images(e)]
        self._ahead([Training(e, each, seed, fold) for e, each in few for fold in range(FOLDS)])

    def _ahead(self, trainings):
        """Makes those of some trainings that are missing, elsewhere and at once."""
        missing = [
            each
            for each in trainings
            if not (self._folder(each.entrant, each.attempt, each.seed, each.fold) / DESCRIPTION).exists()
        ]
        train_all(self._calls, train_one, self._workshop, missing, self._allowance)

    def _all_there(self, entrant, seed):
        folders = [self._folder(entrant, each, seed) for each in first_tries(entrant.recipe, self._tries)]
        return all((folder / DESCRIPTION).exists() for folder in folders)

    def _best_of(self, entrant, seed, with_teacher=False):
        """Returns the best `Try` of those that are there, or None if all diverged."""
        tries = list(first_tries(entrant.recipe, self._tries))
        if with_teacher and (best := self._best_of(entrant, seed)):
            tries.append(self._taught(best))
        there = [each for each in tries if (self._folder(entrant, each, seed) / DESCRIPTION).exists()]
        tried = [(each, self._train(entrant, each, seed)) for each in there]
        tried = [each for each in tried if each[1].failure is None]
        return max(tried, key=_validation)[0] if tried else None

    def _taught(self, best):
        return Try(f"{best.name}{_TAUGHT}", best.recipe, self._teacher)

    def decide(self, finished):
        """Returns the `Verdict` over timed `Finisher`s, after training the best of each kind with more seeds."""
        finished = sorted(finished, key=lambda each: (-each.accuracy, each.latency_ms))
        best = [next((each for each in finished if each.entrant.is_import is kind), None) for kind in (False, True)]
        if None in best:
            return Verdict(finished[0])
        searched, imported = self._with_seeds(best)
        p_value = accuracy.p_value(searched.right, imported.right)
        if p_value < SURE:
            return Verdict(searched, imported, p_value)
        if 1 - p_value < SURE or imported.latency_ms <= searched.latency_ms:
            return Verdict(imported, searched, p_value)
        return Verdict(searched, imported, p_value)

    def finish(self, entrant, is_judged=True):
        """Trains an `Entrant` in all tries, and returns its `Finisher`, or None if all diverged.

        With `is_judged` False no race image is read, and it has no `rights`.
        """
        seed = self._workshop.setup.task.seed
        tries = [(each, self._train(entrant, each, seed)) for each in first_tries(entrant.recipe, self._tries)]
        tries = [each for each in tries if each[1].failure is None]
        if self._teacher is not None and tries:
            best = max(tries, key=_validation)[0]
            taught = self._taught(best)
            tries += [(taught, self._train(entrant, taught, seed))]
            tries = [each for each in tries if each[1].failure is None]
        if not tries:
            return None
        attempt, description = max(tries, key=_validation)
        rights = (self._right(entrant, attempt, seed),) if is_judged else ()
        return Finisher(entrant, attempt, entrant.folder / attempt.name, description, rights)

    def _with_seeds(self, finishers):
        """Returns the `Finisher`s after training each of them with more seeds, as many for one as for the other."""
        found = list(finishers)
        if self._calls is not None:
            seeds = [self._workshop.setup.task.seed + number for number in range(1, self._seeds)]
            self._ahead([Training(each.entrant, each.attempt, seed) for each in found for seed in seeds])
        for number in range(1, self._seeds):
            seed = self._workshop.setup.task.seed + number
            if self._allowance and not self._allowance.has(
                sum(self._missing(each.entrant, each.attempt, seed) for each in found)
            ):
                self._workshop.say(
                    f"there is no time for another seed: {count(number, 'seed')} instead of {self._seeds}"
                )
                break
            for i, each in enumerate(found):
                self._workshop.say(f"{each.entrant.name} with another seed, {number + 1} of {self._seeds}")
                if self._train(each.entrant, each.attempt, seed).failure is None:
                    right = self._right(each.entrant, each.attempt, seed)
                    found[i] = dataclasses.replace(each, rights=(*each.rights, right))
        for each in found:
            words = f"{said(each)} of the race images right, mean of {count(len(each.rights), 'seed')}"
            self._workshop.say(f"{each.entrant.name}: {words}")
        return found

    def _missing(self, entrant, attempt=None, seed=None):
        """Returns how many trainings are still to be made for a try with a seed, or for all tries of an entrant."""
        if attempt is None:
            seed, folder = self._workshop.setup.task.seed, entrant.folder
            names = [each.name for each in first_tries(entrant.recipe, self._tries)]
            missing = sum(not (folder / name / DESCRIPTION).exists() for name in names)
            missing += self._teacher is not None and not any(folder.glob(f"*{_TAUGHT}/{DESCRIPTION}"))
            is_judged = any(
                (folder / name / RIGHT).exists() for name in (*names, *(f"{each}{_TAUGHT}" for each in names))
            )
        else:
            folder = self._folder(entrant, attempt, seed)
            missing, is_judged = int(not (folder / DESCRIPTION).exists()), (folder / RIGHT).exists()
        return missing + (0 if is_judged or self._has_race_images(entrant) else FOLDS)

    def _has_race_images(self, entrant):
        counts = self._dataset(entrant.image_size).describe()["num_examples"]
        return counts["race"] >= LEAST_IMAGES

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
        begin, is_new = time.monotonic(), not (folder / DESCRIPTION).exists()
        found = train(own, folder, entrant.build, entrant.scales, entrant.description, **training)
        if is_new and self._allowance:
            self._allowance.training_seconds = time.monotonic() - begin
        return found

    def _folder(self, entrant, attempt, seed, fold=None):
        folder = entrant.folder / attempt.name
        if seed != self._workshop.setup.task.seed:
            folder /= f"seed_{seed}"
        return folder if fold is None else folder / f"fold_{fold}"

    def _right(self, entrant, attempt, seed):
        """Returns which race images a try of that seed answers right, bool [n]."""
        path = self._folder(entrant, attempt, seed) / RIGHT
        if path.exists():
            return np.load(path, allow_pickle=False)
        dataset = self._dataset(entrant.image_size)
        if self._has_race_images(entrant):
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


def train_one(workshop, training):
    """Makes a `nas_tf.shipping.away.Training`, in another process than that of its race."""
    Race(workshop)._train(training.entrant, training.attempt, training.seed, training.fold)


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


def answered_right(model, split):
    """Returns which images of a split a network answers right, bool [n], in the order in which they are stored."""
    found, ask = [], traced(model)
    for pixels, labels in split.batches(_BATCH):
        answers = ask(scale_pixels(np.asarray(pixels)))
        found.append(answers.argmax(axis=1) == np.asarray(labels).reshape(-1))
    return np.concatenate(found)


def _validation(found):
    return found[1].accuracy.validation
