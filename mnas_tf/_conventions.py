"""How a network must be built so that published weights give what they gave where they were trained."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Conventions:
    """The fields of `mnas_tf.spaces.mnasnet.Scale` that the weights decide, under the names and values they have there.

    A wrong one raises no error: it shifts maps by a pixel, or features by a share of a percent, and costs accuracy.
    """

    padding: str
    bn_epsilon: float
    activation: str
    input_normalization: str

    def applied(self, scale):
        """Returns the scale with these fields."""
        return dataclasses.replace(scale, **dataclasses.asdict(self))


# In timm/models, _efficientnet_builder.py has the epsilons; `default_cfgs` have the inputs.
PYTORCH = Conventions("symmetric", 1e-5, "relu", "imagenet")
PYTORCH_PLAIN_INPUT = Conventions("symmetric", 1e-5, "relu", "none")
# Google's own networks, in timm under names with tf_, and in Keras.
TENSORFLOW = Conventions("same", 1e-3, "relu6", "none")


def conventions_of(model):
    """Returns the `Conventions` of a network of this project's builders, or None for another network."""
    layers = {layer.name: layer for layer in model.layers}
    if not {"stem_bn", "stem_relu"} <= layers.keys():
        return None
    return Conventions(
        padding="symmetric" if "stem_pad" in layers else "same",
        bn_epsilon=layers["stem_bn"].epsilon,
        activation="relu6" if layers["stem_relu"].max_value == 6 else "relu",
        input_normalization="imagenet" if "imagenet_normalization" in layers else "none",
    )
