"""Trains an object detector, SSDLite, on a network of either family, judges and exports it, and finds objects with it.

nas-detect train --data_dir=coco.zip --parent=efficientnet_lite0 --out_dir=detector
nas-detect evaluate detector --data_dir=coco.zip       mean average precision of validation and test images
nas-detect export detector --data_dir=coco.zip         TFLite files with and without suppression, and a SavedModel
nas-detect predict detector photo.jpg more/ --out_dir=drawn      prints objects, and draws them on the pictures

The network is a published one, block strings, or one that a search found (--architecture). The same command goes on
with a training where it stopped. docs/detection.md says more.
"""

import pathlib
import sys

from nas_tf import flags
from nas_tf.detection.nms import Suppression
from nas_tf.detection.settings import DetectSettings
from nas_tf.files import write_file
from nas_tf.quiet import count
from nas_tf.settings import FILES
from nas_tf.trial import EvaluationError, UserError

_FORMS = "nas-detect train, evaluate DETECTOR, export DETECTOR or predict DETECTOR IMAGES"


def main(words):
    """Returns the exit status: 1 if an image could not be read."""
    settings, suppression = flags.read(DetectSettings), flags.read(Suppression)
    commands = {"train": (_train, 0), "evaluate": (_evaluate, 1), "export": (_export, 1), "predict": (_predict, None)}
    command, least = commands.get(words[0] if words else "", (None, 0))
    rest = words[1:]
    if command is None or (least is not None and len(rest) != least) or (least is None and len(rest) < 2):
        raise UserError(f"Expected {_FORMS}. Received: {' '.join(words) or 'nothing'}")
    return command(settings, suppression, *([rest] if least is None else rest))


def _train(settings, suppression):
    from nas_tf.detection.training import train_detector

    train_detector(settings, suppression)


def _evaluate(settings, suppression, folder):
    from nas_tf.detection.training import evaluate_detector

    evaluate_detector(folder, settings.data_dir, settings.seed, _given(suppression))


def _export(settings, suppression, folder):
    from nas_tf.detection.data import read_data
    from nas_tf.detection.files import write_files
    from nas_tf.detection.folder import read_detector
    from nas_tf.detection.training import check_classes
    from nas_tf.plugins import Part

    model, description = read_detector(folder)
    data = read_data(settings.data_dir, description.seed) if settings.data_dir else None
    if data is not None:
        check_classes(data, description, folder)
    device = None
    if settings.device != "none":
        part = flags.read_part("nas_tf.devices", settings.device)
        device = Part("nas_tf.devices", settings.device, part.settings).make(None, None)
        device.check()
    try:
        records = write_files(
            model,
            description,
            settings.out_dir or folder,
            data=data,
            number_types=settings.number_types,
            suppression=_given(suppression) or Suppression(**description.suppression),
            licence=settings.licence,
            device=device,
        )
    finally:
        if device is not None:
            device.close()
    failed = [f"{each.file}: {each.failure}" for each in records if each.failure]
    if failed:
        raise EvaluationError(f"{count(len(failed), 'file')} failed, the others are kept: {'; '.join(failed)}")


def _given(suppression):
    """Returns the `Suppression` if a flag sets any of it, else None: then it is the detector's own."""
    return suppression if flags.given(Suppression) else None


def _predict(settings, suppression, words):
    from nas_tf.detection.predictor import Predictor
    from nas_tf.reports.detection import drawn

    predictor, unreadable = Predictor(words[0]), 0
    for number, (name, image, objects, why) in enumerate(predictor.answers(words[1:], settings.draw_score), 1):
        if image is None:
            print(f"{name} cannot be read: {why}", file=sys.stderr)
            unreadable += 1
            continue
        print(name, flush=True)
        for label, _, score, box in objects:
            print(f"{100 * score:6.1f} %  {label}  {' '.join(f'{side:.0f}' for side in box)}", flush=True)
        if settings.out_dir:
            file = f"{number:04d}_{pathlib.Path(name).stem}.png"
            write_file(pathlib.Path(settings.out_dir) / file, drawn(image, objects))
    return 1 if unreadable else 0


def cli():
    flags.define(DetectSettings)
    flags.define(Suppression, title=FILES)
    flags.define_parts("nas_tf.devices")
    flags.run(main, __doc__, takes_words=True)


if __name__ == "__main__":
    cli()
