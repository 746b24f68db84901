"""Says what is in images: runs a TFLite file of this project, and prints the likeliest classes with probabilities.

nas-predict runs/flowers/ship/network photo.jpg more_photos/
nas-predict model_int8.tflite photos.zip --top_k=1 --format=csv > answers.csv

The first word is the file, or a folder that one is in: of a run, what shipped, else its best network. The file's own
metadata says how images are resized and normalised, and what the classes are called.
"""

import csv
import dataclasses
import sys

from nas_tf import flags
from nas_tf.settings import RUN, Settings, knob
from nas_tf.shipping.predictor import Predictor
from nas_tf.trial import UserError


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
    predictor, unreadable = Predictor(words[0]), 0
    show = _csv_writer() if settings.format == "csv" else _show
    for name, answers, why in predictor.answers(words[1:]):
        if answers is None:
            print(f"{name} cannot be read: {why}", file=sys.stderr)
            unreadable += 1
        else:
            show(name, answers[: settings.top_k])
    return 1 if unreadable else 0


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
