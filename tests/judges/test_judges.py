"""The promise of `nas_tf.judges`, kept by every judge found."""

import dataclasses
import json
import pathlib
import shutil

import pytest
from parent_support import heirs_task

from mnas_tf.spaces.mnasnet import Scale
from nas_tf import plugins
from nas_tf.datasets import Source
from nas_tf.judges import KEPT, Judge, Task
from nas_tf.plugins import Part
from nas_tf.training.recipe import Recipe
from nas_tf.training.train import Trained
from nas_tf.trial import InfeasibleArchitecture

FOLDER = "nas_tf.judges"
TOKENS = (2, 0, 1)


@pytest.fixture
def tokens(part):
    return (3, 1, 0, 3, 2, 4) if part.name == "tabular" else TOKENS


@pytest.fixture(scope="module", params=plugins.names(FOLDER))
def part(request):
    settings = {"table": str(request.getfixturevalue("accuracy_table"))} if request.param == "blocks" else {}
    return Part(FOLDER, request.param, settings)


@pytest.fixture(scope="module")
def task(part, request):
    """Few digits of 8 px, in the README's space; for a judge whose children inherit, in one that can."""
    if part.name in ("inherited", "blocks"):
        folder, description = request.getfixturevalue("parent")
        return heirs_task(folder, description, samples=300 if part.name == "blocks" else 100)
    if part.name == "tabular":
        space = Part("nasnet_tf.spaces", "nasbench201", {"table": str(request.getfixturevalue("cell_table"))})
    else:
        space = Part("mnas_tf.spaces", str(request.getfixturevalue("plain_space")))
    return Task(
        space=space,
        images=Source(Part("nas_tf.datasets", "digits"), "", seed=1),
        proxy_scale=Scale(8, 10, 1.0),
        deploy_scale=Scale(16, 10, 1.0),
        recipe=Recipe(2, learning_rate=0.1),
        proxy_samples=100,
        seed=1,
    )


@pytest.fixture(scope="module")
def folder(part, task, tmp_path_factory):
    """All that the judge needs, made once."""
    folder = tmp_path_factory.mktemp(part.name)
    make(part, task, folder)
    return folder


def make(part, task, folder):
    """A judge as a run and its workers make it, with all that it needs in `folder`."""
    judge = part.make(task)
    assert isinstance(judge, Judge)
    judge.check()
    judge.prepare(folder)
    return judge


def trains(part):
    return getattr(part.module, "TRAINS", True)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_says_what_its_accuracies_depend_on(part, task):
    description = part.make(task).describe()
    assert description["judge"] == part.name and json.loads(json.dumps(description)) == description
    assert part.make(task).describe() == description
    assert dataclasses.is_dataclass(part.module.Config) and part.module.Config.__dataclass_params__.frozen


def test_what_it_needs_is_made_once(part, task, folder):
    made = files(folder)
    make(part, task, folder)
    assert files(folder) == made


def test_an_architecture_has_one_accuracy(part, task, folder, tokens):
    """Another process, which makes the judge again, finds the same one; a rehearsal ends early."""
    judge = make(part, task, folder)
    trained = judge.accuracy(tokens)
    assert isinstance(trained, Trained) and 0 <= trained.accuracy <= 1 and (trained.train_seconds > 0) == trains(part)
    again = make(part, task, folder).accuracy(tokens)
    assert again.accuracy == trained.accuracy and again.planned_steps == trained.planned_steps
    rehearsed = judge.accuracy(tokens, max_steps=1)
    assert 0 <= rehearsed.accuracy <= 1 and rehearsed.planned_steps == trained.planned_steps


def test_its_rungs_go_on_from_one_to_the_next(part, task, folder, tokens):
    if part.name == "blocks":
        part = dataclasses.replace(part, settings={**part.settings, "accuracy": "trained"})
    judge = make(part, task, folder)
    works, last = judge.rung_works, len(judge.rung_works) - 1
    if not last:
        pytest.skip("it offers none")
    assert list(works) == sorted(works)
    found = [judge.accuracy(tokens, rung=rung) for rung in range(last + 1)]
    assert all(0 <= trained.accuracy <= 1 for trained in found)
    if part.name == "proxy":
        assert [trained.planned_steps for trained in found] == [8, 16, 32]  # 100 images in batches of 32, 2 epochs
        assert len(list((folder / KEPT).iterdir())) == 1
        shutil.rmtree(folder / KEPT)  # as on another machine: then the rungs below are trained again
    else:
        assert found[-1].accuracy == judge.accuracy(tokens).accuracy
    assert make(part, task, folder).accuracy(tokens, rung=last).accuracy == found[-1].accuracy


def test_a_network_that_cannot_be_trained_is_infeasible(part, task, folder):
    if not trains(part):
        pytest.skip("it trains nothing, and knows every network")
    task = dataclasses.replace(task, recipe=Recipe(1, learning_rate=1e30))
    if part.name == "inherited":  # whose rates are its own
        rates = dict.fromkeys(("learning_rate", "far_learning_rate"), 1e30)
        part = dataclasses.replace(part, settings={**part.settings, **rates})
    if part.name == "blocks":  # which trains nothing: a network that its table does not hold
        value = json.loads(pathlib.Path(part.settings["table"]).read_text())
        del value["libraries"][0]["blocks"][1][str(task.space.space.decode(TOKENS).blocks[1])]
        path = folder / "table.json"
        path.write_text(json.dumps(value))
        part = dataclasses.replace(part, settings={"table": str(path)})
    with pytest.raises(InfeasibleArchitecture):
        make(part, task, folder).accuracy(TOKENS)


def test_tokens_of_another_space_are_a_mistake_and_no_architectures_fault(part, task, folder):
    with pytest.raises(ValueError, match=r"has choices 0 to [24]"):
        make(part, task, folder).accuracy((9,) * len(task.space.space.decisions))
