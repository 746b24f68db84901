"""Early layers that stay frozen are computed once, and the rest is trained as if they were computed in each step."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest

from mnas_tf.spaces.mnasnet import Scale
from nas_tf import complexity
from nas_tf.datasets import Images
from nas_tf.training.features import FeatureDataset, without_frozen
from nas_tf.training.network import train_network
from nas_tf.training.recipe import PLANS, Recipe
from nas_tf.training.train import train
from nas_tf.training.views import ViewSteps
from nas_tf.trial import UserError

CLASSES, SIZE = 3, 8
RECIPE = Recipe(
    epochs=3, batch_size=8, learning_rate=0.05, weight_decay=1e-3, batch_norm="frozen", frozen_fraction=0.97
)


class Tints:
    """40 images of a class's tint under noise, of which training may alter nothing; the last two have no label."""

    augmentation, num_classes, class_names = "none", CLASSES, ("red", "green", "blue")

    def __init__(self, unlabelled=0):
        self._unlabelled = unlabelled

    def _images(self, seed):
        rng = np.random.default_rng(seed)
        labels = (np.arange(40) % CLASSES).astype(np.int32)
        tint = 25 * np.eye(CLASSES)[labels][:, None, None]
        images = (110 + tint + rng.normal(0, 30, (40, SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8)
        return images, labels

    def train(self):
        images, labels = self._images(0)
        labels[len(labels) - self._unlabelled :] = -1
        return Images(images, labels)

    def validation(self):
        return Images(*self._images(1))


class Flipped(Tints):
    augmentation = "shift_flip"


def network(seed=0):
    """Has a sum over a branch, in the middle of which it cannot be cut."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, name="first")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="bn")(x))
    branch = keras.layers.Conv2D(8, 3, padding="same", name="branch")(x)
    x = keras.layers.Add(name="sum")([x, keras.layers.ReLU()(branch)])
    x = keras.layers.Conv2D(4, 1, name="last")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization(name="bn_2")(x))
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax", name="predictions")(x))


def test_a_network_is_cut_where_one_tensor_is_all_there_is():
    model = network()
    costs = [9 * 3 * 8 * 9, 9 * 8 * 8 * 9, 9 * 8 * 4, 4 * 3]  # first, branch, last, predictions
    total = complexity.mult_adds(model)
    assert total == sum(costs)
    images = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
    named = {}
    for fraction in (0.0, costs[0] / total - 0.01, costs[0] / total + 0.01, 0.9, 0.97, 0.9999):  # 0.9: in the branch
        last = complexity.last_narrow_layer(model, fraction)
        named[fraction] = last and last.name.removesuffix("_1")
        if last:
            early, later = keras.Model(model.inputs[0], last.output), keras.Model(last.output, model.outputs[0])
            assert complexity.mult_adds(early) <= fraction * total
            np.testing.assert_allclose(later(early(images)), model(images), atol=1e-6)
    names = list(named.values())
    assert names[:2] == [None, None] and names[2].startswith("re_lu") and names[3] == names[2]
    assert names[4] == "sum" and names[5].startswith("global_average_pooling2d")


@pytest.mark.parametrize("teacher", [None, 1], ids=["labels", "teacher"])
def test_it_is_trained_as_if_the_frozen_layers_had_been_computed_in_each_step(teacher):
    data = Tints(unlabelled=2 if teacher else 0)
    teacher = teacher and network(teacher)
    recipe = dataclasses.replace(RECIPE, label_smoothing=0.1)
    model, expected = network(), network()
    before = model.get_weights()
    for name in ("first", "branch"):
        expected.get_layer(name).trainable = False
    wanted = train(expected, data, recipe, teacher=teacher)
    later, features, own = without_frozen(model, data, recipe, teacher)
    assert later.inputs[0].shape == (None, 3, 3, 8) and isinstance(features, FeatureDataset)
    found = train(later, features, own)
    assert found.accuracy == pytest.approx(wanted.accuracy)
    for one, other in zip(model.get_weights(), expected.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-5)
    is_kept = [np.array_equal(one, other) for one, other in zip(model.get_weights(), before)]
    assert is_kept[0] and not is_kept[-1]  # the first kernel, the last bias


def test_epochs_take_turns_with_an_image_and_its_mirror_image():
    model, seen = network(), []
    _, features, _ = without_frozen(model, Flipped(), RECIPE)
    last = complexity.last_narrow_layer(model, RECIPE.frozen_fraction)
    early = keras.Model(model.inputs[0], last.output)
    pixels = Flipped().train().images.astype("float32") / 127.5 - 1
    views = np.stack([early(pixels), early(pixels[:, :, ::-1])])
    batches = features.train().batches(8, seed=0, epochs=2)
    for batch in (batches[i] for i in range(len(batches))):
        for image in batch[0]:
            view, number = np.argwhere(np.isclose(views, image, atol=1e-5).all(axis=(2, 3, 4)))[0]
            seen.append((number, view))
    assert len(seen) == 80 == len(set(seen))  # each of both
    first = dict(seen[:40])
    assert len(first) == 40 and 5 < sum(first.values()) < 35
    stored = features.validation().batches(40)[0]
    validation = Flipped().validation()
    np.testing.assert_allclose(stored[0], early(validation.images.astype("float32") / 127.5 - 1), atol=1e-5)
    np.testing.assert_array_equal(stored[1], validation.labels)
    again = ViewSteps(40, 8, 0, 2, 5, 2)  # goes on with the second epoch
    np.testing.assert_array_equal(again.indices(0), ViewSteps(40, 8, 0, 2, 0, 2).indices(5))


def test_a_network_that_can_be_cut_nowhere_is_trained_whole():
    model, data = network(), Tints()
    recipe = dataclasses.replace(RECIPE, frozen_fraction=0.01)
    assert without_frozen(model, data, recipe) == (model, data, recipe)


def test_a_quick_recipe_trains_the_network_that_it_returns(tmp_path):
    recipe = dataclasses.replace(PLANS["finetune_quick"].recipe, frozen_fraction=0.97, batch_size=8, learning_rate=0.05)
    found = {}
    for fraction in (0.97, 0.0):
        own = dataclasses.replace(recipe, frozen_fraction=fraction)
        model, training = train_network(lambda scale: network(), Scale(SIZE, CLASSES), Flipped(), own, seed=0)
        found[fraction] = model, training
    assert found[0.97][1].recipe["frozen_fraction"] == 0.97 and len(found[0.97][0].layers) == len(found[0.0][0].layers)
    began = network().get_layer("first").get_weights()[0]
    is_kept = [np.array_equal(found[each][0].get_layer("first").get_weights()[0], began) for each in (0.97, 0.0)]
    assert is_kept == [True, False]
    from nas_tf.training.evaluate import evaluate

    model, training = found[0.97]
    assert training.accuracy.validation == pytest.approx(evaluate(model, Flipped().validation()))


def test_a_full_disk_is_said_before_anything_is_computed(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**9})())
    with pytest.raises(UserError, match=r"take 0\.0 GB\. Expected so much on the disk of .*Received: 1\.0 GB"):
        without_frozen(network(), Tints(), RECIPE, folder=tmp_path)


def test_images_altered_in_many_ways_cannot_be_computed_once():
    with pytest.raises(UserError, match=r"frozen_fraction=0\.5, randaugment_ops=2, cutout_fraction=0\.0"):
        Recipe(epochs=1, frozen_fraction=0.5, randaugment_ops=2)
