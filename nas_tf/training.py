"""Training one network, from the weights it has to an accuracy."""

import dataclasses
import itertools
import math
import pathlib
import time

from nas_tf import checkpoint
from nas_tf.distribution import model_type
from nas_tf.input_pipeline import with_input_pipeline
from nas_tf.quiet import progress_bar
from nas_tf.trial import DivergedTraining, InfeasibleArchitecture, UserError


@dataclasses.dataclass(frozen=True)
class Trained:
    """`setup_seconds`: until the first step was done (tracing); `step_seconds`: the median of the steps after it;
    `planned_steps`: those of the whole recipe. `history` has for each epoch that a log was asked for its `epoch`, mean
    `loss` and `accuracy` in training, `validation_accuracy`, and `seconds`."""

    accuracy: float
    train_seconds: float
    setup_seconds: float
    step_seconds: float
    planned_steps: int
    history: tuple[dict, ...] = ()


@dataclasses.dataclass(frozen=True)
class Log:
    """Where a long training keeps its state, how often, and how it is named on its progress bar.

    A training that finds the file goes on from there, and ends with the weights that it would have had without a stop.
    `asked` is a JSON-ready dict of whatever must be the same then. Validation accuracy is read after every epoch.
    `writes` is False in all but one of several processes.
    """

    path: pathlib.Path
    minutes: float = 10.0
    asked: dict = dataclasses.field(default_factory=dict)
    writes: bool = True


def train(child, dataset, recipe, *, seed=0, max_steps=None, progress=None, log=None):
    """Trains `child` on `dataset.train()` in place and gives its accuracy on `dataset.validation()` as `Trained`.

    `child` maps float32 [batch, size, size, 3] in [-1, 1] to class probabilities; images are rescaled and augmented on
    the way to it. A second output is an auxiliary head's, with a loss of its own, weighted by the recipe. `seed`
    decides the order of images; `max_steps` ends training early, for a rehearsal; `progress` names a progress bar;
    `log` is a `Log`.

    Raises:
        InfeasibleArchitecture: the loss is no longer finite, or the child does not fit into memory.
        UserError: the log's file is damaged, or of another training.
    """
    import keras

    from nas_tf.drop_path import set_total_steps

    begin = time.perf_counter()
    train_split, validation = dataset.train(), dataset.validation()
    steps_per_epoch = math.ceil(train_split.num_examples / recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch
    set_total_steps(child, steps)
    model, optimizer = compiled(child, dataset.augmentation, dataset.num_classes, recipe, steps)
    _evaluate(model, validation, recipe.batch_size, steps=1)  # makes the metrics, see `compiled`
    place = _restored(log, model)
    clock = _step_clock(max_steps, steps_per_epoch, recipe, place, progress, log, optimizer, validation)
    try:
        if place["step"] < steps:
            model.fit(
                train_split.batches(
                    recipe.batch_size, seed=seed, epochs=recipe.epochs, first_step=place["step"]
                ),
                shuffle=False, callbacks=[keras.callbacks.TerminateOnNaN(), clock], verbose=0,
            )  # fmt: skip
    except Exception as error:
        if type(error).__name__ in ("ResourceExhaustedError", "MemoryError"):
            raise InfeasibleArchitecture("The child does not fit into memory while it is trained") from error
        raise
    finally:
        clock.close()
    if not math.isfinite(clock.loss):
        raise DivergedTraining(
            f"Training diverged: the loss was {clock.loss} at step {place['step']} of {steps}"
        )
    optimizer.swap_averages()
    if log:
        reached = place["history"][-1]["validation_accuracy"]
    else:
        reached = _evaluate(model, validation, recipe.batch_size, steps=1 if max_steps else None)
    seconds = time.perf_counter() - begin
    return Trained(reached, seconds, clock.setup_seconds, clock.step_seconds, steps, tuple(place["history"]))


def compiled(child, augmentation, num_classes, recipe, steps):
    """`(keras.Model, keras.optimizers.Optimizer)`: `child` behind its input pipeline, ready for `steps` steps of
    `fit`, and the recipe's optimizer, which `model.optimizer` may hold inside another that scales the loss."""
    model = with_input_pipeline(child, augmentation, recipe, model_type())
    auxiliary_weights = [recipe.auxiliary_weight] * (len(child.outputs) - 1)
    optimizer = recipe.make_optimizer(steps, _moving_statistics(model))
    model.compile(
        optimizer=optimizer,
        loss=_loss(num_classes, auxiliary_weights, recipe.label_smoothing),
        metrics=[accuracy],
        jit_compile="auto" if _has_accelerator() else False,
    )
    # Metrics and optimizer variables that come into being inside the first training step cost a second tracing.
    model.optimizer.build(model.trainable_variables)
    return model, optimizer


def evaluate(child, split, batch_size=64):
    """float in [0, 1]: the accuracy of `child` on `Images` or a `Stream`."""
    model = with_input_pipeline(child, "none")
    model.compile(loss=_loss(child.outputs[0].shape[-1]), metrics=[accuracy], jit_compile=False)
    return _evaluate(model, split, batch_size)


def _evaluate(model, split, batch_size, steps=None):
    """float: accuracy on the images of a split, or of its first `steps` batches."""
    batches = split.batches(batch_size)
    if getattr(getattr(model, "distribute_strategy", None), "num_replicas_in_sync", 1) == 1:
        return float(model.evaluate(batches, steps=steps, verbose=0, return_dict=True)["accuracy"])
    # `evaluate` would trace anew each time; here every device judges every image, with the same result.
    model.reset_metrics()
    numbered = (batches[i] for i in range(len(batches))) if hasattr(batches, "num_batches") else batches
    for images, labels in itertools.islice(numbered, steps):
        logs = model.test_on_batch(images, labels, return_dict=True)
    return float(logs["accuracy"])


def _restored(log, model):
    """dict: the `step` that training goes on from, the `history` until there and the `metrics` of an epoch that has
    begun; the model's state is put to it."""
    place = {"step": 0, "history": [], "metrics": [], "asked": log.asked if log else {}}
    if log and (found := checkpoint.read_place(log.path)):
        for name in sorted(place["asked"].keys() | found["asked"].keys()):
            asked, was = place["asked"].get(name), found["asked"].get(name)
            if asked != was:
                raise UserError(
                    f"{log.path} is of a training with other settings: expected {name}={was}. Received: {asked}. Give "
                    "those again, or remove it to begin anew"
                )
        checkpoint.restore(log.path, model)
        place = found
    return place


def _moving_statistics(model):
    return [each for each in model.non_trainable_variables if each.name in ("moving_mean", "moving_variance")]


def _loss(num_classes, auxiliary_weights=(), label_smoothing=0.0):
    """Cross entropy of the first head, and of the others with their weights."""
    import keras

    def loss(labels, probabilities):
        one_hot = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), num_classes)
        return sum(
            weight
            * keras.losses.categorical_crossentropy(one_hot, probabilities[:, head], label_smoothing=label_smoothing)
            for head, weight in enumerate((1.0, *auxiliary_weights))
        )

    return loss


