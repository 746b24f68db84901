"""The loop: suggest, evaluate, judge, update. All its state is in the records and the algorithm."""

import collections
import dataclasses
import math
import time

from nas_tf.search.deadlines import Deadlines
from nas_tf.search.evaluation import AccuracyJob, CostJob
from nas_tf.search.records import ASKED, FAILED, PROMOTED, REOPENED, TOLD, WARM_START
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, Measurement, OwnFileError, Trial, UserError

_MAX_FAILURES_IN_A_ROW = 3
_LOOK_SECONDS = 1.0  # between two looks at whether time is over
_WHOLE_SECONDS = 10.0  # between two times at which the file of the records is made whole


@dataclasses.dataclass
class Search:
    """A search of a space by an algorithm.

    The algorithm is asked for one suggestion whenever a worker is free, and told of each trial as it arrives. With a
    `window` it is told of them in the order of their ids, and asked for trial k only when it knows trials 1 to
    k - `window` and no other: then its suggestions depend on the measurements alone, and not on how many workers there
    are or which of them is slow. What was recorded before is replayed in the order in which it happened, so that the
    algorithm goes on as if it had never stopped.

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
        rungs: the `nas_tf.search.rungs.Rungs`, or None: each network is judged in full.
        window: of how many trials the algorithm may not know yet when it is asked; None: it is told as they arrive.
        on_news: called after trials have finished, once the next ones have begun.
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
    rungs: object = None
    window: int | None = None
    on_news: object = lambda: None
    grace_seconds: float = 60.0

    def __post_init__(self):
        self._is_over = False
        self.evaluating_seconds = 0.0
        self._counts, self._anew = {}, {}
        self._retried, self._failures_in_a_row, self._has_news = set(), 0, False
        self._whole_at = 0.0
        self._running = {}  # what the algorithm is told of when it is asked, by id in order
        self._trials, self._followers = {}, {}  # those that are not finished; behind whom a trial waits
        self._finished = {}  # with a window: trials that the algorithm is still to be told of, by id
        self._promotions = collections.Counter()  # by trial

    def run(self, num_trials, out_of_time=lambda: False):
        """Goes on until `num_trials` trials (warm-started ones not counted) are finished, or `out_of_time()`.

        An infinite number of trials leaves it to the time.

        Raises:
            UserError: the records belong to another search.
            EvaluationError: three trials in a row failed by no fault of theirs.
        """
        history = self.records.trials()
        num_warm = sum(trial.note.startswith(WARM_START) for trial in history)
        self._last, self._count_asked = num_warm + num_trials, len(history)
        last_failures = self._replay(history, num_warm)
        for trial in () if out_of_time() else self._unfinished(history, last_failures):
            self._begin(trial)
        while True:
            begin, is_busy = time.perf_counter(), self.workers.num_pending > 0
            while self._has_room() and not self._look(out_of_time):
                if not self._ask():
                    break
            if self._has_news and not self._is_over:
                self._has_news = False
                self.on_news()
                self._make_whole()
            if not self.workers.num_pending:
                break
            outcome = None if self._look(out_of_time) else self.workers.wait(_LOOK_SECONDS)
            if outcome is not None:
                self._take(outcome)
            self.evaluating_seconds += is_busy * (time.perf_counter() - begin)
        self._tell([trial for _, trial in sorted(self._finished.items()) if trial.state != "failed"])
        self._record_expected()
        self.records.make_whole()

    def _record_expected(self):
        """Records what the algorithm expects of other measurements; in rungs, accuracies are not what it was told."""
        done = [trial for trial in self.records.trials() if trial.state == "done"]
        expected = self.algorithm.expected(done) if done and not self.rungs else None
        if expected is not None:
            if len(expected) != len(done) or not all(math.isfinite(each) for each in expected):
                raise ValueError(f"Expected {len(done)} finite accuracies of expected(trials). Received: {expected}")
            self.records.expect({trial.id: accuracy for trial, accuracy in zip(done, expected)})

    def _make_whole(self):
        """Brings the records into one file, which may be copied, every few seconds."""
        if time.monotonic() >= self._whole_at:
            self.records.make_whole()
            self._whole_at = time.monotonic() + _WHOLE_SECONDS

    def _replay(self, history, num_warm):
        """Takes the algorithm through what is recorded, in the order in which it happened.

        Returns the set of the ids of the trials that have failed since the last one that arrived.
        """
        last_failures = set()
        self._tell([trial for trial in history[:num_warm] if trial.state in ("done", "infeasible")])
        if self.rungs:
            self._fill_rungs(history)
        for trial in history[:num_warm]:
            self._count(trial)
        trials = {trial.id: trial for trial in history}
        for event, trial_id in self.records.events():
            trial = trials.get(trial_id)
            if event == ASKED or trial is None:
                self._check_same(trial_id, trial, self._suggested())
                self._count(trial)
            if event == PROMOTED:
                self._promotions[trial.id] += 1
            elif event in (ASKED, REOPENED):
                self._running[trial.id] = Trial(trial.id, trial.tokens, trial.note)
            else:
                del self._running[trial.id]
            if event == FAILED:
                last_failures.add(trial.id)
            elif event == TOLD:
                last_failures.clear()
                self._tell([trial])
        for trial in history:
            if trial.state != "running":
                self.on_trial(trial)
            if trial.state != "running" and trial.id in self._running:
                self._finished[trial.id] = trial
        while self.window is None and self._finished:  # it had one before
            self._tell_of(self._finished.pop(min(self._finished)))
        return last_failures

    def _check_same(self, trial_id, trial, suggestion):
        meant = suggestion and self.space.decode(suggestion.tokens).fingerprint
        is_same = trial is not None and suggestion is not None and trial.tokens == suggestion.tokens
        if not is_same or trial.fingerprint not in (None, meant):
            raise UserError(
                f"Trial {trial_id} of this run folder is not what this search would try: its records, or the "
                "version of a package, have changed since. Choose another --run_dir, and --warm_start with this one"
            )

    def _unfinished(self, history, last_failures):
        """Returns the trials that are to go on: those that ran, and those whose failures ended the last session."""
        failed = {trial.id for trial in history if trial.state == "failed"} & (last_failures | set(self._finished))
        self.records.reopen(sorted(failed - set(self._finished)), REOPENED)
        self.records.reopen(sorted(failed & set(self._finished)))  # the algorithm takes them for running as it is
        for trial_id in failed:
            self._finished.pop(trial_id, None)
        found = []
        for trial in history:
            if trial.id in failed:
                trial = Trial(trial.id, trial.tokens, trial.note)
                self._running[trial.id] = trial
            if trial.state == "running" and trial.id <= self._last:
                found.append(trial)
        return found

    def _has_room(self):
        return self._count_asked < self._last and self.workers.num_pending < self.workers.num_workers

    def _look(self, out_of_time):
        """Returns whether time is over. Jobs that nobody has begun are then dropped, others have some seconds more."""
        if not out_of_time():
            return False
        if not self._is_over:
            self._is_over, self._end = True, time.monotonic() + self.grace_seconds
        self.workers.drop_queue()
        if self.workers.num_pending and time.monotonic() >= self._end:
            self.workers.close()
        elif self.workers.num_pending:
            outcome = self.workers.wait(_LOOK_SECONDS)
            if outcome is not None:
                self._take(outcome)
        return True

    def _suggested(self):
        """Returns the algorithm's next `Suggestion`, or None if it waits for a trial that runs."""
        running = [self._running[trial_id] for trial_id in sorted(self._running)]
        suggestions = self.algorithm.suggest(1, running)
        if not suggestions and not running:
            raise ValueError(f"Expected {type(self.algorithm).__name__} to suggest something where no trial runs")
        return suggestions[0] if suggestions else None

    def _ask(self):
        """Begins a trial of what the algorithm suggests, and returns whether it suggests any."""
        while self.window is not None and len(self._running) >= self.window:
            if not self._tell_next():
                return False
        suggestion = self._suggested()
        while suggestion is None:
            if not self._tell_next():
                return False
            suggestion = self._suggested()
        trial = Trial(self._count_asked + 1, suggestion.tokens, suggestion.note)
        self.records.add_trials([(trial, self.space.decode(trial.tokens))], ASKED)
        self._count_asked += 1
        self._running[trial.id] = trial
        self._count(trial)
        self._begin(trial)
        return True

    def _tell_next(self):
        """Tells the algorithm of the first trial that it takes for running, and returns whether that has finished."""
        trial = self._finished.pop(min(self._running), None)
        if trial is not None:
            self._tell_of(trial)
        return trial is not None

    def _tell_of(self, trial):
        del self._running[trial.id]
        is_failed = trial.state == "failed"
        self.records.happened(FAILED if is_failed else TOLD, trial.id)
        if not is_failed:
            self._tell([trial])

    def _begin(self, trial):
        """Does what a running trial needs, or leaves it to follow another one of the same architecture."""
        self._trials[trial.id] = trial
        fingerprint = self.space.decode(trial.tokens).fingerprint
        if fingerprint in self._followers:
            self._followers[fingerprint].append(trial)
        else:
            self._followers[fingerprint] = []
            self._advance(trial)

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
        known = self._known(trial)
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
        number, is_own = len(known.accuracies), all(each.trial_id == trial.id for each in known.accuracies)
        if is_own and number <= self._promotions[trial.id]:
            repeat, rung = self._anew.get(trial.id, 0), number if self.rungs else None
            deadline_seconds = self.deadlines.of_accuracy(cost, self.rungs.works[rung] if self.rungs else 1.0)
            job = AccuracyJob(trial.tokens, repeat=repeat, rung=rung)
            return self._submit((trial.id, "accuracy"), job, deadline_seconds, first=True)
        facts = self._measurement([each.value for each in known.accuracies], cost)
        if not is_own:
            copied = {"copied_from_trial": known.accuracies[0].trial_id}
            with self.records.transaction():
                for rung, each in enumerate(known.accuracies):
                    self._record_accuracy(trial, *each.value, copied, rung)
        self._finish(trial, measurement=facts)

    def _known(self, trial):
        """Returns what is known of a trial's architecture; of one that is measured anew, from itself alone."""
        fingerprint = self.space.decode(trial.tokens).fingerprint
        return self.records.known(fingerprint, trial.id if trial.id in self._anew else None)

    def _measurement(self, accuracies, cost):
        """Returns the `Measurement` of `(accuracy, train_seconds, standard_error)` of each rung."""
        reached, seconds, errors = zip(*accuracies)
        return Measurement(reached[-1], cost, sum(seconds), errors[-1], reached if self.rungs else ())

    def _record_accuracy(self, trial, accuracy, train_seconds, standard_error, details, rung):
        rung = rung if self.rungs else None
        self.records.add_accuracy(trial.id, self.judge, accuracy, train_seconds, standard_error, details, rung)

    def _fill_rungs(self, history):
        """Takes what trials have reached into account for those to come. A measurement counts once, without copies."""
        measured = dict.fromkeys((trial.fingerprint, trial.measurement) for trial in history if trial.measurement)
        for _, facts in measured:
            for rung, accuracy in enumerate(facts.rungs):
                self.rungs.add(rung, dataclasses.replace(facts, accuracy=accuracy, rungs=()))

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
            self._take_accuracy(trial, outcome.value, details)
        return self._advance(trial)

    def _take_accuracy(self, trial, trained, details):
        """Records an accuracy and, in the same transaction, whether the trial goes on to the next rung."""
        rung, values = self._promotions[trial.id], (trained.accuracy, trained.train_seconds, trained.standard_error)
        with self.records.transaction():
            self._record_accuracy(trial, *values, details, rung)
            if not self.rungs:
                return
            cost = self._known(trial).cost.value
            if self.rungs.add(rung, Measurement(trained.accuracy, cost, trained.train_seconds)):
                self.records.promote(trial.id)
                self._promotions[trial.id] += 1

    def _tell(self, trials):
        self.algorithm.update([self.rungs.told(trial) for trial in trials] if self.rungs else trials)

    def _finish(self, trial, *, measurement=None, infeasible=None, error=None):
        reward = self.reward(measurement) if measurement else self.reward.floor if infeasible else None
        said = error and str(error)
        trial = dataclasses.replace(
            self._trials.pop(trial.id), measurement=measurement, infeasible=infeasible, error=said, reward=reward
        )
        is_known = trial.id in self._running  # else it is tried again, long after it failed
        if is_known and self.window is not None:
            self.records.finish(trial)
            self._finished[trial.id] = trial
        else:
            self._running.pop(trial.id, None)
            self.records.finish(trial, (FAILED if error else TOLD) if is_known else None)
            if is_known and not error:
                self._tell([trial])
        self.on_trial(trial)
        self._has_news = True
        self._failures_in_a_row = self._failures_in_a_row + 1 if error else 0
        if self._failures_in_a_row == _MAX_FAILURES_IN_A_ROW:
            is_own = isinstance(error, OwnFileError)
            then = "choose another --run_dir with the mended file" if is_own else "give the same command again"
            raise (OwnFileError if is_own else EvaluationError)(
                f"{_MAX_FAILURES_IN_A_ROW} trials in a row failed by no fault of theirs, the last with: "
                f"{said.strip().splitlines()[-1]}. Nothing finished is lost: fix that and {then}"
            )
        for follower in self._followers.pop(self.space.decode(trial.tokens).fingerprint, []):
            self._begin(follower)
