"""A TFLite image classifier, run by LiteRT: pixels in, probabilities out. Needs no TensorFlow."""

import os

import numpy as np

from nas_tf.datasets import PIXEL_MEAN, PIXEL_STD
from nas_tf.quiet import quiet
from nas_tf.trial import UserError


class TFLiteClassifier:
    """A file of one input, images, and one output, the probabilities of the classes.

    It runs in this process, on all cores.

    Args:
        path: of the file.
        mean, std: a pixel p of 0 to 255 is given to the network as (p - mean) / std, as the file's metadata may say.

    Attributes:
        image_shape: tuple (height, width, channels) of the images it takes.
        num_classes: int.

    Raises:
        UserError: the file has other inputs or outputs.
        RuntimeError, ValueError: LiteRT cannot run the file.
    """

    def __init__(self, path, mean=PIXEL_MEAN, std=PIXEL_STD):
        from ai_edge_litert.interpreter import Interpreter

        with quiet():
            self._interpreter = Interpreter(os.fspath(path), num_threads=os.cpu_count())
            self._interpreter.allocate_tensors()
        given, wanted = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [[tuple(int(side) for side in each["shape"]) for each in details] for details in (given, wanted)]
        if [[len(shape) for shape in each] for each in shapes] != [[4], [2]] or shapes[0][0][-1] != 3:
            raise UserError(
                "Expected an image classifier: [batch, height, width, 3] in, [batch, classes] out. "
                f"Received: {os.fspath(path)!r}, {shapes[0]} in, {shapes[1]} out"
            )
        (self._given,), (self._wanted,) = given, wanted
        self._mean, self._std = mean, std
        self._batch_size, *image_shape = shapes[0][0]
        self.image_shape, self.num_classes = tuple(image_shape), shapes[1][0][-1]

    def probabilities(self, images):
        """Returns the probabilities of the classes, float32 [n, classes], of uint8 images [n, height, width, 3].

        Where the file takes or gives integers, they are quantised by its own scale and zero point.
        """
        found = np.empty((len(images), self.num_classes), np.float32)
        for start in range(0, len(images), self._batch_size):
            some = images[start : start + self._batch_size]
            padded = np.concatenate([some, np.repeat(some[:1], self._batch_size - len(some), axis=0)])
            self._interpreter.set_tensor(self._given["index"], self._as_input(padded))
            self._interpreter.invoke()
            answers = self._interpreter.get_tensor(self._wanted["index"])
            found[start : start + len(some)] = self._as_probabilities(answers)[: len(some)]
        return found

    def _as_input(self, images):
        values = images.astype("float32") / self._std - self._mean / self._std
        dtype = self._given["dtype"]
        if not np.issubdtype(dtype, np.integer):
            return values.astype(dtype)
        scale, zero_point = self._given["quantization"]
        limits = np.iinfo(dtype)
        return np.clip(np.round(values / scale + zero_point), limits.min, limits.max).astype(dtype)

    def _as_probabilities(self, values):
        if not np.issubdtype(self._wanted["dtype"], np.integer):
            return values
        scale, zero_point = self._wanted["quantization"]
        return (values.astype("float32") - zero_point) * scale
