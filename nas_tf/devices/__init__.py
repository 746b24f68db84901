"""Sources of latency, one a file. Each file exposes a frozen dataclass `Config` (its fields become flags, prefixed with
the file's name; no Keras at import) and `make(config, space, scale)`, which gives a `Meter` (times a file) or an
`Estimator` (knows the `space` at the deployment `scale`, and converts nothing)."""

import abc


class Device(abc.ABC):
    @abc.abstractmethod
    def check(self):
        """Raises `nas_tf.trial.UserError`, saying what to do, if the device cannot answer."""

    def resolved(self):
        """dict of settings that `check` has found, for the workers to use the same."""
        return {}

    def close(self):  # noqa: B027  most have nothing to do
        """Leaves the device as it was found, once nothing measures any more."""

    @abc.abstractmethod
    def describe(self):
        """JSON-ready dict of everything that a latency depends on; a run resumed on another device is refused."""


class Meter(Device):
    """Times TFLite files. `shares_host` says that it times on this machine's cores, so that the search holds still."""

    shares_host: bool
    num_parallel = 1  # files that it can time at once, asked from as many threads

    def brief(self):
        """A `Meter` for the same device that takes less time over each file, where many small ones are to be timed."""
        return self

    @abc.abstractmethod
    def measure(self, tflite_path):
        """`nas_tf.trial.Latency` of the file.

        Raises:
            nas_tf.trial.InfeasibleArchitecture: the device cannot run the network.
            nas_tf.trial.EvaluationError: the device did not answer, or its answer is no latency.
        """


class Estimator(Device):
    """Predicts latencies of architectures."""

    def knows(self, architecture):
        """bool: the architecture, of the space's own kind, is one that can be estimated."""
        return True

    @abc.abstractmethod
    def estimate(self, architectures):
        """list[float]: milliseconds of each architecture at the deployment scale."""
