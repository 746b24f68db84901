"""What training does to images and their boxes together: SSD's random crop (arXiv 1512.02325, section 2.2), a flip."""

import numpy as np

# What a crop's overlap with an object must be at least; None: the whole image, 0: any crop.
LEAST_OVERLAPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
_LEAST_SIDE = 0.3  # of the image's
_MOST_RATIO = 2.0
_TRIES = 50


def flipped(image, boxes):
    """Returns image and boxes mirrored, left for right.

    Args:
        image: uint8 [height, width, 3].
        boxes: float32 [objects, 4] in shares of the image.
    """
    return image[:, ::-1], np.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], axis=-1)


def random_window(boxes, rng):
    """Returns a window that SSD's random crop cuts out, float32 [4] in shares of the image.

    Its sides are 0.3 to 1 of the image's, width to height is from 1/2 to 2. Some object's intersection over union with
    it is at least a number drawn from `LEAST_OVERLAPS`, and some object's middle lies in it.

    Args:
        boxes: float32 [objects, 4] in shares of the image.
        rng: `np.random.Generator`.
    """
    whole = np.float32([0, 0, 1, 1])
    least = LEAST_OVERLAPS[rng.integers(len(LEAST_OVERLAPS))]
    if least is None:
        return whole
    for _ in range(_TRIES):
        height, width = rng.uniform(_LEAST_SIDE, 1, 2)
        if not 1 / _MOST_RATIO <= width / height <= _MOST_RATIO:
            continue
        top, left = rng.uniform(0, 1 - height), rng.uniform(0, 1 - width)
        window = np.float32([top, left, top + height, left + width])
        if len(boxes) == 0 or (inside(boxes, window).any() and overlaps(boxes, window).max() >= least):
            return window
    return whole


def inside(boxes, window):
    """Returns bool [objects]: whether the middle of each box lies in a window."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return ((middles > window[:2]) & (middles < window[2:])).all(axis=1)


def overlaps(boxes, window):
    """Returns float32 [objects]: intersection over union of each box with a window."""
    sides = np.minimum(boxes[:, 2:], window[2:]) - np.maximum(boxes[:, :2], window[:2])
    shared = np.maximum(sides, 0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / (areas + (window[2:] - window[:2]).prod() - shared)


def cropped(image, boxes, window):
    """Returns `(image, boxes, kept)` of a window: its pixels, and the boxes of objects whose middles lie in it, cut.

    Args:
        image: uint8 [height, width, 3].
        boxes: float32 [objects, 4] in shares of the image.
        window: float32 [4] in shares of it; it is moved to whole pixels.

    Returns:
        uint8 [height, width, 3], float32 [kept objects, 4] in shares of the window, and bool [objects].
    """
    sides = np.float32([*image.shape[:2], *image.shape[:2]])
    top, left, bottom, right = np.round(window * sides).astype(int)
    bottom, right = max(bottom, top + 1), max(right, left + 1)
    exact = np.float32([top, left, bottom, right]) / sides
    kept = inside(boxes, exact)
    origin, size = np.tile(exact[:2], 2), np.tile(exact[2:] - exact[:2], 2)
    return image[top:bottom, left:right], np.clip((boxes[kept] - origin) / size, 0, 1), kept


def augmented(image, boxes, labels, rng):
    """Returns image, boxes and labels behind SSD's random crop and, half of the time, a flip.

    Args:
        image: uint8 [height, width, 3].
        boxes: float32 [objects, 4] in shares of the image.
        labels: int32 [objects].
        rng: `np.random.Generator`.
    """
    image, boxes, kept = cropped(image, boxes, random_window(boxes, rng))
    if rng.random() < 0.5:
        image, boxes = flipped(image, boxes)
    return image, boxes, labels[kept]
