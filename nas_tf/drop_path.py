"""DropPath, and the count of training steps that drives its schedule, as Keras layers.

The one module that imports Keras at its top: a `.keras` file that holds these layers needs them as classes. Builders
import it where they need it.
"""

import keras

from nas_tf.trial import UserError


@keras.saving.register_keras_serializable(package="nas_tf")
class TrainingProgress(keras.layers.Layer):
    """Gives the fraction of training that is done, float32 [], whatever its input: 0 in the first of `total_steps`.

    The count is a weight, so that a saved model goes on where it stood; each call with `training=True` is a step.
    `total_steps` is a weight too: a network is built before anyone knows how long it will be trained. At 0, as it is
    made, and beyond the last step, nothing moves any more: the fraction is 0 and 1.
    """

    def build(self, input_shape):
        self.step, self.total_steps = (
            self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name=name,
                            aggregation="only_first_replica")
            for name in ("step", "total_steps")
        )  # fmt: skip

    def call(self, inputs, training=False):
        step, total = (keras.ops.cast(weight, "float32") for weight in (self.step.value, self.total_steps.value))
        if training:
            self.step.assign_add(1)
        return keras.ops.minimum(step / keras.ops.maximum(total, 1.0), 1.0) * keras.ops.cast(total > 0, "float32")

    def compute_output_spec(self, inputs, training=False):
        return keras.KerasTensor((), dtype="float32")


@keras.saving.register_keras_serializable(package="nas_tf")
class DropPath(keras.layers.Layer):
    """Sets a path to zero for some examples of a batch while training, and scales up the others so that the
    expectation stays; at inference it does nothing.

    Called with a path [batch, ...], an example is kept with probability `keep`. Called with `(path, progress)`, where
    progress is a float32 scalar from 0 to 1, with probability `1 - progress x (1 - keep)`: ScheduledDropPath (arXiv
    1707.07012, section 3).

    Raises:
        UserError: `keep` is outside (0, 1].
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
    """Raises `UserError` unless `keep`, a drop path's probability to keep an example, is above 0 and at most 1."""
    if isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 < keep <= 1:
        raise UserError(f"Expected drop_path_keep to be above 0 and at most 1. Received: drop_path_keep={keep!r}")


def set_total_steps(model, total_steps):
    """Tells the schedules inside `model`, if it has any, that training takes `total_steps` steps."""
    for layer in model._flatten_layers():
        if isinstance(layer, TrainingProgress):
            layer.total_steps.assign(total_steps)
