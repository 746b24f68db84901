"""Evaluations in this process, one after the other, when they are waited for."""

import dataclasses

from nas_tf.bars import listening
from nas_tf.recycling import ThisProcess
from nas_tf.search.evaluation import Evaluator
from nas_tf.search.workers import Workers, run_job


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def make(config, setup, *, num_workers=0, max_memory_mb=0, log_path=""):
    return InlineWorkers(setup, log_path)


def make_calls(config, *, num_workers=0, seen=(), log_path=""):
    return ThisProcess()


class InlineWorkers(Workers):
    """Evaluates in this process, which cannot be killed: there are no deadlines, and `wait` always ends a job."""

    num_workers = 1
    ends_jobs = False

    def __init__(self, setup, log_path=""):
        self._evaluator, self._jobs, self._log_path = Evaluator(setup), [], log_path

    def submit(self, key, job, first=False, deadline_seconds=None):
        self._jobs.insert(0 if first else len(self._jobs), (key, job))

    def wait(self, timeout_seconds=None):
        if not self._jobs:
            return None
        key, job = self._jobs.pop(0)
        with listening(lambda words: self.on_doing(key, words)):
            outcome = run_job(self._evaluator, key, job, "inline", self._log_path)
        self.on_doing(key, "")
        return outcome

    @property
    def num_pending(self):
        return len(self._jobs)

    def drop_queue(self):
        self._jobs.clear()

    def close(self):
        self.drop_queue()
