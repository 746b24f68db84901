"""Training one network, from the weights it has to an accuracy."""

import contextlib
import dataclasses
import functools
import math
import pathlib
import time

import numpy as np

from nas_tf import resume
from nas_tf.accuracy import standard_error
from nas_tf.bars import doing
from nas_tf.datasets import drawn
from nas_tf.training import checkpoint
from nas_tf.training.evaluate import accuracy, accuracy_on, make_loss
from nas_tf.training.input_pipeline import with_input_pipeline
from nas_tf.training.machine import model_type
from nas_tf.trial import DivergedTraining, InfeasibleArchitecture

_TRIED_STEPS, _TRIED_IMAGES = 40, 500  # at most, of each of two learning rates
_TRIED_SHARE = 1 / 12  # of all steps, at most, that each of them is tried for


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        accuracy: on the validation split, in [0, 1].
        train_seconds: of all of it, reading the images and the validation accuracy included.
        setup_seconds: until the first step was done (tracing).
        step_seconds: the median of the steps after it.
        planned_steps, planned_epochs: of the whole recipe.
        standard_error: of the accuracy; None where it is not known.
        learning_rate: the peak that was used; None where it is not known.
        history: a dict for each epoch if there was a `Log`: `epoch`, mean `loss` and `accuracy` in training,
            `validation_accuracy` and `seconds`.
    """

    accuracy: float
    train_seconds: float
    setup_seconds: float
    step_seconds: float
    planned_steps: int
    history: tuple[dict, ...] = ()
    standard_error: float | None = None
    learning_rate: float | None = None
    planned_epochs: int | None = None


@dataclasses.dataclass(frozen=True)
class Log:
    """Where a long training keeps its state, and how often. Validation accuracy is read after every epoch.

    A training that finds the file goes on from there, and ends with the weights that it would have had without a stop.

    Attributes:
        path: of the file.
        minutes: between checkpoints. There is one after every epoch, too.
        asked: JSON-ready dict of all that must be the same when it goes on.
        writes: False in all but one of several processes.
    """

    path: pathlib.Path
    minutes: float = 10.0
    asked: dict = dataclasses.field(default_factory=dict)
    writes: bool = True


def train(child, dataset, recipe, *, seed=0, max_steps=None, progress=None, log=None, teacher=None):
    """Trains `child` on `dataset.train()` in place and returns its accuracy on `dataset.validation()` as `Trained`.

    Args:
        child: `keras.Model` from float32 [batch, size, size, 3] in [-1, 1] to class probabilities. Images are rescaled
            and augmented on the way to it. A second output is an auxiliary head's: it has its own loss, which the
            recipe weights.
        dataset: `nas_tf.datasets.Dataset`.
        recipe: `nas_tf.training.recipe.Recipe`.
        seed: decides the order of images.
        max_steps: ends training early, for a rehearsal.
        progress: what the progress bar is called; None: no bar.
        log: `Log`, or None.
        teacher: `keras.Model` of the same classes whose probabilities `child` learns too, or None.

    Raises:
        InfeasibleArchitecture: the loss is no longer finite, or the child does not fit into memory.
        UserError: the log's file is damaged, or belongs to another training.
    """
    from nas_tf.networks.drop_path import set_total_steps

    begin = time.perf_counter()
    doing("reading images")
    train_split, validation = dataset.train(), dataset.validation()
    doing("tracing")
    steps_per_epoch = math.ceil(train_split.num_examples / recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch
    set_total_steps(child, steps)
    with _frozen_batch_norm(child) if recipe.batch_norm == "frozen" else contextlib.nullcontext():
        model, optimizer = compiled(child, dataset.augmentation, dataset.num_classes, recipe, steps, teacher)
        accuracy_on(model, validation, recipe.batch_size, steps=1)  # makes the metrics, see `compiled`
        place = _restored(log, model)
        fit = functools.partial(_fit, model, train_split, validation, recipe, optimizer, seed)
        if place.learning_rate is None:
            place.learning_rate = recipe.peak_learning_rate
            if recipe.other_learning_rate and place.step == 0 and not max_steps:
                place.learning_rate = _better_rate(fit, model, validation, recipe, optimizer, steps)
        if recipe.other_learning_rate:
            optimizer.schedule.change(place.learning_rate)
        clock = fit(place, log, max_steps, progress)
        if not math.isfinite(clock.loss):
            raise DivergedTraining(f"Training diverged: the loss was {clock.loss} at step {place.step} of {steps}")
        optimizer.swap_averages()
        doing("validating")
        if log:
            reached = place.history[-1]["validation_accuracy"]
        else:
            reached = accuracy_on(model, validation, recipe.batch_size, steps=1 if max_steps else None)
    return Trained(
        accuracy=reached,
        train_seconds=time.perf_counter() - begin,
        setup_seconds=clock.setup_seconds,
        step_seconds=clock.step_seconds,
        planned_steps=steps,
        history=tuple(place.history),
        standard_error=standard_error(reached, validation.num_examples),
        learning_rate=place.learning_rate,
        planned_epochs=recipe.epochs,
    )


def _fit(model, train_split, validation, recipe, optimizer, seed, place, log=None, max_steps=None, progress=None):
    """Trains the compiled `model` from a `Place` on, and returns the `StepClock` that moved it."""
    import keras

    from nas_tf.training._clock import StepClock

    steps_per_epoch = math.ceil(train_split.num_examples / recipe.batch_size)
    clock = StepClock(place, steps_per_epoch, recipe, optimizer, validation, log, max_steps, progress)
    try:
        if place.step < recipe.epochs * steps_per_epoch:
            batches = train_split.batches(recipe.batch_size, seed=seed, epochs=recipe.epochs, first_step=place.step)
            model.fit(batches, shuffle=False, callbacks=[keras.callbacks.TerminateOnNaN(), clock], verbose=0)
    except Exception as error:
        if type(error).__name__ in ("ResourceExhaustedError", "MemoryError"):
            raise InfeasibleArchitecture("The child does not fit into memory while it is trained") from error
        raise
    finally:
        clock.close()
    return clock


def _better_rate(fit, model, validation, recipe, optimizer, steps):
    """Returns the better of a recipe's two learning rates after a few steps of each; the model is then as before."""
    from nas_tf.training._clock import Place

    doing("trying two learning rates")
    tried_steps = max(1, min(_TRIED_STEPS, round(_TRIED_SHARE * steps)))
    before = checkpoint.values(model)
    images, found = drawn(validation, _TRIED_IMAGES), {}
    for rate in (recipe.learning_rate, recipe.other_learning_rate):
        optimizer.schedule.change(rate, tried_steps)
        clock = fit(Place(), max_steps=tried_steps)
        optimizer.swap_averages()
        reached = accuracy_on(model, images, recipe.batch_size)
        is_finite = all(np.isfinite(value).all() for value in checkpoint.values(model).values())
        found[rate] = reached if is_finite and math.isfinite(clock.loss) else -1.0
        checkpoint.put(model, before)
    return max(found, key=found.get)


