"""MnasNet's space: its decisions, the canonical law, what is built."""

import json
import re

import keras
import numpy as np
import pytest
from covering import all_choices, covered_choices, covering_tokens
from weightless import without_weights

from mnas_tf.published import ARCHITECTURES
from mnas_tf.spaces.mnasnet import BASES, SPACE, MnasNet, MnasNetSpace, Scale, build
from nas_tf.accuracy_tables.builder import check_parent
from nas_tf.trial import UserError

A1_SPACE = MnasNetSpace(base="mnasnet_a1", kernel_sizes=(3, 5, 7))
SPACES = pytest.mark.parametrize("space", [SPACE, A1_SPACE], ids=lambda space: space.base)
TINY = Scale(image_size=32, num_classes=10, width_multiplier=0.25)


def random_tokens(space, count, seed):
    generator = np.random.default_rng(seed)
    return [tuple(int(generator.integers(n)) for n in space.num_choices) for _ in range(count)]


def with_answers(space, tokens, **answers):
    """`tokens` with other answers, given as block1_conv_op="conv"."""
    tokens = list(tokens)
    for index, decision in enumerate(space.decisions):
        key = decision.name.replace("/", "_")
        if key in answers:
            tokens[index] = decision.choices.index(answers[key])
    return tuple(tokens)


def layers_like(model, pattern):
    return [layer.name for layer in model.layers if re.fullmatch(pattern, layer.name)]


def graph_of(model):
    """What a model computes, weights aside: each layer's kind, output and weight shapes, kernel and strides."""
    return [
        (
            type(layer).__name__,
            layer.output.shape,
            [weight.shape for weight in layer.weights],
            getattr(layer, "kernel_size", None),
            getattr(layer, "strides", None),
        )
        for layer in model.layers
    ]


@SPACES
def test_seven_decisions_a_block(space):
    assert len(space.decisions) == 49
    assert [decision.name for decision in space.decisions[7:14]] == [
        "block2/conv_op",
        "block2/expansion_ratio",
        "block2/kernel_size",
        "block2/se_ratio",
        "block2/skip_op",
        "block2/filters",
        "block2/layers",
    ]
    by_name = {decision.name: decision.choices for decision in space.decisions}
    assert by_name["block1/layers"] == by_name["block7/layers"] == (1, 2)
    assert by_name["block4/layers"] == (-1, 0, 1)
    assert by_name["block4/kernel_size"] == space.kernel_sizes


@pytest.mark.parametrize(
    "space,filters,layers",
    [
        (SPACE, (16, 24, 32, 64, 96, 160, 320), (1, 2, 3, 4, 3, 3, 1)),
        (A1_SPACE, (16, 24, 40, 80, 112, 160, 320), (1, 2, 3, 4, 2, 3, 1)),
    ],
)
def test_bases_are_the_papers(space, filters, layers):
    answers = {f"block{n}_filters": 1.0 for n in range(1, 8)} | {f"block{n}_layers": 0 for n in range(2, 7)}
    network = space.decode(with_answers(space, [0] * 49, **answers))
    assert tuple(block.filters for block in network.blocks) == filters
    assert tuple(block.repeats for block in network.blocks) == layers
    assert tuple(block.strides for block in network.blocks) == (1, 2, 2, 2, 1, 2, 1)
    assert (network.stem_filters, network.head_filters) == (32, 1280)


@SPACES
def test_filters_are_exact_products(space):
    for tokens in random_tokens(space, 50, seed=0):
        answers = space.answers(tokens)
        for number, block in enumerate(space.decode(tokens).blocks, 1):
            multiplier = answers[f"block{number}/filters"]
            assert block.filters / multiplier in (16, 24, 32, 40, 64, 80, 96, 112, 160, 320)


