"""Image data sets, one in each file.

Each file has a frozen dataclass `Config` (its fields become flags, prefixed with the file's name; no Keras or
TensorFlow at import) and a function `make(config, *, data_dir, image_size, num_samples, seed)` that returns a
`Dataset`. Its images are resized to `image_size` x `image_size`. At most `num_samples` of them are in the train split
(0: all), drawn stratified by class with `seed`. `data_dir` is None if the user gave none. Where `make` takes
`race_fraction` too, that share of the training images becomes a split of its own, `"race"`. A `Dataset` also names the
augmentation that training may use; its layers are in `nas_tf.training.augmentation`.
"""

import abc
import dataclasses
import functools
import inspect
import typing

import numpy as np

from nas_tf.plugins import Part
from nas_tf.trial import UserError

NUM_CALIBRATION_IMAGES = 100
# A pixel p is normalised to (p - mean) / std, also in the metadata of TFLite files.
PIXEL_MEAN, PIXEL_STD = 127.5, 127.5


@dataclasses.dataclass(frozen=True)
class Images:
    """A split held in memory.

    Attributes:
        images: uint8 [n, size, size, 3], RGB.
        labels: int32 [n].
    """

    images: np.ndarray
    labels: np.ndarray

    @property
    def num_examples(self):
        return len(self.labels)

    def batches(self, batch_size, *, seed=None, epochs=1, first_step=0):
        """As `Stream.batches`."""
        steps = Steps(self.num_examples, batch_size, seed, epochs, first_step)
        return indexed_batches(lambda i: (self.images[i], self.labels[i]), steps)


@dataclasses.dataclass(frozen=True)
class Stream:
    """A split too large for memory.

    Attributes:
        batches: `batches(batch_size, *, seed=None, epochs=1, first_step=0)` returns one pass over that many epochs, for
            `keras.Model.fit`: uint8 [batch, size, size, 3] images and int32 [batch] labels. `seed` decides the order of
            images, another in each epoch; None: as they are stored. An epoch's last batch may be smaller. The steps
            before `first_step` are left out, and what follows is the same.
        num_examples: images in the split.
    """

    batches: typing.Callable
    num_examples: int


