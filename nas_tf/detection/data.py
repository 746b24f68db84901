"""Annotated images of a folder or a .zip, in COCO's or Pascal VOC's form, divided into splits."""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np

from nas_tf.datasets import _decoding
from nas_tf.datasets._image_files import UnreadableImage, open_files
from nas_tf.detection import _coco, _voc
from nas_tf.detection._finding import Finder, annotation_files
from nas_tf.detection.annotations import Damages, Example
from nas_tf.quiet import count
from nas_tf.trial import UserError

SPLITS = ("train", "validation", "test")
_DRAWN_SHARE = 0.1  # of the images, for a split that the data do not name
_MAX_MEGAPIXELS = 178.0
_MOST_NAMED = 5  # in a message


@dataclasses.dataclass(frozen=True)
class DetectionData:
    """Annotated images.

    Attributes:
        form: `"coco"` or `"voc"`.
        root: path of the folder or the .zip.
        files: its `nas_tf.datasets._image_files.ImageFiles`.
        class_names: in the order of labels.
        splits: dict from `"train"`, `"validation"` and `"test"` to a tuple of `Example`s.
        notes: sentences on what is damaged, kept or without examples.
    """

    form: str
    root: str
    files: object
    class_names: tuple[str, ...]
    splits: dict[str, tuple[Example, ...]]
    notes: tuple[str, ...]

    def read(self, example):
        """Returns the image of an `Example`, uint8 [height, width, 3].

        Raises:
            UserError: it cannot be decoded, or has another size than its annotation says.
        """
        try:
            image = _decoding.decode_whole(self.files, example.name, _MAX_MEGAPIXELS)
        except UnreadableImage as error:
            raise UserError(
                f"Expected images that can be decoded. Received: {self.files.path(example.name)} ({error}). Replace "
                "it, or remove it from the annotations"
            ) from error
        if image.shape[:2] != (example.height, example.width):
            raise UserError(
                f"Expected an image of {example.width} x {example.height} pixels, as its annotation says. Received: "
                f"{self.files.path(example.name)} of {image.shape[1]} x {image.shape[0]}"
            )
        return image

    def describe(self):
        """Returns a JSON-ready dict. `digest` is 16 hex digits that tell other annotations from these."""
        return {
            "name": self.form,
            "source": os.path.basename(os.path.abspath(self.root)),
            "class_names": list(self.class_names),
            "num_examples": {name: len(each) for name, each in self.splits.items()},
            "num_objects": {name: sum(len(each.labels) for each in split) for name, split in self.splits.items()},
            "digest": _digest(self),
        }

    def summary(self):
        """Returns in words which images there are, and the notes, one a line."""
        splits = ", ".join(f"{len(examples):,} {name}" for name, examples in self.splits.items())
        objects = sum(len(each.labels) for split in self.splits.values() for each in split)
        first = f"{self.form}: {splits} images with {objects:,} objects of {count(len(self.class_names), 'class')}"
        return "\n".join([f"{first.replace('classs', 'classes')}, from {self.root}", *self.notes])


def read_data(data_dir, seed=0):
    """Returns the `DetectionData` of a folder or a .zip.

    Annotations are COCO's .json files or VOC's .xml files. The split of each is that in its path or name (`train`,
    `val`, `valid`, `validation`, `test`) or, of VOC, in `ImageSets/Main`. Where no split is named, a tenth of the
    images each is for validation and for test; where only that for validation is not, it is a tenth of train.

    Args:
        data_dir: the folder or .zip.
        seed: decides the splits that are drawn.

    Raises:
        UserError: there is no such folder, no annotations, an image is missing, or most boxes are damaged.
    """
    if not data_dir:
        raise UserError(
            "Expected --data_dir, a folder or .zip of images with COCO's or VOC's annotations. Received: none"
        )
    if not pathlib.Path(data_dir).exists():
        raise UserError(
            f"Expected --data_dir, a folder or .zip of annotated images. There is no {os.fspath(data_dir)!r}"
        )
    files = open_files(data_dir)
    form, by_split = annotation_files(files)
    damages = Damages()
    reader = _read_coco if form == "coco" else _read_voc
    class_names, splits = reader(files, by_split, damages)
    splits = _completed(splits, seed)
    _check(class_names, splits, damages, data_dir)
    return DetectionData(form, os.fspath(data_dir), files, class_names, splits, _notes(class_names, splits, damages))


