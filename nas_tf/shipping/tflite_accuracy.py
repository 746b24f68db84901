"""The accuracy of a TFLite file as it ships: every image of a split goes through the file itself."""

import os

import numpy as np

from nas_tf.bars import progress_bar
from nas_tf.shipping.tflite_classifier import TFLiteClassifier
from nas_tf.trial import UserError

_READ_AT_ONCE = 32  # images


def accuracy(path, split, progress=None):
    """Returns how often the file's most probable class is the label, a float in [0, 1].

    Images are scaled to [-1, 1] as everywhere here. LiteRT runs the file in this process, on all cores.

    Args:
        path: of the file.
        split: `nas_tf.datasets.Images` or a `Stream`.
        progress: what the progress bar is called; None: no bar.

    Raises:
        UserError: the split is empty, or the file takes images of another size or knows fewer classes.
        RuntimeError, ValueError: LiteRT cannot run the file.
    """
    if split.num_examples == 0:
        raise UserError(f"Expected images to run {os.fspath(path)} on. Received: an empty split")
    classifier = TFLiteClassifier(path)
    num_right, num_seen = 0, 0
    bar = progress_bar(total=split.num_examples, desc=progress, unit="image", disable=None if progress else True)
    with bar:
        for images, labels in split.batches(_READ_AT_ONCE):
            images, labels = np.asarray(images), np.asarray(labels)
            _check(path, classifier, images, labels)
            num_right += int(np.sum(classifier.probabilities(images).argmax(axis=-1) == labels))
            num_seen += len(labels)
            bar.update(len(labels))
    return num_right / num_seen


def _check(path, classifier, images, labels):
    if images.shape[1:] != classifier.image_shape:
        raise UserError(
            f"Expected images of {_size(classifier.image_shape)}, as {os.fspath(path)} takes. "
            f"Received: {_size(images.shape[1:])}"
        )
    if labels.max() >= classifier.num_classes:
        raise UserError(
            f"Expected labels of the {classifier.num_classes} classes that {os.fspath(path)} knows. "
            f"Received: class number {labels.max()}"
        )


def _size(shape):
    return " x ".join(str(side) for side in shape)
