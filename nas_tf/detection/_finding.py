"""Which files of a folder or .zip are annotations, of which split, and which images they are about."""

import pathlib
import re

from nas_tf.datasets import _decoding
from nas_tf.trial import UserError

_WORDS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_LISTS, _IMAGES = "ImageSets/Main", "JPEGImages"
_MOST_LIST_BYTES = 16 << 20


def annotation_files(files):
    """Returns `(form, dict from split to the paths of its annotation files)`; the split `""` is that of no name.

    Args:
        files: the `nas_tf.datasets._image_files.ImageFiles`.

    Returns:
        The form is `"coco"` or `"voc"`.

    Raises:
        UserError: there are annotations of neither form, or of both.
    """
    names = [f"{folder}/{name}".lstrip("/") for folder in sorted(files.tree) for name in files.tree[folder]]
    found = {"coco": [name for name in names if name.lower().endswith(".json")]}
    instances = [name for name in found["coco"] if name.rpartition("/")[2].startswith("instances")]
    found["coco"] = instances or found["coco"]
    found["voc"] = [name for name in names if name.lower().endswith(".xml")]
    if bool(found["coco"]) == bool(found["voc"]):
        both = "both" if found["coco"] else "neither"
        raise UserError(
            "Expected annotations of COCO's form, .json files, or of Pascal VOC's, .xml files. Received: "
            f"{both} in {files.root}"
        )
    form = "coco" if found["coco"] else "voc"
    lists = _lists(files, names) if form == "voc" else {}
    by_split = {}
    for name in found[form]:
        split = lists.get(pathlib.PurePosixPath(name).stem, "") if lists else _split_of(name)
        if split is not None:
            by_split.setdefault(split, []).append(name)
    if len(by_split) > 1:
        by_split.pop("", None)  # where most name their split, one that names none is about something else
    return form, by_split


def _split_of(path):
    """Returns the split that the last word of a path names, which is one; empty: none does."""
    words = re.findall(r"[a-z]+", path.lower())
    return next((_WORDS[word] for word in reversed(words) if word in _WORDS), "")


def _lists(files, names):
    """Returns a dict from the stem of an image to its split, of VOC's lists; empty: there are none."""
    found = {}
    for name in names:
        split = _WORDS.get(pathlib.PurePosixPath(name).stem)
        if split and name.endswith(".txt") and str(pathlib.PurePosixPath(name).parent).endswith(_LISTS):
            with files.open(name, _MOST_LIST_BYTES) as file:
                lines = file.read(_MOST_LIST_BYTES).decode(errors="replace").splitlines()
            found.update((line.split()[0], split) for line in lines if line.split())
    return found


class Finder:
    """Finds the images of annotations.

    Args:
        files: the `nas_tf.datasets._image_files.ImageFiles`.
        split: the split of the annotations: of several images of one name, that in a folder of this split is meant.
    """

    def __init__(self, files, split):
        self._files, self._split, self._by_name, self._by_stem = files, split, {}, {}
        for folder in sorted(files.tree):
            for name in _decoding.readable_among(files.tree[folder]):
                path = f"{folder}/{name}".lstrip("/")
                self._by_name.setdefault(name, []).append(path)
                self._by_stem.setdefault(pathlib.PurePosixPath(name).stem, []).append(path)

    def by_name(self, file_name):
        """Returns the path of the image that COCO calls `file_name`.

        Raises:
            UserError: there is none, or several.
        """
        wanted = file_name.replace("\\", "/").removeprefix("./")
        name = wanted.rpartition("/")[2]
        exact = [path for path in self._by_name.get(name, []) if path == wanted or path.endswith(f"/{wanted}")]
        return self._one(exact or self._by_name.get(name, []), file_name)

    def by_stem(self, stem):
        """Returns the path of the image whose name without its ending is `stem`; raises as `by_name` does."""
        found = self._by_stem.get(stem, [])
        # VOC's own folders hold masks of the same names.
        return self._one([path for path in found if _IMAGES in path.split("/")] or found, stem)

    def _one(self, found, name):
        if len(found) > 1:
            found = [path for path in found if _split_of(path.rpartition("/")[0]) == self._split] or found
        if len(found) == 1:
            return found[0]
        received = f"several: {', '.join(found[:2])}" if found else "none"
        raise UserError(f"Expected one image {name!r}, as annotations say, in {self._files.root}. Received: {received}")
