"""What runs on the nodes of a cluster: a job, and the device that hangs there."""

import contextlib
import dataclasses
import fcntl
import os
import signal
import socket
import tempfile
import threading
import time

import ray

from nas_tf.bars import listening
from nas_tf.recycling import made
from nas_tf.search.evaluation import Evaluator
from nas_tf.search.workers import printable, run_job
from nas_tf.search.workers._ray_device import RemoteMeter
from nas_tf.search.workers._ray_files import locked, machine_folder, unpacked
from nas_tf.trial import EvaluationError

_evaluators = {}
# Before this process has a share of them.
_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
_PING_SECONDS, _GONE_SECONDS = 5.0, 30.0
_TELL_SECONDS = 0.5  # between two words of a job


@dataclasses.dataclass(frozen=True)
class Luggage:
    """What a job on a node needs.

    Attributes:
        name: of the setup, as no other has it.
        setup: the `nas_tf.search.evaluation.Setup` with the paths of the machine where the search runs, or None.
        parcels: the `Parcel`s of its paths.
        cores: of a child; others of this machine are for others.
        device: the actor of its device, or None.
    """

    name: str
    setup: object
    parcels: tuple
    cores: float
    device: object = None


class Board:
    """Where jobs say what they are at. An actor beside the search, which reads it."""

    def __init__(self):
        self._said = []

    def tell(self, *words):
        self._said.append(words)

    def take(self):
        said, self._said = self._said, []
        return said


def evaluate(luggage, key, job, number, board):
    """Runs a job of a search in this process of Ray's, and returns its `nas_tf.search.workers.Outcome`."""
    name = f"ray-{socket.gethostname()}-{os.getpid()}"
    with _working(luggage.cores, number, board):
        if luggage.name not in _evaluators:
            _evaluators.clear()
            _evaluators[luggage.name] = Evaluator(_here(luggage.setup, luggage), device=_remote_device(luggage))
        return run_job(_evaluators[luggage.name], key, job, name)


def call(luggage, function, arguments, number, board):
    """Returns `(value, failure)` of a call. The paths among its arguments are those that every node sees."""
    with _working(luggage.cores, number, board):
        return made(function, arguments)


