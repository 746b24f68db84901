"""The files that ship: each run on the validation images and timed; bad ones named and kept apart; resumption."""

import contextlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import toy_networks

from nas_tf import export, recycling
from nas_tf.datasets import Images, Stream, scale_pixels
from nas_tf.networks.description import NetworkDescription
from nas_tf.plugins import Part
from nas_tf.reports import files as files_report
from nas_tf.shipping import _file_writer, tflite_metadata
from nas_tf.shipping import files as shipped_files
from nas_tf.shipping._converting import processes, to_tflite_recycled
from nas_tf.shipping.candidates import time_network
from nas_tf.shipping.tflite_accuracy import accuracy
from nas_tf.training.evaluate import evaluate
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, Latency, UserError

pytestmark = pytest.mark.real
ALL = {"model.keras", "saved_model", *shipped_files.TFLITE_FILES.values()}
BESIDE = {"README.md", "files.json", "files.png", "labels.txt"}


UNDESCRIBED = NetworkDescription("", {}, (), {})


@pytest.fixture(scope="module")
def make_data():
    def make(size=12, **settings):
        part = Part("nas_tf.datasets", toy_networks.DATASET, settings)
        return part.make(data_dir=None, image_size=size, num_samples=0, seed=0)

    return make


@pytest.fixture(scope="module")
def model(make_data):
    return toy_networks.trained(make_data())


@pytest.fixture
def device(tmp_path):
    return lambda **settings: Part("nas_tf.devices", toy_networks.DEVICE, {"log": str(tmp_path / "log"), **settings})


def timed(tmp_path):
    """[str, ...]: the names under which the toy device was given files."""
    return (tmp_path / "log").read_text().split() if (tmp_path / "log").exists() else []


def names(folder):
    return {path.name for path in folder.iterdir()}


def check_the_cards_programs(folder, split):
    """Runs what the card says, as it is printed, on an image of a split, and compares it with the Keras network."""
    from PIL import Image

    from nas_tf.networks.folder import read_keras

    Image.fromarray(split.images[0]).save(folder / "photo.png")
    programs = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    (folder / "classify.py").write_text("\n".join(programs[:-2]))  # the last two are Keras's and TF Hub's
    command = [sys.executable, "classify.py", "photo.png"]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    expected = np.asarray(read_keras(folder / "model.keras")(scale_pixels(split.images[:1])))[0]
    assert len(process.stdout.splitlines()) == len(programs) - 2 > 0, process.stderr
    for line in process.stdout.splitlines():
        label, probability = line.split()
        assert label == ("red", "green", "blue")[expected.argmax()]
        assert float(probability) == pytest.approx(expected.max(), abs=0.03)  # the file may be a quantised one
    for name in ("photo.png", "classify.py"):
        (folder / name).unlink()
    _check_the_cards_other_programs(folder, programs[-2:], scale_pixels(split.images[:1]), expected)


def _check_the_cards_other_programs(folder, programs, images, expected):
    """Keras's and TF Hub's load the folder, and answer for images in [-1, 1]."""
    pytest.importorskip("tensorflow_hub")
    for program, names in zip(programs, (("model", "layer"), ("loaded", "layer"))):
        made = {}
        with contextlib.chdir(folder):
            exec(program, made)
        for name in names:
            answer = made[name](images)
            answer = next(iter(answer.values())) if isinstance(answer, dict) else answer
            np.testing.assert_allclose(np.asarray(answer)[0], expected, atol=1e-4)


