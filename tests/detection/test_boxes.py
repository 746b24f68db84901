"""Anchors, coding and matching against arithmetic by hand and against loops."""

import math

import numpy as np
import pytest

from nas_tf.detection import boxes
from nas_tf.detection.matching import match
from nas_tf.networks.ssdlite import map_sizes, num_anchors


def test_maps_and_anchors_are_those_of_the_published_detector():
    assert map_sizes(320) == (20, 10, 5, 3, 2, 1)
    assert map_sizes(300) == (19, 10, 5, 3, 2, 1)
    # 19 x 19 x 3 + 6 x (100 + 25 + 9 + 4 + 1), which SSDLite on MobileNetV2 has at 300 px (tensorflow/models).
    assert len(boxes.anchors(300)) == num_anchors(300) == 1917
    assert len(boxes.anchors(320)) == 2034


def test_anchors_by_hand():
    found = boxes.anchors(320)
    # The first place of the first map has its middle at 1/40; a square of 0.1, then 2:1 and 1:2 of scale 0.2.
    wide, high = 0.2 * math.sqrt(2), 0.2 / math.sqrt(2)
    middle = 1 / 40
    by_hand = [
        (middle - 0.05, middle - 0.05, middle + 0.05, middle + 0.05),
        (middle - high / 2, middle - wide / 2, middle + high / 2, middle + wide / 2),
        (middle - wide / 2, middle - high / 2, middle + wide / 2, middle + high / 2),
    ]
    np.testing.assert_allclose(found[:3], by_hand, atol=1e-6)
    # The next place is the next column.
    np.testing.assert_allclose(found[3] - found[0], [0, 0.05, 0, 0.05], atol=1e-6)
    # The last map has one place: scale 0.95, and a square between 0.95 and 1.
    sides = [(1, 1), (2**-0.5, 2**0.5), (2**0.5, 2**-0.5), (3**-0.5, 3**0.5), (3**0.5, 3**-0.5)]
    sides = [(0.95 * height, 0.95 * width) for height, width in sides] + [(math.sqrt(0.95),) * 2]
    np.testing.assert_allclose(found[-6:, 2:] - found[-6:, :2], sides, atol=1e-6)
    np.testing.assert_allclose((found[-6:, :2] + found[-6:, 2:]) / 2, 0.5, atol=1e-6)


def test_coding_by_hand_and_back():
    around = np.float32([[0.2, 0.2, 0.4, 0.6]])  # middle (0.3, 0.4), height 0.2, width 0.4
    box = np.float32([[0.3, 0.3, 0.5, 0.5]])  # middle (0.4, 0.4), height 0.2, width 0.2
    by_hand = [[(0.1 / 0.2) / 0.1, 0.0, 0.0, math.log(0.5) / 0.2]]
    np.testing.assert_allclose(boxes.encode(box, around), by_hand, atol=1e-5)
    rng = np.random.default_rng(0)
    low, around = rng.uniform(0, 0.5, (3, 2034, 2)), boxes.anchors(320)
    some = np.concatenate([low, low + rng.uniform(0.01, 0.5, (3, 2034, 2))], axis=-1).astype("float32")
    np.testing.assert_allclose(boxes.decode(boxes.encode(some, around), around), some, atol=1e-5)  # float32 logarithms


def test_matching_by_hand():
    around = np.float32([[0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1], [0.5, 0, 1, 0.5], [0.4, 0, 0.9, 0.5]])
    objects = np.float32([[
        [0, 0, 0.5, 0.4, 2],  # IoU 0.8 with the first anchor
        [0.5, 0.05, 1, 0.5, 1],  # IoU 0.9 with the third, and (0.4 x 0.45) / (0.25 + 0.225 - 0.18) = 0.61 with the last
        [0.1, 0.9, 0.2, 1, 3],  # IoU 0.04 with the second, which is the most
        [0, 0, 0, 0, 0],
    ]])  # fmt: skip
    differences, classes = (np.asarray(each) for each in match(objects, around))
    assert classes.tolist() == [[2, 3, 1, 1]]
    expected = [boxes.encode(objects[0, i, :4][np.newaxis], around[j][np.newaxis]) for j, i in enumerate((0, 2, 1, 1))]
    np.testing.assert_allclose(differences[0], np.concatenate(expected), atol=1e-5)


def test_an_image_without_objects_matches_background():
    differences, classes = match(np.zeros((2, 3, 5), "float32"), boxes.anchors(64))
    assert not np.asarray(classes).any() and not np.asarray(differences).any()


@pytest.mark.parametrize("seed", range(3))
def test_matching_against_a_loop(seed):
    rng, around = np.random.default_rng(seed), boxes.anchors(96)
    low = rng.uniform(0, 0.7, (2, 5, 2))
    corners = np.concatenate([low, low + rng.uniform(0.05, 0.3, (2, 5, 2))], axis=-1)
    classes = rng.integers(0, 4, (2, 5, 1))
    objects = np.concatenate([corners, classes], axis=-1).astype("float32")
    _, found = match(objects, around)
    for image, row in zip(objects, np.asarray(found)):
        assert row.tolist() == _matched(image, around)


def _matched(objects, around):
    """The class of each anchor, one box after the other."""
    answer, best = [0] * len(around), [0.0] * len(around)
    objects = [each for each in objects.astype("float64") if each[4] > 0]
    overlaps = [[_iou(each, anchor) for anchor in around.astype("float64")] for each in objects]
    for each, row in zip(objects, overlaps):
        for i, overlap in enumerate(row):
            if overlap >= 0.5 and overlap > best[i]:
                answer[i], best[i] = int(each[4]), overlap
    for each, row in zip(objects, overlaps):
        answer[int(np.argmax(row))] = int(each[4])
    return answer


def _iou(one, other):
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(height, 0) * max(width, 0)
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (one, other)]
    return shared / (sum(areas) - shared)