def kill(pid):
    """Ends a process of this machine, and those that it has started, such as the one that times a file."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.Error):
                each.kill()


def _here(setup, luggage):
    places = {parcel.path: unpacked(parcel, ray.get) for parcel in luggage.parcels}
    return setup.moved(places)


def _remote_device(luggage):
    return None if luggage.device is None else RemoteMeter(ActorCalls(luggage.device))


@contextlib.contextmanager
def _working(cores, number, board):
    """Inside it this process has cores of its own, stands still while a network is timed, and says what it is at."""
    last = [0.0, None]

    def tell(words):
        what = str(words).partition(" ")[0]
        if what != last[1] or time.monotonic() - last[0] > _TELL_SECONDS:
            last[:] = time.monotonic(), what
            board.tell.remote("doing", number, printable(words))

    # Waited for: its clock has to run before it can hang.
    where = (ray.get_runtime_context().get_node_id(), socket.gethostname(), os.getpid())
    ray.get(board.tell.remote("begun", number, where))
    with _slot(cores), listening(tell):
        yield


@contextlib.contextmanager
def _slot(cores):
    """Takes a share of this machine's cores that no other job has; its file says to a timer whom to hold still."""
    share = max(1, round(cores))
    folder = machine_folder() / "slots"
    folder.mkdir(exist_ok=True)
    number = 0
    while True:
        # While a network is timed nobody begins.
        with locked(folder / "timing.lock"):
            file = open(folder / f"{number}.pid", "a+")  # noqa: SIM115  its lock is held until the job ends
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                number += 1
                continue
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            break
    count = max(1, len(_CORES) // share)
    _move_to(_CORES[number % count :: count][:share])
    try:
        yield
    finally:
        file.truncate(0)
        file.close()


def _move_to(cores):
    """Moves all threads of this process: those that TensorFlow began for an earlier job are on that job's cores."""
    for thread in os.listdir("/proc/self/task") if cores else ():
        with contextlib.suppress(OSError):
            os.sched_setaffinity(int(thread), cores)


@contextlib.contextmanager
def hold_still():
    """Inside it every job of this machine stands still; gives a list of their processes."""
    folder = machine_folder() / "slots"
    folder.mkdir(exist_ok=True)
    with locked(folder / "timing.lock"):
        held = [pid for pid in map(_holder, folder.glob("*.pid")) if pid not in (None, os.getpid())]
        for pid in held:
            _signal(pid, signal.SIGSTOP)
        try:
            yield held
        finally:
            for pid in held:
                _signal(pid, signal.SIGCONT)


def go_on():
    """Lets go on what a timer that was killed has left standing."""
    for pid in filter(None, map(_holder, (machine_folder() / "slots").glob("*.pid"))):
        _signal(pid, signal.SIGCONT)


def _holder(path):
    """Returns the id of the process that holds a slot, or None."""
    with contextlib.suppress(OSError), open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            text = file.read().strip()
            return int(text) if text.isdigit() else None
    return None


def _signal(pid, number):
    with contextlib.suppress(OSError):
        os.kill(pid, number)


class DeviceHost:
    """The device of a search, on the node on which it hangs. An actor with a thread for each file timed at once."""

    def __init__(self, setup, parcels, board):
        go_on()
        self._board = board
        self._setup = setup.moved({parcel.path: unpacked(parcel, ray.get) for parcel in parcels})
        self._device, self._views, self._lock = None, {}, threading.Lock()
        self._hold = threading.Lock()

    def ping(self):
        return True

    def call(self, view, name, *arguments):
        """Returns `(value, failure)` of a method, or of an attribute that is none, of a view of the device.

        Args:
            view: tuple of how it is come by, each `"brief"` or the name of one that it is beside.
            name: of the method or attribute; `"others"`: None or why there is none, by name, of what is beside it.
            arguments: its own.
        """
        return made(self._called, (view, name, *arguments))

    def measure(self, view, content):
        """Returns `(Latency, failure)` of the bytes of a TFLite file."""
        return made(self._measured, (view, content))

    def _called(self, view, name, *arguments):
        if name == "others":
            beside = self._view(view).beside()
            return {each: found if isinstance(found, str) else None for each, found in beside.items()}
        found = getattr(self._view(view), name)
        return found(*arguments) if callable(found) else found

    def _measured(self, view, content):
        device = self._view(view)
        with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
            path = os.path.join(folder, "child.tflite")
            with open(path, "wb") as file:
                file.write(content)
            if not device.shares_host:
                return device.measure(path)
            with self._hold, hold_still() as held:
                self._board.tell.remote("hold", None, (socket.gethostname(), held))
                try:
                    return device.measure(path)
                finally:
                    self._board.tell.remote("go_on", None, (socket.gethostname(), held))

    def _view(self, view):
        with self._lock:
            if self._device is None:
                self._device = self._setup.make_device()
            if view not in self._views:
                found = self._device
                for how in view:
                    found = found.brief() if how == "brief" else found.beside()[how]  # no delegate is called brief
                self._views[view] = found
            return self._views[view]


class ActorCalls:
    """Calls a `DeviceHost` from a job, and notices when its node is gone."""

    def __init__(self, actor):
        self._actor = actor

    def __call__(self, method, *arguments):
        pending = getattr(self._actor, method).remote(*arguments)
        try:
            while not ray.wait([pending], timeout=_PING_SECONDS)[0]:
                ray.get(self._actor.ping.remote(), timeout=_GONE_SECONDS)
            return ray.get(pending)
        except ray.exceptions.RayError as error:
            raise EvaluationError(f"The node of the device does not answer: {type(error).__name__}") from error
