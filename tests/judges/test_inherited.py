"""Children that begin with a parent's weights: what all of them share, and what a kill or a wrong parent does."""

import dataclasses
import json

import numpy as np
import pytest
from parent_support import DIGITS, TOKENS, heirs_task
from PIL import Image

from nas_tf.datasets import Source
from nas_tf.judges.inherited import Config, InheritedJudge
from nas_tf.networks.folder import read_keras
from nas_tf.plugins import Part
from nas_tf.training import checkpoint, children, train
from nas_tf.trial import UserError


@pytest.fixture(scope="module")
def task(parent):
    return heirs_task(*parent)


@pytest.fixture(scope="module")
def prepared(task, tmp_path_factory):
    """A judge, and the folder of what it has made."""
    judge, folder = InheritedJudge(Config(parent_epochs=2), task), tmp_path_factory.mktemp("judge")
    judge.check()
    judge.prepare(folder)
    return judge, folder


def test_a_prepare_that_is_killed_goes_on_to_the_same_parent(task, prepared, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def then_die(function):
        def wrapper(*arguments):
            function(*arguments)
            raise Killed

        return wrapper

    for where, name in ((checkpoint, "save"), (children, "write_array")):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(where, name, then_die(getattr(where, name)))
            InheritedJudge(Config(parent_epochs=2), task).prepare(tmp_path)
    InheritedJudge(Config(parent_epochs=2), task).prepare(tmp_path)
    folders = prepared[1], tmp_path
    assert [sorted(path.name for path in folder.iterdir()) for folder in folders] == [
        ["parent.json", "parent.keras", "settings.json", "teacher.npy"]
    ] * 2
    assert len({(folder / "parent.json").read_text() for folder in folders}) == 1
    np.testing.assert_array_equal(*(np.load(folder / "teacher.npy") for folder in folders))
    for one, other in zip(*(read_keras(folder / "parent.keras").get_weights() for folder in folders)):
        np.testing.assert_array_equal(one, other)


def test_a_child_near_its_parent_keeps_its_batch_norm_and_a_far_one_trains_it(prepared, monkeypatch):
    judge, folder = prepared
    recipes, real = [], train.train

    def noted(child, dataset, recipe, **more):
        recipes.append(recipe)
        return real(child, dataset, recipe, **more)

    monkeypatch.setattr(train, "train", noted)
    same = judge.accuracy(TOKENS)
    reached = json.loads((folder / "parent.json").read_text())
    # The parent's own architecture is the parent, and an epoch at a small rate moves it little: two standard errors.
    assert abs(same.accuracy - reached["accuracy"]) <= 2 * reached["standard_error"]
    far = InheritedJudge(Config(parent_epochs=2, near=1.1), judge._task)
    far.prepare(folder)
    far.accuracy(TOKENS, max_steps=1)
    assert [(each.batch_norm, each.learning_rate) for each in recipes] == [("frozen", 3e-4), ("trained", 1e-3)]


def test_all_children_see_the_same_images_mirrored_alike(task, tmp_path):
    """In each epoch every image once, half of them mirrored, and in the next epoch the others; with the answers that
    the parent gave to that view."""
    rng = np.random.default_rng(1)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(20):
            noise = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "images" / name / f"{number}.png")
    images = Source(Part("nas_tf.datasets", "image_folder"), str(tmp_path / "images"), seed=0)
    scale = dataclasses.replace(task.proxy_scale, num_classes=2)
    judge = InheritedJudge(Config(teacher_weight=0.5), dataclasses.replace(task, images=images, proxy_scale=scale))
    judge._trainer.open(tmp_path)
    ours = judge._trainer.images()
    pixels, labels = ours.train.images, ours.train.labels
    answers = np.random.default_rng(0).dirichlet(np.ones(2), (len(labels), 2)).astype("float32")
    np.save(tmp_path / "teacher.npy", answers)
    split = ours.lessons.train()
    views = [
        (image, pixels[image] if view == 0 else pixels[image][:, ::-1], view)
        for image in range(len(labels))
        for view in (0, 1)
    ]
    seen = []
    for batch, targets in split.batches(8, seed=3, epochs=2):
        for image, target in zip(batch, targets):
            number, _, view = next(each for each in views if np.array_equal(each[1], image))
            expected = 0.5 * np.eye(2)[labels[number]] + 0.5 * answers[number, view]
            np.testing.assert_allclose(target, expected, atol=1e-6)
            seen.append((number, view))
    count = len(labels)
    first, second = dict(seen[:count]), dict(seen[count:])
    assert sorted(first) == sorted(second) == list(range(count))
    assert all(first[number] != second[number] for number in first)
    assert 0.2 * count < sum(first.values()) < 0.8 * count
    again = [np.asarray(batch) for batch, _ in ours.lessons.train().batches(8, seed=3, epochs=2)]
    for one, (other, _) in zip(again, split.batches(8, seed=3, epochs=2)):
        np.testing.assert_array_equal(one, other)


def test_few_validation_images_are_the_same_for_every_child(task):
    judges = [InheritedJudge(Config(validation_samples=50), task) for _ in range(2)]
    one, other = (judge._trainer.images().validation for judge in judges)
    assert one.num_examples == 50 < DIGITS.make(16).validation().num_examples
    np.testing.assert_array_equal(one.images, other.images)


def test_what_a_judge_cannot_begin_with_is_one_line(task, parent, tmp_path):
    def check(**changes):
        with pytest.raises(UserError) as caught:
            InheritedJudge(Config(), dataclasses.replace(task, **changes)).check()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "needs --parent" in check(parent="")
    assert "Expected --parent, one of" in check(parent="efficientnet_lite9")
    assert "no architecture.json" in check(parent=str(tmp_path))
    (tmp_path / "x.safetensors").write_bytes(b"none")
    assert "is damaged" in check(parent=str(tmp_path / "x.safetensors"))
    description = json.loads((parent[0] / "architecture.json").read_text())
    for name, change, words in (
        ("untrained", {"recipe": None}, "whose weights are untrained"),
        ("family", {"space": {**description["space"], "folder": "nasnet_tf.spaces"}}, "of the MnasNet family"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "architecture.json").write_text(json.dumps({**description, **change}))
        assert words in check(parent=str(tmp_path / name))
    blocks = description["architecture"]["blocks"]
    fewer = {**description, "architecture": {**description["architecture"], "blocks": blocks[:1]}}
    (tmp_path / "fewer").mkdir()
    (tmp_path / "fewer" / "architecture.json").write_text(json.dumps(fewer))
    (tmp_path / "fewer" / "model.keras").write_bytes((parent[0] / "model.keras").read_bytes())
    assert "number of blocks" in check(parent=str(tmp_path / "fewer"))
