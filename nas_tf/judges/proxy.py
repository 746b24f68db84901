"""The papers' own judge: a child is built at the proxy scale, trained for a few epochs and run on validation images.

Its rungs are trainings for 1, 2 and 4 times the epochs, each a schedule of its own that begins with the weights of the
one before.
"""

import dataclasses
import functools
import math

import numpy as np

from nas_tf.files import write_array
from nas_tf.judges import KEPT, Judge, build_child, child_of, repeated_seed
from nas_tf.quiet import fresh_keras

_SIZES = 2  # image sizes of which the images stay in memory
_EPOCHS = (1, 2, 4)  # of the rungs, in those of the recipe
_MOST_KEPT = 64  # files of weights


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose: the flags `--proxy_...` are those of every search."""


def make(config, task):
    """Returns the `ProxyJudge` of a `nas_tf.judges.Task`."""
    return ProxyJudge(task)


class ProxyJudge(Judge):
    """The validation accuracy of a child after the task's recipe. The seed decides initial weights and order."""

    rung_works = tuple(map(float, _EPOCHS))

    def __init__(self, task):
        self._task, self._folder = task, None
        self._images = functools.lru_cache(maxsize=_SIZES)(self._read)

    def check(self):
        """Does nothing: the data set checks the images."""

    def describe(self):
        return {"judge": "proxy"}

    def prepare(self, folder):
        self._folder = folder / KEPT

    def _read(self, image_size):
        return _ReadOnce(self._task.images.make(image_size, self._task.proxy_samples))

    def accuracy(self, tokens, max_steps=None, repeat=0, rung=None):
        task, seed = self._task, repeated_seed(self._task.seed, repeat)
        if rung is None:
            return self._trained(tokens, task.recipe, seed, max_steps)[0]
        kept = _Kept(self._folder, f"{task.space.space.decode(tokens).fingerprint}-{repeat}")
        values = kept.read(rung - 1)
        # Where they are lost, as on another machine, the child is trained again.
        for each in range(rung if values is not None else 0, rung + 1):
            recipe = dataclasses.replace(task.recipe, epochs=_EPOCHS[each] * task.recipe.epochs)
            trained, values = self._trained(tokens, recipe, repeated_seed(seed, each), max_steps, values)
        if rung + 1 < len(_EPOCHS):
            kept.write(rung, values)
        return trained

    def _trained(self, tokens, recipe, seed, max_steps, values=None):
        """Trains a child that begins with weights of these values, or random ones; returns the values behind it too."""
        from nas_tf.training.train import train

        task, keras = self._task, fresh_keras(seed)
        child = build_child(task, tokens)
        if values is not None:
            shapes = [each.shape for each in child.get_weights()]
            parts = np.split(values, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
            child.set_weights([part.reshape(shape) for part, shape in zip(parts, shapes)])
        images = self._images(task.space.space.scale_of(child_of(task, tokens), task.proxy_scale).image_size)
        trained = train(child, images, recipe, seed=seed, max_steps=max_steps)
        values = np.concatenate([np.ravel(each) for each in child.get_weights()])
        del child
        keras.backend.clear_session()
        return trained, values


class _Kept:
    """The weights of a child behind its latest rung, in a file until it goes on."""

    def __init__(self, folder, name):
        self._folder, self._name = folder, name

    def _path(self, rung):
        return self._folder / f"{self._name}-{rung}.npy"

    def read(self, rung):
        """Returns the values of all weights, an array, or None if there are none."""
        try:
            return np.load(self._path(rung), allow_pickle=False)
        except (OSError, ValueError, EOFError):  # lost, or damaged
            return None

    def write(self, rung, values):
        self._folder.mkdir(parents=True, exist_ok=True)
        write_array(self._path(rung), values)
        self._path(rung - 1).unlink(missing_ok=True)
        # Of most children nothing more is asked.
        for path in sorted(self._folder.glob("*.npy"), key=_age)[_MOST_KEPT:]:
            path.unlink(missing_ok=True)


def _age(path):
    """Returns what is smaller, the later a file was written; other processes may remove it meanwhile."""
    try:
        return -path.stat().st_mtime_ns
    except OSError:
        return math.inf


class _ReadOnce:
    """A data set whose train and validation splits are read once in the life of a process. It has no test split."""

    def __init__(self, dataset):
        self.augmentation, self.num_classes = dataset.augmentation, dataset.num_classes
        self.train = functools.cache(dataset.train)
        self.validation = functools.cache(dataset.validation)
