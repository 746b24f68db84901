"""Images of one's own: a folder with a sub-folder of images for each class, or a .zip of such a folder.

The class folders lie in `--data_dir` itself, or in its `train/` and, where they exist, `val/` (or `validation/`,
`valid/`) and `test/`; one folder around it all is looked through. What has no folder is drawn from the training images.
Images are .jpg, .jpeg, .png, .bmp, .gif (its first frame) or .webp, directly in their class folder, of any size and
colour mode; other files are counted and left alone. A zip is read in place.
"""

import dataclasses
import typing

import numpy as np

from nas_tf.datasets import (
    Dataset,
    Images,
    Steps,
    Stream,
    _image_files,
    check_fractions,
    check_request,
    indexed_batches,
    partition,
)
from nas_tf.flags import knob
from nas_tf.trial import UserError

_SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


@dataclasses.dataclass(frozen=True)
class Config:
    validation_fraction: float = knob(0.1, "Share of the training images drawn where validation has no folder.")
    test_fraction: float = knob(0.1, "Share of the training images drawn where testing has no folder.")
    fit: typing.Literal["stretch", "crop"] = knob(
        "stretch", "How an image that is not square becomes square: the whole of it stretched, or its middle cropped."
    )
    augmentation: typing.Literal["none", "shift", "shift_flip", "crop_flip"] = knob(
        "shift_flip", "What training may do to an image without changing its class."
    )
    max_memory_mb: int = knob(4096, "Decoded images above this size are decoded anew for each batch.")

    def __post_init__(self):
        check_fractions(validation_fraction=self.validation_fraction, test_fraction=self.test_fraction)
        if self.max_memory_mb < 0:
            raise UserError(f"Expected --image_folder_max_memory_mb >= 0. Received: {self.max_memory_mb}")


def make(config, *, data_dir, image_size, num_samples, seed):
    """The `ImageFolder` in `data_dir`; lists its files and checks the test images, which are read last.

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
    name = "image_folder"

    def __init__(self, config, files, image_size, num_samples, seed):
        self._config, self._files, self._image_size, self._seed = config, files, image_size, seed
        self.augmentation = config.augmentation
        folders = _split_folders(files)
        self.class_names = _class_names(files, folders["train"])
        self._examples = {
            split: _examples(files, folder, self.class_names, folders["train"]) for split, folder in folders.items()
        }
        self._draw(num_samples)
        self._in_memory = sum(map(self._num_bytes, self._examples)) <= config.max_memory_mb * 2**20
        _image_files.check_all(files, self._examples["test"][0])

    def train(self):
        return self._read("train")

    def validation(self):
        return self._read("validation")

    def test(self):
        return self._read("test")

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
        }

    def _draw(self, num_samples):
        fractions = {"test": self._config.test_fraction, "validation": self._config.validation_fraction}
        self._fractions = {split: part for split, part in fractions.items() if split not in self._examples}
        names, labels = self._examples["train"]
        indices = partition(labels, self.class_names, self._fractions, num_samples, self._seed)
        for split, chosen in indices.items():
            self._examples[split] = [names[i] for i in chosen], labels[chosen]

    def _num_bytes(self, split):
        return len(self._examples[split][0]) * self._image_size**2 * 3

    def _read(self, split):
        names, labels = self._examples[split]
        if self._in_memory:
            threads = _image_files.num_threads(self._files, names)
            return Images(
                _image_files.decode_all(self._files, names, self._image_size, self._config.fit, threads), labels
            )
        workers, image_size, fit = _image_files.num_threads(self._files, names), self._image_size, self._config.fit

        def read(indices):
            chosen = [names[i] for i in indices]
            return _image_files.decode_all(self._files, chosen, image_size, fit, threads=1), labels[indices]

        def batches(batch_size, *, seed=None, epochs=1, first_step=0):
            return indexed_batches(read, Steps(len(names), batch_size, seed, epochs, first_step), workers)

        return Stream(batches, len(names))


def _split_folders(files):
    """dict from each split that has a folder to that folder; `"train"` is always there."""
    root = ""
    around = _sub_folders(files, root)
    if len(around) == 1 and around[0].lower() not in _SPLIT_FOLDERS["train"] and _sub_folders(files, around[0]):
        root = around[0]
    found = {}
    for folder in _sub_folders(files, root):
        for split, known_as in _SPLIT_FOLDERS.items():
            if folder.rpartition("/")[2].lower() in known_as:
                found.setdefault(split, folder)
    # A class may be called "train", too: its folder has images, not class folders.
    is_split = "train" in found and _sub_folders(files, found["train"])
    return found if is_split else {"train": root}


def _class_names(files, folder):
    class_names = tuple(each.rpartition("/")[2] for each in _sub_folders(files, folder))
    if not class_names:
        lying = len(_image_files.images_among(files.tree[folder]))
        raise UserError(
            f"Expected a sub-folder of images for each class in {files.path(folder)!r}. "
            f"Received: no sub-folder, {lying} images. Sort the images into one folder a class"
        )
    return class_names


def _examples(files, folder, class_names, train_folder):
    """(list[str] paths, int32 [n] labels) of the images in the class folders of a split's folder.

    Raises:
        UserError: the classes are not `class_names`, or one has no image.
    """
    found = tuple(each.rpartition("/")[2] for each in _sub_folders(files, folder))
    if found != class_names:
        missing, extra = sorted(set(class_names) - set(found)), sorted(set(found) - set(class_names))
        raise UserError(
            f"Expected the class folders of {files.path(folder)!r} to be those of {files.path(train_folder)!r}. "
            f"Received: missing {_some(missing)}, in excess {_some(extra)}. Rename, add or delete folders"
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
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "none"
