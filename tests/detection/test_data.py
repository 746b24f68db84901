"""COCO and Pascal VOC from folders and zips, what is damaged in them, and boxes that move with their pixels."""

import json

import numpy as np
import pytest
from detection_support import COLOURS, NAMES, coco, make_images, png, write, write_coco, write_voc

from nas_tf.detection.augmentation import LEAST_OVERLAPS, augmented, cropped, flipped, overlaps, random_window
from nas_tf.detection.batches import training_batches
from nas_tf.detection.data import read_data
from nas_tf.trial import UserError


@pytest.fixture(scope="module")
def images():
    return make_images(20)


@pytest.mark.parametrize("kind", ["folder", "data.zip"])
def test_coco_and_voc_are_read_alike(tmp_path, images, kind):
    of_coco = read_data(write_coco(tmp_path / f"coco_{kind}", {"": images}))
    of_voc = read_data(write_voc(tmp_path / f"voc_{kind}", images))
    assert (of_coco.form, of_voc.form) == ("coco", "voc")
    by_name = {name: label for label, name in enumerate(of_voc.class_names)}
    for split in ("train", "validation", "test"):
        for one, other in zip(of_coco.splits[split], of_voc.splits[split], strict=True):
            assert one.name.rpartition("/")[2] == other.name.rpartition("/")[2]
            np.testing.assert_array_equal(one.boxes, other.boxes)
            assert [by_name[of_coco.class_names[label]] for label in one.labels] == other.labels.tolist()
            image, objects = images[int(one.name[-7:-4])]
            np.testing.assert_array_equal(of_coco.read(one), image)
            assert one.labels.tolist() == [label for label, _ in objects]
            assert one.boxes.tolist() == [[x, y, x + width, y + height] for _, (x, y, width, height) in objects]
    assert {split: len(each) for split, each in of_coco.splits.items()} == {"train": 16, "validation": 2, "test": 2}


def test_splits_that_the_data_name(tmp_path, images):
    parts = {"train": images[:9], "val": images[9:13], "test": images[13:]}
    data = read_data(write_coco(tmp_path / "coco", parts))
    assert data.describe()["num_examples"] == {"train": 9, "validation": 4, "test": 7}
    assert data.splits["validation"][0].name == "val/000.png"  # images of three folders have one name
    data = read_data(write_voc(tmp_path / "voc", images, {"train": range(12), "val": range(12, 16), "test": [17]}))
    assert data.describe()["num_examples"] == {"train": 12, "validation": 4, "test": 1}
    only_train = read_data(write_coco(tmp_path / "train", {"train": images}))
    assert only_train.describe()["num_examples"] == {"train": 18, "validation": 2, "test": 0}
    other = read_data(write_coco(tmp_path / "other", {"": images}), seed=1)
    assert other.describe()["digest"] != read_data(write_coco(tmp_path / "same", {"": images})).describe()["digest"]


def test_voc_with_masks_and_coco_of_a_large_file(tmp_path, images, monkeypatch):
    folder = write_voc(tmp_path / "voc", images)
    write(folder, {f"SegmentationClass/{number:03d}.png": png(image) for number, (image, _) in enumerate(images)})
    assert read_data(folder).splits["train"][0].name.startswith("JPEGImages/")
    # COCO's largest file has 470 MB; images may have 256 MiB.
    monkeypatch.setattr("nas_tf.datasets._image_files._MAX_FILE_BYTES", 1000)
    for name in ("coco", "coco.zip"):
        assert len(read_data(write_coco(tmp_path / name, {"": images})).splits["train"]) == 16


def test_damaged_boxes_are_counted_and_said(tmp_path, images):
    def damage(value, split):
        first = value["images"][1]["id"]
        for box, category in (
            ([-20, 10, 40, 20], 10),
            ([70, 10, 20, 20], 10),
            ([10, 10, 0, 20], 10),
            ([10, 10, 5, -3], 20),
            ([10, 10, float("nan"), 3], 10),
            ([10, 10, 5], 10),
            ([10, 10, 5, 5], 99),
        ):
            new = {"image_id": first, "bbox": box, "category_id": category, "iscrowd": 0}
            value["annotations"].append({"id": 1000 + len(value["annotations"]), **new})
        value["categories"].append({"id": 30, "name": "blue"})
        return value

    data = read_data(write_coco(tmp_path / "coco", {"": images}, damage))
    said = data.summary()
    for line in (
        "1 box reached beyond the image and was cut at its border",
        "1 box lies outside its image and is left out",
        "2 boxes have no size and are left out",
        "2 boxes are no four finite numbers and are left out",
        "1 object of unknown category ids (99; the first in 001.png) left out",
        "5 images without objects are kept, as background",
        "1 of 3 classes without an object in train: blue",
    ):
        assert line in said, said
    cut = next(each for split in data.splits.values() for each in split if each.name.endswith("001.png"))
    assert cut.boxes[-1].tolist() == [0, 10, 20, 30]


