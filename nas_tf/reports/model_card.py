"""The model card of a network that ships: what it is, how it came about and what was measured, as Markdown.

It is made of plain data only. A latency stands beside its device and its date. Where a figure was not measured, the
card says so.
"""

import importlib.metadata
import json
import pathlib
import subprocess

from nas_tf.accuracy import chance_of, num_examples_of, text
from nas_tf.reports.numbers import milliseconds, significant
from nas_tf.reports.snippets import KERAS, snippets

LICENCE = (
    "Apache-2.0 for the code that made this network. The licence of the training images is not stated: whoever "
    "ships the network has to."
)
_NONE = "not measured"


def source():
    """Returns the installed version, with the commit of the source if there is one, marked if it is not clean."""
    root = pathlib.Path(__file__).parents[2]
    version = "mobile-nas-tf " + importlib.metadata.version("mobile-nas-tf")
    if not (root / ".git").exists():
        return version
    try:
        git = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--tags"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return version
    return f"{version}, commit {git.stdout.strip()}" if git.returncode == 0 else version


def card(description, records=(), *, image_size=None, licence=LICENCE, made_by=""):
    """Returns the model card as Markdown.

    Args:
        description: the network's `nas_tf.networks.description.NetworkDescription`.
        records: `nas_tf.networks.description.FileRecord`s of its files, the Keras network's first.
        image_size: height and width of its images in pixels; None: as its scale says.
        licence: text of the licence section.
        made_by: the commit or version that made it (`source()`).
    """
    sections = [
        ("Network", _network(description)),
        ("Data", _data(description)),
        ("Training", _training(description)),
        ("Accuracy", _accuracy(description, records)),
        ("Files and latency", _files(records)),
        ("Input and output", _input(description)),
        ("How to use it", _loading(description, records, image_size)),
        ("Limits", _limits(description, records)),
        ("Licence", licence),
        ("Made by", made_by or "not recorded"),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    return f"# {network_name(description)}\n\n{body}\n"


def network_name(description):
    """Returns search space and fingerprint of the network of a `NetworkDescription`, as text."""
    space = (description.space or {}).get("name", "network")
    return f"{pathlib.Path(space).stem} {description.fingerprint or ''}".strip()


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _count(value):
    return _NONE if value is None else f"{value:,}"


def _network(description):
    rows = [
        ("architecture", f"`{description.text or 'not recorded'}`"),
        ("scale", ", ".join(f"{key} {value}" for key, value in description.scale.items()) or "not recorded"),
        *([("why it was chosen", description.choice)] if description.choice else []),
        ("parameters (trainable)", _count(description.num_params)),
        ("multiply-adds of one image", _count(description.mult_adds)),
    ]
    return _table(("what", "value"), rows)


def _data(description):
    data, names = description.dataset, description.class_names
    rows = [
        ("data set", data.get("name", "not recorded")),
        ("source", data.get("source", "not recorded")),
        ("classes", f"{len(names)}: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"),
        *((f"images, {split}", f"{count:,}") for split, count in data.get("num_examples", {}).items()),
        ("how the splits were drawn", data.get("splits", "not recorded")),
    ]
    return _table(("what", "value"), rows)


def _training(description):
    words, recipe = f"{description.weights}.", description.recipe
    return f"{words}\n\n```json\n{json.dumps(recipe, indent=2)}\n```" if recipe else words


def _accuracy(description, records):
    trained = description.accuracy
    data, chance = description.dataset, chance_of(description.dataset)
    rows = [("Keras network, test images", _percent(trained.test, num_examples_of(data, "test")))]
    if not records:
        rows.append(("Keras network, validation images", _percent(trained.validation, num_examples_of(data))))
    for record in records:
        if record.file != "saved_model":  # the Keras network itself
            reached = _percent(record.validation_accuracy, record.num_validation)
            rows.append((f"`{record.file}`, validation images", reached))
    if trained.proxy is not None:
        reached = _percent(trained.proxy, num_examples_of(data))
        rows.append(("small copy trained during the search, validation images", reached))
    if chance:
        rows.append(("guessing the largest class, validation images", _percent(chance.share, None)))
    note = (
        "± is the standard error of the images. Validation images helped to choose this network, so that only the test "
        "figure is unbiased."
    )
    if chance and trained.validation is not None and not chance.is_beaten_by(trained.validation):
        note = f"**This network is no better than guessing**: {chance}.\n\n{note}"
    return _table(("what", "accuracy"), rows) + f"\n\n{note}"


def _percent(value, num_examples):
    return _NONE if value is None else text(value, num_examples)


def _files(records):
    if not records:
        return f"Latency: {_NONE}."
    rows = []
    for record in records:
        size = "none" if record.bytes is None else f"{record.bytes:,}"
        rows.append((f"`{record.file}`", record.number_type, size, _latency(record), _conditions(record)))
    failed = [f"- **FAILED, do not ship**: `{each.file}`: {each.failure}" for each in records if each.failure]
    table = _table(("file", "numbers", "bytes", "latency", "device, runtime, threads, date"), rows)
    return "\n\n".join(filter(None, [table, "\n".join(failed)]))


def _latency(record):
    latency = record.latency
    if latency is None:
        return _NONE
    spread = "" if latency.std_ms is None else f", standard deviation {significant(latency.std_ms)} ms"
    words = [f"{milliseconds(record.latency_ms)} ({latency.statistic} of {latency.runs} runs{spread})", latency.ran_on]
    words += [f"by {name}: {each}" for name, each in latency.beside.items()]
    return "; ".join(filter(None, words)).replace("|", "\\|")


def _conditions(record):
    if record.latency is None:
        return "-"
    device = record.device or {}
    threads = (device.get("settings") or {}).get("num_threads", "not recorded")
    runtime = device.get("runtime") or device.get("tool") or "not recorded"
    return f"{record.device_name}; {runtime}; threads: {threads}; {record.measured_at}"


def _input(description):
    return (
        f"{description.input}, [batch, height, width, 3]; int8 files take this quantised by the scale and zero "
        "point of their input. Only the SavedModel's signatures `image_classification` and `image_feature_vector` "
        "take [0, 1], as TF Hub's conventions ask. The output is a probability for each class, in the order of "
        "`labels.txt`."
    )


def _loading(description, records, image_size):
    given = {record.number_type: record for record in records if record.file.endswith(".tflite") and not record.failure}
    best = recommended(list(given.values()))
    if best is None:
        return f"No TFLite file is fit to ship.\n\n{KERAS}"
    shown = best[0] if best[0].number_type != "int8" else given.get("float32", best[0])
    lines = [f"Take `{best[0].file}`: {best[1]}."]
    if shown is not best[0]:
        lines.append(f"The programs below run `{shown.file}`, whose inputs are plain numbers.")
    size = image_size or description.scale.get("image_size", 224)
    fit = description.dataset.get("fit", "stretch")
    return f"{' '.join(lines)}\n\n{snippets(shown.file, shown.number_type, size, fit)}"


def recommended(records):
    """Returns which file to take of those that have not failed, with the reason in words; None if there is none.

    It is the smallest of those that are as good as the fastest, within 5 % of its latency.

    Args:
        records: list of `FileRecord`s of TFLite files.
    """
    timed = [record for record in records if record.latency_ms is not None]
    if not timed:
        plain = next((record for record in records if record.number_type == "float32"), None)
        if plain:
            return plain, "no file was timed, and this one is not quantised"
        return (records[0], "no file was timed") if records else None
    fastest = min(timed, key=lambda record: record.latency_ms)
    near = [record for record in timed if record.latency_ms <= 1.05 * fastest.latency_ms]
    found = min(near, key=lambda record: record.bytes)
    latency = f"{milliseconds(found.latency_ms)} on {found.device_name}"
    if len(timed) == 1:
        return found, f"it takes {latency}"
    how = "the fastest" if found is fastest else "the smallest of those that are as fast, within 5 %"
    reached = _percent(found.validation_accuracy, found.num_validation)
    plain = next((record for record in records if record.number_type == "float32"), found)
    if plain is not found and plain.validation_accuracy is not None:
        reached += f" (float32: {_percent(plain.validation_accuracy, plain.num_validation)})"
    return found, f"with {latency} it is {how}; accuracy on validation images: {reached}"


def _limits(description, records):
    lines = []
    if description.weights.startswith("untrained"):
        lines.append("The weights are untrained: this network tells nothing apart.")
    lines.append("It answers with one of its classes for any picture, also for one that shows none of them.")
    if not any(record.validation_accuracy is not None for record in records):
        lines.append("The accuracy of these files was not measured.")
    if not any(record.latency_ms is not None for record in records):
        lines.append("The latency of these files was not measured.")
    else:
        lines.append("Latency holds for the device, the runtime and the threads beside it, and for no other.")
    return "\n".join(f"- {line}" for line in lines)
