"""A toy data set and a toy device as parts of a user's own, and two toy networks, to test files that ship."""

import numpy as np

DATASET = """
import dataclasses
import numpy as np
from nas_tf.datasets import Dataset, Images, Stream

@dataclasses.dataclass(frozen=True)
class Config:
    empty: str = ""
    streams: bool = False
    classes: tuple = ("red", "green", "blue")

def make(config, *, data_dir, image_size, num_samples, seed):
    return Toy(config, image_size)

class Toy(Dataset):
    name, augmentation = "toy", "none"

    def __init__(self, config, size):
        self._config, self._size, self.class_names = config, size, config.classes

    def _split(self, name, count, seed):
        rng = np.random.default_rng(seed)
        count = 0 if name == self._config.empty else count
        labels = (np.arange(count) % 3).astype("int32")
        tint = 36 * np.eye(3)[labels][:, None, None] + rng.normal(0, 20, (count, 1, 1, 3))
        images = 110 + tint + rng.normal(0, 30, (count, self._size, self._size, 3))
        split = Images(images.clip(0, 255).astype("uint8"), labels)
        return Stream(split.batches, count) if self._config.streams else split

    def train(self):
        return self._split("train", 240, 1)

    def validation(self):
        return self._split("validation", 202, 2)

    def test(self):
        return self._split("test", 50, 3)

    def describe(self):
        return {"name": self.name, "splits": "drawn at random", "size": self._size}
"""

DEVICE = """
import dataclasses, pathlib
from nas_tf.devices import Meter
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, Latency

@dataclasses.dataclass(frozen=True)
class Config:
    log: str = ""
    refuses: str = "none"
    breaks_at: str = "none"

def make(config, space=None, scale=None):
    return Toy(config)

class Toy(Meter):
    shares_host = True

    def __init__(self, config):
        self._config = config

    def check(self):
        pass

    def describe(self):
        return {"device": "toy", "model": "T1", "runtime": "none 1.0", "settings": {"num_threads": 2}}

    def measure(self, tflite_path):
        name = pathlib.Path(tflite_path).name
        if self._config.refuses in name:
            raise InfeasibleArchitecture("the toy device refuses the network")
        if self._config.breaks_at in name and not pathlib.Path(self._config.log + ".broken").exists():
            pathlib.Path(self._config.log + ".broken").write_text("")
            raise EvaluationError("the toy device is gone")
        with open(self._config.log, "a") as log:
            log.write(name + " ")
        size = pathlib.Path(tflite_path).stat().st_size
        return Latency(mean_ms=size / 1e4, median_ms=size / 1e4, std_ms=0.1, p95_ms=size / 9e3, runs=7)
"""


def trained(dataset):
    """A small network that has learned the toy classes, 12 x 12; its kernels are large enough to be quantised."""
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(48, 3, strides=2, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.7)(x))
    x = keras.layers.Dropout(0.1)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    split = dataset.train()
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(split.images / 127.5 - 1, split.labels, batch_size=48, epochs=25, verbose=0)
    return model


def quantises_badly():
    """A network of 12 x 12 that tells the toy classes apart in channels beside which one of thousands of times
    their size runs along: one int8 scale for all of them has no step left for what matters."""
    import keras

    inputs = keras.Input((12, 12, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    wide, head = keras.layers.Dense(4, activation="relu"), keras.layers.Dense(3, activation="softmax")
    model = keras.Model(inputs, head(wide(x)))
    wide.set_weights([np.c_[np.eye(3), np.full(3, 1e3)], np.array([1, 1, 1, 5e3])])
    head.set_weights([np.r_[10 * np.eye(3), np.zeros((1, 3))], np.zeros(3)])
    return model
