"""Maps of both families' networks by name, and the published detectors' sizes."""

import dataclasses

import keras
import numpy as np
import pytest

from mnas_tf import published
from mnas_tf.spaces import mnasnet, proxylessnas
from mnas_tf.spaces.mnasnet import MnasNet, Scale
from nas_tf import complexity
from nas_tf.networks import ssdlite
from nas_tf.trial import UserError
from nasnet_tf.published import NASNET_A
from nasnet_tf.spaces import nasbench201, nasnet
from nasnet_tf.spaces.nasnet import Scale as NASNetScale

SMALL_NASNET = NASNetScale(image_size=64, num_classes=2, cells=1, filters=8, stem="imagenet")


def _detector(name, num_classes, size=320):
    return ssdlite.detector(mnasnet.SPACE.feature_maps(published.architecture(name), Scale(size)), num_classes)


def test_sizes_are_the_published_ones():
    # MnasNet, table 3: 4.9 M and 0.8 B; MobileNetV3, table 6, prints 4.88 M and 0.84 B of the same. 90 classes, as
    # COCO numbers them.
    a1 = _detector("mnasnet_a1", 90)
    assert complexity.num_params(a1) == pytest.approx(4.9e6, rel=0.03)
    assert complexity.mult_adds(a1) == pytest.approx(0.84e9, rel=0.03)
    # MobileNetV2, tables 5 and 6: 4.3 M and 0.8 B, of 80 classes.
    v2 = _detector("mobilenet_v2", 80)
    assert complexity.num_params(v2) == pytest.approx(4.3e6, rel=0.03)
    assert complexity.mult_adds(v2) == pytest.approx(0.8e9, rel=0.03)


def test_maps_of_mobilenet_v2_are_those_of_its_ssdlite():
    maps = mnasnet.SPACE.feature_maps(published.architecture("mobilenet_v2"), Scale(320))
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in maps.output.items()}
    # tensorflow/models, ssd_mobilenet_v2_feature_extractor.py: layer_15/expansion_output and layer_19.
    assert shapes["C4"] == (20, 20, 576) and shapes["C5"] == (10, 10, 1280) and shapes["C3"] == (40, 40, 192)


@pytest.mark.parametrize(
    ("op", "skip"), [("conv", "none"), ("conv", "identity"), ("sepconv", "pool"), ("mbconv", "identity")]
)
def test_layers_without_expansion_are_read_by_name(op, skip):
    blocks = [mnasnet.Block("mbconv", 1, 3, 1, 1, 8, 8)]
    blocks += [mnasnet.Block(op, 2, 3, 2, 2, 8, 8, 0.25, skip) for _ in range(4)]
    maps = mnasnet.SPACE.feature_maps(MnasNet(tuple(blocks), 16), Scale(64, 2))
    assert {name: tensor.shape[1] for name, tensor in maps.output.items()} == {"C3": 8, "C4": 4, "C5": 2}


def test_maps_of_a_nasnet_are_its_last_cells_of_each_size():
    maps = nasnet.SPACE.feature_maps(NASNET_A, SMALL_NASNET)
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in maps.output.items()}
    assert shapes == {"C3": (8, 8, 48), "C4": (4, 4, 96), "C5": (2, 2, 192)}  # six states of F, 2 F and 4 F channels
    assert [tuple(each.shape[1:]) for each in ssdlite.detector(maps, 3).outputs] == [(96, 4), (96, 4)]


def test_a_detector_takes_the_weights_of_a_classifier():
    architecture, scale = proxylessnas.PROXYLESSNAS_MOBILE, Scale(64, 2, width_multiplier=0.25)
    classifier = proxylessnas.SPACE.build(architecture, scale)
    maps = proxylessnas.SPACE.feature_maps(architecture, scale)
    for layer in maps.layers:
        layer.set_weights(classifier.get_layer(layer.name).get_weights())
    images = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    ours = maps(images, training=False)["C5"]
    theirs = keras.Model(classifier.inputs[0], classifier.get_layer("head_relu").output)(images, training=False)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize(
    ("space", "architecture", "scale", "words"),
    [
        (mnasnet.SPACE, published.architecture("mnasnet_a1"), Scale(31), "an image of 32 px or more .* 31 px"),
        (mnasnet.SPACE, published.architecture("mnasnet_a1"), Scale(64, least_map_size=8), "Received: stride 8"),
        (mnasnet.SPACE, MnasNet.parse("r1_k3_s22_e1_i8_o8"), Scale(64), "Received: stride 4 in steps of 2, 2"),
        (nasnet.SPACE, NASNET_A, dataclasses.replace(SMALL_NASNET, stem="cifar"), "Received: stem 'cifar'"),
        (nasbench201.SPACE, nasbench201.SPACE.decode((0,) * 6), nasbench201.Scale(), "have no maps by name"),
    ],
)
def test_strides_that_are_not_there_are_a_clear_line(space, architecture, scale, words):
    with pytest.raises(UserError, match=words):
        space.feature_maps(architecture, scale)
