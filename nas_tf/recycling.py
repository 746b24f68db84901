"""Work in processes that are replaced as their memory grows: the TFLite converter keeps memory with every network.

A process knows nothing of the main program, so that a script without `if __name__ == "__main__"` may ask for one. It
sees no GPU, and ends by itself when it is idle for long or its parent is gone.
"""

import contextlib
import gc
import multiprocessing.connection
import os
import subprocess
import sys
import time
import traceback

from nas_tf import stopping
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, KilledWorker, OwnFileError, UserError

MAX_MEMORY_MB = 1400  # as the default of --worker_memory_mb; one with TensorFlow begins at about 900
DEADLINE_SECONDS = 1800.0  # as before the first trial of a search
_IDLE_SECONDS = 60.0
_LOOK_SECONDS = 1.0  # between two looks at the clock
_MOST_TRIES = 2
_KINDS = (KilledWorker, InfeasibleArchitecture, OwnFileError, EvaluationError, UserError, ValueError)


class Processes:
    """Calls functions in at most `count` processes of their own.

    One whose memory has grown beyond `MAX_MEMORY_MB` is replaced after its call. A call that costs its process, or
    takes longer than `deadline_seconds` (None: `DEADLINE_SECONDS`), is tried once more, and then fails with
    `KilledWorker`.

    Attributes:
        num_started: processes started so far.
        memory_mb: resident memory of a process at the end of the last call.
    """

    def __init__(self, count=1, deadline_seconds=None):
        self._idle, self._busy, self._count, self._deadline_seconds = [], {}, count, deadline_seconds
        self.num_started, self.memory_mb = 0, 0.0

    def call(self, function, *arguments):
        """Returns what `function(*arguments)` returns in a process, or raises what it raises.

        The function is one of a module; it, the arguments and the value are pickled.
        """
        ((_, value, failure),) = self.run({function.__name__: (function, *arguments)})
        if failure is not None:
            raise failure
        return value

    def run(self, calls):
        """Makes many calls at once, and yields `(key, value, failure)` of each as it ends.

        Args:
            calls: dict from key to `(function, *arguments)`.
        """
        waiting, num_tries = list(calls), dict.fromkeys(calls, 0)
        try:
            while waiting or self._busy:
                while waiting and len(self._busy) < self._count:
                    key = waiting.pop(0)
                    num_tries[key] += 1
                    self._begin(key, calls[key])
                for key, answer, lost_by in self._listen():
                    if answer is not None:
                        yield key, *answer
                    elif num_tries[key] < _MOST_TRIES:
                        waiting.insert(0, key)
                    else:
                        yield key, None, KilledWorker(f"It cost its process {_MOST_TRIES} times, at last by {lost_by}")
        finally:
            for process in self._busy.values():
                process.end()
            self._busy.clear()

    def close(self):
        """Ends the processes. A later call starts new ones."""
        for process in [*self._idle, *self._busy.values()]:
            process.end()
        self._idle, self._busy = [], {}

    def _begin(self, key, call):
        process = None
        while self._idle and process is None:
            process = self._idle.pop()
            if process.has_ended():
                process.end()
                process = None
        if process is None:
            process = _Process()
            self.num_started += 1
        process.begin(call)
        self._busy[key] = process

    def _listen(self):
        """Yields `(key, (value, failure), None)` of each call that has ended, and `(key, None, by what)` of each that
        has lost its process."""
        ready = multiprocessing.connection.wait([each.connection for each in self._busy.values()], _LOOK_SECONDS)
        for key, process in list(self._busy.items()):
            if process.connection in ready:
                del self._busy[key]
                yield key, *self._hear(process)
            elif process.seconds() > (self._deadline_seconds or DEADLINE_SECONDS):
                del self._busy[key]
                process.end()
                yield key, None, f"taking longer than {self._deadline_seconds or DEADLINE_SECONDS:.0f} s"

    def _hear(self, process):
        try:
            value, failure, self.memory_mb = process.connection.recv()
        except (EOFError, OSError):
            lost_by = process.end_in_words()
            process.end()
            return None, lost_by
        except Exception:
            process.end()
            return (None, EvaluationError(f"What came of it cannot be read: {traceback.format_exc()}")), None
        if self.memory_mb > MAX_MEMORY_MB:
            process.end()
        else:
            self._idle.append(process)
        return (value, failure), None


class ThisProcess:
    """Makes calls here, one after the other, as `Processes` makes them elsewhere: for a few that keep little memory."""

    def run(self, calls):
        """As `Processes.run`."""
        for key, (function, *arguments) in calls.items():
            yield key, *made(function, arguments)

    def close(self):
        """Does nothing."""


class _Process:
    """One process and the pipe to it."""

    def __init__(self):
        self.connection, theirs = multiprocessing.connection.Pipe()
        number = theirs.fileno()
        serving = f"from nas_tf.recycling import serve; serve({number}, {os.getpid()})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {serving}"],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            pass_fds=(number,),
            start_new_session=True,  # Ctrl-C is for its parent alone
        )
        theirs.close()

    def begin(self, call):
        self._begun_at = time.monotonic()
        with contextlib.suppress(OSError):  # a dead process is noticed by `_hear`
            self.connection.send(call)

    def seconds(self):
        return time.monotonic() - self._begun_at

    def has_ended(self):
        return self._process.poll() is not None or self.connection.poll()

    def end_in_words(self):
        """Returns by what it has ended, in words."""
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "closing its pipe"
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    def end(self):
        self._process.kill()
        self._process.wait()
        self.connection.close()


def serve(number, parent):
    """A process's life: calls in, what came of them out, through the pipe that is file `number`."""
    stopping.follow(parent)
    connection, has_imported = multiprocessing.connection.Connection(number), False
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while connection.poll(_IDLE_SECONDS):
            function, *arguments = connection.recv()
            value, failure = made(function, arguments)
            gc.collect()  # graphs are circles: one that was converted, 70 MB of it, would else stay for long
            if not has_imported:
                gc.freeze()  # what exists by now is mostly modules, which need not be searched each time
                has_imported = True
            try:
                connection.send((value, failure, memory_mb()))
            except (EOFError, OSError):
                return
            except Exception:
                failure = EvaluationError(f"What came of it cannot be sent: {traceback.format_exc()}")
                connection.send((None, failure, memory_mb()))


def made(function, arguments):
    """Returns `(value, failure)` of a call, one of them None."""
    try:
        return function(*arguments), None
    except _KINDS as error:
        # A class of the user's own may not survive the way to another process.
        kind = next(kind for kind in _KINDS if isinstance(error, kind))
        return None, kind(str(error))
    except Exception:
        return None, EvaluationError(traceback.format_exc())


def memory_mb():
    """Returns the resident memory of this process."""
    import psutil

    return psutil.Process().memory_info().rss / 2**20
