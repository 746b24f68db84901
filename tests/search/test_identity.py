"""The same command means the same thing: what decides a measurement is the run's identity, and nothing else is."""

import contextlib
import json
import multiprocessing
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from support import assert_one_line, script

import nas_tf
from mnas_tf.family import FAMILY
from mnas_tf.search import Settings, search
from nas_tf.files import alone
from nas_tf.plugins import Part
from nas_tf.rewards import Objective
from nas_tf.search import run_folder, warm_start
from nas_tf.search.records import Records
from nas_tf.search.request import make_request
from nas_tf.search.run_folder import RunFolder
from nas_tf.training.recipe import ProxyRecipe
from nas_tf.trial import UserError

FLAGS = {"seed": 0, "dataset": "digits", "num_trials": 4, "num_workers": 2, "data_dir": "images", "warm_start": ""}
FREE = ("num_trials", "data_dir", "final_epochs")
SPACE = {
    "part": {"folder": "mnas_tf.spaces", "name": "mnasnet", "settings": {}},
    "decisions": {"kernel": [3, 5], "filters": [8, 16]},
    "proxy_scale": {"image_size": 32},
    "deploy_scale": {"image_size": 224},
}
DEVICE = {
    "device": "host",
    "processor": "p",
    "runtime": "ai-edge-litert 2.0.2",
    "python": "3.11.7",
    "settings": {"num_threads": 1},
}
DATA = {
    "name": "image_folder",
    "source": "images",
    "classes": ["cat", "dog"],
    "num_examples": {"train": 20, "validation": 4, "test": 4},
    "digest": "0123456789abcdef",
    "largest_class": {"validation": 0.5},
}


@pytest.fixture
def begin(tmp_path):
    """`begin(...)` opens the folder of a run with these settings, and returns what it said."""

    def call(has_begun=True, flags=None, device=None, space=None, judge=None, data=None, parts=()):
        said, records = [], Records(tmp_path / "trials.sqlite")
        stack.callback(records.close)
        asked = {**FLAGS, **(flags or {})}
        RunFolder(tmp_path).open(
            asked,
            {name: value for name, value in asked.items() if name not in FREE},
            {**DEVICE, **(device or {})},
            {**SPACE, **(space or {})},
            {"judge": "proxy", **(judge or {})},
            {**DATA, **(data or {})},
            parts,
            has_begun,
            records,
            said.append,
        )
        return said

    with contextlib.ExitStack() as stack:
        call(has_begun=False)
        yield call


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"flags": {"seed": 1}}, r"--seed=1 \(was 0\)"),
        (
            {"space": {"decisions": {"kernel": [3, 7], "filters": [8, 16]}}},
            r"decision kernel=\[3, 7\] \(was \[3, 5\]\)",
        ),
        ({"space": {"proxy_scale": {"image_size": 48}}}, r"proxy_scale image_size=48 \(was 32\)"),
        ({"data": {"digest": "f" * 16}}, r"data digest=f{16} \(was 0123456789abcdef\)"),
        ({"data": {"classes": ["cat", "fox"]}}, r'data classes=\["cat", "fox"\] \(was \["cat", "dog"\]\)'),
        (
            {"data": {"num_examples": {"train": 21, "validation": 4, "test": 4}}},
            r"data num_examples train=21 \(was 20\)",
        ),
        ({"device": {"processor": "q"}}, r"device processor=q \(was p\)"),
        ({"judge": {"epochs": 3}}, r"judge epochs=3 \(was null\)"),
    ],
)
def test_what_decides_a_measurement_is_refused_by_name(begin, changes, words):
    with pytest.raises(UserError, match=f"begun with other settings: {words}"):
        begin(**changes)
    assert begin() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"source": "/moved/images"}},
        {"device": {"settings": {"num_threads": 2}}},
        {"device": {"python": "3.11.99", "runtime": "ai-edge-litert 2.0.9"}},
    ],
)
def test_what_changes_no_measurement_may_change(begin, changes):
    assert begin(**changes) == []


def deciding(parts=None, **changes):
    """The flags that decide a measurement in a search of digits with these settings."""
    settings = Settings(**{"run_dir": "run", "device": "simulated", **changes})
    return make_request(FAMILY, settings, parts=parts).deciding_flags()


@pytest.mark.parametrize(
    "changes",
    [
        {name: 9 for name in ("num_workers", "worker_memory_mb", "final_epochs", "num_trials", "final_samples")},
        {"max_hours": 9.0, "deadline_factor": 9.0, "run_dir": "elsewhere"},
        {"workers": "inline", "parts": {"inline": {}}},
    ],
)
def test_settings_that_decide_no_measurement(changes):
    assert deciding(**changes) == deciding()