@SPACES
def test_canonical_law(space):
    networks = {}
    for tokens in random_tokens(space, 1000, seed=1):
        network = space.decode(tokens)
        again = space.encode(network)
        assert space.decode(again) == network
        assert space.encode(space.decode(again)) == again
        assert MnasNet.parse(str(network)) == network
        assert space.architecture(json.loads(json.dumps(network.to_json()))) == network
        networks[network] = network.fingerprint
    assert len(set(networks.values())) == len(networks)


def test_choices_that_change_nothing_vanish():
    tokens = random_tokens(SPACE, 1, seed=2)[0]

    def same(first, second):
        a, b = (SPACE.decode(with_answers(SPACE, tokens, **answers)) for answers in (first, second))
        return a == b and a.fingerprint == b.fingerprint

    expansion_3, expansion_6 = {"block3_expansion_ratio": 3}, {"block3_expansion_ratio": 6}
    for op, vanishes in (("conv", True), ("sepconv", True), ("mbconv", False)):
        assert same(expansion_3 | {"block3_conv_op": op}, expansion_6 | {"block3_conv_op": op}) is vanishes
    # Block 7 reads 160 x 0.75 to 1.25 filters and gives 240 to 400: its first layer can take no skip.
    for layers, vanishes in ((1, True), (2, False)):
        none, identity, pool = (
            {"block7_skip_op": skip, "block7_layers": layers} for skip in ("none", "identity", "pool")
        )
        assert same(none, identity) is same(none, pool) is same(identity, pool) is vanishes


def test_first_layers_skip_hangs_on_the_filters_of_the_block_before():
    # 24 x 1.25 = 40 x 0.75 = 30: block 3 of the A1 base may keep its filters while it halves the size.
    tokens = with_answers(A1_SPACE, [0] * 49, block2_filters=1.25, block3_filters=0.75, block3_skip_op="pool")
    inputs, strides, skip = A1_SPACE.decode(tokens).blocks[2].layers()[0]
    assert (inputs, strides, skip) == (30, 2, "pool")
    model = A1_SPACE.build(A1_SPACE.decode(tokens), TINY)
    assert model.get_layer("block3_layer1_pool").strides == (2, 2)
    assert model.get_layer("block3_layer1_add").output.shape[1:3] == (4, 4)


def test_lite0_is_a_point_of_its_base():
    # Its published block strings (tensorflow/tpu, efficientnet_lite_builder.py), without squeeze-and-excitation.
    lite0 = MnasNet.parse(
        "r1_k3_s11_e1_i32_o16_noskip r2_k3_s22_e6_i16_o24 r2_k5_s22_e6_i24_o40 r3_k3_s22_e6_i40_o80 "
        "r3_k5_s11_e6_i80_o112 r4_k5_s22_e6_i112_o192 r1_k3_s11_e6_i192_o320"
    )
    space = MnasNetSpace(base="efficientnet_lite0")
    assert space.decode(space.encode(lite0)) == lite0


def test_a1_is_a_point_of_its_base_and_not_of_mobilenet_v2s():
    a1 = ARCHITECTURES["mnasnet_a1"]
    for space in (MnasNetSpace(base="mnasnet_a1"), A1_SPACE):
        assert space.decode(space.encode(a1)) == a1
    # 112 filters are no multiple of the 96 of MobileNetV2's fifth block.
    with pytest.raises(ValueError, match=r"Decision 'block5/filters' on base 'mobilenet_v2' has the .*Received: 1.16"):
        SPACE.encode(a1)


@pytest.mark.parametrize(
    "name,message",
    [
        ("mnasnet_b1", "Decision 'block2/layers' .* has the choices"),
        ("mnasnet_small", "have 32 stem filters. Received: 8"),
        ("mnasnet_d1", "Decision .* has the choices"),
        ("mnasnet_d1_320", "Decision .* has the choices"),
    ],
)
def test_encode_names_what_is_no_choice(name, message):
    with pytest.raises(ValueError, match=message):
        SPACE.encode(MnasNet.parse(str(ARCHITECTURES[name]).replace("r3_k3_s22_e3_i16_o24", "r4_k3_s22_e3_i16_o24")))


