"""Evaluations on a Ray cluster, or on one of this machine alone. Ray places them, and moves what they need."""

import collections
import contextlib
import dataclasses
import math
import multiprocessing.connection
import os
import subprocess
import sys
import threading
import time

from nas_tf.recycling import DEADLINE_SECONDS
from nas_tf.search.workers import Workers
from nas_tf.search.workers._ray_cluster import Options
from nas_tf.search.workers._ray_device import RemoteMeter
from nas_tf.settings import Settings, knob
from nas_tf.trial import EvaluationError

DISTRIBUTED = True
_LOOK_SECONDS = 1.0
_START_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The cluster, and what a child takes of it."""

    address: str = knob(
        "",
        "HOST:PORT of the head of a Ray cluster, or auto for that of this node; empty: one is begun on this machine.",
        decides=False,
    )
    cpus_per_child: float = knob(1.0, "CPUs of each child that trains.", above=0, decides=False)
    gpus_per_child: float = knob(0.0, "GPUs of each child that trains; 0.25: four share one.", least=0, decides=False)
    tries: int = knob(
        3,
        "Processes that a network may cost before it counts as infeasible; more where processes are killed by others. "
        "The end of a whole node is never its fault.",
        least=1,
        decides=False,
    )
    ship_mb: int = knob(
        4096,
        "Images and weights that nodes do not see are shipped to each of them once, up to this size in all.",
        least=0,
        decides=False,
    )


def make(config, setup, *, num_workers=0, max_memory_mb=0, log_path=os.devnull):
    return RayWorkers(_client(config, setup, num_workers, log_path))


def make_device(config, setup, *, num_workers=0, log_path=os.devnull):
    """Returns the device of a setup: one that times files hangs on a node of the cluster."""
    if not setup.has_meter:
        return setup.make_device()
    return RemoteMeter(_client(config, setup, num_workers, log_path).ask)


def make_calls(config, *, num_workers=0, seen=(), log_path=os.devnull):
    """Returns what makes calls on a cluster, as `nas_tf.recycling.Processes` makes them on one machine.

    Args:
        config: the `Config`.
        num_workers: how many at once; 0: as many as there is room for.
        seen: paths of what the calls read and write. Every node has to see them.
        log_path: where Ray prints.
    """
    seen = tuple(os.path.abspath(path) for path in seen if path and os.path.exists(path))
    return RayCalls(RayWorkers(_Client(config, None, num_workers, log_path, seen)))


_clients = {}


def _client(config, setup, num_workers, log_path):
    """Returns the process that speaks with the cluster: one for whoever asks with the same settings."""
    # Its paths, as they are seen from here: nodes have other working folders.
    setup = setup.moved({path: path for path in (*setup.paths(), *setup.device_paths())})
    key = (config, num_workers)
    if key not in _clients or _clients[key].has_ended:
        _clients[key] = _Client(config, setup, num_workers, log_path)
    _clients[key].use(setup)
    return _clients[key]


class RayWorkers(Workers):
    """Evaluates on a cluster. Jobs beyond its room wait there; those whose node or process is lost are begun anew."""

    def __init__(self, client):
        self._client, self._keys = client, []
        self.num_workers = client.num_workers

    def submit(self, key, job, first=False, deadline_seconds=None):
        self._keys.append(key)
        self._client.send("submit", key, job, deadline_seconds)

    def wait(self, timeout_seconds=None):
        end = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        while self._keys:
            kind, *content = self._client.hear(min(max(0.0, end - time.monotonic()), _LOOK_SECONDS)) or (None,)
            if kind == "doing":
                key, words = content
                if key in self._keys:
                    self.on_doing(key, words)
            elif kind == "left":
                self._keys = [key for key in self._keys if key in content[0]]
            elif kind == "outcome":
                (outcome,) = content
                if outcome.key in self._keys:
                    self._keys.remove(outcome.key)
                    self.on_doing(outcome.key, "")
                    return outcome
            if time.monotonic() >= end:
                break
        return None

    @property
    def num_pending(self):
        return len(self._keys)

    def drop_queue(self):
        if self._keys:
            self._client.send("drop")

    def close(self):
        self._keys = []
        self._client.close()


class RayCalls:
    """Calls functions on a cluster.

    Attributes:
        num_workers: how many at once.
    """

    def __init__(self, workers):
        self._workers, self.num_workers = workers, workers.num_workers

    def run(self, calls):
        """As `nas_tf.recycling.Processes.run`."""
        waiting = list(calls.items())
        while waiting or self._workers.num_pending:
            while waiting and self._workers.num_pending < self.num_workers:
                self._workers.submit(*waiting.pop(0), deadline_seconds=DEADLINE_SECONDS)
            outcome = self._workers.wait()
            if outcome is not None:
                yield outcome.key, outcome.value, outcome.failure

    def close(self):
        """Ends them."""
        self._workers.close()


class _Client:
    """The process of `_ray_client`, and the pipe to it."""

    def __init__(self, config, setup, num_workers, log_path, seen=()):
        self._lock, self._messages, self._numbers = threading.Lock(), collections.deque(), 0
        self._setup, self._log_path = setup, log_path
        self.connection, theirs = multiprocessing.connection.Pipe()
        number = theirs.fileno()
        serving = f"from nas_tf.search.workers._ray_client import serve; serve({number}, {os.getpid()})"
        with open(log_path, "a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {serving}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=(number,),
                start_new_session=True,  # Ctrl-C is for this process alone
            )
        theirs.close()
        shares = (config.cpus_per_child, config.gpus_per_child, config.tries, config.ship_mb)
        has_meter = setup is not None and setup.has_meter
        with contextlib.suppress(OSError):
            self.connection.send(Options(config.address, *shares, num_workers, setup, has_meter, seen))
        kind, *content = self._receive(_START_SECONDS) or (None,)
        if kind != "ready":
            self.close()
            raise EvaluationError(f"Expected Ray to answer within {_START_SECONDS:.0f} s. Look into {log_path}")
        (self.num_workers,) = content

    @property
    def has_ended(self):
        return self.connection.closed or self._process.poll() is not None

    def use(self, setup):
        """Takes the setup of the jobs to come."""
        if setup != self._setup:
            self._setup = setup
            self.send("use", setup)

    def send(self, *message):
        with contextlib.suppress(OSError):  # its end is noticed by `_receive`
            self.connection.send(message)

    def hear(self, seconds):
        """Returns the next message of the cluster within some seconds, or None."""
        if self._messages:
            return self._messages.popleft()
        return self._receive(seconds)

    def ask(self, method, *arguments):
        """Calls a method of the device's host, and returns `(value, failure)`."""
        with self._lock:
            self._numbers += 1
            number = self._numbers
            self.send("ask", number, method, arguments)
            while True:
                message = self._receive(_LOOK_SECONDS)
                if message is None:
                    continue
                if message[0] == "answer" and message[1] == number:
                    return message[2]
                self._messages.append(message)

    def close(self):
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        self.connection.close()

    def _receive(self, seconds):
        """Returns a message within some seconds, or None; raises what has ended the process."""
        try:
            message = self.connection.recv() if self.connection.poll(seconds) else None
        except (EOFError, OSError) as error:
            self.close()
            raise EvaluationError(
                "Ray has ended on the node on which this runs, or at the head of its cluster. "
                f"{self._log_path} may say why; the same command goes on, there or on another cluster"
            ) from error
        if message is not None and message[0] == "refused":
            self.close()
            raise message[1]
        return message
