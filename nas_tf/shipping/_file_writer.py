"""Makes each file of a network that ships, and keeps what was found out about it in `files.json`."""

import dataclasses
import datetime
import functools
import hashlib
import os

import numpy as np

from nas_tf.accuracy import standard_error
from nas_tf.datasets import drawn
from nas_tf.export import NUMBER_TYPES, to_keras, to_saved_model
from nas_tf.files import digest, write_file
from nas_tf.networks.description import FileRecord
from nas_tf.networks.folder import read_records, write_records
from nas_tf.reports import model_card
from nas_tf.reports.device import device_name
from nas_tf.reports.numbers import milliseconds, share
from nas_tf.shipping import tflite_metadata
from nas_tf.shipping._converting import to_tflite_recycled
from nas_tf.shipping.tflite_accuracy import accuracy
from nas_tf.space import fingerprint
from nas_tf.training.evaluate import evaluate
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError, first_line

# Of accuracy, against the float32 file. A file that loses more than this and the standard error has failed.
MOST_LOST = 0.02
TFLITE_FILES = {name: "model.tflite" if name == "float32" else f"model_{name}.tflite" for name in NUMBER_TYPES}


class FileWriter:
    """Makes the files of one network in a folder, and keeps their records.

    The arguments are those of `nas_tf.shipping.files.write_files`, with a checked `Meter` or None.

    Raises:
        UserError: the data set's classes or images are not those of the network, or it has no validation images.
    """

    def __init__(self, model, description, folder, dataset, calibration, meter, batch_size, licence, say):
        self._model, self._description, self._folder, self._say = model, description, folder, say
        self._dataset, self._calibration, self._meter = dataset, calibration, meter
        self._batch_size, self._licence = batch_size, licence
        self._labels = tuple(dataset.class_names if dataset else description.class_names)
        _check_classes(self._labels, model, description)
        self._validation = dataset and _checked(dataset.validation(), model, dataset.name)
        self._asked = {
            "batch_size": batch_size,
            "dataset": dataset and dataset.describe(),
            "device": meter and meter.describe(),
            "labels": self._labels,
            "licence": licence,
        }
        self._network = network_id(model)
        self._records = read_records(folder, self._network)

    def write(self, number_types):
        """Makes the files that are missing, and returns a list of the `FileRecord`s of all."""
        makers = {
            "model.keras": self._keras,
            **{TFLITE_FILES[each]: lambda each=each: self._tflite(each, images) for each in number_types},
            "saved_model": self._saved_model,
        }
        images = None
        if "int8" in number_types and not self._is_made(TFLITE_FILES["int8"]):
            images = self._calibration()
        for name, make in makers.items():
            if not self._is_made(name):
                self._records = {**self._records, name: make()}
                write_records(self._folder, self._network, self._records)
                self._say(self._line(self._records[name]))
        return [self._records[name] for name in makers]

    def _key(self, name):
        """Returns a fingerprint of all that the record of a file depends on, apart from the network."""
        matters = {"model.keras": ("dataset",), "saved_model": ("labels",)}.get(name, tuple(self._asked))
        return fingerprint({each: self._asked[each] for each in matters})

    def _is_made(self, name):
        record = self._records.get(name)
        if record is None or record.asked != self._key(name):
            return False
        path = self._folder / record.file
        # None bytes: the converter refused the file, and would refuse it again.
        if record.bytes is None:
            return True
        is_whole = path.exists() and _size(path) == record.bytes
        return is_whole and record.sha256 in (None, digest(path))  # files of earlier versions have no digest

    def _keras(self):
        path = self._folder / "model.keras"
        # The file from which the network was read stays as it is, and so does its digest in that folder.
        if not path.exists() or digest(path) != (self._description.files or {}).get(path.name):
            to_keras(self._model, path)
        reached = evaluate(self._model, self._validation) if self._dataset else None
        return self._record(path.name, path, "float32", validation_accuracy=reached)

    def _saved_model(self):
        path = self._folder / "saved_model"
        to_saved_model(self._model, path, self._labels)
        return self._record(path.name, path, "float32")

    def _record(self, name, path, number_type, **figures):
        return FileRecord(
            file=path.name,
            number_type=number_type,
            num_validation=self._validation.num_examples if figures.get("validation_accuracy") is not None else None,
            bytes=_size(path) if path.exists() else None,
            sha256=digest(path) if path.exists() else None,
            measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            asked=self._key(name),
            **figures,
        )

    def _tflite(self, number_type, calibration):
        path = self._folder / TFLITE_FILES[number_type]
        failed = path.with_name(f"{path.stem}.failed.tflite")  # its name until it has passed
        reached = latency = failure = None
        failed.unlink(missing_ok=True)
        try:
            to_tflite_recycled(self._model, failed, self._batch_size, number_type, calibration)
            write_file(failed, tflite_metadata.write(failed.read_bytes(), self._metadata()))
            if self._dataset:
                reached = _run(failed, self._validation, f"running {path.name} on the validation images")
            latency = self._meter and self._timed(os.fspath(failed))
        except InfeasibleArchitecture as error:
            failure = str(error)
        failure = failure or self._loss(number_type, reached)
        if failure:
            path.unlink(missing_ok=True)
        else:
            os.replace(failed, path)
        device = self._asked["device"] if latency else None
        return self._record(
            path.name,
            failed if failure else path,
            number_type,
            validation_accuracy=reached,
            failure=failure,
            device=device,
            device_name=device and device_name(device),
            latency=latency,
        )

    def _timed(self, path):
        """Returns the `Latency` of a file, with those by the device's other ways in its details."""
        latency, beside = self._meter.measure(path), {}
        for name, meter in self._beside.items():
            try:
                found = meter if isinstance(meter, str) else meter.measure(path)
            except (InfeasibleArchitecture, EvaluationError) as error:
                found = str(error)
            is_timed = not isinstance(found, str)
            beside[name] = {"latency_ms": found.latency_ms, "on": found.ran_on} if is_timed else {"refused": found}
        return dataclasses.replace(latency, details={**latency.details, "beside": beside}) if beside else latency

    @functools.cached_property
    def _beside(self):
        return self._meter.beside()

    def _loss(self, number_type, reached):
        """Returns why a file of this accuracy has failed, or None."""
        if reached is None:
            return None
        name = TFLITE_FILES["float32"]
        float32 = self._records.get(name) if number_type != "float32" else None
        if float32 and (float32.validation_accuracy is None or float32.asked != self._key(name)):
            float32 = None  # refused, run on other images or on none
        full = (float32 or self._records["model.keras"]).validation_accuracy
        error = standard_error(full, self._validation.num_examples)
        if full - reached <= MOST_LOST + error:
            return None
        return (
            f"validation accuracy {100 * reached:.2f} %, {100 * (full - reached):.2f} points below the "
            f"{100 * full:.2f} % of {float32.file if float32 else 'the Keras network'}; {100 * MOST_LOST:g} points and "
            f"the standard error, {100 * error:.2f}, may be lost"
        )

    def _metadata(self):
        return tflite_metadata.Metadata(
            name=model_card.network_name(self._description),
            description=f"Image classifier: {self._description.text or 'architecture not recorded'}",
            version=self._network,
            author=model_card.source(),
            license=self._licence,
            labels=self._labels,
            fit=(self._dataset.describe() if self._dataset else self._description.dataset).get("fit", "stretch"),
        )

    def _line(self, record):
        words = [f"{record.file}: " + ("no file" if record.bytes is None else f"{record.bytes:,} bytes")]
        if record.validation_accuracy is not None:
            keras_accuracy = self._records["model.keras"].validation_accuracy
            reached = share(record.validation_accuracy, self._validation.num_examples)
            words.append(
                f"validation accuracy {reached} % (Keras: {share(keras_accuracy, self._validation.num_examples)} %)"
            )
        if record.latency_ms is not None:
            words.append(f"{milliseconds(record.latency_ms)} on {record.device_name}")
        return ", ".join(words) + (f". FAILED: {record.failure}" if record.failure else "")


