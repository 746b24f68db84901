"""Networks timed in turns, so that what slows a device for minutes slows all of them alike.

A phone that warms up, or the neighbours of a machine, change its speed by half within minutes. Two networks that are
timed minutes apart are then not compared, whatever their medians say.
"""

import dataclasses
import statistics

from nas_tf.shipping._converting import to_tflite_recycled

ROUNDS = 7
_FIGURES = ("mean_ms", "std_ms", "median_ms", "p5_ms", "p95_ms", "min_ms", "max_ms")


def write(workshop, model, path):
    """Writes the TFLite file of a `keras.Model` of the type that the run's device timed, and returns its path."""
    setup, size = workshop.setup, model.inputs[0].shape[1]
    calibration = setup.task.images.calibration_images(size) if setup.number_type == "int8" else None
    path.parent.mkdir(parents=True, exist_ok=True)
    to_tflite_recycled(model, path, 1, setup.number_type, calibration)
    return path


def in_turns(device, paths, rounds=ROUNDS):
    """Times TFLite files in turns.

    Args:
        device: the `nas_tf.devices.Meter`.
        paths: dict from name to path.
        rounds: how often each is timed.

    Returns:
        dict from name to `nas_tf.trial.Latency`. Each is the timing of that round in which the network was, beside the
        others, as slow as it is in the median, brought to the speed that the device had in the median round.
    """
    timings = {name: [] for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            timings[name].append(device.measure(str(path)))
    speeds = [statistics.geometric_mean(each[i].latency_ms for each in timings.values()) for i in range(rounds)]
    usual = statistics.median(speeds)
    return {name: _brought_to(usual, each, speeds) for name, each in timings.items()}


def _brought_to(usual, timings, speeds):
    order = sorted(range(len(timings)), key=lambda i: timings[i].latency_ms / speeds[i])
    middle = order[len(order) // 2]
    found = _scaled(timings[middle], usual / speeds[middle])
    details = {**found.details, "timed in turns, ms": [timing.latency_ms for timing in timings]}
    return dataclasses.replace(found, details=details)


def _scaled(latency, factor):
    figures = {name: getattr(latency, name) for name in _FIGURES}
    return dataclasses.replace(latency, **{name: factor * each for name, each in figures.items() if each is not None})


class Turns:
    """Times networks beside the target's, so that the target is the same for all of them.

    Args:
        device: the `nas_tf.devices.Meter`.
        target_ms: what the target's network took when the target was measured; None: there is no such network.
        target_path: its TFLite file.
    """

    def __init__(self, device, target_ms=None, target_path=None):
        self._device, self._target_ms, self._path = device, target_ms, target_path

    def latencies(self, paths, rounds=ROUNDS):
        """Returns a dict from name to `Latency` of TFLite files, as if the target's network took its target now."""
        if self._target_ms is None:
            return in_turns(self._device, paths, rounds)
        found = in_turns(self._device, {None: self._path, **paths}, rounds)
        factor = self._target_ms / found.pop(None).latency_ms
        return {name: _scaled(each, factor) for name, each in found.items()}
