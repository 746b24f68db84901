"""The process that speaks with a Ray cluster for a search, over a pipe.

Ray ends the process of its driver when the head of the cluster is gone, takes its signals, and prints: so the search
itself is in another one.
"""

import contextlib
import dataclasses
import multiprocessing.connection
import os
import time
import traceback
import uuid

from nas_tf import stopping
from nas_tf.search.workers import Outcome
from nas_tf.search.workers._ray_cluster import DEVICE, Cluster, cause, line_of
from nas_tf.trial import EvaluationError, KilledWorker, UserError

_HEAD_SECONDS = 2.0  # between two looks at whether the head is there
_PATIENCE_SECONDS = 300.0  # for which no node has what a job needs
_LOOK_SECONDS = 0.3
_HEAR_SECONDS = 0.5  # between two looks at what jobs say
_MOST_LATE = 2  # deadlines that a job may miss
_CALLS = 64  # of a process of Ray's, before it is replaced: TensorFlow keeps memory with every network


@dataclasses.dataclass
class _Task:
    """A job that is on the cluster."""

    key: object
    job: object
    deadline_seconds: float | None
    number: int = 0  # of this try
    since: float | None = None  # it runs; None: it waits
    held_since: float | None = None  # it stands still while a network is timed beside it
    node: str = ""
    machine: str = ""
    pid: int = 0
    lost: int = 0
    late: bool = False  # it was ended for that
    num_late: int = 0


def serve(number, parent):
    """A client's life: options first, then what the search asks for, until the pipe closes."""
    stopping.follow(parent)
    connection, client = multiprocessing.connection.Connection(number), None
    with contextlib.suppress(EOFError, OSError):  # the search is gone
        try:
            client = _Client(connection, connection.recv())
            connection.send(("ready", client.num_workers))
            client.run()
        except (UserError, EvaluationError) as error:
            connection.send(("refused", error))
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:
            traceback.print_exc()
            failure = EvaluationError(f"Ray failed: {type(error).__name__}: {line_of(error)}")
            with contextlib.suppress(AttributeError):
                failure = client.head_gone() or failure
            connection.send(("refused", failure))
    os._exit(0)  # what Ray does at the end of its driver may wait for a head that is gone


