"""A trained network's folder: architecture.json, model.keras, TFLite, SavedModel. Nothing else writes or reads it."""

import dataclasses
import pathlib

from nas_tf.export import to_keras, to_saved_model, to_tflite
from nas_tf.files import digest, load_json, read_json, write_json
from nas_tf.networks import _keras_file
from nas_tf.networks.description import FileRecord, NetworkDescription
from nas_tf.quiet import import_keras, quiet
from nas_tf.trial import UserError, first_line

DESCRIPTION = "architecture.json"
_RECORDS = "files.json"


def describe(space_part, architecture, scale, dataset):
    """Returns the `NetworkDescription` of a network of a search space, before it has weights.

    Args:
        space_part: `nas_tf.plugins.Part` of the space.
        architecture: an architecture of the space.
        scale: the family's `Scale`.
        dataset: `nas_tf.datasets.Dataset` that it is trained on.
    """
    return NetworkDescription(
        text=str(architecture),
        scale=dataclasses.asdict(scale),
        class_names=tuple(dataset.class_names),
        dataset=dataset.facts(),
        space=space_part.to_json(),
        architecture=architecture.to_json(),
        fingerprint=architecture.fingerprint,
    )


def write_network(folder, model, description, space, number_type="float32", calibration=None):
    """Writes the folder of a trained network and returns the description that it holds.

    `architecture.json` is written last: it says that the rest is whole.

    Args:
        folder: the folder to write.
        model: the trained `keras.Model`.
        description: its `NetworkDescription`.
        space: the `nas_tf.space.SearchSpace` of its architecture, which draws it.
        number_type, calibration: of `model.tflite` (`nas_tf.export.to_tflite`).
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    to_keras(model, folder / "model.keras")
    to_tflite(model, folder / "model.tflite", 1, number_type, calibration)
    to_saved_model(model, folder / "saved_model", description.class_names)
    space.draw(space.architecture(description.architecture), folder)
    files = {name: digest(folder / name) for name in ("model.keras", "model.tflite", "saved_model")}
    description = dataclasses.replace(description, tflite_number_type=number_type, files=files)
    write_description(folder, description)
    return description


def write_description(folder, description):
    """Writes `architecture.json` alone."""
    write_json(pathlib.Path(folder) / DESCRIPTION, description.to_json())


def is_whole(folder, description):
    """Returns whether the files of a folder are those whose digests its `NetworkDescription` has."""
    folder = pathlib.Path(folder)
    return all(
        (folder / name).exists() and digest(folder / name) == sha256
        for name, sha256 in (description.files or {}).items()
    )


def read_network(folder):
    """Returns `(keras.Model, NetworkDescription)` of a trained network's folder.

    Raises:
        UserError: a file is missing or damaged.
    """
    description = read_description(folder)
    path = pathlib.Path(folder) / "model.keras"
    if path.is_file() and (description.files or {}).get(path.name, digest(path)) != digest(path):
        raise UserError(
            f"{path} is damaged: its SHA-256 is not the one in {DESCRIPTION}. Give the command that made the folder "
            "again, or restore the file"
        )
    return read_keras(pathlib.Path(folder) / "model.keras"), description


def read_description(folder):
    """Returns the `NetworkDescription` in a trained network's folder.

    Raises:
        UserError: there is no such folder, or its `architecture.json` is damaged.
    """
    path = pathlib.Path(folder) / DESCRIPTION
    if not path.is_file():
        raise UserError(f"Expected the folder of a trained network. There is no file {str(path)!r}")
    return NetworkDescription.from_json(_read_json(path, f"{path} is damaged: expected a JSON file"), str(path))


def has_description(folder):
    """Returns whether the folder has an `architecture.json`."""
    return (pathlib.Path(folder) / DESCRIPTION).is_file()


def write_records(folder, network, records):
    """Writes `files.json`, and the digests of the files into `architecture.json`, if that is there.

    Args:
        folder: the folder of the files.
        network: names the network's weights, as a str.
        records: dict of file name to `FileRecord`; a file that failed has another name in its record.
    """
    files = {name: record.to_json() for name, record in records.items()}
    write_json(pathlib.Path(folder) / _RECORDS, {"network": network, "files": files})
    if has_description(folder):
        write_description(folder, with_digests(read_description(folder), records.values()))


def with_digests(description, records):
    """Returns the `NetworkDescription` with the digests of the files of some `FileRecord`s."""
    found = {record.file: record.sha256 for record in records if record.sha256}
    return dataclasses.replace(description, files={**(description.files or {}), **found})


def recorded_network(folder):
    """Returns the name of the network whose files `files.json` in a folder records, or None if it records none."""
    written = read_json(pathlib.Path(folder) / _RECORDS)
    name = written.get("network") if isinstance(written, dict) else None
    return name if isinstance(name, str) else None


def read_records(folder, network):
    """Returns a dict from file name to `FileRecord`, as `write_records` took it.

    It is empty if there is no `files.json`, or if that belongs to another network.

    Raises:
        UserError: a record is damaged.
    """
    path = pathlib.Path(folder) / _RECORDS
    written = read_json(path)
    if not isinstance(written, dict) or written.get("network") != network:
        return {}
    return {name: FileRecord.from_json(record, f"{path}, {name}") for name, record in written["files"].items()}


def holds_records(folder):
    """Returns whether the folder has a `files.json`."""
    return (pathlib.Path(folder) / _RECORDS).is_file()


def read_architecture(path, space):
    """Returns the architecture of `space` in a JSON file: an `architecture.json`, or the architecture's own JSON value.

    Raises:
        UserError: there is no such file, or it is not JSON, or not an architecture of the space.
    """
    value = _read_json(path, "Expected --architecture to be a JSON file")
    return space.architecture(value.get("architecture", value) if isinstance(value, dict) else value)


def _read_json(path, expected):
    try:
        return load_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{expected}. Received: {str(path)!r}: {error}") from error


def read_keras(path):
    """Returns the `keras.Model` in a `.keras` file.

    Raises:
        UserError: the file is missing or damaged, or declares far more than it holds.
    """
    if not pathlib.Path(path).is_file():
        raise UserError(f"Expected a trained network. There is no file {str(path)!r}")
    keras = import_keras()
    from nas_tf.networks import drop_path  # noqa: F401  a file may hold its layers

    _keras_file.check(path)
    try:
        with quiet(), _keras_file.bounded(path):
            return keras.saving.load_model(path, compile=False)
    except UserError:
        raise
    except Exception as error:  # h5py, zipfile and Keras each raise their own kinds
        raise UserError(f"{path} is missing or damaged: {first_line(error)}") from error
