"""The callback that counts and times training steps, shows them, judges epochs and saves checkpoints.

It imports Keras at its top: it is imported where a network is trained.
"""

import dataclasses
import math
import time

import keras

from nas_tf.bars import doing, progress_bar
from nas_tf.training import checkpoint
from nas_tf.training.evaluate import accuracy_on

_SAID_SECONDS = 0.5  # between two words on where it stands


@dataclasses.dataclass
class Place:
    """Where a training stands.

    Attributes:
        step: steps done.
        history: a row for each epoch done.
        metrics: values of the metrics' variables, if an epoch has begun.
        asked: what decides the training (`nas_tf.training.train.Log.asked`).
        learning_rate: the peak; None until it is chosen.
    """

    step: int = 0
    history: list = dataclasses.field(default_factory=list)
    metrics: list = dataclasses.field(default_factory=list)
    asked: dict = dataclasses.field(default_factory=dict)
    learning_rate: float | None = None


class StepClock(keras.callbacks.Callback):
    """Moves a `Place` on, step by step, and ends training after `max_steps`.

    Attributes:
        setup_seconds: seconds until the first step was done.
        loss: the loss that was read last.

    Args:
        place: the `Place` to move on from.
        steps_per_epoch: steps in an epoch.
        recipe: the `nas_tf.training.recipe.Recipe`.
        optimizer: the recipe's optimizer, whose averages are judged.
        validation: the split that is read after each epoch, if there is a log.
        log: `nas_tf.training.train.Log`, or None.
        max_steps: steps after which training ends early, or None.
        progress: what the progress bar is called; None: no bar.
    """

    def __init__(self, place, steps_per_epoch, recipe, optimizer, validation, log=None, max_steps=None, progress=None):
        super().__init__()
        self._place, self._steps_per_epoch, self._max_steps = place, steps_per_epoch, max_steps
        self._batch_size, self._optimizer, self._validation, self._log = recipe.batch_size, optimizer, validation, log
        self.setup_seconds, self.loss, self._seconds = 0.0, 0.0, []
        self._saved_at, self._said_at = time.monotonic(), 0.0
        self._epochs, self._steps = recipe.epochs, recipe.epochs * steps_per_epoch
        self._bar = progress_bar(
            total=self._steps,
            initial=place.step,
            desc=progress,
            unit="step",
            disable=None if progress else True,
        )

    def on_epoch_begin(self, epoch, logs=None):
        for variable, value in zip(self.model.metrics_variables, self._place.metrics):
            variable.assign(value)
        self._last = self._epoch_began_at = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if self.setup_seconds:
            self._seconds.append(now - self._last)
        else:
            self.setup_seconds = now - self._last
        self._place.step += 1
        self._bar.update()
        step = self._place.step
        if now - self._said_at >= _SAID_SECONDS:
            self._said_at = now
            epoch = (step - 1) // self._steps_per_epoch + 1
            doing(f"epoch {epoch}/{self._epochs}, {step:,}/{self._max_steps or self._steps:,} steps")
        ends_epoch = step % self._steps_per_epoch == 0
        if ends_epoch or step == self._max_steps or self.model.stop_training:
            self.loss = float(logs["loss"])
        if step == self._max_steps:
            self.model.stop_training = True
        elif ends_epoch and math.isfinite(self.loss):
            self._end_epoch({name: float(value) for name, value in logs.items()})
        elif self._log and time.monotonic() - self._saved_at >= 60 * self._log.minutes:
            self._save()
        self._last = time.perf_counter()

    def close(self):
        self._bar.close()

    def _end_epoch(self, figures):
        if self._log:
            self._optimizer.swap_averages()
            judged = self._judged()
            self._optimizer.swap_averages()
            row = {
                "epoch": self._place.step // self._steps_per_epoch,
                **figures,
                **judged,
                "seconds": time.perf_counter() - self._epoch_began_at,
            }
            self._place.history.append(row)
            reached = next(iter(judged.values()))
            self._bar.set_postfix(
                epoch=row["epoch"], loss=f"{row['loss']:.3f}", validation=f"{reached:.3f}", refresh=False
            )
            self._save()
        self.model.reset_metrics()
        self._epoch_began_at = time.perf_counter()

    def _judged(self):
        """Returns a dict of the figures that are read after an epoch, the one that the bar shows first."""
        return {"validation_accuracy": accuracy_on(self.model, self._validation, self._batch_size)}

    def _save(self):
        in_mid_epoch = self._place.step % self._steps_per_epoch != 0
        self._place.metrics = [float(each) for each in self.model.metrics_variables] if in_mid_epoch else []
        if self._log.writes:
            checkpoint.save(self._log.path, self.model, dataclasses.asdict(self._place))
        self._saved_at = time.monotonic()

    @property
    def step_seconds(self):
        """float: the median seconds of the steps after the first."""
        return sorted(self._seconds)[len(self._seconds) // 2] if self._seconds else 0.0
