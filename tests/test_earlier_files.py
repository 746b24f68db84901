"""Folders and files that an earlier version wrote open as before, or are refused in one line (data/earlier)."""

import contextlib
import dataclasses
import json
import shutil

import pytest
from support import ROOT

from mnas_tf.search import Settings, search
from nas_tf.devices.table import LatencyTable
from nas_tf.networks.folder import read_description, read_keras, read_network
from nas_tf.rewards import Objective
from nas_tf.search.records import Records
from nas_tf.shipping.chain import ship
from nas_tf.shipping.settings import ShipSettings
from nas_tf.training.recipe import ProxyRecipe
from nas_tf.trial import UserError

EARLIER = ROOT / "tests" / "data" / "earlier"


@pytest.fixture
def earlier(tmp_path):
    """A copy of the earlier files, which is the current folder: they name each other by relative paths."""
    shutil.copytree(EARLIER, tmp_path / "earlier")
    with contextlib.chdir(tmp_path / "earlier"):
        yield tmp_path / "earlier"


def search_settings(**changes):
    chosen = {
        "run_dir": "run",
        "search_space": "plain_space.py",
        "algorithm": "random_search",
        "device": "simulated",
        "num_trials": 3,
        "workers": "inline",
        "proxy_image_size": 8,
        "proxy_samples": 100,
        "deploy_image_size": 16,
        "final_epochs": 1,
        "final_samples": 100,
    }
    return Settings(**{**chosen, **changes})


def run(**changes):
    said = []
    result = search(
        search_settings(**changes), Objective(target_latency_ms=1.0), None, ProxyRecipe(1), None, said.append
    )
    return result, "\n".join(said)


def test_a_run_is_refused_in_one_line(earlier):
    """Its children and their images were others. Its trials can be read."""
    records = Records("run/trials.sqlite", read_only=True)
    assert [trial.state for trial in records.trials()] == ["done"] * 3
    records.close()
    (earlier / "run" / "config.json").rename(earlier / "config.json")
    with pytest.raises(UserError, match=r"^run was begun with version unknown of mobile-nas-tf"):
        run()
    (earlier / "config.json").rename(earlier / "run" / "config.json")
    for begin in ({}, {"run_dir": "new", "warm_start": "run"}):
        with pytest.raises(UserError, match=r"^run was begun with version 0\.1\.0 .* Choose another folder; nas-ship"):
            run(**begin)


def test_a_trained_network_opens(earlier):
    model, description = read_network("run/best")
    assert description.trial is None and description.asked["trial"] == 1
    assert description.accuracy.proxy is not None and description.latency.latency_ms > 0
    assert model.outputs[0].shape[-1] == len(description.class_names) == 10
    damaged = json.loads((earlier / "run/best/architecture.json").read_text())
    for value, words in (
        ({**damaged, "colour": 1}, "missing keys none, unknown keys colour"),
        ({key: damaged[key] for key in damaged.keys() - {"scale"}}, "missing keys scale, unknown keys none"),
    ):
        (earlier / "run/best/architecture.json").write_text(json.dumps(value))
        with pytest.raises(UserError, match=words):
            read_description("run/best")


def test_a_run_ships(earlier):
    """Its chain is refused in one line, because its networks were chosen and trained otherwise; another is begun."""
    chosen = ShipSettings(
        top_k=1,
        recipe="quick",
        epochs=1,
        batch_size=32,
        num_samples=100,
        number_types=("float32",),
        baselines=(),
        imports=("none",),
        device="toy_device.py",
        search_space="plain_space.py",
    )
    with pytest.raises(UserError, match=r"version=0\.2 \(was null\).*choose another --out_dir"):
        ship("run", chosen, device_settings={"log": "log"}, say=lambda line: None)
    chosen = dataclasses.replace(chosen, out_dir="shipped", batch_size=8, epochs=3)
    rows = ship("run", chosen, device_settings={"log": "log"}, say=lambda line: None)
    assert rows[0].network.trial == 1 and rows[0].network.accuracy.test is not None
    assert {record.file for record in rows[0].files} == {"model.keras", "model.tflite", "saved_model"}


def test_a_keras_file_with_layers_that_moved_opens(earlier):
    names = {type(layer).__name__ for layer in read_keras("drop_path.keras").layers}
    assert {"DropPath", "TrainingProgress"} <= names


def test_a_latency_table_opens(earlier):
    assert LatencyTable.read("table.json").units == {"stem": 0.25}
