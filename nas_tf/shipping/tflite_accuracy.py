"""The accuracy of a TFLite file as it ships: every image of a split goes through the file itself."""

import os

import numpy as np

from nas_tf.bars import progress_bar
from nas_tf.datasets import scale_pixels
from nas_tf.quiet import quiet
from nas_tf.trial import UserError

_READ_AT_ONCE = 32  # images; the file keeps its own batch size


def accuracy(path, split, progress=None):
    """Returns how often the file's most probable class is the label, a float in [0, 1].

    Images are scaled to [-1, 1] as everywhere here. If the file's input is of integers, they are quantised by its own
    scale and zero point. LiteRT runs the file in this process, on all cores.

    Args:
        path: of the file.
        split: `nas_tf.datasets.Images` or a `Stream`.
        progress: what the progress bar is called; None: no bar.

    Raises:
        UserError: the split is empty, or the file takes images of another size or knows fewer classes.
        RuntimeError, ValueError: LiteRT cannot run the file.
    """
    from ai_edge_litert.interpreter import Interpreter

    if split.num_examples == 0:
        raise UserError(f"Expected images to run {os.fspath(path)} on. Received: an empty split")
    with quiet():
        interpreter = Interpreter(os.fspath(path), num_threads=os.cpu_count())
        interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    batch_size, num_right, num_seen = given["shape"][0], 0, 0
    bar = progress_bar(total=split.num_examples, desc=progress, unit="image", disable=None if progress else True)
    with bar:
        for images, labels in split.batches(_READ_AT_ONCE):
            images, labels = np.asarray(images), np.asarray(labels)
            _check(path, given["shape"], wanted["shape"], images, labels)
            for start in range(0, len(labels), batch_size):
                some = images[start : start + batch_size]
                padded = np.concatenate([some, np.repeat(some[:1], batch_size - len(some), axis=0)])
                interpreter.set_tensor(given["index"], _as_input(padded, given))
                interpreter.invoke()
                # With one scale and zero point, integers have the order of the probabilities that they stand for.
                classes = _as_probabilities(interpreter.get_tensor(wanted["index"]), wanted).argmax(axis=-1)
                num_right += int(np.sum(classes[: len(some)] == labels[start : start + batch_size]))
                bar.update(len(some))
            num_seen += len(labels)
    return num_right / num_seen


def _check(path, input_shape, output_shape, images, labels):
    if tuple(images.shape[1:]) != tuple(input_shape[1:]):
        raise UserError(
            f"Expected images of {_size(input_shape)}, as {os.fspath(path)} takes. Received: {_size(images.shape)}"
        )
    if labels.max() >= output_shape[-1]:
        raise UserError(
            f"Expected labels of the {output_shape[-1]} classes that {os.fspath(path)} knows. "
            f"Received: class number {labels.max()}"
        )


def _size(shape):
    return " x ".join(str(side) for side in shape[1:])


def _as_input(images, detail):
    values = scale_pixels(images)
    if not np.issubdtype(detail["dtype"], np.integer):
        return values.astype(detail["dtype"])
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / scale + zero_point), limits.min, limits.max).astype(detail["dtype"])


def _as_probabilities(values, detail):
    if not np.issubdtype(detail["dtype"], np.integer):
        return values
    scale, zero_point = detail["quantization"]
    return (values.astype("float32") - zero_point) * scale
