"""Fine-tuning: a classifier in closed form, frozen batch norm, two learning rates of which one is used, a teacher."""

import dataclasses

import keras
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mnas_tf.spaces.mnasnet import Scale
from nas_tf.datasets import Images, Stream, drawn, scale_pixels
from nas_tf.training import checkpoint
from nas_tf.training import train as train_module
from nas_tf.training.evaluate import make_loss
from nas_tf.training.head import fit_head
from nas_tf.training.input_pipeline import with_input_pipeline
from nas_tf.training.network import train_network
from nas_tf.training.recipe import PLANS, Recipe
from nas_tf.training.train import Log, train
from nas_tf.trial import UserError

CLASSES = 3
RUINOUS = 3.0  # a learning rate


class Tints:
    """90 images of 8 px of a class's tint under noise; of the first class there are more."""

    augmentation, num_classes, class_names = "shift_flip", CLASSES, ("red", "green", "blue")

    def _images(self, seed):
        rng = np.random.default_rng(seed)
        labels = np.minimum(np.arange(90) % 4, 2).astype(np.int32)
        tint = 25 * np.eye(CLASSES)[labels][:, None, None] + rng.normal(0, 15, (90, 1, 1, CLASSES))
        images = 110 + tint + rng.normal(0, 30, (90, 8, 8, CLASSES))
        return Images(images.clip(0, 255).astype(np.uint8), labels)

    def train(self):
        return self._images(0)

    def validation(self):
        return self._images(1)


def network():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3, strides=2)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9, name="bn")(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax", name="predictions")(x))


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return network()


def test_the_classifier_is_the_ridge_regression_of_the_features(model):
    split = Tints().train()
    x = np.asarray(keras.Model(model.input, model.layers[-1].input)(scale_pixels(split.images)), np.float64)
    deviation = x.std(0)
    deviation = np.maximum(deviation, np.median(deviation) / 2)
    ridge = Ridge(alpha=len(x)).fit((x - x.mean(0)) / deviation, 10 * np.eye(CLASSES)[split.labels])
    expected = ridge.predict((x - x.mean(0)) / deviation) - 10 / CLASSES
    unlabelled = Images(255 - split.images[:40], np.full(40, -1, np.int32))  # is left out
    both = [np.concatenate(each) for each in zip((split.images, split.labels), (unlabelled.images, unlabelled.labels))]
    fit_head(model, Images(*both), batch_size=32)
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(x @ kernel + bias, expected, atol=1e-4)  # weights are float32, scores up to 10


def test_a_feature_that_hardly_varies_gets_no_large_weight(model):
    split = Tints().train()
    layer = model.layers[1]
    kernel, bias = layer.get_weights()
    kernel[..., 0] *= 1e-4
    layer.set_weights([kernel, bias])
    fit_head(model, split)
    weights = np.abs(model.layers[-1].get_weights()[0]).max(axis=1)
    # Divided by its own deviation, 1e-4 of the others', its weight would be larger by some thousands.
    assert weights[0] < weights[1:].max()


def test_a_network_without_a_dense_classifier_is_refused():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="means")(inputs))
    with pytest.raises(UserError, match=r"Dense layer with a bias\. Received: .*'means'"):
        fit_head(model, Tints().train())


RECIPE = Recipe(epochs=6, batch_size=10, learning_rate=0.05, weight_decay=0.0)  # 54 steps, of which 9 are tried


def seeded_train(*arguments, **keywords):
    """`train`, with the same shifts and flips every time."""
    keras.utils.set_random_seed(0)
    return train(*arguments, **keywords)


@pytest.mark.parametrize("batch_norm", ["frozen", "trained"])
def test_frozen_batch_norm_stays_as_it_was(model, batch_norm):
    layer = model.get_layer("bn")
    before, kernel = layer.get_weights(), model.layers[1].get_weights()[0]
    seeded_train(model, Tints(), dataclasses.replace(RECIPE, batch_norm=batch_norm))
    is_kept = [np.array_equal(one, other) for one, other in zip(before, layer.get_weights())]
    assert is_kept == [batch_norm == "frozen"] * 4
    assert layer.trainable and not np.array_equal(kernel, model.layers[1].get_weights()[0])


def test_of_two_learning_rates_the_better_one_is_used_as_if_it_were_the_only_one(model):
    begin = model.get_weights()
    alone = seeded_train(model, Tints(), RECIPE)
    expected = model.get_weights()
    for first, second in ((1e-7, 0.05), (0.05, 1e-7)):
        model.set_weights(begin)
        two = dataclasses.replace(RECIPE, learning_rate=first, other_learning_rate=second)
        trained = seeded_train(model, Tints(), two)
        assert trained.learning_rate == 0.05 and trained.accuracy == alone.accuracy
        # The peak is multiplied in float32 here, and in Python there.
        for one, other in zip(model.get_weights(), expected):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_rate_at_which_training_diverges_is_not_used(model):
    assert seeded_train(model, Tints(), dataclasses.replace(RECIPE, other_learning_rate=1e30)).learning_rate == 0.05


def test_rates_are_tried_on_images_of_all_classes(model, monkeypatch):
    """Images that lie in folders come class by class: a network that knows nothing but the first class is not best."""

    class Sorted(Tints):
        def _images(self, seed):
            images = super()._images(seed)
            order = np.argsort(-images.labels, kind="stable")
            return Images(images.images[order], images.labels[order])

    monkeypatch.setattr(train_module, "_TRIED_IMAGES", 30)
    first = Sorted().validation().labels[:30]
    assert set(first) == {CLASSES - 1}  # the most frequent class, which a network that has been ruined answers always
    recipe = dataclasses.replace(RECIPE, learning_rate=RUINOUS, other_learning_rate=0.05)
    assert seeded_train(model, Sorted(), recipe).learning_rate == 0.05


