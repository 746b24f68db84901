"""The README's commands of a cluster, as printed, on a cluster of this machine that `ray start` makes."""

import contextlib
import os
import pathlib
import secrets
import socket
import sqlite3
import subprocess
import sys
import time

import pytest
from image_support import write_images, write_zip
from parent_support import SPACE
from support import readme_commands, script

ray = pytest.importorskip("ray")
TINY = [
    "--algorithm=random_search",
    f"--search_space={SPACE.name}",
    "--proxy_image_size=16",
    "--proxy_epochs=1",
    "--deploy_image_size=16",
    "--final_epochs=0",
    "--target_latency_ms=1",
    "--num_workers=2",
]


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # README exports it; this is no user's own


def node_of(words):
    """A node that runs until it is terminated: `ray stop` would stop every cluster of this machine."""
    path = pathlib.Path(sys.executable).with_name("ray")
    environment = {**os.environ, **TOKEN, "PYTHONPATH": os.pathsep.join(sys.path)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([path, *words, "--block", "--num-cpus=1"], env=environment, **quiet)


@contextlib.contextmanager
def started():
    """The nodes that README's `ray start` commands start here; its address stands for HEAD:6379."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    address, nodes = f"{ray.util.get_node_ip_address()}:{port}", []
    try:
        for words in readme_commands("ray"):
            words = [word.replace("HEAD:6379", address).replace("--port=6379", f"--port={port}") for word in words]
            nodes.append(node_of([*words[1:], *(["--include-dashboard=false"] if "--head" in words else [])]))
            if "--head" in words:
                wait_for(address)
        yield address
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait(60)


def wait_for(address):
    host, port = address.split(":")
    for _ in range(120):
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        time.sleep(0.5)


@pytest.mark.storm
def test_a_search_moves_to_a_cluster(tmp_path):
    """On one machine, then on a cluster of this machine alone, then on one of two nodes: one run folder."""
    write_images(tmp_path / "flowers", "train", (40, 40, 40))
    write_zip(tmp_path / "flowers", tmp_path / "flowers.zip")
    alone, joined = [words for words in readme_commands("mnas-search") if "--workers=ray" in words]

    def num_done(*words):
        for _ in range(10):
            process = script(*words, *TINY, cwd=tmp_path, env=TOKEN)
            if "The nodes have room for 1." not in process.stderr:
                break
            time.sleep(3)  # the second node joins
        assert process.returncode == 0, process.stderr[-3000:]
        db = sqlite3.connect(tmp_path / "runs" / "flowers" / "trials.sqlite")
        found = db.execute("SELECT id, worker FROM trials WHERE state = 'done' ORDER BY id").fetchall()
        db.close()
        return found

    first = num_done(*alone, "--workers=process", "--num_trials=2")
    second = num_done(*alone, "--num_trials=4")
    with started() as address:
        third = num_done(*(word.replace("HEAD:6379", address) for word in joined), "--num_trials=6")
    assert third[:4] == second and second[:2] == first and len(third) == 6
    # A network that was met before has the figures of then, and no worker.
    kinds = [worker and worker.split("-")[0] for _, worker in third]
    assert (
        kinds[0] == "process" and kinds[1] in ("process", None) and "ray" in kinds and set(kinds[2:]) <= {"ray", None}
    )
