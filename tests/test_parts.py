"""A part is a file: one that is dropped into its folder is found, offered as a flag's choice, and works in a search."""

import importlib
import json
import shutil
import sqlite3
import subprocess
import sys

import pytest
from toy_networks import PARTS

from mnas_tf.family import FAMILY
from mnas_tf.search import Settings, search
from nas_tf import flags, plugins
from nas_tf.rewards import Objective
from nas_tf.search.settings import ALGORITHMS, DATASETS, DEVICES, JUDGES, WORKERS
from nas_tf.training.recipe import ProxyRecipe


@pytest.fixture
def drop(tmp_path, monkeypatch):
    """`drop(folder, path)` puts a file as a part called `dropped` into a plug-in folder until the test ends."""

    def into(folder, source):
        place = tmp_path / folder
        place.mkdir()
        shutil.copy(source, place / "dropped.py")
        package = importlib.import_module(folder)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(place)])
        monkeypatch.delitem(sys.modules, f"{folder}.dropped", raising=False)

    return into


def trials(run_dir):
    db = sqlite3.connect(run_dir / "trials.sqlite")
    rows = db.execute("SELECT tokens, accuracy, state FROM trials ORDER BY id").fetchall()
    judges = db.execute("SELECT DISTINCT judge FROM measurements WHERE kind = 'accuracy'").fetchall()
    db.close()
    return rows, judges


def run(tmp_path, plain_space, parts=None, **chosen):
    settings = {
        "run_dir": str(tmp_path / "run"),
        "search_space": str(plain_space),
        "algorithm": "random_search",
        "device": "simulated",
        "num_trials": 2,
        "workers": "inline",
        "proxy_image_size": 8,
        "proxy_samples": 50,
        "deploy_image_size": 16,
        "final_epochs": 0,
        **chosen,
    }
    said = []
    search(Settings(**settings), Objective(target_latency_ms=1.0), proxy=ProxyRecipe(1), parts=parts, say=said.append)
    return "\n".join(said)


@pytest.fixture
def defined(monkeypatch):
    """dict of the flags that are defined in the test to their help."""
    found = {}

    class Absl:
        def __getattr__(self, name):
            return lambda flag, default, *rest: found.update({flag: rest[-1]})

    monkeypatch.setattr(flags, "absl_flags", Absl())
    return found


@pytest.mark.parametrize(
    "folder,setting,source",
    [
        (JUDGES, "judge", PARTS / "toy_judge.py"),
        (DEVICES, "device", PARTS / "toy_device.py"),
        (DATASETS, "dataset", PARTS / "toy_dataset.py"),
        (ALGORITHMS, "algorithm", PARTS / "toy_algorithm.py"),
        (WORKERS, "workers", PARTS / "toy_workers.py"),
        ("mnas_tf.spaces", "search_space", None),
    ],
)
def test_a_dropped_file_is_a_part(folder, setting, source, drop, tmp_path, plain_space):
    drop(folder, source or plain_space)
    assert "dropped" in plugins.names(folder)
    parts = {"dropped": {"log": str(tmp_path / "log")}} if setting == "device" else None
    said = run(tmp_path, plain_space, parts, **{setting: "dropped"})
    rows, judges = trials(tmp_path / "run")
    assert [state for _, _, state in rows] == ["done", "done"]
    assert judges == [("toy" if setting == "judge" else "proxy",)]
    if setting == "workers":
        assert "on 7 workers" in said


def test_the_flags_of_a_dropped_file(drop, defined):
    drop(JUDGES, PARTS / "toy_judge.py")
    flags.define(FAMILY.search_settings)
    flags.define_parts(JUDGES)
    assert "One of: blocks, dropped, inherited, proxy" in defined["judge"]
    assert defined["dropped_worth"] == "What a token is worth."


def test_what_a_judge_keeps_is_part_of_the_run(drop, tmp_path, plain_space):
    """Made once, found by a resumed run, and refused once it has changed."""
    drop(JUDGES, PARTS / "toy_judge.py")
    run(tmp_path, plain_space, judge="dropped", algorithm="random_search")
    run(tmp_path, plain_space, judge="dropped", algorithm="random_search", num_trials=3)
    rows, _ = trials(tmp_path / "run")
    assert (tmp_path / "run" / "made.txt").read_text() == "made "
    for tokens, accuracy, _ in rows:
        assert accuracy == pytest.approx(0.25 + 0.1 * sum(json.loads(tokens)) / 10)
    with pytest.raises(ValueError, match=r"begun with other settings: .*judge worth=0\.2 \(was 0\.1\)"):
        run(tmp_path, plain_space, {"dropped": {"worth": 0.2}}, judge="dropped", num_trials=3)
    with pytest.raises(ValueError, match=r"begun with other settings: --judge=proxy \(was dropped\)"):
        run(tmp_path, plain_space, judge="proxy", num_trials=3)
    (tmp_path / "run" / "judge" / "base.txt").write_text("0.5")
    with pytest.raises(ValueError, match=r"judge was begun with other settings: base\.txt="):
        run(tmp_path, plain_space, judge="dropped", num_trials=4)


def test_what_is_given_for_a_space_counts_also_where_it_is_the_default():
    """A parent, or an accuracy table, brings defaults of its own: they give way to what the user says."""
    code = (
        "from absl import flags as parsed; from nas_tf import flags;"
        "flags.define_parts('mnas_tf.spaces', 'search_space');"
        "parsed.FLAGS(['x', '--mnasnet_expansion_ratios=3,6', '--mnasnet_image_sizes=', '--mnasnet_kernel_sizes=5']);"
        "print(flags.read_part('mnas_tf.spaces', 'mnasnet').settings)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "{'kernel_sizes': (5,), 'expansion_ratios': (3, 6), 'image_sizes': ()}"
