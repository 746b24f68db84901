"""DropPath, and the count of training steps that its schedule follows, as Keras layers.

This module imports Keras at its top, because a `.keras` file with these layers needs them as classes. Builders import
it where they need it.
"""

import keras

from nas_tf.trial import UserError


@keras.saving.register_keras_serializable(package="nas_tf")
class TrainingProgress(keras.layers.Layer):
    """Returns the fraction of training that is done, float32 [], whatever its input is.

    The fraction is 0 in the first step and 1 beyond the last one. Each call with `training=True` is a step.

    Attributes:
        step: steps so far, a weight, so that a saved model continues where it stopped.
        total_steps: steps in all, also a weight, because a network is built before it is known how long it is trained.
            At first it is 0, and then the fraction stays 0.
    """

    def build(self, input_shape):
        count = {"shape": (), "dtype": "int32", "initializer": "zeros", "trainable": False}
        self.step, self.total_steps = (
            self.add_weight(name=name, aggregation="only_first_replica", **count) for name in ("step", "total_steps")
        )

    def call(self, inputs, training=False):
        step, total = (keras.ops.cast(weight, "float32") for weight in (self.step.value, self.total_steps.value))
        if training:
            self.step.assign_add(1)
        return keras.ops.minimum(step / keras.ops.maximum(total, 1.0), 1.0) * keras.ops.cast(total > 0, "float32")

    def compute_output_spec(self, inputs, training=False):
        return keras.KerasTensor((), dtype="float32")


@keras.saving.register_keras_serializable(package="nas_tf")
class DropPath(keras.layers.Layer):
    """Sets a path to zero for some examples of a batch while training; it does nothing at inference.

    The other examples are scaled up, so that the expectation stays the same. Called with a path [batch, ...], it keeps
    an example with probability `keep`. Called with `(path, progress)`, where `progress` is a float32 scalar from 0 to
    1, it keeps an example with probability `1 - progress x (1 - keep)`. This is ScheduledDropPath (arXiv 1707.07012,
    section 3).

    Args:
        keep: the probability.
        seed: of the random numbers.
        **kwargs: as for `keras.layers.Layer`.

    Raises:
        UserError: `keep` is not above 0 and at most 1.
    """

    def __init__(self, keep, seed=None, **kwargs):
        super().__init__(autocast=False, **kwargs)  # under mixed precision, progress stays float32
        check_keep(keep)
        self.keep, self.seed = float(keep), seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        path, progress = inputs if isinstance(inputs, (list, tuple)) else (inputs, 1.0)
        if not training or self.keep == 1.0:
            return path
        keep = 1.0 - progress * (1.0 - self.keep)
        shape = (keras.ops.shape(path)[0],) + (1,) * (len(path.shape) - 1)
        kept = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator) < keep
        return path * keras.ops.cast(keras.ops.cast(kept, "float32") / keep, path.dtype)

    def compute_output_spec(self, inputs, training=False):
        path = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
        return keras.KerasTensor(path.shape, dtype=path.dtype)

    def get_config(self):
        return {**super().get_config(), "keep": self.keep, "seed": self.seed}


def check_keep(keep):
    """Raises `UserError` unless `keep`, the probability that a drop path keeps an example, is above 0 and at most 1."""
    if isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 < keep <= 1:
        raise UserError(f"Expected drop_path_keep to be above 0 and at most 1. Received: drop_path_keep={keep!r}")


def set_total_steps(model, total_steps):
    """Tells all schedules in `model` that training takes `total_steps` steps."""
    for layer in model._flatten_layers():
        if isinstance(layer, TrainingProgress):
            layer.total_steps.assign(total_steps)