def test_every_file_is_run_timed_and_recorded_once(model, make_data, device, tmp_path):
    data, folder, said = make_data(), tmp_path / "files", []
    description = NetworkDescription("conv, 48 filters", {}, ("red", "green", "blue"), {}, fingerprint="abc")
    arguments = {"dataset": data, "device": device(), "say": said.append}
    records = shipped_files.write_files(model, description, folder, **arguments)
    assert names(folder) == ALL | BESIDE
    reference = evaluate(model, data.validation())
    assert 0.75 < reference < 0.98  # learned, and hard enough for a difference to show
    by_name = {record.file: record for record in records}
    assert [record.file for record in records][0] == "model.keras" and set(by_name) == ALL
    assert by_name["model.keras"].validation_accuracy == reference
    assert by_name["model.tflite"].validation_accuracy == pytest.approx(reference, abs=1e-6)
    assert by_name["model_float16.tflite"].validation_accuracy == pytest.approx(reference, abs=0.011)
    for name in ("model_dynamic.tflite", "model_int8.tflite"):
        assert by_name[name].validation_accuracy == pytest.approx(reference, abs=shipped_files.MOST_LOST)
    for number_type, name in shipped_files.TFLITE_FILES.items():
        record = by_name[name]
        assert record.bytes == (folder / name).stat().st_size and record.number_type == number_type
        assert record.latency_ms == record.latency.median_ms > 0 and record.failure is None
        assert record.device["model"] == "T1" and record.measured_at.endswith("+00:00")
        metadata = tflite_metadata.read(folder / name)
        assert metadata.labels == ("red", "green", "blue") and "conv, 48 filters" in metadata.description
    assert by_name["saved_model"].validation_accuracy is None
    assert len(said) == 6 and f"(Keras: {100 * reference:.1f} ± " in said[1]
    assert (folder / "labels.txt").read_text() == "red\ngreen\nblue\n"
    check_the_cards_programs(folder, data.validation())

    first = timed(tmp_path)
    assert len(first) == 4
    assert shipped_files.write_files(model, description, folder, **arguments) == records
    assert timed(tmp_path) == first and len(said) == 6
    (folder / "model_float16.tflite").write_bytes(b"damaged")
    again = shipped_files.write_files(model, description, folder, **arguments)
    assert timed(tmp_path) == [*first, "model_float16.failed.tflite"] and names(folder) == ALL | BESIDE
    assert (folder / "model_float16.tflite").stat().st_size == by_name["model_float16.tflite"].bytes
    assert [record for record in again if record.number_type != "float16"] == [
        record for record in records if record.number_type != "float16"
    ]
    # What was asked for otherwise is made anew, and of other weights all.
    other = {**arguments, "number_types": ["int8"], "batch_size": 2}
    shipped_files.write_files(model, description, folder, **other)
    assert len(timed(tmp_path)) == 6
    check_the_cards_programs(folder, data.validation())  # of an int8 file, for two images at once
    model.layers[-1].bias.assign_add([1e-7] * 3)
    shipped_files.write_files(model, description, folder, **{**arguments, "number_types": ["float32"]})
    assert len(timed(tmp_path)) == 7 and set(json.loads((folder / "files.json").read_text())["files"]) == {
        "model.keras",
        "model.tflite",
        "saved_model",
    }


def test_an_int8_file_that_lost_too_much_is_kept_apart(make_data, device, tmp_path):
    model, folder = toy_networks.quantises_badly(), tmp_path / "files"
    records = shipped_files.write_files(model, UNDESCRIBED, folder, dataset=make_data(), device=device(), say=[].append)
    assert names(folder) == ALL - {"model_int8.tflite"} | {"model_int8.failed.tflite"} | BESIDE
    (failed,) = [record for record in records if record.failure]
    assert failed.file == "model_int8.failed.tflite" and failed.latency_ms > 0
    assert "points below the" in failed.failure and "of model.tflite" in failed.failure
    keras_accuracy = records[0].validation_accuracy
    assert failed.validation_accuracy < keras_accuracy - 0.2
    assert records[1].validation_accuracy == pytest.approx(keras_accuracy, abs=1e-6)
    table = files_report.files_table(records)
    (row,) = [line for line in table.splitlines() if line.startswith("model_int8.failed.tflite")]
    assert row.endswith("FAILED") and f"{100 * failed.validation_accuracy:.1f} ± " in row
    assert table.splitlines()[-1] == f"FAILED {files_report.failures(records)[0]}"
    assert "**FAILED, do not ship**: `model_int8.failed.tflite`" in (folder / "README.md").read_text()


def test_what_a_file_may_lose_allows_for_the_standard_error(model, make_data, tmp_path, monkeypatch):
    """2 points, and 2.1 for an accuracy of 90 % on the 202 toy images: 4 points lost are chance, 5 are not."""
    monkeypatch.setattr(_file_writer, "evaluate", lambda *_: 0.9)
    for lost, has_failed in ((0.04, False), (0.05, True)):
        monkeypatch.setattr(_file_writer, "_run", lambda *_, lost=lost: 0.9 - lost)
        records = shipped_files.write_files(
            model, UNDESCRIBED, tmp_path / str(lost), dataset=make_data(), number_types=["float16"], say=[].append
        )
        assert [bool(record.failure) for record in records] == [False, has_failed, False]
        assert [record.num_validation for record in records] == [202, 202, None]
    assert "2 points and the standard error, 2.11, may be lost" in records[1].failure


def test_a_device_that_refuses_or_breaks(model, make_data, device, tmp_path):
    folder, types = tmp_path / "files", ["float32", "float16"]
    records = shipped_files.write_files(
        model, UNDESCRIBED, folder, device=device(refuses="float16"), number_types=types, say=lambda line: None
    )
    assert [record.failure for record in records] == [None, None, "the toy device refuses the network", None]
    assert "model_float16.failed.tflite" in names(folder) and "model_float16.tflite" not in names(folder)
    assert all(record.validation_accuracy is None for record in records)  # no data set was given
    assert "files.png" not in names(folder)

    folder = tmp_path / "broken"
    arguments = {"device": device(breaks_at="float16"), "number_types": types, "say": lambda line: None}
    before = len(timed(tmp_path))
    with pytest.raises(EvaluationError, match="the toy device is gone"):
        shipped_files.write_files(model, UNDESCRIBED, folder, **arguments)
    assert set(json.loads((folder / "files.json").read_text())["files"]) == {"model.keras", "model.tflite"}
    assert "model_float16.tflite" not in names(folder)
    shipped_files.write_files(model, UNDESCRIBED, folder, **arguments)
    assert timed(tmp_path)[before:] == ["model.failed.tflite", "model_float16.failed.tflite"]
    assert "model_float16.tflite" in names(folder) and "model_float16.failed.tflite" not in names(folder)


