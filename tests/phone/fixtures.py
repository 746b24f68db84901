"""Fixtures for tests with a phone; a test module takes them with `pytest_plugins = ["phone.fixtures"]`."""

import pytest

from phone import AdbServer, Phone
from phone.client import prepare


@pytest.fixture
def adb(tmp_path):
    with AdbServer(tmp_path) as server:
        yield server


@pytest.fixture
def phone(tmp_path):
    with Phone(tmp_path / "one") as phone:
        yield phone


@pytest.fixture
def device(adb, phone):
    """The phone as adbutils gives it."""
    return adb.client.device(adb.connect(phone))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """Path of a TFLite file of four operators."""
    import keras

    from nas_tf.export import to_tflite

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([layers.Input((16, 16, 3)), layers.Conv2D(8, 3, activation="relu"),
                              layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")])  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "small.tflite"
    to_tflite(model, path)
    return path


@pytest.fixture
def ready(device, small_model):
    """The device with a benchmark_model for its ABI and a network."""
    prepare(device, small_model)
    return device
