"""The published NASNet-As as `keras.applications`-style functions, and the networks that are measured beside a search.

Cells: tensorflow/models, `research/slim/nets/nasnet/nasnet_utils.py`. Scales: `nasnet.py` there, and the paper's tables
1 and 2. The weights are those of `keras.applications`, which were carried over from that code.
"""

import dataclasses

from nas_tf.trial import UserError
from nasnet_tf.spaces._network import classifier, features
from nasnet_tf.spaces.nasnet import Block, Cell, NASNet, Scale
from nasnet_tf.spaces.nasnet import build as build_nasnet

ARCHITECTURES = {
    # Both outputs hold a state that a block reads too: 1 in the Normal cell, 3 in the Reduction cell.
    "nasnet_a": NASNet(
        normal=Cell(
            (
                Block(0, 1, "sep_conv_5x5", "sep_conv_3x3"),
                Block(1, 1, "sep_conv_5x5", "sep_conv_3x3"),
                Block(0, 1, "avg_pool_3x3", "identity"),
                Block(1, 1, "avg_pool_3x3", "avg_pool_3x3"),
                Block(0, 0, "sep_conv_3x3", "identity"),
            ),
            output=(1, 2, 3, 4, 5, 6),
        ),
        reduction=Cell(
            (
                Block(0, 1, "sep_conv_5x5", "sep_conv_7x7"),
                Block(0, 1, "max_pool_3x3", "sep_conv_7x7"),
                Block(0, 1, "avg_pool_3x3", "sep_conv_5x5"),
                Block(3, 2, "identity", "avg_pool_3x3"),
                Block(2, 0, "sep_conv_3x3", "max_pool_3x3"),
            ),
            output=(3, 4, 5, 6),
        ),
    ),
}
NASNET_A = ARCHITECTURES["nasnet_a"]
SCALES = {
    "nasnet_a_mobile": Scale(224, 1000, 4, 44, "imagenet", stem_filters=32, dropout_rate=0.5),
    "nasnet_a_large": Scale(
        331, 1000, 6, 168, "imagenet", stem_filters=96, skip_reduction_input=True, dropout_rate=0.5
    ),
    "nasnet_a_cifar": Scale(32, 10, 6, 32, "cifar", bn_momentum=0.9, bn_epsilon=1e-5),
}
NAMES = ("nasnet_a", "mobilenet_v2")
PENULTIMATE_FACTOR = 24


def architecture(name):
    """Returns the `NASNet` called `name`, or None for Keras's MobileNetV2.

    Raises:
        UserError: no published network has that name.
    """
    if name not in NAMES:
        raise UserError(f"Expected a published network, one of {', '.join(NAMES)}. Received: {name!r}")
    return ARCHITECTURES.get(name)


def build(name, scale):
    """Returns the `keras.Model` of a published network, with random weights.

    It is NASNet-A's cells at `scale`, or Keras's MobileNetV2 at the scale's image size and classes.

    Raises:
        UserError: no published network has that name, or Keras does not build it so small.
    """
    network = architecture(name)
    if network is not None:
        return build_nasnet(network, scale)
    if scale.image_size < 32:
        raise UserError(f"Keras builds {name} for images of 32 px or more. Received: image_size={scale.image_size}")
    from keras import applications

    input_shape = (scale.image_size, scale.image_size, 3)
    return applications.MobileNetV2(input_shape=input_shape, weights=None, classes=scale.num_classes)


