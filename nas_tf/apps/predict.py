"""Says what is in images: runs a TFLite file of this project, and prints the likeliest classes with probabilities.

nas-predict runs/flowers/ship/network photo.jpg more_photos/
nas-predict model_int8.tflite photos.zip --top_k=1 --format=csv > answers.csv

The first word is the file, or a folder that one is in: of a run, what shipped, else its best network. The file's own
metadata says how images are resized and normalised, and what the classes are called.
"""

import csv
import dataclasses
import pathlib
import sys

import numpy as np

from nas_tf import flags
from nas_tf.datasets import loose_images
from nas_tf.settings import RUN, Settings, knob
from nas_tf.shipping import tflite_metadata
from nas_tf.shipping.tflite_classifier import TFLiteClassifier
from nas_tf.trial import UserError, first_line

_PLACES = ("model.tflite", "network/model.tflite", "ship/network/model.tflite", "best/model.tflite")


@dataclasses.dataclass(frozen=True)
class PredictSettings(Settings):
    """What is printed."""

    top_k: int = knob(3, "How many of the likeliest classes are printed for each image.", least=1, group=RUN)
    format: str = knob("table", "What is printed.", choices=("table", "csv"), group=RUN)


def main(words):
    """Returns the exit status: 1 if an image could not be read."""
    settings = flags.read(PredictSettings)
    if len(words) < 2:
        raise UserError(
            "Expected a network and images, as in nas-predict runs/flowers/ship/network photo.jpg. "
            f"Received: {' '.join(words) or 'nothing'}"
        )
    path = tflite_file(words[0])
    metadata = tflite_metadata.read(path)
    classifier = _classifier(path, metadata)
    height, width, _ = classifier.image_shape
    if height != width:
        raise UserError(f"Expected a network that takes square images. Received: {path}, {height} x {width} pixels")
    labels = metadata.labels or tuple(f"class {number}" for number in range(classifier.num_classes))
    unreadable = 0
    show = _csv_writer() if settings.format == "csv" else _show
    for name, image, why in loose_images(words[1:], height, metadata.fit):
        if image is None:
            print(f"{name} cannot be read: {why}", file=sys.stderr)
            unreadable += 1
            continue
        probabilities = classifier.probabilities(image[np.newaxis])[0]
        order = np.argsort(-probabilities, kind="stable")[: settings.top_k]
        show(name, [(labels[number], float(probabilities[number])) for number in order])
    return 1 if unreadable else 0


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


def _classifier(path, metadata):
    try:
        classifier = TFLiteClassifier(path, metadata.mean, metadata.std)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"Expected a TFLite file that LiteRT can run. Received: {path}: {first_line(error)}") from error
    if metadata.labels and len(metadata.labels) != classifier.num_classes:
        raise UserError(
            f"Expected a label for each of the {classifier.num_classes} classes of {path}. "
            f"Received: {len(metadata.labels)} labels in its metadata"
        )
    return classifier


def _show(name, answers):
    print(name, *(f"{100 * probability:6.1f} %  {label}" for label, probability in answers), sep="\n", flush=True)


def _csv_writer():
    """Returns a function that prints a line for each answer, after a line of titles."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("image", "label", "probability"))
    return lambda name, answers: writer.writerows((name, label, f"{value:.6f}") for label, value in answers)


def cli():
    flags.define(PredictSettings)
    flags.run(main, __doc__, takes_words=True)


if __name__ == "__main__":
    cli()
