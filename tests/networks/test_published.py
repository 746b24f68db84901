"""Published networks against the counts of timm's and against the promises of `keras.applications`."""

import json

import keras
import numpy as np
import pytest
from weightless import without_weights

from mnas_tf import published
from mnas_tf.spaces.mnasnet import MnasNet, Scale
from mnas_tf.spaces.mnasnet import build as build_mnasnet
from nas_tf.complexity import mult_adds, num_params
from nas_tf.trial import UserError

# timm 1.0.31 (semnasnet_*, mnasnet_*, tf_efficientnet_lite*, mobilenetv4_conv_*): trainable parameters, and M
# multiply-adds at 224 px with 1000 classes.
TIMM = [
    ("mnasnet_a1", 1.0, 3_887_038, 311.58),
    ("mnasnet_a1", 0.5, 2_082_006, 103.16),
    ("mnasnet_a1", 0.75, 2_912_278, 223.45),
    ("mnasnet_a1", 1.4, 6_105_992, 586.32),
    ("mnasnet_b1", 1.0, 4_383_312, 314.42),
    ("mnasnet_b1", 0.5, 2_218_512, 104.46),
    ("mnasnet_b1", 0.75, 3_170_208, 215.49),
    ("mnasnet_b1", 1.4, 7_115_728, 588.80),
    ("mnasnet_small", 1.0, 2_030_264, 68.34),
    ("efficientnet_lite0", 1.0, 4_652_008, 385.19),
    ("efficientnet_lite1", 1.0, 5_416_680, 502.47),
    ("efficientnet_lite2", 1.0, 6_092_072, 576.51),
    ("efficientnet_lite3", 1.0, 8_197_096, 852.10),
    ("efficientnet_lite4", 1.0, 13_006_568, 1347.67),
    ("mobilenet_v4_conv_s", 1.0, 3_774_024, 186.01),
    ("mobilenet_v4_conv_s", 0.5, 2_238_952, 64.74),
    ("mobilenet_v4_conv_m", 1.0, 9_715_512, 827.65),
]
FUNCTIONS = [
    (published.MnasNetA1, "mnasnet_a1"),
    (published.MnasNetB1, "mnasnet_b1"),
    (published.MnasNetSmall, "mnasnet_small"),
    (published.MnasNetD1, "mnasnet_d1"),
    (published.EfficientNetLite0, "efficientnet_lite0"),
    (published.MobileNetV2, "mobilenet_v2"),
    (published.MobileNetV4ConvS, "mobilenet_v4_conv_s"),
    (published.MobileNetV3Small, "mobilenet_v3_small"),
    (published.EfficientNetB0, "efficientnet_b0"),
]


@pytest.mark.parametrize("name,alpha,params,millions", TIMM)
def test_counts_are_timms(name, alpha, params, millions):
    with without_weights():
        model = published.build(name, Scale(width_multiplier=alpha))
    assert num_params(model) == params
    assert mult_adds(model) == pytest.approx(1e6 * millions, abs=0.005e6)  # the table's last digit


@pytest.mark.parametrize("network", published.ARCHITECTURES.values(), ids=published.ARCHITECTURES)
def test_every_published_network_is_plain_data(network):
    assert MnasNet.parse(str(network)) == network
    assert MnasNet.from_json(json.loads(json.dumps(network.to_json()))) == network


def test_d1_has_its_kernels_and_expansions():
    with without_weights():
        model = published.build("mnasnet_d1_320", Scale(32, 10))
    assert model.get_layer("block7_layer1_depthwise_conv").kernel_size == (7, 7)
    assert model.get_layer("block7_layer1_expand_conv").filters == 9 * 160


@pytest.mark.parametrize("function,name", FUNCTIONS)
def test_functions_build_their_network(function, name):
    with without_weights():
        model = function(input_shape=(32, 32, 3), classes=7, classifier_activation=None)
        same = published.build(name, Scale(32, 7))
    assert model.name == name
    assert model.output_shape == (None, 7)
    assert num_params(model) == num_params(same)


