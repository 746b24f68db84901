"""A trained network as the files that ship, each run on validation images and timed before it gets its name."""

import contextlib
import dataclasses
import functools
import pathlib

from nas_tf import complexity
from nas_tf.accuracy import chance_of
from nas_tf.datasets import calibration_images
from nas_tf.devices import Meter
from nas_tf.export import NUMBER_TYPES
from nas_tf.family import space_from_file
from nas_tf.files import check_writable, write_file
from nas_tf.networks.folder import DESCRIPTION, has_description, holds_records, read_description, read_records
from nas_tf.reports import files as report
from nas_tf.reports import model_card
from nas_tf.shipping._file_writer import MOST_LOST, TFLITE_FILES, FileWriter, network_id
from nas_tf.trial import UserError

__all__ = ["MOST_LOST", "TFLITE_FILES", "check_other_networks", "make_device", "write_files"]


def write_files(
    model,
    description,
    folder,
    *,
    dataset=None,
    calibration=None,
    device=None,
    number_types=NUMBER_TYPES,
    batch_size=1,
    licence=model_card.LICENCE,
    own_space="",
    say=print,
):
    """Writes the files of a network that ships, as far as they are missing.

    These are `model.keras`, the TFLite files (`TFLITE_FILES`), `labels.txt`, `saved_model/`, the model card `README.md`
    (also inside the SavedModel), the picture `files.png`, and `files.json`.

    Every TFLite file has metadata and labels, is run on all validation images and is timed on the device. A file has
    failed if the converter or the device refuses it, or if it is less accurate than the float32 file (the Keras
    network, if there is none) by more than `MOST_LOST` and the standard error. Its record then says why, and what
    there is of it is named `*.failed.tflite`. Each record is kept in `files.json` as soon as it is whole. A second call
    makes only what is missing, or what is now asked for with other settings.

    Args:
        model: the trained `keras.Model`: float32 [batch, size, size, 3] in [-1, 1] to class probabilities.
        description: its `nas_tf.networks.description.NetworkDescription`.
        folder: the folder to write.
        dataset: `nas_tf.datasets.Dataset` of the network's size and classes; None: no accuracy is measured.
        calibration: function without arguments that returns the images to calibrate an int8 file on, float32
            [n, size, size, 3] in [-1, 1]; None: training images of `dataset`.
        device: `nas_tf.plugins.Part` of `nas_tf.devices`, or None. Only a `Meter` times files.
        number_types: types of the TFLite files to write, of `NUMBER_TYPES`.
        batch_size: images that the TFLite files take at once.
        licence: text for the metadata and the card.
        own_space: the user's own file of a search space, which the description may name; no other is run.
        say: takes a line of text for each file made.

    Returns:
        list of `nas_tf.networks.description.FileRecord`, the Keras network's first, the SavedModel's last.

    Raises:
        UserError: the data set or the device does not fit, or there is nothing to calibrate an int8 file on.
        EvaluationError: the device did not answer; the same call goes on from there.
    """
    _check_number_types(number_types, dataset or calibration)
    folder = pathlib.Path(folder)
    check_writable(folder)
    description = _with_figures(description, model)
    calibration = calibration or functools.partial(calibration_images, dataset)
    timer = device and make_device(device, description, own_space)
    meter = timer if isinstance(timer, Meter) else None
    try:
        writer = FileWriter(model, description, folder, dataset, calibration, meter, batch_size, licence, say)
        records = writer.write([name for name in NUMBER_TYPES if name in number_types])
    finally:
        if timer:
            timer.close()
    labels = dataset.class_names if dataset else description.class_names
    if labels:
        write_file(folder / "labels.txt", "".join(f"{label}\n" for label in labels))
    size, made_by = model.inputs[0].shape[1], model_card.source()
    text = model_card.card(description, records, image_size=size, licence=licence, made_by=made_by)
    for place in (folder, folder / "saved_model"):
        write_file(place / "README.md", text)
    chance = chance_of(dataset.facts()) if dataset else None
    report.draw_files(folder / "files.png", records, model_card.network_name(description), chance)
    return records


def check_other_networks(folder, model, description):
    """Raises `UserError` if `folder` holds files of another network than this one."""
    folder = pathlib.Path(folder)
    if has_description(folder):
        with contextlib.suppress(UserError):  # one that cannot be read is another network's
            if dataclasses.replace(read_description(folder), files=description.files) == description:
                return
    else:
        names = ("model.keras", "saved_model", *TFLITE_FILES.values())
        is_free = not holds_records(folder) and not any((folder / name).exists() for name in names)
        if is_free or read_records(folder, network_id(model)):
            return
    raise UserError(f"{folder} holds files of another network. Choose another --out_dir, or remove it")


def _check_number_types(number_types, images):
    if not number_types or set(number_types) - set(NUMBER_TYPES):
        raise UserError(
            f"Expected number types of {', '.join(NUMBER_TYPES)}. Received: {', '.join(number_types) or 'none'}"
        )
    if "int8" in number_types and images is None:
        raise UserError(
            "An int8 file is calibrated on training images. Expected a data set (--dataset), or no int8 among "
            "--number_types. Received: no data set"
        )


def make_device(device_part, description, own_space=""):
    """Makes, checks and returns the `nas_tf.devices.Device` of a part for the network of a `NetworkDescription`.

    Args:
        device_part: the device's `nas_tf.plugins.Part`.
        description: the `NetworkDescription`.
        own_space: the user's own file of a search space, which the description may name.

    Raises:
        UserError: the description names another file, or the device does not fit.
    """
    space = scale = None
    if description.space is not None:
        space_part = space_from_file(description.space, DESCRIPTION, own_space)
        space = space_part.space
        try:
            scale = space_part.module.Scale(**description.scale)
        except TypeError as error:
            raise UserError(f"{DESCRIPTION} is damaged: its scale is no scale of {space_part.name}: {error}") from error
    device = device_part.make(space, scale)
    device.check()
    return device


def _with_figures(description, model):
    """Returns the description with the network's size, if that is not in it."""
    if description.num_params is None:
        description = dataclasses.replace(description, num_params=complexity.num_params(model))
    if description.mult_adds is None:
        with contextlib.suppress(ValueError):  # a model with layers that are not counted
            description = dataclasses.replace(description, mult_adds=complexity.mult_adds(model))
    return description
