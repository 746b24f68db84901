"""A detector as files: TFLite with and without non-maximum suppression, and a SavedModel."""

from nas_tf.detection import boxes as box_code
from nas_tf.detection.nms import suppress
from nas_tf.export import to_saved_function, to_tflite

# Names of a TFLite file's outputs; in the alphabet's order, which the converter gives them, they are in the order of
# TensorFlow's own detection files.
BOXES, CLASSES, SCORES, TOTAL = "boxes", "classes", "scores", "total"
_CANDIDATES = 1000  # the likeliest boxes, among which suppression chooses
_FINENESS, _APART = 1 << 16, 3  # steps in an image; images between boxes of two classes, which so never overlap


def write_tflite(model, path, around, suppression=None, number_type="float32", calibration=None):
    """Writes the TFLite file of a detector, for one image, and returns its size in bytes.

    With a `nas_tf.detection.nms.Suppression` it returns `boxes` float32 [1, most, 4] in shares of the image, `classes`
    (from 0 on) and `scores` float32 [1, most], and `total` float32 [1], how many of the most there are. Without, it
    returns the `boxes` of all anchors, float32 [1, anchors, 4], and the `scores` of the classes without background,
    float32 [1, anchors, classes]. Both are made of TFLite's plain operations. Its own detection operation would be
    faster, but with suppression by class it leaves classes out where LiteRT has two threads
    (github.com/tensorflow/tensorflow/issues/56058).

    Args:
        model: the `keras.Model` of the detector.
        path: of the file.
        around: its anchors, float32 [anchors, 4].
        suppression: the `Suppression`, or None.
        number_type, calibration: as for `nas_tf.export.to_tflite`.

    Raises:
        InfeasibleArchitecture: the converter refused the network.
    """
    outputs = _plain(around) if suppression is None else _suppressed(around, suppression)
    return to_tflite(model, path, 1, number_type, calibration, outputs=outputs)


def _plain(around):
    import tensorflow as tf

    def outputs(tensors):
        differences, logits = tensors
        return {BOXES: box_code.decode(differences, around), SCORES: tf.sigmoid(logits)[..., 1:]}

    return outputs


def _suppressed(around, suppression):
    import tensorflow as tf

    plain, most = _plain(around), suppression.max_detections

    def outputs(tensors):
        found = plain(tensors)
        boxes, scores = found[BOXES][0], found[SCORES][0]
        num_classes = scores.shape[1]
        likeliest = tf.math.top_k(tf.reshape(scores, [-1]), min(_CANDIDATES, scores.shape[0] * num_classes))
        classes = likeliest.indices % num_classes
        boxes = tf.gather(boxes, likeliest.indices // num_classes)
        # In whole numbers, which are exact in an int8 file too.
        steps = tf.cast(tf.clip_by_value(boxes, -1.0, 2.0) * _FINENESS, tf.int32)
        moved = steps + _APART * _FINENESS * classes[:, tf.newaxis]
        chosen, total = tf.raw_ops.NonMaxSuppressionV4(
            boxes=tf.cast(moved, tf.float32),
            scores=likeliest.values,
            max_output_size=most,
            iou_threshold=suppression.most_iou,
            score_threshold=suppression.least_score,
            pad_to_max_output_size=True,
        )
        is_one = tf.cast(tf.range(most) < total, tf.float32)
        return {
            BOXES: (tf.clip_by_value(tf.gather(boxes, chosen), 0.0, 1.0) * is_one[:, tf.newaxis])[tf.newaxis],
            CLASSES: (tf.cast(tf.gather(classes, chosen), tf.float32) * is_one)[tf.newaxis],
            SCORES: (tf.gather(likeliest.values, chosen) * is_one)[tf.newaxis],
            TOTAL: tf.cast(total, tf.float32)[tf.newaxis],
        }

    return outputs


def write_saved_model(model, path, around, suppression, labels):
    """Writes the SavedModel of a detector, which takes float32 [batch, size, size, 3] RGB in [-1, 1].

    It returns a dict: `boxes` float32 [batch, most, 4] in shares of the image, `classes` (from 0 on) and `scores`
    float32 [batch, most], and `total` int32 [batch].
    """
    import tensorflow as tf

    def call(images):
        differences, logits = model(images, training=False)
        kept = suppress(box_code.decode(differences, around), tf.sigmoid(logits)[..., 1:], suppression)
        boxes, scores, classes, total = kept
        return {BOXES: boxes, CLASSES: classes, SCORES: scores, TOTAL: total}

    to_saved_function(model, path, call, labels)
