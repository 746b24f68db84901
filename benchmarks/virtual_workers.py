"""Workers in virtual time, for `benchmarks.scale`: a place to work like any other, given as --workers=FILE.

A job takes as long as is drawn for it, on a clock that passes at once while the search waits. While the search does
something itself the clock goes on as a real one does, because no worker gets a new job meanwhile.
"""

import dataclasses
import heapq
import json
import os
import time

import numpy as np

from nas_tf.recycling import memory_mb
from nas_tf.search.evaluation import AccuracyJob, CostJob, RehearsalJob
from nas_tf.search.workers import Outcome, Workers
from nas_tf.settings import Settings, knob
from nas_tf.space import fingerprint
from nas_tf.training.train import Trained
from nas_tf.trial import Cost, Latency

DISTRIBUTED = True
_COST_SHARE = 0.1  # of the seconds of a trial
_SPREAD = 0.3  # of the logarithm of how long a job takes
_SAMPLES = 1000  # jobs between two looks at the memory


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """What the workers are like."""

    seconds: float = knob(60.0, "Seconds that a trial takes on a worker, in the mean.", above=0, decides=False)
    report: str = knob("", "File that is written at the end.", path=True, decides=False)


def make(config, setup, *, num_workers=0, max_memory_mb=0, log_path=os.devnull):
    return VirtualWorkers(config, num_workers or 1)


def make_device(config, setup, *, num_workers=0, log_path=os.devnull):
    return setup.make_device()


class VirtualWorkers(Workers):
    """Answers as the tokens say, at the time that is drawn for it."""

    def __init__(self, config, num_workers):
        self.num_workers, self._config = num_workers, config
        self._rng, self._jobs, self._count = np.random.default_rng(0), [], 0
        self._now, self._busy_seconds, self._driver_seconds, self._trials = 0.0, 0.0, 0.0, 0
        self._left_at, self._samples = time.perf_counter(), []

    def submit(self, key, job, first=False, deadline_seconds=None):
        self._pass()
        share = _COST_SHARE if isinstance(job, CostJob) else 1 - _COST_SHARE
        seconds = share * self._config.seconds * self._rng.lognormal(-(_SPREAD**2) / 2, _SPREAD)
        self._busy_seconds += seconds
        self._count += 1
        heapq.heappush(self._jobs, (self._now + seconds, self._count, key, job, seconds))

    def wait(self, timeout_seconds=None):
        self._pass()
        if not self._jobs:
            return None
        ready, number, key, job, seconds = heapq.heappop(self._jobs)
        self._now = max(self._now, ready)
        self._trials += isinstance(job, AccuracyJob)
        if number % _SAMPLES == 0:
            self._samples.append((self._trials, memory_mb(), self._driver_seconds))
        self._left_at = time.perf_counter()
        return Outcome(key, _answer(job), seconds=seconds, worker=f"virtual-{number % self.num_workers}")

    def _pass(self):
        """Lets the clock go on by what the search has taken for itself since it was here last."""
        now = time.perf_counter()
        self._driver_seconds += now - self._left_at
        self._now += now - self._left_at
        self._left_at = now

    @property
    def num_pending(self):
        return len(self._jobs)

    def drop_queue(self):
        self._jobs.clear()

    def close(self):
        self._jobs.clear()
        if self._config.report:
            facts = {
                "num_workers": self.num_workers,
                "trials": self._trials,
                "seconds": self._now,
                "utilisation": self._busy_seconds / (self.num_workers * self._now) if self._now else 0.0,
                "driver_share": self._driver_seconds / self._now if self._now else 0.0,
                "driver_ms_a_trial": 1e3 * self._driver_seconds / max(1, self._trials),
                "samples": self._samples,
            }
            with open(self._config.report, "w") as file:
                json.dump(facts, file)


def _answer(job):
    if isinstance(job, (AccuracyJob, RehearsalJob)):
        share = int(fingerprint(list(job.tokens))[:8], 16) / 16**8
        return Trained(0.5 + 0.4 * share, 1.0, 0.0, 0.0, 1)
    tokens = getattr(job, "tokens", (1,))
    return Cost(10**6 + sum(tokens), 10**8, 10**5, latency=Latency.estimate(0.5 + 0.01 * sum(tokens)))
