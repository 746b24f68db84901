"""A synchronous search on a cluster whose workers, nodes and driver die at random: it ends as if nothing had happened.

NAS_FAULTS sets how many faults there are.
"""

import functools
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("ray")
from search.ray_support import ThreeNodes, own_workers

from nas_tf.search.records import Records

JUDGE = pathlib.Path(__file__).with_name("ray_judge.py")
FLAGS = (
    "--dataset=digits --proxy_samples=200 --proxy_image_size=16 --proxy_width_multiplier=0.25 --deploy_image_size=32 "
    f"--judge={JUDGE} --device=simulated --algorithm=evolution --order=synchronous --in_flight=4 --seed=5 "
    "--num_workers=2 --deadline_factor=100 --target_latency_ms=1"
).split()


def command(run_dir, num_trials, *flags):
    return [
        sys.executable,
        "-m",
        "mnas_tf.search",
        f"--run_dir={run_dir}",
        f"--num_trials={num_trials}",
        *FLAGS,
        *flags,
    ]


def start(words, log):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # Where tests run in the background, Ctrl-C is ignored.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(words, stdout=log, stderr=log, env=environment, preexec_fn=heard)


def trials_of(run_dir):
    """A list of `(id, tokens, state, reward, accuracy)` of each trial."""
    records = Records(run_dir / "trials.sqlite", read_only=True)
    found = [(t.id, t.tokens, t.state, t.reward, getattr(t.measurement, "accuracy", None)) for t in records.trials()]
    records.close()
    return found


def befall(fault, cluster, driver, rng):
    if fault == "worker":
        end = time.monotonic() + 60
        while not (workers := own_workers()) and driver.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        if workers:
            rng.choice(workers).kill()
    elif fault == "node":
        cluster.lose(cluster.nodes.pop(rng.randrange(2)))
        cluster.nodes.append(cluster.add())
    else:
        driver.send_signal(getattr(signal, fault))
        driver.wait(30)


def num_done(run_dir):
    if not (run_dir / "trials.sqlite").exists():
        return 0
    return sum(state == "done" for _, _, state, *_ in trials_of(run_dir))


def searched_under(faults, cluster, run_dir, num_trials, rng, log_path):
    """Runs the search to its end; each fault befalls it a few trials after the one before."""
    # No network is to blame for what befalls its workers.
    words = command(run_dir, num_trials, "--workers=ray", f"--ray_address={cluster.address}", "--ray_tries=100")
    left, begin, next_at = list(faults), time.monotonic(), 1
    with open(log_path, "w") as log:
        driver = start(words, log)
        while time.monotonic() - begin < 120 + 90 * len(faults):
            time.sleep(rng.uniform(0, 1))
            if driver.poll() is not None:
                if driver.returncode == 0:
                    break
                driver = start(words, log)
            if left and num_done(run_dir) >= next_at:
                befall(left.pop(0), cluster, driver, rng)
                next_at = num_done(run_dir) + rng.randint(1, 6)
        assert driver.poll() == 0, pathlib.Path(log_path).read_text()[-3000:]
    assert not left, f"{len(left)} faults came too late"


@pytest.mark.storm
def test_a_storm_of_faults_changes_nothing(tmp_path):
    num_faults, rng = int(os.environ.get("NAS_FAULTS", "8")), random.Random(19)
    kinds = ["worker", "node", "SIGKILL", "SIGTERM", "SIGINT"]
    faults = [
        *kinds,
        *rng.choices(["worker", "worker", "node", "SIGKILL", "SIGTERM", "SIGINT"], k=num_faults - len(kinds)),
    ]
    num_trials = 24 + 8 * num_faults
    with open(tmp_path / "calm.log", "w") as log:
        assert start(command(tmp_path / "calm", num_trials, "--workers=process"), log).wait() == 0
    cluster = ThreeNodes()
    try:
        searched_under(faults, cluster, tmp_path / "storm", num_trials, rng, tmp_path / "storm.log")
    finally:
        cluster.close()
    calm = trials_of(tmp_path / "calm")
    assert len(calm) == num_trials and {state for _, _, state, *_ in calm} == {"done"}
    assert trials_of(tmp_path / "storm") == calm