def test_settings_of_parts_that_decide_no_measurement(images):
    asked = {"dataset": "image_folder", "data_dir": str(images)}
    patient = {"patience_minutes": 1.0, "answer_seconds": 9.0, "poll_seconds": 9.0}
    free = {
        "image_folder": {"max_memory_mb": 1, "max_megapixels": 9.0, "allow_test_in_train": True},
        "android": patient,
    }
    assert deciding(free, device="android", **asked) == deciding(device="android", **asked)
    decides = deciding({"image_folder": {"fit": "crop"}, "android": {"num_threads": 4}}, device="android", **asked)
    assert decides.keys() - deciding(device="android", **asked).keys() == {"image_folder_fit", "android_num_threads"}
    # What a table holds is part of the device, wherever it lies.
    assert "table" not in deciding({"table": {"file": "pixel1"}}, device="table")


def test_another_spelling_of_a_path_is_the_same_path(tmp_path, monkeypatch, plain_space):
    monkeypatch.chdir(tmp_path)
    same = {"warm_start": f"{tmp_path}/x/../old", "search_space": str(plain_space)}
    assert deciding(**same) == deciding(warm_start="old", search_space=os.path.relpath(plain_space))
    assert deciding(**{**same, "warm_start": "other"}) != deciding(**same)
    python = {"host": {"python": f"{tmp_path}/x/../python"}}
    assert deciding(python, device="host") == deciding({"host": {"python": "python"}}, device="host")


@pytest.mark.parametrize("package", ["keras", "tensorflow", "ai-edge-litert"])
def test_versions(begin, package, monkeypatch):
    """Another minor version is refused by name, a patch version said."""
    known = run_folder._versions()
    major, minor, *_ = known[package].split(".")
    monkeypatch.setattr(run_folder, "_versions", lambda: {**known, package: f"{major}.{minor}.99"})
    assert begin() == [f"{package} is {major}.{minor}.99; this run was begun with {known[package]}"]
    monkeypatch.setattr(run_folder, "_versions", lambda: {**known, package: f"{major}.99.0"})
    with pytest.raises(UserError, match=rf"version of {package}={major}\.99 \(was {major}\.{minor}\)"):
        begin()


def test_the_projects_own_version_is_part_of_the_run(begin, monkeypatch):
    monkeypatch.setattr(nas_tf, "__version__", "7.1.0")
    with pytest.raises(UserError, match=r"version of mobile-nas-tf=7\.1"):
        begin()


@pytest.mark.parametrize("folder", ["mnas_tf.spaces", "nas_tf.datasets", "nas_tf.devices"])
def test_an_edited_file_of_ones_own_is_refused(begin, tmp_path, folder):
    path = tmp_path / "mine.py"
    path.write_text("one = 1\n")
    begin(has_begun=False, parts=[Part(folder, str(path))])
    shutil.copy(path, tmp_path / "copy.py")
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(path, moved / "mine.py")
    assert begin(parts=[Part(folder, str(moved / "mine.py"))]) == []
    (moved / "mine.py").write_text("one = 2\n")
    with pytest.raises(UserError, match=rf"{folder.rpartition('.')[2]} file mine\.py="):
        begin(parts=[Part(folder, str(moved / "mine.py"))])


def test_a_run_of_another_command_is_named_in_one_line(begin):
    cells = {**SPACE["part"], "folder": "nasnet_tf.spaces", "name": "nasnet"}
    with pytest.raises(UserError, match=r"is a run of mnas-search\. Received: nasnet-search\. Choose another"):
        begin(space={"part": cells, "decisions": {f"d{i}": [1, 2] for i in range(50)}})


def test_many_differences_are_cut_short(begin):
    with pytest.raises(UserError, match=r"; and 4\d more\. Give those again") as caught:
        begin(space={"decisions": {f"d{i}": list(range(100)) for i in range(50)}})
    assert len(str(caught.value)) < 2000


def test_a_run_of_an_earlier_version_is_refused_in_one_line(begin, tmp_path):
    config = json.loads((tmp_path / "config.json").read_text())
    del config["measured_under"]
    config["versions"]["mobile-nas-tf"] = "0.1.0"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"begun with version 0\.1\.0 of mobile-nas-tf.*nas-ship still takes this one"):
        begin()


