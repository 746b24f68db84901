"""Children of a search show every choice: filters, kernels and skips that differ where a network ships differ there."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from weightless import without_weights

from benchmarks import hidden_choices
from mnas_tf.family import MnasNetSearchSettings, search_scales
from mnas_tf.published import ARCHITECTURES
from mnas_tf.spaces import mnasnet, proxylessnas
from mnas_tf.spaces._network import build, built_layers, latency_scale
from mnas_tf.spaces.mnasnet import MnasNet, MnasNetSpace, Scale
from nas_tf.complexity import num_params
from nas_tf.trial import UserError

A1 = ARCHITECTURES["mnasnet_a1"]
SPACES = pytest.mark.parametrize("module", [mnasnet, proxylessnas], ids=lambda module: module.SPACE.name)


def child_scale(image_size=32, width_multiplier=0.5):
    settings = MnasNetSearchSettings(run_dir="-", proxy_image_size=image_size, proxy_width_multiplier=width_multiplier)
    return search_scales(settings, Scale, 10)[0]


def as_it_was(scale):
    return dataclasses.replace(scale, filter_multiple=8, least_map_size=1)


def test_only_children_are_built_otherwise():
    settings = MnasNetSearchSettings(run_dir="-")
    child, ships = search_scales(settings, Scale, 10)
    assert (child.filter_multiple, child.least_map_size) == (1, 3)
    assert (ships.filter_multiple, ships.least_map_size) == (8, 1) == (Scale().filter_multiple, Scale().least_map_size)


@pytest.mark.parametrize("base", mnasnet.BASES)
@pytest.mark.parametrize("width", [0.25, 0.5])
def test_every_filter_choice_of_every_block_has_a_child_of_its_own(base, width):
    hidden = 0
    for block, (filters, _) in enumerate(mnasnet.BASES[base], 1):
        decision = next(each for each in MnasNetSpace(base).decisions if each.name == f"block{block}/filters")
        asked = [int(filters * factor) for factor in decision.choices]
        assert len({child_scale(width_multiplier=width).filters(each) for each in asked}) == len(asked)
        hidden += len({as_it_was(child_scale(width_multiplier=width)).filters(each) for each in asked}) < len(asked)
    assert hidden >= 3  # blocks whose children were not all different


def test_filters_that_are_not_rounded_are_the_nearest_whole_numbers():
    quarter, wide = Scale(width_multiplier=0.25, filter_multiple=1), Scale(filter_multiple=1)
    assert [quarter.filters(n) for n in (1, 5, 12, 18, 22, 30)] == [1, 1, 3, 5, 6, 8]
    assert [wide.filters(n) for n in (1, 18)] == [1, 18]
    fours = Scale(width_multiplier=0.35, filter_multiple=4)
    assert [fours.filters(n) for n in (16, 32, 40)] == [8, 12, 16]  # 5.6 is not 4: that would be 29 % less


@pytest.mark.parametrize("image_size", [3, 4, 8, 16, 24, 32, 48, 64, 95])
def test_last_maps_are_at_least_3_x_3(image_size):
    size, strides = built_layers(A1, child_scale(image_size))[-1]
    assert math.ceil(size / strides) >= 3
    with without_weights():
        model = build(A1, child_scale(image_size))
    assert model.get_layer("head_conv").output.shape[1] == math.ceil(size / strides)
    assert [size for size, _ in built_layers(A1, as_it_was(child_scale(image_size)))][-1] == math.ceil(image_size / 32)


@pytest.mark.parametrize("image_size", [96, 97, 128, 224])
def test_from_96_px_on_all_strides_are_built(image_size):
    child = child_scale(image_size)
    assert built_layers(A1, child) == built_layers(A1, as_it_was(child))
    assert sum(strides > 1 for _, strides in built_layers(A1, child)) == 5


def test_a_child_without_a_stride_has_the_skips_of_the_network_that_ships():
    blocks = "r1_k3_s22_e1_i16_o16{} r2_k3_s22_e3_i16_o16{}"
    for skip, added in (("", 1), ("_pool", 3), ("_noskip", 0)):
        network = MnasNet.parse(blocks.format(skip, skip))
        with without_weights():
            child, ships = (build(network, Scale(8, 2, least_map_size=least)) for least in (3, 1))
        names = [[layer.name for layer in model.layers if "_add" in layer.name] for model in (child, ships)]
        assert names[0] == names[1] and len(names[0]) == added
        assert [model.get_layer("head_conv").output.shape[1] for model in (child, ships)] == [4, 1]
        assert num_params(child) == num_params(ships)


def dead_weights(scale):
    """(those of A1's depthwise weights that move nothing, all of them) at `scale`, by gradients of random images."""
    keras.utils.set_random_seed(0)
    model = build(A1, scale)
    network, rng = keras.Model(model.input, model.get_layer("head_bn").output), np.random.default_rng(0)
    images = rng.normal(size=(4, scale.image_size, scale.image_size, 3)).astype("float32")
    kernels = [layer.kernel for layer in network.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    with tf.GradientTape() as tape:
        features = network(images, training=True)
        loss = tf.reduce_sum(features * rng.normal(size=features.shape).astype("float32"))
    # A place of a kernel is dead if it moves nothing in any channel: single channels may have a ReLU that is always 0.
    moved = [np.abs(each).max(axis=(2, 3)) for each in tape.gradient(loss, [kernel.value for kernel in kernels])]
    dead = sum((places == 0).sum() * kernel.shape[2] for places, kernel in zip(moved, kernels))
    return dead, sum(math.prod(kernel.shape) for kernel in kernels)


def test_no_depthwise_weight_of_a1s_child_is_dead():
    assert dead_weights(child_scale())[0] == 0
    # 26,880 of them on maps of 1 x 1, and the rest where a stride makes 1 x 1 of 2 x 2.
    assert dead_weights(as_it_was(child_scale())) == (33_936, 55_920)


def test_used_offsets_are_those_of_tensorflows_padding():
    """What `benchmarks.hidden_choices` takes a kernel for, against convolutions of all ones."""
    for kernel_size in (1, 3, 5, 7):
        for size in (1, 2, 3, 4, 7):
            for strides in (1, 2):
                kernel = tf.Variable(tf.ones((kernel_size, 1, 1, 1)))
                with tf.GradientTape() as tape:
                    sums = tf.nn.conv2d(tf.ones((1, size, 1, 1)), kernel, [1, strides, 1, 1], "SAME")
                read = int((tape.gradient(sums, kernel).numpy() != 0).sum())
                assert len(hidden_choices.used_offsets(kernel_size, size, strides)) == read
    # Kernels that read the same pixels are one kernel: on 2 x 2 maps, and where a stride halves them.
    assert hidden_choices.used_offsets(3, 2, 1) == hidden_choices.used_offsets(5, 2, 1) == {-1, 0, 1}
    assert hidden_choices.used_offsets(3, 2, 2) == hidden_choices.used_offsets(5, 2, 2) == {0, 1}


@SPACES
def test_at_most_one_percent_of_the_choices_is_hidden(module):
    scales = {"now": child_scale(), "before": as_it_was(child_scale())}
    found = hidden_choices.count(module.SPACE, scales, architectures=30)
    choices, now, before = (sum(counts[name] for counts in found.values()) for name in ("choices", "now", "before"))
    assert now <= 0.01 * choices and before > 0.1 * choices
    if module is mnasnet:
        shares = {question: counts["before"] / counts["choices"] for question, counts in found.items()}
        assert shares["filters"] > 0.2 and shares["kernel_size"] == 3 / 7  # of the kernels, those of the last blocks


@pytest.mark.parametrize("scale,params", [(Scale(224, 1000), 3_887_038), (Scale(32, 10, 0.5), 813_816)])
def test_other_scales_build_what_they_built(scale, params):
    with without_weights():
        assert num_params(build(A1, scale)) == params


@SPACES
def test_children_say_what_they_have_otherwise(module):
    space = module.SPACE
    assert space.child_note(child_scale(32)) == (
        "children of 32 px keep 3 of 5 strides, so that their last maps are 4 x 4 pixels, and have filters that are "
        "not rounded to multiples of 8"
    )
    assert space.child_note(child_scale(24, 1.0)) == (
        "children of 24 px keep 3 of 5 strides, so that their last maps are 3 x 3 pixels"
    )
    assert space.child_note(child_scale(96)) == "children of 96 px have filters that are not rounded to multiples of 8"
    assert space.child_note(child_scale(96, 1.0)) == space.child_note(Scale(32, 10, 0.5)) == ""


@pytest.mark.parametrize("changes", [{"filter_multiple": 1}, {"least_map_size": 3}])
def test_latency_tables_are_not_of_children(changes):
    name, value = next(iter(changes.items()))
    with pytest.raises(UserError, match=f"networks with {name}={getattr(Scale, name)}. Received: {name}={value}"):
        latency_scale(Scale(32, 10, 0.5, **changes))
