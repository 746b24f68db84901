"""The export command of a family: from a trained network's folder to files that ship, each one run and timed."""

import dataclasses
import functools
import pathlib

from nas_tf import datasets, flags, plugins
from nas_tf.datasets import NUM_CALIBRATION_IMAGES, Source
from nas_tf.devices import Meter
from nas_tf.export import NUMBER_TYPES
from nas_tf.family import space_from_file, space_names
from nas_tf.networks.folder import DESCRIPTION, read_network
from nas_tf.plugins import Part
from nas_tf.quiet import count
from nas_tf.reports import files as report
from nas_tf.reports.model_card import LICENCE
from nas_tf.reports.numbers import milliseconds
from nas_tf.settings import DEVICE, FILES, IMAGES, NETWORK, Settings, knob
from nas_tf.shipping.files import check_other_networks, make_device, write_files
from nas_tf.trial import EvaluationError, UserError


@dataclasses.dataclass(frozen=True)
class ExportSettings(Settings):
    """The settings of every export."""

    network_dir: str = knob(
        "", "Folder with architecture.json and model.keras, of a search or a training.", path=True, group=NETWORK
    )
    out_dir: str = knob("", "Folder for the files; empty: the same.", path=True, group=FILES)
    number_types: tuple[str, ...] = knob(
        (),
        f"TFLite files to write, of {', '.join(NUMBER_TYPES)}; empty: all, but int8 only with images.",
        choices=NUMBER_TYPES,
        group=FILES,
    )
    dataset: str = knob(
        "",
        "Images for the accuracy of each file and to calibrate int8 on; default: image_folder with a --data_dir, else "
        "neither.",
        folder="nas_tf.datasets",
        group=IMAGES,
    )
    data_dir: str = knob("", "Folder or zip of the images, where the data set needs one.", path=True, group=IMAGES)
    batch_size: int = knob(1, "Batch size that the TFLite files are fixed to.", least=1, group=FILES)
    device: str = knob(
        "host", "Where the files are timed; none: nowhere.", folder="nas_tf.devices", also=("none",), group=DEVICE
    )
    search_space: str = knob(
        "",
        "Search space of the network, if that is a file of your own: only a file named here is run.",
        path=True,
        group=NETWORK,
    )
    licence: str = knob(LICENCE, "Licence, in the model card and the files' metadata.", group=FILES)

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "dataset", datasets.chosen(self.dataset, self.data_dir, otherwise=""))
        if "int8" in self.number_types and not self.dataset:
            raise UserError(
                "An int8 file is calibrated on training images. Expected --data_dir or --dataset. Received: none"
            )


def export(settings, parts=None, say=print):
    """Writes the files (`nas_tf.shipping.files.write_files`) and returns their records.

    Args:
        settings: the `ExportSettings`.
        parts: dict from the name of the device and of the data set to its settings.
        say: takes each line of text.

    Raises:
        UserError: the user has to change the folders, the data or the device.
        EvaluationError: a file failed, and the others are kept; or the device did not answer.
    """
    if not settings.network_dir:
        raise UserError("Expected --network_dir, the folder of a trained network. Received: none")
    own = settings.search_space
    if own and not own.endswith(".py") and own not in space_names():
        raise UserError(
            f"Expected --search_space to be one of {', '.join(space_names())}, or the path of a .py file. "
            f"Received: {own!r}"
        )
    parts = plugins.expand_all(parts)
    model, description = read_network(settings.network_dir)
    folder = pathlib.Path(settings.out_dir or settings.network_dir)
    check_other_networks(folder, model, description)
    images, image_size = _images(settings, description, parts), description.scale["image_size"]
    dataset = _make_dataset(images, description, say)
    device_part = None
    if settings.device != "none":
        device_part = Part("nas_tf.devices", settings.device, parts.get(settings.device, {}))
    records = write_files(
        model,
        description,
        folder,
        dataset=dataset,
        calibration=images and functools.partial(images.calibration_images, image_size),
        device=device_part,
        batch_size=settings.batch_size,
        number_types=settings.number_types or tuple(name for name in NUMBER_TYPES if dataset or name != "int8"),
        licence=settings.licence,
        own_space=settings.search_space,
        say=say,
    )
    say(f"\n{report.files_table(records)}\n\n{folder / 'README.md'}: the model card")
    if device_part:
        say(_latency_line(settings, device_part, description, records))
    failed = report.failures(records)
    if failed:
        raise EvaluationError(f"{count(len(failed), 'file')} failed, the others are in {folder}: {'; '.join(failed)}")
    return records


def _images(settings, description, parts):
    """Returns the `Source` of the images that the settings name, split as for training, or None if they name none."""
    if not settings.dataset:
        return None
    part = Part("nas_tf.datasets", settings.dataset, parts.get(settings.dataset, {}))
    data = description.data or {}
    return Source(part, settings.data_dir, data.get("seed", 0), data.get("race_fraction", 0.0))


def _make_dataset(images, description, say):
    """Returns the data set to judge the files on, or None. Its train split has only what calibration needs."""
    if images is None:
        say("neither --data_dir nor --dataset: the files are not run on any image, and their accuracy is not measured")
        return None
    num_samples = max(NUM_CALIBRATION_IMAGES, len(description.class_names))
    dataset = images.make(description.scale["image_size"], num_samples)
    ours, theirs = dataset.describe(), description.dataset
    if any(ours.get(name) != theirs.get(name) for name in ("name", "source", "splits")):
        say(
            "these are not the images, or not the splits, that the network was trained with: it may have been "
            "trained on some of the validation images"
        )
    return dataset


def _latency_line(settings, device_part, description, records):
    name, own_space = settings.device, settings.search_space
    timed = [record for record in records if record.latency]
    if timed:
        return f"latency on {name}: {milliseconds(timed[0].latency_ms)}, of {timed[0].file}"
    device = make_device(device_part, description, own_space)
    if isinstance(device, Meter):
        return f"latency on {name}: not measured, no file runs there"
    space = space_from_file(description.space, DESCRIPTION, own_space).space
    estimate = device.estimate([space.architecture(description.architecture)])[0]
    return f"latency on {name}: {milliseconds(estimate)}, estimated for the architecture; no file was timed"


def cli(settings_type, usage, instead=lambda settings: None):
    """Defines the flags of a family's export, parses the command line and runs it.

    Args:
        settings_type: `ExportSettings`, or a family's own.
        usage: the text of `--help`.
        instead: takes the settings. If it returns lines of text, these are printed, and nothing else is done.
    """

    def main():
        settings = flags.read(settings_type)
        lines = instead(settings)
        if lines is not None:
            print("\n".join(map(str, lines)))
            return
        chosen = {"nas_tf.devices": settings.device, "nas_tf.datasets": settings.dataset}
        parts = {
            name: flags.read_part(folder, name).settings for folder, name in chosen.items() if name not in ("", "none")
        }
        export(settings, parts)

    flags.define(settings_type)
    for folder in ("nas_tf.devices", "nas_tf.datasets"):
        flags.define_parts(folder)
    flags.run(main, usage)