def test_encode_names_another_shape_of_network():
    with pytest.raises(ValueError, match=r"have 7 blocks. Received: 1"):
        SPACE.encode(MnasNet.parse("r1_k3_s11_e1_i32_o16"))
    with pytest.raises(ValueError, match=r"have 1280 head filters. Received: 640"):
        SPACE.encode(MnasNet(ARCHITECTURES["mnasnet_a1"].blocks, head_filters=640))
    with pytest.raises(ValueError, match=r"Block 2 of space 'mnasnet' has strides 2. Received: r2_k3_s11"):
        SPACE.encode(MnasNet.parse(str(ARCHITECTURES["mnasnet_a1"]).replace("r2_k3_s22", "r2_k3_s11")))


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"image_size": 0}, "Expected --image_size to be at least 1 and at most 4096. Received: 0"),
        ({"num_classes": 2.0}, "Expected --num_classes to be a whole number"),
        ({"width_multiplier": float("nan")}, "Expected --width_multiplier to be a finite number. Received: nan"),
        ({"width_multiplier": 0}, "Expected --width_multiplier to be above 0 and at most 16. Received: 0"),
        ({"bn_momentum": 1.0}, "Expected --bn_momentum to be at least 0 and below 1"),
        ({"dropout_rate": -0.1}, "Expected --dropout_rate"),
    ],
)
def test_scales_that_cannot_be_built_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Scale(**settings)


@pytest.mark.parametrize("base", BASES)
def test_the_space_around_a_published_network_has_it_and_each_of_its_blocks(base):
    from mnas_tf import _networks

    parent = _networks.architecture(base)
    assert tuple((block.filters, block.repeats) for block in parent.blocks) == BASES[base]
    space = MnasNetSpace(**SPACE.settings_for_blocks(parent, 224))
    check_parent(space, parent)
    assert space.decode(space.encode(parent)) == parent
    assert MnasNetSpace(**SPACE.settings_around(parent)).encode(parent)
    with pytest.raises(UserError, match=r"have 32 stem filters\. Received: 8"):
        check_parent(space, _networks.architecture("mnasnet_small"))
    with pytest.raises(UserError, match=r"Decision 'block1/kernel_size' .* has the choices \(7,\)"):
        check_parent(MnasNetSpace(base=base, kernel_sizes=(7,)), parent)


def test_settings_of_the_space_are_checked():
    with pytest.raises(
        UserError, match=r"--mnasnet_base to be one of mobilenet_v2, mnasnet_a1, .*efficientnet_lite4. Received: resnet"
    ):
        MnasNetSpace(base="resnet")
    for sizes in ((), (3, 3), (4,), (0,)):
        with pytest.raises(UserError, match=r"Expected odd kernel sizes, each once, as 3,5,7"):
            MnasNetSpace(kernel_sizes=sizes)
    assert MnasNetSpace(kernel_sizes=[3, 5]) == SPACE  # as a run's config.json gives them


def test_width_multiplier_rounds_to_eights_and_leaves_no_layer_ten_percent_short():
    half, third = Scale(width_multiplier=0.5), Scale(width_multiplier=0.35)
    assert [half.filters(n) for n in (16, 24, 40, 80, 112)] == [8, 16, 24, 40, 56]
    assert [third.filters(n) for n in (16, 32, 96, 320)] == [8, 16, 32, 112]  # 11.2 is not 8: that would be 29 % less
    assert [Scale().filters(n) for n in (12, 18, 36)] == [12, 18, 36]


def test_skips_are_the_same_at_every_width():
    network = MnasNet.parse("r1_k3_s11_e1_i32_o36 r2_k3_s11_e3_i36_o36")
    for width in (0.25, 1.0):  # at 0.25 both 32 and 36 become 8
        model = build(network, Scale(16, 2, width))
        assert layers_like(model, ".*_add") == ["block2_layer1_add", "block2_layer2_add"]


