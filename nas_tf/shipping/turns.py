"""Networks timed in turns, so that what slows a device for minutes slows all of them alike.

A phone that warms up, or the neighbours of a machine, change its speed by half within minutes. Two networks that are
timed minutes apart are then not compared, whatever their medians say.
"""

import dataclasses
import math
import statistics

from nas_tf.shipping._converting import to_tflite_recycled
from nas_tf.trial import EvaluationError

LEAST_ROUNDS, MOST_ROUNDS = 7, 25
_KNOWN_TO = 0.01  # the standard error of a ratio with which there are rounds enough
_MOST_FAILED = 3  # rounds one after the other, in which the device gave no latency
_FIGURES = ("mean_ms", "std_ms", "median_ms", "p5_ms", "p95_ms", "min_ms", "max_ms")


def write(workshop, model, path):
    """Writes the TFLite file of a `keras.Model` of the type that the run's device timed, and returns its path."""
    setup, size = workshop.setup, model.inputs[0].shape[1]
    calibration = setup.task.images.calibration_images(size) if setup.number_type == "int8" else None
    path.parent.mkdir(parents=True, exist_ok=True)
    to_tflite_recycled(model, path, 1, setup.number_type, calibration)
    return path


def in_turns(device, paths, most_rounds=MOST_ROUNDS):
    """Times TFLite files in turns, until how slow each is beside the others is known to 1 %.

    Args:
        device: the `nas_tf.devices.Meter`. Its timings are brief ones: many rounds say more than long ones.
        paths: dict from name to path.
        most_rounds: how often each is timed at most. It is seven times at least, if that is not less.

    Returns:
        dict from name to `nas_tf.trial.Latency`. Each is the timing of that round in which the network was, beside the
        others, as slow as it is in the median, brought to the speed that the device had in the median round.

    Raises:
        EvaluationError: the device gave no latency in three rounds one after the other.
        InfeasibleArchitecture: it cannot run a network.
    """
    device, timings, speeds = device.brief(), {name: [] for name in paths}, []
    failed = 0
    while len(speeds) < most_rounds and not _are_known(timings, speeds):
        try:
            round_ = {name: device.measure(str(path)) for name, path in paths.items()}
        except EvaluationError:
            failed += 1
            if failed == _MOST_FAILED:
                raise
            continue
        failed = 0
        for name, latency in round_.items():
            timings[name].append(latency)
        speeds.append(statistics.geometric_mean(each.latency_ms for each in round_.values()))
    usual = statistics.median(speeds)
    return {name: _brought_to(usual, each, speeds) for name, each in timings.items()}


def _scaled(latency, factor):
    figures = {name: getattr(latency, name) for name in _FIGURES}
    return dataclasses.replace(latency, **{name: factor * each for name, each in figures.items() if each is not None})


def _are_known(timings, speeds):
    return len(speeds) >= LEAST_ROUNDS and max(_error(each, speeds) for each in timings.values()) <= _KNOWN_TO


def _error(timings, speeds):
    """Returns the standard error of a network's mean ratio to the speed of a round, as a fraction."""
    ratios = [math.log(timing.latency_ms / speed) for timing, speed in zip(timings, speeds)]
    return statistics.stdev(ratios) / math.sqrt(len(ratios))


def _brought_to(usual, timings, speeds):
    order = sorted(range(len(timings)), key=lambda i: timings[i].latency_ms / speeds[i])
    middle = order[len(order) // 2]
    found = _scaled(timings[middle], usual / speeds[middle])
    details = {**found.details, "timed in turns, ms": [timing.latency_ms for timing in timings]}
    return dataclasses.replace(found, details=details)


class Turns:
    """Times networks beside the target's, so that the target is the same for all of them.

    Args:
        device: the `nas_tf.devices.Meter`.
        target_ms: what the target's network took when the target was measured; None: there is no such network.
        target_path: its TFLite file.
    """

    def __init__(self, device, target_ms=None, target_path=None):
        self._device, self._target_ms, self._path = device, target_ms, target_path

    def latencies(self, paths, most_rounds=MOST_ROUNDS):
        """Returns a dict from name to `Latency` of TFLite files, as if the target's network took its target now."""
        if self._target_ms is None:
            return in_turns(self._device, paths, most_rounds)
        found = in_turns(self._device, {None: self._path, **paths}, most_rounds)
        factor = self._target_ms / found.pop(None).latency_ms
        return {name: _scaled(each, factor) for name, each in found.items()}
