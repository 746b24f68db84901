"""Recipes and the training of one child: schedules, losses of several heads, cutout, averaged weights."""

import dataclasses

import keras
import numpy as np
import pytest

from nas_tf.datasets import Images
from nas_tf.training.evaluate import accuracy, make_loss
from nas_tf.training.input_pipeline import with_input_pipeline
from nas_tf.training.network import train_network
from nas_tf.training.recipe import Recipe
from nas_tf.training.train import train
from nas_tf.trial import UserError
from nasnet_tf.recipes import PLANS
from nasnet_tf.spaces.nasnet import NASNetSpace, Scale


class Noise:
    """48 images of 8 px in three classes."""

    augmentation, num_classes, class_names = "none", 3, ("a", "b", "c")

    def _images(self, seed):
        rng = np.random.default_rng(seed)
        return Images(rng.integers(0, 256, (48, 8, 8, 3), np.uint8), rng.integers(0, 3, 48).astype(np.int32))

    def train(self):
        return self._images(0)

    def validation(self):
        return self._images(1)

    test = validation


def learning_rates(recipe, steps):
    schedule = recipe.make_optimizer(steps)._learning_rate
    return [float(schedule(step)) for step in range(steps)]


def test_the_cosine_behind_a_warm_up():
    rates = learning_rates(Recipe(epochs=1, learning_rate=1.0, warmup_fraction=0.2), 10)
    assert max(rates) == pytest.approx(1.0) and rates.index(max(rates)) == 2
    # Half-way between steps 2 and 10 the cosine has half of the peak.
    assert rates[6] == pytest.approx(0.5)


def test_the_exponential_schedule():
    recipe = Recipe(epochs=5, learning_rate=0.04, schedule="exponential", warmup_fraction=0.2)
    rates = learning_rates(recipe, 50)  # 10 steps an epoch: 0.97 every 24 steps, warm-up over 10
    np.testing.assert_allclose(rates[:10], 0.04 * np.arange(10) / 10, rtol=1e-5)
    np.testing.assert_allclose(rates[10:24], 0.04, rtol=1e-5)
    np.testing.assert_allclose(rates[24:48], 0.04 * 0.97, rtol=1e-5)
    np.testing.assert_allclose(rates[48:], 0.04 * 0.97**2, rtol=1e-5)


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"epochs": 0}, "epochs to be at least 1. Received: 0"),
        ({"learning_rate": float("nan")}, "learning_rate to be a finite number"),
        ({"weight_decay": -1.0}, "weight_decay to be at least 0. Received: -1.0"),
        ({"ema_decay": 1.0}, "ema_decay to be at least 0 and below 1. Received: 1.0"),
        ({"cutout_fraction": 1.5}, "cutout_fraction to be at least 0 and below 1"),
    ],
)
def test_recipes_that_cannot_train(changes, words):
    with pytest.raises(UserError, match=words):
        Recipe(**{"epochs": 1, **changes})


def test_the_published_recipes():
    # FACTS of NASNet's code: cifar_config, mobile_imagenet_config.
    cifar, imagenet = PLANS["cifar"], PLANS["imagenet"]
    assert (cifar.recipe.learning_rate, cifar.recipe.epochs, cifar.train_scale) == (0.025, 600, {"drop_path_keep": 0.6})
    assert (cifar.recipe.auxiliary_weight, cifar.recipe.gradient_clip_norm) == (0.4, 5.0)
    assert cifar.scale == {"bn_momentum": 0.9, "bn_epsilon": 1e-5}
    assert (imagenet.recipe.optimizer, imagenet.recipe.epsilon, imagenet.recipe.rho) == ("rmsprop", 1.0, 0.9)
    assert (imagenet.recipe.label_smoothing, imagenet.recipe.ema_decay) == (0.1, 0.9999)
    assert isinstance(imagenet.recipe.make_optimizer(100), keras.optimizers.RMSprop)
    assert imagenet.recipe.make_optimizer(100).global_clipnorm == 10


