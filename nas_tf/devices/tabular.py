"""The latency of a network of which all is known, from its space's table: for judging searches."""

import dataclasses

from nas_tf.devices import Estimator
from nas_tf.tabular import check_known, the_field
from nas_tf.trial import InfeasibleArchitecture


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose: the space's settings name the table."""


def make(config, space, scale):
    """Returns the `TabularEstimator` of a search space; the table is of one scale, whatever `scale` is."""
    return TabularEstimator(space)


class TabularEstimator(Estimator):
    """Looks latencies up."""

    answers_at_once = True

    def __init__(self, space):
        self._space = space

    def check(self):
        check_known(self._space, "--device=tabular")
        self.estimate([self._space.decode((0,) * len(self._space.decisions))])

    def describe(self):
        values = self._space.known(self._space.decode((0,) * len(self._space.decisions)))
        return {"device": "tabular", "field": the_field(values, "_ms", "latencies"), "table": self._space.known_digest}

    def estimate(self, architectures):
        found = []
        for each in architectures:
            values = self._space.known(each)
            found.append(values[the_field(values, "_ms", "latencies")])
            if not found[-1] > 0:
                raise InfeasibleArchitecture(f"The table has no latency above 0 for {each}")
        return found
