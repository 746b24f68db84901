"""The papers' own judge: a child is built at the proxy scale, trained for a few epochs and run on validation images."""

import dataclasses
import functools

from nas_tf.judges import Judge, build_child, child_of, repeated_seed
from nas_tf.quiet import fresh_keras

_SIZES = 2  # image sizes of which the images stay in memory


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose: the flags `--proxy_...` are those of every search."""


def make(config, task):
    """Returns the `ProxyJudge` of a `nas_tf.judges.Task`."""
    return ProxyJudge(task)


class ProxyJudge(Judge):
    """The validation accuracy of a child after the task's recipe. The seed decides initial weights and order."""

    def __init__(self, task):
        self._task = task
        self._images = functools.lru_cache(maxsize=_SIZES)(self._read)

    def check(self):
        """Does nothing: the data set checks the images."""

    def describe(self):
        return {"judge": "proxy"}

    def _read(self, image_size):
        return _ReadOnce(self._task.images.make(image_size, self._task.proxy_samples))

    def accuracy(self, tokens, max_steps=None, repeat=0):
        from nas_tf.training.train import train

        task = self._task
        seed = repeated_seed(task.seed, repeat)
        keras = fresh_keras(seed)
        child = build_child(task, tokens)
        image_size = task.space.space.scale_of(child_of(task, tokens), task.proxy_scale).image_size
        trained = train(child, self._images(image_size), task.recipe, seed=seed, max_steps=max_steps)
        del child
        keras.backend.clear_session()
        return trained


class _ReadOnce:
    """A data set whose train and validation splits are read once in the life of a process. It has no test split."""

    def __init__(self, dataset):
        self.augmentation, self.num_classes = dataset.augmentation, dataset.num_classes
        self.train = functools.cache(dataset.train)
        self.validation = functools.cache(dataset.validation)
