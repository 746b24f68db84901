"""Batches of images and objects for training, and of images alone for judging."""

import concurrent.futures

import numpy as np

from nas_tf.datasets import Steps
from nas_tf.detection.augmentation import augmented

_CACHE_BYTES = 1 << 30


class Reader:
    """Reads the images of some examples; they stay in memory if all of them take 1 GiB at most.

    Args:
        data: the `nas_tf.detection.data.DetectionData`.
        examples: tuple of its `Example`s.
    """

    def __init__(self, data, examples):
        self._data, self._examples, self._kept = data, examples, {}
        self._keeps = sum(3 * each.width * each.height for each in examples) <= _CACHE_BYTES

    def __getitem__(self, i):
        if i not in self._kept:
            image = self._data.read(self._examples[i])
            if not self._keeps:
                return image
            self._kept[i] = image
        return self._kept[i]


def resized(image, size):
    """Returns an image, uint8 [height, width, 3], as uint8 [size, size, 3]: the whole of it (bilinear, antialiased)."""
    from PIL import Image

    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.BILINEAR))


def training_batches(data, size, batch_size, seed, epochs, first_step=0):
    """Returns a `keras.utils.PyDataset` of augmented training images, as `nas_tf.datasets.Stream.batches` has them.

    Seed, epoch and image decide what is done to an image, so what follows `first_step` is what it would have been.
    A batch is uint8 [batch, size, size, 3] and float32 [batch, most objects, 5] of box and class, as for
    `nas_tf.detection.matching.match`.

    Args:
        data: the `nas_tf.detection.data.DetectionData`.
        size: height and width of the images in pixels.
        batch_size, seed, epochs, first_step: as of `nas_tf.datasets.Stream.batches`.
    """
    import keras

    examples = data.splits["train"]
    steps, reader = Steps(len(examples), batch_size, seed, epochs, first_step), Reader(data, examples)
    most = max(1, *(int((~each.ignored).sum()) for each in examples))

    def one(epoch, i):
        example = examples[i]
        learned = ~example.ignored
        rng = np.random.default_rng((seed, 1 + epoch, int(i)))
        image, boxes, labels = augmented(reader[i], example.shares[learned], example.labels[learned], rng)
        objects = np.zeros((most, 5), "float32")
        objects[: len(labels), :4], objects[: len(labels), 4] = boxes, labels + 1
        return resized(image, size), objects

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return len(steps)

        def __getitem__(self, i):
            if i >= len(steps):
                raise IndexError(i)
            epoch = (steps.first_step + i) // steps.per_epoch
            images, objects = zip(*(one(epoch, each) for each in steps.indices(i)))
            return np.stack(images), np.stack(objects)

    return Batches(workers=1)


def plain_batches(data, examples, size, batch_size):
    """Yields uint8 [batch, size, size, 3] images of some examples in their order."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for start in range(0, len(examples), batch_size):
            some = examples[start : start + batch_size]
            yield np.stack(list(pool.map(lambda each: resized(data.read(each), size), some)))
