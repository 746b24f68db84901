"""A network's classifier fitted in closed form: the images are read once, and nothing is trained step by step.

Fine-tuning that begins with a random classifier first spoils the features behind which it stands. Ridge regression from
the features to the classes gives a classifier that is near the best one, in the time of one pass.
"""

import numpy as np

from nas_tf.datasets import scale_pixels
from nas_tf.training.evaluate import traced
from nas_tf.trial import UserError

_SCORES = 10.0  # between the scores of a sure class and of the others, so that softmax says so
_RIDGE = 1.0  # times the number of images; features are standardised


def fit_head(model, split, batch_size=64):
    """Fits the last layer of a network to the labels of images, in place, and returns nothing.

    Features that hardly vary are not blown up: they are divided by half of the median deviation at least. Otherwise the
    first steps of fine-tuning, which move them, explode.

    Args:
        model: `keras.Model` from float32 [batch, size, size, 3] in [-1, 1] to probabilities, whose last layer is a
            Dense with a bias.
        split: `Images` or a `Stream`; no image is augmented, and one with a label below 0 is left out.
        batch_size: images in a step.

    Raises:
        UserError: the network ends in another layer.
    """
    import keras

    head = head_of(model)
    features = traced(keras.Model(model.inputs[0], head.input))
    classes = head.units
    count, total, gram, by_class = 0, 0.0, 0.0, 0.0
    per_class = np.zeros(classes)
    for pixels, labels in split.batches(batch_size):
        labels = np.asarray(labels).reshape(-1)
        pixels, labels = np.asarray(pixels)[labels >= 0], labels[labels >= 0]
        if not len(labels):
            continue
        x = features(scale_pixels(pixels)).astype("float64")
        y = np.eye(classes)[labels]
        count, total, gram, by_class = count + len(x), total + x.sum(0), gram + x.T @ x, by_class + x.T @ y
        per_class += y.sum(0)
    mean, share = total / count, per_class / count
    variance = np.maximum(np.diag(gram) / count - mean**2, 0.0)
    deviation = np.sqrt(variance)
    deviation = np.maximum(deviation, np.median(deviation) / 2 or 1.0)
    covariance = (gram - count * np.outer(mean, mean)) / np.outer(deviation, deviation)
    answers = _SCORES * (by_class - np.outer(total, share)) / deviation[:, None]
    kernel = np.linalg.solve(covariance + _RIDGE * count * np.eye(len(mean)), answers) / deviation[:, None]
    bias = _SCORES * (share - 1 / classes) - mean @ kernel
    head.set_weights([kernel.astype("float32"), bias.astype("float32")])


def head_of(model):
    """Returns the last layer of a network, a Dense with a bias.

    Raises:
        UserError: the network ends in another layer.
    """
    import keras

    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense) or not last.use_bias:
        raise UserError(
            f"A classifier is fitted in closed form where it is a Dense layer with a bias. Received: {model.name}, "
            f"which ends in {last.name!r} ({type(last).__name__})"
        )
    return last
