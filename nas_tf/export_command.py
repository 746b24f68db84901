"""The export command of a family: from a trained network's folder to files that ship, each one run and timed."""

import dataclasses
import pathlib

from nas_tf import files_report, finish, flags, model_card, shipped_files
from nas_tf.devices import Meter
from nas_tf.export import NUMBER_TYPES
from nas_tf.flags import knob
from nas_tf.plugins import Part
from nas_tf.trial import EvaluationError, UserError

_LEAST_SAMPLES = 100  # of the train split, which is read for calibration only


@dataclasses.dataclass(frozen=True)
class Settings:
    """The knobs of every export."""

    network_dir: str = knob("", "Folder with architecture.json and model.keras, of a search or a training.")
    out_dir: str = knob("", "Folder for the files; empty: the same.")
    number_types: tuple[str, ...] = knob(
        (), f"TFLite files to write, of {', '.join(NUMBER_TYPES)}; empty: all, but int8 only with a --dataset."
    )  # fmt: skip
    dataset: str = knob("", "Images for the accuracy of each file and to calibrate int8 on; empty: neither.",
                        folder="nas_tf.datasets")  # fmt: skip
    data_dir: str = knob("", "Folder or zip of the images, where the data set needs one.")
    batch_size: int = knob(1, "Batch size that the TFLite files are fixed to.")
    device: str = knob("host", "Where the files are timed; none: nowhere.", folder="nas_tf.devices")
    licence: str = knob(model_card.LICENCE, "Licence, in the model card and the files' metadata.")

    def __post_init__(self):
        if self.batch_size < 1:
            raise UserError(f"Expected --batch_size of at least 1. Received: {self.batch_size}")
        unknown = [name for name in self.number_types if name not in NUMBER_TYPES]
        if unknown:
            known = ", ".join(NUMBER_TYPES)
            raise UserError(f"Expected --number_types of {known}. Received: {', '.join(unknown)}")
        if "int8" in self.number_types and not self.dataset:
            raise UserError("An int8 file is calibrated on training images. Expected --dataset. Received: none")
        if self.data_dir and not self.dataset:
            raise UserError(f"--data_dir={self.data_dir} is for a data set. Expected --dataset. Received: none")


def export(settings, parts=None, say=print):
    """Writes the files (`nas_tf.shipped_files.write_files`) and gives their records; `parts` holds settings of the
    device and the data set by name, `say` takes each line of text.

    Raises:
        UserError: the folders, the data or the device have to be mended by the user.
        EvaluationError: a file failed, and the others are kept; or the device did not answer.
    """
    if not settings.network_dir:
        raise UserError("Expected --network_dir, the folder of a trained network. Received: none")
    parts = parts or {}
    model, description = finish.read_network(settings.network_dir)
    folder = pathlib.Path(settings.out_dir or settings.network_dir)
    shipped_files.check_other_networks(folder, model, description)
    dataset = _make_dataset(settings, description, parts, say)
    device_part = None
    if settings.device != "none":
        device_part = Part("nas_tf.devices", settings.device, parts.get(settings.device, {}))
    records = shipped_files.write_files(
        model, description, folder, dataset=dataset, device=device_part, batch_size=settings.batch_size,
        number_types=settings.number_types or tuple(name for name in NUMBER_TYPES if dataset or name != "int8"),
        licence=settings.licence, say=say,
    )  # fmt: skip
    say(f"\n{files_report.files_table(records)}\n\n{folder / 'README.md'}: the model card")
    if device_part:
        say(_latency_line(settings.device, device_part, description, records))
    failed = files_report.failures(records)
    if failed:
        raise EvaluationError(f"{len(failed)} file(s) failed, the others are in {folder}: {'; '.join(failed)}")
    return records


def _make_dataset(settings, description, parts, say):
    """The data set that the settings name, its splits drawn as for training; None where they name none."""
    if not settings.dataset:
        say("no --dataset: the files are not run on any image, so that their accuracy is not measured")
        return None
    part = Part("nas_tf.datasets", settings.dataset, parts.get(settings.dataset, {}))
    dataset = part.module.make(
        part.config, data_dir=settings.data_dir or None, image_size=description["scale"]["image_size"],
        num_samples=max(_LEAST_SAMPLES, len(description.get("class_names", ()))),
        seed=description.get("data", {}).get("seed", 0),
    )  # fmt: skip
    ours, theirs = dataset.describe(), description.get("dataset", {})
    if any(ours.get(name) != theirs.get(name) for name in ("name", "source", "splits")):
        say("these are not the images, or not the splits, that the network was trained with: it may have been "
            "trained on some of the validation images")  # fmt: skip
    return dataset


def _latency_line(name, device_part, description, records):
    timed = [record for record in records if record["latency"]]
    if timed:
        return f"latency on {name}: {timed[0]['latency_ms']:.3f} ms, of {timed[0]['file']}"
    device = shipped_files.make_device(device_part, description)
    if isinstance(device, Meter):
        return f"latency on {name}: not measured, no file runs there"
    space = Part(**description["space"]).space
    estimate = device.estimate([space.architecture(description["architecture"])])[0]
    return f"latency on {name}: {estimate:.3f} ms, estimated for the architecture; no file was timed"


def cli(settings_type, usage, instead=lambda settings: None):
    """Defines the flags of a family's export, parses the command line and runs it; where `instead(settings)` gives
    lines of text, they are all that is done."""

    def main():
        settings = flags.read(settings_type)
        lines = instead(settings)
        if lines is not None:
            print("\n".join(map(str, lines)))
            return
        chosen = {"nas_tf.devices": settings.device, "nas_tf.datasets": settings.dataset}
        parts = {name: flags.read_part(folder, name).settings
                 for folder, name in chosen.items() if name not in ("", "none")}  # fmt: skip
        export(settings, parts)

    flags.define(settings_type)
    for folder in ("nas_tf.devices", "nas_tf.datasets"):
        flags.define_parts(folder)
    flags.run(main, usage)
