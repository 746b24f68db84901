"""Images of one's own: a folder with a sub-folder of images for each class, or a .zip of such a folder.

A `--data_dir` without a `--dataset` means this one.

The class folders are in `--data_dir` itself; or in its `train/` and, where they exist, its `val/` (or `valid/`,
`validation/`) and `test/`. Names such as `training_set/` and `test_set/`, alike but for that word, will do. All of
this, and each split, may be inside any number of other folders. A split that has no folder is drawn from the training
images. Images in `test/` that are training images too, byte for byte, are refused when a run begins, unless
`--allow_test_in_train` is given. Copies among images that are drawn into two splits are counted and said.

Images are .jpg, .jpeg, .jfif, .png, .bmp, .gif (its first frame), .webp, .tif or .tiff files, and .avif, .heic or .heif
files where Pillow can read them, in their class folder or its sub-folders, of any size and colour mode. Those that
Pillow cannot read are counted and said, other files are ignored. A zip is read in place.
"""

import dataclasses
import functools

import numpy as np

from nas_tf.datasets import (
    Dataset,
    Images,
    Steps,
    Stream,
    _class_folders,
    _decoding,
    _image_files,
    check_request,
    indexed_batches,
    split_names,
)
from nas_tf.datasets._image_reader import ImageReader
from nas_tf.datasets._partition import check_fractions, drawn_fractions, partition
from nas_tf.settings import Settings, knob
from nas_tf.space import fingerprint
from nas_tf.trial import UserError

