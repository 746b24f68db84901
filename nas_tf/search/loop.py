"""The loop: suggest, evaluate, judge, update. All its state is in the records and the algorithm."""

import dataclasses
import math
import time

from nas_tf.search._rows import RETRIED
from nas_tf.search.deadlines import Deadlines
from nas_tf.search.evaluation import AccuracyJob, CostJob
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, Measurement, OwnFileError, Trial, UserError

WARM_START = "warm start"
_MAX_FAILURES_IN_A_ROW = 3
_LOOK_SECONDS = 1.0  # between two looks at whether time is over


@dataclasses.dataclass
class Search:
    """A search of a space by an algorithm.

    What was recorded before is replayed: the algorithm gets the same trials in the same order, so that it goes on as if
    it had never stopped.

    Attributes:
        space: the `nas_tf.space.SearchSpace`.
        algorithm: the `nas_tf.algorithms.Algorithm`.
        workers: the `nas_tf.search.workers.Workers` that run the evaluations.
        records: the `nas_tf.search.records.Records` that keep the history.
        reward: takes a `nas_tf.trial.Measurement` and returns a float; its `floor` is what infeasible trials earn.
        limits: the `nas_tf.rewards.Limits`.
        device_id: the device's id in the records, or None.
        judge: the judge's name.
        on_trial: called with each `nas_tf.trial.Trial` that finishes, also with one that is replayed.
        remeasured_share: the share of trials of a known architecture that are measured anew, so that a run knows its
            own noise; the others copy what is known.
        deadlines: the `nas_tf.search.deadlines.Deadlines` of the jobs.
        after_batch: called after each batch, once the next one has been begun.
        grace_seconds: for how long jobs may go on when time is over. Then they are killed, and done when the run goes
            on.
        evaluating_seconds: how long it has waited for evaluations.
    """

    space: object
    algorithm: object
    workers: object
    records: object
    reward: object
    limits: object
    device_id: str | None
    judge: str
    on_trial: object = lambda trial: None
    remeasured_share: float = 0.0
    deadlines: object = Deadlines()
    after_batch: object = lambda: None
    grace_seconds: float = 60.0

    def __post_init__(self):
        self._is_over = False
        self.evaluating_seconds = 0.0
        self._counts, self._anew = {}, {}
        self._retried, self._failures_in_a_row = set(), 0

    def run(self, num_trials, out_of_time=lambda: False):
        """Goes on until `num_trials` trials (warm-started ones not counted) are finished, or `out_of_time()`.

        An infinite number of trials leaves it to the time.

        Raises:
            UserError: the records belong to another search.
            EvaluationError: three trials in a row failed by no fault of theirs.
        """
        history = self.records.trials()
        position = sum(trial.note.startswith(WARM_START) for trial in history)
        self.algorithm.update([trial for trial in history[:position] if trial.state in ("done", "infeasible")])
        for trial in history[:position]:
            self._count(trial)
            self.on_trial(trial)
        last = position + num_trials
        batch_size = self.algorithm.batch_size
        while position < last and not out_of_time():
            suggestions = self.algorithm.suggest(batch_size)[: min(batch_size, last - position)]
            batch = self._replay(history[position : position + batch_size], suggestions)
            batch += self._record(position + len(batch), suggestions[len(batch) :])
            batch = self._evaluate(batch, out_of_time)
            if len(batch) == batch_size and all(trial.state != "running" for trial in batch):
                self.algorithm.update([trial for trial in batch if _is_told(trial)])
            self.records.make_whole()
            position += len(batch)

    def _replay(self, recorded, suggestions):
        for trial, suggestion in zip(recorded, suggestions):
            meant = self.space.decode(suggestion.tokens).fingerprint
            if trial.tokens != suggestion.tokens or trial.fingerprint not in (None, meant):
                raise UserError(
                    f"Trial {trial.id} of this run folder is not what this search would try: its records, or the "
                    "version of a package, have changed since. Choose another --run_dir, and --warm_start with this one"
                )
        return list(recorded)

    def _record(self, count, suggestions):
        trials = [Trial(count + i + 1, each.tokens, each.note) for i, each in enumerate(suggestions)]
        self.records.add_trials([(trial, self.space.decode(trial.tokens)) for trial in trials])
        return trials

    def _evaluate(self, batch, out_of_time):
        """Finishes the unfinished trials of a batch, as far as time allows, and returns the batch."""
        if any(trial.state == "running" for trial in batch):
            failed = [trial for trial in batch if trial.state == "failed"]
            self.records.reopen([trial.id for trial in failed])
            batch = [dataclasses.replace(trial, error=None) for trial in batch]
        self._trials = {trial.id: trial for trial in batch}
        self._followers = {}
        for trial in batch:
            self._count(trial)
        for trial in batch:
            if trial.state != "running":
                self.on_trial(trial)
                continue
            fingerprint = self.space.decode(trial.tokens).fingerprint
            if fingerprint in self._followers:
                self._followers[fingerprint].append(trial)
            else:
                self._followers[fingerprint] = []
                self._advance(trial)
        begin, end = time.perf_counter(), None
        self.after_batch()
        while self.workers.num_pending:
            if out_of_time():
                self._is_over = True
                self.workers.drop_queue()
                end = end or time.monotonic() + self.grace_seconds
                if not self.workers.num_pending:
                    break
                if time.monotonic() >= end:
                    self.workers.close()
                    break
            outcome = self.workers.wait(_LOOK_SECONDS)
            if outcome is not None:
                self._take(outcome)
        self.evaluating_seconds += time.perf_counter() - begin
        return list(self._trials.values())

    def _count(self, trial):
        """Decides whether a trial of an architecture that an earlier one had is measured anew.

        That depends on the earlier trials alone, so that it is decided alike when the run goes on: of the trials of
        known architectures, the first is measured anew, and then `remeasured_share` of them at regular distances.
        """
        fingerprint = self.space.decode(trial.tokens).fingerprint
        times = self._counts[fingerprint] = self._counts.get(fingerprint, 0) + 1
        if times > 1:
            number = sum(self._counts.values()) - len(self._counts)
            share = self.remeasured_share
            if math.ceil(number * share) > math.ceil((number - 1) * share):
                self._anew[trial.id] = times - 1

    def _advance(self, trial):
        """Does the next thing that a running trial needs. What is known of its architecture is not measured again,
        unless it is this trial's turn to be."""
        fingerprint = self.space.decode(trial.tokens).fingerprint
        known = self.records.known(fingerprint, trial.id if trial.id in self._anew else None)
        if known.infeasible:
            return self._finish(trial, infeasible=known.infeasible.value)
        if known.cost is None:
            return self._submit((trial.id, "cost"), CostJob(trial.tokens), self.deadlines.cost_seconds)
        cost = known.cost.value
        if known.cost.trial_id != trial.id:
            self.records.add_cost(trial.id, cost, self.device_id, {"copied_from_trial": known.cost.trial_id})
        violation = self.limits.violation(cost)
        if violation:
            return self._finish(trial, infeasible=violation)
        if known.accuracy is None:
            job = AccuracyJob(trial.tokens, repeat=self._anew.get(trial.id, 0))
            return self._submit((trial.id, "accuracy"), job, self.deadlines.of_accuracy(cost), first=True)
        accuracy, train_seconds, standard_error = known.accuracy.value
        if known.accuracy.trial_id != trial.id:
            copied = {"copied_from_trial": known.accuracy.trial_id}
            self.records.add_accuracy(trial.id, self.judge, accuracy, train_seconds, standard_error, copied)
        self._finish(trial, measurement=Measurement(accuracy, cost, train_seconds, standard_error))

    def _submit(self, key, job, deadline_seconds, first=False):
        if not self._is_over:
            self.workers.submit(key, job, first=first, deadline_seconds=deadline_seconds)

    def _take(self, outcome):
        trial_id, kind = outcome.key
        trial, failure = self._trials[trial_id], outcome.failure
        if isinstance(failure, InfeasibleArchitecture):
            return self._finish(trial, infeasible=str(failure))
        if isinstance(failure, EvaluationError):
            if outcome.key in self._retried:
                return self._finish(trial, error=failure)
            self._retried.add(outcome.key)
            return self._advance(trial)
        if failure is not None:
            raise failure
        details = {"worker": outcome.worker, "seconds": outcome.seconds}
        if kind == "cost":
            self.records.add_cost(trial.id, outcome.value, self.device_id, details)
        else:
            trained = outcome.value
            self.records.add_accuracy(
                trial.id, self.judge, trained.accuracy, trained.train_seconds, trained.standard_error, details
            )
        return self._advance(trial)

    def _finish(self, trial, *, measurement=None, infeasible=None, error=None):
        reward = self.reward(measurement) if measurement else self.reward.floor if infeasible else None
        said = error and str(error)
        trial = dataclasses.replace(trial, measurement=measurement, infeasible=infeasible, error=said, reward=reward)
        self.records.finish(trial)
        self._trials[trial.id] = trial
        self.on_trial(trial)
        self._failures_in_a_row = self._failures_in_a_row + 1 if error else 0
        if self._failures_in_a_row == _MAX_FAILURES_IN_A_ROW:
            is_own = isinstance(error, OwnFileError)
            then = "choose another --run_dir with the mended file" if is_own else "give the same command again"
            raise (OwnFileError if is_own else EvaluationError)(
                f"{_MAX_FAILURES_IN_A_ROW} trials in a row failed by no fault of theirs, the last with: "
                f"{said.strip().splitlines()[-1]}. Nothing finished is lost: fix that and {then}"
            )
        for follower in self._followers.pop(self.space.decode(trial.tokens).fingerprint, []):
            self._advance(follower)


def _is_told(trial):
    """Whether the algorithm is told of a trial: not if it failed, nor if it was tried again long after."""
    return trial.state != "failed" and not trial.note.endswith(RETRIED)
