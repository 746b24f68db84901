"""mnas-train with a parent to inherit from, a teacher, and images that only the teacher labels."""

import shutil

import numpy as np
import pytest
from parent_support import SPACE, write_parent
from PIL import Image

from mnas_tf import train as mnas
from nas_tf.datasets.image_folder import read_unlabelled
from nas_tf.networks.folder import read_description
from nas_tf.training.unlabelled import NO_LABEL, WithUnlabelled
from nas_tf.trial import UserError


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parent") / "net"
    write_parent(folder)
    return folder


@pytest.fixture
def more(tmp_path):
    """13 images in folders of no class."""
    rng = np.random.default_rng(0)
    for number in range(13):
        path = tmp_path / "more" / f"day {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
    return tmp_path / "more"


def settings(out_dir, **changes):
    architecture = SPACE.space.decode((0, 0, 0))
    chosen = {
        "search_space": SPACE.name,
        "architecture": str(architecture),
        "dataset": "digits",
        "image_size": 16,
        "num_samples": 200,
        "epochs": 1,
        "dropout_rate": 0.0,
    }
    return mnas.Settings(out_dir=str(out_dir), **{**chosen, **changes})


def test_a_network_inherits_and_learns_from_a_teacher_on_unlabelled_images_too(parent, more, tmp_path):
    said = []
    together = {"parent": str(parent), "teacher": str(parent), "unlabelled_dir": str(more)}
    description = mnas.train(settings(tmp_path / "out", **together), say=said.append)
    assert any(line.startswith("13 more images, which the teacher labels") for line in said)
    assert description.weights.startswith(
        "trained for 1 epoch at 16 px, from net (block2_layer1: hidden channels 24 to 16, kernel 5"
    )
    recipe = description.recipe
    assert (recipe["head"], recipe["batch_norm"]) == ("closed_form", "frozen")
    assert recipe["peak_learning_rate"] in (3e-4, 1e-3)
    assert description.scale["activation"] == "relu6"  # the parent's, whatever the flag's default
    assert description.accuracy.validation > 0.3  # a tenth is guessing
    assert read_description(tmp_path / "out").weights == description.weights


def test_unlabelled_images_are_wherever_they_lie_and_keep_the_other_splits(more):
    images = read_unlabelled(more, 8)
    assert images.shape == (13, 8, 8, 3)
    archive = shutil.make_archive(str(more), "zip", more)
    np.testing.assert_array_equal(read_unlabelled(archive, 8), images)
    dataset = mnas_digits()
    both = WithUnlabelled(dataset, more, 16)
    split = both.train()
    assert (split.labels[-13:] == NO_LABEL).all() and (split.labels[:-13] >= 0).all()
    assert both.validation().num_examples == dataset.validation().num_examples and both.num_classes == 10


def mnas_digits():
    from parent_support import DIGITS

    return DIGITS.make(16, 100)


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"parent": "PARENT", "initial_weights": "PARENT"}, "Expected --parent or --initial_weights, not both"),
        ({"unlabelled_dir": "MORE"}, "--unlabelled_dir needs a --teacher"),
        ({"teacher": "none"}, "no file 'none'"),
        (
            {"teacher": "PARENT", "dataset": "image_folder", "data_dir": "MORE"},
            "classes of the images. Received: PARENT, which has 10",
        ),
        ({"parent": "PARENT", "architecture": "r1_k3_s11_e1_i8_o8 head24"}, "number of blocks"),
        ({"teacher": "PARENT", "unlabelled_dir": "EMPTY"}, "none that can be read"),
    ],
)
def test_what_does_not_go_together_is_one_line(changes, words, parent, more, tmp_path):
    (tmp_path / "empty").mkdir()
    paths = {"PARENT": str(parent), "MORE": str(more), "EMPTY": str(tmp_path / "empty")}
    with pytest.raises(UserError) as caught:
        mnas.train(settings(tmp_path / "out", **{name: paths.get(value, value) for name, value in changes.items()}))
    for name, path in paths.items():
        words = words.replace(name, path)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "architecture.json").exists()
