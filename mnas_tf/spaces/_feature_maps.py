"""The maps of a network of the MnasNet family that a detector reads."""

from mnas_tf.spaces._network import built_layers, features, sized
from nas_tf.trial import UserError


def feature_maps(architecture, scale):
    """Builds the `keras.Model` of the maps of a `MnasNet` that a detector reads, by name.

    `"C3"` and `"C4"` are what the depthwise convolution reads of the layer that goes on to stride 16, and to 32: its
    expansion, still at stride 8 and 16. MobileNetV2's SSDLite reads this C4 (arXiv 1801.04381, section 6.2). Of a layer
    without an expansion it is the layer's input. `"C5"` is the head's output.

    Raises:
        UserError: the network has no map at stride 8, 16 or 32 at this scale.
    """
    import keras

    scale = sized(architecture, scale)
    inputs = keras.Input((scale.image_size, scale.image_size, 3), name="image")
    whole = keras.Model(inputs, features(inputs, architecture, scale))
    found = {name: whole.get_layer(layer) for name, layer in _map_layers(architecture, scale).items()}
    return keras.Model(inputs, {name: layer.output for name, layer in found.items()}, name="mnasnet_maps")


def _map_layers(architecture, scale):
    """Returns a dict from `"C3"`, `"C4"`, `"C5"` to the name of the layer whose output it is."""
    strides = [built for _, built in built_layers(architecture, scale)]
    names, layer, reached = {}, "stem_relu", strides[0]
    layers = (
        (f"block{number}_layer{each}", block, skip)
        for number, block in enumerate(architecture.blocks, 1)
        for each, (_, _, skip) in enumerate(block.layers(), 1)
    )
    for (name, block, skip), built in zip(layers, strides[1:]):
        if built > 1 and reached in (8, 16):
            expands = block.op == "mbconv"
            names["C3" if reached == 8 else "C4"] = f"{name}_expand_relu" if expands else layer
        reached *= built
        layer = f"{name}_add" if skip != "none" else _last_layer(name, block, scale)
    if reached == 32:
        names["C5"] = "head_relu"
    if len(names) < 3 or scale.image_size < 32:
        raise UserError(
            "Expected a network with maps at strides 8, 16 and 32, which an image of 32 px or more gives. Received: "
            f"stride {reached} in steps of {', '.join(map(str, strides))} for images of {scale.image_size} px"
        )
    return names


def _last_layer(name, block, scale):
    """Returns the name of the last layer of a layer of a block that adds no skip."""
    if block.op == "conv":
        return f"{name}_se_scale" if block.se_ratio and scale.squeeze_excite else f"{name}_relu"
    return f"{name}_project_bn"
