"""What a running search shows, the progress bar and TensorBoard's scalars, and the clock of `--max_hours`."""

import time

from nas_tf.quiet import progress_bar, quiet
from nas_tf.search.loop import WARM_START


class Progress:
    """Shows each trial that finishes. One that is replayed from the records is counted, but not written again."""

    def __init__(self, settings, records, tensorboard):
        self._settings, self._records = settings, records
        self._replayed = {trial.id for trial in records.trials() if trial.state != "running"}
        self._hours_before, self._begin, self._best = records.hours(), time.time(), None

        with quiet():
            from tensorboard.summary import Writer

            self._writer = Writer(str(tensorboard))
        self._bar = progress_bar(total=settings.num_trials, desc="trials", unit="trial", smoothing=0.1)

    def close(self):
        """Ends bar and writer. A second call does nothing."""
        self._bar.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def out_of_time(self):
        hours = self._hours_before + (time.time() - self._begin) / 3600
        return self._settings.max_hours is not None and hours >= self._settings.max_hours

    def show(self, trial):
        if trial.state == "done" and (self._best is None or trial.reward > self._best.reward):
            self._best = trial
        if not trial.note.startswith(WARM_START):
            self._bar.update()
        if self._best is not None:
            facts = self._best.measurement
            latency = {"latency": f"{facts.cost.latency.latency_ms:.2f} ms"} if facts.cost.latency else {}
            self._bar.set_postfix(best=f"{self._best.reward:.4f}", accuracy=f"{facts.accuracy:.3f}", **latency)
        if trial.id in self._replayed or trial.reward is None:
            return
        scalars = {"reward": trial.reward}
        if self._best is not None:
            scalars["best_reward"] = self._best.reward
        if trial.measurement:
            scalars["accuracy"] = trial.measurement.accuracy
            if trial.measurement.cost.latency:
                scalars["latency_ms"] = trial.measurement.cost.latency.latency_ms
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, trial.id)
        self._writer.flush()
