"""What a running search shows, the progress bar and scalars for TensorBoard, and the clock of `--max_hours`."""

import math
import time

from nas_tf import accuracy
from nas_tf.bars import progress_bar
from nas_tf.ranking import rank
from nas_tf.reports.numbers import milliseconds
from nas_tf.search.records import WARM_START

_MOST_SHOWN = 3  # running jobs of which a bar says what they are at


class Clock:
    """The clock of `--max_hours`, over every session of a run; without hours it never runs out."""

    def __init__(self, max_hours, records):
        self._max_hours, self._hours_before, self._begin = max_hours, records.hours(), time.monotonic()

    def is_over(self):
        return self.seconds_left() <= 0

    def seconds_left(self):
        """Returns a float, infinite without hours."""
        if self._max_hours is None:
            return math.inf
        return 3600 * (self._max_hours - self._hours_before) - (time.monotonic() - self._begin)


class Running:
    """What the running jobs are at, as `nas_tf.search.workers.Workers` say it."""

    def __init__(self):
        self._words = {}

    def note(self, key, words):
        """Takes what a job is at: "" once it no longer runs."""
        self._words.pop(key, None)
        if words:
            self._words[key] = words

    def shown(self, name=str):
        """Returns a list of words, with the name that `name(key)` is, on the first few jobs; the others are counted."""
        running = [f"{name(key)}: {words}" for key, words in sorted(self._words.items())]
        hidden = len(running) - _MOST_SHOWN
        return running[:_MOST_SHOWN] + ([f"{hidden} more"] if hidden > 0 else [])


class Progress:
    """Shows each trial that finishes, and what the running ones are at.

    A trial that is replayed from the records is counted, but not written again.

    Args:
        settings: the `nas_tf.search.settings.SearchSettings`.
        records: the run's `nas_tf.search.records.Records`.
        board: the `nas_tf.search.board.Board`.
        goal: the `nas_tf.rewards.Goal`.
        algorithm: the `nas_tf.algorithms.Algorithm`, whose diagnostics the board shows whenever they are new.
    """

    def __init__(self, settings, records, board, goal, algorithm):
        self._goal, self._board, self._algorithm = goal, board, algorithm
        self._diagnostics = algorithm.diagnostics
        self._replayed = {trial.id for trial in records.trials() if trial.state != "running"}
        self._best, self._best_reward, self._top = None, None, 0
        self._running = Running()
        self._bar = progress_bar(total=settings.num_trials or None, desc="trials", unit="trial", smoothing=0)

    def close(self):
        """Ends the bar. A second call does nothing."""
        self._bar.close()

    def show(self, trial):
        if trial.state == "done":
            rungs = len(trial.measurement.rungs)
            if rungs > self._top:  # networks are compared at the same rung
                self._top, self._best, self._best_reward = rungs, None, None
            if rungs == self._top:
                self._best = min(filter(None, (self._best, trial)), key=self._rank)
                self._best_reward = max(trial.reward, trial.reward if self._best_reward is None else self._best_reward)
        if not trial.note.startswith(WARM_START):
            if trial.id in self._replayed:
                self._bar.initial += 1  # it took no time now
            self._bar.update()
        self._refresh()
        self._board.suggestion(trial.tokens)
        if trial.id in self._replayed:
            self._diagnostics = self._algorithm.diagnostics
        if trial.id in self._replayed or trial.reward is None:
            return
        scalars = {"reward": trial.reward, **self._board.entropies()}
        if self._best_reward is not None:
            scalars["best_reward"] = self._best_reward
        if trial.measurement:
            scalars["accuracy"] = trial.measurement.accuracy
            if trial.measurement.standard_error is not None:
                scalars["accuracy_standard_error"] = trial.measurement.standard_error
            if trial.measurement.cost.latency:
                scalars["latency_ms"] = trial.measurement.cost.latency.latency_ms
        if self._algorithm.diagnostics is not self._diagnostics:
            self._diagnostics = self._algorithm.diagnostics
            scalars.update(self._diagnostics)
        self._board.scalars(scalars, trial.id)

    def doing(self, key, words):
        """Shows what the job of a trial is at; its key is `(trial, kind of job)`."""
        self._running.note(key, words)
        self._refresh()

    def _refresh(self):
        words = []
        if self._best is not None:
            facts = self._best.measurement
            words.append(f"best {accuracy.text(facts.accuracy, error=facts.standard_error)}")
            words += [milliseconds(facts.cost.latency.latency_ms)] if facts.cost.latency else []
        words += self._running.shown(lambda key: f"trial {key[0]}")
        self._bar.set_postfix_str(", ".join(words))

    def _rank(self, trial):
        return rank(trial.measurement.accuracy, trial.measurement.cost, self._goal)