def NASNetAMobile(
    input_shape=None,
    include_top=True,
    weights=None,
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name="nasnet_a_mobile",
):
    """NASNet-A (4 @ 1056): 5,326,716 parameters with moving statistics, 564 M multiply-adds at 224 px.

    It takes float32 [batch, height, width, 3] in [-1, 1]. Height and width must be known.

    Args:
        input_shape, include_top, input_tensor, pooling, classes, classifier_activation, name: as in
            `keras.applications`.
        weights: None, `"imagenet"`, or the path of a `.h5`, `.weights.h5` or `.keras` file of this network or of
            `keras.applications.NASNetMobile`.

    Raises:
        ValueError: `weights` is not such a file, `pooling` is not None, "avg" or "max", or the input is too small.
    """
    return _model(
        "nasnet_a_mobile",
        SCALES["nasnet_a_mobile"],
        input_shape,
        include_top,
        weights,
        input_tensor,
        pooling,
        classes,
        classifier_activation,
        name,
    )


def NASNetALarge(
    input_shape=None,
    include_top=True,
    weights=None,
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name="nasnet_a_large",
):
    """NASNet-A (6 @ 4032): 88,949,818 parameters with moving statistics, 23.8 G multiply-adds at 331 px.

    Arguments: `NASNetAMobile`, with the weights of `keras.applications.NASNetLarge`.
    """
    return _model(
        "nasnet_a_large",
        SCALES["nasnet_a_large"],
        input_shape,
        include_top,
        weights,
        input_tensor,
        pooling,
        classes,
        classifier_activation,
        name,
    )


def NASNetACifar(
    input_shape=None,
    include_top=True,
    weights=None,
    input_tensor=None,
    pooling=None,
    classes=10,
    classifier_activation="softmax",
    name="nasnet_a_cifar",
    *,
    cells=6,
    penultimate_filters=768,
):
    """NASNet-A for CIFAR, "`cells` @ `penultimate_filters`", without published weights.

    (6 @ 768) has 3.3 M parameters. (7 @ 2304) has 32.5 M, where the paper's table 1 has 27.6 M.

    Args:
        input_shape, include_top, weights, input_tensor, pooling, classes, classifier_activation, name: as in
            `NASNetAMobile`.
        cells: Normal cells in a stage.
        penultimate_filters: channels of the last cell, 24 for each filter of the first stage.

    Raises:
        ValueError: as in `NASNetAMobile`, and if `penultimate_filters` is not a multiple of 24.
    """
    if penultimate_filters % PENULTIMATE_FACTOR or penultimate_filters < PENULTIMATE_FACTOR:
        raise ValueError(
            f"Expected penultimate_filters to be a multiple of {PENULTIMATE_FACTOR}: NASNet-A's last cell has 24 F "
            f"channels. Received: penultimate_filters={penultimate_filters}"
        )
    scale = dataclasses.replace(
        SCALES["nasnet_a_cifar"], cells=cells, filters=penultimate_filters // PENULTIMATE_FACTOR
    )
    return _model(
        None, scale, input_shape, include_top, weights, input_tensor, pooling, classes, classifier_activation, name
    )


def _model(key, scale, input_shape, include_top, weights, input_tensor, pooling, classes, classifier_activation, name):
    import keras

    if pooling not in (None, "avg", "max"):
        raise ValueError(f"Expected pooling to be None, 'avg' or 'max'. Received: pooling={pooling!r}")
    if input_tensor is None:
        inputs = x = keras.Input(input_shape or (scale.image_size, scale.image_size, 3), name="image")
    else:
        (inputs,), x = keras.utils.get_source_inputs(input_tensor), input_tensor
    if None in x.shape[1:]:
        raise ValueError(f"Expected input_shape with known height, width and channels. Received: {tuple(x.shape[1:])}")
    scale = dataclasses.replace(scale, num_classes=classes, image_size=min(x.shape[1:3]))
    x, _ = features(x, NASNET_A, scale)
    if include_top:
        x = classifier(x, scale, classifier_activation)
    elif pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    elif pooling == "max":
        x = keras.layers.GlobalMaxPooling2D(name="max")(x)
    model = keras.Model(inputs, x, name=name)
    if weights is not None:
        from nasnet_tf import _keras_weights

        _keras_weights.load(model, weights, key, include_top, classes)
    return model
