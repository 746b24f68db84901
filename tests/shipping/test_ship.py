"""nas-ship: a small search on disk, its best networks trained, chosen, exported and held against a published one."""

import dataclasses
import json
import sqlite3
import types

import numpy as np
import pytest
from support import assert_one_line, script

from mnas_tf.family import FAMILY
from mnas_tf.search import Settings as SearchSettings
from mnas_tf.search import search
from mnas_tf.spaces.mnasnet import MnasNetSpace, Scale
from nas_tf.datasets.image_folder import ImageFolder
from nas_tf.family import families
from nas_tf.files import digest
from nas_tf.networks.description import Accuracies, NetworkDescription
from nas_tf.ranking import rank
from nas_tf.reports import comparison
from nas_tf.rewards import Goal, Objective
from nas_tf.search.records import Records
from nas_tf.search.request import make_request
from nas_tf.shipping import baselines, candidates, chain, choice, finish
from nas_tf.shipping.chain import ship
from nas_tf.shipping.settings import ShipSettings
from nas_tf.training.recipe import ProxyRecipe
from nas_tf.trial import Cost, EvaluationError, InfeasibleArchitecture, Latency, Measurement, Trial, UserError

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def run(plain_space, tmp_path_factory):
    """The folder of a search with three trials, in which a simulated device gave latencies."""
    folder = tmp_path_factory.mktemp("ship")
    from PIL import Image

    rng = np.random.default_rng(0)
    for number, name in enumerate(("dark", "light")):
        (folder / "images" / name).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(0, 128, (32, 32, 3)) + 100 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name / f"{i}.png")
    OWN["search_space"] = str(plain_space)
    settings = SearchSettings(
        run_dir=str(folder / "run"),
        search_space=str(plain_space),
        dataset="image_folder",
        data_dir=str(folder / "images"),
        algorithm="random_search",
        device="simulated",
        num_trials=3,
        workers="inline",
        proxy_image_size=8,
        deploy_image_size=32,
        final_epochs=0,
    )
    search(
        settings,
        Objective(target_latency_ms=1.0),
        proxy=ProxyRecipe(1),
        say=lambda line: None,
    )
    return folder / "run"


OWN = {}  # the search space of the run, which its chain has to name


def settings(**changes):
    chosen = {
        **OWN,
        "top_k": 2,
        "recipe": "quick",
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 0.02,
        "number_types": ("float32", "int8"),
        "baselines": ("mobilenet",),
        "imports": ("none",),
        "device": "host",
    }
    return ShipSettings(**{**chosen, **changes})


FAST_HOST = {"warmup_seconds": 0.01, "min_seconds": 0.02, "max_seconds": 0.05, "max_spread": 10.0, "retry_spread": 10.0}


class Killed(Exception):
    pass


def rank_of(run, network):
    """The rank of a trial's network: its accuracy after full training, the latency that the search estimated."""
    records = Records(run / "trials.sqlite", read_only=True)
    cost = records.trials()[network.trial - 1].measurement.cost
    records.close()
    return rank(network.accuracy.validation, cost, Goal(1.0))


