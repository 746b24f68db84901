"""What matching and the choice of hard negatives add to a detector's training step.

python -m benchmarks.detection_speed --architecture=mnasnet_a1 --image_size=320 --batch_size=8

Steps take turns with those of the same detector under Keras's own losses, whose targets are given: nothing is matched.
"""

import dataclasses
import sys
import time

import numpy as np

from nas_tf import flags
from nas_tf.detection import backbone, recipes
from nas_tf.detection.loss import LOSSES
from nas_tf.detection.train import compiled
from nas_tf.quiet import fresh_keras
from nas_tf.settings import Settings, knob


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    architecture: str = knob("mnasnet_a1", "Network, as nas-detect takes it.")
    image_size: int = knob(320, "Height and width of the images in pixels.", least=32)
    batch_size: int = knob(8, "Images in a step.", least=1)
    num_classes: int = knob(90, "Classes of the detector.", least=1)
    num_objects: int = knob(10, "Objects in each image.", least=1)
    turns: int = knob(15, "Steps of each; the median counts.", least=1)


def main():
    knobs = flags.read(Knobs)
    keras = fresh_keras(0)
    rng = np.random.default_rng(0)
    size = knobs.image_size
    detector = backbone.choose(knobs.architecture, "", "", size).detector(knobs.num_classes)
    images = rng.integers(0, 256, (knobs.batch_size, size, size, 3)).astype("uint8")
    low = rng.uniform(0, 0.6, (knobs.batch_size, knobs.num_objects, 2))
    corners = np.concatenate([low, low + rng.uniform(0.05, 0.4, low.shape)], axis=-1)
    classes = rng.integers(1, knobs.num_classes + 1, (*low.shape[:2], 1))
    objects = np.concatenate([corners, classes], axis=-1).astype("float32")
    steps = {}
    recipe = dataclasses.replace(recipes.RECIPES["short"].recipe, epochs=1)
    for name in (*LOSSES, "plain Keras"):
        model, optimizer = compiled(detector, recipe, 1000, LOSSES[0] if name not in LOSSES else name)
        wanted = objects
        if name not in LOSSES:
            wanted = rng.uniform(0, 1, (knobs.batch_size, *model.outputs[0].shape[1:])).astype("float32")
            model.compile(optimizer=optimizer, loss=_plain(keras), jit_compile=False)
        steps[name] = model, wanted
    found = {name: [] for name in steps}
    for turn in range(knobs.turns + 2):
        for name, (model, wanted) in steps.items():
            begin = time.perf_counter()
            model.train_on_batch(images, wanted)
            if turn >= 2:
                found[name].append(time.perf_counter() - begin)
    plain = np.median(found["plain Keras"])
    for name, seconds in found.items():
        median = np.median(seconds)
        print(f"{name:<15} {1000 * median:8.1f} ms a step, {median / plain:.3f} of plain Keras")
    print(f"command: python -m benchmarks.detection_speed {' '.join(sys.argv[1:])}")


def _plain(keras):
    boxes, classes = keras.losses.Huber(), keras.losses.BinaryCrossentropy(from_logits=True)
    return lambda wanted, outputs: boxes(wanted[..., :4], outputs[..., :4]) + classes(wanted[..., 4:], outputs[..., 4:])


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
