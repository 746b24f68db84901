"""nas-predict: what is in images, by a TFLite file alone."""

import csv
import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image
from support import ROOT, assert_one_line, script

from nas_tf import export
from nas_tf.shipping import tflite_metadata

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A folder as of a run: a network that says which of three colours an image has most of."""
    import keras

    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(inputs, outputs(keras.layers.GlobalAveragePooling2D()(inputs)))
    outputs.set_weights([2 * np.eye(3, dtype="float32"), np.zeros(3, "float32")])
    folder = tmp_path_factory.mktemp("run")
    (folder / "ship" / "network").mkdir(parents=True)
    images = np.ones((3, 8, 8, 1)) * (np.asarray(list(COLOURS.values()))[:, None, None, :] / 127.5 - 1)
    for name, number_type, fit in (
        ("model.tflite", "float32", "stretch"),
        ("model_int8.tflite", "int8", "stretch"),
        ("cropping.tflite", "float32", "crop"),
    ):
        path = folder / "ship" / "network" / name
        export.to_tflite(model, path, 1, number_type, images.astype("float32"))
        metadata = tflite_metadata.Metadata("colours", labels=tuple(COLOURS), fit=fit)
        path.write_bytes(tflite_metadata.write(path.read_bytes(), metadata))
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of four images: one of each colour, and a wide one, blue in the middle and red at its sides."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "more").mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (12, 12), colour).save(folder / "more" / f"{name}.png")
    wide = Image.new("RGB", (40, 10), COLOURS["red"])
    wide.paste(Image.new("RGB", (10, 10), COLOURS["blue"]), (15, 0))
    wide.save(folder / "wide.png")
    return folder


def answers(*words):
    """Returns a dict from an image to its likeliest class and that class's probability."""
    process = script("nas-predict", *words, "--format=csv", "--top_k=1")
    assert process.returncode == 0, process.stderr
    rows = csv.DictReader(io.StringIO(process.stdout))
    return {row["image"].rpartition("/")[2]: (row["label"], float(row["probability"])) for row in rows}


def test_a_folder_of_images_by_the_network_of_a_run(network, images):
    found = answers(network, images)
    assert {name: label for name, (label, _) in found.items()} == {
        "red.png": "red",
        "green.png": "green",
        "blue.png": "blue",
        "wide.png": "red",
    }
    assert found["red.png"][1] == pytest.approx(1 / (1 + 2 * np.exp(-4)), abs=1e-5)  # logits 2, -2, -2


def test_an_int8_file_and_a_zip(network, images, tmp_path):
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(images / "more" / "green.png", "a/green.png")
        archive.writestr("a/notes.txt", "none")
    found = answers(network / "ship" / "network" / "model_int8.tflite", tmp_path / "some.zip")
    assert found == {"green.png": ("green", pytest.approx(0.96, abs=0.03))}


def test_an_image_becomes_square_as_the_file_says(network, images):
    assert answers(network / "ship" / "network" / "cropping.tflite", images / "wide.png")["wide.png"][0] == "blue"


def test_the_table_and_an_image_that_cannot_be_read(network, images, tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    process = script("nas-predict", network, tmp_path / "torn.jpg", images / "more" / "blue.png")
    assert process.returncode == 1 and "torn.jpg cannot be read: Truncated File Read" in process.stderr
    lines = process.stdout.splitlines()
    assert lines[0].endswith("blue.png") and lines[1] == "  96.5 %  blue" and len(lines) == 4


def test_tensorflow_is_not_imported(network, images):
    program = (
        "import sys\nfrom nas_tf.apps import predict\n"
        "try:\n    predict.cli()\nfinally:\n    print({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, network, images / "wide.png"]
    process = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert process.returncode == 0 and process.stdout.splitlines()[-1] == "set()", process.stderr


@pytest.mark.parametrize(
    "words,message",
    [
        ([], "Expected a network and images"),
        (["{network}"], "Expected a network and images"),
        (["{network}/none", "{images}"], "Expected a TFLite file, or a folder with one in it. There is no"),
        (["{images}", "{images}"], "Expected a TFLite file in"),
        (["{images}/wide.png", "{images}"], "Expected a TFLite file. Received:"),
        (["{network}", "{images}/none.jpg"], "Expected images, folders or .zip files. There is no"),
        (["{network}", "{network}"], "Expected images that can be read here"),
        (["{network}", "setup.cfg"], "Expected images (.avif, .bmp"),
    ],
)
def test_what_it_cannot_take(network, images, words, message):
    process = script("nas-predict", *[word.format(network=network, images=images) for word in words], cwd=ROOT)
    assert_one_line(process, 2, message)


def test_a_file_that_failed_is_not_asked(network, images, tmp_path):
    content = (network / "ship" / "network" / "model_int8.tflite").read_bytes()
    (tmp_path / "model_dynamic.failed.tflite").write_bytes(content)
    assert_one_line(script("nas-predict", tmp_path, images), 2, "Expected a TFLite file in")
    (tmp_path / "model_int8.tflite").write_bytes(content)
    assert answers(tmp_path, images / "wide.png")["wide.png"][0] == "red"