@dataclasses.dataclass(frozen=True)
class Steps:
    """The batches of several epochs, by number. `Stream` explains its fields."""

    num_examples: int
    batch_size: int
    seed: int | None
    epochs: int
    first_step: int

    @property
    def per_epoch(self):
        return -(-self.num_examples // self.batch_size)

    def __len__(self):
        return self.epochs * self.per_epoch - self.first_step

    def indices(self, i):
        """Returns int [batch]: which images are in batch `i`, counted from `first_step`."""
        epoch, batch = divmod(self.first_step + i, self.per_epoch)
        return self._order(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]

    @functools.lru_cache(maxsize=4)  # noqa: B019  a few epochs' orders, for threads that read across their border
    def _order(self, epoch):
        if self.seed is None:
            return np.arange(self.num_examples)
        return np.random.default_rng((self.seed, epoch)).permutation(self.num_examples)


def indexed_batches(read, steps, workers=1):
    """Returns a `keras.utils.PyDataset` of batches, read in Keras's worker threads.

    Args:
        read: `read(indices)` returns the images and labels with these indices, int [batch].
        steps: the `Steps`.
        workers: how many threads.
    """
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return len(steps)

        def __getitem__(self, i):
            if i >= len(steps):
                raise IndexError(i)
            return read(steps.indices(i))

    return Batches(workers=workers)


def scale_pixels(images):
    """Returns uint8 images of any shape as float32 in [-1, 1], which is what every network takes."""
    return np.asarray(images).astype("float32") / PIXEL_STD - PIXEL_MEAN / PIXEL_STD


def drawn(split, count):
    """Returns `Images`: up to `count` of an `Images` or a `Stream`, drawn at random, the same each time.

    The first ones will not do for a few: where images lie in folders, these are all of one class.
    """
    images, labels = next(iter(split.batches(min(count, split.num_examples), seed=0)))[:2]
    return Images(np.asarray(images), np.asarray(labels))


def calibration_images(dataset):
    """Returns up to 100 training images of a `Dataset`, drawn at random: float32 [n, size, size, 3] in [-1, 1].

    Raises:
        UserError: the train split is empty.
    """
    split = dataset.train()
    if split.num_examples == 0:
        raise UserError(
            f"An int8 file is calibrated on training images. Received: an empty train split of {dataset.name!r}. "
            "Add images, or leave int8 out of the number types"
        )
    return scale_pixels(drawn(split, NUM_CALIBRATION_IMAGES).images)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where images come from: plain data from which any process makes the same `Dataset`.

    Attributes:
        part: the data set's `nas_tf.plugins.Part`.
        data_dir: its folder; empty: it has none.
        seed: decides splits and samples.
        race_fraction: share of the training images in the race split; 0: there is none.
    """

    part: Part
    data_dir: str
    seed: int
    race_fraction: float = 0.0

    def make(self, image_size, num_samples=0):
        """Returns the `Dataset` at that size in pixels, with at most `num_samples` training images (0: all).

        Raises:
            UserError: the data are not as the data set expects them, or it cannot divide off a race split.
        """
        race = {}
        if self.race_fraction:
            if "race_fraction" not in inspect.signature(self.part.module.make).parameters:
                raise UserError(
                    "A search from a parent races its best networks on images that nothing else has seen: expected a "
                    f"data set whose `make` takes race_fraction. Received: {self.part.name!r}"
                )
            race = {"race_fraction": self.race_fraction}
        return self.part.make(
            data_dir=self.data_dir or None, image_size=image_size, num_samples=num_samples, seed=self.seed, **race
        )

    def calibration_images(self, image_size):
        """Returns the images on which every int8 file is calibrated, float32 [n, size, size, 3] in [-1, 1].

        They do not depend on how many images a network was trained on.
        """
        count = max(NUM_CALIBRATION_IMAGES, self.make(image_size).num_classes)
        return calibration_images(self.make(image_size, count))

    def to_json(self, num_samples):
        """Returns a JSON-ready dict of where a network's training images can be had again."""
        return {
            "part": self.part.to_json(),
            "data_dir": self.data_dir or None,
            "num_samples": num_samples,
            "seed": self.seed,
            **({"race_fraction": self.race_fraction} if self.race_fraction else {}),
        }


def split_names(fractions):
    """Returns a tuple of the splits that a data set has, with "race" if that is among the `fractions` it draws."""
    return ("train", "validation", "test", *(["race"] if "race" in fractions else []))


def chosen(dataset, data_dir, otherwise="digits"):
    """Returns the name of the data set that settings ask for.

    It is the one that they name. Where they name none it is `image_folder` if they name a folder, else `otherwise`.
    """
    return dataset or ("image_folder" if data_dir else otherwise)


class Dataset(abc.ABC):
    """Labelled images. Making one checks the data. Splits are read when they are asked for.

    Attributes:
        name: name of the data set.
        class_names: names of the classes, in the order of the labels.
        augmentation: what training may do to an image without changing its class. `"none"`: nothing, or the train split
            is augmented already. `"shift"`: translate by whole pixels, up to a tenth of the size, borders reflected.
            `"shift_flip"` (CIFAR's): translate by up to an eighth, mirror. `"crop_flip"` (ImageNet's): a random crop of
            8 % to 100 % of the area with an aspect ratio of 3/4 to 4/3, resized, mirrored.
    """

    name: str
    class_names: tuple[str, ...]
    augmentation: typing.Literal["none", "shift", "shift_flip", "crop_flip"]

    @property
    def num_classes(self):
        return len(self.class_names)

    def train(self):
        """Returns an `Images` or a `Stream`, disjoint from validation and test."""
        return self.read("train")

    def validation(self):
        """Returns an `Images` or a `Stream`, drawn by class from the training data, the same for any `num_samples`."""
        return self.read("validation")

    def test(self):
        """Returns an `Images` or a `Stream`. A search never reads it."""
        return self.read("test")

    def race(self):
        """Returns an `Images` or a `Stream`, disjoint from all others, by which what ships is chosen."""
        return self.read("race")

    @abc.abstractmethod
    def read(self, split):
        """Returns the `Images` or the `Stream` of `"train"`, `"validation"`, `"test"` or, where asked for, `"race"`."""

    @abc.abstractmethod
    def describe(self):
        """Returns a JSON-ready dict: name, source, classes, number of examples in each split, how splits were drawn.

        `digest` is 16 hex digits that tell other data from these. Where the data lie, the images' size and the number
        of samples do not change it.
        """

    @property
    def median_side(self):
        """int: the median of the shorter sides of training images as they are stored, in pixels; None: not known."""
        return None

    def labels(self, split):
        """Returns the labels of a split, int32 [n], or None where they are not known without reading its images."""
        return None

    def largest_class(self, split="validation"):
        """Returns the share of a split's most frequent class, which is the accuracy of an answer that never changes.

        It is 1 / `num_classes` where the labels are not known.
        """
        labels = self.labels(split)
        if labels is None or len(labels) == 0:
            return 1 / self.num_classes
        return int(np.bincount(labels).max()) / len(labels)

    def facts(self):
        """Returns `describe()` with `largest_class`, a dict from `"validation"` and `"test"` to that share."""
        return {
            **self.describe(),
            "largest_class": {split: self.largest_class(split) for split in ("validation", "test")},
        }

    def copies(self):
        """Returns a dict from each split but the first to how many of its images are training images too.

        Images count whose file is the same, byte for byte, as one that may be trained on, whatever `num_samples` is. A
        split without any is left out. A data set that does not compare its images returns {}.

        Raises:
            UserError: there are such test images, and the data set does not allow them.
        """
        return {}

    def notes(self, deploy_image_size=None):
        """Returns a list of sentences on what else the user should know of the images, such as what is left out.

        Args:
            deploy_image_size: the size in pixels of the network that will ship, where it differs from the images'.
        """
        return []

    def summary(self, deploy_image_size=None):
        """Returns in words which images there are, how many validation and test images are training images too, and the
        `notes`.

        Raises:
            UserError: as `copies` does.
        """
        facts, copies = self.describe(), self.copies()
        counts = facts["num_examples"]
        splits = ", ".join(f"{count} {split}" for split, count in counts.items())
        line = f"{self.name}: {splits} images of {self.num_classes} classes, from {facts['source']}"
        found = [f"{n} of {counts[split]} {split} images are training images too" for split, n in copies.items()]
        return "; ".join([line, *found, *self.notes(deploy_image_size)])


def loose_images(paths, image_size, fit):
    """Yields images that belong to no data set, as `nas_tf.datasets._loose_images.loose_images` does."""
    from nas_tf.datasets import _loose_images

    return _loose_images.loose_images(paths, image_size, fit)


def whole_images(paths):
    """Yields images that belong to no data set, as `nas_tf.datasets._loose_images.whole_images` does."""
    from nas_tf.datasets import _loose_images

    return _loose_images.whole_images(paths)


def check_request(image_size, num_samples, seed):
    """Raises `nas_tf.trial.UserError` if no data set could be made with these arguments of `make`."""
    for name, value, least in (("image_size", image_size, 1), ("num_samples", num_samples, 0), ("seed", seed, 0)):
        if value < least:
            raise UserError(f"Expected {name} >= {least} for a data set. Received: {name}={value}")
