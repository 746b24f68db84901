"""A latency table as the device: latencies are added up from units that were timed once; nothing is converted."""

import dataclasses
import functools
import math

from nas_tf.devices import Estimator
from nas_tf.flags import knob
from nas_tf.latency_table import Composer, LatencyTable
from nas_tf.space import fingerprint
from nas_tf.trial import EvaluationError, UserError


@dataclasses.dataclass(frozen=True)
class Config:
    file: str = knob("", "Latency table: a file that nas-table made, or a shipped one: pixel1.", flag="table")


def make(config, space, scale):
    return TableEstimator(config, space, scale)


class TableEstimator(Estimator):
    """Latencies of a search space's architectures at one scale, by a table made for both."""

    def __init__(self, config, space, scale):
        self._config, self._space, self._scale = config, space, scale

    @functools.cached_property
    def _table(self):
        if not self._config.file:
            raise UserError("Expected --table: the file of a latency table, or a shipped one's name. Received: none")
        return LatencyTable.read(self._config.file)

    @functools.cached_property
    def _composer(self):
        return Composer(self._table, self._space, self._scale)

    def check(self):
        self._table.check(self._space, self._space.latency_scale(self._scale))
        missing = {unit.name for unit in self._space.all_units(self._scale)} - self._table.units.keys()
        if missing:
            raise UserError(
                f"{self._config.file} lacks {len(missing)} units of search space {self._space.name!r} as it is set "
                f"here, {min(missing)} among them: make the table with the same --{self._space.name}_... settings"
            )

    def describe(self):
        table = self._table
        return {
            "device": "table",
            "made_on": table.device,
            "made_at": table.facts.get("made_at"),
            "table": fingerprint([table.space, table.scale, table.intercept_ms, table.units]),
        }

    def knows(self, architecture):
        try:
            self._composer.latency_ms(architecture)
        except (KeyError, ValueError):
            return False
        return True

    def estimate(self, architectures):
        latencies = [self._composer.latency_ms(each) for each in architectures]
        for architecture, ms in zip(architectures, latencies):
            if not (math.isfinite(ms) and ms > 0):
                raise EvaluationError(f"The latency table gives {ms} ms, which is no latency, for {architecture}")
        return latencies
