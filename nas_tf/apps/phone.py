"""Looks after the phones that latencies are measured on.

nas-phone check                          what is wrong with the phone and what to do, or what it is and how steady
nas-phone setup                          fetches TFLite's official benchmark_model for it
nas-phone measure net.tflite mnasnet_a1  latencies of files and of published networks, as text, CSV and picture

Flags that begin with --android_ say which phone, and how it is asked; a search with --device=android has the same.
"""

import dataclasses
import functools
import importlib.metadata
import pathlib
import sys
import tempfile

from nas_tf import datasets, flags
from nas_tf.apps import _phone_check
from nas_tf.bars import progress_bar
from nas_tf.datasets import Source
from nas_tf.devices import android
from nas_tf.devices._android import fleet, tool
from nas_tf.export import NUMBER_TYPES, to_tflite
from nas_tf.family import family_of_published
from nas_tf.files import check_writable
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.reports.latencies import Row, draw_rows, table_of_rows, write_rows_csv
from nas_tf.settings import IMAGES, NETWORK, RUN, Settings, knob
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError


@dataclasses.dataclass(frozen=True)
class PhoneSettings(Settings):
    """The settings of nas-phone. Those of the device `android` say which phone, and how it is asked."""

    out_dir: str = knob(
        "phone", "Folder for what the command writes: the zip of logs, the CSV, the picture.", path=True, group=RUN
    )
    number_types: tuple[str, ...] = knob(
        ("float32", "int8"),
        f"Types in which measure converts published networks, of {', '.join(NUMBER_TYPES)}.",
        choices=NUMBER_TYPES,
        required="at least one type",
        group=NETWORK,
    )
    delegates: tuple[str, ...] = knob(
        (),
        f"Delegates by which measure times each file, of {', '.join(android.DELEGATES)}; default: --android_delegate.",
        choices=android.DELEGATES,
        group=NETWORK,
    )
    image_size: int = knob(
        224, "Height and width, in pixels, at which published networks are measured.", least=1, most=4096, group=NETWORK
    )
    num_classes: int = knob(1000, "Classes of the published networks.", least=1, most=1_000_000, group=NETWORK)
    dataset: str = knob(
        "",
        "Images on which int8 files are calibrated; default: image_folder with a --data_dir, else digits.",
        folder="nas_tf.datasets",
        group=IMAGES,
    )
    data_dir: str = knob("", "Folder or zip of these images, where the data set needs one.", path=True, group=IMAGES)
    tool_address: str = knob(
        tool.ADDRESS, "Where setup fetches benchmark_model, with {version} and {platform} in place of these."
    )
    tool_version: str = knob("", "Version of benchmark_model that setup fetches; empty: that of ai-edge-litert here.")
    tool_sha256: str = knob("", "SHA-256 that the fetched tool must have: says yes to a first fetch.")

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "dataset", datasets.chosen(self.dataset, self.data_dir))


def check(settings, config, say=print):
    """Says what is wrong with the chosen phones, or what they are and how steadily they time three networks."""
    at_full_size = dataclasses.replace(settings, image_size=224, num_classes=1000)
    _phone_check.check(config, settings.out_dir, functools.partial(_convert, at_full_size, "float32"), say)


def setup(settings, config, say=print):
    """Fetches the tool for the chosen phones and says where it lies."""
    meter = android.make(dataclasses.replace(config, serials=fleet.choose(config.serials)))
    version = settings.tool_version or importlib.metadata.version("ai-edge-litert")
    for abi in dict.fromkeys(meter.abis()):
        with progress_bar(unit="B", unit_scale=True, desc=f"benchmark_model {version}") as bar:

            def show(done, total, bar=bar):
                bar.total = total
                bar.update(done - bar.n)

            fetched = tool.fetch(
                abi, version, settings.tool_sha256, settings.tool_address, progress=show, confirm=_confirm
            )
        say(f"{fetched.path}\n{abi}, version {fetched.version}, SHA-256 {fetched.sha256}")


