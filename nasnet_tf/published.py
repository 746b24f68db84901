from nasnet_tf.spaces.nasnet import Block, Cell, NASNet

NASNET_A = NASNet(
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
)

ARCHITECTURES = {"nasnet_a": NASNET_A}


def architecture(name):
    from nas_tf.trial import UserError

    if name not in (*ARCHITECTURES, "mobilenet_v2"):
        raise UserError(name)
    return ARCHITECTURES.get(name)


def build(name, scale):
    from nasnet_tf.spaces.nasnet import build as build_nasnet

    network = architecture(name)
    if network is not None:
        return build_nasnet(network, scale)
    from keras import applications

    return applications.MobileNetV2(
        input_shape=(scale.image_size, scale.image_size, 3), weights=None, classes=scale.num_classes
    )