def test_a_missing_config_is_made_anew(begin, tmp_path):
    before = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    (said,) = begin()
    assert "config.json is missing: it is made anew from this command" in said
    after = json.loads((tmp_path / "config.json").read_text())
    assert {**after, "made_at": ""} == {**before, "made_at": ""}
    # trials.sqlite knows what the run was begun with: another command does not take the folder over.
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"--seed=7 \(was 0\)"):
        begin(flags={"seed": 7})
    assert not (tmp_path / "config.json").exists() and len(begin()) == 1


def test_what_may_change_is_kept_as_it_is_now(begin, tmp_path):
    """nas-ship looks for the images where the run last found them."""
    begin(flags={"data_dir": "/moved/images", "final_epochs": 7})
    flags = json.loads((tmp_path / "config.json").read_text())["flags"]
    assert flags["data_dir"] == "/moved/images" and flags["final_epochs"] == 7 and begin() == []


def test_the_folder_of_another_command_is_refused(tmp_path):
    (tmp_path / "architecture.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds a trained network\. Choose another --run_dir"):
        RunFolder(tmp_path).open(FLAGS, FLAGS, {}, SPACE, {}, DATA, (), False, None)
    (tmp_path / "trials.sqlite").write_text("")
    (tmp_path / "architecture.json").unlink()
    process = script("mnas-train", f"--out_dir={tmp_path}", "--image_size=32")
    assert_one_line(process, 2, "is the folder of a search. Choose another for a training")


def _hold(folder, pipe):
    with alone(folder, "search"):
        pipe.send(os.getpid())
        pipe.recv()


def test_one_search_a_folder(tmp_path):
    """The second is refused with the first's process id; the lock ends with its process, also by SIGKILL."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path, theirs))
    process.start()
    first = ours.recv()
    assert first == process.pid
    second = script("mnas-search", f"--run_dir={tmp_path}", "--device=simulated")
    assert_one_line(second, 2, f"is in use by another search, process {first}. Wait until it has ended")
    process.kill()
    process.join()
    with alone(tmp_path, "search"):
        pass


@pytest.mark.parametrize(
    "flags,decides",
    [
        ({"mnasnet_base": "mnasnet_a1"}, True),
        ({"host_num_threads": 4}, True),
        ({"proxy_epochs": 9}, True),
        ({"image_folder_fit": "crop"}, True),
        ({"ppo_learning_rate": 1e-3, "algorithm": "ppo", "reward": "hard", "max_num_params": 5}, False),
        ({"target_latency_ms": 5.0, "warm_start": "old", "remeasured_share": 0.0, "num_trials": 9}, False),
    ],
)
def test_a_warm_start_compares_what_decides_a_measurement(begin, tmp_path, flags, decides):
    """Also the settings of the space: networks that were never measured came in under another base."""
    begin(has_begun=False, flags={"algorithm": "ppo"})
    old = warm_start._of_measurements(run_folder.measured_under(tmp_path))
    begin(has_begun=False, flags={"algorithm": "ppo", **flags})
    assert (warm_start._of_measurements(run_folder.measured_under(tmp_path)) != old) == decides


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("identity") / "images", np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 255, (12, 12, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.real
def test_an_edited_space_and_an_added_image_are_refused(plain_space, images, tmp_path):
    """End to end: both were accepted without a word, and test images moved into train."""
    space = tmp_path / "space.py"
    space.write_text(plain_space.read_text())
    data = tmp_path / "images"
    shutil.copytree(images, data)

    def run(**changes):
        chosen = {
            "run_dir": str(tmp_path / "run"),
            "search_space": str(space),
            "dataset": "image_folder",
            "data_dir": str(data),
            "algorithm": "random_search",
            "device": "simulated",
            "num_trials": 1,
            "workers": "inline",
            "proxy_image_size": 8,
            "deploy_image_size": 16,
            "final_epochs": 0,
        }
        said = []
        search(
            Settings(**{**chosen, **changes}), Objective(target_latency_ms=1.0), None, ProxyRecipe(1), None, said.append
        )
        return "\n".join(said)

    assert "a child must beat" in run()
    shutil.move(data, tmp_path / "moved")
    data = tmp_path / "moved"
    run(num_trials=2, num_workers=3)
    shutil.copy(data / "cat" / "0.png", data / "cat" / "new.png")
    with pytest.raises(UserError, match="data digest="):
        run(num_trials=3)
    (data / "cat" / "new.png").unlink()
    space.write_text(space.read_text().replace("(8, 16, 32)", "(8, 16, 24)"))
    with pytest.raises(UserError, match=r"spaces file space\.py="):
        run(num_trials=3)
