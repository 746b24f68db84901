"""The model card and the files' table: figures with device and date, and none for what was not measured."""

import dataclasses

import pytest

from nas_tf.networks.description import Accuracies, FileRecord, NetworkDescription
from nas_tf.reports import files as files_report
from nas_tf.reports import model_card
from nas_tf.trial import Latency

DEVICE = {"device": "android", "model": "Pixel 9", "runtime": "tool 2.1", "settings": {"num_threads": 4}}
LATENCY = Latency(mean_ms=3.3, median_ms=3.25, p95_ms=3.5, std_ms=0.125, runs=50)


def record(file, number_type="float32", **figures):
    return FileRecord(file, number_type, 1_234_567, "2026-11-24T10:00:00+00:00", **figures)


TIMED = {"latency": LATENCY, "device": DEVICE, "device_name": "android Pixel 9"}
RECORDS = [
    record("model.keras", validation_accuracy=0.9, num_validation=20),
    record("model.tflite", validation_accuracy=0.9, num_validation=20, **TIMED),
    record(
        "model_int8.failed.tflite",
        "int8",
        validation_accuracy=0.5,
        num_validation=20,
        failure="40 points lost",
        **TIMED,
    ),
    record("saved_model"),
]
DESCRIPTION = NetworkDescription(
    space={"folder": "mnas_tf.spaces", "name": "mnasnet", "settings": {}},
    text="r1_k3_s11",
    fingerprint="0123456789abcdef",
    scale={"image_size": 32, "num_classes": 2},
    class_names=("cat", "dog"),
    num_params=12345,
    dataset={
        "name": "pets",
        "source": "a zip",
        "num_examples": {"train": 100, "validation": 20, "test": 30},
        "largest_class": {"validation": 0.15, "test": 0.15},
        "splits": "a fifth each, stratified",
    },
    weights="trained for 5 epochs at 32 px",
    recipe={"epochs": 5, "learning_rate": 0.02},
    accuracy=Accuracies(validation=0.9, test=0.875, proxy=0.7),
)


def test_a_card_says_what_was_measured_where_and_when():
    text = model_card.card(DESCRIPTION, RECORDS, licence="CC0", made_by="commit abc")
    assert text.startswith("# mnasnet 0123456789abcdef\n")
    for words in (
        "`r1_k3_s11`",
        "12,345",
        "multiply-adds of one image | not measured",
        "pets",
        "2: cat, dog",
        "images, validation | 20",
        "a fifth each, stratified",
        '"learning_rate": 0.02',
        "trained for 5 epochs",
        "test images | 87.5 ± 6.0 %",
        "`model.tflite`, validation images | 90.0 ± 6.7 %",
        "guessing the largest class, validation images | 15.0 %",
        "3.250 ms (median of 50 runs, standard deviation 0.1250 ms)",
        "android Pixel 9; tool 2.1; threads: 4; 2026-11-24T10:00:00+00:00",
        "**FAILED, do not ship**: `model_int8.failed.tflite`: 40 points lost",
        "pixel / 127.5 - 1",
        'hub.load("saved_model")',
        "hub.KerasLayer",
        "TFSMLayer",
        'Interpreter("model.tflite")',
        "Take `model.tflite`: it takes 3.250 ms on android Pixel 9.",
        'CompiledModel.from_file("model.tflite")',
        "const val SIZE = 32",
        "## Licence\n\nCC0",
        "commit abc",
    ):
        assert words in text, words
    (line,) = [line for line in text.splitlines() if line.startswith("| `model.keras` | float32")]
    assert "not measured" in line


@pytest.mark.parametrize("records", [(), [record("model.keras"), record("model.tflite")]])
def test_what_was_not_measured_is_said_to_be_so(records):
    text = model_card.card(NetworkDescription("", {}, (), {}), records)
    assert "The accuracy of these files was not measured." in text
    assert "The latency of these files was not measured." in text
    assert "untrained: this network tells nothing apart" in text
    assert "test images | not measured" in text
    assert " 0.00 %" not in text and " 0.000 ms" not in text and "None" not in text
    assert model_card.LICENCE in text


def test_which_file_to_take():
    def timed(file, size, milliseconds, **figures):
        return dataclasses.replace(
            record(file, validation_accuracy=0.9, num_validation=20, device_name="a phone", **figures),
            bytes=size,
            latency=Latency(mean_ms=milliseconds, median_ms=milliseconds, runs=9),
        )

    files = [timed("model.tflite", 400, 1.02), timed("model_float16.tflite", 200, 1.04), timed("other.tflite", 100, 2)]
    best, why = model_card.recommended(files)
    assert best.file == "model_float16.tflite" and why.startswith(
        "with 1.040 ms on a phone it is the smallest of those"
    )
    assert model_card.recommended(files[::2])[1].startswith("with 1.020 ms on a phone it is the fastest; accuracy on")
    assert model_card.recommended([record("model.tflite")])[1] == "no file was timed, and this one is not quantised"
    assert model_card.recommended([record("model_int8.tflite", "int8")])[1] == "no file was timed"
    assert model_card.recommended([]) is None and "No TFLite file is fit" in model_card.card(DESCRIPTION, RECORDS[2:])


def test_the_table_and_its_picture(tmp_path):
    from PIL import Image

    lines = files_report.files_table(RECORDS).splitlines()
    assert lines[2].split() == ["model.tflite", "float32", "1.235", "90.0", "±", "6.7", "+0.00", "3.250", "3.500"]
    assert lines[3].split()[3:] == ["50.0", "±", "11.2", "-40.00", "3.250", "3.500", "FAILED"]
    assert lines[4].split() == ["saved_model", "float32", "1.235", "-", "-", "-", "-"]
    assert "latency: on android Pixel 9, 2026-11-24" in lines
    assert lines[-1] == "FAILED model_int8.failed.tflite: 40 points lost"
    assert files_report.draw_files(tmp_path / "files.png", RECORDS, "pets")
    assert Image.open(tmp_path / "files.png").size[0] > 800
    assert not files_report.draw_files(tmp_path / "none.png", [record("model.keras")], "pets")
    assert not (tmp_path / "none.png").exists()


def test_the_source_is_named():
    assert model_card.source().startswith("mobile-nas-tf 0.")


def test_the_card_says_that_a_network_is_no_better_than_guessing():
    guesses = dataclasses.replace(DESCRIPTION, accuracy=Accuracies(validation=0.15))
    words = "**This network is no better than guessing**: guessing reaches 15.0 ± 8.0 % of 20 images"
    assert words in model_card.card(guesses) and words not in model_card.card(DESCRIPTION)
