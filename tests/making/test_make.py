"""nas-make: from images to what ships, stopped on the way; and its Python. The commands are those of the README."""

import contextlib
import csv
import dataclasses
import itertools
import re
import shlex
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from parent_support import SPACE, write_parent
from PIL import Image
from seeded_weights import write_timm
from support import ROOT, assert_one_line, eagerly, installed, readme_commands, script

from mnas_tf import _weight_files, pretrained
from mnas_tf.family import FAMILY
from mnas_tf.spaces.mnasnet import Scale
from nas_tf.accuracy import standard_error
from nas_tf.accuracy_tables import builder as accuracy_builder
from nas_tf.devices.table import LatencyTable
from nas_tf.files import read_json, write_json
from nas_tf.latency_tables import builder as latency_builder
from nas_tf.making import job, tables
from nas_tf.making import settings as making_settings
from nas_tf.making.made import Made
from nas_tf.making.settings import Asked, MakeSettings
from nas_tf.networks import weights
from nas_tf.search.records import Records
from nas_tf.search.run_folder import RunFolder
from nas_tf.shipping import imports
from nas_tf.trial import EvaluationError, UserError

pytestmark = pytest.mark.real
COLOURS = {"red": (150, 90, 90), "green": (90, 150, 90), "blue": (90, 90, 150)}
FAST_HOST = {"warmup_seconds": 0.01, "min_seconds": 0.02, "max_seconds": 0.05, "max_spread": 10.0}
TOY_DEVICE = Path(__file__).parent.parent / "parts" / "toy_device.py"
LITE0 = ROOT.parent / "shared" / "data" / "pretrained" / "efficientnet_lite0_imagenet.safetensors"
WHOLE, ALONE = readme_commands("nas-make")[-2:]


def write_images(folder, count):
    """Writes noisy images of three colours, `count` of each, 44 x 40 pixels."""
    rng = np.random.default_rng(count)
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = rng.normal(colour, 40, (40, 44, 3)).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / label / f"{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with flowers.zip, 3 classes of 60 images, and with a photo.jpg."""
    place = tmp_path_factory.mktemp("make")
    write_images(place / "flowers", 60)
    subprocess.run([sys.executable, "-m", "zipfile", "-c", "flowers.zip", "flowers"], cwd=place, check=True)
    Image.open(place / "flowers" / "red" / "0.jpg").save(place / "photo.jpg")
    return place


@pytest.fixture(scope="module")
def real(place):
    """Flags that keep a job small, with drawn weights of a real network. The last of a flag counts."""
    (place / "weights").mkdir()
    file = _weight_files.FILES["mnasnet_b1", 1.0].file
    write_timm(place / "weights" / file, pretrained.build("mnasnet_b1", pretrained.Scale(32, 1000)))
    own = [f"--weights_dir={place / 'weights'}", "--imports=mnasnet_b1"]
    return [*_flags({"preset": "quick", "num_trials": 1, "num_workers": 1, "inherited_parent_epochs": 1}), *own]


def _flags(settings):
    quick = {f"host_{name}": value for name, value in FAST_HOST.items()}
    return [f"--{name}={value}" for name, value in {**settings, **quick}.items()]


@pytest.fixture(scope="module")
def toy(place):
    """Flags of a job whose published network is a toy, and the module that has it; its weights are a trained one's."""
    write_parent(place / "parent", size=32, activation="relu6")
    space = SPACE.space

    def build(name, scale, path=None):
        model = space.build(space.decode((1, 1, 1)), dataclasses.replace(scale, activation="relu6"))
        if path:
            weights.load(model, place / "parent")
        return model

    module = types.SimpleNamespace(
        NAMES=("toy_net",),
        Scale=Scale,
        widths=lambda name: (1.0,),
        why_not=lambda name, width, weights_dir: None,
        weights_file=lambda name, width, weights_dir: place / "parent",
        build=build,
    )
    settings = {
        "target_latency_ms": 20.0,
        "target_latency_of": "mnasnet_a1",
        "search_space": SPACE.name,
        "deploy_image_size": 32,
        "proxy_image_size": 32,
        "num_trials": 1,
        "num_workers": 1,
        "inherited_parent_epochs": 1,
        "algorithm": "random_search",
        "imports": "toy_net",
        "preset": "quick",
        "hours": 1.0,
    }
    return settings, module


class Stopped(KeyboardInterrupt):
    pass


