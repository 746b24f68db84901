"""A child begins with the weights of a parent that was fine-tuned on the user's images, and is trained briefly.

Once a run, the parent of `--parent` is fine-tuned at the judge's image size. A child inherits from it, its classifier
included, and learns for a short time (`nas_tf.training.children`). A child is the network that would ship, at
`--proxy_image_size`; the width of proxies has no say. Its rungs are: untrained, and trained.
"""

import dataclasses
import functools
import importlib
import time

from nas_tf.bars import doing
from nas_tf.judges import Judge, build_child, child_of, repeated_seed
from nas_tf.networks import inheritance
from nas_tf.quiet import fresh_keras
from nas_tf.training.children import ChildTraining, Trainer, child_scale
from nas_tf.training.train import Trained
from nas_tf.trial import UserError

__all__ = ["Config", "InheritedJudge", "child_scale", "make"]


@dataclasses.dataclass(frozen=True)
class Config(ChildTraining):
    """How the parent and its children are trained."""


def make(config, task):
    """Returns the `InheritedJudge` of a `nas_tf.judges.Task`."""
    return InheritedJudge(config, task)


class InheritedJudge(Judge):
    """The validation accuracy of a child that began with its parent's weights."""

    rung_works = (0.2, 1.0)

    def __init__(self, config, task):
        self._config, self._task, self._space = config, task, task.space.space

    def check(self):
        self._trainer.counterparts(self._space.decode((0,) * len(self._space.decisions)))

    def describe(self):
        return {"judge": "inherited", **self._parent.facts(), **dataclasses.asdict(self._config)}

    @functools.cached_property
    def _parent(self):
        if not self._task.parent:
            raise UserError(
                "--judge=inherited needs --parent, a trained network whose weights children begin with. Received: none"
            )
        return importlib.import_module(self._task.published).parent(self._task.parent)

    @functools.cached_property
    def _trainer(self):
        task = self._task
        parts = self._space, task.images, task.proxy_scale, task.proxy_samples, task.seed
        return Trainer(self._config, *parts, self._parent)

    def prepare(self, folder):
        task = self._task
        self._trainer.prepare(
            folder, {**self.describe(), "scale": dataclasses.asdict(task.proxy_scale), "seed": task.seed}
        )

    def accuracy(self, tokens, max_steps=None, repeat=0, rung=None):
        begin, task, trainer = time.perf_counter(), self._task, self._trainer
        architecture = child_of(task, tokens)
        image_size = self._space.scale_of(architecture, task.proxy_scale).image_size
        inheritable, seed = trainer.inheritable(image_size), repeated_seed(task.seed, repeat)  # before it is cleared
        keras = fresh_keras(seed)
        child = build_child(task, tokens)
        doing("inheriting")
        inheritance.inherit(child, inheritable, trainer.counterparts(architecture))
        if rung == 0:
            doing("validating")
            reached, error = trainer.judged(child, image_size)
            trained = Trained(reached, 0.0, 0.0, 0.0, 0, standard_error=error)
        else:
            trained = trainer.train(child, image_size, seed, max_steps)
        del child
        keras.backend.clear_session()
        return dataclasses.replace(trained, train_seconds=time.perf_counter() - begin)
