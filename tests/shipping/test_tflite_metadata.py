"""TFLite metadata: there and back, beside what tflite-support itself wrote, and without a weight moved."""

import zipfile

import numpy as np
import pytest
from support import ROOT

from nas_tf import export
from nas_tf.shipping import tflite_metadata
from nas_tf.shipping.tflite_metadata import Metadata
from nas_tf.trial import UserError

DATA = ROOT / "tests" / "data" / "tflite_metadata"
METADATA = Metadata("Köcher", "finds three things", "1.2", "a gardener", "Apache-2.0", ("cat", "dög", "a cup"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """dict of number type to the path of a plain file of one small network."""
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 12, 3))
    x = keras.layers.Conv2D(40, 3, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(40, 1)(x))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    images = np.random.default_rng(0).uniform(-1, 1, (8, 8, 12, 3)).astype("float32")
    folder = tmp_path_factory.mktemp("plain")
    paths = {number_type: folder / f"{number_type}.tflite" for number_type in ("float32", "int8")}
    for number_type, path in paths.items():
        export.to_tflite(model, path, 1, number_type, images)
    return paths


def run(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    image = np.random.default_rng(1).uniform(-1, 1, given["shape"])
    image = 100 * image if given["dtype"] == np.int8 else image
    interpreter.set_tensor(given["index"], image.astype(given["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("number_type", ["float32", "int8"])
def test_there_and_back(files, tmp_path, number_type):
    path = tmp_path / "model.tflite"
    plain = files[number_type].read_bytes()
    path.write_bytes(tflite_metadata.write(plain, METADATA))
    assert tflite_metadata.read(path) == METADATA
    np.testing.assert_array_equal(run(path), run(files[number_type]))
    assert plain in path.read_bytes()  # every byte of the old file, the weights among them, and at its alignment
    assert path.read_bytes().index(plain) % 16 == 0
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode() == "cat\ndög\na cup\n"
        assert [info.compress_type for info in archive.infolist()] == [zipfile.ZIP_STORED]
    subgraph = tflite_metadata.read_tables(path)["subgraph_metadata"][0]
    (image,), (answer,) = subgraph["input_tensor_metadata"], subgraph["output_tensor_metadata"]
    assert image["description"] == "RGB image of 8 x 12 pixels: the whole image, resized"
    assert image["content"]["content_properties"] == {"color_space": 1}  # RGB
    # The schema: quantised files share the float file's normalisation; scale and zero point come after it.
    assert image["process_units"][0]["options"] == {"mean": [127.5], "std": [127.5]}
    expected = {"float32": [(-1, 1), (0, 1)], "int8": [(-128, 127), (-128, 127)]}[number_type]
    assert [(each["stats"]["min"][0], each["stats"]["max"][0]) for each in (image, answer)] == expected


def test_metadata_takes_the_place_of_earlier_ones(files, tmp_path):
    path = tmp_path / "model.tflite"
    first = tflite_metadata.write(files["float32"].read_bytes(), METADATA)
    path.write_bytes(tflite_metadata.write(first, Metadata("second")))
    assert tflite_metadata.read(path) == Metadata("second") and not zipfile.is_zipfile(path)
    np.testing.assert_array_equal(run(path), run(files["float32"]))


def test_what_tflite_support_wrote_is_read():
    path = DATA / "from_tflite_support.tflite"
    assert tflite_metadata.read(path) == Metadata(
        "flowers", "Tells two flowers apart", "2.1", "a gardener", "CC0", ("daisy", "rose of Jericho"), 127, 128
    )
    answer = tflite_metadata.read_tables(path)["subgraph_metadata"][0]["output_tensor_metadata"][0]
    assert answer["associated_files"][0]["type"] == 2  # TENSOR_AXIS_LABELS


def test_what_tflite_support_wrote_can_be_packed_again():
    """What tflite-support wrote, packed by our schema, reads the same again."""
    from nas_tf.shipping import _flatbuffer

    tables = tflite_metadata.read_tables(DATA / "from_tflite_support.tflite")
    packed = _flatbuffer.pack(tflite_metadata.TABLES, "ModelMetadata", tables, b"M001")
    assert packed[4:8] == b"M001"
    assert _flatbuffer.unpack(tflite_metadata.TABLES, "ModelMetadata", packed) == tables


def test_mistakes(files, tmp_path):
    with pytest.raises(ValueError, match="Expected a label for each of 3 classes"):
        tflite_metadata.write(files["float32"].read_bytes(), Metadata("x", labels=("a", "b")))
    with pytest.raises(ValueError, match="TFL3"):
        tflite_metadata.write(b"not a file", Metadata("x"))
    with pytest.raises(UserError, match="has none"):
        tflite_metadata.read(files["float32"])
    for name, content in (("absent", None), ("text", b"some text"), ("short", b"1234TFL3"), ("empty", b"")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="Expected a TFLite file"):
            tflite_metadata.read(tmp_path / name)
