"""The loss against Keras's own losses, and hard negatives by hand."""

import keras
import numpy as np
import pytest

from nas_tf.detection import boxes
from nas_tf.detection.loss import detection_loss, hard_negatives
from nas_tf.detection.matching import match


def test_hard_negatives_by_hand():
    class_loss = np.float32([[5, 1, 2, 9, 4, 3, 8, 7], [1, 2, 3, 4, 5, 6, 7, 8]])
    has_object = np.float32([[0, 0, 0, 1, 0, 0, 0, 0], [0] * 8])
    # One object: its three hardest, 8, 7 and 5. No object: the least number of an image, three.
    expected = [[1, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1, 1, 1]]
    assert np.asarray(hard_negatives(class_loss, has_object)).tolist() == expected


@pytest.fixture(scope="module")
def case():
    rng, around = np.random.default_rng(0), boxes.anchors(64)
    low = rng.uniform(0, 0.5, (2, 3, 2))
    corners = np.concatenate([low, low + rng.uniform(0.1, 0.5, (2, 3, 2))], axis=-1)
    objects = np.concatenate([corners, rng.integers(1, 4, (2, 3, 1))], axis=-1).astype("float32")
    outputs = rng.normal(0, 2, (2, len(around), 4 + 4)).astype("float32")
    differences, classes = (np.asarray(each) for each in match(objects, around))
    return around, objects, outputs, differences, classes


@pytest.mark.parametrize("kind", ["hard_negatives", "focal"])
def test_the_loss_is_the_sum_of_keras_losses(case, kind):
    around, objects, outputs, differences, classes = case
    has_object = classes > 0
    box_loss = 4 * keras.losses.Huber(delta=1.0, reduction=None)(differences, outputs[..., :4])  # Keras takes the mean
    wanted, logits = np.eye(4, dtype="float32")[classes], outputs[..., 4:]
    if kind == "focal":
        each = keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=True, alpha=0.25, gamma=2.0, from_logits=True, reduction=None
        )
        counted = np.ones_like(has_object)
    else:
        each = keras.losses.BinaryCrossentropy(from_logits=True, reduction=None)
    # Keras takes the mean over the last axis: 4 logits.
    class_loss = 4 * np.asarray(each(wanted, logits))
    if kind == "hard_negatives":
        counted = has_object.copy()
        for row, losses, positive in zip(counted, class_loss, has_object):
            order = [i for i in np.argsort(-losses) if not positive[i]]
            row[order[: 3 * positive.sum()]] = True
    expected = (np.asarray(box_loss)[has_object].sum() + class_loss[counted].sum()) / has_object.sum()
    found = float(detection_loss(around, kind)(objects, outputs))
    assert found == pytest.approx(float(expected), rel=1e-4)  # float32 sums in another order


def test_without_any_object_the_loss_is_finite_and_has_a_gradient():
    around = boxes.anchors(64)
    outputs = np.zeros((1, len(around), 4 + 3), "float32")
    # Three logits of each of the three hardest anchors, all at 0: 9 log 2, over at least 1.
    found = float(detection_loss(around)(np.zeros((1, 2, 5), "float32"), outputs))
    assert found == pytest.approx(9 * np.log(2), rel=1e-5)
