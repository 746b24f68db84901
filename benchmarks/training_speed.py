"""How long a training step of our MnasNet-A1 and NASNet-A mobile takes, and of the same networks in plain Keras.

Those are A1, written by hand below, and keras.applications.NASNetMobile. They train in turn, with the same images,
optimizer and loss.

python -m benchmarks.training_speed --rounds=7
"""

import dataclasses
import statistics
import time

import numpy as np

from mnas_tf.published import MnasNetA1
from nas_tf import flags
from nas_tf.quiet import import_keras
from nas_tf.settings import Settings, knob
from nas_tf.training.recipe import Recipe
from nas_tf.training.train import compiled
from nasnet_tf.published import NASNetAMobile

NUM_CLASSES = 1000
# Kernel, stride, expansion, filters, layers, squeeze-and-excitation: MnasNet-A1 (arXiv 1807.11626, figure 7).
A1_STAGES = [
    (3, 2, 6, 24, 2, False),
    (5, 2, 3, 40, 3, True),
    (3, 2, 6, 80, 4, False),
    (3, 1, 6, 112, 2, True),
    (5, 2, 6, 160, 3, True),
    (3, 1, 6, 320, 1, False),
]


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    rounds: int = knob(7, "Rounds. In each, every network is trained for some steps.")
    steps: int = knob(6, "Steps of a network in a round; their median counts.")
    batch_size: int = knob(16, "Images in a step.")
    image_size: int = knob(224, "Height and width of the images.")
    networks: tuple[str, ...] = knob(("a1", "nasnet"), "Which of the two to time.")


def plain_a1(image_size):
    """Returns MnasNet-A1 as one would write it with Keras's layers alone."""
    from keras import Input, Model, layers

    def conv_bn(x, filters, kernel_size, strides=1, relu=True):
        x = layers.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3)(x)
        return layers.ReLU()(x) if relu else x

    def depthwise(x, kernel_size, strides):
        x = layers.DepthwiseConv2D(kernel_size, strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.99, epsilon=1e-3)(x))

    inputs = Input((image_size, image_size, 3))
    x = conv_bn(inputs, 32, 3, 2)
    x = conv_bn(depthwise(x, 3, 1), 16, 1, relu=False)
    for kernel_size, stride, expansion, filters, num_layers, squeezes in A1_STAGES:
        for layer in range(num_layers):
            block, channels = x, x.shape[-1]
            x = conv_bn(x, expansion * channels, 1)
            x = depthwise(x, kernel_size, stride if layer == 0 else 1)
            if squeezes:
                means = layers.GlobalAveragePooling2D(keepdims=True)(x)
                squeezed = layers.Conv2D(channels // 4, 1, activation="relu")(means)
                x = layers.Multiply()([x, layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(squeezed)])
            x = conv_bn(x, filters, 1, relu=False)
            if layer > 0:
                x = layers.Add()([x, block])
    x = layers.GlobalAveragePooling2D()(conv_bn(x, 1280, 1))
    return Model(inputs, layers.Dense(NUM_CLASSES, activation="softmax")(layers.Dropout(0.2)(x)))


def plain(model):
    """Returns the model, compiled as in Keras's guides, for images in [-1, 1]."""
    import keras

    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def ours(model):
    recipe = Recipe(1, learning_rate=0.01, weight_decay=0.0)
    return compiled(model, "none", NUM_CLASSES, recipe, 10_000)[0]


def step_milliseconds(model, images, labels, steps):
    """Returns a list of the milliseconds of each step."""
    import keras

    class Clock(keras.callbacks.Callback):
        times = ()

        def on_train_batch_begin(self, batch, logs=None):
            self.began_at = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.times += (1e3 * (time.perf_counter() - self.began_at),)

    clock = Clock()
    batches = [np.concatenate([each] * steps) for each in (images, labels)]
    model.fit(*batches, batch_size=len(images), verbose=0, shuffle=False, callbacks=[clock])
    return list(clock.times)


def main():
    knobs = flags.read(Knobs)
    keras = import_keras()
    size, rng = knobs.image_size, np.random.default_rng(0)
    pixels = rng.integers(0, 256, (knobs.batch_size, size, size, 3), np.uint8)
    scaled = pixels.astype("float32") / 127.5 - 1
    labels = rng.integers(0, NUM_CLASSES, knobs.batch_size)
    shape = (size, size, 3)
    pairs = {
        "a1": ("MnasNet-A1", lambda: MnasNetA1(input_shape=shape), "plain Keras", lambda: plain_a1(size)),
        "nasnet": (
            "NASNet-A mobile",
            lambda: NASNetAMobile(input_shape=shape),
            "keras.applications.NASNetMobile",
            lambda: keras.applications.NASNetMobile(input_shape=shape, weights=None),
        ),
    }
    for name in knobs.networks:
        title, make_ours, rival, make_theirs = pairs[name]
        models = {"ours": (ours(make_ours()), pixels), "theirs": (plain(make_theirs()), scaled)}
        counts = {name: model.count_params() for name, (model, _) in models.items()}
        for model, images in models.values():
            step_milliseconds(model, images, labels, 2)  # traces
        rounds = {name: [] for name in models}
        for i in range(knobs.rounds):
            for which in sorted(models, reverse=i % 2 == 1):
                model, images = models[which]
                rounds[which].append(statistics.median(step_milliseconds(model, images, labels, knobs.steps)))
        one, other = (statistics.median(rounds[which]) for which in ("ours", "theirs"))
        ratios = sorted(a / b for a, b in zip(rounds["ours"], rounds["theirs"]))
        print(
            f"{title} at {size} px, {knobs.batch_size} images a step: ours {one:.0f} ms, {rival} {other:.0f} ms, ratio "
            f"{statistics.median(ratios):.3f} (rounds {ratios[0]:.3f} to {ratios[-1]:.3f}); parameters "
            f"{counts['ours']:,} and {counts['theirs']:,}"
        )
        keras.backend.clear_session()


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
