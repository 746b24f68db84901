"""Networks that begin with the weights of a parent, or learn from a teacher, wherever they are trained."""

import pathlib

import numpy as np

from nas_tf.bars import doing
from nas_tf.datasets import scale_pixels
from nas_tf.networks import inheritance
from nas_tf.networks.folder import read_keras, read_network
from nas_tf.trial import UserError

EXAMPLES = 96  # images on which layers are fitted to the parent's


def inheriting(space, parent, architecture, scale, dataset, seed=0):
    """Returns `start(model)`, as `nas_tf.training.network.train_network` takes it, for a network that inherits.

    Args:
        space: the `nas_tf.space.SearchSpace`.
        parent: the `nas_tf.networks.parent.ParentNetwork`.
        architecture: the network's own architecture.
        scale: the family's `Scale` of the network, in the parent's style.
        dataset: `nas_tf.datasets.Dataset` of the size of the network's images.
        seed: decides which images layers are fitted on.

    Raises:
        UserError: an architecture of the space cannot inherit from this parent.
    """
    counterparts = space.counterparts(architecture, parent.architecture)

    def start(model):
        doing("inheriting")
        source = parent.build(space, scale)
        inherited = inheritance.inherit(model, inheritance.Parent(source, examples(dataset, seed)), counterparts)
        return f"{parent.name} ({inherited})"

    return start


def examples(dataset, seed=0):
    """Returns some training images of a data set, float32 [n, size, size, 3] in [-1, 1], the same for any model."""
    images, _ = next(iter(dataset.train().batches(EXAMPLES, seed=seed)))
    return scale_pixels(np.asarray(images))


def read_teacher(path, dataset):
    """Returns the `keras.Model` of `--teacher`.

    Raises:
        UserError: it is missing or damaged, or tells other classes apart than the data set has.
    """
    model, known = read_network(path) if pathlib.Path(path).is_dir() else (read_keras(path), None)
    names = known.class_names if known else ()
    if model.outputs[0].shape[-1] != dataset.num_classes:
        raise UserError(
            f"Expected --teacher to know the {dataset.num_classes} classes of the images. Received: {path}, which has "
            f"{model.outputs[0].shape[-1]}"
        )
    for one, other in zip(names, dataset.class_names):
        if one != other:
            raise UserError(f"Expected --teacher to know class {other!r}. Received: {path}, with {one!r} in its place")
    return model
