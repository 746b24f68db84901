"""From a detector's outputs to objects: non-maximum suppression by class, TensorFlow's."""

import dataclasses

import numpy as np

from nas_tf.detection import boxes as box_code
from nas_tf.settings import Settings, knob


@dataclasses.dataclass(frozen=True)
class Suppression(Settings):
    """Which boxes are kept: of each class the likeliest first, without those that overlap one of it."""

    max_detections: int = knob(100, "Objects that are kept of an image.", least=1, most=1000)
    least_score: float = knob(1e-3, "Score below which there is no object.", least=0, below=1)
    most_iou: float = knob(
        0.6, "Intersection over union with a likelier box of its class above which one is left out.", above=0, most=1
    )


def detections(differences, logits, around, suppression=Suppression()):
    """Returns the objects in some images, likeliest first.

    Args:
        differences: from the anchors, float32 [batch, anchors, 4].
        logits: of background and of the classes, float32 [batch, anchors, 1 + classes].
        around: the anchors, float32 [anchors, 4].
        suppression: the `Suppression`.

    Returns:
        A list of `(boxes, scores, classes)` for each image: float32 [n, 4], float32 [n], int32 [n], classes from 0 on.
    """
    from scipy.special import expit

    scores = expit(np.asarray(logits, "float32")[..., 1:])
    return suppressed(np.asarray(box_code.decode(differences, around)), scores, suppression)


def suppressed(boxes, scores, suppression=Suppression()):
    """Returns what is left of boxes, as `detections` does.

    Args:
        boxes: float32 [batch, anchors, 4].
        scores: of the classes without background, float32 [batch, anchors, classes].
        suppression: the `Suppression`.
    """
    kept_boxes, kept_scores, classes, counts = (each.numpy() for each in suppress(boxes, scores, suppression))
    return [
        (kept_boxes[i, :n], kept_scores[i, :n], classes[i, :n].astype("int32")) for i, n in enumerate(map(int, counts))
    ]


def suppress(boxes, scores, suppression):
    """Returns four tensors for the arguments of `suppressed`, also in a graph: boxes, float32 [batch, most, 4]; scores
    and classes, float32 [batch, most]; and how many of the most there are, int32 [batch]. The rest is 0.
    """
    import tensorflow as tf

    most = suppression.max_detections
    return tf.image.combined_non_max_suppression(
        tf.convert_to_tensor(boxes, tf.float32)[:, :, tf.newaxis],
        tf.convert_to_tensor(scores, tf.float32),
        most,
        most,
        suppression.most_iou,
        suppression.least_score,
        clip_boxes=True,
    )
