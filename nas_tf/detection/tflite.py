"""A detector's TFLite file at work: pixels in, objects out. Needs no TensorFlow, but for a file without suppression."""

import os

import numpy as np

from nas_tf.datasets import PIXEL_MEAN, PIXEL_STD
from nas_tf.quiet import quiet
from nas_tf.trial import UserError

_WITH_SUPPRESSION, _WITHOUT = 4, 2  # outputs


class TFLiteDetector:
    """A file that `nas_tf.detection.export.write_tflite` wrote. It runs in this process, on all cores.

    Args:
        path: of the file.
        suppression: the `nas_tf.detection.nms.Suppression` for a file without; one that has it keeps to its own.

    Attributes:
        size: height and width of the images it takes.

    Raises:
        UserError: the file has other inputs or outputs, or LiteRT cannot run it.
    """

    def __init__(self, path, suppression=None):
        from ai_edge_litert.interpreter import Interpreter

        path = os.fspath(path)
        try:
            with quiet():
                self._interpreter = Interpreter(path, num_threads=os.cpu_count())
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise UserError(f"Expected a TFLite file that LiteRT can run. Received: {path!r}: {error}") from error
        signature = self._interpreter.get_signature_list()["serving_default"]
        self._given, *others = self._interpreter.get_input_details()
        shape = tuple(int(side) for side in self._given["shape"])
        if (
            others
            or len(shape) != 4
            or shape[1] != shape[2]
            or len(signature["outputs"]) not in (_WITH_SUPPRESSION, _WITHOUT)
        ):
            raise UserError(
                "Expected a detector's file: one image [1, size, size, 3] in, 2 or 4 outputs. "
                f"Received: {path!r}, {shape} in, {len(signature['outputs'])} outputs"
            )
        self._runner = self._interpreter.get_signature_runner("serving_default")
        self.size, self._suppression = shape[1], suppression
        self.has_suppression = len(signature["outputs"]) == _WITH_SUPPRESSION

    def detections(self, image):
        """Returns `(boxes, scores, classes)` of an image, uint8 [size, size, 3]: `nas_tf.detection.nms.detections`."""
        found = self._runner(image=self._as_input(image[np.newaxis]))
        if self.has_suppression:
            total = int(found["total"][0])
            boxes = np.clip(found["boxes"][0, :total], 0, 1)
            return boxes, found["scores"][0, :total], found["classes"][0, :total].astype("int32")
        from nas_tf.detection.nms import suppressed

        return suppressed(found["boxes"], found["scores"], self._suppression)[0]

    def _as_input(self, images):
        values = images.astype("float32") / PIXEL_STD - PIXEL_MEAN / PIXEL_STD
        dtype = self._given["dtype"]
        if not np.issubdtype(dtype, np.integer):
            return values.astype(dtype)
        scale, zero_point = self._given["quantization"]
        limits = np.iinfo(dtype)
        return np.clip(np.round(values / scale + zero_point), limits.min, limits.max).astype(dtype)
