"""A small setup for workers, in a module of its own: a process that a test starts imports it too."""

import pathlib
import tempfile

from mnas_tf.spaces.mnasnet import Scale
from nas_tf.datasets import Source
from nas_tf.judges import Task
from nas_tf.plugins import Part
from nas_tf.search.evaluation import Setup
from nas_tf.training.recipe import Recipe


def make_setup(plain_space, device="simulated", epochs=1, learning_rate=0.1, **settings):
    """The `Setup` of the README's space on few digits; `settings` are those of the device."""
    task = Task(
        space=Part("mnas_tf.spaces", str(plain_space)),
        images=Source(Part("nas_tf.datasets", "digits"), "", seed=3),
        proxy_scale=Scale(16, 10, 1.0),
        deploy_scale=Scale(32, 10, 1.0),
        recipe=Recipe(epochs, learning_rate=learning_rate),
        proxy_samples=200,
        seed=3,
    )
    return Setup(
        task=task,
        judge=Part("nas_tf.judges", "proxy"),
        device=Part("nas_tf.devices", device, settings),
        number_type="float32",
        published="mnas_tf.published",
        judge_folder=str(pathlib.Path(tempfile.gettempdir()) / "no_judge_keeps_anything_here"),
    )
