"""Training a detector: exact resume, recipes, weights to begin with, and how long a step takes."""

import dataclasses

import numpy as np
import pytest
from detection_support import BLOCKS, make_images, write_coco
from support import eagerly

from nas_tf.detection import backbone, recipes, training
from nas_tf.detection.data import read_data
from nas_tf.detection.folder import read_detector
from nas_tf.detection.settings import DetectSettings
from nas_tf.training.network import train_network
from nas_tf.trial import UserError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    parts = {"train": make_images(20), "val": make_images(6, seed=1), "test": make_images(6, seed=2)}
    return write_coco(folder / "data.zip", parts)


def _settings(data_dir, out_dir, **changes):
    return DetectSettings(
        **{
            "data_dir": str(data_dir),
            "out_dir": str(out_dir),
            "image_size": 64,
            "architecture": BLOCKS,
            "epochs": 2,
            "batch_size": 10,
            **changes,
        }
    )


class Stopped(Exception):
    pass


@pytest.fixture
def untraced():
    """Four steps of a hundred layers are sooner done than traced."""
    with eagerly():
        yield


@pytest.mark.usefixtures("untraced")
def test_a_stopped_training_goes_on_to_the_same_weights(data_dir, tmp_path, monkeypatch):
    lines = []
    whole = training.train_detector(_settings(data_dir, tmp_path / "whole"), say=lines.append)
    assert [row["epoch"] for row in whole.history] == [1, 2] and set(whole.precision) == {"validation", "test"}
    assert any(line.startswith("test: mAP ") for line in lines)
    assert "the test images have been read once" in lines[-1]
    from nas_tf.training._clock import StepClock

    save = StepClock._save

    def stop(clock):
        save(clock)
        raise Stopped

    # With checkpoints after every step the first is in the middle of the first epoch.
    settings = _settings(data_dir, tmp_path / "stopped", checkpoint_minutes=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(StepClock, "_save", stop)
        with pytest.raises(Stopped):
            training.train_detector(settings, say=lines.append)
    for changes, words in (({"loss": "focal"}, "loss=focal"), ({"architecture": f"{BLOCKS[:-2]}48"}, "network=")):
        with pytest.raises(UserError, match="begun with other settings") as error:
            training.train_detector(dataclasses.replace(settings, **changes), say=lines.append)
        assert words in str(error.value)
    again = training.train_detector(settings, say=lines.append)
    (one, first), (other, second) = (read_detector(tmp_path / name) for name in ("whole", "stopped"))
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert first.precision == second.precision == again.precision
    assert not (tmp_path / "stopped" / "checkpoint.npz").exists()
    with pytest.raises(UserError, match="holds a detector already"):
        training.train_detector(settings, say=lines.append)


def test_a_detector_begins_with_a_classifiers_weights(data_dir, tmp_path):
    """From a folder of the same network, and inherited from one of another architecture."""
    from image_support import write_images

    from mnas_tf.spaces.mnasnet import SPACE, MnasNet, Scale
    from nas_tf.datasets import Source
    from nas_tf.networks.folder import describe, write_network
    from nas_tf.plugins import Part
    from nas_tf.training.recipe import Recipe

    write_images(tmp_path / "flowers", "train", (8, 8))
    images = Source(Part("nas_tf.datasets", "image_folder"), str(tmp_path / "flowers"), 0)
    dataset, part = images.make(32), Part("mnas_tf.spaces", "mnasnet")
    architecture, scale = MnasNet.parse(BLOCKS), Scale(32, 2)
    model, made = train_network(lambda scale: SPACE.build(architecture, scale), scale, dataset, Recipe(1), 0)
    description = made.described(describe(part, architecture, scale, dataset))
    write_network(tmp_path / "classifier", model, description, SPACE)
    data = read_data(data_dir)
    chosen = backbone.choose(str(tmp_path / "classifier"), "", "", 64)
    assert chosen.architecture == architecture and chosen.scale.image_size == 64
    values, words = chosen.start(data)
    detector = chosen.detector(2)
    backbone.put(detector, values)
    assert words == str(tmp_path / "classifier")
    name = "block5_layer1_depthwise_conv"
    np.testing.assert_array_equal(detector.get_layer(name).get_weights()[0], model.get_layer(name).get_weights()[0])
    wider = BLOCKS.replace("r1_k3_s22_e2_i8_o8 r1", "r2_k5_s22_e2_i8_o8 r1", 1)
    inherited = backbone.choose(wider, str(tmp_path / "classifier"), "", 64)
    values, words = inherited.start(data)
    backbone.put(inherited.detector(2), values)
    assert words.startswith("classifier (") and "kernel 3 to 5" in words
    given = backbone.choose(BLOCKS, "", str(tmp_path / "classifier"), 64)
    assert given.digest == chosen.digest == inherited.digest != ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("", "", ""), "Expected --architecture, or a --parent"),
        (("nothing_known", "", ""), "Or: Expected --architecture"),
        (("mnasnet_a1", "nothing", ""), "Expected --parent, one of"),
        (("mnasnet_a1", "", "nowhere.keras"), "There is no file 'nowhere.keras'"),
    ],
)
def test_networks_and_weights_that_are_not_there(arguments, words, data_dir):
    with pytest.raises(UserError) as error:
        backbone.choose(*arguments, 64).start(read_data(data_dir))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_network_of_another_family_is_a_clear_line(data_dir, tmp_path):
    import keras

    from mnas_tf.spaces.mnasnet import SPACE, MnasNet, Scale

    path = tmp_path / "other.keras"
    SPACE.build(MnasNet.parse(BLOCKS), Scale(64, 2)).save(path)
    keras.backend.clear_session()
    small = ("cells=1", "filters=8")
    with pytest.raises(UserError, match=r"Expected the weights of this network\. Received: .*, of another: layer"):
        backbone.choose("nasnet_a", "", str(path), 64, small).start(read_data(data_dir))
    with pytest.raises(UserError, match=r"Expected --scale of name=value, with names of .*'depth=3'"):
        backbone.choose("nasnet_a", "", "", 64, ("depth=3",))
    with pytest.raises(UserError, match="with filters of type int"):
        backbone.choose("nasnet_a", "", "", 64, ("filters=many",))
    assert backbone.choose("nasnet_a", "", "", 64, small).detector(2).outputs[1].shape[1:] == (96, 3)


def test_recipes_are_the_papers():
    published = recipes.RECIPES["mnasnet"].recipe
    assert (published.learning_rate, published.decay_rate, published.momentum, published.epsilon) == (
        4e-3,
        0.95,
        0.9,
        1,
    )
    # 800,720 steps of 24 of COCO's 118,287 training images.
    assert published.decay_epochs == pytest.approx(800_720 * 24 / 118_287, rel=1e-3)
    frozen = recipes.RECIPES["nasnet"].recipe
    assert frozen.decay_epochs == pytest.approx(900_000 / 118_287, rel=2e-3) and frozen.batch_norm == "frozen"