def _confirm(url, sha256):
    """Asks the user about a file that nothing vouches for; without a terminal nobody can be asked."""
    if not sys.stdin.isatty():
        return False
    print(f"\n{url}\nhas SHA-256 {sha256}. It will run on your phone. Install it? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def measure(settings, config, words, say=print):
    """Times files and published networks, writes their latencies to the output folder, and returns a list of `Row`s."""
    if not words:
        raise UserError("Expected files or names: nas-phone measure net.tflite mnasnet_a1")
    for word in words:
        if not pathlib.Path(word).is_file():
            if word.endswith(".tflite"):
                raise UserError(f"Expected a TFLite file. There is no file {word!r}")
            family_of_published(word)
    check_writable(settings.out_dir)
    meters, refused = _meters(config, settings.delegates or (config.delegate,))
    about = next(iter(meters.values())).describe()
    about["settings"] = {**about["settings"], "delegate": ", ".join(meters)}
    images = _calibration(settings, words)
    jobs = [
        (word, None if pathlib.Path(word).is_file() else each)
        for word in words
        for each in (settings.number_types if not pathlib.Path(word).is_file() else (None,))
    ]
    rows = []
    with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder, progress_bar(jobs, unit="file") as bar:
        for number, (word, number_type) in enumerate(bar):
            path = pathlib.Path(folder) / f"{number}.tflite"
            rows += _measure_one(settings, meters, refused, word, number_type, path, images)
    say(table_of_rows(rows, about))
    out = pathlib.Path(settings.out_dir)
    write_rows_csv(out / "latencies.csv", rows, about)
    draw_rows(out / "latencies.png", rows, about)
    say(f"\n{out / 'latencies.csv'}\n{out / 'latencies.png'}")
    return rows


def _calibration(settings, words):
    """Returns float32 images to calibrate int8 files on, or None if no int8 file is made."""
    if "int8" not in settings.number_types or all(pathlib.Path(word).is_file() for word in words):
        return None
    images = Source(Part("nas_tf.datasets", settings.dataset), settings.data_dir, seed=0)
    return images.calibration_images(settings.image_size)


def _meters(config, delegates):
    """Returns a dict from a delegate to its meter, and one from a delegate that the phone has not to the reason.

    Raises:
        UserError: the phone has none of them.
    """
    meters, refused = {}, {}
    for delegate in delegates:
        meter = android.make(dataclasses.replace(config, delegate=delegate))
        try:
            meter.check()
            meters[delegate] = meter
        except (UserError, EvaluationError) as error:
            if len(delegates) == 1:
                raise
            refused[delegate] = str(error)
    if not meters:
        raise UserError("; ".join(refused.values()))
    return meters, refused


def _measure_one(settings, meters, refused, word, number_type, path, images):
    """Returns the `Row`s of one file, one for each delegate."""
    name, path = (word, path) if number_type else (pathlib.Path(word).name, pathlib.Path(word))
    rows = [Row(name, number_type or "", None, None, why, delegate) for delegate, why in refused.items()]
    try:
        if number_type:
            _convert(settings, number_type, word, path, images)
    except (InfeasibleArchitecture, EvaluationError) as error:
        return [Row(name, number_type, None, None, str(error), delegate) for delegate in meters] + rows
    for delegate, meter in meters.items():
        try:
            rows.append(Row(name, number_type or "", path.stat().st_size, meter.measure(path), "", delegate))
        except (InfeasibleArchitecture, EvaluationError) as error:
            rows.append(Row(name, number_type or "", None, None, str(error), delegate))
    return rows


def _convert(settings, number_type, name, path, images=None):
    keras = import_keras()
    keras.backend.clear_session()
    module = family_of_published(name).published_module
    model = module.build(name, module.Scale(settings.image_size, settings.num_classes))
    to_tflite(model, path, 1, number_type, images)


def main(words):
    settings, config = flags.read(PhoneSettings), flags.read(android.Config, "android_")
    command = words[0] if words else "none"
    if command not in ("check", "setup", "measure") or (command != "measure" and len(words) > 1):
        raise UserError(f"Expected nas-phone check, setup, or measure FILES. Received: {' '.join(words) or 'none'!r}")
    if command == "measure":
        rows = measure(settings, config, words[1:])
        return int(any(row.error for row in rows))
    {"check": check, "setup": setup}[command](settings, config)
    return 0


def cli():
    flags.define(PhoneSettings)
    flags.define(android.Config, "android_")
    flags.run(main, __doc__, takes_words=True)


if __name__ == "__main__":
    cli()
