"""A detector as files: TFLite with and without non-maximum suppression, and a SavedModel."""

import pathlib

from nas_tf.detection import boxes as box_code
from nas_tf.detection._joining import joined
from nas_tf.detection.nms import suppress
from nas_tf.export import to_saved_function, to_tflite
from nas_tf.files import write_file
from nas_tf.quiet import quiet

# Names of a TFLite file's outputs; in the alphabet's order, which the converter gives them, they are in the order of
# TensorFlow's own detection files.
BOXES, CLASSES, SCORES, TOTAL = "boxes", "classes", "scores", "total"
_CANDIDATES = 1000  # the likeliest boxes, among which suppression chooses
_APART = 3.0  # between boxes of two classes, which so never overlap


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
    path = pathlib.Path(path)
    network = path.with_name(f".{path.name}.network")
    try:
        to_tflite(model, network, 1, number_type, calibration, float_outputs=True)
        # Joined afterwards, so that an int8 file does not quantise boxes and their suppression.
        content = joined(network.read_bytes(), _converted(outputs, model.outputs))
    finally:
        network.unlink(missing_ok=True)
    write_file(path, content)
    return len(content)


def _converted(outputs, tensors):
    """Returns the content of the float32 TFLite file of a function of a detector's two outputs for one image."""
    import tensorflow as tf

    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tf.float32, name=name)
        for name, tensor in zip(("differences", "logits"), tensors)
    ]
    with quiet():
        function = tf.function(lambda *given: outputs(given), jit_compile=False).get_concrete_function(*specs)
        return tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()).convert()


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
        classes = tf.cast(likeliest.indices % num_classes, tf.float32)
        boxes = tf.gather(boxes, likeliest.indices // num_classes)
        chosen, total = tf.raw_ops.NonMaxSuppressionV4(
            boxes=tf.clip_by_value(boxes, -1.0, 2.0) + _APART * classes[:, tf.newaxis],
            scores=likeliest.values,
            max_output_size=most,
            iou_threshold=suppression.most_iou,
            score_threshold=suppression.least_score,
            pad_to_max_output_size=True,
        )
        is_one = tf.cast(tf.range(most) < total, tf.float32)
        return {
            BOXES: (tf.clip_by_value(tf.gather(boxes, chosen), 0.0, 1.0) * is_one[:, tf.newaxis])[tf.newaxis],
            CLASSES: (tf.gather(classes, chosen) * is_one)[tf.newaxis],
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
