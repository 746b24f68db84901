"""Evaluations in spawned processes, each on cores of its own."""

import contextlib
import ctypes
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys

from nas_tf.search.evaluation import Evaluator
from nas_tf.search.workers import Outcome, Workers, run_job
from nas_tf.trial import EvaluationError


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose: `--num_workers` and `--worker_memory_mb` are flags of every search."""


def make(config, setup, *, num_workers=0, max_memory_mb=1400, log_path=os.devnull):
    return ProcessWorkers(setup, num_workers, max_memory_mb, log_path)


class ProcessWorkers(Workers):
    """Evaluates in `num_workers` spawned processes.

    Each is pinned to an equal share of the cores. One whose memory has grown beyond `max_memory_mb` is replaced after
    its job. A job whose process died is handed to a new process, once. While a network is timed on this machine, all
    other workers are stopped: timing shares neither a core nor a cache with the search.
    """

    def __init__(self, setup, num_workers=0, max_memory_mb=1400, log_path=os.devnull):
        self._setup, self._max_memory_mb, self._log_path = setup, max_memory_mb, os.fspath(log_path)
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.num_workers = num_workers or min(8, len(cores) or os.cpu_count())
        self._shares = [cores[i :: self.num_workers] for i in range(self.num_workers)]
        self._context = multiprocessing.get_context("spawn")
        self._workers = [None] * self.num_workers
        self._queue, self._died_once = [], set()

    def submit(self, key, job, first=False):
        self._queue.insert(0 if first else len(self._queue), (key, job))
        self._hand_out()

    def drop_queue(self):
        self._queue.clear()

    @property
    def num_pending(self):
        return len(self._queue) + sum(worker is not None and worker.job is not None for worker in self._workers)

    def wait(self):
        while True:
            self._hand_out()
            busy = {worker.connection: worker for worker in self._workers if worker is not None and worker.job}
            for connection in multiprocessing.connection.wait(list(busy)):
                outcome = self._hear(busy[connection])
                if outcome is not None:
                    self._hand_out()
                    return outcome

    def close(self):
        self._queue.clear()
        for index, worker in enumerate(self._workers):
            if worker is not None:
                worker.end()
                self._workers[index] = None

    def _hand_out(self):
        for index in range(self.num_workers):
            if not self._queue:
                return
            if self._workers[index] is None:
                self._workers[index] = _Worker(self._context, self._setup, index, self._shares[index], self._log_path)
            if self._workers[index].job is None:
                self._workers[index].start(self._queue.pop(0))

    def _hear(self, worker):
        """Returns the outcome in a worker's message, or None if the message says something else."""
        try:
            if not worker.has_greeted:
                worker.await_greeting()
                return None
            kind, content = worker.connection.recv()
            if kind == "hold_still":
                self._hold_still_for(worker)
                return None
        except (EOFError, OSError):
            return self._bury(worker)
        outcome, memory_mb = content
        worker.job = None
        if memory_mb > self._max_memory_mb:
            worker.end()
            self._workers[worker.index] = None
        return outcome

    def _hold_still_for(self, worker):
        others = [each for each in self._workers if each is not None and each is not worker]
        for each in others:
            each.await_greeting()
            each.signal("SIGSTOP")
        try:
            worker.connection.send("go")
            worker.connection.recv()
        finally:
            for each in others:
                each.signal("SIGCONT")

    def _bury(self, worker):
        worker.process.join()
        job, status = worker.job, worker.process.exitcode
        self._workers[worker.index] = None
        key = job[0]
        if key in self._died_once:
            failure = EvaluationError(f"The worker process died twice over this job, at last with exit status {status}")
            return Outcome(key, failure=failure, worker=worker.name)
        self._died_once.add(key)
        self._queue.insert(0, job)
        return None


class _Worker:
    """One process and the pipe to it. `job` is the `(key, job)` that it works on, or None."""

    def __init__(self, context, setup, index, cores, log_path):
        self.index, self.job, self.has_greeted = index, None, False
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, setup, cores, log_path, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()
        self.name = f"process-{self.process.pid}"

    def start(self, job):
        self.job = job
        with contextlib.suppress(OSError):  # a dead process is noticed, and its job handed on, by `wait`
            self.connection.send(job)

    def await_greeting(self):
        """Waits until the process has begun to serve. If it were stopped before that, it could outlive this one."""
        if not self.has_greeted:
            with contextlib.suppress(EOFError, OSError):  # a dead one is noticed by `wait`
                self.connection.recv()
            self.has_greeted = True

    def signal(self, name):
        if hasattr(signal, name) and self.process.is_alive():
            os.kill(self.process.pid, getattr(signal, name))

    def end(self):
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection, setup, cores, log_path, parent):
    """A worker's life: jobs in, outcomes out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent(parent)
    connection.send("greeting")
    if cores:
        os.sched_setaffinity(0, cores)
    with open(log_path, "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)

    @contextlib.contextmanager
    def hold_still():
        connection.send(("hold_still", None))
        connection.recv()
        try:
            yield
        finally:
            connection.send(("go_on", None))

    evaluator = Evaluator(setup, hold_still)
    name = f"process-{os.getpid()}"
    while True:
        try:
            job = connection.recv()
            outcome = run_job(evaluator, *job, name)
            connection.send(("outcome", (outcome, _memory_mb())))
        except (EOFError, OSError):
            return


def _die_with_parent(parent):
    """Makes the kernel kill this process when its parent is gone, even while it is stopped (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _memory_mb():
    import psutil

    return psutil.Process().memory_info().rss / 2**20
