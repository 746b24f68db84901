"""Non-maximum suppression against a loop, and mean average precision against pycocotools on files and by hand."""

import json

import numpy as np
import pytest
from detection_support import coco, make_images

from nas_tf.detection.annotations import Example
from nas_tf.detection.evaluate import mean_precision
from nas_tf.detection.nms import Suppression, suppressed
from nas_tf.trial import UserError


def test_suppression_against_a_loop():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.8, (2, 60, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.4, (2, 60, 2))], axis=-1).astype("float32")
    scores = rng.uniform(0, 1, (2, 60, 3)).astype("float32")
    kind = Suppression(max_detections=25, least_score=0.2, most_iou=0.4)
    for image in range(2):
        found_boxes, found_scores, found_classes = suppressed(boxes, scores, kind)[image]
        expected = _suppressed(boxes[image], scores[image], kind)
        assert [(each[1], each[2]) for each in expected] == list(zip(found_scores.tolist(), found_classes.tolist()))
        np.testing.assert_allclose(found_boxes, np.clip([each[0] for each in expected], 0, 1), atol=1e-6)


def _suppressed(boxes, scores, kind):
    kept = []
    for label in range(scores.shape[1]):
        own = []
        for i in np.argsort(-scores[:, label], kind="stable"):
            if scores[i, label] > kind.least_score and all(_iou(boxes[i], each) <= kind.most_iou for each, _, _ in own):
                own.append((boxes[i], float(scores[i, label]), label))
        kept += own
    return sorted(kept, key=lambda each: -each[1])[: kind.max_detections]


def _iou(one, other):
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = np.maximum(sides, 0).prod()
    return shared / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - shared)


def _example(boxes, labels, ignored=None, size=100):
    ignored = [False] * len(labels) if ignored is None else ignored
    boxes = np.float32(boxes).reshape(-1, 4)
    return Example("image", size, size, boxes, np.int32(labels), np.array(ignored, bool))


def _found(boxes, scores, classes):
    return np.float32(boxes).reshape(-1, 4), np.float32(scores), np.int32(classes)


def test_mean_precision_by_hand():
    # One object of class 0; class 1 has none, and does not count. IoU of the answer: 40 x 50 / 50 x 50 = 0.8.
    examples = [_example([[0, 0, 50, 50]], [0])]
    right = mean_precision(examples, [_found([[0, 0, 0.4, 0.5]], [0.9], [0])], 2)
    # Right at 0.5, 0.55, ... 0.8: 7 of 10.
    assert [right.map_50, right.map_75] == pytest.approx([1.0, 1.0]) and right.by_class[1] is None
    assert right.map == pytest.approx(0.7) and right.by_class[0] == pytest.approx(0.7)
    # A wrong answer that is likelier halves the precision at every recall.
    both = _found([[0.6, 0.6, 0.9, 0.9], [0, 0, 0.5, 0.5]], [0.95, 0.9], [0, 0])
    assert mean_precision(examples, [both], 2).map_50 == pytest.approx(0.5)
    assert mean_precision(examples, [_found([], [], [])], 2).map_50 == 0


def test_what_is_ignored_is_neither_right_nor_wrong():
    examples = [_example([[0, 0, 50, 50], [50, 50, 100, 100]], [0, 0], [False, True])]
    both = _found([[0.5, 0.5, 1, 1], [0, 0, 0.5, 0.5]], [0.95, 0.9], [0, 0])
    assert mean_precision(examples, [both], 1).map == pytest.approx(1.0)


def test_errors_are_those_of_leaving_images_out():
    """With fewer than 20 images each is a group: what is left is judged anew."""
    rng, examples, found = np.random.default_rng(4), [], []
    for number in range(9):
        left, top = rng.integers(0, 50, 2)
        examples.append(_example([[left, top, left + 40, top + 40]], [number % 2]))
        boxes = np.float64([[top, left, top + 40, left + 40], [5, 5, 30, 30]]) + rng.integers(0, 12, (2, 1))
        found.append(_found(boxes / 100, rng.random(2), rng.integers(0, 2, 2)))
    ours = mean_precision(examples, found, 2)
    left_out = [
        mean_precision(examples[:i] + examples[i + 1 :], found[:i] + found[i + 1 :], 2) for i in range(len(examples))
    ]
    for name in ("map", "map_50"):
        values = np.array([getattr(each, name) for each in left_out])
        expected = np.sqrt(8 / 9 * ((values - values.mean()) ** 2).sum())
        assert getattr(ours, f"{name}_error") == pytest.approx(expected) and expected > 0.01
    one = mean_precision(examples[:1], found[:1], 2)
    assert one.map_error is None and one.map_50_error is None


def test_no_images_are_a_clear_line():
    with pytest.raises(UserError, match=r"Expected annotated images to find objects in\. Received: none"):
        mean_precision([], [], 1)


def test_mean_precision_equals_pycocotools_on_files(tmp_path, capsys):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng, images = np.random.default_rng(1), make_images(24, size=96)
    truth = coco(images)
    for each in truth["annotations"]:
        each["area"] = each["bbox"][2] * each["bbox"][3]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    examples, found, rows = [], [], []
    for number, (_, objects) in enumerate(images):
        corners = [(left, top, left + width, top + height) for _, (left, top, width, height) in objects]
        examples.append(_example(corners, [label for label, _ in objects], size=96))
        answers = [([*corners, (8, 8, 40, 40)][i], i) for i in range(len(corners) + 1)]
        boxes, scores, classes = [], [], []
        for (left, top, right, bottom), i in answers:
            left, top = left + rng.integers(0, 6), top + rng.integers(0, 6)
            label = objects[i][0] if i < len(objects) and rng.random() < 0.8 else int(rng.integers(2))
            score = float(np.float32(rng.random()))
            boxes.append([top / 96, left / 96, bottom / 96, right / 96])
            scores.append(score)
            classes.append(label)
            box = [int(left), int(top), int(right - left), int(bottom - top)]
            rows.append({"image_id": number, "category_id": 10 * (label + 1), "bbox": box, "score": score})
        found.append(_found(boxes, scores, classes))
    (tmp_path / "found.json").write_text(json.dumps(rows))
    files = COCO(str(tmp_path / "truth.json"))
    judge = COCOeval(files, files.loadRes(str(tmp_path / "found.json")), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    capsys.readouterr()
    ours = mean_precision(examples, found, 2)
    assert capsys.readouterr().out == ""
    figures = [ours.map, ours.map_50, ours.map_75, ours.map_small, ours.map_medium]
    assert figures == pytest.approx(judge.stats[:5].tolist(), abs=1e-9) and 0.2 < ours.map_50 < 0.95
    assert np.mean(ours.by_class) == pytest.approx(ours.map)
    assert ours.map_large is None and judge.stats[5] == -1
