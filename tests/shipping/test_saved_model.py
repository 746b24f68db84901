"""The SavedModel as others load it: TF Hub, its Keras layer, Keras 3; outputs, ranges, signatures, fine-tuning."""

import warnings

import numpy as np
import pytest

from nas_tf import export

pytestmark = pytest.mark.real
# Float32 of one network summed in another order: a few units in the last place of probabilities near 1.
TOLERANCE = 1e-5
LABELS = ("cat", "dög", "a cup", "rose")


@pytest.fixture(scope="module")
def hub():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources
        return pytest.importorskip("tensorflow_hub")


@pytest.fixture(scope="module")
def model():
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 12, 3))
    penalty = keras.regularizers.L2(0.01)
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, kernel_regularizer=penalty)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D(name="features")(x))
    return keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (3, 16, 12, 3)).astype("float32")


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "saved_model"
    export.to_saved_model(model, path, LABELS)
    return str(path)


def test_a_network_is_traced_once_for_each_way_to_call_it(tmp_path):
    """Whole and without its head, in training and at inference: not a second time while it is saved."""
    import keras

    traced = []

    class Counted(keras.layers.Layer):
        def call(self, x):
            traced.append(x)
            return x

    inputs = keras.Input((4, 4, 3))
    features = keras.layers.GlobalAveragePooling2D()(Counted()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(features))
    traced.clear()
    export.to_saved_model(model, tmp_path / "saved_model")
    assert len(traced) == 4


def test_every_reader_gives_the_same_outputs(hub, model, images, path, tmp_path):
    import keras
    from ai_edge_litert.interpreter import Interpreter

    expected = np.asarray(model(images, training=False))
    loaded = hub.load(path)
    export.to_tflite(model, tmp_path / "model.tflite", batch_size=3)
    interpreter = Interpreter(str(tmp_path / "model.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    outputs = {
        "hub.load": loaded(images),
        "training=False": loaded(images, training=False),
        "serving_default": loaded.signatures["serving_default"](inputs=images)["probabilities"],
        "hub.KerasLayer": hub.KerasLayer(path)(images),
        "TFSMLayer": keras.layers.TFSMLayer(path)(images),
        "TFSMLayer's signature": keras.layers.TFSMLayer(path, "serving_default")(inputs=images)["probabilities"],
        "TFLite": interpreter.get_tensor(interpreter.get_output_details()[0]["index"]),
    }
    for name, output in outputs.items():
        np.testing.assert_allclose(output, expected, atol=TOLERANCE, err_msg=name)


def test_hubs_image_signatures(hub, model, images, path):
    import keras

    loaded = hub.load(path)
    assert set(loaded.signatures) == {"serving_default", "image_classification", "image_feature_vector"}
    for name in ("image_classification", "image_feature_vector"):
        (spec,) = loaded.signatures[name].structured_input_signature[1].values()
        assert (spec.name, spec.dtype.name, spec.shape.as_list()) == ("images", "float32", [None, 16, 12, 3])
    pixels = (images + 1) / 2  # Hub's range
    answer = loaded.signatures["image_classification"](images=pixels)
    expected = np.asarray(model(images, training=False))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=TOLERANCE)
    np.testing.assert_allclose(keras.ops.softmax(answer["default"]), expected, atol=TOLERANCE)
    assert np.abs(np.sum(answer["default"], axis=-1) - 1).min() > 0.01  # logits, not probabilities
    (answer,) = loaded.signatures["image_feature_vector"](images=pixels).values()
    features = keras.Model(model.input, model.get_layer("features").output)(images)
    np.testing.assert_allclose(answer, features, atol=TOLERANCE)
    # Of [-1, 1], as `loaded` itself.
    np.testing.assert_allclose(loaded.feature_vector(images), features, atol=TOLERANCE)


def test_labels_and_weights_once(hub, model, path, tmp_path):
    import pathlib

    folder = pathlib.Path(path)
    assert (folder / "assets" / "labels.txt").read_text().splitlines() == list(LABELS)
    assert pathlib.Path(hub.load(path).labels.asset_path.numpy().decode()).read_text().split("\n")[1] == "dög"
    bytes_of_weights = sum(weight.nbytes for weight in model.get_weights())
    stored = sum(file.stat().st_size for file in (folder / "variables").glob("*.data*"))
    assert bytes_of_weights < stored < 2 * bytes_of_weights + 5_000
    assert len(hub.load(path).variables) == len(model.variables)
    export.to_saved_model(model, tmp_path / "plain")
    assert not hasattr(hub.load(str(tmp_path / "plain")), "labels")
    assert not (tmp_path / "plain" / "README.md").exists()


@pytest.mark.parametrize("part", ["whole", "feature_vector"])
@pytest.mark.parametrize("trainable", [True, False])
def test_fine_tuning_through_the_hub(hub, model, images, path, part, trainable):
    import tf_keras

    loaded = hub.load(path)
    layer = hub.KerasLayer(loaded if part == "whole" else loaded.feature_vector, trainable=trainable)
    network = tf_keras.Sequential([tf_keras.layers.InputLayer((16, 12, 3)), layer, tf_keras.layers.Dense(2)])
    num_weights = 5 if part == "feature_vector" else 7
    assert len(layer.trainable_weights) == (num_weights - 2 if trainable else 0)
    kernel = np.asarray(model.layers[1].kernel)
    assert float(layer.losses[0]) == pytest.approx(0.01 * np.sum(kernel**2) if trainable else 0, rel=1e-5)
    network.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def statistics_and_kernels():
        moving = [v.numpy() for v in layer.weights if "moving" in v.name]
        return moving, [v.numpy() for v in layer.weights if "kernel" in v.name]

    before = statistics_and_kernels()
    network.fit(images, np.array([0, 1, 1]), verbose=0)
    for old, new in zip(before, statistics_and_kernels()):
        assert len(old) == len(new) > 0
        for one, other in zip(old, new):
            assert np.array_equal(one, other) != trainable


def test_a_network_without_a_dense_layer_at_its_end(hub, tmp_path):
    import keras

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    export.to_saved_model(model, tmp_path / "saved_model")
    loaded = hub.load(str(tmp_path / "saved_model"))
    assert set(loaded.signatures) == {"serving_default", "image_classification"}
    assert not hasattr(loaded, "feature_vector")
    pixels = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype("float32")
    answer = loaded.signatures["image_classification"](images=pixels)
    assert set(answer) == {"probabilities"}
    np.testing.assert_allclose(answer["probabilities"], model(2 * pixels - 1), atol=TOLERANCE)
