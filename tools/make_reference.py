"""Makes nas_tf/devices/reference.tflite, the network that a phone times again and again to see whether it
drifts: a stem and four inverted bottlenecks with squeeze-and-excitation at 96 px, random weights of a fixed seed.

The file in the tree is the reference: another version of TensorFlow writes other bytes, so make it anew only when it
has to change, and know that every phone's first timing is then void.

python tools/make_reference.py
"""

import pathlib

from nas_tf.export import to_tflite
from nas_tf.networks import blocks as nn
from nas_tf.quiet import import_keras

PATH = pathlib.Path(__file__).parent.parent / "nas_tf" / "devices" / "reference.tflite"


def main():
    keras = import_keras()
    keras.utils.set_random_seed(0)
    inputs = keras.Input((96, 96, 3), name="image")
    style = nn.Style()
    x = nn.conv_bn(inputs, 24, 3, "stem", style, strides=2)
    for number in range(1, 5):
        y = nn.mbconv(x, 24, 3 if number % 2 else 5, f"block{number}", style, 1, 6, 6)
        x = nn.identity_skip(y, x, f"block{number}")
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    size = to_tflite(keras.Model(inputs, keras.layers.Dense(10, activation="softmax", name="predictions")(x)), PATH)
    print(f"{PATH}: {size} bytes")


if __name__ == "__main__":
    main()
