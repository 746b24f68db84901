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
