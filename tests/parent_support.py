"""A small trained network to inherit from, of `parts/small_mnasnets.py`, and what knows of it."""

from toy_networks import PARTS

from mnas_tf.spaces.mnasnet import Scale
from nas_tf.datasets import Source
from nas_tf.export import to_keras
from nas_tf.judges import Task
from nas_tf.networks.folder import describe, write_description
from nas_tf.plugins import Part
from nas_tf.training.network import train_network
from nas_tf.training.recipe import Recipe

SPACE = Part("mnas_tf.spaces", str(PARTS / "small_mnasnets.py"))
DIGITS = Source(Part("nas_tf.datasets", "digits"), "", seed=1)
TOKENS = (1, 1, 1)  # of the parent


def write_parent(folder, epochs=4, size=16, activation="relu6"):
    """Trains the parent on digits of `size` px and writes what of its folder an heir reads; returns the description."""
    space, dataset = SPACE.space, DIGITS.make(size, 400)
    scale, architecture = Scale(size, 10, bn_momentum=0.9, activation=activation), space.decode(TOKENS)
    recipe = Recipe(epochs, learning_rate=0.05)
    model, training = train_network(lambda scale: space.build(architecture, scale), scale, dataset, recipe, seed=0)
    folder.mkdir(parents=True, exist_ok=True)
    to_keras(model, folder / "model.keras")
    description = training.described(describe(SPACE, architecture, scale, dataset))
    write_description(folder, description)
    return description


def heirs_task(parent, description, samples=200):
    """The `Task` of children that inherit from the folder `parent`, on digits of its size."""
    scale = Scale(**{**description.scale, "dropout_rate": 0.0})
    return Task(
        space=SPACE,
        images=DIGITS,
        proxy_scale=scale,
        deploy_scale=scale,
        recipe=Recipe(1),
        proxy_samples=samples,
        seed=1,
        published="mnas_tf.published",
        parent=str(parent),
    )
