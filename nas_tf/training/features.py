"""Early layers that stay frozen are computed once: the rest of a network is trained on what they make of the images.

An image and its mirror image have features of their own, where the data set allows that, and epochs take turns. Nothing
else is altered, and batch normalisation in the frozen layers is as in use.
"""

import dataclasses
import math
import shutil
import tempfile

import numpy as np

from nas_tf import complexity
from nas_tf.bars import progress_bar
from nas_tf.datasets import Stream, indexed_batches, scale_pixels
from nas_tf.training.evaluate import traced
from nas_tf.training.input_pipeline import FEATURES
from nas_tf.training.views import ViewSteps, num_views, views_of
from nas_tf.trial import UserError

_BATCH = 32
_FREE_BYTES = 1 << 30  # that stay free on the disk


def without_frozen(model, dataset, recipe, teacher=None, folder=None):
    """Returns what is left to train where a recipe freezes early layers: `(keras.Model, data set, Recipe)`.

    The model is the later layers, whose weights are those of `model`; the data set holds features in place of images,
    and what the teacher answered. All three are as they were if the network can be cut nowhere before its
    `frozen_fraction`.

    Args:
        model: `keras.Model` from images in [-1, 1] to probabilities.
        dataset: its `nas_tf.datasets.Dataset`.
        recipe: the `nas_tf.training.recipe.Recipe`.
        teacher: `keras.Model` of the same classes, or None. It is asked about each view of an image once.
        folder: where the features lie, in a file that is gone with the process; None: where temporary files do.

    Raises:
        UserError: the disk has no room for the features.
    """
    import keras

    last = complexity.last_narrow_layer(model, recipe.frozen_fraction)
    if last is None:
        return model, dataset, recipe
    outputs = model.outputs if len(model.outputs) > 1 else model.outputs[0]
    early, later = keras.Model(model.inputs[0], last.output), keras.Model(last.output, outputs)
    found = FeatureDataset(early, dataset, recipe, teacher, folder)
    if teacher is not None:  # labels were smoothed where they met the teacher's answers
        recipe = dataclasses.replace(recipe, label_smoothing=0.0)
    return later, found, recipe


class FeatureDataset:
    """A data set of what a network makes of images; `without_frozen` explains the arguments."""

    augmentation = FEATURES

    def __init__(self, early, dataset, recipe, teacher, folder):
        train, validation, self.num_classes = dataset.train(), dataset.validation(), dataset.num_classes
        views, shape = num_views(dataset), early.outputs[0].shape[1:]
        needed = 4 * math.prod(shape) * (views * train.num_examples + validation.num_examples)
        free = shutil.disk_usage(folder or tempfile.gettempdir()).free
        if needed > free - _FREE_BYTES:
            raise UserError(
                f"The features of the frozen layers take {needed / 1e9:.1f} GB. Expected so much on the disk of "
                f"{folder or tempfile.gettempdir()}, and 1 GB besides. Received: {free / 1e9:.1f} GB. Another "
                "frozen_fraction may need less, 0 needs none"
            )

        def split_of(split, views, teacher=None):
            features = _on_disk((views, split.num_examples, *shape), folder)
            targets = _compute(early, split, features, teacher, recipe, self.num_classes)

            def read(indices):
                view, image = np.divmod(indices, split.num_examples)
                return features[view, image], targets[view, image] if targets.ndim == 3 else targets[image]

            def batches(batch_size, *, seed=None, epochs=1, first_step=0):
                return indexed_batches(read, ViewSteps(split.num_examples, batch_size, seed, epochs, first_step, views))

            return Stream(batches, split.num_examples)

        self._train, self._validation = split_of(train, views, teacher), split_of(validation, 1)

    def train(self):
        return self._train

    def validation(self):
        return self._validation


def _on_disk(shape, folder):
    """Returns a float32 array in a file without a name, so that nothing is left of it, however the process ends."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def _compute(early, split, features, teacher, recipe, num_classes):
    """Fills `features`, [views, images, ...], and returns labels: int32 [images], or with a teacher probabilities,
    float32 [views, images, classes]."""
    views, labels, answers = len(features), [], []
    compute, ask = traced(early), teacher and traced(teacher)
    with progress_bar(total=split.num_examples, desc="features of the frozen layers", leave=False) as bar:
        first = 0
        for pixels, known in split.batches(_BATCH):
            seen = views_of(scale_pixels(np.asarray(pixels)), views)
            for view, images in enumerate(seen):
                features[view, first : first + len(images)] = compute(images)
            if teacher is not None:
                answers.append([ask(images) for images in seen])
            labels.append(np.asarray(known).reshape(-1))
            first += len(pixels)
            bar.update(len(pixels))
    labels = np.concatenate(labels).astype(np.int32)
    if teacher is None:
        return labels
    taught = np.concatenate(answers, axis=1).astype(np.float32)
    smoothing = recipe.label_smoothing
    truth = (1 - smoothing) * np.eye(num_classes, dtype=np.float32)[labels] + smoothing / num_classes
    share = np.where(labels >= 0, recipe.teacher_weight, 1.0).astype(np.float32)[:, None]  # -1 says nothing
    return (1 - share) * truth + share * taught
