"""A toy device as a part of a user's own: a file's latency is its size."""

import dataclasses
import pathlib

from nas_tf.devices import Meter
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, Latency


@dataclasses.dataclass(frozen=True)
class Config:
    log: str = ""
    refuses: str = "none"
    breaks_at: str = "none"
    away: str = ""  # path: while there is such a file, the device does not answer


def make(config, space=None, scale=None):
    return Toy(config)


class Toy(Meter):
    shares_host = True

    def __init__(self, config):
        self._config = config

    def check(self):
        pass

    def describe(self):
        return {"device": "toy", "model": "T1", "runtime": "none 1.0", "settings": {"num_threads": 2}}

    def measure(self, tflite_path):
        name = pathlib.Path(tflite_path).name
        if self._config.away and pathlib.Path(self._config.away).exists():
            raise EvaluationError("the toy device is away")
        if self._config.refuses in name:
            raise InfeasibleArchitecture("the toy device refuses the network")
        if self._config.breaks_at in name and not pathlib.Path(self._config.log + ".broken").exists():
            pathlib.Path(self._config.log + ".broken").write_text("")
            raise EvaluationError("the toy device is gone")
        with open(self._config.log, "a") as log:
            log.write(name + " ")
        size = pathlib.Path(tflite_path).stat().st_size
        return Latency(mean_ms=size / 1e4, median_ms=size / 1e4, std_ms=0.1, p95_ms=size / 9e3, runs=7)
