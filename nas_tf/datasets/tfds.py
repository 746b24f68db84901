"""Any labelled image data set of TensorFlow Datasets (TFDS), by name, or one that TFDS itself wrote into `--data_dir`.

Images are resized whole and held in memory if the data set fits. ImageNet (`imagenet2012`) is streamed through a
pipeline of its own: training images are random crops of 8 % to 100 % of the area (Szegedy et al. 2014, "Going deeper
with convolutions", section 6), mirrored at random; others are the central 87.5 %.

Validation and test images for which TFDS has no split are drawn from its training split: stratified if the data set is
held in memory, else as consecutive records from a seeded position (TFDS shuffles the records that it writes).
"""

import contextlib
import dataclasses
import os

import numpy as np

from nas_tf.datasets import (
    Dataset,
    Images,
    Steps,
    Stream,
    _tfds_choice,
    _tfds_code,
    _tfds_images,
    check_request,
    split_names,
)
from nas_tf.datasets._partition import check_classes, check_fractions, drawn_fractions, partition
from nas_tf.quiet import quiet
from nas_tf.settings import Settings, knob
from nas_tf.space import fingerprint
from nas_tf.trial import UserError, first_line

_IMAGENET = "imagenet2012"
_AUGMENTATION = {"cifar10": "shift_flip", "cifar100": "shift_flip", _IMAGENET: "none"}
_SHUFFLE_BUFFER = 4096


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Which TFDS data set is read, and how it is divided into splits."""

    name: str = knob(
        "cifar10",
        "TFDS name, where needed with configuration and version: name/config:1.0.0.",
        runs_code=_tfds_code.is_of_community,
    )
    train_split: str = knob("train", "Split to train on.")
    validation_split: str = knob("", "Split to validate on; empty: drawn from the training split.")
    test_split: str = knob("", "Split to test on; empty: test or else validation, or else drawn from training.")
    validation_fraction: float | None = knob(
        None,
        "Share of the training split drawn where validation has no split. By default a tenth, at least 1,000 images "
        "where that leaves four fifths for training, else a fifth.",
        above=0,
        below=1,
    )
    test_fraction: float = knob(0.1, "Share of the training split drawn where testing has no split.", above=0, below=1)
    augmentation: str = knob(
        "auto",
        "What training may do to an image; auto: shift_flip for CIFAR, shift for others, none for ImageNet, whose "
        "training images are always cropped and mirrored.",
        choices=("auto", "none", "shift", "shift_flip", "crop_flip"),
    )
    # Where it changes the splits, the data differ.
    max_memory_mb: int = knob(
        4096, "A data set whose resized images are larger than this is streamed.", least=0, decides=False
    )
    download: bool = knob(False, "Downloads and prepares a data set that is not in --data_dir yet.")

    def __post_init__(self):
        super().__post_init__()
        if self.validation_fraction is not None:
            check_fractions(validation_fraction=self.validation_fraction, test_fraction=self.test_fraction)


def make(config, *, data_dir, image_size, num_samples, seed, race_fraction=0.0):
    """Returns the data set `config.name` in `data_dir`. Reads its labels, and no image.

    `data_dir` may also be the one folder that TFDS wrote; None stands for TFDS's own, ~/tensorflow_datasets.

    Raises:
        UserError: the data set is unknown, is not prepared or has no image or label, or an argument is out of range.
    """
    check_request(image_size, num_samples, seed)
    builder = _builder(config, data_dir)
    _tfds_choice.check_features(builder)
    splits = _tfds_choice.choose_splits(config, builder)
    num_images = sum(builder.info.splits[tfds_split].num_examples for tfds_split in splits.values())
    num_bytes = num_images * image_size**2 * 3
    in_memory = builder.name != _IMAGENET and num_bytes <= config.max_memory_mb * 2**20
    return (_InMemory if in_memory else _Streamed)(
        config, builder, splits, image_size, num_samples, seed, race_fraction
    )


class _TFDS(Dataset):
    """What a data set in memory and a streamed one have in common.

    Its records are not compared: `copies` returns {}.

    `_splits` maps `"train"`, `"validation"` and `"test"` to TFDS's expression for that split, where there is one.
    """

    name = "tfds"

    def __init__(self, config, builder, splits, image_size, num_samples, seed, race_fraction=0.0):
        self._builder, self._splits, self._image_size, self._seed = builder, splits, image_size, seed
        self.class_names = tuple(builder.info.features["label"].names)
        auto = _AUGMENTATION.get(builder.name, "shift")
        self.augmentation = auto if config.augmentation == "auto" else config.augmentation
        fractions = {"test": config.test_fraction, "validation": config.validation_fraction}
        drawn = {split: fraction for split, fraction in fractions.items() if split not in splits}
        drawn |= {"race": race_fraction} if race_fraction else {}
        self._fractions = drawn_fractions(drawn, builder.info.splits[splits["train"]].num_examples)
        self._draw(num_samples)

    def describe(self):
        info = self._builder.info
        drawn = ", ".join(f"{split} ({fraction:g})" for split, fraction in self._fractions.items())
        sizes = sorted((split, found.num_examples, found.num_bytes) for split, found in info.splits.items())
        return {
            "name": self.name,
            "source": info.full_name,
            "classes": list(self.class_names),
            "image_size": self._image_size,
            "num_examples": {split: self._num_examples(split) for split in split_names(self._fractions)},
            "splits": f"{self._splits}; drawn from train, {self._how}, with seed {self._seed}: {drawn or 'none'}",
            "digest": fingerprint([info.full_name, sizes]),
        }

    def _labels(self, tfds_split, count=-1):
        """Returns the first `count` labels of a TFDS split (-1: all), checked, as int32 [count]."""
        import tensorflow_datasets as tfds

        records = _records(self._builder, tfds_split, tfds.decode.PartialDecoding({"label": True})).take(count)
        with _readable(self._builder):
            batches = [batch["label"] for batch in records.batch(1024).as_numpy_iterator()]
        labels = np.concatenate(batches).astype(np.int32)
        wrong = labels[(labels < 0) | (labels >= self.num_classes)]
        if len(wrong):
            raise UserError(
                f"Expected labels from 0 to {self.num_classes - 1} in {self._builder.info.full_name}, split "
                f"{tfds_split!r}. Received: {wrong[0]}, and {len(wrong)} of {len(labels):,} out of range. Choose "
                "another split"
            )
        return labels


class _InMemory(_TFDS):
    """`_chosen` maps each split to the split whose records it is chosen from, their indices there, and their labels."""

    _how = "stratified"

    def _draw(self, num_samples):
        labels = {split: self._labels(tfds_split) for split, tfds_split in self._splits.items()}
        indices = partition(labels["train"], self.class_names, self._fractions, num_samples, self._seed)
        self._chosen = {split: ("train", chosen, labels["train"][chosen]) for split, chosen in indices.items()}
        for split in self._splits.keys() - {"train"}:
            self._chosen[split] = (split, np.arange(len(labels[split])), labels[split])

    def labels(self, split):
        return self._chosen[split][2]

    def _num_examples(self, split):
        return len(self.labels(split))

    def read(self, split):
        import tensorflow as tf

        source, chosen, labels = self._chosen[split]
        size = self._image_size
        images = np.empty((len(chosen), size, size, 3), np.uint8)
        records = _records(self._builder, self._splits[source], _encoded_images())
        is_chosen = np.zeros(self._builder.info.splits[self._splits[source]].num_examples, bool)
        is_chosen[chosen] = True
        records = records.enumerate().filter(lambda i, _: tf.gather(is_chosen, i))
        pixels = records.map(
            lambda _, record: _tfds_images.resize(_tfds_images.decode(self._builder, record["image"]), size),
            num_parallel_calls=-1,
        )
        with _readable(self._builder):
            for i, image in enumerate(pixels.as_numpy_iterator()):
                images[i] = image
        return Images(images, labels)


class _Streamed(_TFDS):
    """`_ranges` maps each split to TFDS's expression for its records. Their labels are not known beforehand."""

    _how = "consecutive records"

    def _draw(self, num_samples):
        check_classes(self.class_names, num_samples)
        train, total = self._splits["train"], self._builder.info.splits[self._splits["train"]].num_examples
        if "[" in train and (self._fractions or num_samples):
            raise UserError(
                f"Nothing can be drawn from a slice of a data set that is streamed. Received: train_split={train!r}. "
                "Give --tfds_validation_split and --tfds_test_split, and a shorter slice for fewer samples"
            )
        self._ranges = dict(self._splits)
        if self._fractions or num_samples:
            position, left = int(np.random.default_rng(self._seed).integers(total)), total
            for split, fraction in self._fractions.items():
                count = max(1, round(fraction * total))
                self._ranges[split] = _tfds_choice.circular_slice(train, position, count, total)
                position, left = position + count, left - count
            self._ranges["train"] = _tfds_choice.circular_slice(train, position, min(num_samples or left, left), total)
        for tfds_split in self._ranges.values():
            self._labels(tfds_split, 1000)

    def _num_examples(self, split):
        return self._builder.info.splits[self._ranges[split]].num_examples

    def read(self, split):
        def batches(batch_size, *, seed=None, epochs=1, first_step=0):
            return self._all_epochs(split, Steps(self._num_examples(split), batch_size, seed, epochs, first_step))

        return Stream(batches, self._num_examples(split))

    def _all_epochs(self, split, steps):
        """Returns a `tf.data.Dataset` of (uint8 [batch, size, size, 3], int32 [batch])."""
        import tensorflow as tf

        def epoch(number, skip):
            order = None if steps.seed is None else (steps.seed, number)
            return self._epoch(split, steps.batch_size, order, skip)

        first_epoch, skip = divmod(steps.first_step, steps.per_epoch)
        if steps.epochs == first_epoch + 1:
            return epoch(first_epoch, skip)

        def chain():
            for number in range(first_epoch, steps.epochs):
                yield from epoch(number, skip if number == first_epoch else 0)

        batches = tf.data.Dataset.from_generator(chain, output_signature=epoch(first_epoch, 0).element_spec)
        return batches.apply(tf.data.experimental.assert_cardinality(len(steps))).prefetch(2)

    def _epoch(self, split, batch_size, order, skip):
        """Returns a `tf.data.Dataset` of the batches of one epoch without the first `skip`.

        `order` are integers that decide the order of the images; None: they come as they are stored.
        """
        import tensorflow as tf

        shuffle_seed = None if order is None else int(np.random.SeedSequence(order).generate_state(1)[0])
        records = _records(self._builder, self._ranges[split], _encoded_images(), shuffle_seed)
        if order is not None:
            records = records.shuffle(_SHUFFLE_BUFFER, shuffle_seed)
        seeds = tf.data.Dataset.random(shuffle_seed or self._seed).batch(2)
        records, seeds = (each.skip(skip * batch_size) for each in (records, seeds))

        def prepare(record, seed):
            if self._builder.name != _IMAGENET:
                image = _tfds_images.resize(_tfds_images.decode(self._builder, record["image"]), self._image_size)
            elif split == "train":
                image = _tfds_images.random_crop(record["image"], self._image_size, seed)
            else:
                image = _tfds_images.central_crop(record["image"], self._image_size)
            return image, tf.cast(record["label"], tf.int32)

        return tf.data.Dataset.zip((records, seeds)).map(prepare, -1).batch(batch_size).prefetch(-1)


