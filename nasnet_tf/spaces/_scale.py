"""How large a network of cells is built."""

import dataclasses

from nas_tf.settings import Settings, knob
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Scale(Settings):
    """How cells are stacked: in three stages of Normal cells, with a Reduction cell between stages.

    Every stage has twice the filters of the stage before. The papers' "N @ P" names P = 24 F, the channels that the
    last cell of NASNet-A returns.

    Attributes:
        image_size: height and width of the images in pixels.
        num_classes: how many classes the network tells apart.
        cells: Normal cells in a stage (N).
        filters: filters in the first stage (F).
        stem: `"cifar"` is one convolution; `"imagenet"` is one of stride 2 and two Reduction cells with F/4 and F/2
            filters.
        stem_filters: filters of that convolution; 0: 3 F for `cifar`, 32 for `imagenet`.
        skip_reduction_input: whether, behind a Reduction cell, state 1 is not the input of the cell before but of the
            one before that (NASNet-A large).
        auxiliary_head: whether there is a second output, the class scores at two thirds of the depth.
        drop_path_keep: probability to keep a path in the last training step and the last cell.
        drop_path: how the probability falls from 1 to `drop_path_keep`: `"v3"` over training and with depth (the
            default; NASNet's code), `"v1"` over training only, `"v2"` with depth only; `"constant"`: it does not begin
            at 1.
        dropout_rate: share of features that is dropped before the classifier while training.
        bn_momentum, bn_epsilon: of batch normalisation, with Keras's meaning.
        activation: `"relu"`, or `"relu6"`, which ends every ReLU at 6 and so loses less at int8. Latency tables are not
            made for it.

    Raises:
        UserError: no network can be built with one of these values.
    """

    image_size: int = knob(224, least=1, most=4096)
    num_classes: int = knob(1000, least=1, most=1_000_000)
    cells: int = knob(4, least=1, most=100)
    filters: int = knob(44, least=1, most=4096)
    stem: str = knob("imagenet", choices=("cifar", "imagenet"))
    stem_filters: int = knob(0, least=0, most=4096)
    skip_reduction_input: bool = False
    auxiliary_head: bool = False
    drop_path_keep: float = knob(1.0, above=0, most=1)
    drop_path: str = knob("v3", choices=("v1", "v2", "v3", "constant"))
    dropout_rate: float = knob(0.0, least=0, below=1)
    bn_momentum: float = knob(0.9997, least=0, below=1)
    bn_epsilon: float = knob(1e-3, above=0)
    activation: str = knob("relu", choices=("relu", "relu6"))

    def __post_init__(self):
        super().__post_init__()
        if self.stem == "imagenet" and (self.filters % 4 or self.filters < 8):
            raise UserError(
                "Expected filters to be a multiple of 4, 8 at least: the two Reduction cells of the imagenet stem have "
                f"a quarter and half of them. Received: filters={self.filters}"
            )
        least = {"cifar": 3, "imagenet": 19}[self.stem]
        if self.image_size < least:
            raise UserError(
                f"Expected image_size of at least {least}: with the {self.stem} stem a smaller image is one pixel "
                f"before its last reduction. Received: image_size={self.image_size}"
            )
