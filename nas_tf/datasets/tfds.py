"""Any labelled image data set of TensorFlow Datasets, by name, or one that TFDS itself wrote into `--data_dir`.

Images are resized whole and held in memory where the data set fits. ImageNet (`imagenet2012`) is streamed by its own
pipeline: training images are random crops of 8 % to 100 % of the area (Szegedy et al. 2014, "Going deeper with
convolutions", section 6), mirrored at random; others are the central 87.5 %.

What has no split of its own is drawn from the training split: stratified where the data set is held in memory, else as
consecutive records from a seeded position, since TFDS shuffles what it writes.
"""

import contextlib
import dataclasses
import os
import pathlib
import typing

import numpy as np

from nas_tf.datasets import Dataset, Images, Stream, check_fractions, check_request, partition
from nas_tf.flags import knob
from nas_tf.quiet import quiet
from nas_tf.trial import UserError

_IMAGENET = "imagenet2012"
_AUGMENTATION = {"cifar10": "shift_flip", "cifar100": "shift_flip", _IMAGENET: "none"}
_SHUFFLE_BUFFER = 4096


@dataclasses.dataclass(frozen=True)
class Config:
    name: str = knob("cifar10", "TFDS name, where needed with configuration and version: name/config:1.0.0.")
    train_split: str = knob("train", "Split to train on.")
    validation_split: str = knob("", "Split to validate on; empty: drawn from the training split.")
    test_split: str = knob("", "Split to test on; empty: test or else validation, or else drawn from the training split.")
    validation_fraction: float = knob(0.1, "Share of the training split drawn where validation has no split.")
    test_fraction: float = knob(0.1, "Share of the training split drawn where testing has no split.")
    augmentation: typing.Literal["auto", "none", "shift", "shift_flip", "crop_flip"] = knob(
        "auto", "What training may do to an image; auto: shift_flip for CIFAR, its own for ImageNet, shift for others."
    )
    max_memory_mb: int = knob(4096, "A data set whose resized images are larger than this is streamed.")
    download: bool = knob(False, "Downloads and prepares a data set that is not in --data_dir yet.")

    def __post_init__(self):
        check_fractions(validation_fraction=self.validation_fraction, test_fraction=self.test_fraction)
        if self.max_memory_mb < 0:
            raise UserError(f"Expected --tfds_max_memory_mb >= 0. Received: {self.max_memory_mb}")


def make(config, *, data_dir, image_size, num_samples, seed):
    """The data set `config.name` in `data_dir` (None: TFDS's own, ~/tensorflow_datasets), which may also be the one
    folder that TFDS wrote; reads the labels, and no image.

    Raises:
        UserError: the data set is unknown, not prepared, without image or label, or an argument is out of range.
    """
    check_request(image_size, num_samples, seed)
    builder = _builder(config, data_dir)
    _check_features(builder)
    splits = _splits(config, builder)
    num_bytes = sum(builder.info.splits[split].num_examples for split in splits.values()) * image_size**2 * 3
    in_memory = builder.name != _IMAGENET and num_bytes <= config.max_memory_mb * 2**20
    return (_InMemory if in_memory else _Streamed)(config, builder, splits, image_size, num_samples, seed)


class _TFDS(Dataset):
    name = "tfds"

    def __init__(self, config, builder, splits, image_size, num_samples, seed):
        self._builder, self._splits, self._image_size, self._seed = builder, splits, image_size, seed
        self.class_names = tuple(builder.info.features["label"].names)
        auto = _AUGMENTATION.get(builder.name, "shift")
        self.augmentation = auto if config.augmentation == "auto" else config.augmentation
        fractions = {"test": config.test_fraction, "validation": config.validation_fraction}
        self._fractions = {part: fraction for part, fraction in fractions.items() if part not in splits}
        self._draw(num_samples)

    def train(self):
        return self._read("train")

    def validation(self):
        return self._read("validation")

    def test(self):
        return self._read("test")

    def describe(self):
        drawn = ", ".join(f"{part} ({fraction:g})" for part, fraction in self._fractions.items())
        return {
            "name": self.name,
            "source": self._builder.info.full_name,
            "classes": list(self.class_names),
            "image_size": self._image_size,
            "num_examples": {part: self._num_examples(part) for part in ("train", "validation", "test")},
            "splits": f"{self._splits}; drawn from train, {self._how}, with seed {self._seed}: {drawn or 'none'}",
        }

    def _labels(self, split, count=-1):
        """int32 [count]: the first labels of a split, checked; -1 for all of them."""
        import tensorflow_datasets as tfds

        records = _records(self._builder, split, tfds.decode.PartialDecoding({"label": True})).take(count)
        with _readable(self._builder):
            batches = [batch["label"] for batch in records.batch(1024).as_numpy_iterator()]
        labels = np.concatenate(batches).astype(np.int32)
        wrong = labels[(labels < 0) | (labels >= self.num_classes)]
        if len(wrong):
            raise UserError(
                f"Expected labels from 0 to {self.num_classes - 1} in split {split!r} of {self._builder.info.full_name}. "
                f"Received: {wrong[0]}, and {len(wrong)} of {len(labels):,} out of range. Choose another split"
            )
        return labels


class _InMemory(_TFDS):
    _how = "stratified"

    def _draw(self, num_samples):
        labels = {part: self._labels(split) for part, split in self._splits.items()}
        indices = partition(labels["train"], self.class_names, self._fractions, num_samples, self._seed)
        self._chosen = {part: ("train", chosen, labels["train"][chosen]) for part, chosen in indices.items()}
        for part in self._splits.keys() - {"train"}:
            self._chosen[part] = (part, np.arange(len(labels[part])), labels[part])

    def _num_examples(self, part):
        return len(self._chosen[part][2])

    def _read(self, part):
        source, chosen, labels = self._chosen[part]
        size = self._image_size
        images = np.empty((len(chosen), size, size, 3), np.uint8)
        records = _records(self._builder, self._splits[source], _encoded_images())
        is_chosen = np.zeros(self._builder.info.splits[self._splits[source]].num_examples, bool)
        is_chosen[chosen] = True
        pixels = records.enumerate().filter(lambda i, _: _gather(is_chosen, i)).map(
            lambda _, record: _resize(_decode(self._builder, record["image"]), size), num_parallel_calls=-1
        )  # fmt: skip
        with _readable(self._builder):
            for i, image in enumerate(pixels.as_numpy_iterator()):
                images[i] = image
        return Images(images, labels)


class _Streamed(_TFDS):
    _how = "consecutive records"

    def _draw(self, num_samples):
        if 0 < num_samples < self.num_classes:
            raise UserError(
                f"Expected num_samples (--proxy_samples) to be 0 or at least one for each of the {self.num_classes} "
                f"classes. Received: num_samples={num_samples}"
            )
        self._ranges = {part: split for part, split in self._splits.items() if part != "train"}
        train, total = self._splits["train"], self._builder.info.splits[self._splits["train"]].num_examples
        if (self._fractions or num_samples) and "[" in train:
            raise UserError(
                f"Nothing can be drawn from a slice of a data set that is streamed. Received: train_split={train!r}. "
                "Name a split for validation and one for test, and their slices, too"
            )
        start = int(np.random.default_rng(self._seed).integers(total))
        for part, fraction in self._fractions.items():
            count = max(1, round(fraction * total))
            self._ranges[part] = _circular(train, start, count, total)
            start, total_left = start + count, None
        for split in self._ranges.values():
            self._labels(split, 1000)
