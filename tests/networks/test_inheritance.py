"""Children begin with their parent's weights: growth keeps the function, shrinking more of it than the naive way."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from weightless import without_weights

from mnas_tf.spaces.mnasnet import MnasNet, MnasNetSpace, Scale, build
from mnas_tf.spaces.proxylessnas import SPACE as PROXYLESSNAS
from nas_tf.networks import _channels, _least_squares, inheritance
from nas_tf.networks.inheritance import Parent
from nas_tf.trial import UserError

# Maps of 18, 9, 5 and 3 px behind 36 px: strides of 2 on even and on odd sizes, which "same" pads otherwise, and a
# kernel of 1 not at the middle of one of 5. Blocks 3 and 4 add up to the same channels.
PARENT = MnasNet.parse(
    "r1_k3_s11_e1_i8_o6_noskip r2_k1_s22_e3_i6_o8 r2_k5_s22_e3_i8_o8_se0.25 r2_k3_s11_e1_i8_o8_conv "
    "r2_k5_s22_e3_i8_o12_pool head24"
)
SPACE, STYLE = MnasNetSpace(), Scale(image_size=36, num_classes=5, activation="relu6", bn_momentum=0.1)
# Sums of float32 in another order: 6e-8 of each, through 40 layers whose outputs are of size 1. And 1e-6 that an added
# plain convolution adds, for its ReLU.
SAME_FUNCTION = 1e-5


def images(count, seed, size=36):
    """Smooth random images in [-1, 1]: neighbouring pixels resemble one another, as in photographs."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 6, 6, 3))
    return keras.ops.convert_to_numpy(keras.ops.image.resize(coarse, (size, size))).astype("float32")


def lively(network, size, seed=0):
    """`network` with gammas and betas all different, and statistics near its own maps', as training leaves it."""
    random = np.random.default_rng(seed)
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        shape = layer.gamma.shape
        gamma = random.uniform(0.5, 1.5, shape) * random.choice([-1, 1], shape)
        layer.set_weights([gamma, random.normal(0, 0.5, shape), np.zeros(shape), np.ones(shape)])
    for _ in range(2):
        network(images(16, 3, size), training=True)
    for layer in norms:
        gamma, beta, mean, variance = layer.get_weights()
        shaken = random.uniform(0.8, 1.25, (2, *mean.shape))
        layer.set_weights([gamma, beta, mean * shaken[0], variance * shaken[1]])
    for layer in network.layers:
        if layer.name.endswith(("_squeeze", "_excite", "predictions")):
            layer.set_weights([random.normal(0, 0.5, w.shape) for w in layer.weights])
    return network


@functools.cache
def parent_at(scale):
    keras.utils.set_random_seed(0)  # its kernels are drawn: the same ones in whatever order tests run
    return Parent(lively(build(PARENT, scale), scale.image_size), images(32, seed=1, size=scale.image_size))


def with_blocks(architecture, **changes):
    """`architecture` with other fields of blocks, as block2={"kernel_size": 5}, and the filters that these ask for."""
    blocks, filters = [], architecture.stem_filters
    for number, block in enumerate(architecture.blocks, 1):
        blocks.append(dataclasses.replace(block, input_filters=filters, **changes.get(f"block{number}", {})))
        filters = blocks[-1].filters
    return MnasNet(tuple(blocks), architecture.head_filters)


def inherited(child, parent, scale, architecture=PARENT):
    """The network of a child that has inherited, and what it says."""
    network = build(child, scale)
    return network, inheritance.inherit(network, parent, SPACE.counterparts(child, architecture))


def outputs(network, count=16, seed=2, size=36):
    return np.asarray(network(images(count, seed, size)))


