"""nas-detect as users call it, and searches whose costs are those of detectors."""

import json
import sqlite3

import numpy as np
import pytest
from detection_support import BLOCKS, make_images, png, write_coco
from support import readme_commands, script

from nas_tf import complexity
from nas_tf.networks import ssdlite

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detect")
    parts = {"train": make_images(8), "val": make_images(4, seed=1), "test": make_images(4, seed=2)}
    write_coco(folder / "coco.zip", parts)
    return folder


def _ends(words, text, status=2):
    process = script(*words)
    lines = process.stderr.strip().splitlines()
    assert process.returncode == status and len(lines) == 1 and text in lines[0], process.stderr
    assert lines[0].startswith(f"{words[0]}: ")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Received: nothing"),
        (["paint"], "Expected nas-detect train, evaluate DETECTOR, export DETECTOR or predict DETECTOR IMAGES"),
        (["predict", "detector"], "Received: predict detector"),
        (["train"], "Expected --out_dir"),
        (["train", "--out_dir=x", "--parent=a", "--initial_weights=b"], "Expected --parent or --initial_weights"),
        (["train", "--image_size=16", "--out_dir=x"], "Expected --image_size to be at least 32"),
        (["evaluate", "nowhere", "--data_dir=x"], "Expected the folder of a trained detector"),
        (["export", "nowhere"], "Expected the folder of a trained detector"),
        (["predict", "nowhere", "a.jpg"], "Expected a detector's folder or TFLite file"),
    ],
)
def test_mistakes_are_one_line(words, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _ends(["nas-detect", *words], text)


def test_the_readmes_commands_and_evaluate(folder, tmp_path):
    """`nas-detect train`, `export` and `predict` as README.md prints them: flags that follow make them small."""
    (folder / "photo.jpg").write_bytes(png(make_images(2)[1][0]))
    small = {
        "train": ["--parent=", f"--architecture={BLOCKS}", "--image_size=64", "--epochs=1"],
        "export": ["--number_types=float32", "--device=none"],
        "predict": ["--draw_score=0"],
    }
    commands = readme_commands("nas-detect")
    assert [words[1] for words in commands] == [*small]
    said = {}
    for words in commands:
        process = script(*words, *small[words[1]], eager=True, cwd=folder)
        assert process.returncode == 0, process.stderr[-3000:]
        said[words[1]] = process.stdout
    assert "coco: 8 train, 4 validation, 4 test images" in said["train"] and "test: mAP " in said["train"]
    out = folder / "detector"
    description = json.loads((out / "detector.json").read_text())
    assert description["class_names"] == ["red", "green"] and description["weights"] == "random"
    assert (out / "training.csv").read_text().count("\n") == 2
    assert (out / "detector.tflite").exists() and "detector.tflite: " in said["export"]
    assert said["predict"].startswith("photo.jpg") and " %  red  " in said["predict"]
    assert [path.name for path in (folder / "drawn").iterdir()] == ["0001_photo.png"]

    process = script("nas-detect", "evaluate", out, f"--data_dir={folder / 'coco.zip'}", eager=True)
    assert process.returncode == 0 and "read twice" in process.stdout, process.stderr[-3000:]
    same = f"validation: mAP {100 * description['precision']['validation']['map']:.1f}"
    assert same in process.stdout
    other = write_coco(tmp_path / "other", {"": make_images(8)}, _renamed)
    _ends(["nas-detect", "evaluate", str(out), f"--data_dir={other}"], "Expected objects of the classes that")
    _ends(["nas-detect", "export", str(out), "--device=none"], "An int8 file is calibrated on training images")
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    process = script("nas-detect", "predict", out, folder / "photo.jpg", tmp_path / "broken.jpg")
    assert process.returncode == 1 and "broken.jpg cannot be read" in process.stderr
    assert process.stdout.startswith(str(folder / "photo.jpg"))


def _renamed(value, split):
    value["categories"][0]["name"] = "purple"
    return value


SEARCH = [
    "--dataset=digits",
    "--num_trials=1",
    "--algorithm=random_search",
    "--workers=inline",
    "--proxy_image_size=8",
    "--proxy_width_multiplier=0.25",
    "--proxy_epochs=1",
    "--proxy_samples=20",
    "--deploy_image_size=64",
    "--deploy_width_multiplier=0.25",
    "--final_epochs=0",
    "--deploy_head=ssdlite",
    "--deploy_head_classes=3",
]


def test_a_search_by_the_detectors_cost_and_its_finalist(folder, tmp_path):
    _ends(
        ["mnas-search", f"--run_dir={tmp_path / 'no'}", *SEARCH, "--device=simulated"],
        "--deploy_head=ssdlite needs a device that times files, such as host or android, or none",
    )
    run = tmp_path / "run"
    process = script("mnas-search", f"--run_dir={run}", *SEARCH, "--device=none", "--reward=accuracy", eager=True)
    assert process.returncode == 0, process.stderr[-3000:]
    tokens, mult_adds = (
        sqlite3.connect(run / "trials.sqlite").execute("SELECT tokens, mult_adds FROM trials").fetchone()
    )
    from mnas_tf.spaces.mnasnet import SPACE, Scale

    architecture = SPACE.decode(tuple(json.loads(tokens)))
    maps = SPACE.feature_maps(architecture, Scale(64, 10, 0.25))
    assert mult_adds == complexity.mult_adds(ssdlite.detector(maps, 3))
    written = json.loads((run / "best" / "architecture.json").read_text())
    assert written["choice"].startswith("for the cost of the SSDLite detector on it") and "mult_adds" not in written
    _ends(["nas-ship", str(run)], "Expected --task=detection and --detection_data_dir")
    _ends(["nas-ship", str(run), "--task=detection"], "--task=detection needs --detection_data_dir")
    data = f"--detection_data_dir={folder / 'coco.zip'}"
    _ends(["nas-ship", str(run), data], "--detection_data_dir needs --task=detection")
    words = [run, "--task=detection", data, "--epochs=1", "--number_types=float32"]
    process = script("nas-ship", *words, "--host_max_spread=9", eager=True)
    assert process.returncode == 0, process.stderr[-3000:]
    found = json.loads((run / "ship_detection" / "detectors.json").read_text())
    assert found["ships"] == "trial_00001" and found["why"] == "the highest mAP"
    place = run / "ship_detection" / "trial_00001"
    assert (place / "detector.tflite").exists() and (place / "saved_model").is_dir()
    (record, _) = json.loads((place / "detector_files.json").read_text())
    assert np.isfinite(record["latency_ms"]) and record["num_validation"] == 4