def test_squeeze_filters_follow_the_layers_own_input():
    model = build(MnasNet.parse("r2_k3_s11_e6_i32_o64_se0.25 r1_k3_s11_e1_i64_o48_se0.25_conv"), Scale(16, 2))
    squeezes = [model.get_layer(name).filters for name in layers_like(model, ".*_se_squeeze")]
    assert squeezes == [8, 16, 16]  # a quarter of 32, 64 and 64


def test_regular_convolution_has_one_convolution_a_layer():
    model = build(MnasNet.parse("r2_k5_s22_e1_i8_o12_conv"), Scale(16, 2))
    assert [layer.kernel.shape for layer in model.layers if re.fullmatch("block.*_conv", layer.name)] == [
        (5, 5, 8, 12),
        (5, 5, 12, 12),
    ]
    assert layers_like(model, ".*_add") == ["block1_layer2_add"]


@SPACES
def test_few_networks_cover_every_choice(space):
    chosen = covering_tokens(space)
    assert len(chosen) <= 12
    assert set().union(*(covered_choices(space, tokens) for tokens in chosen)) == all_choices(space)


def test_covering_networks_train_a_step():
    space = MnasNetSpace(kernel_sizes=(3, 5, 7))
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    for tokens in covering_tokens(space):
        keras.utils.set_random_seed(0)
        model = space.build(space.decode(tokens), TINY)
        before = [np.array(weight) for weight in model.trainable_weights]
        # Eagerly: tracing a step takes 8 s, one step less than 1 s.
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
        assert np.isfinite(model.train_on_batch(images, np.array([1, 7])))
        unmoved = [weight.path for weight, old in zip(model.trainable_weights, before) if np.array_equal(weight, old)]
        # No gradient: a shift that the next normalisation takes away again, or a ReLU that is 0 for both images.
        assert len(unmoved) < 0.1 * len(before), unmoved
        keras.backend.clear_session()


def test_forty_networks_build_and_values_differ_where_the_graphs_do():
    generator = np.random.default_rng(3)
    for space in (SPACE, A1_SPACE):
        for tokens in random_tokens(space, 10, seed=4):
            index = int(generator.integers(len(tokens)))
            other = (tokens[index] + 1) % space.num_choices[index]
            neighbour = (*tokens[:index], other, *tokens[index + 1 :])
            ours, theirs = (space.decode(each) for each in (tokens, neighbour))
            # At full width: a small multiplier rounds different filters to the same multiple of 8.
            with without_weights():
                graphs = [graph_of(space.build(each, Scale(32, 10))) for each in (ours, theirs)]
            assert (ours == theirs) == (graphs[0] == graphs[1]), f"{ours} | {theirs}"
            keras.backend.clear_session()


def test_smallest_image_builds():
    model = build(ARCHITECTURES["mnasnet_a1"], Scale(1, 2, 0.35))
    assert model.output_shape == (None, 2)


def test_a_space_around_a_parent_keeps_what_can_be_inherited():
    """The operation, squeeze-and-excitation and skip are always the parent's, and the parent is in the space."""
    for name in ("efficientnet_lite0", "mnasnet_a1"):
        parent = ARCHITECTURES[name]
        around = MnasNetSpace().settings_around(parent)
        assert around["base"] == name
        space = MnasNetSpace(**around)
        assert space.decode(space.encode(parent)) == parent
        rng = np.random.default_rng(0)
        for _ in range(20):
            tokens = tuple(int(rng.integers(choices)) for choices in space.num_choices)
            found = space.decode(tokens)
            assert space.decode(space.encode(found)) == found
            for block, theirs in zip(found.blocks, parent.blocks):
                assert (block.op, block.se_ratio) == (theirs.op, theirs.se_ratio)
                assert block.skip in (theirs.skip, "identity", "none")  # never an average pool
    assert MnasNetSpace(around="none").num_choices == MnasNetSpace().num_choices
    with pytest.raises(UserError, match="of 7 blocks"):
        MnasNetSpace(around="r1_k3_s11_e1_i32_o16")
