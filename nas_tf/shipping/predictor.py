"""A TFLite file of this project at work: images in, labels with probabilities out, as its own metadata say.

It needs no TensorFlow.
"""

import pathlib

import numpy as np

from nas_tf.datasets import loose_images
from nas_tf.shipping import tflite_metadata
from nas_tf.shipping.tflite_classifier import TFLiteClassifier
from nas_tf.trial import UserError, first_line

_PLACES = ("model.tflite", "network/model.tflite", "ship/network/model.tflite", "best/model.tflite")


def tflite_file(path):
    """Returns the path of a TFLite file: itself, or that of the network that a folder holds.

    Raises:
        UserError: there is none.
    """
    path = pathlib.Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"Expected a TFLite file, or a folder with one in it. There is no {str(path)!r}")
    found = next((path / place for place in _PLACES if (path / place).is_file()), None)
    others = (each for each in sorted(path.glob("model*.tflite")) if not each.name.endswith(".failed.tflite"))
    found = found or next(others, None)
    if found is None:
        raise UserError(f"Expected a TFLite file in {str(path)!r}: {', '.join(_PLACES)}. There is none")
    return found


class Predictor:
    """A TFLite image classifier with the labels, the normalisation and the fit of its own metadata.

    Args:
        path: of the file, or of a folder that holds one (`tflite_file`).

    Attributes:
        path: `pathlib.Path` of the file.
        labels: tuple of the names of the classes.

    Raises:
        UserError: it is no such file, or LiteRT cannot run it.
    """

    def __init__(self, path):
        self.path = tflite_file(path)
        metadata = tflite_metadata.read(self.path)
        try:
            self._classifier = TFLiteClassifier(self.path, metadata.mean, metadata.std)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"Expected a TFLite file that LiteRT can run. Received: {self.path}: {first_line(error)}"
            ) from error
        count = self._classifier.num_classes
        if metadata.labels and len(metadata.labels) != count:
            raise UserError(
                f"Expected a label for each of the {count} classes of {self.path}. "
                f"Received: {len(metadata.labels)} labels in its metadata"
            )
        self._size, width, _ = self._classifier.image_shape
        if self._size != width:
            raise UserError(
                f"Expected a network that takes square images. Received: {self.path}, {self._size} x {width} pixels"
            )
        self.labels, self._fit = metadata.labels or tuple(f"class {number}" for number in range(count)), metadata.fit

    def answers(self, paths):
        """Yields `(name, list of (label, probability) or None, why not)` for each image, likeliest labels first.

        Args:
            paths: list of images, and of folders and .zip files with images.

        Raises:
            UserError: a path is none of these, or there is no image in it. Raised before the first image.
        """
        for name, image, why in loose_images(paths, self._size, self._fit):
            if image is None:
                yield name, None, why
                continue
            probabilities = self._classifier.probabilities(image[np.newaxis])[0]
            order = np.argsort(-probabilities, kind="stable")
            yield name, [(self.labels[number], float(probabilities[number])) for number in order], None
