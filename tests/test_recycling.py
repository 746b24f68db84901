"""Processes that are replaced as they grow: what is called in them may hang, die or answer nonsense."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from nas_tf import recycling
from nas_tf.recycling import Processes
from nas_tf.trial import EvaluationError, KilledWorker

pytestmark = pytest.mark.real


@pytest.fixture
def processes():
    with contextlib.closing(Processes(2)) as made:
        yield made


def test_a_process_is_replaced_once_its_memory_has_grown(processes, monkeypatch):
    first = processes.call(os.getpid)
    assert first != os.getpid()
    assert processes.call(os.getpid) == first and processes.num_started == 1
    assert 5 < processes.memory_mb < 500  # MB: a Python with little in it
    monkeypatch.setattr(recycling, "MAX_MEMORY_MB", 1)
    assert processes.call(os.getpid) == first
    assert not psutil.pid_exists(first)
    assert processes.call(os.getpid) != first and processes.num_started == 2


def test_what_dies_or_cannot_be_sent_ends_nothing(processes):
    """All at once: what becomes of a call is its own affair."""
    calls = {
        "well": (os.getpid,),
        "exit": (os._exit, 3),
        "kill": (signal.raise_signal, signal.SIGKILL),
        "close": (os.closerange, 3, 256),
        "refuse": (int, "no number"),
        "fail": (os.stat, "/no such file"),
        "unsent": (threading.Lock,),
    }
    found = {key: (value, failure) for key, value, failure in processes.run(calls)}
    assert found.keys() == calls.keys()
    assert found["well"][0] > 0 and found["well"][1] is None
    words = "It cost its process 2 times, at last by"
    assert isinstance(found["exit"][1], KilledWorker) and str(found["exit"][1]) == f"{words} exit status 3"
    assert str(found["kill"][1]) == f"{words} signal 9"
    assert isinstance(found["close"][1], KilledWorker)
    assert isinstance(found["refuse"][1], ValueError) and "no number" in str(found["refuse"][1])
    assert isinstance(found["fail"][1], EvaluationError) and "FileNotFoundError" in str(found["fail"][1])
    assert isinstance(found["unsent"][1], EvaluationError) and "cannot be sent" in str(found["unsent"][1])


def test_what_never_ends_is_killed_and_tried_once_more(processes, monkeypatch):
    monkeypatch.setattr(recycling, "DEADLINE_SECONDS", 0.3)
    begin = time.monotonic()
    with pytest.raises(KilledWorker, match="It cost its process 2 times, at last by taking longer than 0 s"):
        processes.call(time.sleep, 600)
    assert time.monotonic() - begin < 20 and processes.num_started == 2


def test_a_killed_idle_process_is_noticed(processes):
    first = processes.call(os.getpid)
    os.kill(first, signal.SIGKILL)
    assert processes.call(os.getpid) != first


def test_a_script_needs_no_main_guard_and_its_processes_end_with_it(tmp_path):
    """Even where it is killed while a process works."""
    script = tmp_path / "plain.py"
    script.write_text(
        "import os, time\n"
        "from nas_tf.recycling import Processes\n"
        "processes = Processes()\n"
        "print(processes.call(os.getpid), flush=True)\n"
        "processes.call(time.sleep, 600)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(process.stdout.readline()))
    time.sleep(0.5)
    process.kill()
    process.wait()
    process.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=5)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]