def accuracy(labels, probabilities):
    """float32 [batch]: 1 where the first head is right; the metric's name is this function's."""
    import keras

    return keras.metrics.sparse_categorical_accuracy(labels, probabilities[:, 0])


def _has_accelerator():
    import keras

    # On the CPU, XLA makes training of such children 8 to 14 times slower.
    return bool(keras.distribution.list_devices("gpu"))


def _step_clock(max_steps, steps_per_epoch, recipe, place, progress, log, optimizer, validation):
    import keras

    class StepClock(keras.callbacks.Callback):
        """Counts and times steps, shows them, judges and logs epochs, and ends training after `max_steps`."""

        def __init__(self):
            super().__init__()
            self.setup_seconds, self.loss, self._seconds = 0.0, 0.0, []
            self._saved_at = time.monotonic()
            self._bar = progress_bar(
                total=recipe.epochs * steps_per_epoch, initial=place["step"], desc=progress, unit="step",
                disable=None if progress else True,
            )  # fmt: skip

        def on_epoch_begin(self, epoch, logs=None):
            for variable, value in zip(self.model.metrics_variables, place["metrics"]):
                variable.assign(value)
            self._last = self._epoch_began_at = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            now = time.perf_counter()
            if self.setup_seconds:
                self._seconds.append(now - self._last)
            else:
                self.setup_seconds = now - self._last
            place["step"] += 1
            self._bar.update()
            ends_epoch = place["step"] % steps_per_epoch == 0
            if ends_epoch or place["step"] == max_steps or self.model.stop_training:
                self.loss = float(logs["loss"])
            if place["step"] == max_steps:
                self.model.stop_training = True
            elif ends_epoch and math.isfinite(self.loss):
                self._end_epoch({name: float(value) for name, value in logs.items()})
            elif log and time.monotonic() - self._saved_at >= 60 * log.minutes:
                self._save()
            self._last = time.perf_counter()

        def close(self):
            self._bar.close()

        def _end_epoch(self, figures):
            if log:
                optimizer.swap_averages()
                reached = _evaluate(self.model, validation, recipe.batch_size)
                optimizer.swap_averages()
                row = {
                    "epoch": place["step"] // steps_per_epoch, **figures, "validation_accuracy": reached,
                    "seconds": time.perf_counter() - self._epoch_began_at,
                }  # fmt: skip
                place["history"].append(row)
                self._bar.set_postfix(
                    epoch=row["epoch"], loss=f"{row['loss']:.3f}", validation=f"{reached:.3f}", refresh=False
                )
                self._save()
            self.model.reset_metrics()
            self._epoch_began_at = time.perf_counter()

        def _save(self):
            in_mid_epoch = place["step"] % steps_per_epoch != 0
            place["metrics"] = [float(each) for each in self.model.metrics_variables] if in_mid_epoch else []
            if log.writes:
                checkpoint.save(log.path, self.model, place)
            self._saved_at = time.monotonic()

        @property
        def step_seconds(self):
            return sorted(self._seconds)[len(self._seconds) // 2] if self._seconds else 0.0

    return StepClock()