def _builder(config, data_dir):
    """Returns the TFDS builder of a data set that is prepared, or is prepared here."""
    folder = None if data_dir is None else os.path.abspath(os.path.expanduser(data_dir))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with quiet():
            import tensorflow as tf
            import tensorflow_datasets as tfds

            tf.zeros(())  # the first operation writes to standard error too
            with _tfds_code.own_features_only(tfds.features):
                if folder and os.path.isfile(os.path.join(folder, "dataset_info.json")):
                    builder = tfds.builder_from_directory(folder)
                else:
                    builder = tfds.builder(config.name, data_dir=folder)
    except Exception as error:
        raise UserError(
            "Expected --tfds_name to be a TFDS data set, or one that TFDS wrote into --data_dir. "
            f"Received: name={config.name!r}, data_dir={data_dir!r} ({first_line(error)})"
        ) from error
    if not builder.is_prepared():
        _download(config, builder)
    return builder


def _download(config, builder):
    if not config.download:
        raise UserError(
            f"Expected the TFDS data set {config.name!r} in {str(builder.data_path)!r}. It is not there. "
            f"Add --tfds_download, or run `tfds build {config.name}`, or set --data_dir to where it is"
        )
    try:
        builder.download_and_prepare()
    except Exception as error:
        raise UserError(
            f"The TFDS data set {config.name!r} could not be downloaded and prepared ({type(error).__name__}: "
            f"{first_line(error)}). Check the network, or copy a prepared one to {str(builder.data_path)!r}"
        ) from error


@contextlib.contextmanager
def _readable(builder):
    """Inside it, records that cannot be read raise `UserError`."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise UserError(
            f"Expected a whole TFDS data set in {str(builder.data_path)!r}. It cannot be read "
            f"({first_line(error)}). Delete that folder and prepare the data set again"
        ) from error


def _records(builder, tfds_split, decoders, shuffle_seed=None):
    """Returns a `tf.data.Dataset` of a TFDS split's examples, always in the same order unless a seed is given."""
    import tensorflow_datasets as tfds

    reading = tfds.ReadConfig(try_autocache=False, shuffle_seed=shuffle_seed)
    with quiet():
        return builder.as_dataset(
            split=tfds_split, decoders=decoders, shuffle_files=shuffle_seed is not None, read_config=reading
        )


def _encoded_images():
    """The decoders with which a record keeps its image as encoded bytes."""
    import tensorflow_datasets as tfds

    decoders = {"image": tfds.decode.SkipDecoding()}
    return tfds.decode.PartialDecoding({"image": True, "label": True}, decoders=decoders)