class _Client:
    def __init__(self, connection, options):
        self._connection, self._options = connection, options
        self._cluster = Cluster(options)
        self._ray = ray = self._cluster.ray
        from nas_tf.search.workers import _ray_nodes

        self._nodes = _ray_nodes
        node = ray.get_runtime_context().get_node_id()
        self._board = self._cluster.pinned(ray.remote(num_cpus=0)(_ray_nodes.Board), node).remote()
        self._device = None
        shares = {"num_cpus": options.cpus_per_child, "num_gpus": options.gpus_per_child}
        how = {**shares, "max_retries": 0, "max_calls": _CALLS}
        self._evaluate = ray.remote(**how)(_ray_nodes.evaluate)
        self._call = ray.remote(**how)(_ray_nodes.call)
        self._tasks, self._asked, self._luggage = {}, {}, None  # by reference
        self._held = []  # (task, those that are to end before it begins anew)
        self._numbers, self._count = {}, 0  # references by the number of the try
        self._head_at = self._begun_at = self._hear_at = time.monotonic()

    @property
    def num_workers(self):
        return self._cluster.num_workers

    def head_gone(self):
        return self._cluster.head_gone()

    def run(self):
        ready = []
        while True:
            # What ends is mostly followed by what is to be begun.
            waited = [*self._tasks, *self._asked]
            while self._connection.poll(_LOOK_SECONDS if ready or not waited else 0):
                message = self._connection.recv()
                getattr(self, f"_{message[0]}")(*message[1:])
                waited = [*self._tasks, *self._asked]
            ready = self._ray.wait(waited, timeout=_LOOK_SECONDS)[0] if waited else []
            self._hear()
            for each in ready:
                self._end_of(each)
            self._look()

    # What the search asks for.

    def _submit(self, key, job, deadline_seconds):
        self._begin(_Task(key, job, deadline_seconds))

    def _use(self, setup):
        """Takes the setup of the jobs to come; the device stays the one that has been asked."""
        self._options, self._luggage = dataclasses.replace(self._options, setup=setup), None

    def _drop(self):
        for reference, task in list(self._tasks.items()):
            if task.since is None:
                self._ray.cancel(reference, force=True)
                self._forget(reference)
        self._held.clear()
        self._connection.send(("left", [task.key for task in self._tasks.values()]))

    def _ask(self, number, method, arguments):
        """Asks the device."""
        self._asked[getattr(self._device_actor(), method).remote(*arguments)] = number

    # What comes of it.

    def _begin(self, task):
        self._count += 1
        luggage = self._packed()
        if isinstance(task.job, tuple):
            function, *arguments = task.job
            reference = self._call.remote(luggage, function, arguments, self._count, self._board)
        else:
            reference = self._evaluate.remote(luggage, task.key, task.job, self._count, self._board)
        task.number, task.since, task.held_since, task.late = self._count, None, None, False
        self._tasks[reference], self._numbers[self._count] = task, reference

    def _forget(self, reference):
        task = self._tasks.pop(reference)
        del self._numbers[task.number]
        return task

    def _hear(self):
        """Passes on what jobs say."""
        if not self._tasks or time.monotonic() < self._hear_at:
            return
        self._hear_at = time.monotonic() + _HEAR_SECONDS
        for kind, number, words in self._ray.get(self._board.take.remote()):
            if kind in ("hold", "go_on"):
                self._hold(kind, *words)
                continue
            task = self._tasks.get(self._numbers.get(number))
            if task is None:
                continue
            if kind == "begun":
                task.since, (task.node, task.machine, task.pid) = time.monotonic(), words
            else:
                self._connection.send(("doing", task.key, words))

    def _hold(self, kind, machine, pids):
        """Stops the clocks of those that stand still on the device's machine, and lets them go on."""
        for task in self._tasks.values():
            if task.since is None or task.machine != machine or task.pid not in pids:
                continue
            if kind == "hold":
                task.held_since = time.monotonic()
            elif task.held_since is not None:
                task.since += time.monotonic() - task.held_since
                task.held_since = None

    def _end_of(self, reference):
        if reference in self._asked:
            number = self._asked.pop(reference)
            self._connection.send(("answer", number, self._answer(reference)))
            return
        task = self._forget(reference)
        errors = self._ray.exceptions
        try:
            outcome = self._ray.get(reference)
        except errors.RayTaskError as error:  # it could not even begin
            outcome = Outcome(task.key, failure=cause(error))
        except errors.RayError as error:
            self._cluster.check_head()
            # The end of a node is not the network's fault.
            task.lost += type(error).__name__ not in ("NodeDiedError", "LocalRayletDiedError")
            task.num_late += task.late
            if task.lost < self._options.tries and task.num_late < _MOST_LATE:
                return self._begin_anew(task, error)
            words = f"taking longer than {task.deadline_seconds:.0f} s" if task.late else _lost_by(error)
            failure = KilledWorker(f"The network cost its worker {task.lost} times, at last by {words}")
            outcome = Outcome(task.key, failure=failure)
        if isinstance(task.job, tuple) and not isinstance(outcome, Outcome):
            outcome = Outcome(task.key, *outcome)
        self._connection.send(("outcome", outcome))

    def _begin_anew(self, task, error):
        """Begins a job anew; of a node without memory Ray ends the latest, so that it waits for those beside it."""
        beside = [each for each in self._tasks.values() if each.node == task.node and each.since is not None]
        if isinstance(error, self._ray.exceptions.OutOfMemoryError) and beside:
            self._held.append((task, beside))
        else:
            self._begin(task)

    def _answer(self, reference):
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._cluster.check_head()
            return None, EvaluationError(f"The node of the device does not answer: {type(error).__name__}")

    def _look(self):
        """Ends jobs that are late, and this process if the head or the room for children is gone; begins held ones."""
        now, held, self._held = time.monotonic(), self._held, []
        for task, beside in held:
            if any(each is other for each in beside for other in self._tasks.values()):
                self._held.append((task, beside))
            else:
                self._begin(task)
        for task in self._tasks.values():
            runs = task.since is not None and task.held_since is None
            late = runs and task.deadline_seconds and now - task.since > task.deadline_seconds
            if late and not task.late:
                task.late = True
                kill = self._ray.remote(num_cpus=0)(self._nodes.kill)
                self._cluster.pinned(kill, task.node).remote(task.pid)
        if now - self._head_at > _HEAD_SECONDS:
            self._head_at = now
            self._cluster.check_head()
            if any(task.since is not None for task in self._tasks.values()) or not self._tasks:
                self._begun_at = now
            elif now - self._begun_at > _PATIENCE_SECONDS and self._cluster.room() < 1:
                raise UserError(
                    f"No node has had the {self._cluster.needs()} of a child for {_PATIENCE_SECONDS:.0f} s. Add nodes "
                    "and give the same command again"
                )

    # Files.

    def _packed(self):
        """Returns a reference to the `Luggage` of jobs: what they need is packed when the first one begins."""
        if self._luggage is None:
            options = self._options
            parcels = self._cluster.parcels(options.setup.paths() if options.setup else [])
            device = self._device_actor() if options.on_cluster else None
            name = uuid.uuid4().hex
            luggage = self._nodes.Luggage(name, options.setup, parcels, options.cpus_per_child, device)
            self._luggage = self._ray.put(luggage)
        return self._luggage

    def _device_actor(self):
        if self._device is None:
            setup = self._options.setup
            parcels = self._cluster.parcels(setup.device_paths())
            host = self._ray.remote(num_cpus=0, resources={DEVICE: 1}, max_restarts=-1, max_concurrency=9)
            self._device = host(self._nodes.DeviceHost).remote(setup, parcels, self._board)
        return self._device


def _lost_by(error):
    return {
        "WorkerCrashedError": "its process's end",
        "OutOfMemoryError": "the memory of its node",
        "NodeDiedError": "its node's end",
    }.get(type(error).__name__, type(error).__name__)
