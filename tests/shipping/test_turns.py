"""Networks timed in turns: a device that slows down wrongs none of them."""

import math
import random
import statistics

import pytest

from nas_tf.shipping.turns import Turns, in_turns
from nas_tf.trial import EvaluationError, Latency

TRUE_MS = {"a": 1.0, "b": 1.1, "target": 2.0}


class Brief:
    def brief(self):
        return self


class SlowingDown(Brief):
    """A device whose speed changes by half after some timings, and that errs by some per cent once."""

    def __init__(self, slow_from, slow_to, odd=None):
        self.slow, self.odd, self.timed = range(slow_from, slow_to), odd, []

    def measure(self, path):
        factor = 1.6 if len(self.timed) in self.slow else 1.0
        factor *= 3.0 if len(self.timed) == self.odd else 1.0
        self.timed.append(path)
        median = TRUE_MS[path] * factor
        return Latency(mean_ms=1.02 * median, std_ms=0.1 * median, runs=9, median_ms=median, p95_ms=1.3 * median)


@pytest.mark.parametrize("slow", [(0, 0), (0, 4), (4, 10), (3, 7), (8, 10)])
@pytest.mark.parametrize("odd", [None, 2, 5])
def test_the_ratio_is_that_of_the_networks_however_the_speed_changes(slow, odd):
    """Medians of each network's own five timings would be wrong by up to 60 %."""
    device = SlowingDown(*slow, odd)
    found = in_turns(device, {"a": "a", "b": "b"}, most_rounds=5)
    assert device.timed == ["a", "b"] * 5
    assert found["b"].latency_ms / found["a"].latency_ms == pytest.approx(1.1)
    assert len(found["a"].details["timed in turns, ms"]) == 5
    for latency in found.values():  # all figures of a timing belong together
        assert latency.mean_ms / latency.median_ms == pytest.approx(1.02)
        assert latency.p95_ms / latency.median_ms == pytest.approx(1.3)


def test_a_speed_that_stays_is_said_as_it_was():
    found = in_turns(SlowingDown(0, 0), {"a": "a", "b": "b"}, most_rounds=3)
    assert {name: each.latency_ms for name, each in found.items()} == pytest.approx({"a": 1.0, "b": 1.1})


def test_the_targets_network_takes_its_target_whatever_the_speed_is():
    device = SlowingDown(0, 100)
    found = Turns(device, 2.0, "target").latencies({"a": "a", "b": "b"}, most_rounds=3)
    assert {name: each.latency_ms for name, each in found.items()} == pytest.approx({"a": 1.0, "b": 1.1})
    plain = Turns(device).latencies({"a": "a"}, most_rounds=3)
    assert plain["a"].latency_ms == pytest.approx(1.6) == statistics.median([1.6] * 3)


class Erring(Brief):
    """A device that errs by so much, at random."""

    def __init__(self, error):
        self.rng, self.error, self.timed = random.Random(1), error, 0

    def measure(self, path):
        self.timed += 1
        return Latency.estimate(TRUE_MS[path] * math.exp(self.rng.gauss(0, self.error)))


@pytest.mark.parametrize("error,least,most", [(0.001, 7, 7), (0.04, 8, 24), (0.2, 25, 25)])
def test_networks_are_timed_until_their_ratio_is_known(error, least, most):
    device = Erring(error)
    found = in_turns(device, {"a": "a", "b": "b", "target": "target"})
    assert least <= device.timed / 3 <= most
    assert found["b"].latency_ms / found["a"].latency_ms == pytest.approx(1.1, rel=0.1 if error > 0.1 else 0.03)


class Failing(SlowingDown):
    """A device that gives no latency at some calls."""

    def __init__(self, fails):
        super().__init__(0, 0)
        self.fails, self.calls = fails, 0

    def measure(self, path):
        self.calls += 1
        if self.fails(self.calls):
            raise EvaluationError("no stable latency")
        return super().measure(path)


def test_a_round_in_which_the_device_gives_no_latency_does_not_count():
    found = in_turns(Failing(lambda call: call % 3 == 0), {"a": "a", "b": "b"})
    assert [len(each.details["timed in turns, ms"]) for each in found.values()] == [7, 7]
    assert found["b"].latency_ms / found["a"].latency_ms == pytest.approx(1.1)
    device = Failing(lambda call: call > 4)
    with pytest.raises(EvaluationError, match="no stable latency"):
        in_turns(device, {"a": "a", "b": "b"})
    assert device.calls == 4 + 3
