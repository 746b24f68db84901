"""Which object each anchor is to find (arXiv 1512.02325, section 2.2, "Matching strategy")."""

from nas_tf.detection import boxes as box_code

LEAST_IOU = 0.5  # intersection over union from which an anchor has an object


def match(objects, around):
    """Returns what a detector should answer at each anchor.

    An anchor has the object that it overlaps most, if their intersection over union is 0.5 or more. Every object has at
    least the anchor that overlaps it most; if two objects share it, it is the later one's.

    Args:
        objects: float32 [batch, most, 5] of box and class from 1 on; a row of class 0 is no object.
        around: the anchors, float32 [anchors, 4].

    Returns:
        Two tensors: the differences that `nas_tf.detection.boxes.encode` returns, float32 [batch, anchors, 4], and the
        classes, int32 [batch, anchors], 0 for background.
    """
    from keras import ops
    from keras.utils import bounding_boxes

    objects = ops.convert_to_tensor(objects)
    is_object = ops.cast(objects[..., 4:] > 0, "float32")
    overlaps = bounding_boxes.compute_iou(objects[..., :4], ops.convert_to_tensor(around), "yxyx") * is_object
    best = ops.argmax(overlaps, axis=1)
    closest = ops.one_hot(ops.argmax(overlaps, axis=2), around.shape[0]) * is_object
    order = ops.reshape(ops.arange(1, objects.shape[1] + 1, dtype="float32"), (1, -1, 1))
    forced = ops.max(closest * order, axis=1)  # 0, or 1 + the last object whose closest anchor this is
    has_object = ops.logical_or(ops.max(overlaps, axis=1) >= LEAST_IOU, forced > 0)
    chosen = ops.where(forced > 0, ops.cast(forced, "int32") - 1, ops.cast(best, "int32"))
    # Each anchor's object. A matrix product would round boxes on GPUs that multiply in TF32.
    own = ops.sum(ops.one_hot(chosen, objects.shape[1])[..., None] * objects[:, None], axis=2)
    classes = ops.cast(ops.where(has_object, own[..., 4], 0.0), "int32")
    matched = ops.where((classes > 0)[..., None], own[..., :4], ops.convert_to_tensor(around))
    return box_code.encode(matched, around), classes