def network_id(model):
    """Returns sixteen hexadecimal digits that name the network's weights."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(f"{weight.shape}{weight.dtype}".encode() + np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:16]


def _check_classes(labels, model, description):
    num_classes, known = model.outputs[0].shape[-1], tuple(description.class_names or labels)
    if labels and len(labels) != num_classes:
        raise UserError(f"Expected images of the network's {num_classes} classes. Received: {len(labels)} classes")
    if labels != known:
        raise UserError(
            "Expected images of the classes that the network learned, in their order. "
            f"Received: {', '.join(labels[:3])}, ... in place of {', '.join(known[:3])}, ..."
        )


def _checked(split, model, name):
    """Returns the validation split if it has images, of the network's size."""
    if split.num_examples == 0:
        raise UserError(f"Expected validation images to run the files on. Received: none from {name!r}")
    given, expected = drawn(split, 1).images.shape[1:], tuple(model.inputs[0].shape[1:])
    if given != expected:
        raise UserError(f"Expected images of {expected}, the network's size. Received: {given} from {name!r}")
    return split


def _run(path, split, progress):
    try:
        return accuracy(path, split, progress)
    except UserError:
        raise
    except (RuntimeError, ValueError) as error:
        raise InfeasibleArchitecture(f"LiteRT cannot run the file: {first_line(error)}") from error


def _size(path):
    """Returns the bytes of a file, or of all files in a folder except its card."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and file.name != "README.md")
