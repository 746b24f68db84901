"""Evaluations in spawned processes, each on cores of its own."""

import contextlib
import dataclasses
import math
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import pathlib
import signal
import sys
import time
import traceback

from nas_tf import stopping
from nas_tf.recycling import Processes
from nas_tf.search.workers import Outcome, Workers, printable
from nas_tf.search.workers._serving import serve
from nas_tf.trial import EvaluationError, KilledWorker

_START_SECONDS = 300.0  # that a process may take before it begins a job
_MAX_FAILED_STARTS = 3  # in a row
_LOOK_SECONDS = 1.0  # between two looks at the clock
_LOG_BYTES = 64 * 2**20  # beyond which the log of what workers print begins anew


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose: `--num_workers` and `--worker_memory_mb` are flags of every search."""


def make(config, setup, *, num_workers=0, max_memory_mb=1400, log_path=os.devnull):
    return ProcessWorkers(setup, num_workers, max_memory_mb, log_path)


def make_calls(config, *, num_workers=0, seen=(), log_path=os.devnull):
    return Processes(num_workers or 1)


class ProcessWorkers(Workers):
    """Evaluates in `num_workers` spawned processes.

    Each is pinned to an equal share of the cores. One whose memory has grown beyond `max_memory_mb` is replaced after
    its job. A job whose process died, or was killed because it was over its time, is handed to a new process, once.
    While a network is timed on this machine, all other workers are stopped, and so are their clocks: timing shares
    neither a core nor a cache with the search.
    """

    def __init__(self, setup, num_workers=0, max_memory_mb=1400, log_path=os.devnull):
        self._setup, self._max_memory_mb, self._log_path = setup, max_memory_mb, os.fspath(log_path)
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.num_workers = num_workers or min(8, len(cores) or os.cpu_count())
        self._shares = [cores[i :: self.num_workers] for i in range(self.num_workers)]
        self._context = multiprocessing.get_context("spawn")
        self._workers = [None] * self.num_workers
        self._queue, self._failed_starts = [], 0
        self._asking, self._timing = [], None  # the workers that want to time, and the one that does

    def submit(self, key, job, first=False, deadline_seconds=None):
        self._queue.insert(0 if first else len(self._queue), _Task(key, job, deadline_seconds))
        self._hand_out()

    def drop_queue(self):
        self._queue.clear()

    @property
    def num_pending(self):
        return len(self._queue) + len(self._busy)

    def wait(self, timeout_seconds=None):
        end = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        while self.num_pending:
            self._hand_out()
            self._let_one_time()
            outcome = self._listen(min(max(0.0, end - time.monotonic()), _LOOK_SECONDS)) or self._kill_late()
            if outcome is not None:
                self._hand_out()
                return outcome
            if time.monotonic() >= end:
                break
        return None

    def close(self):
        self._queue.clear()
        for worker in filter(None, self._workers.copy()):
            self._dismiss(worker)

    @property
    def _busy(self):
        return [worker for worker in self._workers if worker is not None and worker.task is not None]

    def _hand_out(self):
        for index in range(self.num_workers):
            if not self._queue or self._timing or self._asking:
                return
            worker = self._workers[index]
            if worker is not None and worker.task is None and not worker.process.is_alive():
                self._dismiss(worker)
                worker = None
            if worker is None:
                worker = self._workers[index] = self._start(index)
            if worker.task is None:
                worker.begin(self._queue.pop(0))

    def _start(self, index):
        try:
            return _Worker(self._context, self._setup, index, self._shares[index], self._log_path)
        except OSError as error:
            raise EvaluationError(f"Expected to start a worker process: {error.strerror or error}") from error

    def _listen(self, seconds):
        """Returns an outcome that comes within some seconds, or None."""
        listened = [self._timing] if self._timing else self._busy
        of = {handle: worker for worker in listened for handle in (worker.connection, worker.process.sentinel)}
        begin = time.monotonic()
        ready = multiprocessing.connection.wait(list(of), seconds)
        stopped_seconds = time.monotonic() - begin - seconds
        if stopped_seconds > _LOOK_SECONDS:  # this process stood still itself, and its workers as it seems too
            for worker in self._busy:
                worker.excuse(stopped_seconds)
        self._bound_log()
        for worker in dict.fromkeys(of[handle] for handle in ready):
            outcome = self._hear(worker)
            if outcome is not None:
                return outcome
        return None

    def _hear(self, worker):
        """Returns the outcome in a worker's message, or None if the message says something else."""
        try:
            # Without a message it has ended, and so says its process.
            kind, content = worker.connection.recv() if worker.connection.poll() else ("ended", None)
        except (EOFError, OSError):
            return self._lose(worker)
        except Exception:
            failure = EvaluationError(f"What came of the job cannot be read: {traceback.format_exc()}")
            self.on_doing(worker.task.key, "")
            self._dismiss(worker)
            return Outcome(worker.task.key, failure=failure, worker=worker.name)
        if kind == "ended":
            return self._lose(worker)
        if kind == "outcome":
            outcome, memory_mb = content
            worker.task = None
            self.on_doing(outcome.key, "")
            if memory_mb > self._max_memory_mb:
                self._dismiss(worker)
            return outcome
        if kind == "cannot_start":
            raise content
        if kind == "doing":
            self.on_doing(worker.task.key, printable(content))
        elif kind == "begun":
            worker.has_begun_it()
            self._failed_starts = 0
        elif kind == "hold_still":
            self._asking.append(worker)
        elif kind == "go_on":
            self._go_on()
        return None

    def _let_one_time(self):
        """Stops all workers but one that wants to time. One that was stopped before it began could outlive this one."""
        if self._timing or not self._asking:
            return
        others = [each for each in self._workers if each is not None and each is not self._asking[0]]
        if all(each.has_begun or each.task is None for each in others):
            self._timing = self._asking.pop(0)
            for each in others:
                each.hold()
            with contextlib.suppress(OSError):  # a dead one is noticed by `wait`
                self._timing.connection.send("go")

    def _go_on(self):
        self._timing = None
        for worker in filter(None, self._workers):
            worker.go_on()

    def _kill_late(self):
        """Kills a worker that is over its time, and returns the outcome of its job, or None."""
        late = next((worker for worker in self._busy if worker.seconds_left() < 0), None)
        return late and self._lose(late, f"taking longer than {late.seconds_allowed:.0f} s")

    def _lose(self, worker, reason=None):
        """Ends a worker that has failed its job, and returns the job's outcome if this was its second try, else None.

        Args:
            worker: the worker.
            reason: by what it failed; None: it has died.

        Raises:
            EvaluationError: processes end before they begin any job.
        """
        reason, task = reason or worker.end_in_words(), worker.task
        self.on_doing(task.key, "")
        self._dismiss(worker)
        if not worker.has_begun:
            self._failed_starts += 1
            if self._failed_starts == _MAX_FAILED_STARTS:
                raise EvaluationError(
                    f"{_MAX_FAILED_STARTS} worker processes in a row ended before they began any job, at last by "
                    f"{reason}. The last line in {self._log_path}: {_last_line(self._log_path)}"
                )
        else:
            task.lost_by.append(reason)
        if len(task.lost_by) < 2:
            self._queue.insert(0, task)
            return None
        words = f"The network cost its worker twice, at last by {reason}"
        return Outcome(task.key, failure=KilledWorker(words), worker=worker.name)

    def _dismiss(self, worker):
        """Ends a worker, whatever it does, and forgets it."""
        self._workers[worker.index] = None
        if worker in self._asking:
            self._asking.remove(worker)
        worker.end()
        if worker is self._timing:
            self._go_on()

    def _bound_log(self):
        with contextlib.suppress(OSError):
            if os.path.getsize(self._log_path) > _LOG_BYTES:
                os.truncate(self._log_path, 0)


