"""Published networks with published weights: what Keras and real images say of them, and what is refused."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
from image_support import TEST_SIZES, TRAIN_SIZES, write_images
from keras import applications
from seeded_weights import timm_logits, write_keras, write_timm
from support import ROOT, eagerly
from weightless import without_weights, zeros_at_first

from mnas_tf import _networks, pretrained, published
from mnas_tf.family import FAMILY
from mnas_tf.spaces.mnasnet import MnasNet, Scale
from mnas_tf.train import Settings, train
from nas_tf.apps import train as command
from nas_tf.networks import weights
from nas_tf.networks.description import NetworkDescription
from nas_tf.networks.folder import write_description
from nas_tf.trial import UserError

LITE0 = ROOT.parent / "shared" / "data" / "pretrained" / "efficientnet_lite0_imagenet.safetensors"
KERAS = {
    "mobilenet_v2": applications.MobileNetV2,
    "mobilenet_v3_small": applications.MobileNetV3Small,
    "mobilenet_v3_large": applications.MobileNetV3Large,
    "efficientnet_b0": applications.EfficientNetB0,
    "nasnet_mobile": applications.NASNetMobile,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    zeros_at_first(monkeypatch)
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """Gives the path of seeded weights for 3 classes, written as the publisher of the network with that name does."""
    folder = tmp_path_factory.mktemp("published")

    @functools.cache
    def made(name):
        return write(name, folder / f"{name}{'.h5' if name in KERAS else '.safetensors'}", classes=3)

    return made


def write(name, path, classes):
    with without_weights():
        if name in KERAS:
            write_keras(path, KERAS[name](input_shape=(32, 32, 3), weights=None, classes=classes))
        else:
            write_timm(
                path, _networks.whole(_networks.weights_name(name), published.scale_for(name, Scale(32, classes)))
            )
    return path


def sums(arrays):
    """The sums of arrays, sorted: they tell whether weights are the same, whatever their order and layout."""
    return sorted(float(array.sum(dtype="float64")) for array in arrays)


# One of each kind; the others are larger ones of the same kinds, and take a minute.
QUICK = ("mobilenet_v3_small", "mnasnet_small", "mobilenet_v4_conv_s", "mobilenet_v2", "efficientnet_lite0")
EACH = [each if each in QUICK else pytest.param(each, marks=pytest.mark.storm) for each in pretrained.NAMES]


@pytest.mark.parametrize("name", EACH)
def test_every_network_has_the_weights_of_its_file_but_for_a_new_classifier(name, file_of):
    path = file_of(name)
    model = pretrained.build(name, Scale(32, 5), path)
    head = model.layers[-1]
    assert isinstance(head, keras.layers.Dense) and head.name == "predictions" and head.dtype == "float32"
    assert head.activation is keras.activations.softmax and model.output_shape == (None, 5)
    found = [array for layer in model.layers[:-1] if "normalization" not in layer.name for array in layer.get_weights()]
    if name in KERAS:
        theirs = weights.read(path)
        expected = [array for each, arrays in theirs.items() if "normalization" not in each for array in arrays]
        expected = expected[:-2]  # the classifier's
        for layer in model.layers[:-1]:
            for ours, their in zip(layer.get_weights(), theirs.get(layer.name, [])):
                np.testing.assert_array_equal(ours, their)
    else:
        shapes = {key: each.shape for key, each in _networks._pytorch_weights.read_tensors(path).items() if each.shape}
        drawn = timm_logits.draw_weights(shapes)
        expected = [array for key, array in drawn.items() if not key.startswith("classifier")]
    np.testing.assert_allclose(sums(found), sums(expected), rtol=0, atol=1e-6)  # float64 sums of the same numbers


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_mobilenet_v2_is_keras_with_keras_weights(width, tmp_path):
    theirs = applications.MobileNetV2((64, 64, 3), width, weights=None, classes=5, classifier_activation=None)
    path = tmp_path / "mobilenet_v2.h5"
    write_keras(path, theirs, rename={"predictions": "Logits", "Conv1": "conv_0"})  # old files have such names
    theirs.load_weights(path)
    ours = published.MobileNetV2((64, 64, 3), width, weights=path, classes=5, classifier_activation=None)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    expected = np.asarray(theirs(images))
    assert expected.std(axis=0).max() > 0.1  # the images differ
    np.testing.assert_allclose(ours(images), expected, rtol=0, atol=1e-5)  # float32, scores near 1
    assert any(layer.name == "block1_layer1_depthwise_conv" for layer in ours.layers)


def test_mobilenet_v3_takes_the_images_of_this_house(tmp_path):
    theirs = applications.MobileNetV3Small((64, 64, 3), weights=None, classes=5)
    path = tmp_path / "mobilenet_v3.h5"
    write_keras(path, theirs, gain=3)
    theirs.load_weights(path)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    expected = np.asarray(theirs(127.5 * images + 127.5))  # Keras's takes pixels from 0 to 255
    assert expected.std(axis=0).max() > 0.01
    ours = pretrained.build("mobilenet_v3_small", Scale(64, 5), path)
    np.testing.assert_allclose(ours(images), expected, rtol=0, atol=1e-5)  # float32 probabilities
    ours.save(tmp_path / "ours.keras")  # read by name, where Keras has built others of the kind in between
    again = published.MobileNetV3Small((64, 64, 3), classes=5, weights=tmp_path / "ours.keras")
    np.testing.assert_array_equal(again(images), ours(images))
    features = published.MobileNetV3Small((64, 64, 3), include_top=False, weights=path)
    assert features.output_shape == (None, 2, 2, 576)
    for name in ("conv", "conv_1"):
        np.testing.assert_array_equal(features.get_layer(name).get_weights()[0], ours.get_layer(name).get_weights()[0])


def test_efficientnet_b0_is_keras_with_its_own_weights(tmp_path, monkeypatch):
    """Keras builds one layer more where it has ImageNet's weights, so it is given them at their own address."""
    from keras.src.applications import efficientnet

    path = tmp_path / "efficientnetb0.h5"
    with without_weights():
        write_keras(path, applications.EfficientNetB0(weights=None, include_top=False), gain=2)
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *_, **__: str(path))
    theirs = applications.EfficientNetB0(weights="imagenet", include_top=False, input_shape=(64, 64, 3))
    ours = published.EfficientNetB0((64, 64, 3), include_top=False, weights=path)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    expected = np.asarray(theirs(127.5 * images + 127.5))
    assert expected.std(axis=0).max() > 0.02  # the images differ
    np.testing.assert_allclose(ours(images), expected, rtol=0, atol=1e-5 * expected.max())  # float32 of 80 layers


