"""The scenes that detectors are compared on: boxes lie on objects, and test scenes share no image with the rest."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from benchmarks.scenes import CLASSES, Knobs, make_scenes
from nas_tf.detection.data import read_data
from nas_tf.trial import UserError

# Red says the class, green whether it is a test image, blue which image it is.
REDS = dict(zip((*CLASSES, "frog"), (250, 170, 90, 10)))


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "cifar.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for folder, green in (("train", 40), ("test", 200)):
            for kind, red in REDS.items():
                for number in range(40):
                    content = io.BytesIO()
                    Image.new("RGB", (32, 32), (red, green, 6 * number)).save(content, "JPEG", quality=100)
                    archive.writestr(f"cifar10/{folder}/{kind}/{number:02d}.jpg", content.getvalue())
    return path


def _knobs(cifar, out, **changes):
    return Knobs(**{"data_dir": str(cifar), "out": str(out), "train": 12, "validation": 4, "test": 8, **changes})


def test_boxes_lie_on_their_objects_and_test_scenes_are_of_test_images(cifar, tmp_path):
    counts = make_scenes(_knobs(cifar, tmp_path / "scenes.zip"))
    assert {split: scenes for split, (scenes, _) in counts.items()} == {"train": 12, "validation": 4, "test": 8}
    data = read_data(str(tmp_path / "scenes.zip"))
    assert data.class_names == CLASSES
    seen = {}
    for split, examples in data.splits.items():
        assert sum(len(each.labels) for each in examples) == counts[split][1] > 0
        for example in examples:
            pixels = np.asarray(data.read(example), "float32")
            assert pixels.shape == (128, 128, 3)
            for label, (left, top, right, bottom) in zip(example.labels, example.boxes.astype(int)):
                assert 0 <= left < right <= 128 and 0 <= top < bottom <= 128
                # At most 15 % of an object are hidden by each of three later ones: the median is its own.
                red, green, blue = np.median(pixels[top:bottom, left:right].reshape(-1, 3), axis=0)
                assert red == pytest.approx(REDS[CLASSES[label]], abs=12)
                assert green == pytest.approx(200 if split == "test" else 40, abs=12)
                seen.setdefault(split == "test", []).append((int(label), round(float(blue) / 6)))
    assert all(len(each) == len({*each}) for each in seen.values())  # no object is pasted twice


def test_the_seed_decides_every_byte(cifar, tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        make_scenes(_knobs(cifar, tmp_path / name, seed=seed))
    one, same, other = ((tmp_path / name).read_bytes() for name in ("one", "same", "other"))
    assert one == same != other


def test_too_few_images_are_a_clear_line_and_leave_nothing(cifar, tmp_path):
    with pytest.raises(UserError, match="Expected fewer scenes: every image of"):
        make_scenes(_knobs(cifar, tmp_path / "scenes.zip", train=200))
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("train/frog/0.jpg", b"")
    with pytest.raises(UserError, match=r"Expected images of automobile, cat, ship in train/\. Received: "):
        make_scenes(_knobs(tmp_path / "empty.zip", tmp_path / "scenes.zip"))
    assert [path.name for path in tmp_path.iterdir()] == ["empty.zip"]
