"""A search whose children inherit, and a race of what it found against a network that can be imported, for real."""

import csv
import dataclasses
import json
import pickle
import sqlite3
import sys
import types

import pytest
from parent_support import SPACE, write_parent
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnas_tf.family import FAMILY
from mnas_tf.search import Settings, search
from mnas_tf.spaces.mnasnet import Scale
from nas_tf.datasets.digits import Digits
from nas_tf.networks import answers, weights
from nas_tf.networks.folder import read_description, recorded_network
from nas_tf.recycling import ThisProcess
from nas_tf.rewards import Objective
from nas_tf.search.workers import process
from nas_tf.shipping import candidates, imports
from nas_tf.shipping.chain import ship
from nas_tf.shipping.settings import ShipSettings
from nas_tf.training import network
from nas_tf.training.recipe import ProxyRecipe
from nas_tf.trial import UserError

FAST_HOST = {"warmup_seconds": 0.01, "min_seconds": 0.02, "max_seconds": 0.05, "max_spread": 10.0, "retry_spread": 10.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a search of three trials whose children inherit."""
    folder = tmp_path_factory.mktemp("race")
    write_parent(folder / "parent")
    settings = Settings(
        run_dir=str(folder / "run"),
        search_space=SPACE.name,
        parent=str(folder / "parent"),
        race_fraction=0.2,
        algorithm="random_search",
        device="host",
        num_trials=3,
        workers="inline",
        proxy_image_size=16,
        proxy_samples=200,
        deploy_image_size=16,
        final_epochs=1,
    )
    said = []
    parts = {"inherited": {"parent_epochs": 1}, "host": FAST_HOST}
    search(settings, Objective(target_latency_ms=1.0), parts=parts, say=said.append)
    return folder / "run", said


@pytest.fixture(scope="module")
def published(run):
    """A module of one published network, whose weights are the parent's, and of one whose weights cannot be had."""
    folder, space = run[0].parent / "parent", SPACE.space

    def why_not(name, width, weights_dir):
        return "Tried to fetch http://localhost/lost: nobody answers" if name == "lost" else None

    def build(name, scale, path=None):
        model = space.build(space.decode((1, 1, 1)), dataclasses.replace(scale, activation="relu6"))
        if path:
            weights.load(model, path)
        return model

    module = types.SimpleNamespace(
        NAMES=("toy_net", "lost"),
        Scale=Scale,
        widths=lambda name: (1.0,),
        why_not=why_not,
        weights_file=lambda name, width, weights_dir: folder,
        build=build,
    )
    return module


@pytest.fixture
def toys(published, monkeypatch):
    monkeypatch.setattr(imports, "families", lambda: (dataclasses.replace(FAMILY, pretrained="toys"),))
    monkeypatch.setitem(sys.modules, "toys", published)


def test_a_search_from_a_parent(run):
    folder, _ = run
    assert (folder / "judge" / "parent.keras").is_file()
    db = sqlite3.connect(folder / "trials.sqlite")
    judged = db.execute(
        "SELECT judge, value FROM measurements WHERE kind = 'accuracy' AND judge = 'inherited'"
    ).fetchall()
    assert len(judged) == 3 and all(0.1 < value <= 1 for _, value in judged)
    config = json.loads((folder / "config.json").read_text())
    assert config["measured_under"]["judge parent"] == "parent" and config["flags"]["judge"] == "inherited"
    counts = config["measured_under"]["data num_examples"]
    assert counts == {"train": 200, "validation": 359, "test": 359, "race": 359}  # of 1,797 digits, a fifth each
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    tags = set(board.Tags()["tensors"])
    decisions = [f"entropy of recent answers/{each.name}" for each in SPACE.space.decisions]
    assert tags >= {"reward", "accuracy", "latency_ms", "the front", "_hparams_/session_start_info", *decisions}
    page = (folder / "report.html").read_text()
    assert "3 done" in page and "Rewards as they came" in page and "What it answers" in page  # best/ is trained
    best = read_description(folder / "best")
    assert (
        best.weights.startswith("trained for 1 epoch at 16 px, from parent (") and best.scale["activation"] == "relu6"
    )


class Killed(Exception):
    pass


def test_the_race_with_kills_at_every_step(run, toys, monkeypatch):
    """Killed after the first training, after the teacher's and after that of another seed, the race does no training
    twice, and who ships is said with the lead."""
    folder, _ = run
    train_network, save, read_test = candidates.train_network, candidates._save, Digits.test
    trained, tested, said = [], [], []

    def counted(build, scale, dataset, recipe, seed, *arguments, teacher, **more):
        trained.append((round(recipe.learning_rate, 6), seed, teacher is not None))
        assert dataset.train().num_examples == 1797 - 3 * 359
        return train_network(build, scale, dataset, recipe, seed, *arguments, teacher=teacher, **more)

    def save_and_die(*arguments):
        save(*arguments)
        if len(trained) in (1, 3, 7):
            raise Killed

    monkeypatch.setattr(candidates, "train_network", counted)
    monkeypatch.setattr(candidates, "time_network", None)  # tries are not timed one by one, but in turns at the end
    monkeypatch.setattr(Digits, "test", lambda self: tested.append(self) or read_test(self))
    chosen = ShipSettings(
        search_space=SPACE.name, top_k=1, epochs=1, number_types=("float32",), num_imports=1, race_seeds=2
    )
    with monkeypatch.context() as patch:
        patch.setattr(candidates, "_save", save_and_die)
        for _ in range(3):
            with pytest.raises(Killed):
                ship(folder, chosen, say=said.append)
    rows = ship(folder, chosen, say=said.append)
    # Two networks, each at two rates, at the better one with a teacher, and with another seed: once each.
    assert len(trained) == 8 and sum(has_teacher for _, _, has_teacher in trained[:6]) == 2
    assert [seed for _, seed, _ in trained] == [0] * 6 + [1] * 2
    assert len(tested) == 2  # of the two that are compared, when all is decided
    assert {row.role for row in rows} == {"ships", "import"} or {row.role for row in rows} == {"ships", "candidate"}
    winner, other = rows
    lines = (folder / "ship" / "race.csv").read_text().splitlines()
    assert len(lines) == 3 and lines[0].startswith("name,kind,accuracy,error,seeds")
    text = "\n".join(said)
    assert "weights of lost cannot be had" in text and "toy_net at 32 px" in text
    assert "race: 359 images that nothing else has seen" in text
    assert winner.network.accuracy.race is not None and "points" in winner.network.choice
    page = (folder / "ship" / "README.md").read_text()
    assert "has been lucky too" in page and winner.network.choice in page and "at two learning rates" in page
    assert winner.network.choice in (folder / "ship" / "network" / "README.md").read_text()
    assert other.network.accuracy.test is not None
    network = folder / "ship" / "network"
    found = answers.read(network, 10, recorded_network(network))
    page = (folder / "report.html").read_text()
    assert found.confusion.sum() == 359 and "The mistakes it was surest of" in page and winner.network.choice in page


class ElsewhereCalls(ThisProcess):
    """Makes calls as another machine gets them: as bytes."""

    num_workers = 2

    def __init__(self):
        self.stages = []

    def run(self, calls):
        self.stages.append(sorted(calls))
        return super().run({key: pickle.loads(pickle.dumps(call)) for key, call in calls.items()})


def test_a_race_whose_trainings_are_made_elsewhere_is_the_same(run, toys, monkeypatch):
    """All of a stage at once: every network at both rates, then with the teacher, then with other seeds."""
    folder, calls = run[0], ElsewhereCalls()
    monkeypatch.setattr(process, "make_calls", lambda *arguments, **options: calls)
    chosen = ShipSettings(
        search_space=SPACE.name, top_k=1, epochs=1, number_types=("float32",), num_imports=1, race_seeds=2
    )
    elsewhere = dataclasses.replace(chosen, workers="process", out_dir=str(folder.parent / "elsewhere"))
    ship(folder, elsewhere, say=lambda line: None)
    assert [len(stage) for stage in calls.stages] == [4, 2, 2]
    assert all("teacher" in key for key in calls.stages[1]) and all("seed 1" in key for key in calls.stages[2])

    def figures(path):
        rows = list(csv.DictReader(path.read_text().splitlines()))
        return sorted((row["name"], row["accuracy"], row["validation"], row["attempt"], row["seeds"]) for row in rows)

    assert figures(folder.parent / "elsewhere" / "race.csv") == figures(folder / "ship" / "race.csv")


def test_a_run_without_a_parent_gets_one_at_the_end(run, toys, monkeypatch, tmp_path):
    """The parent is fine-tuned on what is neither searched nor raced by, and the trial begins with its weights."""
    parent, seen = run[0].parent / "parent", []
    settings = Settings(
        run_dir=str(tmp_path / "run"),
        search_space=SPACE.name,
        algorithm="random_search",
        device="host",
        num_trials=1,
        workers="inline",
        proxy_image_size=16,
        proxy_samples=100,
        deploy_image_size=16,
        final_epochs=0,
    )
    quick = ProxyRecipe(proxy_epochs=1)
    search(settings, Objective(target_latency_ms=1.0), proxy=quick, parts={"host": FAST_HOST}, say=lambda line: None)

    def spied(build, scale, dataset, *arguments, **more):
        seen.append(dataset.describe()["num_examples"])
        return train_network(build, scale, dataset, *arguments, **more)

    train_network = network.train_network
    monkeypatch.setattr(network, "train_network", spied)  # the judge's; the race has its own name for it
    chosen = ShipSettings(search_space=SPACE.name, parent=str(parent), top_k=1, epochs=1, num_imports=1)
    save, saved = candidates._save, []

    def save_and_die(*arguments):
        saved.append(save(*arguments))
        raise Killed

    monkeypatch.setattr(candidates, "_save", save_and_die)
    with pytest.raises(Killed):
        ship(tmp_path / "run", chosen, say=lambda line: None)
    (counts,), (first,) = seen, saved
    assert counts["train"] == 100 and counts["race"] > 250
    assert first.trial == 1 and first.weights.startswith("trained for 1 epoch at 16 px, from parent (")
    with pytest.raises(UserError, match=r"begin with the weights of .*parent\. Expected no --parent\. Received: "):
        ship(run[0], dataclasses.replace(chosen, out_dir=str(tmp_path / "ship")), say=print)