@pytest.fixture(scope="module")
def made(place, toy):
    """The folder of a job that was stopped before its search and then went on, and what both said."""
    settings, _ = toy
    search = ("search_space", "deploy_image_size", "proxy_image_size", "num_trials", "num_workers", "algorithm")
    asked = Asked(
        images="flowers.zip",
        settings=MakeSettings(hours=1.0, preset="quick", imports=("toy_net",)),
        search={name: settings[name] for name in search},
        target={name: settings[name] for name in ("target_latency_ms", "target_latency_of")},
        parts={"host": FAST_HOST, "inherited": {"parent_epochs": 1}},
    )
    first, second = [], []

    def say_and_stop(line):
        first.append(line)
        if line.startswith("the search, for"):
            raise Stopped

    with _toys(place, toy):
        with pytest.raises(Stopped):
            job.make(asked, say_and_stop)
        between = Made("runs/flowers").evaluate()
        job.make(asked, second.append)
    return place / "runs" / "flowers", "\n".join(first), between, "\n".join(second)


@contextlib.contextmanager
def _toys(place, toy):
    """Inside it the toy is the only published network, and `place` is the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setitem(sys.modules, "toys", toy[1])
        for each in (imports, making_settings):
            patch.setattr(each, "families", lambda: (dataclasses.replace(FAMILY, pretrained="toys"),))
        yield


@pytest.fixture
def toy_flags(toy):
    return _flags(toy[0])


@pytest.mark.storm
def test_stops_at_every_stage(place, real, tmp_path):
    """kill -9 and Ctrl-C in turns, whenever the job says something new: it goes on, and ends with the same files."""
    if not LITE0.is_file():
        pytest.skip(f"needs {LITE0}: a network of drawn weights does not learn")
    (tmp_path / _weight_files.FILES["efficientnet_lite0", 1.0].file).symlink_to(LITE0)
    own = ["--imports=efficientnet_lite0", f"--weights_dir={tmp_path}"]
    command = [str(Path(sys.executable).parent / "nas-make"), *WHOLE[1:], *real, *own, "--out_dir=killed"]
    seen, stops = set(), 0
    for stop in itertools.cycle((signal.SIGKILL, signal.SIGINT)):
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=place)
        for line in running.stdout:
            words = re.sub(r"[\d.]+", "0", line)  # figures differ
            if words not in seen:
                seen.add(words)
                running.send_signal(stop)
                stops += 1
                break
        running.stdout.read()
        status = running.wait(60)
        assert status in (0, 130, -signal.SIGKILL)
        network = place / "killed" / "ship" / "network"
        if (network / "architecture.json").exists():
            assert Made(place / "killed").predict(place / "photo.jpg")
        if status == 0 and words in seen:
            break
    ship = place / "killed" / "ship"
    assert stops > 20 and (ship / "race.csv").is_file() and not list(ship.glob("network.*"))
    # With more hours it searches further, and races what it found.
    more = subprocess.run([*command, "--hours=1.2", "--num_trials=3"], capture_output=True, text=True, cwd=place)
    assert more.returncode == 0 and "3 trials: 3 done" in more.stdout, more.stderr[-3000:]
    assert "of 72 in all" in more.stdout and not list(ship.glob("network.*"))


def test_something_ships_before_the_search(made):
    """A stop before the search leaves a network that is whole."""
    _, said, figures, _ = made
    assert "the plan:" in said and "1 published network fine-tuned" in said
    assert "training images: 42 of blue, 42 of green, 42 of red; the median image is of 40 px" in said
    assert "--proxy_samples" not in said and "guessing reaches 33.3" in said
    assert figures["model.tflite"]["latency_ms"] > 0 and set(figures) > {"model_int8.tflite", "test"}


def test_the_same_command_goes_on_to_the_end(made):
    folder, _, _, said = made
    assert "the plan:" not in said and "[1/2] trial 1" in said  # what was planned and trained is not done again
    assert (folder / "ship" / "race.csv").read_text().count("\n") == 3  # a searched network and the import
    for name in ("model.tflite", "model_int8.tflite", "saved_model", "labels.txt", "README.md", "architecture.json"):
        assert (folder / "ship" / "network" / name).exists(), name
    assert not list((folder / "ship").glob("network.*")) and not (folder / "best").exists()
    stages = re.findall(r"^ +[\d.]+ min  (.*?)(?:, [\d.]+ min planned)?$", said, flags=re.MULTILINE)
    assert stages == ["looking and timing", "the first network", "the search", "the race", "of 60 in all"]
    page = (folder / "report.html").read_text()
    assert "1 done" in page and "What it answers" in page


def test_a_finished_folder_answers_at_once(made, place, toy_flags):
    _, _, _, said = made
    begin = time.monotonic()
    again = installed(*WHOLE, *toy_flags, cwd=place)
    assert again.returncode == 0 and time.monotonic() - begin < 20, again.stderr
    assert again.stdout.strip() in said
    other = installed(*WHOLE, *toy_flags, "--proxy_image_size=48", cwd=place)
    assert_one_line(other, 2, "proxy_image_size=48", "choose another --out_dir")


def test_model_makers_job_alone(place, toy, toy_flags):
    """One published network is fine-tuned on all training images, and nothing is searched or raced. The device goes
    away before the files are timed: what there is stays, and the same call times them once it is back."""
    settings, said, away = toy[0], [], place / "away"
    device = place / "toy_device.py"
    code = TOY_DEVICE.read_text().replace('log: str = ""', f"log: str = {str(place / 'timed.log')!r}")
    device.write_text(code.replace('away: str = ""', f"away: str = {str(away)!r}"))
    asked = Asked(
        images="flowers.zip",
        settings=MakeSettings(preset="quick", search="none", imports=("toy_net",), out_dir="runs/imported"),
        search={"search_space": settings["search_space"], "device": str(device)},
    )

    def say(line):
        said.append(line)
        if line.startswith("files of"):
            away.touch()

    with _toys(place, toy):
        with pytest.raises(EvaluationError, match="the toy device is away"):
            job.make(asked, say)
        away.unlink()
        job.make(asked, said.append)
    folder, text = place / "runs" / "imported", "\n".join(said)
    assert Made(folder).evaluate()["model.tflite"]["latency_ms"] > 0
    assert "126 train, 36 validation, 18 test images" in text and "race" not in text and "a search" not in text
    assert text.count("the plan:") == 1  # once it was back, the job went on
    assert "--deploy_image_size=64: the median image is of 40 px" in text and "as none is given" in text
    assert not (folder / "ship" / "race.csv").exists()
    assert "with a classifier in closed form" in (folder / "ship" / "README.md").read_text()
    page = Made(folder).report.read_text()
    assert "What ships: toy_net at 64 px, " in page and "Nothing was searched" in page and "the first network" in page
    own = [each for each in toy_flags if each.startswith(("--imports", "--search_space"))]
    own += [f"--device={device}"]
    again = installed(*ALONE, *own, cwd=place)
    assert again.returncode == 0 and again.stdout.strip() in text, again.stderr


def test_what_cannot_be_met_stands_in_the_way_of_no_other_command(place, toy, tmp_path):
    """Other settings begin anew, in the same folder; with the same ones, what is measured stays."""
    ship, search = tmp_path / "out" / "ship", {name: toy[0][name] for name in ("search_space", "deploy_image_size")}
    too_fast = r"Expected a target that a network can meet.*the fastest is toy_net at 32 px"
    for images, target, hours, expected, known in (
        ("flowers.zip", {"target_latency_ms": 1e-6}, 1.0, too_fast, False),
        ("flowers.zip", {}, 0.001, r"--hours=.* or more\. Received: --hours=0\.001", False),
        ("flowers.zip", {}, 0.002, r"--hours=.* or more\. Received: --hours=0\.002", True),
        ("flowers", {}, 0.002, r"--hours=.* or more\. Received: --hours=0\.002", False),
    ):
        settings = MakeSettings(hours=hours, preset="quick", imports=("toy_net",), out_dir=str(tmp_path / "out"))
        with _toys(place, toy), pytest.raises(UserError, match=expected):
            job.make(Asked(images, settings, search, target, parts={"host": FAST_HOST}), lambda line: None)
        timed = read_json(ship / "imports.json")
        assert not (ship / "network").exists() and ("marked" in timed) == known
        write_json(ship / "imports.json", {**timed, "marked": 1.0})
    (ship / "settings.json").write_text("{}")  # a race that another command began
    with _toys(place, toy), pytest.raises(UserError, match=r"begun with other settings: .*target_latency_ms=5\.0"):
        job.make(Asked("flowers", settings, search, {"target_latency_ms": 5.0}), lambda line: None)


def test_what_was_made(made, place, tmp_path):
    folder, *_ = made
    found, images = Made(folder), place / "flowers"
    assert found.labels == ("blue", "green", "red") and found.report.is_file()
    answers = found.predict(images / "red" / "1.jpg")
    assert {label for label, _ in answers} == set(COLOURS)
    assert sum(value for _, value in answers) == pytest.approx(1, abs=1e-4)
    assert answers == sorted(answers, key=lambda each: -each[1])
    assert len(found.predict(images / "blue")) == 60
    new = write_images(tmp_path / "new", 7)
    figures = found.evaluate(new)
    right = sum(found.predict(path)[0][0] == path.parent.name for path in sorted(new.rglob("*.jpg")))
    assert figures == {"accuracy": right / 21, "standard_error": standard_error(right / 21, 21), "num_images": 21}
    out = found.export(tmp_path / "out")
    assert {path.name for path in out.iterdir()} >= {"model.tflite", "labels.txt", "README.md", "saved_model"}
    with pytest.raises(UserError, match="Expected a folder that is empty or new"):
        found.export(tmp_path / "out")
    (new / "red").rename(new / "mauve")
    with pytest.raises(UserError, match=r"the names of classes, blue, green, red\. Received: .*mauve"):
        found.evaluate(new)
    with pytest.raises(UserError, match="There is no file"):
        Made(tmp_path)


def test_the_readmes_other_commands(made, place, toy_flags):
    """What a job is looked at with, as printed."""
    (place / "more_photos").mkdir()
    Image.open(place / "photo.jpg").save(place / "more_photos" / "1.png")
    for words in (*readme_commands("nas-predict"), *readme_commands("nas-report")):
        process = installed(*words, cwd=place)
        assert process.returncode == 0 and process.stdout, process.stderr[-2000:]
    for words in readme_commands("tensorboard"):
        process = installed(*words, "--inspect", cwd=place)
        assert process.returncode == 0 and "the front" in process.stdout, process.stderr[-2000:]
    (lines,) = re.findall(r"```python\n(import nas_tf\n.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    settings = ", ".join(f"{name}={value!r}" for name, value in settings_of(toy_flags).items())
    lines = lines.replace("target_latency_ms=20)", f"{settings})")
    program = place / "five_lines.py"
    program.write_text(lines)
    process = subprocess.run([sys.executable, str(program)], cwd=place, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0 and "validation_accuracy" in process.stdout, process.stderr[-2000:]
    assert (place / "for_the_app" / "labels.txt").is_file()


def settings_of(flags):
    """The flags of the job as Python has them."""
    return dict(each.removeprefix("--").split("=", 1) for each in flags)


def test_the_notebook(made, place, toy_flags):
    """Every cell runs as it is written but for the first, which names the images and how much is done."""
    notebook = nbformat.read(ROOT / "examples" / "from_images_to_an_app.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells[0].source = f"images, settings, photo = 'flowers.zip', {settings_of(toy_flags)!r}, 'photo.jpg'"
    assert 'made.export("for_an_app")' in cells[-1].source
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    outputs = [str(output) for cell in cells for output in cell.outputs]
    assert any("runs/flowers/ship/network" in text for text in outputs)
    assert any("validation_accuracy" in text for text in outputs) and (place / "for_an_app" / "labels.txt").is_file()


@pytest.mark.parametrize(
    "line, expected",
    [
        ("", "a folder or a zip of images|none"),
        ("nowhere.zip", "nowhere.zip"),
        ("flowers.zip --device=simulated", "--device that does"),
        ("flowers.zip --imports=mobilenet_v9", "mobilenet_v9"),
        ("flowers.zip --cost=mult_adds", "--cost=latency_ms"),
        ("one", "at least two classes"),
        ("empty", "images"),
        ("flowers.zip --imports=efficientnet_lite4 --search=none", "--weights_dir"),
        ("flowers.zip --search=some", "--search"),
    ],
)
def test_bad_input(place, real, tmp_path, line, expected):
    """One clear line, and nothing stands in the way of a better command."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "red").symlink_to(place / "flowers" / "red")
    (tmp_path / "flowers.zip").symlink_to(place / "flowers.zip")
    env = {"https_proxy": "http://127.0.0.1:9"}  # nothing is fetched
    process = script("nas-make", *real, *shlex.split(line), cwd=tmp_path, env=env)
    assert_one_line(process, 2, *expected.split("|"))
    assert "plan" not in process.stdout


