"""A device that does not exist: it derives latency from multiply-adds, for dry runs and tests. It converts nothing."""

import dataclasses

from nas_tf.complexity import mult_adds
from nas_tf.devices import Estimator
from nas_tf.settings import Settings, knob


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """How fast the device is."""

    overhead_ms: float = knob(0.5, "Milliseconds that every network takes.", least=0)
    gmult_adds_per_second: float = knob(10.0, "Billions of multiply-adds in a second.", above=0)


def make(config, space, scale):
    """Returns the `SimulatedEstimator` for a search space at a scale."""
    return SimulatedEstimator(config, space, scale)


class SimulatedEstimator(Estimator):
    """Latency is an overhead and the multiply-adds, divided by a speed."""

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
