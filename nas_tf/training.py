"""Training one child, from random weights to an accuracy."""

import dataclasses
import math
import time

from nas_tf.datasets import Images
from nas_tf.quiet import progress_bar
from nas_tf.trial import InfeasibleArchitecture


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
    the way to it. A second output is an auxiliary head's, with a loss of its own, weighted by the recipe. `max_steps`
    ends training early, for a rehearsal; `progress` names a progress bar.

    Raises:
        InfeasibleArchitecture: the loss is no longer finite, or the child does not fit into memory.
    """
    import keras

    from nas_tf.drop_path import set_total_steps

    begin = time.perf_counter()
    train_split, validation = dataset.train(), dataset.validation()
    steps = recipe.epochs * math.ceil(train_split.num_examples / recipe.batch_size)
    set_total_steps(child, steps)
    model = _with_input_pipeline(child, dataset.augmentation, recipe.cutout_fraction)
    auxiliary_weights = [recipe.auxiliary_weight] * (len(child.outputs) - 1)
    model.compile(
        optimizer=recipe.make_optimizer(steps),
        loss=_loss(dataset.num_classes, auxiliary_weights, recipe.label_smoothing),
        metrics=[accuracy],
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
    reached = _evaluate(model, validation, recipe.batch_size, steps=1 if max_steps else None)
    return Trained(reached, time.perf_counter() - begin, clock.setup_seconds, clock.step_seconds, steps)


def evaluate(child, split, batch_size=64):
    """float in [0, 1]: the accuracy of `child` on `Images` or a `Stream`."""
    model = _with_input_pipeline(child, "none")
    model.compile(loss=_loss(child.outputs[0].shape[-1]), metrics=[accuracy], jit_compile=False)
    return _evaluate(model, split, batch_size)


def _evaluate(model, split, batch_size, steps=None):
    if isinstance(split, Images):
        data = {"x": split.images, "y": split.labels, "batch_size": batch_size}
    else:
        data = {"x": split.batches(batch_size, False)}
    return float(model.evaluate(**data, steps=steps, verbose=0, return_dict=True)["accuracy"])


def _with_input_pipeline(child, augmentation, cutout_fraction=0.0):
    """uint8-valued images in, probabilities float32 [batch, heads, classes] out, heads the outputs of `child`: rescaled
    to [-1, 1], augmented while training, then `child`."""
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
    if cutout_fraction:
        area = (cutout_fraction**2,) * 2
        layers = layers + [
            keras.layers.RandomErasing((1.0, 1.0), area, fill_value=0.0, value_range=(-1.0, 1.0), name="cutout")
        ]
    inputs = keras.Input(child.inputs[0].shape[1:], name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(inputs)
    for layer in layers:
        x = layer(x)
    outputs = child(x)
    heads = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return keras.Model(inputs, keras.ops.stack(heads, axis=1))


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
