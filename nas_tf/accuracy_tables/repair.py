"""One block that should give the same maps as a parent's: how far it is from that, and how it is trained for it.

Batch normalisation keeps its statistics, which are fitted to the block's own maps already: those of small batches would
be worse. Measured on EfficientNet-Lite0's block 5 at 64 px, two layers in place of three, 300 steps: from a loss of
0.073 to 0.050 (rate 1e-3), and with statistics of batches to 0.101 (rate 3e-3). Its scales and offsets stay too
(trained, they made blocks worse that were exact before), but for those of a layer that begins by adding nothing: it
would never add anything.
"""

import dataclasses

import numpy as np

from nas_tf.settings import Settings, knob

_BATCH = 64
_LEAST_DEVIATION = 1e-3  # of the mean deviation of channels: one that hardly varies does not decide


@dataclasses.dataclass(frozen=True)
class Repair(Settings):
    """How a block is trained to give the maps of its parent's."""

    repair_steps: int = knob(150, "Training steps of a block.", least=0)
    repair_batch_size: int = knob(32, "Images in a step.", least=1)
    repair_learning_rate: float = knob(2e-3, "Peak of AdamW.", above=0)


@dataclasses.dataclass(frozen=True)
class Maps:
    """What a parent's block reads and gives.

    Attributes:
        inputs, outputs: [images, height, width, channels], in half precision; the images are the parent's own.
        num_tested: so many of them, the last, are not trained on.
        deviation: float32 [channels] of the outputs.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    num_tested: int
    deviation: np.ndarray

    @classmethod
    def of(cls, inputs, outputs, num_tested):
        deviation = np.sqrt(outputs.astype("float32").var((0, 1, 2)))
        return cls(inputs, outputs, num_tested, np.maximum(deviation, _LEAST_DEVIATION * deviation.mean() + 1e-12))

    @property
    def tested(self):
        """`(inputs, outputs)` that are not trained on, float32."""
        return tuple(each[-self.num_tested :].astype("float32") for each in (self.inputs, self.outputs))


def loss(given, maps):
    """Returns the mean squared error of what a block gives of the tested images, in variances of each channel."""
    return float(np.square((given - maps.tested[1]) / maps.deviation).mean())


def repaired(block, maps, settings, seed):
    """Trains a block, a `keras.Model` from map to map, in place."""
    import keras

    steps, size = settings.repair_steps, settings.repair_batch_size
    if not steps:
        return
    frozen = [
        layer
        for layer in block.layers
        if isinstance(layer, keras.layers.BatchNormalization) and np.any(layer.get_weights()[0])
    ]
    for layer in frozen:
        layer.trainable = False
    read = keras.Input(block.input_shape[1:])
    in_use = keras.Model(read, block(read, training=False))
    deviation = keras.ops.convert_to_tensor(maps.deviation)

    def distance(wanted, given):
        return keras.ops.mean(keras.ops.square((given - wanted) / deviation), axis=(1, 2, 3))

    warmup = max(1, steps // 10)
    peak = settings.repair_learning_rate
    schedule = keras.optimizers.schedules.CosineDecay(
        peak / warmup, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup
    )
    in_use.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-4), distance, jit_compile=False)
    count = len(maps.inputs) - maps.num_tested
    rng, order = np.random.default_rng(seed), np.empty(0, int)
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(count)
        chosen, order = order[:size], order[size:]
        in_use.train_on_batch(maps.inputs[chosen].astype("float32"), maps.outputs[chosen].astype("float32"))
    for layer in frozen:
        layer.trainable = True


def outputs(function, inputs):
    """Returns what a traced function gives of arrays, batch by batch, float32."""
    parts = [function(inputs[first : first + _BATCH].astype("float32")) for first in range(0, len(inputs), _BATCH)]
    return np.concatenate(parts)


def divergence(parents, others):
    """Returns the mean Kullback-Leibler divergence of a parent's answers from others, in nats.

    Args:
        parents, others: probabilities, float [n, classes].
    """
    least = 1e-7
    return float((parents * (np.log(parents + least) - np.log(others + least))).sum(1).mean())
