# plain_space.py
import dataclasses

from mnas_tf.spaces.mnasnet import Scale  # noqa: F401  image_size, num_classes, width_multiplier
from nas_tf.space import Decision, SearchSpace, fingerprint


@dataclasses.dataclass(frozen=True)
class PlainNet:
    filters: int
    kernel_size: int
    depth: int

    def to_json(self):
        return dataclasses.asdict(self)

    @property
    def fingerprint(self):
        return fingerprint(self.to_json())


@dataclasses.dataclass(frozen=True)
class PlainSpace(SearchSpace):
    name = "plain"
    decisions = (Decision("filters", (8, 16, 32)), Decision("kernel_size", (3, 5)), Decision("depth", (1, 2, 3)))

    def decode(self, tokens):
        return PlainNet(**self.answers(tokens))

    def encode(self, net):
        return tuple(d.choices.index(getattr(net, d.name)) for d in self.decisions)

    def architecture(self, json_value):
        return PlainNet(**json_value)

    def build(self, net, scale):
        import keras

        x = inputs = keras.Input((scale.image_size, scale.image_size, 3))
        for _ in range(net.depth):
            filters = max(1, round(net.filters * scale.width_multiplier))
            x = keras.layers.Conv2D(filters, net.kernel_size, strides=2, padding="same", activation="relu")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, keras.layers.Dense(scale.num_classes, activation="softmax")(x))


SPACE = PlainSpace()
