"""Keras, SavedModel and TFLite files find the same objects, at any number of threads; their metadata and figures."""

import zipfile

import numpy as np
import pytest
from detection_support import BLOCKS, NAMES, make_images, write_coco

from nas_tf.datasets import scale_pixels
from nas_tf.detection import backbone, metadata
from nas_tf.detection.boxes import anchors
from nas_tf.detection.data import read_data
from nas_tf.detection.files import file_name, write_files
from nas_tf.detection.folder import DetectorDescription, read_description, read_detector, write_detector
from nas_tf.detection.nms import Suppression, detections
from nas_tf.detection.predictor import Predictor
from nas_tf.detection.tflite import TFLiteDetector
from nas_tf.quiet import fresh_keras
from nas_tf.shipping.tflite_metadata import read_tables
from nas_tf.trial import UserError

KIND = Suppression(max_detections=20, least_score=0.3)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """`(folder, keras.Model, data, records)` of an untrained detector whose classes are not all alike."""
    folder = tmp_path_factory.mktemp("detector")
    data = read_data(write_coco(folder / "data", {"train": make_images(24), "val": make_images(8, seed=1)}))
    fresh_keras(1)
    chosen = backbone.choose(BLOCKS, "", "", 64)
    model = chosen.detector(2)
    description = DetectorDescription(
        text=str(chosen.architecture),
        space=chosen.space.to_json(),
        architecture=chosen.architecture.to_json(),
        fingerprint=chosen.architecture.fingerprint,
        scale={},
        image_size=64,
        class_names=NAMES,
        weights="random",
        recipe={},
        loss="focal",
        suppression={"max_detections": 20, "least_score": 0.3},
        data=data.describe(),
        seed=0,
        num_params=1,
        mult_adds=1,
    )
    description = write_detector(folder, model, description)
    lines = []
    records = write_files(
        model,
        description,
        folder,
        data=data,
        number_types=("float32", "int8"),
        suppression=KIND,
        licence="mine",
        say=lines.append,
    )
    assert len(lines) == 5
    return folder, model, data, records


@pytest.fixture(scope="module")
def pictures():
    return np.stack([image for image, _ in make_images(50, seed=5)])


def test_all_find_the_same_objects_on_50_scenes(written, pictures):
    import tensorflow as tf

    folder, model, _, _ = written
    images = scale_pixels(pictures)
    expected = detections(*model.predict_on_batch(images), anchors(64), KIND)
    assert min(len(scores) for _, scores, _ in expected) > 5 and {*expected[0][2].tolist()} == {0, 1}
    saved = tf.saved_model.load(str(folder / "saved_model"))(tf.constant(images))
    for i, (boxes, scores, classes) in enumerate(expected):
        total = int(saved["total"][i])
        _same(
            (saved["boxes"][i, :total], saved["scores"][i, :total], saved["classes"][i, :total]), boxes, scores, classes
        )
    for name in ("float32", True), ("float32", False):
        detector = TFLiteDetector(folder / file_name(*name), KIND)
        assert detector.has_suppression == name[1]
        for image, each in zip(pictures, expected):
            _same(detector.detections(image), *each)


def _same(found, boxes, scores, classes):
    """Equal but for float32's rounding, which may exchange neighbours of equal score, or keep one more at a bound."""
    found_boxes, found_scores, found_classes = (np.asarray(each) for each in found)
    assert abs(len(found_scores) - len(scores)) <= 1
    count = min(len(found_scores), len(scores))
    np.testing.assert_allclose(found_scores[:count], scores[:count], atol=1e-4)
    same = np.isclose(found_boxes[:count], boxes[:count], atol=1e-3).all(axis=1) & (
        found_classes[:count] == classes[:count]
    )
    assert same.mean() > 0.85


def test_the_number_of_threads_changes_nothing(written, pictures):
    """TFLite's own detection operation leaves classes out with two threads (tensorflow/tensorflow, issue 56058)."""
    from ai_edge_litert.interpreter import Interpreter

    found = []
    for threads in (1, 2, 3, 4):
        interpreter = Interpreter(str(written[0] / file_name("float32", True)), num_threads=threads)
        answer = interpreter.get_signature_runner("serving_default")(image=scale_pixels(pictures[:1]))
        found.append((answer["classes"][0], answer["scores"][0]))
    for classes, scores in found:
        np.testing.assert_array_equal(classes, found[0][0])
        np.testing.assert_allclose(scores, found[0][1], atol=1e-5)
    assert {*found[0][0].tolist()} == {0.0, 1.0}


