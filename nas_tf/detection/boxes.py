"""SSD's anchors, and boxes as differences from them (arXiv 1512.02325, section 2.2).

Scales and shapes are those of `ssdlite_mobilenet_v2_coco.config`. Boxes are turned into differences by Keras.
"""

import functools
import itertools
import math

import numpy as np

from nas_tf.networks.ssdlite import map_sizes

LEAST_SCALE, MOST_SCALE = 0.2, 0.95
LOWEST_SCALE = 0.1  # of the small square on the largest map
ASPECT_RATIOS = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)  # width / height
# What differences of centres and of the logarithms of sizes are divided by.
VARIANCE = (0.1, 0.1, 0.2, 0.2)
_FORMAT, _CODE = "yxyx", "center_yxhw"  # Keras asks for an image's size only to change the unit


@functools.lru_cache(maxsize=16)
def anchors(image_size):
    """Returns the anchors of an image of `image_size` x `image_size` pixels, float32 [anchors, 4] of shares of it.

    They are in the order of the detector's outputs. They may reach beyond the image. The array is not to be changed.
    """
    found = []
    for size, shapes in zip(map_sizes(image_size), _shapes()):
        middles = (np.arange(size) + 0.5) / size
        centers = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1)[:, :, np.newaxis]
        half = np.asarray(shapes) / 2
        found.append(np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4))
    whole = np.concatenate(found).astype("float32")
    whole.setflags(write=False)
    return whole


def _shapes():
    """Returns for each map a list of (height, width), in shares of the image."""
    scales = [*np.linspace(LEAST_SCALE, MOST_SCALE, 6), 1.0]
    found = [[_shape(LOWEST_SCALE, 1.0), _shape(scales[0], 2.0), _shape(scales[0], 1 / 2)]]
    for scale, following in itertools.pairwise(scales[1:]):
        between = math.sqrt(scale * following)
        found.append([*(_shape(scale, ratio) for ratio in ASPECT_RATIOS), _shape(between, 1.0)])
    return found


def _shape(scale, ratio):
    return scale / math.sqrt(ratio), scale * math.sqrt(ratio)


def encode(boxes, around):
    """Returns how boxes differ from anchors: of centres by the anchor's size, of sizes in logarithms.

    Args:
        boxes: float32 [..., anchors, 4].
        around: the anchors, float32 [anchors, 4].
    """
    from keras.utils import bounding_boxes

    return bounding_boxes.encode_box_to_deltas(around, boxes, _FORMAT, _FORMAT, _CODE, VARIANCE)


def decode(differences, around):
    """Returns the boxes, float32 [..., anchors, 4], whose `encode` returned `differences`."""
    from keras.utils import bounding_boxes

    return bounding_boxes.decode_deltas_to_boxes(around, differences, _FORMAT, _FORMAT, _CODE, VARIANCE)