def test_the_whole_chain_with_a_kill_at_every_step(run, monkeypatch):
    """Killed after each step in turn, the chain does none of them twice, and the test images are read once for each of
    the two networks that are compared."""
    trained, tested = [], []
    train_network, save, read_test = candidates.train_network, candidates._save, ImageFolder.test

    def counted(build, scale, *arguments, progress, **more):
        trained.append(progress)
        return train_network(build, scale, *arguments, progress=progress, **more)

    def save_and_die(folder, network):
        save(folder, network)
        raise Killed

    monkeypatch.setattr(candidates, "train_network", counted)
    monkeypatch.setattr(ImageFolder, "test", lambda self: tested.append(self) or read_test(self))
    monkeypatch.setattr(candidates, "_save", save_and_die)
    for step in range(3):
        with pytest.raises(Killed):
            ship(run, settings(), device_settings=FAST_HOST, say=lambda line: None)
        assert len(trained) == step + 1 and not tested
    monkeypatch.setattr(candidates, "_save", save)
    said = []
    rows = ship(run, settings(), device_settings=FAST_HOST, say=said.append)
    assert len(trained) == len(set(trained)) == 3 and len(tested) == 2
    assert [row.role for row in rows] == ["ships", "baseline", "candidate"]
    ships, published, candidate = rows
    assert rank_of(run, ships.network) <= rank_of(run, candidate.network)
    assert candidate.network.accuracy.test is None
    # The published network's width is the one whose latency, of those that were measured, is nearest.
    widths = json.loads((run / "ship" / "baselines" / "mobilenet" / "widths.json").read_text())
    assert widths["target_ms"] == pytest.approx(ships.latency_ms)
    nearest = min(widths["latency_ms"], key=lambda width: abs(widths["latency_ms"][width] - widths["target_ms"]))
    assert published.network.width == float(nearest)
    files = {record.file for record in ships.files}
    assert {"model.keras", "model.tflite", "model_int8.tflite", "saved_model"} <= files | {
        name.replace(".failed", "") for name in files
    }
    for name in (
        "network/README.md",
        "network/files.png",
        "README.md",
        "comparison.csv",
        "comparison.png",
        "network/saved_model/saved_model.pb",
        "baselines/mobilenet/model.tflite",
    ):
        assert (run / "ship" / name).stat().st_size > 0, name
    assert "dark" in (run / "ship" / "network" / "saved_model" / "assets" / "labels.txt").read_text()
    text = "\n".join(said)
    assert "validation accuracy after full training with a latency_ms of at most 1.000 ms" in text
    assert "model_int8" in text and f"the test images have been read twice for {run}" in text
    page = (run / "ship" / "README.md").read_text()
    assert f"{ships.name} ships: the highest validation accuracy" in page and "read twice" in page and " ± " in page
    card = (run / "ship" / "network" / "README.md").read_text()
    assert "| why it was chosen | the highest validation accuracy after full training with" in card
    # Anyone can ask the run's database what full training said.
    db = sqlite3.connect(run / "trials.sqlite")
    judged = db.execute("SELECT trial_id, value, details FROM measurements WHERE judge = 'full training'").fetchall()
    db.close()
    splits = [(trial, json.loads(details)["split"]) for trial, _, details in judged]
    assert len(splits) == len(set(splits)) == 3
    assert sorted(split for _, split in splits) == ["test", "validation", "validation"]
    # Said again, nothing is done again; another number of files is no other chain.
    again = ship(run, settings(number_types=("float32",)), device_settings=FAST_HOST, say=lambda line: None)
    assert len(trained) == 3 and len(tested) == 2 and again[0].network.accuracy.test == ships.network.accuracy.test
    with pytest.raises(UserError, match=r"was begun with other settings: epochs=5 \(was 2\)"):
        ship(run, settings(epochs=5), device_settings=FAST_HOST, say=lambda line: None)


def test_a_damaged_candidate_is_trained_anew(run, tmp_path, monkeypatch):
    """Its test accuracy was that of the network that is no more."""
    monkeypatch.setattr(finish, "write_files", lambda *_, **more: [])  # takes long, and has tests of its own
    chosen = settings(top_k=1, baselines=(), number_types=("float32",), out_dir=str(tmp_path))

    def made():
        said = []
        (row,) = ship(run, chosen, device_settings=FAST_HOST, say=said.append)
        text = "\n".join(said)
        return row, "is damaged" in text, "of the validation images right" in text

    _, is_damaged, is_trained = made()
    assert (is_damaged, is_trained) == (False, True)
    (path,) = (tmp_path / "candidates").glob("*/model.keras")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (path.parent / "test.json").write_text(json.dumps({"test": 0.125, "standard_error": 0.1}))
    row, *found = made()
    assert found == [True, True]
    assert path.read_bytes() != content and row.network.files["model.keras"] == digest(path)
    assert json.loads((path.parent / "test.json").read_text())["test"] == row.network.accuracy.test != 0.125


