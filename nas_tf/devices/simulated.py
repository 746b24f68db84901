"""A device that does not exist: latency from multiply-adds, for dry runs and tests. Nothing is converted or timed."""

import dataclasses

from nas_tf.complexity import mult_adds
from nas_tf.devices import Estimator
from nas_tf.flags import knob
from nas_tf.trial import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    overhead_ms: float = knob(0.5, "Milliseconds that every network takes.")
    gmult_adds_per_second: float = knob(10.0, "Billions of multiply-adds a second.")

    def __post_init__(self):
        if self.overhead_ms < 0 or self.gmult_adds_per_second <= 0:
            raise UserError(
                "Expected --simulated_overhead_ms >= 0 and --simulated_gmult_adds_per_second > 0. "
                f"Received: {self.overhead_ms} and {self.gmult_adds_per_second}"
            )


def make(config, space, scale):
    return SimulatedEstimator(config, space, scale)


class SimulatedEstimator(Estimator):
    def __init__(self, config, space, scale):
        self._config, self._space, self._scale = config, space, scale

    def check(self):
        """Nothing can be wrong with it."""

    def describe(self):
        return {"device": "simulated", "settings": dataclasses.asdict(self._config)}

    def estimate(self, architectures):
        return [self._latency_ms(mult_adds(self._space.build(each, self._scale))) for each in architectures]

    def _latency_ms(self, count):
        return self._config.overhead_ms + count / self._config.gmult_adds_per_second / 1e6
