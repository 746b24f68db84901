"""The three commands of the cell search, installed and run: searched cells, trained and shipped networks, mistakes."""

import json
import re
import sqlite3

import numpy as np
import pytest
from support import assert_one_line, eagerly, script

from nasnet_tf.family import FAMILY
from nasnet_tf.spaces.nasnet import NASNetSpace

pytestmark = pytest.mark.real

SMALL = (
    "--nasnet_blocks=1",
    "--nasnet_operations=identity,conv_1x1,sep_conv_3x3",
    "--algorithm=random_search",
    "--proxy_image_size=8",
    "--proxy_cells=1",
    "--proxy_filters=4",
    "--proxy_epochs=1",
    "--proxy_samples=100",
    "--deploy_image_size=24",
    "--deploy_stem=cifar",
    "--deploy_cells=1",
    "--deploy_filters=8",
    "--workers=inline",
)


def query(run_dir, sql):
    db = sqlite3.connect(run_dir / "trials.sqlite")
    rows = db.execute(sql).fetchall()
    db.close()
    return rows


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder and the text of a search by accuracy, on no device."""
    run_dir = tmp_path_factory.mktemp("search") / "run"
    process = script(
        "nasnet-search",
        f"--run_dir={run_dir}",
        *SMALL,
        "--num_trials=2",
        "--final_epochs=1",
        "--final_samples=100",
        eager=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return run_dir, process.stdout


def test_a_search_by_accuracy(searched):
    run_dir, text = searched
    assert "accuracy alone" in text and "nasnet_a here: 0." in text and "top 1: normal: " in text
    rows = query(run_dir, "SELECT reward, accuracy, latency_ms, architecture, mult_adds FROM trials")
    assert len(rows) == 2
    for reward, accuracy, latency_ms, architecture, mult_adds in rows:
        assert reward == accuracy and latency_ms is None and mult_adds > 0
        assert set(json.loads(architecture)) == {"normal", "reduction"}
    assert query(run_dir, "SELECT COUNT(*) FROM measurements WHERE kind = 'latency'") == [(0,)]
    files = {path.name for path in (run_dir / "best").iterdir()}
    pictures = {f"{cell}_cell.{kind}" for cell in ("normal", "reduction") for kind in ("svg", "png")}
    assert files == {"architecture.json", "model.keras", "model.tflite", "saved_model", *pictures}
    assert (run_dir / "pareto.png").stat().st_size > 10_000
    # What nasnet-train takes as --architecture are the cells of one of its trials.
    cells = FAMILY.read_architecture(str(run_dir / "best" / "architecture.json"), NASNetSpace())
    assert cells.to_json() in [json.loads(architecture) for _, _, _, architecture, _ in rows]


def test_other_settings_are_refused(searched):
    run_dir, _ = searched
    process = script("nasnet-search", f"--run_dir={run_dir}", *SMALL, "--num_trials=4", "--deploy_stem=imagenet")
    assert_one_line(process, 2, "begun with other settings", "--deploy_stem=imagenet (was cifar)")


@pytest.fixture
def cells(tmp_path):
    """Path of an `architecture.json` with the cells of `SMALL`'s space, as a search leaves it."""
    space = NASNetSpace(blocks=1, operations=("identity", "conv_1x1", "sep_conv_3x3"))
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps({"architecture": space.decode((0, 1, 0, 2, 0) * 2).to_json(), "text": "of a search"}))
    return path