@pytest.mark.skipif(not LITE0.is_file(), reason=f"needs {LITE0.name}")
def test_real_weights_know_real_images():
    from PIL import Image
    from sklearn.datasets import load_sample_images

    images = [Image.fromarray(image).resize((224, 224), Image.BICUBIC) for image in load_sample_images().images]
    images = np.stack([np.asarray(image) for image in images]).astype("float32") / 127.5 - 1
    scores = np.asarray(pretrained.build("efficientnet_lite0", Scale(), LITE0)(images))
    # With these scores where timm 1.0.31 read the weights.
    assert list(scores.argmax(axis=1)) == [442, 985]
    np.testing.assert_allclose(scores.max(axis=1), [0.2330, 0.1556], rtol=0, atol=1e-4)


def test_the_weights_decide_how_a_network_is_built():
    for name, expected in (
        ("mnasnet_a1", ("symmetric", 1e-5, "relu", "imagenet")),
        ("efficientnet_lite3", ("same", 1e-3, "relu6", "none")),
        ("mobilenet_v2", ("same", 1e-3, "relu6", "none")),
        ("mobilenet_v4_conv_m", ("symmetric", 1e-5, "relu", "imagenet")),
        (published.architecture("efficientnet_lite4"), ("same", 1e-3, "relu6", "none")),
        (MnasNet.parse("r1_k3_s11_e1_i8_o8 head32"), ("symmetric", 1e-5, "relu", "imagenet")),
    ):
        scale = published.scale_for(name, Scale(64, 7, bn_epsilon=0.5))
        assert (scale.padding, scale.bn_epsilon, scale.activation, scale.input_normalization) == expected
        assert (scale.image_size, scale.num_classes) == (64, 7)
    half = published.scale_for("mobilenet_v4_conv_s", Scale(width_multiplier=0.5))  # trained on [-1, 1]
    assert (half.padding, half.input_normalization) == ("symmetric", "none")


