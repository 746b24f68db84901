"""Networks of cells: every cell, operation and size, written forms of one cell."""

import keras
import numpy as np
import pytest
from nasnet_support import images, random_tokens, rewritten, run_tflite, shake
from weightless import without_weights

from nas_tf.export import to_tflite
from nas_tf.trial import UserError
from nasnet_tf.published import NASNET_A
from nasnet_tf.spaces.nasnet import OPERATIONS, SPACE, Block, Cell, NASNet, NASNetSpace, Scale, build

PROXY = Scale(32, 10, 1, 8, "cifar", bn_momentum=0.9)


@pytest.fixture(autouse=True)
def clear():
    keras.backend.clear_session()


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("size", [31, 32, 33, 224, 299, 331])
def test_odd_and_even_sizes(stem, size):
    with without_weights():
        model = build(NASNET_A, Scale(size, 7, 1, 8, stem))
    # The imagenet stem begins with a valid 3 x 3 convolution of stride 2; every reduction gives ceil(n / 2).
    side, halvings = (size, 2) if stem == "cifar" else ((size - 1) // 2, 4)
    for _ in range(halvings):
        side = -(-side // 2)
    assert model.get_layer("mean").input.shape == (None, side, side, 6 * 32)
    assert model.output_shape == (None, 7)


def test_the_smallest_images():
    for stem, least in (("cifar", 3), ("imagenet", 19)):
        assert np.isfinite(build(NASNET_A, Scale(least, 2, 1, 8, stem))(images(1, least))).all()
        with pytest.raises(UserError, match=f"image_size of at least {least}.*Received: image_size={least - 1}"):
            Scale(least - 1, 2, 1, 8, stem)


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"filters": 42}, r"filters to be a multiple of 4, 8 at least.*Received: filters=42"),
        ({"filters": 4}, r"8 at least.*Received: filters=4"),
        ({"drop_path_keep": 0.0}, "drop_path_keep to be above 0 and at most 1. Received: 0.0"),
        ({"drop_path_keep": 1.5}, "drop_path_keep to be above 0 and at most 1. Received: 1.5"),
        ({"drop_path": "v4"}, "drop_path to be one of v1, v2, v3, constant. Received: v4"),
        ({"stem": "resnet"}, "stem to be one of cifar, imagenet. Received: resnet"),
        ({"cells": 0}, "--cells to be at least 1 and at most 100. Received: 0"),
        ({"bn_momentum": 1.0}, "bn_momentum to be at least 0 and below 1"),
    ],
)
def test_scales_that_cannot_be_built(changes, words):
    with pytest.raises(UserError, match=words):
        Scale(**changes)


# Each part has cells of its own: one with every run of the tests, 25 with the marker `storm`.
@pytest.mark.parametrize(
    "part,count",
    [*((part, 1) for part in range(4)), *(pytest.param(part, 25, marks=pytest.mark.storm) for part in range(8))],
)
def test_random_cells(part, count, tmp_path):
    import tensorflow as tf

    rng, pictures = np.random.default_rng(part), images(2, 32)
    for number in range(count):
        architecture = SPACE.decode(random_tokens(SPACE, rng))
        model = build(architecture, PROXY)
        assert np.isfinite(model(pictures, training=False)).all(), architecture
        if number < 3:
            with tf.GradientTape() as tape:
                scores = model(pictures, training=True)
                loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(np.array([3, 7]), scores))
            gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
            for weight, gradient in zip(model.trainable_weights, gradients):
                assert gradient is not None and np.isfinite(gradient).all(), (architecture, weight.path)
            keras.optimizers.SGD(0.1).apply(gradients, model.trainable_weights)
            assert np.isfinite(model(pictures, training=False)).all(), architecture
        if number == 0:
            shake(model)
            to_tflite(model, tmp_path / "cell.tflite")
            np.testing.assert_allclose(
                run_tflite(tmp_path / "cell.tflite", pictures[:1]), model(pictures[:1]), atol=1e-4
            )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_reads_every_state(operation):
    """In both cells, on inputs that are raw, projected, halved, and on a block, added and concatenated."""
    blocks = (
        Block(0, 1, operation, operation),
        Block(1, 0, operation, "identity", "concat"),
        Block(2, 3, operation, operation, "concat"),
    )
    net = NASNet(Cell(blocks, (0, 1, 4)), Cell(blocks, (0, 1, 2, 4)))
    for stem, size in (("cifar", 9), ("imagenet", 33)):
        model = build(net, Scale(size, 3, 1, 8, stem))
        assert np.isfinite(model(images(1, size), training=False)).all()
        # Only the cell's inputs are halved: 2 Reduction cells, and 2 more in the imagenet stem.
        for name in ("stage1_cell1", "reduction1"):
            shapes = {
                layer.name.removeprefix(name): layer.output.shape[1]
                for layer in model.layers
                if layer.name.startswith(name)
            }
            assert shapes["_block1_add"] == shapes["_block3_bn"]