@dataclasses.dataclass(eq=False)
class _Task:
    """A job, its deadline, and by what the processes that tried it were lost."""

    key: object
    job: object
    deadline_seconds: float | None
    lost_by: list = dataclasses.field(default_factory=list)


class _Worker:
    """One process and the pipe to it.

    Attributes:
        task: the `_Task` that it works on, or None.
        has_begun: whether it has said that it has begun this one.
    """

    def __init__(self, context, setup, index, cores, log_path):
        self.index, self.task, self.has_begun = index, None, False
        self._since, self._held_since, self._held_seconds = 0.0, None, 0.0
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, setup, cores, os.getpid()), daemon=True)
        multiprocessing.resource_tracker.ensure_running()  # else it is started with the process, and unblocks stops
        with _output_to(log_path), stopping.stops_blocked():
            self.process.start()
        theirs.close()
        self.name = f"process-{self.process.pid}"

    def begin(self, task):
        self.task, self.has_begun = task, False
        self._restart_clock()
        with contextlib.suppress(OSError):  # a dead process is noticed, and its job handed on, by `wait`
            self.connection.send((task.key, task.job))

    def has_begun_it(self):
        self.has_begun = True
        self._restart_clock()

    def hold(self):
        self._held_since = time.monotonic()
        self._signal("SIGSTOP")

    def go_on(self):
        if self._held_since is not None:
            self._held_seconds += time.monotonic() - self._held_since
            self._held_since = None
            self._signal("SIGCONT")

    def excuse(self, seconds):
        """Takes seconds off its clock."""
        self._held_seconds += 0.0 if self._held_since is not None else seconds

    @property
    def seconds_allowed(self):
        """float: for beginning its job, or for the job."""
        if not self.has_begun:
            return _START_SECONDS
        return math.inf if self.task.deadline_seconds is None else self.task.deadline_seconds

    def seconds_left(self):
        """Returns the seconds that it may go on. Time for which it was held still does not count."""
        now = time.monotonic() if self._held_since is None else self._held_since
        return self.seconds_allowed - (now - self._since - self._held_seconds)

    def end_in_words(self):
        """Returns by what it has ended, in words."""
        status = _status(self.process, 1.0)
        if status is None:
            return "closing its pipe"
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    def end(self):
        for each in self._own_processes():
            with contextlib.suppress(OSError):
                os.kill(each, signal.SIGKILL)
        self.process.kill()
        _status(self.process, 10.0)
        self.connection.close()

    def _own_processes(self):
        """Returns a list of the ids of the processes that it has started, such as the one that times a file."""
        import psutil

        if self.task is None:
            return []
        try:
            return [each.pid for each in psutil.Process(self.process.pid).children(recursive=True)]
        except psutil.Error:
            return []

    def _restart_clock(self):
        self._since, self._held_seconds = time.monotonic(), 0.0

    def _signal(self, name):
        if hasattr(signal, name) and self.process.is_alive():
            os.kill(self.process.pid, getattr(signal, name))


@contextlib.contextmanager
def _output_to(log_path):
    """Standard output and error of a process that is started inside go into the log, from its first line on."""
    with open(log_path, "a") as log, contextlib.ExitStack() as stack:
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
            saved = os.dup(number)
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, number)
            os.dup2(log.fileno(), number)
        yield


def _status(process, seconds):
    """Returns the exit status of a process, once it has one within some seconds, or None.

    `process.join` would wait for ever for one that goes on but has closed its files, as it takes these for its end.
    """
    end = time.monotonic() + seconds
    while process.exitcode is None and time.monotonic() < end:
        time.sleep(0.01)
    return process.exitcode


def _last_line(path):
    with contextlib.suppress(OSError):
        lines = pathlib.Path(path).read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing"
    return "nothing"
