"""Images of one's own: a folder with a sub-folder of images for each class, or a .zip of such a folder.

The class folders are in `--data_dir` itself; or in its `train/` and, where they exist, its `val/` (or `valid/`,
`validation/`) and `test/`. All of this may be inside one more folder. A split that has no folder is drawn from the
training images. Images in `test/` that are training images too, byte for byte, are refused when a run begins, unless
`--allow_test_in_train` is given. Copies among images that are drawn into two splits are counted and said.

Images are .jpg, .jpeg, .png, .bmp, .gif (its first frame) or .webp files directly in their class folder, of any size
and colour mode. Other files are counted and ignored. A zip is read in place.
"""

import dataclasses
import functools
import posixpath

import numpy as np

from nas_tf.datasets import (
    Dataset,
    Images,
    Steps,
    Stream,
    _image_files,
    check_request,
    digest,
    indexed_batches,
)
from nas_tf.datasets._partition import check_fractions, drawn_fractions, partition
from nas_tf.settings import Settings, knob
from nas_tf.trial import UserError

_SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


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
        4096, "Images that need more than this, decoded, are decoded again for each batch.", least=0
    )

    allow_test_in_train: bool = knob(
        False, "Go on although test images are among the training images too.", flag="allow_test_in_train"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.validation_fraction is not None:
            check_fractions(validation_fraction=self.validation_fraction, test_fraction=self.test_fraction)


def make(config, *, data_dir, image_size, num_samples, seed):
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
    return ImageFolder(config, files, image_size, num_samples, seed)


class ImageFolder(Dataset):
    """Images of one's own, with a folder for each class."""

    name = "image_folder"

    def __init__(self, config, files, image_size, num_samples, seed):
        self._config, self._files, self._image_size, self._seed = config, files, image_size, seed
        self.augmentation = config.augmentation
        folders = _split_folders(files)
        self.class_names = _class_names(files, folders["train"])
        self._root = posixpath.commonpath(folders.values())
        self._found = {
            split: _examples(files, folder, self.class_names, folders["train"]) for split, folder in folders.items()
        }
        fractions = {"test": config.test_fraction, "validation": config.validation_fraction}
        drawn = {split: share for split, share in fractions.items() if split not in self._found}
        self._fractions = drawn_fractions(drawn, len(self._found["train"][0]))
        self._examples = self._draw(num_samples)
        self._in_memory = sum(map(self._num_bytes, self._examples)) <= config.max_memory_mb * 2**20
        _image_files.check_all(files, self._examples["test"][0])

    def describe(self):
        drawn = ", ".join(f"{split} ({fraction:g})" for split, fraction in self._fractions.items())
        num_images = sum(len(_image_files.images_among(names)) for names in self._files.tree.values())
        return {
            "name": self.name,
            "source": str(self._files.root),
            "classes": list(self.class_names),
            "image_size": self._image_size,
            "fit": self._config.fit,
            "num_examples": {split: len(self._examples[split][0]) for split in ("train", "validation", "test")},
            "splits": f"drawn from the training images, stratified, with seed {self._seed}: {drawn or 'none'}",
            "files_ignored": sum(map(len, self._files.tree.values())) - num_images,
            "digest": self._digest,
        }

    def labels(self, split):
        return self._examples[split][1]

    def copies(self):
        found = {
            split: [name for name in self._examples[split][0] if name in self._copies]
            for split in ("validation", "test")
        }
        test = found["test"]
        if test and "test" in self._found and not self._config.allow_test_in_train:
            raise UserError(
                f"Expected test images that are not trained on. Received: {len(test)} of "
                f"{len(self._examples['test'][0]):,} test images that are also training images, the first "
                f"{test[0]!r} = {self._copies[test[0]]!r}. Remove them, or give --allow_test_in_train"
            )
        return {split: len(names) for split, names in found.items() if names}

    @functools.cached_property
    def _copies(self):
        """dict from each validation or test image that is a training image too to the first such training image."""
        others = [name for split in ("validation", "test") for name in self._examples[split][0]]
        return _image_files.copies_among(self._files, others, self._draw(num_samples=0)["train"][0])

    @functools.cached_property
    def _digest(self):
        """Stands for the names and sizes of all images, below the innermost folder that holds them all."""
        sizes = _image_files.sizes(self._files, [name for names, _ in self._found.values() for name in names])
        return digest(sorted((name.removeprefix(self._root).lstrip("/"), size) for name, size in sizes.items()))

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
        threads, image_size, fit = _image_files.num_threads(self._files, names), self._image_size, self._config.fit
        if self._in_memory:
            return Images(_image_files.decode_all(self._files, names, image_size, fit, threads), labels)

        def read(indices):
            chosen = [names[i] for i in indices]
            return _image_files.decode_all(self._files, chosen, image_size, fit, threads=1), labels[indices]

        def batches(batch_size, *, seed=None, epochs=1, first_step=0):
            return indexed_batches(read, Steps(len(names), batch_size, seed, epochs, first_step), threads)

        return Stream(batches, len(names))


def _split_folders(files):
    """dict from each split that has a folder to that folder; `"train"` is always one of them."""
    root = ""
    outer = _sub_folders(files, root)
    if len(outer) == 1 and outer[0].lower() not in _SPLIT_FOLDERS["train"] and _sub_folders(files, outer[0]):
        root = outer[0]
    found = {}
    for folder in _sub_folders(files, root):
        for split, known_as in _SPLIT_FOLDERS.items():
            if folder.rpartition("/")[2].lower() in known_as:
                found.setdefault(split, folder)
    # A class may be called "train" too: then its folder holds images, and no class folders.
    is_split = "train" in found and _sub_folders(files, found["train"])
    return found if is_split else {"train": root}


def _class_names(files, folder):
    class_names = tuple(each.rpartition("/")[2] for each in _sub_folders(files, folder))
    if not class_names:
        num_images = len(_image_files.images_among(files.tree[folder]))
        raise UserError(
            f"Expected a sub-folder of images for each class in {files.path(folder)!r}. "
            f"Received: no sub-folder, {num_images} images. Sort the images into one folder for each class"
        )
    return class_names


def _examples(files, folder, class_names, train_folder):
    """Returns `(list[str] of paths, int32 [n] labels)` of the images in the class folders of a split's folder.

    Raises:
        UserError: the classes are not `class_names`, or one has no image.
    """
    found = tuple(each.rpartition("/")[2] for each in _sub_folders(files, folder))
    if found != class_names:
        missing, extra = sorted(set(class_names) - set(found)), sorted(set(found) - set(class_names))
        differences = [f"{word} {_some(names)}" for word, names in (("missing", missing), ("extra", extra)) if names]
        raise UserError(
            f"Expected the class folders of {files.path(folder)!r} to be those of {files.path(train_folder)!r}. "
            f"Received: {', '.join(differences)}. Rename, add or delete folders"
        )
    names, labels = [], []
    for label, class_name in enumerate(class_names):
        directory = f"{folder}/{class_name}".lstrip("/")
        images = _image_files.images_among(files.tree[directory])
        if not images:
            raise UserError(
                f"Expected images ({', '.join(_image_files.SUFFIXES)}) in every class folder. Received: none in "
                f"{files.path(directory)!r}, {len(files.tree[directory])} other files. Add images or delete the folder"
            )
        names += [f"{directory}/{image}" for image in images]
        labels += [label] * len(images)
    return names, np.array(labels, np.int32)


def _sub_folders(files, folder):
    prefix = f"{folder}/" if folder else ""
    return sorted(
        each for each in files.tree if each.startswith(prefix) and each != folder and "/" not in each[len(prefix) :]
    )


def _some(names):
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
