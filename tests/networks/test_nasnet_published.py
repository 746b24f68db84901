"""The published NASNet-As: counts, the outputs of `keras.applications` with its weights, the functions' promises."""

import functools
import json
import shutil

import keras
import numpy as np
import pytest
from nasnet_support import images, shake
from weightless import without_weights

from nas_tf.complexity import mult_adds, num_params
from nas_tf.networks import weights as house
from nas_tf.trial import UserError
from nasnet_tf import _keras_weights, published
from nasnet_tf.spaces.nasnet import NASNet, Scale


@pytest.fixture(autouse=True)
def clear():
    keras.backend.clear_session()


# Parameters: FACTS of keras.applications, moving statistics included. Multiply-adds: the paper's table 2.
@pytest.mark.parametrize(
    "ours,theirs,params,millions,size",
    [
        (published.NASNetAMobile, keras.applications.NASNetMobile, 5_326_716, 564, 224),
        pytest.param(
            published.NASNetALarge,
            keras.applications.NASNetLarge,
            88_949_818,
            23_800,
            331,
            marks=pytest.mark.storm,
        ),
    ],
)
def test_it_is_the_network_of_keras(ours, theirs, params, millions, size):
    model, reference = ours(), theirs(weights=None)
    assert model.count_params() == params == reference.count_params()
    assert mult_adds(model) == pytest.approx(1e6 * millions, rel=0.02)
    shake(reference)
    _keras_weights.carry_over(reference, model)
    pictures = images(1, size)
    expected = np.asarray(reference(pictures, training=False))
    assert expected.std() > 1e-5  # not the even scores of a network that lost its input
    np.testing.assert_allclose(np.asarray(model(pictures, training=False)), expected, atol=1e-4)


def test_cifar_counts():
    # 3.3 M: the paper's table 1. 28.07 M and 32.44 M: Keras's cells with a CIFAR stem; the paper prints 27.6 M for
    # 7 @ 2304, which is near 6 @ 2304.
    for (cells, penultimate), millions in (((6, 768), 3.3), ((6, 2304), 28.07), ((7, 2304), 32.44)):
        with without_weights():
            model = published.NASNetACifar(cells=cells, penultimate_filters=penultimate)
        assert num_params(model) == pytest.approx(1e6 * millions, rel=0.02)
    with pytest.raises(ValueError, match=r"a multiple of 24.*Received: penultimate_filters=100"):
        published.NASNetACifar(penultimate_filters=100)


@pytest.fixture(scope="module")
def reference():
    """Keras's NASNetMobile for three classes at 32 px, with random weights."""
    model = keras.applications.NASNetMobile(input_shape=(32, 32, 3), weights=None, classes=3)
    shake(model)
    return model


@pytest.fixture(scope="module")
def reference_file(reference, tmp_path_factory):
    """Path of its weights as Keras saves them."""
    path = tmp_path_factory.mktemp("keras") / "mobile.weights.h5"
    reference.save_weights(path)
    return path


def test_weights_of_keras_applications_are_read_from_a_file(reference, reference_file, tmp_path):
    pictures = images(2, 32)
    expected = np.asarray(reference(pictures, training=False))
    model = published.NASNetAMobile((32, 32, 3), classes=3, weights=reference_file)
    np.testing.assert_allclose(model(pictures), expected, atol=1e-5)
    for name in ("mobile.h5", "mobile.keras"):
        reference.save(tmp_path / name)
        shake(model, seed=1)
        assert not np.allclose(model(pictures), expected, atol=1e-5)
        # As the function reads them once it has built the network.
        _keras_weights.load(model, tmp_path / name, "nasnet_a_mobile", include_top=True, classes=3)
        np.testing.assert_allclose(model(pictures), expected, atol=1e-5)