def test_the_parent_itself_is_reproduced_bitwise():
    parent = parent_at(STYLE)
    network, said = inherited(PARENT, parent, STYLE)
    for ours, theirs in zip(network.get_weights(), parent.network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert said == inheritance.Inherited() and str(said) == "the parent's weights as they are"


GROWTHS = {
    "kernels": {f"block{n}": {"kernel_size": 7 if n in (3, 5) else 5} for n in range(1, 6)},
    "layers": {f"block{n}": {"repeats": 3} for n in (2, 3, 4)},
    "hidden channels": {f"block{n}": {"expansion_ratio": 7} for n in (2, 3, 5)},
    "filters": {f"block{n}": {"filters": filters} for n, filters in enumerate((7, 15, 12, 12, 18), 1)},
    "squeezes": {f"block{n}": {"se_ratio": 0.5} for n in (1, 2, 5)},
}
ALL = {
    f"block{n}": {k: v for each in GROWTHS.values() for k, v in each.get(f"block{n}", {}).items()} for n in range(1, 6)
}
SYMMETRIC = dataclasses.replace(STYLE, padding="symmetric")
RELU = dataclasses.replace(STYLE, activation="relu")


@pytest.mark.parametrize(
    "scale,changes",
    [(STYLE, changes) for changes in GROWTHS.values()]
    + [(STYLE, ALL), (SYMMETRIC, ALL), (RELU, {"block4": {"se_ratio": 0.25}})],
    ids=[*GROWTHS, "all", "all, symmetric padding", "squeeze behind a plain convolution"],
)
def test_what_grows_keeps_the_function(scale, changes):
    parent = parent_at(scale)
    network, said = inherited(with_blocks(PARENT, **changes), parent, scale)
    asked = outputs(parent.network.model)
    assert asked.std(0).max() > 0.05  # the images do not all look alike to the parent
    np.testing.assert_allclose(outputs(network), asked, atol=SAME_FUNCTION, rtol=0)
    assert said.changed or said.new


def test_a_wider_network_keeps_the_function():
    parent = parent_at(STYLE)
    wide = dataclasses.replace(STYLE, width_multiplier=1.5, filter_multiple=1)
    network, said = inherited(MnasNet(PARENT.blocks, head_filters=30), parent, wide)
    np.testing.assert_allclose(outputs(network), outputs(parent.network.model), atol=SAME_FUNCTION, rtol=0)
    assert {"stem: filters 8 to 12", "head: filters 24 to 30"} <= set(said.changed) and not said.new


def test_a_new_layer_and_a_new_squeeze_can_learn():
    parent = parent_at(STYLE)
    changes = {f"block{n}": {"repeats": 3} for n in (2, 4)} | {"block1": {"se_ratio": 0.5}}
    network, _ = inherited(with_blocks(PARENT, **changes), parent, STYLE)
    layers = {layer.name: layer for layer in network.layers}
    variables = [layers[f"block{n}_layer3_{bn}"].gamma for n, bn in ((2, "project_bn"), (4, "bn"))]
    variables.append(layers["block1_layer1_se_excite"].kernel)
    with tf.GradientTape() as tape:
        loss = -keras.ops.mean(keras.ops.log(network(images(16, 2))[:, 0]))
    for gradient in tape.gradient(loss, [each.value for each in variables]):
        assert np.abs(gradient).max() > 1e-6  # far above what float32 leaves of 0


def test_copies_of_a_channel_do_not_remain_copies():
    random = np.random.default_rng(0)
    source = np.array([0, 1, 2, 1, 1])
    shares = _channels.shares(source, 4, random)
    np.testing.assert_allclose(shares[[1, 3, 4]].sum(0), 1, rtol=1e-15)
    assert (shares[[0, 2]] == 1).all()
    assert len(np.unique(shares[[1, 3, 4]])) == 12


def naive(network, parent, block):
    """Sets hidden channels of a block by gamma x L1 of the projection, and the centre of its kernels."""
    theirs = {layer.name: layer for layer in parent.layers}
    ours = {layer.name: layer for layer in network.layers}
    for layer in ours.values():
        if not layer.name.startswith(block):
            layer.set_weights(theirs[layer.name].get_weights())
    for name in (f"{block}_layer1", f"{block}_layer2"):
        gamma = theirs[f"{name}_depthwise_bn"].get_weights()[0]
        project = theirs[f"{name}_project_conv"].get_weights()[0]
        size, _, hidden, _ = ours[f"{name}_depthwise_conv"].kernel.shape
        keep = np.sort(np.argsort(-np.abs(project).sum((0, 1, 3)) * np.abs(gamma))[:hidden])
        for part in ("expand_bn", "depthwise_bn"):
            ours[f"{name}_{part}"].set_weights([each[keep] for each in theirs[f"{name}_{part}"].get_weights()])
        ours[f"{name}_expand_conv"].set_weights([theirs[f"{name}_expand_conv"].get_weights()[0][..., keep]])
        taps = theirs[f"{name}_depthwise_conv"].get_weights()[0]
        border = (len(taps) - size) // 2
        taps = taps[border : border + size, border : border + size, keep]
        ours[f"{name}_depthwise_conv"].set_weights([taps])
        ours[f"{name}_project_conv"].set_weights([project[:, :, keep]])
        ours[f"{name}_project_bn"].set_weights(theirs[f"{name}_project_bn"].get_weights())


@pytest.mark.parametrize(
    "block,change", [(2, {"expansion_ratio": 2}), (5, {"expansion_ratio": 2}), (5, {"kernel_size": 3})]
)
def test_what_shrinks_keeps_more_than_the_naive_way(block, change):
    parent = parent_at(STYLE)
    architecture = with_blocks(PARENT, **{f"block{block}": change})
    network, _ = inherited(architecture, parent, STYLE)
    plain = build(architecture, STYLE)
    naive(plain, parent.network.model, f"block{block}")
    asked = outputs(parent.network.model, count=64)
    ours, theirs = (np.square(outputs(each, count=64) - asked).mean() for each in (network, plain))
    assert ours < 0.7 * theirs  # random kernels leave more than trained ones, whose outer taps matter less


def test_what_is_left_out_or_exchanged_is_made_up_for():
    """The further a child is from its parent, the more it says; every kind of change still inherits."""
    parent = parent_at(STYLE)
    changes = {
        "block1": {"filters": 5},
        "block2": {"repeats": 1},
        "block3": {"se_ratio": 0.0, "filters": 7, "skip": "none"},
        "block4": {"filters": 7},
        "block5": {"filters": 9, "skip": "identity"},
    }
    network, said = inherited(with_blocks(PARENT, **changes), parent, STYLE)
    assert said.new == ()
    assert said.changed == (
        "block1_layer1: filters 6 to 5",
        "block2_layer1: hidden channels 18 to 15, in place of block2_layer2 too",
        "block3_layer1: squeeze-and-excitation removed, filters 8 to 7",
        "block3_layer2: hidden channels 24 to 21, squeeze-and-excitation removed, filters 8 to 7, "
        "skip identity to none",
        "block4_layer1: filters 8 to 7",
        "block4_layer2: filters 8 to 7",
        "block5_layer1: hidden channels 24 to 21, filters 12 to 9",
        "block5_layer2: hidden channels 36 to 27, filters 12 to 9, skip pool to identity",
    )
    asked, fresh = outputs(parent.network.model), build(with_blocks(PARENT, **changes), STYLE)
    changed, random = (np.square(outputs(each) - asked).mean() for each in (network, fresh))
    assert changed < random / 2


def test_the_first_layer_stands_for_a_whole_block():
    # With symmetric padding the first has a layer of zeros, for its strides, and the last has none.
    parent = parent_at(SYMMETRIC)
    network, said = inherited(with_blocks(PARENT, block2={"repeats": 1}), parent, SYMMETRIC)
    assert said.changed == ("block2_layer1: in place of block2_layer2 too",) and said.new == ()
    asked = outputs(parent.network.model)
    assert np.square(outputs(network) - asked).mean() < asked.var(0).mean()


def test_a_head_of_other_classes_is_new():
    network, said = inherited(PARENT, parent_at(STYLE), dataclasses.replace(STYLE, num_classes=3))
    assert said.new == ("predictions",) and not said.changed
    theirs = parent_at(STYLE).network.model.get_layer("head_bn").get_weights()
    np.testing.assert_array_equal(network.get_layer("head_bn").get_weights(), theirs)


def new_units(child, parent):
    """Names of what the parent has no weights for: other operations, new squeezes, layers behind an only one."""
    found = set()
    for number, (block, old) in enumerate(zip(child.blocks, parent.blocks), 1):
        for layer in range(1, block.repeats + 1):
            name = f"block{number}_layer{layer}"
            if block.op != old.op or (layer > 1 and old.repeats == 1):
                found.add(name)
            elif block.se_ratio and not old.se_ratio:
                found.add(f"{name}_se")
    return found


def check_random_networks(count, seed):
    space = MnasNetSpace(base="efficientnet_lite0")
    scale = Scale(32, 3, 0.1, filter_multiple=1, least_map_size=3, activation="relu6", bn_momentum=0.1)
    random = np.random.default_rng(seed)

    def draw():
        return space.decode([int(random.integers(each)) for each in space.num_choices])

    parent_architecture = draw()
    parent = Parent(lively(build(parent_architecture, scale), 32), images(16, seed=1, size=32))
    before = parent.network.model.get_weights()
    for _ in range(count):
        architecture = draw()
        network = build(architecture, scale)
        said = inheritance.inherit(network, parent, space.counterparts(architecture, parent_architecture))
        assert set(said.new) == new_units(architecture, parent_architecture)
        scores = outputs(network, count=4, size=32)
        np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)  # a softmax of float32
        assert np.isfinite(network.get_weights()[-1]).all()
    for ours, theirs in zip(parent.network.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_any_network_of_the_space_inherits():
    check_random_networks(3, seed=0)


@pytest.mark.storm
@pytest.mark.parametrize("seed", range(1, 11))
def test_two_hundred_networks_of_the_space_inherit(seed):
    check_random_networks(20, seed)
    keras.backend.clear_session()


@pytest.mark.parametrize(
    "architecture,message",
    [
        (MnasNet(PARENT.blocks[:4]), r"parent with the child's number of blocks, 4. Received: 5. Choose"),
        (
            with_blocks(PARENT, block2={"strides": 1}),
            r"child's strides, \(1, 1, 2, 1, 2\). Received: \(1, 2, 2, 1, 2\)",
        ),
        (MnasNet.parse(str(PARENT).replace("i8_o6", "i9_o6")), r"child's stem filters, 9. Received: 8"),
    ],
)
def test_a_parent_of_another_frame_is_refused(architecture, message):
    with pytest.raises(UserError, match=message):
        SPACE.counterparts(architecture, PARENT)


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"activation": "relu"}, r"child's activation at stem, relu. Received: relu6. Build both"),
        ({"bn_epsilon": 1e-5}, r"child's bn_epsilon at stem, 1e-05. Received: 0.001"),
        ({"padding": "symmetric"}, r"child's padding at stem, symmetric. Received: same"),
        ({"input_normalization": "imagenet"}, r"child's input_normalization, True. Received: False"),
        ({"image_size": 32}, r"child's image size, 32. Received: 36"),
        ({"least_map_size": 4}, r"map size behind block5_layer1 \(its strides\), 5. Received: 3"),
    ],
)
def test_a_parent_of_another_style_is_refused(settings, message):
    with without_weights():  # none is touched
        child = build(PARENT, dataclasses.replace(STYLE, **settings))
    with pytest.raises(UserError, match=message):
        inheritance.inherit(child, parent_at(STYLE), SPACE.counterparts(PARENT, PARENT))