def test_outputs_are_in_the_order_of_tensorflows_detection_files(written):
    from ai_edge_litert.interpreter import Interpreter
    from tensorflow.lite.python import schema_py_generated as schema

    content = (written[0] / file_name("int8", True)).read_bytes()
    graph = schema.Model.GetRootAsModel(content, 0).Subgraphs(0)
    shapes = [graph.Tensors(i).ShapeAsNumpy().tolist() for i in graph.OutputsAsNumpy()]
    assert shapes == [[1, 20, 4], [1, 20], [1, 20], [1]]
    interpreter = Interpreter(model_content=content)
    assert interpreter.get_input_details()[0]["dtype"] is np.int8
    assert {each["dtype"] for each in interpreter.get_output_details()} == {np.float32}


def test_metadata_say_what_outputs_are(written):
    path = written[0] / file_name("int8", True)
    tables = read_tables(path)
    outputs = tables["subgraph_metadata"][0]["output_tensor_metadata"]
    assert [each["name"] for each in outputs] == ["location", "category", "score", "number of detections"]
    boxes = outputs[0]["content"]["content_properties"]
    assert (
        boxes == {"index": [1, 0, 3, 2], "type": 1} and tables["license"] == "mine"
    )  # ratios are 0, which is left out
    assert outputs[1]["associated_files"][0]["type"] == 3  # labels by value
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt") == b"red\ngreen\n"
    assert metadata.read_labels(path) == NAMES
    with pytest.raises(UserError, match="with metadata"):
        metadata.read_labels(written[0] / file_name("int8", False))


def test_figures_of_files_are_those_of_their_answers(written):
    by_name = {record.file: record for record in written[3]}
    full, plain = (by_name[file_name("float32", each)] for each in (True, False))
    assert full.map_50 == pytest.approx(plain.map_50, abs=0.02) and full.num_validation == 8
    assert by_name[file_name("int8", True)].bytes < full.bytes
    assert all(record.failure is None and record.sha256 for record in written[3])


def test_predictions_are_in_pixels_of_the_image(written, tmp_path):
    from PIL import Image

    folder = written[0]
    image = Image.fromarray(make_images(2, seed=9)[1][0]).resize((200, 100))
    image.save(tmp_path / "photo.png")
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    answers = list(Predictor(folder).answers([str(tmp_path / "photo.png"), str(tmp_path / "broken.jpg")], 0.3))
    (_, pixels, objects, _), (_, nothing, _, why) = answers
    assert pixels.shape == (100, 200, 3) and nothing is None and why
    boxes = np.array([box for *_, box in objects])
    assert len(boxes) and boxes[:, 2].max() > 100 and (boxes >= 0).all() and (boxes <= [200, 100, 200, 100]).all()
    (folder / file_name("float32", True)).rename(folder / "away")
    try:
        (_, _, by_keras, _) = next(Predictor(folder).answers([str(tmp_path / "photo.png")], 0.3))
    finally:
        (folder / "away").rename(folder / file_name("float32", True))
    assert [each[:2] for each in by_keras[:5]] == [each[:2] for each in objects[:5]]
    with pytest.raises(UserError, match="Expected a detector's folder or TFLite file"):
        Predictor(tmp_path)


def test_damaged_folders_are_a_clear_line(written, tmp_path):
    folder, model, _, _ = written
    description = read_description(folder)
    write_detector(tmp_path, model, description)
    assert read_detector(tmp_path)[1].class_names == NAMES
    with open(tmp_path / "model.keras", "ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match="its SHA-256 is not the one in"):
        read_detector(tmp_path)
    for text, words in (("{}", "is damaged"), ("[1]", "is damaged"), ("{", "is damaged")):
        (tmp_path / "detector.json").write_text(text)
        with pytest.raises(UserError, match=words):
            read_description(tmp_path)
    with pytest.raises(UserError, match="Expected the folder of a trained detector"):
        read_description(tmp_path / "nowhere")
