"""How fast the image folder is read from a zip and decoded for each batch, and how fast this machine trains MnasNet-A1.

The images are JPEGs of 500 x 375 px, a usual size of photographs in data sets.

python -m benchmarks.input_pipeline --image_size=224
"""

import dataclasses
import io
import statistics
import tempfile
import time
import zipfile

import numpy as np

from benchmarks.training_speed import ours, step_milliseconds
from mnas_tf.published import MnasNetA1
from nas_tf import flags
from nas_tf.datasets import Source
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.settings import Settings, knob


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    image_size: int = knob(224, "Height and width that images are resized to.")
    num_images: int = knob(640, "JPEGs to make.")
    batch_size: int = knob(32, "Images in a batch.")
    rounds: int = knob(3, "Rounds. In each, all images are read and a few steps are trained.")


def write_photographs(path, count):
    """Writes a zip of smooth random pictures with noise, in two classes, about as large as photographs (60 kB)."""
    from PIL import Image

    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(count):
            small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
            pixels = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC)) + rng.normal(0, 8, (375, 500, 3))
            content = io.BytesIO()
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(content, "JPEG", quality=85)
            archive.writestr(f"{i % 2}/{i}.jpg", content.getvalue())


def read_seconds(split, batch_size, seed):
    """Returns the seconds in which Keras's `evaluate` of a network that does nothing takes all batches."""
    import keras

    inputs = keras.Input((None, None, 3), dtype="uint8")
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: keras.ops.cast(x[:, 0, 0, :1], "float32"))(inputs))
    model.compile(loss="mse", jit_compile=False)
    model.evaluate(split.batches(batch_size), steps=1, verbose=0)
    begin = time.perf_counter()
    model.evaluate(split.batches(batch_size, seed=seed), verbose=0)
    return time.perf_counter() - begin


def main():
    knobs = flags.read(Knobs)
    import_keras()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/photographs.zip"
        write_photographs(path, knobs.num_images)
        mean_bytes = np.mean([member.file_size for member in zipfile.ZipFile(path).infolist()])
        part = Part("nas_tf.datasets", "image_folder", {"max_memory_mb": 0})
        split = Source(part, path, seed=0).make(knobs.image_size).train()
        model = ours(MnasNetA1(input_shape=(knobs.image_size, knobs.image_size, 3)))
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (knobs.batch_size, knobs.image_size, knobs.image_size, 3), np.uint8)
        labels = rng.integers(0, 1000, knobs.batch_size)
        step_milliseconds(model, images, labels, 2)
        reading, training = [], []
        for i in range(knobs.rounds):
            reading.append(split.num_examples / read_seconds(split, knobs.batch_size, i))
            training.append(1e3 * knobs.batch_size / statistics.median(step_milliseconds(model, images, labels, 4)))
    read, trained = statistics.median(reading), statistics.median(training)
    print(
        f"image folder (zip, JPEG 500 x 375, {mean_bytes / 1e3:.0f} kB, to {knobs.image_size} px): {read:.0f} images/s"
        f"; MnasNet-A1 trains {trained:.1f} images/s: {read / trained:.1f} times as fast"
    )


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