def test_weights_that_do_not_fit_are_refused(file_of, tmp_path):
    lite1, small = file_of("efficientnet_lite1"), file_of("mobilenet_v3_small")
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(small.read_bytes()[:9999])
    (tmp_path / "damaged.safetensors").write_bytes(lite1.read_bytes()[:9999])
    for name, path, words in (
        ("efficientnet_lite0", lite1, r"weights of this network. Received: .*lite1.safetensors, of another"),
        ("mobilenet_v3_large", small, r"of another: it has \d+ layers with weights, this one \d+"),
        ("efficientnet_b0", small, "which begin with mean .* begins otherwise"),
        ("efficientnet_lite0", small, r"Expected timm's weights, a .safetensors file, for efficientnet_lite0"),
        ("mobilenet_v2", lite1, r"Expected keras.applications' weights, a .h5 file, for mobilenet_v2"),
        ("mobilenet_v3_small", damaged, "damaged.h5 is damaged, or no file of Keras"),
        ("efficientnet_lite0", tmp_path / "damaged.safetensors", "is damaged, or no safetensors file"),
        ("mobilenet_v3_small", tmp_path / "gone.h5", "There is no file .*gone.h5"),
        ("efficientnet_lite0", tmp_path / "gone.safetensors", "There is no file .*gone.safetensors"),
        ("resnet", lite1, r"with published weights, one of mobilenet_v3_small, .* Received: 'resnet'"),
    ):
        with pytest.raises(UserError, match=words) as refused, without_weights():
            pretrained.build(name, Scale(32, 3), path)
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match=r"mobilenet_v3_small for images of 32 px or more. Received: image_size=24"):
        pretrained.build("mobilenet_v3_small", Scale(24, 3), small)
    with (
        pytest.raises(UserError, match=r"Expected MobileNetV2 as Keras builds it.* of another Scale"),
        without_weights(),
    ):
        weights.load(_networks.whole("mobilenet_v2", Scale(32, 3)), small, reader=_networks.read_weights)
    with pytest.raises(UserError, match=r"efficientnet_b0 has one width, 1. Received: width 0.5"):
        published.EfficientNetB0(alpha=0.5)


def test_a_folder_decides_the_activation_too(tmp_path):
    for theirs, asked, expected in (("relu6", "relu", "relu6"), ("relu", "relu", "relu"), ("relu", "relu6", "relu6")):
        scale = dataclasses.asdict(Scale(activation=theirs, padding="symmetric"))
        write_description(tmp_path, NetworkDescription(text="", scale=scale, class_names=(), dataset={}))
        # relu6 is not the default, so somebody asked for it: loading the weights will refuse that.
        found = command._scale_for(FAMILY, str(tmp_path), None, Scale(activation=asked))
        assert (found.activation, found.padding) == (expected, "symmetric")


@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly`")
def test_a_training_builds_the_network_as_its_weights_need_it(file_of, tmp_path):
    for split, sizes in (("train", TRAIN_SIZES), ("test", TEST_SIZES)):
        write_images(tmp_path / split, split, sizes)
    common = {"evaluate_only": True, "image_size": 32, "data_dir": str(tmp_path)}
    common["initial_weights"] = str(file_of("efficientnet_lite0"))
    with eagerly():
        accuracies = train(Settings(architecture="efficientnet_lite0", **common), say=lambda _: None)
    assert set(accuracies) == {"validation", "test"}
    for settings, words in (
        (Settings(architecture="mobilenet_v2", **common), r"Expected keras.applications' weights, a .h5 file"),
        (Settings(architecture="mnasnet_a1", activation="relu6", **common), r"network with ReLU.*--activation=relu6"),
    ):
        with pytest.raises(UserError, match=words):
            train(settings, say=lambda _: None)