_SAMPLED_SIZES = 200


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """How a folder's images are read and divided into splits."""

    validation_fraction: float | None = knob(
        None,
        "Share of the training images drawn where validation has no folder. By default a tenth, at least 1,000 images "
        "where that leaves four fifths for training, else a fifth.",
        above=0,
        below=1,
    )
    test_fraction: float = knob(
        0.1, "Share of the training images drawn where testing has no folder.", above=0, below=1
    )
    fit: str = knob(
        "stretch",
        "How an image that is not square becomes square: the whole of it stretched, or its middle cropped.",
        choices=("stretch", "crop"),
    )
    augmentation: str = knob(
        "shift_flip",
        "What training may do to an image without changing its class.",
        choices=("none", "shift", "shift_flip", "crop_flip"),
    )
    max_memory_mb: int = knob(
        4096, "Images that need more than this, decoded, are decoded again for each batch.", least=0, decides=False
    )
    # Which images there are is part of the data's digest, so that the next three decide nothing beside it.
    max_megapixels: float = knob(
        30.0,
        "An image of more pixels, as its header says, counts as one that cannot be read.",
        above=0,
        most=178,
        decides=False,
    )
    allow_test_in_train: bool = knob(
        False,
        "Go on although test images are among the training images too.",
        flag="allow_test_in_train",
        decides=False,
    )
    skip_bad_images: bool = knob(
        False,
        "Go on without images that cannot be read. They are counted and listed.",
        flag="skip_bad_images",
        decides=False,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.validation_fraction is not None:
            check_fractions(validation_fraction=self.validation_fraction, test_fraction=self.test_fraction)


def make(config, *, data_dir, image_size, num_samples, seed, race_fraction=0.0):
    """Returns the `ImageFolder` in `data_dir`. Lists its files and checks the test images, which no search reads.

    Raises:
        UserError: the folder is missing, empty or not as described above, or an argument is out of range.
    """
    check_request(image_size, num_samples, seed)
    if not data_dir:
        raise UserError(
            "The data set 'image_folder' needs --data_dir, a folder with a sub-folder of images for each class, or a "
            ".zip of one. Received: none"
        )
    files = _image_files.open_files(data_dir)
    return ImageFolder(config, files, image_size, num_samples, seed, race_fraction)


def read_unlabelled(data_dir, image_size):
    """Returns every image in a folder or a .zip, in whatever folders, uint8 [n, image_size, image_size, 3].

    Raises:
        UserError: there is none, or one cannot be read.
    """
    files, defaults = _image_files.open_files(data_dir), Config()
    names = sorted(
        f"{directory}/{name}".lstrip("/")
        for directory, found in files.tree.items()
        for name in _decoding.readable_among(found)
    )
    if not names:
        raise UserError(f"Expected images in {str(data_dir)!r}. Received: none that can be read")
    reader = ImageReader(files, names, defaults.max_megapixels, skip=False)
    return reader.decode(names, image_size, defaults.fit, reader.num_threads(names))


class ImageFolder(Dataset):
    """Images of one's own, with a folder for each class."""

    name = "image_folder"

    def __init__(self, config, files, image_size, num_samples, seed, race_fraction=0.0):
        self._config, self._files, self._image_size, self._seed = config, files, image_size, seed
        self.augmentation = config.augmentation
        found = _class_folders.find(files)
        self.class_names, self._root, self._found, self._notes = found.names, found.root, found.splits, found.notes
        skip = config.skip_bad_images
        names = [name for names, _ in self._found.values() for name in names]
        self._reader = ImageReader(files, names, config.max_megapixels, skip)
        self._skipped = self._reader.unreadable() if skip else {}
        if self._skipped:
            self._found = {split: self._without_skipped(split) for split in self._found}
        fractions = {"test": config.test_fraction, "validation": config.validation_fraction}
        drawn = {split: share for split, share in fractions.items() if split not in self._found}
        drawn |= {"race": race_fraction} if race_fraction else {}
        self._fractions = drawn_fractions(drawn, len(self._found["train"][0]))
        self._examples = self._draw(num_samples)
        self._in_memory = sum(map(self._num_bytes, self._examples)) <= config.max_memory_mb * 2**20
        if not skip:
            self._reader.check(self._examples["test"][0])

    def describe(self):
        drawn = ", ".join(f"{split} ({fraction:g})" for split, fraction in self._fractions.items())
        num_images = sum(len(_decoding.readable_among(names)) for names in self._files.tree.values())
        skipped = {"bad_images_skipped": len(self._skipped)} if self._config.skip_bad_images else {}
        return {
            "name": self.name,
            "source": _image_files.printable(self._files.root),
            "classes": list(self.class_names),
            "image_size": self._image_size,
            "fit": self._config.fit,
            "num_examples": {split: len(self._examples[split][0]) for split in split_names(self._fractions)},
            "splits": f"drawn from the training images, stratified, with seed {self._seed}: {drawn or 'none'}",
            "files_ignored": sum(map(len, self._files.tree.values())) - num_images,
            "digest": self._digest,
            **skipped,
        }

    def labels(self, split):
        return self._examples[split][1]

    def copies(self):
        found = {
            split: [name for name in self._examples[split][0] if name in self._copies]
            for split in split_names(self._fractions)[1:]
        }
        test = found["test"]
        if test and "test" in self._found and not self._config.allow_test_in_train:
            raise UserError(
                f"Expected test images that are not trained on. Received: {len(test)} of "
                f"{len(self._examples['test'][0]):,} test images that are also training images, the first "
                f"{test[0]!r} = {self._copies[test[0]]!r}. Remove them, or give --allow_test_in_train"
            )
        return {split: len(names) for split, names in found.items() if names}

    def notes(self, deploy_image_size=None):
        notes = list(self._notes)
        if self._skipped:
            notes.append(f"images are left out: {self._reader.report(self._skipped)}")
        size = max(self._image_size, deploy_image_size or 0)
        if self.median_side < size:
            what = f"--deploy_image_size={size} enlarges" if size == deploy_image_size else f"{size} px enlarge"
            notes.append(f"images of median {self.median_side} px; {what} them")
        return notes

    @functools.cached_property
    def median_side(self):
        """int: the median of the shorter sides of some training images, of which no more than the headers are read."""
        names = self._examples["train"][0]
        sides = [_decoding.shorter_side(self._files, name) for name in names[:: -(-len(names) // _SAMPLED_SIZES)]]
        known = [side for side in sides if side is not None]
        return int(np.median(known)) if known else self._image_size

    @functools.cached_property
    def _copies(self):
        """dict from each validation or test image that is a training image too to the first such training image."""
        others = [name for split in split_names(self._fractions)[1:] for name in self._examples[split][0]]
        return self._reader.copies_among(others, self._draw(num_samples=0)["train"][0])

    @functools.cached_property
    def _digest(self):
        """Stands for the names and sizes of all images, below the innermost folder that holds them all."""
        sizes = self._reader.sizes([name for names, _ in self._found.values() for name in names])
        return fingerprint(sorted((name.removeprefix(self._root).lstrip("/"), size) for name, size in sizes.items()))

    def _without_skipped(self, split):
        """Returns the paths and labels of a split without images that cannot be read."""
        names, labels = self._found[split]
        kept = [i for i, name in enumerate(names) if name not in self._skipped]
        lost = set(labels.tolist()) - set(labels[kept].tolist())
        if lost:
            raise UserError(
                f"Expected images of every class that can be read. Received: none of {self.class_names[min(lost)]!r} "
                f"for {split}, {self._reader.report(self._skipped)}. Add images, or delete the class folder"
            )
        return [names[i] for i in kept], labels[kept]

    def _draw(self, num_samples):
        """Returns a dict from each split to its `(list[str] of paths, int32 [n] labels)`."""
        names, labels = self._found["train"]
        indices = partition(labels, self.class_names, self._fractions, num_samples, self._seed)
        drawn = {split: ([names[i] for i in chosen], labels[chosen]) for split, chosen in indices.items()}
        return {**self._found, **drawn}

    def _num_bytes(self, split):
        return len(self._examples[split][0]) * self._image_size**2 * 3

    def read(self, split):
        names, labels = self._examples[split]
        image_size, fit, threads = self._image_size, self._config.fit, self._reader.num_threads(names)
        if self._in_memory:
            return Images(self._reader.decode(names, image_size, fit, threads), labels)

        def read(indices):
            return self._reader.decode([names[i] for i in indices], image_size, fit, threads=1), labels[indices]

        def batches(batch_size, *, seed=None, epochs=1, first_step=0):
            return indexed_batches(read, Steps(len(names), batch_size, seed, epochs, first_step), threads)

        return Stream(batches, len(names))