def test_images_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"Expected images \[images, size, size, 3\] .*: shape \(0, 36, 36, 3\)"):
        Parent(parent_at(STYLE).network.model, np.zeros((0, 36, 36, 3), "float32"))


def test_a_space_without_counterparts_says_so():
    with pytest.raises(UserError, match="space 'proxylessnas' cannot begin with the weights of a parent"):
        PROXYLESSNAS.counterparts(PARENT, PARENT)


def test_channels_are_important_as_far_as_no_other_makes_up_for_them():
    random = np.random.default_rng(0)
    x = random.normal(size=(1000, 4)).astype("float32")
    outgoing = np.diag([2.0, 1.0, 4.0, 0.5])
    # Independent channels of one variance: by the size of their weights.
    assert list(_least_squares.importance(x, outgoing, 1e-3)) == [2, 0, 1, 3]
    # Where channel 2 is channel 0 + 1, nothing is lost without one of the three, though channel 3 has less weight.
    x[:, 2] = x[:, 0] + x[:, 1]
    assert list(_least_squares.importance(x, outgoing, 1e-6)).index(3) < 3


@pytest.mark.parametrize("rows", [50, 500])
def test_a_correction_is_ridge_regression(rows):
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(0)
    x, y = random.normal(size=(rows, 80)), random.normal(size=(rows, 3))
    x, y = x - x.mean(0), y - y.mean(0)
    level = 0.1 * rows * np.square(x).mean()
    expected = Ridge(alpha=level, fit_intercept=False, solver="svd").fit(x, y).coef_.T
    # Both solve in float64; the equations' condition is below 1e4.
    np.testing.assert_allclose(_least_squares.correction(x, y, 0.1), expected, rtol=0, atol=1e-9)
    taps = random.normal(size=(5, rows, 9))
    wanted = random.normal(size=(5, rows))
    for found, each, answer in zip(_least_squares.corrections_per_channel(taps, wanted, 0.1), taps, wanted):
        np.testing.assert_allclose(found, _least_squares.correction(each, answer[:, None], 0.1)[:, 0], atol=1e-9)
