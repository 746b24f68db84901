"""A device that hangs on another node, as everything else knows devices."""

import contextlib
import pathlib

from nas_tf.devices import Meter
from nas_tf.trial import EvaluationError


class RemoteMeter(Meter):
    """Times files on a node's device.

    Args:
        ask: `ask(method, *arguments)` calls a method of `_ray_nodes.DeviceHost` and returns `(value, failure)`.
        view: tuple of how this one is come by from the device itself.
    """

    shares_host = False  # its node holds still what runs beside it

    def __init__(self, ask, view=()):
        self._ask, self._view = ask, view

    @property
    def patience_seconds(self):
        return self._call("patience_seconds")

    def check(self):
        self._call("check")

    def resolved(self):
        return self._call("resolved")

    def describe(self):
        return self._call("describe")

    def brief(self):
        return RemoteMeter(self._ask, (*self._view, "brief"))

    def beside(self):
        return {
            name: RemoteMeter(self._ask, (*self._view, name)) if why is None else why
            for name, why in self._call("others").items()
        }

    def measure(self, tflite_path):
        return _answer(self._ask("measure", self._view, pathlib.Path(tflite_path).read_bytes()))

    def close(self):
        with contextlib.suppress(EvaluationError):  # the cluster is left already, and the device with it
            self._call("close")

    def _call(self, name):
        return _answer(self._ask("call", self._view, name))


def _answer(answer):
    value, failure = answer
    if failure is not None:
        raise failure
    return value
