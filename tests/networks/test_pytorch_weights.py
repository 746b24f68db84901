"""Weights of timm, of Keras and of this house: carried over exactly, or refused in one line."""

import functools
import json
import pathlib

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file
from seeded_weights import timm_logits, torch_shapes, write_timm
from support import ROOT
from weightless import without_weights, zeros_at_first

from mnas_tf import _pytorch_weights, published
from mnas_tf.spaces import mnasnet
from mnas_tf.spaces.mnasnet import MnasNet, Scale
from nas_tf.complexity import num_params
from nas_tf.devices.table import LatencyTable
from nas_tf.networks import weights
from nas_tf.trial import UserError
from nasnet_tf.spaces import nasnet

DATA = ROOT / "tests" / "data"
NETWORKS = {
    "mnasnet_100": published.MnasNetB1,
    "semnasnet_100": published.MnasNetA1,
    "mnasnet_small": published.MnasNetSmall,
    "tf_efficientnet_lite0": published.EfficientNetLite0,
    "tf_efficientnet_lite1": published.EfficientNetLite1,
    "mobilenetv4_conv_small": published.MobileNetV4ConvS,
    "mobilenetv4_conv_small_050": functools.partial(published.MobileNetV4ConvS, alpha=0.5),
    "mobilenetv4_conv_medium": published.MobileNetV4ConvM,
}
CELLS = nasnet.NASNetSpace(blocks=1).decode((0, 1, 9, 10, 1) * 2)  # a convolution and a separable one, concatenated
TINY = MnasNet.parse("r1_k3_s11_e1_i8_o8 r2_k5_s22_e3_i8_o16_se0.25 head32")


@pytest.fixture(autouse=True)
def clear():
    keras.backend.clear_session()


def load(model, path):
    return weights.load(model, path, reader=_pytorch_weights.read, head="same")


def tiny(num_classes=5, **scale):
    return mnasnet.build(TINY, published.scale_for(TINY, Scale(32, num_classes, **scale)))


@pytest.fixture
def tiny_file(tmp_path):
    with without_weights():
        model = tiny()
    return write_timm(tmp_path / "tiny.safetensors", model)


