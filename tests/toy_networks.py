"""Two toy networks of three classes, and where the toy parts lie."""

import pathlib

import numpy as np

PARTS = pathlib.Path(__file__).parent / "parts"
DATASET, DEVICE = str(PARTS / "toy_dataset.py"), str(PARTS / "toy_device.py")


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