def test_weights_of_keras_applications_for_another_head(reference, reference_file, tmp_path):
    shutil.copy(reference_file, tmp_path / "nasnet.h5")
    model = published.NASNetAMobile((32, 32, 3), classes=4)
    told = house.load(model, tmp_path / "nasnet.h5", reader=_keras_weights.read)
    assert told.endswith("nasnet.h5 (head trained anew: the weights have 3 classes, the data 4)")
    for name in ("stem_conv", "stage3_cell4_block1_left_1_conv"):
        theirs = reference.get_layer(_keras_weights.their_name(name, model))
        for pair in zip(model.get_layer(name).get_weights(), theirs.get_weights()):
            np.testing.assert_array_equal(*pair)
    with without_weights():
        other = published.NASNetACifar((8, 8, 3), cells=1, penultimate_filters=48)
    for path, words in (
        (tmp_path / "nasnet.h5", r"nasnet.h5, of another: \d+ of its layers have no place here"),
        ("imagenet", r"a NASNet-A of 4 or 6 cells a stage.* Received: 1 cells a stage"),
        ("x.ckpt", r"Expected weights: 'imagenet', the folder .*Received: 'x.ckpt'"),
    ):
        with pytest.raises(UserError, match=words):
            house.load(other, path, reader=_keras_weights.read)


def test_weights_of_our_own_are_read_from_a_file(tmp_path):
    model = published.NASNetACifar((8, 8, 3), cells=1, penultimate_filters=48)
    model.save_weights(tmp_path / "ours.weights.h5")
    again = published.NASNetACifar((8, 8, 3), cells=1, penultimate_filters=48, weights=tmp_path / "ours.weights.h5")
    np.testing.assert_array_equal(again(images(1, 8)), model(images(1, 8)))


def test_other_weights_are_refused(reference_file, tmp_path):
    def refused(words, weights, classes=5):
        with pytest.raises(ValueError, match=words), without_weights():
            published.NASNetAMobile((32, 32, 3), classes=classes, weights=weights)

    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    words = r"other.weights.h5' holds the weights of another network than nasnet_a_mobile"
    refused(words, tmp_path / "other.weights.h5", classes=3)
    refused(r"mobile.weights.h5' holds the weights of another network", reference_file)
    (tmp_path / "broken.h5").write_bytes(b"no weights")
    refused(r"broken.h5' holds the weights of another network", tmp_path / "broken.h5")
    for weights in ("gone.weights.h5", "imagenet"):  # ImageNet's has 1000 classes
        refused(f"Expected weights to be None, 'imagenet'.*Received: weights='{weights}'", weights)
    with pytest.raises(ValueError, match=r"Expected weights to be None, or the path.*Received: weights='imagenet'"):
        published.NASNetACifar(cells=1, weights="imagenet")


def test_the_functions_of_keras_applications():
    small = functools.partial(published.NASNetACifar, (16, 16, 3), cells=1, penultimate_filters=48)
    with without_weights():
        model = small(classifier_activation=None)
        features = small(include_top=False)
        pooled = [small(include_top=False, pooling=pooling) for pooling in ("avg", "max")]
    assert model.name == "nasnet_a_cifar" and model.output_shape == (None, 10)
    assert features.output_shape == (None, 4, 4, 48)
    assert [each.output_shape for each in pooled] == [(None, 48)] * 2
    with pytest.raises(ValueError, match=r"Expected pooling to be None, 'avg' or 'max'. Received: pooling='sum'"):
        published.NASNetACifar(include_top=False, pooling="sum")
    with pytest.raises(ValueError, match=r"known height, width and channels. Received: \(None, None, 3\)"):
        published.NASNetACifar((None, None, 3), include_top=False)
    with pytest.raises(UserError, match="image_size of at least 19"):
        published.NASNetAMobile((16, 16, 3))
    image = keras.Input((20, 12, 3))
    with without_weights():
        upon = published.NASNetACifar(
            input_tensor=keras.layers.Rescaling(2.0, -1.0)(image), classes=3, cells=1, penultimate_filters=48
        )
    assert upon.inputs[0] is image and upon.output_shape == (None, 3)


def test_networks_measured_beside_a_search():
    nasnet_a = published.architecture("nasnet_a")
    assert NASNet.from_json(json.loads(json.dumps(nasnet_a.to_json()))) == nasnet_a
    assert published.architecture("mobilenet_v2") is None
    with without_weights():
        assert published.build("mobilenet_v2", Scale(32, 5)).output_shape == (None, 5)
        assert published.build("nasnet_a", Scale(32, 5, 1, 8)).output_shape == (None, 5)
    with pytest.raises(UserError, match=r"one of nasnet_a, mobilenet_v2. Received: 'squeezenet'"):
        published.build("squeezenet", Scale())
    with pytest.raises(UserError, match=r"mobilenet_v2 for images of 32 px or more. Received: image_size=24"):
        published.build("mobilenet_v2", Scale(24))