def test_a_network_that_the_converter_refuses(tmp_path):
    import keras

    inputs = keras.Input((12, 12, 3))
    x = keras.ops.erfinv(keras.layers.GlobalAveragePooling2D()(inputs) / 2)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    records = shipped_files.write_files(model, UNDESCRIBED, tmp_path, number_types=["float32"], say=lambda line: None)
    assert "The TFLite converter refused the network" in records[1].failure and records[1].bytes is None
    assert names(tmp_path) == {"model.keras", "saved_model", "README.md", "files.json"}
    assert "-" in files_report.files_table(records)


def test_what_does_not_fit_is_refused(model, make_data, tmp_path):
    def message(*, number_types=("int8",), **settings):
        with pytest.raises(UserError) as caught:
            data = settings.pop("dataset", None) or (make_data(**settings) if settings else None)
            shipped_files.write_files(model, UNDESCRIBED, tmp_path / "files", dataset=data, number_types=number_types)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "empty train split of 'toy'" in message(empty="train")
    assert "Expected validation images" in message(empty="validation")
    assert "Expected a data set (--dataset)" in message()
    assert "Expected images of (12, 12, 3)" in message(size=8)
    assert "network's 3 classes. Received: 2" in message(classes=("a", "b"))
    assert "Received: int4" in message(number_types=("int4",)) and "none" in message(number_types=())
    assert not (tmp_path / "files" / "model.tflite").exists()


def test_accuracy_of_a_file(model, make_data, tmp_path):
    export.to_tflite(model, tmp_path / "one.tflite")
    export.to_tflite(model, tmp_path / "four.tflite", batch_size=4)
    split = make_data().validation()
    expected = evaluate(model, split)
    assert accuracy(tmp_path / "one.tflite", split) == pytest.approx(expected, abs=1e-6)
    assert accuracy(tmp_path / "four.tflite", split) == pytest.approx(expected, abs=1e-6)
    stream = make_data(streams=True).validation()
    assert accuracy(tmp_path / "one.tflite", stream) == pytest.approx(expected, abs=1e-6)
    other = Images(np.zeros((2, 8, 8, 3), "uint8"), np.zeros(2, "int32"))
    with pytest.raises(UserError, match="Expected images of 12 x 12 x 3"):
        accuracy(tmp_path / "one.tflite", other)
    with pytest.raises(UserError, match="Received: class number 3"):
        accuracy(tmp_path / "one.tflite", Images(split.images[:2], np.array([0, 3], "int32")))
    for empty in (Images(split.images[:0], split.labels[:0]), Stream(None, 0)):
        with pytest.raises(UserError, match="an empty split"):
            accuracy(tmp_path / "one.tflite", empty)


def test_files_are_converted_in_processes_that_are_recycled(model, make_data, tmp_path, monkeypatch):
    """Once this process has grown: one of 1 MB it never was."""
    import tensorflow as tf

    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_concrete_functions", None)
    monkeypatch.setattr(recycling, "MAX_MEMORY_MB", 1)
    before = processes().num_started
    types = ("float32", "float16")
    records = shipped_files.write_files(model, UNDESCRIBED, tmp_path, dataset=make_data(), number_types=types)
    assert [each.failure for each in records] == [None] * 4
    time_network(Timer(), model)
    assert processes().num_started - before in (2, 3)  # the first may have been there
    assert processes().call(os.getpid) != os.getpid()


class Timer:
    def measure(self, path):
        return Latency.estimate(1.0)


def test_a_file_that_is_converted_apart_is_the_same(model, tmp_path, monkeypatch):
    """For every type: what the other process is given is all of the network."""
    monkeypatch.setattr(recycling, "MAX_MEMORY_MB", 1)
    images = np.random.default_rng(0).uniform(-1, 1, (8, *model.inputs[0].shape[1:])).astype("float32")
    for number_type in export.NUMBER_TYPES:
        export.to_tflite(model, tmp_path / "here", 2, number_type, images)
        to_tflite_recycled(model, tmp_path / "apart", 2, number_type, images)
        assert (tmp_path / "here").read_bytes() == (tmp_path / "apart").read_bytes()


def test_what_the_converter_refuses_apart_is_infeasible(tmp_path, monkeypatch):
    import keras

    monkeypatch.setattr(recycling, "MAX_MEMORY_MB", 1)
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.ops.erfinv(inputs))
    with pytest.raises(InfeasibleArchitecture, match="The TFLite converter refused the network: "):
        to_tflite_recycled(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())
