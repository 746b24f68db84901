"""Exported files give the Keras model's outputs: TFLite through LiteRT, the SavedModel through TF Hub."""

import numpy as np
import pytest
from support import plain_task

from nas_tf import export
from nas_tf.trial import InfeasibleArchitecture

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def model():
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.ReLU()(keras.layers.DepthwiseConv2D(3, padding="same")(x))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype("float32")


@pytest.fixture(scope="module")
def saved_model(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "saved_model"
    export.to_saved_model(model, path)
    export.to_saved_model(model, path)  # in the place of the first
    return str(path)


# Float32 of one network summed in another order: a few units in the last place of probabilities near 1.
TOLERANCE = 1e-5


def test_tflite_agrees_with_keras(model, images, tmp_path, capfd):
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "model.tflite"
    assert export.to_tflite(model, path) == path.stat().st_size
    assert capfd.readouterr().err == ""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert list(given["shape"]) == [1, 16, 16, 3] and given["dtype"] == np.float32
    for image in images:
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        expected = np.asarray(model(image[None], training=False))
        np.testing.assert_allclose(interpreter.get_tensor(wanted["index"]), expected, atol=TOLERANCE)


def test_tflite_of_another_batch_size(model, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    export.to_tflite(model, tmp_path / "four.tflite", batch_size=4)
    assert list(Interpreter(str(tmp_path / "four.tflite")).get_input_details()[0]["shape"]) == [4, 16, 16, 3]


def test_a_network_that_tflite_lacks_is_infeasible(tmp_path):
    import keras

    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.ops.erfinv(inputs))
    with pytest.raises(InfeasibleArchitecture, match="The TFLite converter refused the network: "):
        export.to_tflite(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_hub_load_gives_the_outputs(model, images, saved_model):
    hub = pytest.importorskip("tensorflow_hub")
    loaded = hub.load(saved_model)
    np.testing.assert_allclose(loaded(images), model(images, training=False), atol=TOLERANCE)
    serve = loaded.signatures["serving_default"]
    np.testing.assert_allclose(list(serve(inputs=images).values())[0], model(images, training=False), atol=TOLERANCE)
    assert len(loaded.variables) == len(model.variables)
    assert len(loaded.trainable_variables) == len(model.trainable_variables)


@pytest.mark.parametrize("trainable", [True, False])
def test_hub_keras_layer_gives_the_outputs_and_trains(model, images, saved_model, trainable):
    hub, tf_keras = pytest.importorskip("tensorflow_hub"), pytest.importorskip("tf_keras")
    layer = hub.KerasLayer(saved_model, trainable=trainable)
    network = tf_keras.Sequential([tf_keras.layers.InputLayer((16, 16, 3)), layer])
    np.testing.assert_allclose(network(images), model(images, training=False), atol=TOLERANCE)
    before = [value.copy() for value in network.get_weights()]
    network.compile("sgd", "sparse_categorical_crossentropy")
    network.fit(images, np.array([0, 1, 2]), verbose=0)
    changed = [not np.array_equal(old, new) for old, new in zip(before, network.get_weights())]
    assert any(changed) == trainable
    assert len(network.trainable_variables) == (len(model.trainable_variables) if trainable else 0)


def test_the_keras_file_gives_the_outputs(model, images, tmp_path):
    import keras

    export.to_keras(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def run(path, image):
    """The file's output for a float image, its own integers unscaled."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if given["dtype"] == np.int8:
        scale, zero = given["quantization"]
        image = np.clip(np.round(image / scale + zero), -128, 127).astype(np.int8)
    interpreter.set_tensor(given["index"], image)
    interpreter.invoke()
    output = interpreter.get_tensor(wanted["index"])
    if wanted["dtype"] == np.int8:
        scale, zero = wanted["quantization"]
        output = (output.astype("float32") - zero) * scale
    return output, given["dtype"], wanted["dtype"]


def test_smaller_number_types_agree_as_far_as_they_can(model, images, tmp_path):
    expected = np.asarray(model(images[:1], training=False))
    export.to_tflite(model, tmp_path / "float16.tflite", number_type="float16")
    output, *types = run(tmp_path / "float16.tflite", images[:1])
    assert types == [np.float32, np.float32]
    np.testing.assert_allclose(output, expected, atol=2e-3)  # weights are rounded to 11 bits
    export.to_tflite(model, tmp_path / "int8.tflite", number_type="int8", calibration=images)
    output, *types = run(tmp_path / "int8.tflite", images[:1])
    assert types == [np.int8, np.int8]
    np.testing.assert_allclose(output, expected, atol=0.03)  # probabilities in steps of 1/256, through five layers


def test_an_int8_file_needs_images_and_a_type_has_to_be_known(model, images, tmp_path):
    for calibration in (None, images[:0]):
        with pytest.raises(ValueError, match="Expected images to calibrate an int8 file on"):
            export.to_tflite(model, tmp_path / "x.tflite", number_type="int8", calibration=calibration)
    with pytest.raises(ValueError, match="Expected number_type to be one of float32, float16, dynamic, int8"):
        export.to_tflite(model, tmp_path / "x.tflite", number_type="int4")


def test_a_search_times_files_of_the_type_that_ships(plain_space):
    from nas_tf.plugins import Part
    from nas_tf.search.evaluation import Evaluator, Setup

    def size(number_type):
        brief = {
            "min_seconds": 0.01,
            "max_seconds": 0.02,
            "warmup_seconds": 0.01,
            "max_spread": 10.0,
            "retry_spread": 10.0,
        }
        setup = Setup(
            task=plain_task(plain_space),
            judge=Part("nas_tf.judges", "proxy"),
            device=Part("nas_tf.devices", "host", brief),
            number_type=number_type,
            judge_folder="none",
        )
        return Evaluator(setup).cost((2, 1, 2)).tflite_bytes

    sizes = {number_type: size(number_type) for number_type in export.NUMBER_TYPES}
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]