def shake(model, seed=0):
    """Gives every weight another value, variances positive ones."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.dtype == "float32":
            variable.assign(variable + rng.uniform(0.01, 0.1, variable.shape))
    return model


def same_but(model, other, *names):
    """Asserts that the layers of both have equal weights, those called `names` apart, which differ."""
    for layer in model.layers:
        for ours, theirs in zip(layer.get_weights(), other.get_layer(layer.name).get_weights()):
            equal = ours.shape == theirs.shape and np.array_equal(ours, theirs)
            assert equal == (layer.name not in names), layer.name


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_timms(name, tmp_path, monkeypatch):
    """With weights drawn in PyTorch's layout; the fixture holds but timm's first logits for them."""
    expected = json.loads((DATA / "timm_logits.json").read_text())
    zeros_at_first(monkeypatch)
    with without_weights():
        network = NETWORKS[name]()
    path = write_timm(tmp_path / "weights.safetensors", network)
    model = NETWORKS[name]((None, None, 3), weights=path, classifier_activation=None)
    for size in timm_logits.SIZES:
        logits = np.asarray(model(timm_logits.draw_image(size), training=False))[0, : timm_logits.NUM_LOGITS]
        assert logits.std() > 1
        print(f"{name} at {size} px: largest difference {np.abs(logits - expected[f'{name}@{size}']).max():.1e}")
        np.testing.assert_allclose(logits, expected[f"{name}@{size}"], rtol=0, atol=1e-4)


def test_a_network_without_the_top_leaves_the_classifier(tmp_path):
    with without_weights():
        whole = published.MnasNetSmall((32, 32, 3), classes=3)
    path = write_timm(tmp_path / "small.safetensors", whole)
    features = published.MnasNetSmall((32, 32, 3), include_top=False, weights=path)
    expected = timm_logits.draw_weights(torch_shapes(whole))["blocks.5.2.conv_dw.weight"]
    kernel = features.get_layer("block6_layer3_depthwise_conv").get_weights()[0]  # [5, 5, 528, 1] of [528, 1, 5, 5]
    np.testing.assert_array_equal(kernel, expected.transpose(2, 3, 0, 1))
    with pytest.raises(ValueError, match=r"weights for 1000 classes.*Received: .*small.safetensors, for 3 classes"):
        published.MnasNetSmall((32, 32, 3), weights=path)


def test_layers_that_timm_builds_otherwise_are_refused(tiny_file):
    for text in ("r1_k3_s11_e1_i8_o8_noskip", "r1_k3_s11_e1_i8_o8_pool", "r1_k3_s22_e1_i8_o8_pool"):
        model = mnasnet.build(MnasNet.parse(text), published.scale_for(TINY, Scale(32, 5)))
        with pytest.raises(UserError, match=r"as timm's do. Received: one whose block1_layer1 does not"):
            load(model, tiny_file)


def test_another_head_is_trained_anew(tiny_file):
    model, source = tiny(3), tiny(5)
    load(source, tiny_file)
    told = weights.load(model, tiny_file, reader=_pytorch_weights.read)
    assert told == f"{tiny_file} (head trained anew: the weights have 5 classes, the data 3)"
    same_but(model, source, "predictions")
    assert weights.load(tiny(5), tiny_file, reader=_pytorch_weights.read, head="same") == tiny_file
    with pytest.raises(UserError, match=r"Expected weights for 3 classes, as the data have. Received: .*for 5 classes"):
        weights.load(tiny(3), tiny_file, reader=_pytorch_weights.read, head="same")


def test_files_that_are_not_timms_weights_are_refused(tiny_file, tmp_path):
    content = pathlib.Path(tiny_file).read_bytes()
    for number, damaged in enumerate((content[: len(content) // 2], b"", content[:4], b"\xff" * 100)):
        (tmp_path / f"{number}.safetensors").write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged, or no safetensors file") as refused:
            load(tiny(), tmp_path / f"{number}.safetensors")
        assert "\n" not in str(refused.value)
    save_file({"foreign": np.zeros(3, np.float32)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match=r"of another: it has no conv_stem.weight for layer 'stem_conv'"):
        load(tiny(), tmp_path / "foreign.safetensors")
    for text, words in (
        (str(TINY).replace("r2", "r3"), "of another: it has no blocks.1.2.conv_pw.weight for layer 'block2_layer3_"),
        (str(TINY).replace("r2", "r1"), r"of its tensors have no place here, blocks.1.1.\S+ \(.*\) among them"),
        (str(TINY).replace("o16", "o24"), r"layer 'block2_layer1_project_conv' has \(1, 1, 24, 16\) there"),
        (str(TINY).replace("k5", "k3"), r"layer 'block2_layer1_depthwise_conv' has \(5, 5, 24, 1\) there"),
    ):
        with pytest.raises(UserError, match=words):
            other = mnasnet.build(MnasNet.parse(text), published.scale_for(TINY, Scale(32, 5)))
            load(other, tiny_file)
    with pytest.raises(UserError, match=r"8 of its tensors have no place here, blocks.1.0.se.conv_\w+.\w+ \(.*\)"):
        load(tiny(squeeze_excite=False), tiny_file)
    with pytest.raises(UserError, match=r"There is no file 'gone.safetensors'"):
        load(tiny(), "gone.safetensors")
    with pytest.raises(UserError, match=r"Build it with padding='symmetric', bn_epsilon=1e-5, input_normalization"):
        load(mnasnet.build(TINY, Scale(32, 5)), tiny_file)
    with pytest.raises(UserError, match=r"a network that timm has. Received: one with layer 'block1_layer1_conv'"):
        conv = MnasNet.parse("r1_k3_s11_e1_i8_o8_conv")
        load(mnasnet.build(conv, published.scale_for(TINY, Scale(32, 5))), tiny_file)


@pytest.mark.parametrize("form", ["folder", ".weights.h5"])
def test_weights_of_this_house(form, tmp_path):
    source = shake(mnasnet.build(TINY, Scale(32, 5)))
    path = tmp_path if form == "folder" else tmp_path / "model.weights.h5"
    if form == "folder":
        source.save(path / "model.keras")
        told = weights.load(mnasnet.build(TINY, Scale(32, 5)), path / "model.keras")
        assert told == str(path / "model.keras")
    else:
        source.save_weights(path)
    model = mnasnet.build(TINY, Scale(64, 5, dropout_rate=0.0, bn_momentum=0.9))
    assert weights.load(model, path, head="same") == str(path)
    same_but(model, source)
    model = mnasnet.build(TINY, Scale(64, 7))
    assert weights.load(model, path) == f"{path} (head trained anew: the weights have 5 classes, the data 7)"
    same_but(model, source, "predictions")
    with pytest.raises(UserError, match=r"Expected weights for 7 classes, as the data have. Received: .*for 5 classes"):
        weights.load(model, path, head="same")
    wide, short = MnasNet.parse(str(TINY).replace("o16", "o24")), MnasNet.parse(str(TINY).replace("r2", "r1"))
    long = MnasNet.parse(str(TINY).replace("r2", "r3"))
    for other, words in (
        (wide, r"layer 'block2_layer1_project_conv' has \(1, 1, 24, 16\) there, \(1, 1, 24, 24\) here"),
        (short, r"layer 'block2_layer2_expand_\w+' (has .* there, no weights here|\(Conv2D\) is there and not here)"),
        (long, r"layer 'block2_layer3_expand_conv' (has no weights there|\(Conv2D\) is here and not there)"),
    ):
        model = mnasnet.build(other, Scale(32, 5))
        before = [each.copy() for each in model.get_weights()]
        with pytest.raises(UserError, match=words) as refused:
            weights.load(model, path)
        assert "\n" not in str(refused.value)
        assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights()))  # all or nothing
    if form == "folder":
        for scale, words in (
            ({"bn_epsilon": 1e-5}, "layer 'stem_bn' has epsilon=0.001 there, 1e-05 here"),
            ({"activation": "relu6"}, "layer 'stem_relu' has max_value=null there, 6.0 here"),
            ({"padding": "symmetric"}, r"layer 'stem_pad' \(ZeroPadding2D\) is here and not there"),
        ):
            with pytest.raises(UserError, match=words):
                weights.load(mnasnet.build(TINY, Scale(32, 5, **scale)), path)


def test_an_auxiliary_head_keeps_its_own_weights(tmp_path):
    source = shake(nasnet.build(CELLS, nasnet.Scale(32, 5, 1, 8, "cifar")))
    source.save(tmp_path / "ships.keras")
    scale = nasnet.Scale(32, 5, 1, 8, "cifar", auxiliary_head=True, drop_path_keep=0.6)
    model = nasnet.build(CELLS, scale)
    assert weights.load(model, tmp_path / "ships.keras", head="same") == str(tmp_path / "ships.keras")
    same_but(source, model)
    shake(model, 1).save_weights(tmp_path / "trains.weights.h5")
    weights.load(source, tmp_path / "ships.keras")
    with pytest.raises(UserError, match=r"layer 'auxiliary_\w+' has .* there, no weights here"):
        weights.load(source, tmp_path / "trains.weights.h5")


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_damaged_files_are_refused(name, tmp_path):
    path = tmp_path / name
    model = mnasnet.build(TINY, Scale(32, 5))
    model.save(path) if name == "model.keras" else model.save_weights(path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no weights", content[: len(content) // 3] + bytes(5000)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged, or no file of Keras: ") as refused:
            weights.load(model, path)
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match=r"Expected weights. There is no file '.*gone.keras'"):
        weights.load(model, tmp_path / "gone.keras")
    with pytest.raises(UserError, match=r"Expected weights: the folder of .* Received: 'gone.ckpt'"):
        weights.load(model, "gone.ckpt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"There is no file '.*empty/model.keras'"):
        weights.load(model, tmp_path / "empty")


def test_networks_for_int8():
    with without_weights():
        plain = published.build("mnasnet_small", Scale(32, 10))
        quantised = published.build("mnasnet_small", Scale(32, 10, activation="relu6", squeeze_excite=False))
        squeezing = mnasnet.build(TINY, Scale(32, 10, activation="relu6")).get_layer("block2_layer1_se_squeeze")
        cells = nasnet.build(CELLS, nasnet.Scale(32, 5, 1, 8, "cifar", auxiliary_head=True, activation="relu6"))
    relus = [layer for layer in quantised.layers if isinstance(layer, keras.layers.ReLU)]
    assert relus and all(layer.max_value == 6 for layer in relus)
    assert not any("_se_" in layer.name for layer in quantised.layers)
    squeezes = sum(layer.count_params() for layer in plain.layers if "_se_" in layer.name)
    assert squeezes > 0 and num_params(quantised) == num_params(plain) - squeezes
    assert squeezing.activation is keras.activations.relu6
    relus = [layer for layer in cells.layers if isinstance(layer, keras.layers.ReLU)]
    assert relus and all(layer.max_value == 6 for layer in relus)


def test_symmetric_padding_keeps_the_sizes():
    for size in (1, 7, 32, 33):
        with without_weights():
            same, symmetric = (mnasnet.build(TINY, Scale(size, 5, padding=each)) for each in ("same", "symmetric"))
        assert [layer.name for layer in symmetric.layers if isinstance(layer, keras.layers.ZeroPadding2D)] == [
            "stem_pad",
            "block2_layer1_depthwise_pad",
        ]
        for layer in same.layers:
            assert symmetric.get_layer(layer.name).output.shape == layer.output.shape
    with pytest.raises(UserError, match=r"Symmetric padding needs odd kernels. Received: block1_layer1 with kernel_si"):
        mnasnet.build(MnasNet.parse("r1_k2_s11_e1_i8_o8_conv"), Scale(8, 5, padding="symmetric"))


def test_imagenets_mean_and_deviation():
    model = mnasnet.build(TINY, Scale(8, 5, input_normalization="imagenet"))
    pixels = np.arange(8 * 8 * 3, dtype="float32").reshape(1, 8, 8, 3)
    expected = (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    found = model.get_layer("imagenet_normalization")(pixels / 127.5 - 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_latency_tables_are_of_the_usual_networks():
    no_squeeze = Scale(96, 10, squeeze_excite=False)
    assert mnasnet.SPACE.latency_scale(no_squeeze) == {"image_size": 96, "num_classes": 10, "width_multiplier": 1.0}
    usual = {unit.name for unit in mnasnet.SPACE.all_units(Scale(96, 10))}
    assert {unit.name for unit in mnasnet.SPACE.all_units(no_squeeze)} < usual
    for other in ({"activation": "relu6"}, {"padding": "symmetric"}, {"input_normalization": "imagenet"}):
        assert mnasnet.SPACE.latency_scale(Scale(96, 10, **other))["style"] == other
        table = LatencyTable("mnasnet", mnasnet.SPACE.latency_scale(Scale(96, 10)), {}, 0.0, {})
        with pytest.raises(UserError, match=r"in the style {.*}, as their weights need it. Received: one for the def"):
            table.check(mnasnet.SPACE, mnasnet.SPACE.latency_scale(Scale(96, 10, **other)))
    padded = {unit.kind: unit for unit in mnasnet.SPACE.all_units(Scale(96, 10, padding="symmetric"))}
    assert any("ZeroPadding2D" in type(layer).__name__ for layer in padded["stem"].build().layers)
    normalized = {unit.kind: unit for unit in mnasnet.SPACE.all_units(Scale(96, 10, input_normalization="imagenet"))}
    assert "imagenet_normalization" in [layer.name for layer in normalized["stem"].build().layers]
    with pytest.raises(UserError, match=r"A latency table is of networks with ReLU. Received: activation=relu6"):
        nasnet.SPACE.latency_scale(nasnet.Scale(activation="relu6"))


def test_settings_that_do_not_exist_are_refused():
    for name in ("padding", "input_normalization", "activation", "squeeze_excite"):
        with pytest.raises(UserError, match=f"Expected --{name} to be (one of .*|true or false). Received: other"):
            Scale(**{name: "other"})
    with pytest.raises(UserError, match=r"Expected --activation to be one of relu, relu6. Received: gelu"):
        nasnet.Scale(activation="gelu")


def test_probabilities_stay_float32_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        assert mnasnet.build(TINY, Scale(32, 5)).output.dtype == "float32"
        cells = nasnet.build(CELLS, nasnet.Scale(32, 5, 1, 8, "cifar", auxiliary_head=True))
        assert [output.dtype for output in cells.outputs] == ["float32", "float32"]
    finally:
        keras.mixed_precision.set_global_policy("float32")