def test_a_network_no_better_than_guessing_ends_with_status_1(run, tmp_path):
    from PIL import Image

    for name in ("dark", "light"):
        (tmp_path / "grey" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (32, 32), (99, 99, 99)).save(tmp_path / "grey" / name / f"{i}.png")
    said, out_dir = [], str(tmp_path / "out")
    one = {"top_k": 1, "epochs": 1, "baselines": (), "number_types": ("float32",)}
    chosen = settings(**one, out_dir=out_dir, data_dir=str(tmp_path / "grey"))
    with pytest.raises(EvaluationError, match=r"is no better than guessing: .* guessing reaches .*Raise --epochs"):
        ship(run, chosen, device_settings=FAST_HOST, say=said.append)
    # All is written all the same, and the table, the page and the card say it.
    out = tmp_path / "out"
    card = (out / "network" / "README.md").read_text()
    assert "**This network is no better than guessing**" in card and (out / "network" / "model.tflite").exists()
    assert "are not the images of the search" in "\n".join(said)
    for text in ("\n".join(said), (out / "README.md").read_text()):
        assert any(line.endswith("guesses") for line in text.splitlines())


def test_the_choice_is_the_most_accurate_within_the_target_and_says_if_none_is():
    def candidate(number, accuracy, latency_ms):
        latency = Latency.estimate(latency_ms)
        network = NetworkDescription(
            "", {}, (), {}, accuracy=Accuracies(accuracy), num_params=1, mult_adds=1, latency=latency
        )
        trial = Trial(number, (number,), measurement=Measurement(0.5, Cost(1, 1, 1, latency=latency), 1.0))
        return candidates.Candidate(f"trial {number}", None, network, trial)

    # Both hard and soft would have taken the second: 34 % at 5.5 ms for a target of 5 ms.
    found = [candidate(1, 0.30, 5.0), candidate(2, 0.34, 5.5), candidate(3, 0.29, 4.0), candidate(4, 0.28, 4.0)]
    for target, chosen, words in (
        (5.0, "trial 1", "the highest validation accuracy after full training with a latency_ms of at most 5.000 ms"),
        (None, "trial 2", "the highest validation accuracy after full training"),
        (1.0, "trial 3", "the cheapest that no other dominates, because no candidate meets the target, a latency_ms"),
    ):
        best = choice.choose(found, Goal(target), True)
        assert best.name == chosen and choice.in_words(best, Goal(target), True).startswith(words)


def test_a_search_space_that_was_edited_ships_nothing():
    trials = [Trial(1, (0, 0, 0), fingerprint="another")]
    with pytest.raises(UserError, match=r"Trial 1 of run is of another architecture than its tokens mean now"):
        chain._refuse_other_architectures("run", MnasNetSpace(), trials)


def test_the_page_prints_the_noise_of_the_search(tmp_path):
    network = NetworkDescription("", {}, (), {}, accuracy=Accuracies(0.5), latency=Latency.estimate(1.0))
    noise = "noise of one measurement, from 2 networks measured again: ± 2.0 points of accuracy"
    rows, facts = (
        [comparison.Row("trial 1", "ships", network)],
        {"name": "d", "splits": "s", "num_examples": {"train": 1}},
    )
    comparison.write(
        tmp_path, rows, "host", families()[0].plans["quick"].recipe, facts, "the best", ["never read", noise]
    )
    assert f"* never read\n* {noise}" in (tmp_path / "README.md").read_text()


def test_the_targets_network_is_timed_in_the_session_that_chooses(plain_space, tmp_path):
    """And once: the same command makes the same choice again."""
    chosen = SearchSettings(run_dir=str(tmp_path), search_space=str(plain_space), deploy_image_size=32)
    request = make_request(FAMILY, chosen, Objective(), parts={"host": FAST_HOST})
    records = Records(tmp_path / "trials.sqlite")
    records.add_published("mobilenet_v2", Cost(1, 1, 1, latency=Latency.estimate(123.0)), "host-1")
    said = []
    shop = candidates.Workshop(request.setup, None, None, None, 0, request.setup.make_device(), False, 1.0, said.append)
    goal = choice.goal_now(shop, tmp_path, request, records, True)
    assert 0 < goal.target < 60 and goal.cost == "latency_ms"
    assert "mobilenet_v2 takes" in said[0] and "now, 123.0 ms in the search" in said[0]
    assert json.loads((tmp_path / "target.json").read_text())["latency_ms"] == goal.target
    assert choice.goal_now(shop, tmp_path, request, records, True) == goal
    # Another device, or a number, keeps the run's target.
    assert choice.goal_now(shop, tmp_path / "other", request, records, False).target == 123.0
    given = dataclasses.replace(request, objective=Objective(target_latency_ms=5.0))
    assert choice.goal_now(shop, tmp_path / "other", given, records, True).target == 5.0
    records.close()


