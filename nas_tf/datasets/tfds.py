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
import typing

import numpy as np

from nas_tf.datasets import (
    Dataset,
    Images,
    Steps,
    Stream,
    _tfds_choice,
    check_classes,
    check_fractions,
    check_request,
    partition,
)
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
    test_split: str = knob("", "Split to test on; empty: test or else validation, or else drawn from training.")
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
    _tfds_choice.check_features(builder)
    splits = _tfds_choice.choose_splits(config, builder)
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
                f"Expected labels from 0 to {self.num_classes - 1} in {self._builder.info.full_name}, split {split!r}. "
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
        import tensorflow as tf

        source, chosen, labels = self._chosen[part]
        size = self._image_size
        images = np.empty((len(chosen), size, size, 3), np.uint8)
        records = _records(self._builder, self._splits[source], _encoded_images())
        is_chosen = np.zeros(self._builder.info.splits[self._splits[source]].num_examples, bool)
        is_chosen[chosen] = True
        pixels = records.enumerate().filter(lambda i, _: tf.gather(is_chosen, i)).map(
            lambda _, record: _resize(_decode(self._builder, record["image"]), size), num_parallel_calls=-1
        )  # fmt: skip
        with _readable(self._builder):
            for i, image in enumerate(pixels.as_numpy_iterator()):
                images[i] = image
        return Images(images, labels)


class _Streamed(_TFDS):
    _how = "consecutive records"

    def _draw(self, num_samples):
        check_classes(self.class_names, num_samples)
        train, total = self._splits["train"], self._builder.info.splits[self._splits["train"]].num_examples
        if "[" in train and (self._fractions or num_samples):
            raise UserError(
                f"Nothing can be drawn from a slice of a data set that is streamed. Received: train_split={train!r}. "
                "Say --tfds_validation_split and --tfds_test_split, and a shorter slice for fewer samples"
            )
        self._ranges = dict(self._splits)
        if self._fractions or num_samples:
            position, left = int(np.random.default_rng(self._seed).integers(total)), total
            for part, fraction in self._fractions.items():
                count = max(1, round(fraction * total))
                self._ranges[part] = _tfds_choice.circular_slice(train, position, count, total)
                position, left = position + count, left - count
            self._ranges["train"] = _tfds_choice.circular_slice(train, position, min(num_samples or left, left), total)
        for split in self._ranges.values():
            self._labels(split, 1000)

    def _num_examples(self, part):
        return self._builder.info.splits[self._ranges[part]].num_examples

    def _read(self, part):
        def batches(batch_size, *, seed=None, epochs=1, first_step=0):
            return self._all_epochs(part, Steps(self._num_examples(part), batch_size, seed, epochs, first_step))

        return Stream(batches, self._num_examples(part))

    def _all_epochs(self, part, steps):
        """`tf.data.Dataset` of (uint8 [batch, size, size, 3], int32 [batch])."""
        import tensorflow as tf

        def epoch(number, skip):
            order = None if steps.seed is None else (steps.seed, number)
            return self._epoch(self._ranges[part], part == "train", steps.batch_size, order, skip)

        first_epoch, skip = divmod(steps.first_step, steps.per_epoch)
        if steps.epochs == first_epoch + 1:
            return epoch(first_epoch, skip)

        def chain():
            for number in range(first_epoch, steps.epochs):
                yield from epoch(number, skip if number == first_epoch else 0)

        batches = tf.data.Dataset.from_generator(chain, output_signature=epoch(first_epoch, 0).element_spec)
        return batches.apply(tf.data.experimental.assert_cardinality(len(steps))).prefetch(2)

    def _epoch(self, split, is_train, batch_size, order, skip):
        """`tf.data.Dataset` of the batches of one epoch, but the first `skip`; `order`: integers that decide it."""
        import tensorflow as tf

        shuffle_seed = None if order is None else int(np.random.SeedSequence(order).generate_state(1)[0])
        records = _records(self._builder, split, _encoded_images(), shuffle_seed)
        if order is not None:
            records = records.shuffle(_SHUFFLE_BUFFER, shuffle_seed)
        seeds = tf.data.Dataset.random(shuffle_seed or self._seed).batch(2)
        records, seeds = (each.skip(skip * batch_size) for each in (records, seeds))

        def prepare(record, seed):
            if self._builder.name != _IMAGENET:
                image = _resize(_decode(self._builder, record["image"]), self._image_size)
            elif is_train:
                image = _random_crop(record["image"], self._image_size, seed)
            else:
                image = _central_crop(record["image"], self._image_size)
            return image, tf.cast(record["label"], tf.int32)

        return tf.data.Dataset.zip((records, seeds)).map(prepare, -1).batch(batch_size).prefetch(-1)


