"""kill -9 while the parent is prepared, in a judge, and at each step of the race: the same command, the same result."""

import csv
import itertools
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from parent_support import SPACE, write_parent
from seeded_weights import write_timm
from support import script

from mnas_tf import _weight_files, pretrained

pytestmark = [pytest.mark.storm, pytest.mark.real]
QUICK = ["--host_warmup_seconds=0.01", "--host_min_seconds=0.02", "--host_max_seconds=0.05", "--host_max_spread=10"]
STEPS = ("*.npz", "*.npy", "*.json", "*.csv", "*.keras")


def search_command(folder, run):
    return [
        "mnas-search",
        f"--run_dir={folder / run}",
        f"--search_space={SPACE.name}",
        f"--parent={folder / 'parent'}",
        "--race_fraction=0.2",
        "--algorithm=random_search",
        "--num_trials=3",
        "--num_workers=1",
        "--proxy_image_size=16",
        "--proxy_samples=200",
        "--deploy_image_size=16",
        "--target_latency_ms=50",
        "--inherited_parent_epochs=2",
        "--final_epochs=0",
        *QUICK,
    ]


def ship_command(folder, out_dir):
    return [
        "nas-ship",
        str(folder / "alone"),
        f"--search_space={SPACE.name}",
        f"--out_dir={folder / out_dir}",
        f"--weights_dir={folder / 'weights'}",
        "--imports=mnasnet_small",
        "--top_k=1",
        "--epochs=1",
        "--num_samples=200",
        "--number_types=float32",
    ]


def killed_at_each_step(command, folder, whole):
    """Runs a command again and again, and kills it whenever a file appears in `folder` that no run before has made;
    returns at how many. That is at no more files than a run that nobody stops has made in `whole`, with checkpoints,
    which go again, for each of its networks."""
    known = set()
    made = {path for step in STEPS for path in whole.rglob(step) if not path.name.startswith(".")}
    most = len(made) + max(1, sum(path.name == "network.json" for path in made))
    for kill in itertools.count():
        assert kill <= most, sorted(known)
        name, *flags = command
        running = subprocess.Popen(
            [str(Path(sys.executable).parent / name), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        while running.poll() is None:
            found = {path for step in STEPS for path in folder.rglob(step)}
            new = {path for path in found if not path.name.startswith(".")} - known  # others are being written
            if new:
                running.send_signal(signal.SIGKILL)
                break
            time.sleep(0.02)
        _, said = running.communicate()
        if running.returncode == 0:
            return kill
        assert running.returncode == -signal.SIGKILL, said[-3000:]
        known |= new


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    write_parent(folder / "parent")
    (folder / "weights").mkdir()
    file = _weight_files.FILES["mnasnet_small", 1.0].file
    write_timm(folder / "weights" / file, pretrained.build("mnasnet_small", pretrained.Scale(32, 1000)))
    process = script(*search_command(folder, "alone"))
    assert process.returncode == 0, process.stderr[-3000:]
    return folder


def judged(run):
    db = sqlite3.connect(run / "trials.sqlite")
    return db.execute("SELECT id, tokens, accuracy FROM trials ORDER BY id").fetchall()


def test_in_prepare_and_in_a_judge(folder):
    command, run = search_command(folder, "killed"), folder / "killed"
    assert killed_at_each_step(command, run / "judge", folder / "alone" / "judge") >= 4
    expected = judged(folder / "alone")
    assert len(expected) == 3 and judged(run) == expected
    # In a judge: whenever a trial is finished, some way into the next.
    again = folder / "judge"
    name, *flags = search_command(folder, "judge")
    for finished in (0, 1, 2):
        running = subprocess.Popen([str(Path(sys.executable).parent / name), *flags], stderr=subprocess.PIPE)
        while running.poll() is None:
            rows = judged(again) if (again / "judge" / "parent.json").exists() else []
            if sum(accuracy is not None for *_, accuracy in rows) >= finished and rows:
                time.sleep(1.0)
                break
            time.sleep(0.05)
        running.kill()
        running.communicate()
    assert script(name, *flags).returncode == 0 and judged(again) == expected


def test_at_each_step_of_the_race(folder):
    process = script(*ship_command(folder, "whole"), timeout=1800)
    assert process.returncode == 0, process.stderr[-3000:]
    # Two networks, three tries each, and two more seeds of both: each has a checkpoint, a network and race answers.
    assert killed_at_each_step(ship_command(folder, "pieces"), folder / "pieces", folder / "whole") >= 10
    whole, pieces = (sorted(rows(folder / each / "race.csv")) for each in ("whole", "pieces"))
    assert len(whole) == 2 and whole == pieces


def rows(path):
    """What does not depend on a timing."""
    with open(path, newline="") as file:
        return [
            tuple(row[name] for name in ("name", "kind", "accuracy", "error", "seeds", "validation", "attempt"))
            for row in csv.DictReader(file)
        ]