def test_mistakes(run, tmp_path):
    space = f"--search_space={OWN['search_space']}"
    assert_one_line(script("nas-ship"), 2, "Expected one run folder", "Received: none")
    assert_one_line(script("nas-ship", tmp_path), 2, "Expected the folder of a run", "config.json")
    assert_one_line(
        script("nas-ship", run, space, "--recipe=cifar"), 2, "Expected --recipe, one of", "Received: 'cifar'"
    )
    assert_one_line(script("nas-ship", run, "--number_types=int4"), 2, "Received: int4")
    assert_one_line(script("nas-ship", run, "--top_k=0"), 2, "Expected --top_k to be at least 1")
    with pytest.raises(UserError, match=r"Expected a published network.*'resnet'"):
        ship(run, settings(baselines=("resnet",), out_dir=str(tmp_path)), device_settings=FAST_HOST)
    with pytest.raises(UserError, match="Expected a --device that times files"):
        ship(run, settings(device="simulated"))


def test_what_is_refused_blocks_nothing(run, tmp_path):
    """A wrong flag is not recorded: the right command works in the same folder."""
    out = {"out_dir": str(tmp_path / "out"), "top_k": 1}
    for wrong in ({"baselines": ("resnet",)}, {"baselines": ("nasnet_mobile",)}):
        with pytest.raises(UserError):
            ship(run, settings(**out, **wrong), device_settings=FAST_HOST, say=lambda line: None)
    assert not (tmp_path / "out" / "settings.json").exists()


def workshop(scale, **of_the_plan):
    """A `candidates.Workshop` with all that `baselines.builder` reads of it."""
    plan = dataclasses.replace(families()[0].plans["quick"], scale=of_the_plan)
    setup = types.SimpleNamespace(task=types.SimpleNamespace(deploy_scale=scale))
    return candidates.Workshop(setup, plan, None, None, 0, None, False, 1.0, print)


def test_baselines_are_built_alike():
    """A plan's and a flag's settings reach a published network where it has room for them, and dropout all of them."""
    shop = workshop(Scale(32, 10), bn_momentum=0.9, activation="relu6", squeeze_excite=False, drop_path_keep=0.6)
    build, scale_of = baselines.builder("mnasnet_small", shop)
    model = build(scale_of(0.5))
    assert not [layer.name for layer in model.layers if "_se_" in layer.name]
    build, scale_of = baselines.builder("mobilenet", shop)
    norms = [layer for layer in build(scale_of(0.25)).layers if type(layer).__name__ == "BatchNormalization"]
    assert norms and {layer.momentum for layer in norms} == {0.9}
    for name in ("mnasnet_small", "mobilenet", "mobilenet_v2"):
        for rate in (0.0, 0.2):
            shop = workshop(Scale(32, 10, dropout_rate=rate))
            build, scale_of = baselines.builder(name, shop)
            model = build(scale_of(0.25))
            rates = [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout" and layer.rate]
            assert rates == ([rate] if rate else []), (name, rate)
            assert model.outputs[0].shape == (None, 10) and model.layers[-1].activation.__name__ == "softmax"
    for name in ("nasnet_mobile", "nasnet_a"):
        with pytest.raises(UserError, match="wider and narrower"):
            baselines.builder(name, shop)


def test_widths_are_halved_in_on():
    """Latency 2 ms at width 0.1 and 20 x wider after that: 7 ms is that of width 0.35."""
    asked = []

    def measure(width):
        asked.append(width)
        return 20 * width

    width, latency_ms = baselines.match(7.1, measure)
    assert (width, latency_ms) == (0.35, 7.0) and len(asked) <= 8
    # What is known is not measured again, and each new width is told.
    known, told = {each: 20 * each for each in asked}, []
    assert baselines.match(7.1, None, known, lambda *new: told.append(new)) == (0.35, 7.0) and told == []
    # The ends.
    assert baselines.match(0.1, measure)[0] == 0.1 and baselines.match(1e3, measure)[0] == 2.0

    def too_wide(width):
        raise InfeasibleArchitecture("does not fit")

    with pytest.raises(EvaluationError, match="ran no width"):
        baselines.match(1.0, too_wide)
