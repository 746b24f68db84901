"""The README's own search space and Python examples, run as they stand there."""

import sqlite3
import subprocess
import sys

import pytest
from support import readme_file, script

from nas_tf.plugins import Part

pytestmark = pytest.mark.real


def test_the_space_keeps_the_promise(plain_space):
    space = Part("mnas_tf.spaces", str(plain_space)).space
    for tokens in [(0, 0, 0), (2, 1, 2)]:
        net = space.decode(tokens)
        assert space.encode(net) == tokens and space.architecture(net.to_json()) == net


def test_a_search_over_the_space(plain_space, tmp_path):
    process = script(
        "mnas-search",
        f"--search_space={plain_space}",
        f"--run_dir={tmp_path / 'run'}",
        "--device=simulated",
        "--algorithm=random_search",
        "--num_trials=6",
        "--proxy_epochs=1",
        "--deploy_image_size=32",
        "--workers=inline",
        "--target_latency_ms=1",
        "--proxy_samples=200",
        "--final_epochs=1",
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "top 1" in process.stdout
    db = sqlite3.connect(tmp_path / "run" / "trials.sqlite")
    assert db.execute("SELECT COUNT(*) FROM trials WHERE state = 'done'").fetchone() == (6,)
    db.close()
    for name in (
        "pareto.csv",
        "pareto.png",
        "config.json",
        "best/model.tflite",
        "best/saved_model",
        "best/model.keras",
    ):
        assert (tmp_path / "run" / name).exists(), name


def test_the_python_example(tmp_path):
    """The notebook user's way, as written but for fewer trials: MnasNet's own space, in spawned workers."""
    text = readme_file("search_digits.py")
    assert len(text.splitlines()) < 20 and "num_trials=20" in text
    fewer = text.replace("num_trials=20", "num_trials=1, proxy_samples=100, deploy_image_size=32")
    (tmp_path / "search_digits.py").write_text(fewer)
    process = subprocess.run([sys.executable, "search_digits.py"], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    assert (tmp_path / "runs").is_dir()
    assert "oneDNN" not in process.stderr  # nothing of the backend's reaches the terminal
    # What children have otherwise than the network that ships is announced.
    assert "children of 32 px keep 3 of 5 strides, so that their last maps are 4 x 4 pixels" in process.stdout
