"""Published networks with their ImageNet weights, for images of any size from 32 px and any number of classes.

path = pretrained.weights_file("mobilenet_v4_conv_s", folder="weights")
model = pretrained.build("mobilenet_v4_conv_s", Scale(96, num_classes=5), path)
"""

import os

from mnas_tf import _networks
from mnas_tf._weight_files import NAMES, weights_file, why_not, widths
from mnas_tf.spaces.mnasnet import Scale
from nas_tf.networks import weights

__all__ = ["NAMES", "Scale", "build", "weights_file", "why_not", "widths"]


def build(name, scale, path=None):
    """Returns the `keras.Model` of a published network with its weights, or with random ones.

    It takes float32 [batch, size, size, 3] in [-1, 1] and returns probabilities, float32 [batch, classes], from a Dense
    called `predictions`. That layer is new if its number of classes differs from the file's.

    Args:
        name: one of `NAMES`.
        scale: the `mnas_tf.spaces.mnasnet.Scale`: image size, classes, width, dropout, momentum of batch normalisation.
            The other fields are the weights' (`mnas_tf.published.scale_for`).
        path: `weights_file(name, width, folder)`, or a file of such weights; None: they are random, to be timed.

    Raises:
        UserError: no such network has published weights, the file is damaged or of another network, or the images are
            too small.
    """
    widths(name)
    if path is not None:
        _networks.check_kind(name, os.fspath(path))
    model = _networks.whole(_networks.weights_name(name), _networks.scale_for(name, scale))
    if path is not None:
        weights.load(model, path, reader=_networks.read_weights)
    return model
