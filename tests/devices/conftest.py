"""Simulated phones, the real adb server that they are connected to, and meters that time files on them."""

import pytest
from phone import AdbServer, Phone, elf_header
from phone.client import prepare
from phone.meter import QUICK


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """What commands keep for the user, such as what they know of a phone, is the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


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
    model = keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    path = tmp_path_factory.mktemp("model") / "small.tflite"
    to_tflite(model, path)
    return path


@pytest.fixture
def ready(device, small_model):
    """The device with a benchmark_model for its ABI and a network."""
    prepare(device, small_model)
    return device


@pytest.fixture
def environment(adb, monkeypatch):
    """The adb server of the test for clients in this process."""
    for name in ("ANDROID_ADB_SERVER_PORT", "ADBUTILS_ADB_PATH", "HOME"):
        if name in adb.env:
            monkeypatch.setenv(name, adb.env[name])
    return adb


@pytest.fixture
def binary(tmp_path):
    """Path of a benchmark_model for the phone, under a name that a shell would take apart."""
    path = tmp_path / "my tool's benchmark_model"
    path.write_bytes(elf_header("arm64-v8a"))
    return str(path)


@pytest.fixture
def meter_of(environment, binary):
    """Makes a meter for phones, which it connects, with settings of its own."""
    from nas_tf.devices import android

    def make(*phones, **settings):
        serials = tuple(environment.connect(each) for each in phones)
        return android.make(android.Config(**{**QUICK, "serials": serials, "benchmark_binary": binary, **settings}))

    return make