@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.storm)])
def test_the_best_of_both_tables(place, toy, monkeypatch, is_whole):
    """With `search=tables` both tables are made within the search's time, and nothing but their best is tried; as a
    storm, to the end of the race."""
    settings, _ = toy
    folder = place / f"by_tables_{is_whole}"
    small = accuracy_builder.Thoroughness(repair_steps=2, num_fitted=10, num_tested=4)
    monkeypatch.setattr(tables, "_THOROUGHNESS", small)
    for each in (job, accuracy_builder):
        monkeypatch.setattr(each, "LEAST_IMAGES", 50)
    monkeypatch.setattr(tables, "_TIMED", latency_builder.Thoroughness(num_calibration=10, num_validation=4, passes=2))
    requests, real = [], tables._plan

    def plan(request):
        requests.append(request)
        return _here(real(request))

    monkeypatch.setattr(tables, "_plan", plan)
    search = ("search_space", "deploy_image_size", "proxy_image_size", "num_workers")
    asked = Asked(
        images="flowers.zip",
        settings=MakeSettings(hours=1.0, preset="quick", imports=("toy_net",), search="tables", out_dir=str(folder)),
        search={name: settings[name] for name in search} | {"deploy_number_type": "float16"},
        target={name: settings[name] for name in ("target_latency_ms", "target_latency_of")},
        parts={"host": FAST_HOST},
    )
    said = []

    def say(line):
        said.append(line)
        if line.startswith("searched for") and not is_whole:
            raise Stopped

    with _toys(place, toy), eagerly(), contextlib.nullcontext() if is_whole else pytest.raises(Stopped):
        job.make(asked, say)
    words = "\n".join(said)
    assert "both tables take about" in words and "the exact front has" in words
    made, run = folder / "make", RunFolder(folder)
    for name in ("accuracies.json", "accuracies.png", "latencies.json", "latencies.png", "front.csv", "front.png"):
        assert (made / name).stat().st_size > 0
    assert LatencyTable.read(made / "latencies.json").number_type == "float16"
    assert run.read()["flags"]["judge"] == "blocks" and run.read()["flags"]["algorithm"] == "listed"
    trials = job._read(run.records, Records.trials)
    listed = read_json(made / "best.json")["tokens"]
    assert [list(trial.tokens) for trial in trials] == listed and {trial.state for trial in trials} == {"done"}
    assert Made(folder).predict(place / "photo.jpg")
    # What is a little above the target by the table is tried too: timing decides.
    with (made / "front.csv").open() as file:
        front = [(float(row["latency_ms"]), row["architecture"]) for row in csv.DictReader(file)]
    target_ms = max(1.001 * front[0][0], front[-1][0] / 1.05)
    with _toys(place, toy), eagerly():
        space = tables.chosen(asked, requests[0], target_ms, 1, made, said.append).setup.task.space.space
    tried = [str(space.decode(tokens)) for tokens in read_json(made / "best.json")["tokens"]]
    assert tried[0] == max(row for row in front if row[0] <= target_ms)[1]
    assert max(row for row in front if row[0] <= 1.06 * target_ms)[1] in tried
    # With these tables nothing is as fast as that, so that the search goes on without them.
    with _toys(place, toy), eagerly():
        assert tables.chosen(asked, requests[0], 1e-9, 3, made, said.append) is None
    assert said[-1].startswith("Expected a target within both tables") and "one by one" in said[-1]
    setup = dataclasses.replace(requests[0].setup, detector_classes=3)
    with _toys(place, toy):
        assert tables.why_not(requests[0]) is None
        assert "detectors" in tables.why_not(dataclasses.replace(requests[0], setup=setup))
    if not is_whole:
        return
    rows = (folder / "ship" / "race.csv").read_text()
    assert "toy_net" in rows and "trial" in rows
    description = read_json(next((folder / "ship" / "candidates").rglob("network.json")))
    assert "repaired" in description["weights"]


def test_tables_that_take_the_time_of_the_search_cost_nothing_that_was_done(tmp_path):
    """Nothing was tried then, and there are no records: what was fine-tuned first ships, if anything was."""
    said = []
    made = types.SimpleNamespace(_folder=tmp_path, _preset=MakeSettings(hours=1.0), say=said.append)
    with pytest.raises(EvaluationError, match="No trial of the search was done"):
        job._Job._ship_last(made)
    (tmp_path / job.NETWORK).mkdir(parents=True)
    (tmp_path / job.NETWORK / "architecture.json").write_text("{}")
    job._Job._ship_last(made)
    assert "what was fine-tuned first ships" in said[0]


def _here(plan):
    return dataclasses.replace(plan, num_workers=0, thoroughness=tables._THOROUGHNESS)
