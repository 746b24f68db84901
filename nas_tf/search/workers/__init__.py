"""Where evaluations run, one place in each file.

Each file has a frozen dataclass `Config` (its fields become flags, prefixed with the file's name) and a function
`make(config, setup, *, num_workers, max_memory_mb, log_path)` that returns `Workers`. With `DISTRIBUTED = True` they
are on other machines, and algorithms do not wait for the slowest unless they are told to; then the file also has
`make_device(config, setup, *, num_workers, log_path)`, which returns the device that may hang on one of these.
`make_calls(config, *, num_workers, seen, log_path)` returns what makes other calls there, as
`nas_tf.recycling.Processes` does; `seen` are the paths that these read and write.
"""

import abc
import dataclasses
import time
import traceback

from nas_tf.plugins import mistakes_told
from nas_tf.trial import DivergedTraining, EvaluationError, InfeasibleArchitecture, OwnFileError, UserError

_MOST_LETTERS = 80  # of what a worker says that it is at
_KINDS = (DivergedTraining, InfeasibleArchitecture, OwnFileError, EvaluationError, UserError)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        key: the job's key.
        value: what the job returned; None if it failed.
        failure: its `InfeasibleArchitecture`, `EvaluationError` or `UserError`, or None.
        seconds: how long it took.
        worker: the name of the worker that did it.
    """

    key: object
    value: object = None
    failure: Exception | None = None
    seconds: float = 0.0
    worker: str = ""


class Workers(abc.ABC):
    """Runs jobs of `nas_tf.search.evaluation`, each of which ends in one `Outcome`.

    Attributes:
        num_workers: how many jobs run at once.
        ends_jobs: whether a job that never ends by itself is ended: by its deadline, and by `close`. A search whose
            hours are bounded needs that.
        on_doing: called as `on_doing(key, words)` with what a job is at, as far as that is known, such as "converting",
            and with "" when it no longer runs.
    """

    num_workers: int
    ends_jobs = True
    on_doing = staticmethod(lambda key, words: None)

    @abc.abstractmethod
    def submit(self, key, job, first=False, deadline_seconds=None):
        """Queues a job, before all others if `first`; `wait` returns its `Outcome`, which has this `key`.

        Where a job runs in a process of its own, it is killed after `deadline_seconds` (None: never) and tried once
        more. One that is over time twice, or twice kills its process, ends in `nas_tf.trial.KilledWorker`.
        """

    @abc.abstractmethod
    def wait(self, timeout_seconds=None):
        """Returns the next `Outcome`. Blocks until there is one, but where it can no longer than `timeout_seconds`.

        Returns None if none came in that time, or if no job is pending.

        Raises:
            EvaluationError: there is no place in which jobs could run.
        """

    @property
    @abc.abstractmethod
    def num_pending(self):
        """int: jobs that were submitted and have no outcome yet."""

    @abc.abstractmethod
    def drop_queue(self):
        """Forgets the jobs that nobody has begun."""

    @abc.abstractmethod
    def close(self):
        """Ends everything. Jobs that are not finished are lost. A second call does nothing."""


def run_job(evaluator, key, job, worker, log_path=None):
    """Runs a job here and now, and returns its `Outcome`.

    Args:
        evaluator: the `nas_tf.search.evaluation.Evaluator`.
        key, job: as they were submitted.
        worker: the name of the worker that does it.
        log_path: where the trace of a mistake in a file of the user's own is written; None: standard error.
    """
    begin = time.perf_counter()
    value = failure = None
    try:
        with mistakes_told(log_path):
            value = job.run(evaluator)
    except _KINDS as error:
        # A class of the user's own may not survive the way to another process.
        kind = type(error) if type(error) in _KINDS else next(kind for kind in _KINDS if isinstance(error, kind))
        failure = kind(_text(error))
    except SystemExit as error:
        failure = InfeasibleArchitecture(f"The network ended its process: SystemExit: {_text(error)}")
    except Exception:
        failure = EvaluationError(traceback.format_exc())
    return Outcome(key, value, failure, time.perf_counter() - begin, worker)


def printable(words):
    """Returns what a worker says that it is at as words of one short line, whatever it says."""
    return "".join(filter(str.isprintable, words))[:_MOST_LETTERS] if isinstance(words, str) else ""


def _text(error):
    try:
        return str(error)
    except Exception:
        return f"a {type(error).__name__} that does not say what is wrong"
