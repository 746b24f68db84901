"""A trained detector as files that ship, each one run on the validation images and timed."""

import dataclasses
import datetime
import os
import pathlib

import numpy as np

from nas_tf.bars import progress_bar
from nas_tf.datasets import NUM_CALIBRATION_IMAGES, scale_pixels
from nas_tf.detection import metadata
from nas_tf.detection.batches import plain_batches, resized
from nas_tf.detection.boxes import anchors
from nas_tf.detection.evaluate import mean_precision
from nas_tf.detection.export import write_saved_model, write_tflite
from nas_tf.detection.tflite import TFLiteDetector
from nas_tf.devices import Meter
from nas_tf.files import check_writable, digest, write_file, write_json
from nas_tf.reports import model_card
from nas_tf.reports.detection import percent
from nas_tf.reports.device import device_name
from nas_tf.reports.numbers import milliseconds
from nas_tf.shipping._file_writer import network_id
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError

RECORDS = "detector_files.json"
_CALIBRATION_BATCH = 32


@dataclasses.dataclass(frozen=True)
class DetectorFile:
    """One file of a detector with its figures. What was not measured is None.

    Attributes:
        file: its name.
        number_type: of `nas_tf.export.NUMBER_TYPES`.
        suppresses: whether it ends in non-maximum suppression.
        bytes: its size; None: the converter refused it.
        map, map_50: mean average precision on the validation images, in [0, 1].
        map_error, map_50_error: their standard errors.
        num_validation: how many images these are.
        latency_ms: on `device_name`.
        ran_on: by which delegates it ran there, in words.
        beside: dict from another way to run it on the device to `latency_ms` and `on`, or to why it was `refused`.
        failure: why nobody should ship it.
        sha256: of the file.
        measured_at: UTC, ISO 8601.
    """

    file: str
    number_type: str
    suppresses: bool
    measured_at: str
    bytes: int | None = None
    map: float | None = None
    map_50: float | None = None
    map_error: float | None = None
    map_50_error: float | None = None
    num_validation: int | None = None
    latency_ms: float | None = None
    device_name: str | None = None
    ran_on: str | None = None
    beside: dict = dataclasses.field(default_factory=dict)
    failure: str | None = None
    sha256: str | None = None


def file_name(number_type, suppresses):
    """Returns the name of a TFLite file."""
    kind = "" if number_type == "float32" else f"_{number_type}"
    return f"detector{kind}{'' if suppresses else '_plain'}.tflite"


def write_files(model, description, folder, *, data, number_types, suppression, licence, device=None, say=print):
    """Writes the TFLite files of a detector, each with and without suppression, the SavedModel and their records.

    Args:
        model: the `keras.Model` of the detector.
        description: its `nas_tf.detection.folder.DetectorDescription`.
        folder: the folder to write.
        data: the `nas_tf.detection.data.DetectionData`, whose training images calibrate int8 and on whose validation
            images the files are run; None: neither.
        number_types: of the TFLite files.
        suppression: the `nas_tf.detection.nms.Suppression` inside the files.
        licence: text for the metadata.
        device: the `nas_tf.devices.Device` that times the files, checked, or None.
        say: takes a line of text for each file.

    Returns:
        A list of `DetectorFile`.

    Raises:
        UserError: there are no images to calibrate int8 on.
        EvaluationError: the device did not answer.
    """
    folder = pathlib.Path(folder)
    check_writable(folder)
    if "int8" in number_types and (data is None or not data.splits["train"]):
        raise UserError("An int8 file is calibrated on training images. Expected --data_dir. Received: none")
    around, size = anchors(description.image_size), description.image_size
    calibration = _calibration(data, size) if "int8" in number_types else None
    written = metadata.described(description, network_id(model), model_card.source(), licence)
    records = []
    for number_type in number_types:
        for suppresses in (True, False):
            path = folder / file_name(number_type, suppresses)
            record = DetectorFile(path.name, number_type, suppresses, _now())
            images = calibration if number_type == "int8" else None
            failed = path.with_name(f"{path.stem}.failed.tflite")
            path.unlink(missing_ok=True)
            try:
                write_tflite(model, failed, around, suppression if suppresses else None, number_type, images)
                if suppresses:
                    write_file(failed, metadata.write(failed.read_bytes(), written))
                record = dataclasses.replace(record, **_judged(failed, data, suppression))
                record = dataclasses.replace(record, **_timed(failed, device))
                os.replace(failed, path)
                record = dataclasses.replace(record, bytes=path.stat().st_size, sha256=digest(path))
            except InfeasibleArchitecture as error:
                record = dataclasses.replace(record, failure=str(error), file=failed.name)
            records.append(record)
            write_json(folder / RECORDS, [dataclasses.asdict(each) for each in records])
            say(_line(record))
    write_saved_model(model, folder / "saved_model", around, suppression, description.class_names)
    say(f"{folder / 'saved_model'}: the SavedModel")
    write_file(folder / "labels.txt", "".join(f"{label}\n" for label in description.class_names))
    return records


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _calibration(data, size):
    examples = data.splits["train"]
    drawn = np.random.default_rng(0).permutation(len(examples))[:NUM_CALIBRATION_IMAGES]
    chosen = [examples[i] for i in sorted(drawn)]
    return scale_pixels(np.concatenate(list(plain_batches(data, chosen, size, _CALIBRATION_BATCH))))


def _judged(path, data, suppression):
    """Returns a dict of the fields of a `DetectorFile` that a file's own answers are worth."""
    if data is None or not data.splits["validation"]:
        return {}
    found = judge_file(path, data, "validation", suppression)
    names = "map", "map_50", "map_error", "map_50_error"
    return {**{name: getattr(found, name) for name in names}, "num_validation": found.num_images}


def judge_file(path, data, split, suppression):
    """Returns the `nas_tf.detection.evaluate.MeanPrecision` of a TFLite file on a split.

    Raises:
        UserError: LiteRT cannot run the file.
    """
    detector, examples = TFLiteDetector(path, suppression), data.splits[split]
    bar = progress_bar(examples, f"running {path.name}", len(examples), leave=False, delay=2, unit=" images")
    found = [detector.detections(resized(data.read(each), detector.size)) for each in bar]
    return mean_precision(examples, found, len(data.class_names))


def _timed(path, device):
    """Returns a dict of the fields of a `DetectorFile` about a file's latency."""
    if not isinstance(device, Meter):
        return {}
    latency, beside = device.measure(os.fspath(path)), {}
    for name, meter in device.beside().items():
        try:
            found = meter if isinstance(meter, str) else meter.measure(os.fspath(path))
        except (InfeasibleArchitecture, EvaluationError) as error:
            found = str(error)
        refused = isinstance(found, str)
        beside[name] = {"refused": found} if refused else {"latency_ms": found.latency_ms, "on": found.ran_on}
    return {
        "latency_ms": latency.latency_ms,
        "device_name": device_name(device.describe()),
        "ran_on": latency.ran_on,
        "beside": beside,
    }


def _line(record):
    if record.failure:
        return f"{record.file}: FAILED: {record.failure}"
    words = [f"{record.file}: {record.bytes:,} bytes", "with suppression" if record.suppresses else "without"]
    if record.map_50 is not None:
        figures = percent(record.map, record.map_error), percent(record.map_50, record.map_50_error)
        words.append(f"mAP {figures[0]}, mAP@0.5 {figures[1]} % of {record.num_validation:,} images")
    if record.latency_ms is not None:
        words.append(f"{milliseconds(record.latency_ms)} on {record.device_name}")
    return ", ".join(words)
