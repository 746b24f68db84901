"""Nothing from a file runs: no part and no program that only a file of someone else names."""

import contextlib
import dataclasses
import json
import pathlib

import pytest
import toy_networks
from support import assert_one_line, script

from mnas_tf.family import FAMILY
from mnas_tf.search import Settings
from nas_tf.apps.export import ExportSettings, export
from nas_tf.networks.description import NetworkDescription
from nas_tf.plugins import Part
from nas_tf.rewards import AccuracyReward
from nas_tf.search.records import Records
from nas_tf.search.request import make_request
from nas_tf.search.run_folder import RunFolder
from nas_tf.search.warm_start import read_earlier, warm_start
from nas_tf.shipping.chain import ship
from nas_tf.shipping.files import make_device
from nas_tf.shipping.settings import ShipSettings
from nas_tf.trial import Cost, Latency, Measurement, Trial, UserError

EVIL = 'import pathlib\n\npathlib.Path(__file__).with_name("RAN").touch()\nraise SystemExit("executed")\n'


def evil_run(folder, **flags):
    """A run folder from someone else, whose config.json names `flags` beside built-in parts."""
    (folder / "run").mkdir(parents=True)
    (folder / "evil.py").write_text(EVIL)
    built_in = {"search_space": "mnasnet", "dataset": "digits", "device": "simulated", "algorithm": "random_search"}
    chosen = {**built_in, **flags}
    part = {"folder": "mnas_tf.spaces", "name": chosen["search_space"], "settings": {}}
    config = {"flags": chosen, "device": {}, "space": {"part": part}}
    (folder / "run" / "config.json").write_text(json.dumps(config))
    return folder / "run"


def test_a_config_json_that_names_a_search_space_runs_nothing(tmp_path):
    evil_run(tmp_path, search_space="evil.py")
    for flags in ((), (f"--search_space={tmp_path / 'other.py'}",)):
        process = script("nas-ship", "run", *flags, cwd=tmp_path)
        real = tmp_path.resolve() / "evil.py"
        assert_one_line(process, 2, "names the file evil.py as its search space", f"give --search_space={real} if you")
    assert not (tmp_path / "RAN").exists()
    # Named by a flag of the command, it runs.
    script("nas-ship", "run", f"--search_space={tmp_path / 'evil.py'}", cwd=tmp_path)
    assert (tmp_path / "RAN").exists()


@pytest.mark.parametrize("setting", ["dataset", "device", "algorithm", "judge", "workers"])
def test_a_config_json_that_names_another_part_runs_nothing(tmp_path, setting):
    folder = evil_run(tmp_path, **{setting: str(tmp_path / "evil.py")})
    with pytest.raises(UserError) as error:
        ship(folder, ShipSettings(), say=lambda line: None)
    assert not (tmp_path / "RAN").exists()
    if setting in ("dataset", "device"):
        assert f"give --{setting}={tmp_path.resolve() / 'evil.py'} if you trust it" in str(error.value)


def test_a_config_json_that_names_a_program_runs_nothing(tmp_path):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'RAN'}\n")
    program.chmod(0o755)
    folder = evil_run(tmp_path, device="host", host_python=str(program))
    with pytest.raises(UserError, match=f"names the program {program} as --host_python.*--device=host --host_python="):
        ship(folder, ShipSettings(), say=lambda line: None)
    assert not (tmp_path / "RAN").exists()


def test_a_config_json_that_names_a_tfds_data_set_of_the_community_runs_nothing(tmp_path, monkeypatch):
    """TFDS would fetch and run the code of that data set."""
    import tensorflow_datasets as tfds

    asked = []

    def builder(name, **more):
        asked.append(name)
        raise ValueError("asked for")

    monkeypatch.setattr(tfds, "builder", builder)
    for name in ("huggingface:mnist", "kubric:movi_a/256x256:1.0.0"):
        folder = evil_run(tmp_path / name.partition(":")[0], dataset="tfds", tfds_name=name, tfds_download=True)
        for own in ("", "huggingface:other", "tfds"):
            with pytest.raises(UserError, match=f"names {name} as --tfds_name, .* give --dataset={name} if you trust"):
                ship(folder, ShipSettings(dataset=own), say=lambda line: None)
        assert not asked
        with pytest.raises(UserError, match="asked for"):
            ship(folder, ShipSettings(dataset=name), say=lambda line: None)
        assert asked.pop() == name
    with pytest.raises(UserError, match="asked for"):
        ship(evil_run(tmp_path / "own", dataset="tfds", tfds_name="mnist:3.0.1"), ShipSettings(), say=lambda line: None)