def _builder(config, data_dir):
    """The TFDS builder of a data set that is prepared."""
    folder = None if data_dir is None else os.path.abspath(os.path.expanduser(data_dir))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with quiet():
            import tensorflow as tf
            import tensorflow_datasets as tfds

            tf.zeros(())  # the first operation greets
            if folder and os.path.isfile(os.path.join(folder, "dataset_info.json")):
                builder = tfds.builder_from_directory(folder)
            else:
                builder = tfds.builder(config.name, data_dir=folder)
    except Exception as error:
        raise UserError(
            "Expected --tfds_name to be a TFDS data set, or one that TFDS wrote into --data_dir. "
            f"Received: name={config.name!r}, data_dir={data_dir!r} ({_first_line(error)})"
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
            f"{_first_line(error)}). Check the network, or copy a prepared one to {str(builder.data_path)!r}"
        ) from error


@contextlib.contextmanager
def _readable(builder):
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise UserError(
            f"Expected a whole TFDS data set in {str(builder.data_path)!r}. It cannot be read "
            f"({_first_line(error)}). Delete that folder and prepare the data set again"
        ) from error


def _records(builder, split, decoders, shuffle_seed=None):
    """`tf.data.Dataset` of a split's examples, always in one order unless a seed is given."""
    import tensorflow_datasets as tfds

    reading = tfds.ReadConfig(try_autocache=False, shuffle_seed=shuffle_seed)
    with quiet():
        return builder.as_dataset(
            split=split, decoders=decoders, shuffle_files=shuffle_seed is not None, read_config=reading
        )


def _encoded_images():
    import tensorflow_datasets as tfds

    decoders = {"image": tfds.decode.SkipDecoding()}
    return tfds.decode.PartialDecoding({"image": True, "label": True}, decoders=decoders)


def _decode(builder, encoded):
    """uint8 or float32 [height, width, 3] in [0, 255]; transparent parts on white."""
    import tensorflow as tf

    image = builder.info.features["image"].decode_example(encoded)
    if image.dtype == tf.uint16:
        image = tf.cast(image, tf.float32) / 257
    if image.shape[-1] == 4:
        pixels, alpha = tf.cast(image[..., :3], tf.float32), tf.cast(image[..., 3:], tf.float32) / 255
        image = pixels * alpha + 255 * (1 - alpha)
    return tf.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def _resize(image, size):
    """uint8 [size, size, 3], bilinear and antialiased."""
    import tensorflow as tf

    resized = tf.image.resize(image, (size, size), antialias=True)
    return tf.ensure_shape(tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8), (size, size, 3))


def _random_crop(jpeg, size, seed):
    import tensorflow as tf

    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(jpeg), tf.zeros((1, 0, 4)), seed, aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0), max_attempts=10, use_image_if_no_bounding_boxes=True,
    )  # fmt: skip
    image = tf.image.decode_and_crop_jpeg(jpeg, tf.concat([begin[:2], extent[:2]], 0), channels=3)
    return tf.image.stateless_random_flip_left_right(_resize(image, size), seed + 1)


def _central_crop(jpeg, size, fraction=0.875):
    import tensorflow as tf

    height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(jpeg))
    side = tf.cast(tf.round(fraction * tf.cast(tf.minimum(height, width), tf.float32)), tf.int32)
    window = tf.stack([(height - side) // 2, (width - side) // 2, side, side])
    return _resize(tf.image.decode_and_crop_jpeg(jpeg, window, channels=3), size)


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
