"""Training one child, from random weights to an accuracy."""

import dataclasses
import math
import time

from nas_tf.datasets import Images
from nas_tf.flags import knob
from nas_tf.quiet import progress_bar
from nas_tf.trial import InfeasibleArchitecture, UserError


@dataclasses.dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum, linear warm-up and one cosine: a short recipe that suits every child alike.

    It is neither paper's: MnasNet's proxy is 5 epochs of ImageNet with its full recipe (section 4), NASNet's 20 epochs
    of CIFAR-10 with momentum and a cosine (appendix A.3).
    """

    epochs: int
    batch_size: int = 32
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    warmup_fraction: float = 0.1

    def __post_init__(self):
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0 or not math.isfinite(getattr(self, name)):
                raise UserError(f"Expected {name} > 0 for training. Received: {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class ProxyRecipe:
    """The knobs of a search's own training; the rest of `Recipe` stays at its defaults."""

    proxy_epochs: int = knob(5, "Epochs for which each child is trained.")
    proxy_batch_size: int = knob(32, "Images in a training step of a child.")
    proxy_learning_rate: float = knob(0.02, "Peak learning rate of a child's cosine schedule.")

    @property
    def recipe(self):
        return Recipe(self.proxy_epochs, self.proxy_batch_size, self.proxy_learning_rate)


@dataclasses.dataclass(frozen=True)
class Trained:
    """`setup_seconds`: until the first step was done (tracing); `step_seconds`: the median of the steps after it;
    `planned_steps`: those of the whole recipe."""

    accuracy: float
    train_seconds: float
    setup_seconds: float
    step_seconds: float
    planned_steps: int


def train(child, dataset, recipe, *, max_steps=None, progress=None):
    """Trains `child` on `dataset.train()` in place and gives its accuracy on `dataset.validation()` as `Trained`.

    `child` maps float32 [batch, size, size, 3] in [-1, 1] to class probabilities; images are rescaled and augmented on
    the way to it. `max_steps` ends training early, for a rehearsal; `progress` names a progress bar.

    Raises:
        InfeasibleArchitecture: the loss is no longer finite, or the child does not fit into memory.
    """
    import keras

    begin = time.perf_counter()
    train_split, validation = dataset.train(), dataset.validation()
    steps = recipe.epochs * math.ceil(train_split.num_examples / recipe.batch_size)
    model = _with_input_pipeline(child, dataset.augmentation)
    model.compile(
        optimizer=_optimizer(recipe, steps),
        loss="sparse_categorical_crossentropy" if not recipe.label_smoothing else _smoothed_loss(recipe, dataset),
        metrics=["accuracy"],
        jit_compile="auto" if _has_accelerator() else False,
    )
    clock = _step_clock(max_steps, steps, progress)
    callbacks = [keras.callbacks.TerminateOnNaN(), clock]
    try:
        # Metrics and optimizer variables that come into being inside the first training step cost a second tracing.
        model.optimizer.build(model.trainable_variables)
        _evaluate(model, validation, recipe.batch_size, steps=1)
        if isinstance(train_split, Images):
            history = model.fit(
                train_split.images, train_split.labels, batch_size=recipe.batch_size, epochs=recipe.epochs,
                shuffle=True, callbacks=callbacks, verbose=0,
            )  # fmt: skip
        else:
            history = model.fit(
                train_split.batches(recipe.batch_size, True), epochs=recipe.epochs,
                shuffle=False, callbacks=callbacks, verbose=0,
            )  # fmt: skip
    except Exception as error:
        if type(error).__name__ in ("ResourceExhaustedError", "MemoryError"):
            raise InfeasibleArchitecture("The child does not fit into memory while it is trained") from error
        raise
    loss = history.history["loss"][-1]
    if not math.isfinite(loss):
        raise InfeasibleArchitecture(f"Training diverged: the loss was {loss} at step {clock.num_steps} of {steps}")
    accuracy = _evaluate(model, validation, recipe.batch_size, steps=1 if max_steps else None)
    return Trained(accuracy, time.perf_counter() - begin, clock.setup_seconds, clock.step_seconds, steps)


def evaluate(child, split, batch_size=64):
    """float in [0, 1]: the accuracy of `child` on `Images` or a `Stream`."""
    model = _with_input_pipeline(child, "none")
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return _evaluate(model, split, batch_size)


def _evaluate(model, split, batch_size, steps=None):
    if isinstance(split, Images):
        data = {"x": split.images, "y": split.labels, "batch_size": batch_size}
    else:
        data = {"x": split.batches(batch_size, False)}
    return float(model.evaluate(**data, steps=steps, verbose=0, return_dict=True)["accuracy"])


def _with_input_pipeline(child, augmentation):
    """uint8-valued images in, probabilities out: rescaled to [-1, 1], augmented while training, then `child`."""
    import keras

    layers = {
        "none": [],
        "shift": [keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", name="shift")],
        "shift_flip": [
            keras.layers.RandomTranslation(0.125, 0.125, fill_mode="constant", name="shift"),
            keras.layers.RandomFlip("horizontal", name="flip"),
        ],
        "crop_flip": [
            keras.layers.RandomZoom((-0.5, 0.0), (-0.5, 0.0), fill_mode="nearest", name="zoom"),
            keras.layers.RandomTranslation(0.2, 0.2, fill_mode="nearest", name="shift"),
            keras.layers.RandomFlip("horizontal", name="flip"),
        ],
    }[augmentation]
    inputs = keras.Input(child.inputs[0].shape[1:], name="pixels")
    outputs = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(inputs)
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, child(outputs))


def _optimizer(recipe, steps):
    import keras

    warmup_steps = max(1, int(steps * recipe.warmup_fraction))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / warmup_steps,
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=recipe.learning_rate,
        warmup_steps=warmup_steps,
    )
    optimizer = keras.optimizers.SGD(
        schedule, momentum=recipe.momentum, nesterov=True, weight_decay=recipe.weight_decay or None
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _smoothed_loss(recipe, dataset):
    import keras

    def loss(labels, probabilities):
        one_hot = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), dataset.num_classes)
        return keras.losses.categorical_crossentropy(one_hot, probabilities, label_smoothing=recipe.label_smoothing)

    return loss


def _has_accelerator():
    import keras

    # On the CPU, XLA makes training of such children 8 to 14 times slower.
    return bool(keras.distribution.list_devices("gpu"))


def _step_clock(max_steps, planned_steps, progress):
    import keras

    class StepClock(keras.callbacks.Callback):
        """Times steps, shows them, and ends training after `max_steps`."""

        def __init__(self):
            super().__init__()
            self.num_steps, self.setup_seconds, self._seconds = 0, 0.0, []
            self._bar = progress_bar(
                total=planned_steps, desc=progress, unit="step", disable=None if progress else True
            )

        def on_train_begin(self, logs=None):
            self._last = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            now = time.perf_counter()
            if self.num_steps == 0:
                self.setup_seconds = now - self._last
            else:
                self._seconds.append(now - self._last)
            self._last, self.num_steps = now, self.num_steps + 1
            self._bar.update()
            if self.num_steps == max_steps:
                self.model.stop_training = True

        def on_epoch_end(self, epoch, logs=None):
            self._bar.set_postfix({name: f"{value:.3f}" for name, value in (logs or {}).items()}, refresh=False)

        def on_train_end(self, logs=None):
            self._bar.close()

        @property
        def step_seconds(self):
            return sorted(self._seconds)[len(self._seconds) // 2] if self._seconds else 0.0

    return StepClock()