def _read_coco(files, by_split, damages):
    parsed = {split: [(path, _coco.read(files, path)) for path in paths] for split, paths in by_split.items()}
    first = parsed.get("train") or next(iter(parsed.values()))
    named = _coco.categories(first[0][1], files.path(first[0][0]))
    labels, splits = {number: label for label, number in enumerate(named)}, {}
    for split, values in parsed.items():
        finder = Finder(files, split)
        splits[split] = [
            each
            for path, value in values
            for each in _coco.examples(value, labels, files.path(path), finder.by_name, damages)
        ]
    return tuple(named.values()), splits


def _read_voc(files, by_split, damages):
    found = {split: [(path, _voc.read(files, path)) for path in paths] for split, paths in by_split.items()}
    of_classes = found.get("train") or [each for values in found.values() for each in values]
    names = tuple(sorted({name for _, (_, _, objects) in of_classes for *_, name, _ in objects}))
    labels, splits = {name: label for label, name in enumerate(names)}, {}
    for split, values in found.items():
        finder = Finder(files, split)
        stems = [(pathlib.PurePosixPath(path).stem, *rest) for path, (_, *rest) in values]
        splits[split] = _voc.examples(stems, labels, finder.by_stem, damages)
    return names, splits


def _completed(splits, seed):
    """Returns a dict of all splits; one that the data do not name is drawn from those they do."""
    whole = splits.pop("", None)
    if whole is not None:
        splits = {"train": whole, **splits}
    train, rng = list(splits.get("train", [])), np.random.default_rng(seed)
    for name in ("test", "validation"):
        if splits.get(name) or not train or (name == "test" and whole is None):
            continue
        drawn = set(rng.permutation(len(train))[: max(1, round(len(train) * _DRAWN_SHARE))].tolist())
        splits[name] = [each for i, each in enumerate(train) if i in drawn]
        train = [each for i, each in enumerate(train) if i not in drawn]
    return {**{name: tuple(splits.get(name, ())) for name in SPLITS}, "train": tuple(train)}


def _check(class_names, splits, damages, data_dir):
    kept = sum(len(each.labels) for split in splits.values() for each in split)
    if damages.num_left_out > kept:
        raise UserError(
            f"Expected boxes in pixels inside their images. Received: {data_dir} with "
            f"{damages.num_left_out:,} of {damages.num_left_out + kept:,} objects damaged: {'; '.join(damages.notes())}"
        )
    if not kept:
        raise UserError(f"Expected annotated objects. Received: {data_dir}, whose images have none")
    if not class_names:
        raise UserError(f"Expected classes of objects. Received: {data_dir}, whose annotations name none")


def _notes(class_names, splits, damages):
    notes = damages.notes()
    empty = sum(len(each.labels) == 0 for split in splits.values() for each in split)
    if empty:
        notes.append(f"{count(empty, 'image')} without objects {'is' if empty == 1 else 'are'} kept, as background")
    for split, examples in splits.items():
        present = {int(label) for each in examples for label in each.labels}
        missing = [name for label, name in enumerate(class_names) if label not in present]
        if missing and examples:
            named = ", ".join(missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
            notes.append(f"{len(missing):,} of {len(class_names):,} classes without an object in {split}: {named}")
    return tuple(notes)


def _digest(data):
    found = hashlib.sha256(repr(data.class_names).encode())
    for split, examples in data.splits.items():
        found.update(split.encode())
        for each in examples:
            found.update(f"{each.name} {each.width} {each.height}".encode())
            for array in (each.boxes, each.labels, each.ignored):
                found.update(array.tobytes())
    return found.hexdigest()[:16]