def test_searched_cells_are_carried_to_another_scale(cells, tmp_path):
    out = tmp_path / "net"
    process = script(
        "nasnet-train",
        f"--architecture={cells}",
        f"--out_dir={out}",
        "--image_size=33",
        "--cells=1",
        "--filters=8",
        "--epochs=1",
        "--num_samples=60",
        "--recipe=cifar",
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert re.search(r"validation accuracy \d+\.\d ± \d\.\d %, test accuracy \d+\.\d ± \d\.\d %", process.stdout)
    description = json.loads((out / "architecture.json").read_text())
    assert description["architecture"] == json.loads(cells.read_text())["architecture"]
    assert description["scale"]["image_size"] == 33 and not description["scale"]["auxiliary_head"]
    assert description["recipe"]["cutout_fraction"] == 0.5 and description["recipe"]["auxiliary_weight"] == 0.4

    process = script(
        "nasnet-export",
        f"--network_dir={out}",
        f"--out_dir={tmp_path / 'files'}",
        "--host_min_seconds=0.1",
        "--host_max_spread=10",
        "--host_retry_spread=10",
    )
    assert process.returncode == 0 and "latency on host: " in process.stdout, process.stderr[-3000:]
    # The file that ships is plain Keras: nothing of this project is needed to load it.
    import keras
    from nasnet_support import run_tflite

    picture = np.random.default_rng(0).uniform(-1, 1, (1, 33, 33, 3)).astype("float32")
    model = keras.saving.load_model(out / "model.keras")
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
    np.testing.assert_allclose(run_tflite(tmp_path / "files" / "model.tflite", picture), model(picture), atol=1e-4)


def test_the_imagenet_recipe_trains_cells_of_ones_own(cells, tmp_path, monkeypatch):
    from nas_tf.apps import train as command
    from nasnet_tf.train import Settings, train

    # What is written of a network is another test's.
    monkeypatch.setattr(command, "write_network", lambda folder, model, description, space: description)

    settings = Settings(
        architecture=str(cells),
        out_dir=str(tmp_path / "net"),
        recipe="imagenet",
        image_size=24,
        stem="cifar",
        cells=1,
        filters=8,
        epochs=1,
        num_samples=60,
    )
    with eagerly():
        recipe = train(settings).recipe
    assert recipe["optimizer"] == "rmsprop" and recipe["ema_decay"] == 0.9999 and recipe["epochs"] == 1


def test_a_search_with_latency(tmp_path):
    from nas_tf.rewards import Objective
    from nas_tf.training.recipe import ProxyRecipe
    from nasnet_tf.search import Settings, search

    settings = Settings(
        run_dir=str(tmp_path / "run"),
        device="simulated",
        algorithm="random_search",
        num_trials=1,
        workers="inline",
        proxy_image_size=8,
        proxy_cells=1,
        proxy_filters=4,
        proxy_samples=100,
        deploy_image_size=24,
        deploy_stem="cifar",
        deploy_cells=1,
        deploy_filters=8,
        final_epochs=0,
    )
    space = {"blocks": 1, "operations": ("identity", "conv_1x1")}
    said = []
    objective = Objective(reward="soft", target_latency_of="nasnet_a")
    with eagerly():
        result = search(settings, objective, proxy=ProxyRecipe(1), parts={"nasnet": space}, say=said.append)
    assert "nasnet_a's, measured here" in "\n".join(said)
    # The simulated device knows no network of another family.
    assert set(result.published) == {"nasnet_a"}
    assert result.goal.target == result.published["nasnet_a"].latency.latency_ms
    for trial in result.trials:
        # MnasNet's soft reward, as in its row "multi-objective, cell space".
        relative = trial.measurement.cost.latency.latency_ms / result.goal.target
        assert trial.reward == pytest.approx(trial.measurement.accuracy * relative**-0.07)


def test_drawings(tmp_path):
    process = script("nasnet-export", "--draw", "--architecture=nasnet_a", f"--out_dir={tmp_path}")
    assert process.returncode == 0, process.stderr[-3000:]
    for line in process.stdout.split():
        assert line in {str(path) for path in tmp_path.iterdir()}
    normal = (tmp_path / "normal_cell.svg").read_text()
    # Five blocks: sep 5x5 twice, sep 3x3 three times, avg 3x3 three times, identity twice, and five sums.
    counts = {text: normal.count(f">{text}<") for text in ("sep 5x5", "sep 3x3", "avg 3x3", "identity", "add")}
    assert counts == {"sep 5x5": 2, "sep 3x3": 3, "avg 3x3": 3, "identity": 2, "add": 5}
    reduction = (tmp_path / "reduction_cell.svg").read_text()
    assert reduction.count("/ 2<") == 7  # operations on the cell's inputs halve the size
    assert (tmp_path / "normal_cell.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "name,flag", [("nasnet-search", "proxy_filters"), ("nasnet-train", "drop_path_keep"), ("nasnet-export", "draw")]
)
def test_help(name, flag):
    process = script(name, "--help")
    assert process.returncode == 0 and process.stderr == "" and f"{flag}: " in process.stdout
    if name == "nasnet-search":
        for flag in (
            "run_dir",
            "dataset",
            "data_dir",
            "search_space",
            "algorithm",
            "num_trials",
            "seed",
            "workers",
            "num_workers",
            "proxy_image_size",
            "proxy_epochs",
            "proxy_samples",
            "proxy_cells",
            "device",
            "target_latency_ms",
            "reward",
            "deploy_image_size",
            "nasnet_blocks",
        ):
            assert f"--{flag}: " in process.stdout, flag


@pytest.mark.parametrize(
    "flags,words",
    [
        (["--proxy_filters=0"], ["Expected --proxy_filters to be at least 1 and at most 4096. Received: 0"]),
        (["--deploy_filters=42"], ["multiple of 4", "filters=42"]),
        (["--deploy_image_size=16"], ["image_size of at least 19", "imagenet stem", "image_size=16"]),
        (["--proxy_image_size=2"], ["image_size of at least 3", "cifar stem", "image_size=2"]),
        (["--nasnet_operations=conv_9x9"], ["--nasnet_operations to hold only identity", "conv_9x9"]),
        (["--reward=soft"], ["--reward=soft on latency needs a --device", "--device=none"]),
        (["--target_latency_ms=5"], ["--target_latency_ms needs", "--reward=accuracy"]),
        (["--max_tflite_bytes=5"], ["--max_tflite_bytes needs a --device that times files"]),
        (["--device=toaster"], ["host", "simulated", "'toaster'"]),
        (["--device=simulated", "--reward=soft", "--target_latency_of=resnet"], ["nasnet_a", "'resnet'"]),
    ],
)
def test_a_searchs_mistakes(flags, words, tmp_path):
    assert_one_line(script("nasnet-search", f"--run_dir={tmp_path / 'run'}", *flags), 2, *words)
    assert not (tmp_path / "run" / "trials.sqlite").exists()


def test_mistakes_in_training_and_export(tmp_path):
    out = f"--out_dir={tmp_path / 'out'}"
    assert_one_line(script("nasnet-train"), 2, "Expected --out_dir")
    assert_one_line(script("nasnet-train", out, "--architecture=nasnet_z"), 2, "nasnet_a", "Received: 'nasnet_z'")
    assert_one_line(script("nasnet-train", out, "--architecture=none.json"), 2, "none.json")
    path = tmp_path / "cell.json"
    for text, words in (
        ("[1, 2]", ["two cells, normal and reduction", "[1, 2]"]),
        ("no json", ["Expected --architecture to be a JSON file", str(path)]),
        (
            json.dumps({"architecture": {"normal": {"blocks": [], "output": []}, "reduction": {}}}),
            ["at least one block"],
        ),
    ):
        path.write_text(text)
        assert_one_line(script("nasnet-train", out, f"--architecture={path}"), 2, *words)
    for keep in ("0", "1.5"):
        assert_one_line(
            script("nasnet-train", out, f"--drop_path_keep={keep}"),
            2,
            "--drop_path_keep to be above 0 and at most 1",
            keep,
        )
    assert_one_line(script("nasnet-train", out, "--recipe=best"), 2, "recipe", "best", "cifar")
    assert_one_line(script("nasnet-export"), 2, "Expected --network_dir")
    assert_one_line(script("nasnet-export", "--draw"), 2, "--draw with --network_dir")
    assert_one_line(script("nasnet-export", "--draw", "--architecture=x", out), 2, "nasnet_a", "'x'")
    assert_one_line(script("nasnet-export", "--architecture=nasnet_a"), 2, "--draw")
    assert not (tmp_path / "out").exists()
