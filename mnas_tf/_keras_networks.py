"""Networks that `keras.applications` builds, in this house's form, and the `.h5` files of their ImageNet weights.

Here they take images in [-1, 1], as all networks do, and end in a Dense called `predictions`, where Keras's MobileNetV3
ends in a convolution. Their layers keep Keras's names.
"""

import os
import re

import numpy as np

from mnas_tf._conventions import TENSORFLOW, conventions_of
from mnas_tf.spaces._network import IMAGENET_DEVIATION, IMAGENET_MEAN
from nas_tf.networks import weights
from nas_tf.trial import UserError

FUNCTIONS = {
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
    "efficientnet_b0": "EfficientNetB0",
    "nasnet_mobile": "NASNetMobile",
}
LEAST_SIZE = 32
_MOBILENET_V3 = ("mobilenet_v3_small", "mobilenet_v3_large")
_MOST_TOP_LAYERS = 2  # MobileNetV3's top is two convolutions


def features(name, x, scale):
    """Returns the last map, float32 [batch, height, width, channels].

    Args:
        name: one of `FUNCTIONS`.
        x: the images, float32 [batch, height, width, 3] in [-1, 1].
        scale: the `mnas_tf.spaces.mnasnet.Scale`, of which Keras takes width and momentum of batch normalisation.

    Raises:
        UserError: Keras does not build it so small, or not at that width.
    """
    return _built(name, x, scale, include_top=False).output


def pooled(name, x, scale):
    """Returns what the classifier reads, float32 [batch, channels], before dropout. Arguments: `features`."""
    from keras import layers

    model = _built(name, x, scale, include_top=True)
    by_output = {id(layer.output): layer for layer in model.layers}
    found = next(layer for layer in reversed(model.layers) if layer.weights).input
    while isinstance(by_output[id(found)], layers.Dropout):
        found = by_output[id(found)].input
    return found if len(found.shape) == 2 else layers.Flatten(name="flat")(found)


def _built(name, x, scale, include_top):
    import keras
    from keras import applications, layers

    if any(size is not None and size < LEAST_SIZE for size in x.shape[1:3]):
        size = min(size for size in x.shape[1:3] if size is not None)
        raise UserError(f"Keras builds {name} for images of {LEAST_SIZE} px or more. Received: image_size={size}")
    options = {}
    if name in _MOBILENET_V3:
        options = {"alpha": scale.width_multiplier, "include_preprocessing": False}
    elif scale.width_multiplier != 1:
        raise UserError(f"{name} has one width, 1. Received: width {scale.width_multiplier:g}")
    elif name == "efficientnet_b0":
        x = _imagenet_normalized_for_keras(x)
    function = getattr(applications, FUNCTIONS[name])
    model = function(
        input_shape=tuple(x.shape[1:]), input_tensor=x, include_top=include_top, weights=None, classes=1, **options
    )
    before = {id(each) for each in keras.Model(keras.utils.get_source_inputs(x), x).operations}
    # Layers, and sums and products that are none.
    for number, layer in enumerate(each for each in model.operations if id(each) not in before):
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = scale.bn_momentum
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        if re.fullmatch(rf"{kind}(_\d+)?", layer.name):
            # Keras numbers such layers by what this process has built before, and files of weights are read by name.
            layer.name = f"unnamed{number}_{kind}"
    return model


def _imagenet_normalized_for_keras(x):
    """Returns 255 (pixel / 255 - mean) / deviation for `x` = pixel / 127.5 - 1.

    Keras divides that by 255 again, and its Normalization begins as the identity. What Keras computes with its ImageNet
    weights, which hold the mean and, as variance, the deviation, it computes by another layer yet, which it builds only
    where it fetches them (github.com/tensorflow/tensorflow/issues/49930).
    """
    from keras import layers

    scales = [127.5 / deviation for deviation in IMAGENET_DEVIATION]
    offsets = [255 * (0.5 - mean) / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION)]
    return layers.Rescaling(scales, offsets, name="imagenet_normalization")(x)


def read(model, path):
    """Returns a dict from layer name to list[np.ndarray], in the order of `get_weights()` of the `model`'s layers.

    Layers are matched by their order, as Keras does: names in its files are older than those of its layers. That holds
    for MobileNetV2 as built here, too, whose layers stand in the same order. The classifier has the file's own number
    of classes. A `model` without a classifier leaves the file's last layers out.

    Args:
        model: `keras.Model` of a network of `FUNCTIONS`, or of MobileNetV2.
        path: of a `.h5` file of its counterpart in `keras.applications`.

    Raises:
        UserError: there is no such file, it is damaged, or of another network; or MobileNetV2 is built otherwise.
    """
    from keras import layers

    if conventions_of(model) not in (None, TENSORFLOW):
        raise UserError(
            "Expected MobileNetV2 as Keras builds it, for Keras's weights. Received: one of another Scale. Build it as "
            "mnas_tf.published.scale_for says"
        )
    theirs = [arrays for arrays in weights.read(path).values() if arrays]
    ours = [layer for layer in model.layers if layer.weights]
    if isinstance(ours[0], layers.Normalization):
        _check_normalization(theirs[0] if theirs else [], path)
        theirs = [ours[0].get_weights(), *theirs[1:]]  # another layer does it
    has_top = isinstance(ours[-1], layers.Dense)
    left = len(theirs) - len(ours)
    if left != 0 and (has_top or not 0 < left <= _MOST_TOP_LAYERS):
        raise UserError(
            f"Expected the weights of this network. Received: {os.fspath(path)}, of another: it has {len(theirs)} "
            f"layers with weights, this one {len(ours)}"
        )
    if has_top and theirs[-1][0].ndim == 4:  # a classifier that is a 1 x 1 convolution
        theirs[-1] = [theirs[-1][0].reshape(theirs[-1][0].shape[-2:]), *theirs[-1][1:]]
    return {layer.name: arrays for layer, arrays in zip(ours, theirs)}


def _check_normalization(arrays, path):
    """Raises `UserError` unless a file normalises images as `_imagenet_normalized_for_keras` does."""
    expected = (IMAGENET_MEAN, IMAGENET_DEVIATION)  # the second as its variance
    if len(arrays) != 3 or any(
        array.shape != (3,) or not np.allclose(array, each, rtol=0, atol=1e-3)  # they have three digits
        for array, each in zip(arrays, expected)
    ):
        raise UserError(
            f"Expected the ImageNet weights of EfficientNetB0, which begin with mean {IMAGENET_MEAN} and variance "
            f"{IMAGENET_DEVIATION}. Received: {os.fspath(path)}, which begins otherwise"
        )