def test_the_loss_of_two_heads():
    labels = np.array([0, 2])
    scores = np.array([[[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], [[0.2, 0.2, 0.6], [0.3, 0.3, 0.4]]], "float32")
    expected = -np.log([0.5, 0.6]) - 0.4 * np.log([0.1, 0.4])
    np.testing.assert_allclose(make_loss(3, [0.4])(labels, scores), expected, rtol=1e-5)
    # Label smoothing 0.3 gives the right class 0.8 and the others 0.1 each.
    smoothed = make_loss(3, label_smoothing=0.3)(labels, scores[:, :1])
    np.testing.assert_allclose(smoothed[0], -(0.8 * np.log(0.5) + 0.1 * np.log(0.3 * 0.2)), rtol=1e-5)
    # The auxiliary head, wrong in the first image, has no part in the accuracy.
    np.testing.assert_array_equal(accuracy(labels, scores), [1, 1])


def test_cutout_greys_a_square_while_training():
    inputs = keras.Input((16, 16, 3))
    identity = keras.Model(inputs, keras.layers.Identity()(inputs))
    model = with_input_pipeline(identity, "none", Recipe(1, cutout_fraction=0.5))
    white = np.full((32, 16, 16, 3), 255, np.uint8)
    grey = np.asarray(model(white, training=True))[:, 0, ..., 0] == 0
    # Edges at fractions of a pixel: 8 of 16, give or take a row and a column.
    assert all(7 * 7 <= each.sum() <= 9 * 9 for each in grey)
    assert len({tuple(np.argwhere(each)[0]) for each in grey}) > 5  # in many places
    assert (np.asarray(model(white, training=False)) == 1).all()


def tiny_scale(**changes):
    return Scale(8, 3, 1, 2, "cifar", bn_momentum=0.9, **changes)


def test_a_network_ships_without_what_it_was_trained_with():
    """Auxiliary head and drop path train, and the network that ships has the trained weights and neither."""
    space = NASNetSpace(blocks=1, operations=("conv_3x3", "identity"))
    architecture = space.decode((0, 1, 0, 0, 0) * 2)
    built = []
    recipe = Recipe(2, batch_size=16, learning_rate=0.1, auxiliary_weight=0.4)
    scale = tiny_scale()
    train_scale = dataclasses.replace(scale, auxiliary_head=True, drop_path_keep=0.6)

    def build(scale):
        built.append(space.build(architecture, scale))
        return built[-1]

    shipped, outcome = train_network(build, scale, Noise(), recipe, 0, train_scale)
    trained = built[0]
    assert len(trained.outputs) == 2 and len(shipped.outputs) == 1 and built[1] is shipped
    assert {type(layer).__name__ for layer in trained.layers} - {type(layer).__name__ for layer in shipped.layers} >= {
        "DropPath",
        "TrainingProgress",
    }
    progress = trained.get_layer("training_progress")
    assert (int(progress.step), int(progress.total_steps)) == (6, 6)  # 2 epochs of 48 / 16 steps
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(shipped(pictures), trained(pictures, training=False)[0], atol=1e-6)
    assert 0 <= outcome.accuracy.validation <= 1 and outcome.accuracy.test is None  # no test image is read
    # The auxiliary loss reached the auxiliary head: its weights are not what they were made with.
    keras.utils.set_random_seed(0)
    untrained = space.build(architecture, train_scale)
    kernels = [model.get_layer("auxiliary").get_weights()[0] for model in (trained, untrained)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_training_ends_with_the_averaged_weights():
    inputs = keras.Input((8, 8, 3))
    dense = keras.layers.Dense(3, activation="softmax", kernel_initializer="zeros")
    child = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    finals = []
    for decay in (0.0, 0.9):
        dense.set_weights([np.zeros((192, 3)), np.zeros(3)])
        train(child, Noise(), Recipe(1, batch_size=16, ema_decay=decay))
        finals.append(dense.get_weights()[0])
    # The average lags behind: after three steps its decays were 2/11, 3/12 and 4/13.
    assert 0 < np.linalg.norm(finals[1]) < np.linalg.norm(finals[0])
