"""A trained detector at work on images of no data set: a TFLite file with suppression, or a detector's folder."""

import pathlib

import numpy as np

from nas_tf.datasets import scale_pixels, whole_images
from nas_tf.detection.batches import resized
from nas_tf.detection.boxes import anchors
from nas_tf.detection.files import file_name
from nas_tf.detection.folder import has_detector, read_detector
from nas_tf.detection.metadata import read_labels
from nas_tf.detection.nms import Suppression, detections
from nas_tf.detection.tflite import TFLiteDetector
from nas_tf.trial import UserError


class Predictor:
    """Finds objects.

    Args:
        path: of a TFLite file, or of a folder with one; else of a detector's folder, whose Keras network runs.

    Attributes:
        labels: tuple of the names of the classes.

    Raises:
        UserError: there is no detector.
    """

    def __init__(self, path):
        path = pathlib.Path(path)
        file = path / file_name("float32", True) if path.is_dir() else path
        if file.is_file():
            self.labels, detector = read_labels(file), TFLiteDetector(file)
            self._size, self._find = detector.size, detector.detections
        elif has_detector(path):
            model, description = read_detector(path)
            self.labels, self._size = description.class_names, description.image_size
            suppression = Suppression(**description.suppression)

            def find(image):
                outputs = model.predict_on_batch(scale_pixels(image[np.newaxis]))
                return detections(*outputs, anchors(self._size), suppression)[0]

            self._find = find
        else:
            raise UserError(f"Expected a detector's folder or TFLite file. There is none at {str(path)!r}")

    def answers(self, paths, least_score):
        """Yields `(name, image, list of (label, number of the class, score, box), why not)` for each image.

        The image is uint8 [height, width, 3], and None if it cannot be read. A box is left, top, right, bottom in its
        pixels; the likeliest objects come first.

        Args:
            paths: list of images, and of folders and .zip files with images.
            least_score: score from which an object is named.

        Raises:
            UserError: a path is none of these, or there is no image in it. Raised before the first image.
        """
        for name, image, why in whole_images(paths):
            if image is None:
                yield name, None, [], why
                continue
            height, width = image.shape[:2]
            objects = [
                (
                    self.labels[number],
                    int(number),
                    float(score),
                    (left * width, top * height, right * width, bottom * height),
                )
                for (top, left, bottom, right), score, number in zip(*self._find(resized(image, self._size)))
                if score >= least_score
            ]
            yield name, image, objects, None
