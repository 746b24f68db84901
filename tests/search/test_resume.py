"""A search killed with kill -9, or stopped, at any moment gives the trials of one left alone."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import script

pytestmark = pytest.mark.real


def command(plain_space, run_dir, num_trials, workers):
    return [
        "mnas-search",
        f"--search_space={plain_space}",
        f"--run_dir={run_dir}",
        "--device=simulated",
        "--ppo_batch_size=4",
        f"--num_trials={num_trials}",
        "--proxy_epochs=1",
        "--proxy_image_size=8",
        "--proxy_samples=100",
        "--deploy_image_size=16",
        f"--workers={workers}",
        "--num_workers=1",
        "--target_latency_ms=0.6",
        "--final_epochs=0",
        "--seed=5",
    ]


def trials(run_dir):
    """{id: [tokens, accuracy, reward]} of the finished trials. One that copies another may be done early."""
    path = run_dir / "trials.sqlite"
    if not path.exists():
        return {}
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        rows = db.execute("SELECT id, tokens, accuracy, reward FROM trials WHERE reward IS NOT NULL").fetchall()
        return {number: row for number, *row in rows}
    except sqlite3.OperationalError:  # killed before the tables were made
        return {}
    finally:
        db.close()


@pytest.mark.parametrize(
    "num_trials,kills,workers",
    [(6, 2, "inline"), pytest.param(12, 5, "process", marks=pytest.mark.storm)],
    ids=["two", "five"],
)
def test_kills_change_nothing(plain_space, tmp_path, num_trials, kills, workers):
    alone = tmp_path / "alone"
    process = script(*command(plain_space, alone, num_trials, workers))
    assert process.returncode == 0, process.stderr[-3000:]
    expected = trials(alone)
    assert len(expected) == num_trials and len({tokens for tokens, *_ in expected.values()}) > num_trials // 2

    killed = tmp_path / "killed"
    rng, finished = random.Random(11), {}
    name, *flags = command(plain_space, killed, num_trials, workers)
    for kill in range(kills):
        running = subprocess.Popen([str(Path(sys.executable).parent / name), *flags], stderr=subprocess.PIPE)
        # Some kills at any moment of the start, most once a further trial is finished and some way into the next.
        if kill % 2 == 0:
            while running.poll() is None and len(trials(killed)) <= len(finished):
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 1.5))
        else:
            time.sleep(rng.uniform(1, 8))
        running.send_signal((signal.SIGKILL, signal.SIGINT)[kill % 2])
        running.wait()
        finished = trials(killed)
        assert finished == {number: expected[number] for number in finished}
    process = script(*command(plain_space, killed, num_trials, workers))
    assert process.returncode == 0, process.stderr[-3000:]
    assert trials(killed) == expected
    assert "searched for" in process.stdout


@pytest.mark.storm
def test_a_storm_of_kills_and_stops_changes_nothing(plain_space, tmp_path):
    """Of the driver and of its workers, at random moments."""
    kills = 10
    num_trials, alone, killed = 2 * kills + 2, tmp_path / "alone", tmp_path / "killed"
    process = script(*command(plain_space, alone, num_trials, "process"))
    assert process.returncode == 0, process.stderr[-3000:]
    expected = trials(alone)
    name, *flags = command(plain_space, killed, num_trials, "process")
    rng, running = random.Random(7), None
    for kill in range(kills):
        if running is None:
            running = subprocess.Popen([str(Path(sys.executable).parent / name), *flags], stderr=subprocess.PIPE)
        before = len(trials(killed))
        while running.poll() is None and len(trials(killed)) <= before:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.5))
        number = (None, signal.SIGTERM, signal.SIGINT, signal.SIGKILL)[kill % 4]
        if number is None:
            for worker in workers_of(running.pid):
                worker.kill()
            continue
        running.send_signal(number)
        running.communicate(timeout=60)
        # It may have ended well just before.
        assert running.returncode in (0, {signal.SIGTERM: 143, signal.SIGINT: 130}.get(number, -number))
        running = None
        finished = trials(killed)
        assert finished == {number: expected[number] for number in finished}
    if running is not None:
        running.communicate(timeout=300)
    process = script(*command(plain_space, killed, num_trials, "process"))
    assert process.returncode == 0, process.stderr[-3000:]
    assert trials(killed) == expected


def workers_of(pid):
    try:
        children = psutil.Process(pid).children()
        return [each for each in children if "spawn_main" in " ".join(each.cmdline())]
    except psutil.Error:
        return []
