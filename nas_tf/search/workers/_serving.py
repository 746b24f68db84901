"""The life of a worker process: jobs in, outcomes out. `nas_tf.search.workers.process` starts it and listens to it."""

import contextlib
import os
import traceback

from nas_tf import stopping
from nas_tf.bars import listening
from nas_tf.plugins import own_line
from nas_tf.recycling import memory_mb
from nas_tf.search.evaluation import Evaluator
from nas_tf.search.workers import Outcome, run_job
from nas_tf.trial import EvaluationError, UserError


def serve(connection, setup, cores, parent):
    """A worker's life: jobs in, outcomes out, until the pipe closes. Its output is its parent's log already."""
    stopping.follow(parent)
    with contextlib.suppress(OSError):
        if cores:
            os.sched_setaffinity(0, cores)

    @contextlib.contextmanager
    def hold_still():
        connection.send(("hold_still", None))
        connection.recv()
        try:
            yield
        finally:
            connection.send(("go_on", None))

    def tell(words):
        with contextlib.suppress(OSError):  # a job goes on without
            connection.send(("doing", words))

    name = f"process-{os.getpid()}"
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        evaluator = _make_evaluator(connection, setup, hold_still)
        while evaluator is not None:
            key, job = connection.recv()
            connection.send(("begun", None))
            with listening(tell):
                outcome = run_job(evaluator, key, job, name)
            try:
                connection.send(("outcome", (outcome, memory_mb())))
            except (EOFError, OSError):
                return
            except Exception:
                failure = EvaluationError(f"What came of the job cannot be sent: {traceback.format_exc()}")
                connection.send(("outcome", (Outcome(key, failure=failure, worker=name), memory_mb())))


def _make_evaluator(connection, setup, hold_still):
    """Returns the `Evaluator`; or None, and tells the parent why there is none."""
    try:
        return Evaluator(setup, hold_still)
    except Exception as error:
        traceback.print_exc()  # into the log
        if isinstance(error, UserError):
            failure = UserError(str(error))
        else:
            why = own_line(error) or f"{type(error).__name__}: {error}"
            failure = EvaluationError(f"A worker cannot begin: {why}")
        connection.send(("cannot_start", failure))
    return None