@contextlib.contextmanager
def _frozen_batch_norm(network):
    """Inside it, batch normalisation keeps its statistics, scales and offsets."""
    import keras

    frozen = [
        layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    for layer in frozen:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in frozen:
            layer.trainable = True


def compiled(child, augmentation, num_classes, recipe, steps, teacher=None):
    """Puts `child` behind its input pipeline and compiles it.

    Args:
        child: as `train` takes it.
        augmentation: what the data set allows.
        num_classes: classes of the data set.
        recipe: `nas_tf.training.recipe.Recipe`.
        steps: steps of `fit` in all.
        teacher: as `train` takes it.

    Returns:
        `(keras.Model, keras.optimizers.Optimizer)`: the model, and the recipe's optimizer. `model.optimizer` may hold
        this inside another one, which scales the loss.
    """
    model = with_input_pipeline(child, augmentation, recipe, model_type(), teacher)
    auxiliary_weights = [recipe.auxiliary_weight] * (len(child.outputs) - 1)
    optimizer = recipe.make_optimizer(steps, _moving_statistics(model))
    model.compile(
        optimizer=optimizer,
        loss=make_loss(
            num_classes, auxiliary_weights, recipe.label_smoothing, None if teacher is None else recipe.teacher_weight
        ),
        metrics=[accuracy],
        jit_compile="auto" if _has_accelerator() else False,
    )
    # Metrics and optimizer variables that are made inside the first training step cost a second tracing.
    model.optimizer.build(model.trainable_variables)
    return model, optimizer


def _restored(log, model):
    """Returns the `Place` that training goes on from, and puts the model into its state there."""
    from nas_tf.training._clock import Place

    if log is None:
        return Place()
    found = checkpoint.read_place(log.path)
    if found is None:
        return Place(asked=log.asked)
    place = Place(**found)
    resume.refuse_other_settings(log.path, place.asked, log.asked, instead="remove it to begin anew")
    checkpoint.restore(log.path, model)
    return place


def _moving_statistics(model):
    return [each for each in model.non_trainable_variables if each.name in ("moving_mean", "moving_variance")]


def _has_accelerator():
    import keras

    # On the CPU, XLA makes training of such children 8 to 14 times slower.
    return bool(keras.distribution.list_devices("gpu"))
