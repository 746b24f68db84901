"""Trainings of a race that are made elsewhere, all of a stage at once. They are found in their folders afterwards."""

import dataclasses
import math
import time

from nas_tf.bars import progress_bar
from nas_tf.trial import EvaluationError


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of a race.

    Attributes:
        entrant: the `nas_tf.shipping.entrants.Entrant`.
        attempt: the `Try`.
        seed: of its initial weights and the order of images.
        fold: of images, where few are left for the race; None: all that are trained on.
    """

    entrant: object
    attempt: object
    seed: int
    fold: int | None = None

    def __str__(self):
        words = [self.entrant.name, self.attempt.name, f"seed {self.seed}"]
        return ", ".join(words + ([] if self.fold is None else [f"fold {self.fold}"]))


def train_all(calls, train, workshop, trainings, allowance=None):
    """Makes trainings, or none of them if there is no time for all.

    Args:
        calls: makes the calls (`make_calls` of a place in `nas_tf.search.workers`).
        train: `train(workshop, training)` makes one of them, in another process.
        workshop: the `nas_tf.shipping.candidates.Workshop`. Its device and data set stay here.
        trainings: list of `Training`, none of which is made.
        allowance: the `nas_tf.shipping.race.Allowance`, which learns what one takes; or None.

    Raises:
        EvaluationError: one could not be made; the others are kept.
    """
    at_once = min(getattr(calls, "num_workers", 1), len(trainings))
    if not trainings or (allowance and not allowance.has(math.ceil(len(trainings) / at_once))):
        return
    plain = dataclasses.replace(workshop, dataset=None, device=None, say=print)
    begin = time.monotonic()
    made = calls.run({str(each): (train, plain, each) for each in trainings})
    failures = {}
    for key, _, failure in progress_bar(made, total=len(trainings), desc="training elsewhere", unit="network"):
        if failure is not None:
            failures[key] = failure
    if failures:
        key, failure = next(iter(failures.items()))
        raise EvaluationError(f"{key} could not be trained: {failure}")
    if allowance:
        allowance.training_seconds = (time.monotonic() - begin) * at_once / len(trainings)