def test_strides_fall_on_the_cells_inputs_only():
    with without_weights():
        model = build(NASNET_A, PROXY)
    size = {
        name: model.get_layer(f"reduction1_{name}").output.shape[1] for name in ("begin_bn", "block1_add", "concat")
    }
    assert size == {"begin_bn": 32, "block1_add": 16, "concat": 16}
    strided = [
        layer.name
        for layer in model.layers
        if layer.name.startswith("reduction1_") and getattr(layer, "strides", (1, 1)) == (2, 2)
    ]
    # The operations of NASNet-A's Reduction cell that read states 0 and 1: both of blocks 1 to 3, one of block 5.
    assert len(strided) == 7 and not any("_block4" in name for name in strided)


def test_filters_double_and_the_stem_has_a_quarter_and_half():
    with without_weights():
        model = build(NASNET_A, Scale(64, 5, 1, 16, "imagenet"))
    cells = ("stem1", "stem2", "stage1_cell1", "reduction1", "stage2_cell1", "reduction2", "stage3_cell1")
    assert [model.get_layer(f"{cell}_begin_conv").filters for cell in cells] == [4, 8, 16, 32, 32, 64, 64]


def test_factorized_reduction_reads_even_and_odd_pixels():
    from nas_tf.networks.blocks import Style
    from nasnet_tf.spaces._operations import State, factorized_reduction

    for size in (1, 2, 5, 6):
        inputs = keras.Input((size, size, 1))
        model = keras.Model(inputs, factorized_reduction(State(inputs, "x", Style()), 2, "halved"))
        for number in (1, 2):
            model.get_layer(f"halved_{number}_conv").set_weights([np.ones((1, 1, 1, 1))])
        pixels = np.arange(1.0, size * size + 1, dtype="float32").reshape(1, size, size, 1)
        halved = np.asarray(model(pixels, training=False)) * np.sqrt(1.001)
        shifted = np.pad(pixels, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
        np.testing.assert_allclose(halved[..., 0], pixels[:, ::2, ::2, 0], rtol=1e-5)
        np.testing.assert_allclose(halved[..., 1], shifted[:, ::2, ::2, 0], rtol=1e-5)


def test_a_dilated_convolution_with_a_stride_is_one_without_that_is_thinned():
    import tensorflow as tf

    from nas_tf.networks.blocks import Style
    from nasnet_tf.spaces._operations import State, apply

    for size in (7, 8):
        inputs = keras.Input((size, size, 3))
        model = keras.Model(inputs, apply("dil_conv_3x3", State(inputs, "x", Style()), 4, 2, "dil"))
        pixels = np.abs(images(1, size))
        kernel = model.get_layer("dil_conv").get_weights()[0]
        full = tf.nn.conv2d(pixels, kernel, 1, "SAME", dilations=2)
        np.testing.assert_allclose(model(pixels), full[:, ::2, ::2] / np.sqrt(1.001), atol=1e-5)


def test_written_forms_of_one_cell_compute_the_same():
    """Built as written, not in canonical form; each weight of one form is put where the other form has it."""
    rng = np.random.default_rng(5)
    space = NASNetSpace(operations=("identity", "conv_1x1", "sep_conv_3x3", "avg_pool_3x3", "max_pool_5x5"))
    for _ in range(4):
        net = space.decode(random_tokens(space, rng))
        other = NASNet(rewritten(net.normal, rng), rewritten(net.reduction, rng))
        assert other.fingerprint == net.fingerprint
        one, two = (build(each, Scale(9, 3, 1, 2, "cifar")) for each in (net, other))
        shake(one)
        _move_weights(net, one, other, two)
        pictures = images(2, 9)
        np.testing.assert_allclose(two(pictures, training=False), one(pictures, training=False), atol=1e-5)


def _same_blocks(cell, other):
    """({block of `other`: block of `cell`}, {the same: whether its operands are swapped}), by trying every order."""
    import itertools

    for order in itertools.permutations(range(len(cell.blocks))):
        states = {0: 0, 1: 1} | {new + 2: old + 2 for new, old in enumerate(order)}  # of other -> of cell
        swaps = {}
        for new, old in enumerate(order):
            theirs = tuple((states[state], op) for state, op in other.blocks[new].operands)
            if other.blocks[new].combine != cell.blocks[old].combine:
                break
            if theirs == cell.blocks[old].operands:
                swaps[new] = False
            elif theirs == cell.blocks[old].operands[::-1]:
                swaps[new] = True
            else:
                break
        if len(swaps) == len(order) and {states[state] for state in other.output} == set(cell.output):
            return dict(enumerate(order)), swaps, states
    raise AssertionError("they are two cells")


def _move_weights(net, one, other, two):
    """Sets the weights of `two`, the network of `other`, to those of `one`, the network of `net`."""
    import re

    maps = {"stage": _same_blocks(net.normal, other.normal), "reduction": _same_blocks(net.reduction, other.reduction)}
    cells = {"stage": (net.normal, other.normal), "reduction": (net.reduction, other.reduction)}
    order = ["stem", "stage1_cell1", "reduction1", "stage2_cell1", "reduction2", "stage3_cell1"]

    def channels(source):
        """For each channel of a cell's output in `two`, its place in `one`; None for the stem, which is the same."""
        if source == "stem":
            return None
        kind = "stage" if source.startswith("stage") else "reduction"
        _, _, states = maps[kind]
        mine, theirs = cells[kind]
        width = two.get_layer(f"{source}_begin_conv").filters
        return np.concatenate([np.arange(width) + width * mine.output.index(states[state]) for state in theirs.output])

    for layer in two.layers:
        if not layer.weights:
            continue
        name, permuted = layer.name, None
        cell = next((each for each in order[1:] if name.startswith(each)), None)
        if name == "predictions":
            permuted = channels(order[-1])
        elif cell:
            kind = "stage" if cell.startswith("stage") else "reduction"
            blocks, swaps, _ = maps[kind]
            inside = name.removeprefix(f"{cell}_")
            if inside.startswith("begin_conv"):
                permuted = channels(order[order.index(cell) - 1])
            elif inside.startswith("previous") and "conv" in inside:
                permuted = channels(order[order.index(cell) - 2])
            elif match := re.fullmatch(r"block(\d)_(left|right)(.*)", inside):
                new, side = int(match[1]) - 1, match[2]
                if swaps[new]:
                    side = {"left": "right", "right": "left"}[side]
                name = f"{cell}_block{blocks[new] + 1}_{side}{match[3]}"
            elif match := re.fullmatch(r"block(\d)_(conv|bn)", inside):
                new = int(match[1]) - 1
                name = f"{cell}_block{blocks[new] + 1}_{match[2]}"
                if match[2] == "conv" and swaps[new]:
                    width = layer.filters
                    permuted = np.concatenate([np.arange(width) + width, np.arange(width)])
        weights = one.get_layer(name).get_weights()
        if permuted is not None:
            weights[0] = np.take(weights[0], permuted, axis=-2)
        layer.set_weights(weights)
