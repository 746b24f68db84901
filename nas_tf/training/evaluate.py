"""Loss and accuracy of a network."""

import itertools
import math

import numpy as np

from nas_tf.training.input_pipeline import with_input_pipeline


def evaluate(network, split, batch_size=64):
    """Returns the accuracy of a network, a float in [0, 1].

    Args:
        network: `keras.Model` from float32 [batch, size, size, 3] in [-1, 1] to class probabilities.
        split: `Images` or a `Stream`.
        batch_size: images in a step.
    """
    model = with_input_pipeline(network, "none")
    model.compile(loss=make_loss(network.outputs[0].shape[-1]), metrics=[accuracy], jit_compile=False)
    return accuracy_on(model, split, batch_size)


def accuracy_on(model, split, batch_size, steps=None):
    """Returns the accuracy of a model that takes pixels, a float in [0, 1].

    Args:
        model: a `keras.Model` with its input pipeline, compiled with the metric `accuracy`.
        split: `Images` or a `Stream`.
        batch_size: images in a step.
        steps: batches to read at most; None: all.
    """
    batches = split.batches(batch_size)
    if steps is not None:  # Keras warns of a split that has fewer
        steps = min(steps, math.ceil(split.num_examples / batch_size))
    if getattr(getattr(model, "distribute_strategy", None), "num_replicas_in_sync", 1) == 1:
        return float(model.evaluate(batches, steps=steps, verbose=0, return_dict=True)["accuracy"])
    # `evaluate` would trace again each time. Here every device judges every image, with the same result.
    model.reset_metrics()
    numbered = (batches[i] for i in range(len(batches))) if hasattr(batches, "num_batches") else batches
    for images, labels in itertools.islice(numbered, steps):
        logs = model.test_on_batch(images, labels, return_dict=True)
    return float(logs["accuracy"])


def traced(model):
    """Returns a function from float32 images to what a network's first output is for them, a NumPy array.

    It is traced for the first batch, and for one of another size. After that it takes less than half of the time of a
    call of the network.
    """
    import keras

    model = keras.Model(model.inputs[0], model.outputs[0])
    if getattr(getattr(model, "distribute_strategy", None), "num_replicas_in_sync", 1) > 1:
        return lambda images: keras.ops.convert_to_numpy(model(images, training=False))
    model.compile(jit_compile=False)
    return lambda images: np.asarray(model.predict_on_batch(np.asarray(images)))


def make_loss(num_classes, auxiliary_weights=(), label_smoothing=0.0, teacher_weight=None):
    """Returns the loss as Keras takes it: cross entropy of the first head, and of auxiliary heads with their weights.

    Labels are int [batch], or float [batch, classes] where they are probabilities. A label of -1 says nothing.

    Args:
        num_classes: classes of the data set.
        auxiliary_weights: weights of the heads after the first.
        label_smoothing: probability that labels give away evenly.
        teacher_weight: share of the first head's loss that goes to a teacher's probabilities, which are the last head;
            None: there is no teacher.
    """
    import keras

    def cross_entropy(targets, probabilities, smoothing=0.0):
        return keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=smoothing)

    def loss(labels, probabilities):
        targets, is_known = labels, 1.0
        if not _are_probabilities(labels, num_classes):
            labels = keras.ops.reshape(labels, (-1,))
            targets = keras.ops.one_hot(labels, num_classes)
            is_known = keras.ops.cast(labels >= 0, "float32")
        of_labels = is_known * sum(
            weight * cross_entropy(targets, probabilities[:, head], label_smoothing)
            for head, weight in enumerate((1.0, *auxiliary_weights))
        )
        if teacher_weight is None:
            return of_labels
        of_teacher = cross_entropy(keras.ops.stop_gradient(probabilities[:, -1]), probabilities[:, 0])
        share = 1.0 - is_known * (1.0 - teacher_weight)
        return (1.0 - share) * of_labels + share * of_teacher

    return loss


def accuracy(labels, probabilities):
    """Returns float32 [batch]: 1 where the first head is right. Keras takes the metric's name from this function."""
    import keras

    if _are_probabilities(labels, probabilities.shape[-1]):
        labels = keras.ops.argmax(labels, axis=-1)
    return keras.metrics.sparse_categorical_accuracy(labels, probabilities[:, 0])


def _are_probabilities(labels, num_classes):
    return len(labels.shape) == 2 and labels.shape[-1] == num_classes > 1