def test_features_without_the_top():
    with without_weights():
        assert published.MnasNetSmall(include_top=False).output_shape == (None, None, None, 1280)
        assert published.MnasNetSmall((64, 64, 3), include_top=False).output_shape == (None, 2, 2, 1280)
        for pooling in ("avg", "max"):
            assert published.MnasNetSmall(include_top=False, pooling=pooling).output_shape == (None, 1280)
    with pytest.raises(ValueError, match=r"Expected pooling to be None, 'avg' or 'max'. Received: pooling='sum'"):
        published.MnasNetSmall(include_top=False, pooling="sum")


def test_input_tensor_is_built_upon():
    image = keras.Input((40, 40, 3))
    with without_weights():
        model = published.MnasNetSmall(input_tensor=keras.layers.Rescaling(2.0, -1.0)(image), classes=3)
    assert model.inputs[0] is image
    assert any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)


def test_weights_are_loaded_from_a_file(tmp_path):
    first = published.MnasNetSmall((32, 32, 3), alpha=0.5, classes=4)
    first.save_weights(tmp_path / "small.weights.h5")
    first.save(tmp_path / "small.keras")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")
    for name in ("small.weights.h5", "small.keras"):
        second = published.MnasNetSmall((32, 32, 3), alpha=0.5, classes=4, weights=tmp_path / name)
        np.testing.assert_array_equal(second(image), first(image))


@pytest.mark.parametrize("weights", ["gone.weights.h5", "gone.keras", "gone.safetensors", "gone.h5", "gone"])
def test_unknown_weights_are_refused(weights):
    with pytest.raises(
        ValueError, match=f"Expected weights to be None, 'imagenet', or .* Received: weights='{weights}'"
    ):
        published.MnasNetA1(weights=weights)


def test_networks_timed_beside_a_search():
    assert published.architecture("mnasnet_a1") is published.ARCHITECTURES["mnasnet_a1"]
    assert published.architecture("mobilenet_v2") == published.MOBILENET_V2
    assert published.architecture("nasnet_mobile") is None
    # MobileNetV2, table 4: 300 M multiply-adds. NASNet, table 2: 564 M; parameters: FACTS, moving statistics included.
    with without_weights():
        assert mult_adds(published.build("mobilenet_v2", Scale())) == pytest.approx(300e6, abs=1e6)
        assert published.build("mobilenet_v2", Scale(32, 5, 0.5)).output_shape == (None, 5)
        nasnet = published.build("nasnet_mobile", Scale(width_multiplier=0.5))
    assert mult_adds(nasnet) == pytest.approx(564e6, abs=0.5e6)
    assert nasnet.count_params() == 5_326_716


# MobileNetV3, tables 3 and 4 (arXiv 1905.02244); EfficientNet, table 2 (arXiv 1905.11946).
@pytest.mark.parametrize(
    "name,params,millions",
    [("mobilenet_v3_large", 5.4e6, 219), ("mobilenet_v3_small", 2.5e6, 56), ("efficientnet_b0", 5.3e6, 390)],
)
def test_networks_of_keras_have_the_papers_counts(name, params, millions):
    with without_weights():
        model = published.build(name, Scale())
    assert published.architecture(name) is None
    assert num_params(model) == pytest.approx(params, rel=0.02)  # the papers have two digits
    assert mult_adds(model) == pytest.approx(1e6 * millions, rel=0.02)


def test_references_that_cannot_be_built_are_refused():
    with pytest.raises(UserError, match=r"Expected a published network, one of mnasnet_a1, .*Received: 'squeezenet'"):
        published.build("squeezenet", Scale())
    with pytest.raises(UserError, match=r"mobilenet_v2 for images of 32 px or more. Received: image_size=24"):
        published.build("mobilenet_v2", Scale(24))


def test_mobilenet_v2_as_plain_data_has_the_layers_of_keras():
    with without_weights():
        ours = build_mnasnet(published.architecture("mobilenet_v2"), Scale(224))
        theirs = published.build("mobilenet_v2", Scale(224))
        wide = published.MobileNetV2(alpha=1.4)
        theirs_wide = published.build("mobilenet_v2", Scale(224, width_multiplier=1.4))
    assert mult_adds(ours) == mult_adds(theirs) and num_params(ours) == num_params(theirs)
    assert mult_adds(wide) == mult_adds(theirs_wide) and num_params(wide) == num_params(theirs_wide)