def _changed(change):
    def write_changed(path):
        images = make_images(4)
        return write_coco(path, {"": images}, lambda value, split: change(value) or value)

    return write_changed


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path / "nowhere", "There is no"),
        (lambda path: write(path, {"000.png": png(make_images(1)[0][0])}), "Received: neither in"),
        (lambda path: write(path, {"a.json": "{}", "b.xml": "<a/>"}), "Received: both in"),
        (lambda path: write(path, {"a.json": "{"}), "Expected COCO's JSON"),
        (lambda path: write(path, {"a.json": json.dumps({"images": 3})}), "no list 'images' of objects"),
        (lambda path: write(path, {"a.xml": "<annotation>"}), "Expected Pascal VOC's XML"),
        (lambda path: write(path, {"a.xml": "<!DOCTYPE x><annotation/>"}), "a document type"),
        (lambda path: write(path, {"a.xml": "<annotation/>"}), "no size/width"),
        (_changed(lambda value: value["categories"].clear()), "Received: none in"),
        (
            _changed(lambda value: value["categories"].append({"id": 10, "name": "again"})),
            "an id and a name of its own",
        ),
        (_changed(lambda value: value["images"][0].update(file_name="gone.png")), "Expected one image 'gone.png'"),
        (_changed(lambda value: value["images"][0].update(width=0)), "Received: 0 x 64"),
        (_changed(lambda value: value["annotations"][0].update(image_id=77)), "Received: image_id=77"),
        (
            _changed(lambda value: [each.update(category_id=7) for each in value["annotations"]] and None),
            "objects damaged",
        ),
        (_changed(lambda value: value["annotations"].clear()), "whose images have none"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(tmp_path, make, words):
    with pytest.raises(UserError) as error:
        read_data(make(tmp_path / "data"))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_images_that_are_not_as_annotated(tmp_path):
    images = make_images(4)
    data = read_data(write_coco(tmp_path / "size", {"": images}, lambda value, split: _wider(value)))
    with pytest.raises(
        UserError, match=r"Expected an image of 65 x 64 pixels, as its annotation says. Received: .* 64 x"
    ):
        data.read(data.splits["train"][0])
    path = write_coco(tmp_path / "damaged", {"": images})
    for file in path.glob("*.png"):
        file.write_bytes(file.read_bytes()[:100])
    data = read_data(path)
    with pytest.raises(UserError, match="Expected images that can be decoded"):
        data.read(data.splits["train"][0])


def _wider(value):
    for each in value["images"]:
        each["width"] = 65
    return value


def test_boxes_move_with_their_pixels():
    rng, painted = np.random.default_rng(0), 0
    for _ in range(200):
        image = np.zeros((50, 70, 3), "uint8")
        height, width = rng.integers(8, 30, 2)
        top, left = rng.integers(0, 50 - height), rng.integers(0, 70 - width)
        image[top : top + height, left : left + width] = COLOURS["red"]
        box = np.float32([[top / 50, left / 70, (top + height) / 50, (left + width) / 70]])
        result, boxes, labels = augmented(image, box, np.int32([1]), rng)
        rows, columns = np.nonzero(result[:, :, 0])
        if len(labels):
            painted += 1
            sides = np.float32([*result.shape[:2]] * 2)
            found = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(boxes[0] * sides, found, atol=1e-3)  # windows are of whole pixels
    assert painted > 150


def test_windows_are_those_of_ssd():
    rng, boxes = np.random.default_rng(0), np.float32([[0.2, 0.3, 0.5, 0.6], [0.7, 0.1, 0.9, 0.2]])
    windows = np.array([random_window(boxes, rng) for _ in range(500)])
    sides = windows[:, 2:] - windows[:, :2]
    whole = (sides == 1).all(axis=1).mean()
    assert 1 / len(LEAST_OVERLAPS) - 0.05 < whole < 0.7  # drawn as such, and where no window overlaps enough
    assert (
        sides.min() >= 0.299 and (sides[:, 1] / sides[:, 0]).min() > 0.49 and (sides[:, 1] / sides[:, 0]).max() < 2.01
    )
    # By hand: the window's 0.25, the box's 0.09, shared 0.06.
    assert overlaps(boxes[:1], np.float32([0, 0.4, 0.5, 0.9]))[0] == pytest.approx(0.06 / (0.25 + 0.09 - 0.06))
    mirrored, moved = flipped(np.arange(6, dtype="uint8").reshape(1, 2, 3), boxes)
    assert mirrored.tolist() == [[[3, 4, 5], [0, 1, 2]]]
    np.testing.assert_allclose(moved[0], [0.2, 0.4, 0.5, 0.7], atol=1e-6)
    _, kept, is_kept = cropped(np.zeros((100, 100, 3), "uint8"), boxes, np.float32([0, 0.25, 0.4, 0.65]))
    assert is_kept.tolist() == [True, False]
    np.testing.assert_allclose(kept, [[0.5, 0.125, 1.0, 0.875]], atol=1e-5)


def test_batches_do_not_depend_on_where_they_begin(tmp_path, images):
    data = read_data(write_coco(tmp_path / "coco", {"": images}))
    whole = training_batches(data, 48, 6, seed=3, epochs=2)
    later = training_batches(data, 48, 6, seed=3, epochs=2, first_step=4)
    assert len(whole) == 6 and len(later) == 2
    for i in range(2):
        for one, other in zip(whole[4 + i], later[i]):
            np.testing.assert_array_equal(one, other)
    assert whole[0][0].shape == (6, 48, 48, 3) and whole[0][1].shape == (6, 2, 5)
    assert set(np.unique(whole[0][1][..., 4])) <= {0, 1, 2} and len(NAMES) == 2
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(whole[0][0], whole[3][0])


def test_coco_of_support_is_as_cocos(images):
    value = coco(images)
    assert {each["category_id"] for each in value["annotations"]} == {10, 20}
