"""How long NASNet-A large and keras.applications.NASNetLarge take to build and run, in turn.

And how long a candidate of the search takes from its tokens to its first training step.

python -m benchmarks.nasnet_speed --repeats=5
"""

import dataclasses
import statistics
import time

import numpy as np

from nas_tf import flags
from nas_tf.datasets import Images
from nas_tf.quiet import import_keras
from nas_tf.settings import Settings, knob
from nas_tf.training.recipe import Recipe
from nas_tf.training.train import train
from nasnet_tf import published
from nasnet_tf.spaces.nasnet import SPACE, Scale


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    repeats: int = knob(5, "Times that each is built and run.")
    batch_size: int = knob(8, "Images in a forward pass.")
    image_size: int = knob(331, "Height and width of these images.")
    candidates: int = knob(5, "Random cells that are brought to their first training step.")


class Noise:
    """Random images for two steps, of which only the first is run."""

    augmentation, num_classes = "shift_flip", 10

    def train(self):
        rng = np.random.default_rng(0)
        return Images(rng.integers(0, 256, (64, 32, 32, 3), np.uint8), rng.integers(0, 10, 64).astype(np.int32))

    validation = train


def seconds(function):
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def against_keras(knobs):
    keras = import_keras()
    shape = (knobs.image_size, knobs.image_size, 3)
    makers = {
        "ours": lambda: published.NASNetALarge(input_shape=shape),
        "keras.applications": lambda: keras.applications.NASNetLarge(input_shape=shape, weights=None),
    }
    images = np.random.default_rng(0).uniform(-1, 1, (knobs.batch_size, *shape)).astype("float32")
    built, run = {name: [] for name in makers}, {name: [] for name in makers}
    for make in makers.values():
        make()  # the first of each loads what Keras loads late
    for repeat in range(knobs.repeats):
        for name in sorted(makers, reverse=repeat % 2 == 1):
            keras.backend.clear_session()
            built[name].append(seconds(makers[name])[0])
    keras.backend.clear_session()
    models = {name: make() for name, make in makers.items()}
    for model in models.values():
        model.compile(jit_compile=False)
        model.predict_on_batch(images)
    for repeat in range(knobs.repeats):
        for name in sorted(models, reverse=repeat % 2 == 1):
            run[name].append(seconds(lambda name=name: models[name].predict_on_batch(images))[0])
    for what, times in ((f"built at {knobs.image_size} px", built), (f"run on {knobs.batch_size} images", run)):
        ours, theirs = (statistics.median(times[name]) for name in makers)
        print(f"NASNet-A large {what}: {ours:.2f} s, keras.applications {theirs:.2f} s, ratio {ours / theirs:.3f}")


def candidates(knobs):
    keras, rng, all_seconds = import_keras(), np.random.default_rng(0), []
    for _ in range(knobs.candidates):
        keras.backend.clear_session()
        begin = time.perf_counter()
        architecture = SPACE.decode(tuple(int(rng.integers(count)) for count in SPACE.num_choices))
        child = SPACE.build(architecture, Scale(32, 10, 1, 8, "cifar", bn_momentum=0.9))
        build_seconds = time.perf_counter() - begin
        all_seconds.append(build_seconds + train(child, Noise(), Recipe(1), max_steps=1).train_seconds)
    print(
        f"a candidate (N = 1, F = 8, 32 px), tokens to the end of its first training step and an evaluation of one "
        f"batch: {min(all_seconds):.1f} to {max(all_seconds):.1f} s, median {statistics.median(all_seconds):.1f} s"
    )


def main():
    knobs = flags.read(Knobs)
    candidates(knobs)
    against_keras(knobs)


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
