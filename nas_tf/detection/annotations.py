"""Annotated images, as plain data, and what is wrong with their boxes."""

import collections
import dataclasses

import numpy as np

from nas_tf.quiet import count
from nas_tf.trial import UserError

_MOST_NAMED = 5  # in a message
DAMAGES = {
    "cut": "reached beyond the image and was cut at its border|reached beyond their images and were cut at the border",
    "outside": "lies outside its image and is left out|lie outside their images and are left out",
    "no size": "has no size and is left out|have no size and are left out",
    "not finite": "is no four finite numbers and is left out|are no four finite numbers and are left out",
}


@dataclasses.dataclass(frozen=True)
class Example:
    """One image with its objects.

    Attributes:
        name: path of the image below the data's root.
        width, height: of the image in pixels, as the annotations say.
        boxes: float32 [objects, 4]: left, top, right, bottom in pixels.
        labels: int32 [objects], from 0 on.
        ignored: bool [objects]: crowds of COCO and what VOC calls difficult. They are not learned, and finding them is
            neither right nor wrong.
    """

    name: str
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    ignored: np.ndarray

    @property
    def shares(self):
        """The boxes in shares of the image, top, left, bottom, right: float32 [objects, 4]."""
        return (self.boxes / np.float32([self.width, self.height] * 2))[:, [1, 0, 3, 2]]


class Damages:
    """Counts of what is wrong with annotations, over all images."""

    def __init__(self):
        self._counts, self._unknown, self._num_unknown = collections.Counter(), {}, 0

    def of_box(self, what):
        self._counts[what] += 1

    def of_category(self, category, image):
        """Counts an object of a category that the annotations do not name."""
        self._num_unknown += 1
        self._unknown.setdefault(category, image)

    @property
    def num_left_out(self):
        """int: objects that are left out."""
        return sum(self._counts[what] for what in DAMAGES if what != "cut") + self._num_unknown

    def notes(self):
        """Returns a list of sentences, one for each kind of damage."""
        found = []
        for what, words in DAMAGES.items():
            if self._counts[what]:
                one, several = words.split("|")
                is_one = self._counts[what] == 1
                found.append(f"1 box {one}" if is_one else f"{self._counts[what]:,} boxes {several}")
        if self._num_unknown:
            named = ", ".join(str(each) for each in list(self._unknown)[:_MOST_NAMED])
            image = next(iter(self._unknown.values()))
            objects = count(self._num_unknown, "object")
            found.append(f"{objects} of unknown category ids ({named}; the first in {image}) left out")
        return found


def example(name, width, height, objects, damages):
    """Returns an `Example` of the boxes that are whole.

    Args:
        name, width, height: as of `Example`.
        objects: list of `(left, top, right, bottom, label, ignored)` in pixels.
        damages: the `Damages`, which are counted.

    Raises:
        UserError: the image has no size.
    """
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise UserError(
            f"Expected width and height of an image in pixels. Received: {width!r} x {height!r} of {name!r}"
        )
    boxes, labels, ignored = [], [], []
    for *corners, label, is_ignored in objects:
        corners = _whole(corners, width, height, damages)
        if corners is not None:
            boxes.append(corners)
            labels.append(label)
            ignored.append(is_ignored)
    return Example(
        name,
        width,
        height,
        np.asarray(boxes, "float32").reshape(-1, 4),
        np.asarray(labels, "int32"),
        np.asarray(ignored, bool),
    )


def _whole(corners, width, height, damages):
    """Returns a box inside its image, or None if nothing is left of it."""
    try:
        left, top, right, bottom = (float(each) for each in corners)
    except (TypeError, ValueError):
        left = np.nan
    if not np.isfinite(left) or not np.isfinite([left, top, right, bottom]).all():
        damages.of_box("not finite")
        return None
    if right <= left or bottom <= top:
        damages.of_box("no size")
        return None
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        damages.of_box("outside")
        return None
    cut = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    if max(abs(a - b) for a, b in zip(cut, (left, top, right, bottom))) > 1:  # borders are often off by a pixel
        damages.of_box("cut")
    return cut
