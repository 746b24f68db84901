"""Where the splits and the classes are among the folders of a data set."""

import collections
import dataclasses
import posixpath
import re
import unicodedata

import numpy as np

from nas_tf.datasets import _decoding
from nas_tf.datasets._image_files import printable
from nas_tf.trial import UserError

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


@dataclasses.dataclass(frozen=True)
class ClassFolders:
    """The images of a data set, by split and class.

    Attributes:
        names: names of the classes, in the order of the labels.
        root: the innermost folder that holds all splits.
        splits: dict from `"train"`, and each other split that has a folder, to its `(list[str] of paths, int32 [n]
            labels)`.
        notes: list of sentences on what is found elsewhere than expected, or left out.
    """

    names: tuple[str, ...]
    root: str
    splits: dict
    notes: list


def find(files):
    """Returns the `ClassFolders` of `ImageFiles`.

    Raises:
        UserError: there are no class folders, those of two splits differ, or one has no image.
    """
    folders = _split_folders(files)
    class_names = tuple(_class_folders(files, folders["train"]))
    if not class_names:
        folder = folders["train"]
        num_images = len(_decoding.readable_among(files.tree[folder]))
        raise UserError(
            f"Expected a sub-folder of images for each class in {printable(files.path(folder))!r}. "
            f"Received: no sub-folder, {num_images} images. Sort the images into one folder for each class"
        )
    contents = _Contents(files)
    splits = {split: _examples(contents, folder, class_names, folders["train"]) for split, folder in folders.items()}
    return ClassFolders(class_names, posixpath.commonpath(folders.values()), splits, contents.notes())


class _Contents:
    """Lists the images in class folders, and remembers what is to be said of them."""

    def __init__(self, files):
        self.files = files
        self._listed, self._nested, self._in_all, self._left_out = set(), {}, collections.Counter(), {}

    def images(self, class_name, folder):
        """Returns the sorted paths of the images in a class folder and its sub-folders."""
        images, folders = [], [folder]
        while folders:
            each = folders.pop()
            folders += self.files.folders[each]
            self._listed.add(each)
            file_names = self.files.tree[each]
            readable = _decoding.readable_among(file_names)
            if len(readable) < len(file_names):
                self._count_left_out(class_name, set(file_names) - set(readable))
            if readable and each != folder:
                self._nested.setdefault(class_name, each)
            images += [f"{each}/{name}" for name in readable]
        self._in_all[class_name] += len(images)
        return sorted(images)

    def left_out(self, class_name):
        """`collections.Counter`: how many images of a class cannot be read here, by suffix."""
        return self._left_out.get(class_name, collections.Counter())

    def notes(self):
        notes = []
        for class_name, counts in self._left_out.items():
            total = self._in_all[class_name] + counts.total()
            for suffix, count in counts.items():
                notes.append(f"{count} of {total} images of {class_name} are {suffix} and left out")
        if len(notes) > 4:
            notes[3:] = [f"and so on for {len(self._left_out)} of {len(self._in_all)} classes"]
        if self._nested:
            notes.append(f"images in sub-folders of class folders are used, in {_some(sorted(self._nested.values()))}")
        elsewhere = {
            folder: count
            for folder, names in self.files.tree.items()
            if folder not in self._listed and (count := len(_decoding.readable_among(names)))
        }
        if elsewhere:
            where = _some(sorted(self.files.path(folder) for folder in elsewhere))
            notes.append(f"{sum(elsewhere.values())} images outside of the class folders are left out, in {where}")
        return notes

    def _count_left_out(self, class_name, file_names):
        suffixes = collections.Counter(filter(None, map(_decoding.suffix_of, file_names)))
        if suffixes:
            self._left_out[class_name] = self.left_out(class_name) + suffixes


def _split_folders(files):
    """dict from each split that has a folder to the folder of its class folders; `"train"` is always one of them.

    Their names differ in the split's word alone, as in `seg_train` and `seg_test`.
    """
    root = _unwrapped(files, "")
    alike = {}
    for folder in sorted(files.folders[root]):
        words = re.findall("[a-z]+|[0-9]+", posixpath.basename(folder).lower())
        for split, known_as in _SPLIT_WORDS.items():
            rest = [word for word in words if word not in known_as]
            if len(rest) == len(words) - 1:
                alike.setdefault(tuple(rest), {}).setdefault(split, _unwrapped(files, folder))
    for rest, found in sorted(alike.items()):
        # A class may be called "train" too: then its folder holds images, and no class folders.
        is_split = "train" in found and files.folders[found["train"]]
        if is_split and (len(found) > 1 or not rest):
            return found
    return {"train": root}


def _unwrapped(files, folder):
    """Returns the folder in which more than one other lies, or one without folders: `"pets/pets"` for `"pets"`."""
    while len(files.folders[folder]) == 1 and files.folders[files.folders[folder][0]]:
        folder = files.folders[folder][0]
    return folder


def _class_folders(files, folder):
    """Returns a sorted dict from the name of each class in a split's folder to its folders.

    One name may be written with composed letters (NFC) in one place and with combining ones (NFD) in another.
    """
    found = {}
    for each in sorted(files.folders[folder]):
        found.setdefault(printable(unicodedata.normalize("NFC", posixpath.basename(each))), []).append(each)
    return dict(sorted(found.items()))


def _examples(contents, folder, class_names, train_folder):
    """Returns `(list[str] of paths, int32 [n] labels)` of the images in the class folders of a split's folder.

    Raises:
        UserError: the classes are not `class_names`, or one has no image.
    """
    files = contents.files
    found = _class_folders(files, folder)
    if tuple(found) != class_names:
        missing, extra = sorted(set(class_names) - set(found)), sorted(set(found) - set(class_names))
        differences = [f"{word} {_some(names)}" for word, names in (("missing", missing), ("extra", extra)) if names]
        path, train_path = printable(files.path(folder)), printable(files.path(train_folder))
        raise UserError(
            f"Expected the class folders of {path!r} to be those of {train_path!r}. "
            f"Received: {', '.join(differences)}. Rename, add or delete folders"
        )
    names, labels = [], []
    for label, class_name in enumerate(class_names):
        images = [image for each in found[class_name] for image in contents.images(class_name, each)]
        if not images:
            readable = [suffix for suffix, each in _decoding.SUFFIXES.items() if each in _decoding.formats()]
            others = [f"{count} {suffix}" for suffix, count in contents.left_out(class_name).items()]
            others = ", ".join(others) or len(files.tree[found[class_name][0]])
            raise UserError(
                f"Expected images ({', '.join(readable)}) in every class folder. Received: none in "
                f"{printable(files.path(found[class_name][0]))!r}, {others} other files. Add or convert images, or "
                "delete the folder"
            )
        names += images
        labels += [label] * len(images)
    return names, np.array(labels, np.int32)


def _some(names):
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(repr(printable(name)) for name in names[:3]) + more
