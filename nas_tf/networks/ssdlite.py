"""SSDLite: a detector's head on the maps of a network, with separable convolutions (arXiv 1801.04381, section 6.2).

What the paper leaves open is as in tensorflow/models, `object_detection` with `ssdlite_mobilenet_v2_coco.config`: C4,
C5 and four smaller maps, each of half the size of the one before, are read by two predictors each.
"""

from nas_tf.networks import blocks as nn

# Of the maps behind C5. A 1 x 1 convolution to half as many comes before each.
EXTRA_FILTERS = (512, 256, 256, 128)
# Anchors at each place of a map. The largest map has three shapes, as SSD's anchor generator has it.
ANCHORS_PER_PLACE = (3, 6, 6, 6, 6, 6)
BOX_VALUES = 4
STYLE = nn.Style(bn_momentum=0.97, activation="relu6")


def map_sizes(image_size):
    """Returns the heights and widths of the six maps, in places, for images of `image_size` x `image_size` pixels."""
    sizes = [-(-image_size // 16)]
    while len(sizes) < len(ANCHORS_PER_PLACE):
        sizes.append(-(-sizes[-1] // 2))
    return tuple(sizes)


def num_anchors(image_size):
    """Returns the number of anchors of an image of `image_size` x `image_size` pixels."""
    return sum(size**2 * each for size, each in zip(map_sizes(image_size), ANCHORS_PER_PLACE))


def detector(maps, num_classes, style=STYLE):
    """Returns the `keras.Model` of a detector.

    It takes what `maps` takes, and returns a list of two tensors: how the box at each anchor differs from it, float32
    [batch, anchors, 4] (`nas_tf.detection.boxes`), and the logits of background and classes, float32
    [batch, anchors, 1 + num_classes]. Anchors are in the order of maps, rows, columns and shapes.

    Args:
        maps: `keras.Model` of the maps `"C4"` and `"C5"` (`nas_tf.space.SearchSpace.feature_maps`).
        num_classes: classes of objects.
        style: the `nas_tf.networks.blocks.Style` of the head.
    """
    import keras

    read = [maps.output["C4"], maps.output["C5"]]
    for number, filters in enumerate(EXTRA_FILTERS, 1):
        read.append(_extra_map(read[-1], filters, f"ssd_extra{number}", style))
    boxes, logits = [], []
    for number, (x, count) in enumerate(zip(read, ANCHORS_PER_PLACE), 1):
        boxes.append(_predictor(x, count, BOX_VALUES, f"ssd_map{number}_boxes", style))
        logits.append(_predictor(x, count, 1 + num_classes, f"ssd_map{number}_classes", style))
    outputs = [
        keras.layers.Concatenate(axis=1, dtype="float32", name=name)(each)
        for name, each in (("ssd_boxes", boxes), ("ssd_logits", logits))
    ]
    return keras.Model(maps.inputs[0], outputs, name="ssdlite")


def _extra_map(x, filters, name, style):
    x = nn.conv_bn(x, filters // 2, 1, f"{name}_squeeze", style)
    x = nn.depthwise_bn(x, 3, f"{name}_depthwise", style, strides=2)
    return nn.conv_bn(x, filters, 1, f"{name}_expand", style)


def _predictor(x, count, values, name, style):
    """Returns what is predicted of each anchor of a map, [batch, places x count, values]."""
    from keras import layers

    places = x.shape[1] * x.shape[2]
    x = nn.depthwise_bn(x, 3, f"{name}_depthwise", style)
    x = layers.Conv2D(count * values, 1, kernel_initializer="he_normal", name=name)(x)
    return layers.Reshape((places * count, values), name=f"{name}_list")(x)