@pytest.mark.parametrize(
    "features",
    [
        {"pythonClassName": "evil.Feature", "image": {"shape": {"dimensions": [-1, -1, 3]}}},
        {"type": "evil.Feature", "content": "{}"},
    ],
    ids=["today's", "earlier"],
)
def test_a_features_json_imports_nothing(tmp_path, monkeypatch, features):
    """TFDS would import the module of any class that the file names."""
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "data" / "toy" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps({"name": "toy", "version": "1.0.0", "fileFormat": "tfrecord"}))
    (folder / "features.json").write_text(json.dumps(features))
    for name, data_dir in (("toy", folder), ("toy", tmp_path / "data"), ("toy:1.0.0", tmp_path / "data")):
        with pytest.raises(UserError, match=r"names 'evil\.Feature', which is no feature of TFDS"):
            Part("nas_tf.datasets", "tfds", {"name": name}).make(
                data_dir=str(data_dir), image_size=8, num_samples=0, seed=0
            )
    assert not (tmp_path / "RAN").exists()


def test_a_warm_start_runs_nothing_that_its_config_json_names(plain_space, tmp_path):
    """Only its records are read, whatever parts it names."""
    evil = str(tmp_path / "evil.py")
    parts = ("search_space", "dataset", "device", "algorithm", "judge", "workers")
    theirs = evil_run(tmp_path, **dict.fromkeys(parts, evil), host_python=evil)
    config = {**json.loads((theirs / "config.json").read_text()), "measured_under": {"--algorithm": "ppo"}}
    (theirs / "config.json").write_text(json.dumps(config))
    mine = RunFolder(tmp_path / "mine")
    mine.path.mkdir()
    mine.config.write_text(json.dumps({**config, "flags": {}}))
    settings = Settings(
        run_dir=str(mine.path), search_space=str(plain_space), algorithm="random_search", warm_start=str(theirs)
    )
    request = make_request(FAMILY, settings)
    cost, tokens = Cost(1, 1, 1, latency=Latency.estimate(1.0)), (0, 0, 0)
    trial = Trial(1, tokens, measurement=Measurement(0.5, cost, 1.0), reward=0.5)
    diverged = dataclasses.replace(trial, id=2, tokens=(0, 0, 1), reward=0.0, infeasible="it diverges at rung 2")
    diverged = dataclasses.replace(diverged, measurement=Measurement(0.9, cost, 1.0, rungs=(0.9,)))
    failed = dataclasses.replace(diverged, id=3, tokens=(0, 1, 1), infeasible=None, reward=None, error="disk full")
    with contextlib.closing(Records(theirs / "trials.sqlite")) as records:
        for each in (trial, diverged, failed):
            records.add_finished(each, request.setup.task.space.space.decode(each.tokens), "phone-1", "proxy")
        assert [each.state for each in records.trials()] == ["done", "infeasible", "failed"]
    said = []
    with contextlib.closing(Records(mine.records)) as records:
        earlier = read_earlier(request, mine)
        warm_start(request, earlier, records, AccuracyReward(), "phone-1", "proxy", said.append)
        assert [each.measurement for each in records.trials()] == [trial.measurement]
    assert said == [f"1 trial of {theirs} judged again"] and not (tmp_path / "RAN").exists()


def test_a_part_of_a_file_is_of_a_space_folder(tmp_path):
    """Naming any installed module as the folder would import it."""
    folder = evil_run(tmp_path)
    for part in ({"folder": "antigravity", "name": "mnasnet"}, {"folder": "mnas_tf.spaces", "name": 3}, {"x": 1}, None):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "space": {"part": part}}))
        with pytest.raises(UserError, match=r"names no search space of|describes no search space"):
            ship(folder, ShipSettings(), say=lambda line: None)


def test_an_architecture_json_that_names_a_search_space_runs_nothing(tmp_path):
    (tmp_path / "evil.py").write_text(EVIL)
    toy_networks.quantises_badly().save(tmp_path / "model.keras")
    description = {
        "text": "toy",
        "scale": {"image_size": 12, "num_classes": 3},
        "class_names": ["red", "green", "blue"],
        "dataset": {"name": "toy", "source": "made here", "splits": "drawn at random"},
        "space": {"folder": "mnas_tf.spaces", "name": str(tmp_path / "evil.py"), "settings": {}},
    }
    (tmp_path / "architecture.json").write_text(json.dumps(description))
    chosen = {"network_dir": str(tmp_path), "number_types": ("float32",)}
    with pytest.raises(UserError, match=r"architecture\.json names the file .*evil\.py as its search space"):
        export(ExportSettings(**chosen, device="host"), say=lambda line: None)
    process = script(
        "mnas-train", "--architecture=mnasnet_small", f"--initial_weights={tmp_path}", f"--out_dir={tmp_path / 'out'}"
    )
    assert_one_line(process, 2, "Expected")
    assert not (tmp_path / "RAN").exists()
    # Without a device it is not needed.
    export(ExportSettings(**chosen, device="none"), say=lambda line: None)


def test_the_user_names_the_own_space_of_a_network(plain_space):
    scale = {"image_size": 32, "num_classes": 10}
    description = NetworkDescription("", scale, (), {}, space=Part("mnas_tf.spaces", str(plain_space)).to_json())
    device = Part("nas_tf.devices", "simulated")
    with pytest.raises(UserError, match="names the file"):
        make_device(device, description)
    unusual = str(pathlib.Path(plain_space).parent / "." / plain_space.name)  # the same real path
    make_device(device, description, unusual).close()
