"""The papers' own judge: a child is built at the proxy scale, trained for a few epochs and run on validation images."""

import dataclasses
import functools

import numpy as np

from nas_tf.judges import Judge, build_child
from nas_tf.quiet import fresh_keras


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose: the flags `--proxy_...` are those of every search."""


def make(config, task):
    """Returns the `ProxyJudge` of a `nas_tf.judges.Task`."""
    return ProxyJudge(task)


class ProxyJudge(Judge):
    """The validation accuracy of a child after the task's recipe. The seed decides initial weights and order."""

    def __init__(self, task):
        self._task, self._space = task, task.space.space

    def check(self):
        """Does nothing: the data set checks the images."""

    def describe(self):
        return {"judge": "proxy"}

    @functools.cached_property
    def _images(self):
        return _ReadOnce(self._task.images.make(self._task.proxy_scale.image_size, self._task.proxy_samples))

    def accuracy(self, tokens, max_steps=None, repeat=0):
        from nas_tf.training.train import train

        task = self._task
        seed = int(np.random.SeedSequence((task.seed, repeat)).generate_state(1)[0]) if repeat else task.seed
        keras = fresh_keras(seed)
        child = build_child(self._space, tokens, task.proxy_scale)
        trained = train(child, self._images, task.recipe, seed=seed, max_steps=max_steps)
        del child
        keras.backend.clear_session()
        return trained


class _ReadOnce:
    """A data set whose train and validation splits are read once in the life of a process. It has no test split."""

    def __init__(self, dataset):
        self.augmentation, self.num_classes = dataset.augmentation, dataset.num_classes
        self.train = functools.cache(dataset.train)
        self.validation = functools.cache(dataset.validation)
