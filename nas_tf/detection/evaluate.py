"""Mean average precision, by COCO's own tool (`pycocotools`)."""

import contextlib
import copy
import dataclasses
import io

import numpy as np

from nas_tf.datasets import scale_pixels
from nas_tf.detection.batches import plain_batches
from nas_tf.detection.boxes import anchors
from nas_tf.detection.nms import detections
from nas_tf.trial import UserError

BATCH = 32
_GROUPS = 20  # of images, each left out once


@dataclasses.dataclass(frozen=True)
class MeanPrecision:
    """COCO's figures of some images, each in [0, 1], or None where there is nothing to find.

    Attributes:
        map: mean over classes, and over intersections over union of 0.5 to 0.95, of the average precision.
        map_50, map_75: at an intersection over union of 0.5, and 0.75.
        map_small, map_medium, map_large: of objects below 32 x 32 pixels, below 96 x 96, and above.
        by_class: of each class, over all intersections over union.
        num_images: how many images there were.
        map_error, map_50_error: standard errors, by the jackknife over 20 groups of images (Efron and Stein 1981). They
            cover the choice of images, not that of initial weights. None of fewer than two images.
    """

    map: float | None
    map_50: float | None
    map_75: float | None
    map_small: float | None
    map_medium: float | None
    map_large: float | None
    by_class: tuple[float | None, ...]
    num_images: int
    map_error: float | None = None
    map_50_error: float | None = None


def mean_precision(examples, found, num_classes):
    """Returns the `MeanPrecision` of what was found in some images.

    Args:
        examples: tuple of `nas_tf.detection.annotations.Example`s.
        found: list of `(boxes, scores, classes)` of each, as `nas_tf.detection.nms.detections` returns.
        num_classes: int.

    Raises:
        UserError: there are no images.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not examples:
        raise UserError("Expected annotated images to find objects in. Received: none in this split")
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": i, "width": each.width, "height": each.height} for i, each in enumerate(examples)],
        "categories": [{"id": i} for i in range(num_classes)],
        "annotations": _annotations(examples),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        rows = _rows(examples, found)
        if len(rows) == 0:  # which COCO's tool cannot read
            rows = np.float64([[0, 0, 0, 0, 0, -1.0, 0]])
        judge = COCOeval(truth, truth.loadRes(rows), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        precision = judge.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes; all sizes, 100 detections
        errors = _errors(judge, len(examples))
    by_class = tuple(_mean(each) for each in np.moveaxis(precision, 2, 0))
    return MeanPrecision(*(_or_none(each) for each in judge.stats[:6]), by_class, len(examples), *errors)


def _errors(judge, num_images):
    """Returns the standard errors of `map` and `map_50`, and leaves the `COCOeval` without a group of its images."""
    groups, whole = min(_GROUPS, num_images), judge.evalImgs  # of each class and size, the images
    parameters, found = copy.copy(judge.params), []
    parameters.areaRng, parameters.maxDets = parameters.areaRng[:1], parameters.maxDets[-1:]
    for group in range(groups):
        judge.evalImgs = [None if i % num_images % groups == group else each for i, each in enumerate(whole)]
        judge.accumulate(parameters)
        precision = judge.eval["precision"]
        found.append((_mean(precision), _mean(precision[0])))
    found = [[each for each in column if each is not None] for column in zip(*found)]
    return [(len(each) - 1) ** 0.5 * float(np.std(each)) if len(each) > 1 else None for each in found]


def _annotations(examples):
    rows = []
    for i, example in enumerate(examples):
        for (left, top, right, bottom), label, ignored in zip(example.boxes, example.labels, example.ignored):
            width, height = float(right - left), float(bottom - top)
            rows.append(
                {
                    "id": len(rows) + 1,  # 0 stands for no match in COCO's tool
                    "image_id": i,
                    "category_id": int(label),
                    "bbox": [float(left), float(top), width, height],
                    "area": width * height,
                    "iscrowd": int(ignored),
                }
            )
    return rows


def _rows(examples, found):
    """Returns what was found as float64 [n, 7]: image, left, top, width, height in pixels, score, class."""
    rows = []
    for i, (example, (boxes, scores, classes)) in enumerate(zip(examples, found)):
        pixels = np.asarray(boxes, "float64") * [example.height, example.width, example.height, example.width]
        top, left, bottom, right = pixels.reshape(-1, 4).T
        rows.append(np.stack([np.full(len(top), i), left, top, right - left, bottom - top, scores, classes], axis=-1))
    return np.concatenate(rows)


def _mean(precision):
    there = precision[precision > -1]  # classes without objects have -1
    return float(there.mean()) if len(there) else None


def _or_none(value):
    return None if value < 0 else float(value)


def evaluate(detector, data, split, suppression, size=None):
    """Returns the `MeanPrecision` of a detector on a split.

    Args:
        detector: the `keras.Model` of a detector, or any function from float32 images in [-1, 1] to its two outputs.
        data: the `nas_tf.detection.data.DetectionData`.
        split: name of the split.
        suppression: the `nas_tf.detection.nms.Suppression`.
        size: height and width of the images in pixels; None: the model's.

    Raises:
        UserError: the split has no images.
    """
    examples, found = data.splits[split], []
    size = size or detector.inputs[0].shape[1]
    predict = getattr(detector, "predict_on_batch", detector)
    for images in plain_batches(data, examples, size, BATCH):
        differences, logits = predict(scale_pixels(images))
        found += detections(differences, logits, anchors(size), suppression)
    return mean_precision(examples, found, len(data.class_names))
