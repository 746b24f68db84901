"""Where evaluations run, one place a file.

Each file exposes a frozen dataclass `Config` (its fields become flags, prefixed with the file's name) and
`make(config, setup, *, num_workers, max_memory_mb, log_path) -> Workers`.
"""

import abc
import dataclasses
import time
import traceback

from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a job: a value, or one of the two kinds of failure; how long it took, and who did it."""

    key: object
    value: object = None
    failure: Exception | None = None
    seconds: float = 0.0
    worker: str = ""


class Workers(abc.ABC):
    """Runs jobs of `nas_tf.search.evaluation`, each of which ends in one `Outcome`."""

    num_workers: int

    @abc.abstractmethod
    def submit(self, key, job, first=False):
        """Queues a job, before all others if `first`; `wait` returns its `Outcome`, which has this `key`."""

    @abc.abstractmethod
    def wait(self):
        """The next `Outcome`; blocks until there is one."""

    @property
    @abc.abstractmethod
    def num_pending(self):
        """Jobs that were submitted and have no outcome yet."""

    @abc.abstractmethod
    def drop_queue(self):
        """Forgets the jobs that nobody has begun."""

    @abc.abstractmethod
    def close(self):
        """Ends everything; jobs not finished are lost. A second call does nothing."""


def run_job(evaluator, key, job, worker):
    """The `Outcome` of a job that is run here and now; `worker` is who does it."""
    begin = time.perf_counter()
    value = failure = None
    try:
        value = job.run(evaluator)
    except (InfeasibleArchitecture, EvaluationError, UserError) as error:
        failure = error
    except Exception:
        failure = EvaluationError(traceback.format_exc())
    return Outcome(key, value, failure, time.perf_counter() - begin, worker)