def test_images_are_drawn_from_all_of_a_split():
    images = Images(np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1), np.repeat(np.arange(10), 10))
    few = drawn(images, 40)
    assert few.num_examples == 40 == len(set(few.images.ravel())) and len(set(few.labels)) >= 8
    np.testing.assert_array_equal(few.labels, few.images.ravel() // 10)
    np.testing.assert_array_equal(drawn(Stream(images.batches, 100), 40).images, few.images)
    assert drawn(images, 1000).num_examples == 100


def test_a_training_that_goes_on_keeps_its_rate(model, tmp_path):
    recipe = dataclasses.replace(RECIPE, learning_rate=1e-7, other_learning_rate=0.05)
    begin, log = model.get_weights(), Log(tmp_path / "checkpoint.npz")
    whole = seeded_train(model, Tints(), recipe, log=log)
    expected = model.get_weights()
    log.path.unlink()
    model.set_weights(begin)

    class Killed(Exception):
        pass

    save = checkpoint.save

    def save_and_die(*arguments):
        save(*arguments)
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoint, "save", save_and_die)
        seeded_train(model, Tints(), recipe, log=log)
    model.set_weights(begin)
    again = seeded_train(model, Tints(), recipe, log=log)
    assert again.learning_rate == whole.learning_rate == 0.05 and again.accuracy == whole.accuracy
    for one, other in zip(model.get_weights(), expected):
        np.testing.assert_array_equal(one, other)


def test_two_rates_go_with_no_rate_for_a_batch_size():
    with pytest.raises(UserError, match="two learning rates to be given as they are"):
        Recipe(epochs=1, other_learning_rate=0.1, learning_rate_batch=256)
    assert PLANS["finetune"].recipe.other_learning_rate > 0


def test_the_teacher_sees_the_very_images_that_the_child_sees(model):
    pipeline = with_input_pipeline(model, "shift_flip", teacher=model)
    pixels = Tints().train().images
    model.get_layer("bn").trainable = False  # while training it would use the batch's statistics
    ours, teachers = np.moveaxis(np.asarray(pipeline(pixels, training=True)), 1, 0)
    np.testing.assert_allclose(ours, teachers, atol=1e-6)
    plain = np.asarray(model(scale_pixels(pixels)))
    assert np.abs(ours - plain).max() > 1e-3  # they were moved and mirrored
    assert not np.asarray(pipeline(pixels, training=False))[:, 1].any()


def test_a_teacher_of_another_size_is_asked_at_its_own(model):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4, 4, 3))
    teacher = keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax")(keras.layers.Flatten()(inputs)))
    pixels = Tints().train().images
    found = np.asarray(with_input_pipeline(model, "none", teacher=teacher)(pixels, training=True))[:, 1]
    smaller = keras.ops.image.resize(scale_pixels(pixels), (4, 4), data_format="channels_last")
    np.testing.assert_allclose(found, np.asarray(teacher(smaller)), atol=1e-6)


def test_the_loss_of_labels_and_teacher():
    rng = np.random.default_rng(0)
    child, teacher = rng.dirichlet(np.ones(CLASSES), (2, 4)).astype("float32")
    labels = np.array([0, 2, -1, 1], np.int32)
    of_labels = -np.log(child[range(4), labels])
    of_teacher = -(teacher * np.log(child)).sum(1)
    expected = 0.3 * of_labels + 0.7 * of_teacher
    expected[2] = of_teacher[2]  # nobody has labelled it
    found = make_loss(CLASSES, teacher_weight=0.7)(keras.ops.array(labels), keras.ops.stack([child, teacher], axis=1))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-5)
    hard, soft = np.array([0, 2, 1]), np.eye(CLASSES, dtype="float32")[[0, 2, 1]]
    alone = child[:3, None]
    loss = make_loss(CLASSES, label_smoothing=0.1)
    np.testing.assert_allclose(loss(keras.ops.array(hard), alone), loss(keras.ops.array(soft), alone), rtol=1e-6)


def test_a_child_learns_from_its_teacher_alone():
    """On labels that say nothing the child comes to agree with the teacher."""

    class Unlabelled(Tints):
        augmentation = "none"

        def train(self):
            return Images(super().train().images, np.full(90, -1, np.int32))

    keras.utils.set_random_seed(0)
    teacher, child = network(), network()
    fit_head(teacher, Tints().train())
    recipe = dataclasses.replace(RECIPE, epochs=20)
    reached = seeded_train(child, Unlabelled(), recipe, teacher=teacher).accuracy
    right = (
        np.asarray(teacher(scale_pixels(Tints().validation().images))).argmax(1) == Tints().validation().labels
    ).mean()
    assert reached > 0.5 and reached > right - 0.15


def test_the_recipe_begins_with_the_classifier_and_says_which_rate():
    recipe = dataclasses.replace(PLANS["finetune"].recipe, epochs=1, learning_rate=1e-9, other_learning_rate=2e-9)
    keras.utils.set_random_seed(0)
    model, training = train_network(lambda scale: network(), Scale(8, CLASSES), Tints(), recipe, seed=0)
    keras.utils.set_random_seed(0)
    expected = network()
    fit_head(expected, Tints().train())
    for one, other in zip(model.get_weights(), expected.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-5)  # a few steps of at most 2e-9
    assert training.recipe["peak_learning_rate"] in (1e-9, 2e-9)
