"""Looks after the phones that latencies are measured on.

nas-phone check                          what is wrong with the phone and what to do; else what it is, and how steady
nas-phone setup                          fetches TFLite's official benchmark_model for it
nas-phone measure net.tflite mnasnet_a1  latencies of files and of published networks, as text, CSV and picture

Flags that begin with --android_ say which phone, and how it is asked; a search with --device=android has the same.
"""

import dataclasses
import functools
import importlib.metadata
import pathlib
import tempfile

from nas_tf import families, flags, phone_check
from nas_tf.datasets import scaled_images
from nas_tf.devices import android
from nas_tf.devices._android import fleet, tool
from nas_tf.export import NUMBER_TYPES, to_tflite
from nas_tf.files import check_writable
from nas_tf.flags import knob
from nas_tf.latency_report import Row, draw_rows, table_of_rows, write_rows_csv
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras, progress_bar
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError

_CALIBRATION_IMAGES = 100


@dataclasses.dataclass(frozen=True)
class Settings:
    out_dir: str = knob("phone", "Folder for what the command writes: the zip of logs, the CSV, the picture.")
    number_types: tuple[str, ...] = knob(
        ("float32", "int8"), f"Types in which measure converts published networks, of {', '.join(NUMBER_TYPES)}."
    )
    image_size: int = knob(224, "Height and width, in pixels, at which published networks are measured.")
    num_classes: int = knob(1000, "Classes of the published networks.")
    dataset: str = knob("digits", "Images on which int8 files are calibrated.", folder="nas_tf.datasets")
    data_dir: str = knob("", "Folder or zip of these images, where the data set needs one.")
    tool_version: str = knob("", "Version of benchmark_model that setup fetches; empty: that of ai-edge-litert here.")
    tool_sha256: str = knob("", "SHA-256 that the fetched tool must have.")

    def __post_init__(self):
        unknown = set(self.number_types) - set(NUMBER_TYPES)
        if unknown or not self.number_types:
            raise UserError(f"Expected --number_types of {', '.join(NUMBER_TYPES)}. "
                            f"Received: {','.join(self.number_types)}")  # fmt: skip
        if self.image_size < 1 or self.num_classes < 1:
            raise UserError("Expected --image_size and --num_classes of at least 1. "
                            f"Received: {self.image_size} and {self.num_classes}")  # fmt: skip


def check(settings, config, say=print):
    """Says what is wrong with the chosen phones, or what they are and how steadily they time three networks."""
    at_full_size = dataclasses.replace(settings, image_size=224, num_classes=1000)
    phone_check.check(config, settings.out_dir, functools.partial(_convert, at_full_size, "float32"), say)


def setup(settings, config, say=print):
    """Fetches the tool for the chosen phones and says where it lies."""
    meter = android.make(dataclasses.replace(config, serials=fleet.choose(config.serials)))
    version = settings.tool_version or importlib.metadata.version("ai-edge-litert")
    for abi in dict.fromkeys(meter.abis()):
        with progress_bar(unit="B", unit_scale=True, desc=f"benchmark_model {version}") as bar:

            def show(done, total, bar=bar):
                bar.total = total
                bar.update(done - bar.n)

            fetched = tool.fetch(abi, version, settings.tool_sha256, progress=show)
        say(f"{fetched.path}\n{abi}, version {fetched.version}, SHA-256 {fetched.sha256}")


def measure(settings, config, words, say=print):
    """list[Row]: the latencies of files and published networks, written to the output folder too."""
    if not words:
        raise UserError("Expected files or names: nas-phone measure net.tflite mnasnet_a1")
    for word in words:
        if not pathlib.Path(word).is_file():
            if word.endswith(".tflite"):
                raise UserError(f"Expected a TFLite file. There is no file {word!r}")
            families.published(word)
    check_writable(settings.out_dir)
    meter = android.make(config)
    meter.check()
    about = meter.describe()
    images = _calibration(settings, words)
    jobs = [(word, None if pathlib.Path(word).is_file() else each) for word in words
            for each in (settings.number_types if not pathlib.Path(word).is_file() else (None,))]  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder, progress_bar(jobs, unit="file") as bar:
        for number, (word, number_type) in enumerate(bar):
            path = pathlib.Path(folder) / f"{number}.tflite"
            rows.append(_measure_one(settings, meter, word, number_type, path, images))
    say(table_of_rows(rows, about))
    out = pathlib.Path(settings.out_dir)
    write_rows_csv(out / "latencies.csv", rows, about)
    draw_rows(out / "latencies.png", rows, about)
    say(f"\n{out / 'latencies.csv'}\n{out / 'latencies.png'}")
    return rows


def _calibration(settings, words):
    """float32 images to calibrate int8 files on, None where none are to be made."""
    if "int8" not in settings.number_types or all(pathlib.Path(word).is_file() for word in words):
        return None
    part = Part("nas_tf.datasets", settings.dataset, {})

    def make(count):
        return part.module.make(
            part.config, data_dir=settings.data_dir or None, image_size=settings.image_size, num_samples=count, seed=0
        )

    return scaled_images(make(max(_CALIBRATION_IMAGES, make(0).num_classes)).train(), _CALIBRATION_IMAGES)


def _measure_one(settings, meter, word, number_type, path, images):
    name, path = (word, path) if number_type else (pathlib.Path(word).name, pathlib.Path(word))
    try:
        if number_type:
            _convert(settings, number_type, word, path, images)
        return Row(name, number_type or "", path.stat().st_size, meter.measure(path))
    except (InfeasibleArchitecture, EvaluationError) as error:
        return Row(name, number_type or "", None, None, str(error))


def _convert(settings, number_type, name, path, images=None):
    keras = import_keras()
    keras.backend.clear_session()
    module = families.published(name)
    family = next(each for each in families.families() if each.published == module.__name__)
    scale_type = Part(family.space_folder, family.settings.search_space, {}).module.Scale
    model = module.build(name, scale_type(settings.image_size, settings.num_classes))
    to_tflite(model, path, 1, number_type, images)


def main(words):
    settings, config = flags.read(Settings), flags.read(android.Config, "android_")
    command = words[0] if words else "none"
    if command not in ("check", "setup", "measure") or (command != "measure" and len(words) > 1):
        raise UserError(f"Expected nas-phone check, setup, or measure FILES. Received: {' '.join(words) or 'none'!r}")
    if command == "measure":
        rows = measure(settings, config, words[1:])
        return int(any(row.error for row in rows))
    {"check": check, "setup": setup}[command](settings, config)
    return 0


def cli():
    flags.define(Settings)
    flags.define(android.Config, "android_")
    flags.run(main, __doc__, takes_words=True)


if __name__ == "__main__":
    cli()
