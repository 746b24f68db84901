"""What a detector is trained on: the boxes of anchors with objects, and the classes of these and of some background."""

from nas_tf.detection.matching import match

LOSSES = ("hard_negatives", "focal")
# Hard negatives: anchors of background for each anchor with an object, and at least for each image.
NEGATIVES, LEAST_NEGATIVES = 3, 3
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


def detection_loss(around, kind="hard_negatives"):
    """Returns `loss(objects, outputs)`, float32 [], for `keras.Model.compile`.

    It is the sum of a box loss (Huber, with delta 1, of anchors with objects) and a class loss (sigmoid cross-entropy),
    divided by the number of anchors with objects in the batch, at least 1. `objects` are as for
    `nas_tf.detection.matching.match`; `outputs` are float32 [batch, anchors, 4 + 1 + classes]: differences from the
    anchors, and logits of background and of the classes.

    Args:
        around: the anchors, float32 [anchors, 4].
        kind: `"hard_negatives"`: of background, only the three anchors of the largest class loss count for each anchor
            with an object of the image (arXiv 1512.02325). `"focal"`: all anchors count, those that are easy little
            (arXiv 1708.02002).
    """
    from keras import ops

    def loss(objects, outputs):
        differences, classes = match(objects, around)
        logits = ops.cast(outputs[..., 4:], "float32")
        has_object = ops.cast(classes > 0, "float32")
        wanted = ops.one_hot(classes, logits.shape[-1])
        box_loss = ops.sum(_huber(ops.cast(outputs[..., :4], "float32") - differences), axis=-1) * has_object
        if kind == "focal":
            class_loss = ops.sum(_focal(wanted, logits), axis=-1)
        else:
            class_loss = ops.sum(_cross_entropy(wanted, logits), axis=-1)
            class_loss = class_loss * (has_object + hard_negatives(class_loss, has_object))
        return ops.sum(box_loss + class_loss) / ops.maximum(1.0, ops.sum(has_object))

    return loss


def hard_negatives(class_loss, has_object):
    """Returns 1 for each anchor of background that counts, and 0 for all others, float32 [batch, anchors].

    Args:
        class_loss: of each anchor, float32 [batch, anchors].
        has_object: 1 for an anchor with an object, else 0, float32 [batch, anchors].
    """
    from keras import ops

    negative = ops.stop_gradient(ops.where(has_object > 0, -1.0, class_loss))
    rank = ops.argsort(ops.argsort(-negative, axis=1), axis=1)
    most = ops.maximum(NEGATIVES * ops.sum(has_object, axis=1, keepdims=True), LEAST_NEGATIVES)
    return ops.cast(ops.cast(rank, "float32") < most, "float32") * (1.0 - has_object)


def _huber(error):
    from keras import ops

    size = ops.abs(error)
    return ops.where(size < 1.0, 0.5 * ops.square(size), size - 0.5)


def _cross_entropy(wanted, logits):
    """Returns sigmoid cross-entropy of each logit."""
    from keras import ops

    return ops.maximum(logits, 0.0) - logits * wanted + ops.log1p(ops.exp(-ops.abs(logits)))


def _focal(wanted, logits):
    from keras import ops

    probability = ops.sigmoid(logits)
    missed = ops.abs(wanted - probability)
    weight = ops.where(wanted > 0, FOCAL_ALPHA, 1.0 - FOCAL_ALPHA) * missed**FOCAL_GAMMA
    return weight * _cross_entropy(wanted, logits)
