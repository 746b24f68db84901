"""Where latency comes from, one device in each file.

Each file has a frozen dataclass `Config` (its fields become flags, prefixed with the file's name; no Keras at import)
and a function `make(config, space, scale)`. It returns a `Meter`, which times files, or an `Estimator`, which knows the
`space` at the deployment `scale` and converts nothing.
"""

import abc


class Device(abc.ABC):
    """What meters and estimators have in common.

    Attributes:
        patience_seconds: for how long a latency may take beside its own work: waiting for the device, and trying again.
    """

    patience_seconds = 0.0

    @abc.abstractmethod
    def check(self):
        """Raises `nas_tf.trial.UserError`, which says what to do, if the device cannot answer."""

    def resolved(self):
        """dict of settings that `check` has found, so that the workers use the same ones."""
        return {}

    def close(self):  # noqa: B027  most have nothing to do
        """Leaves the device as it was found. Called once, at the end; what other threads still time there ends early.

        Then `measure` raises `nas_tf.trial.EvaluationError` in them.
        """

    @abc.abstractmethod
    def describe(self):
        """JSON-ready dict of everything that a latency depends on. A run resumed on another device is refused.

        Its key `settings` may differ on a resume: settings that the user gave are flags, which are compared.
        """


class Meter(Device):
    """Times TFLite files.

    Attributes:
        shares_host: whether it times on this machine's cores, so that the rest of the search has to stop meanwhile.
        num_parallel: files that it can time at once, each asked for from a thread of its own.
    """

    shares_host: bool
    num_parallel = 1

    def brief(self):
        """Returns a `Meter` for the same device that takes less time for each file, for timing many small ones."""
        return self

    def beside(self):
        """Other ways in which this device runs networks, by which files that ship are timed too.

        Returns:
            dict from a name, such as "gpu", to its `Meter`, or to text that says why there is none.
        """
        return {}

    @abc.abstractmethod
    def measure(self, tflite_path):
        """Returns the `nas_tf.trial.Latency` of the file.

        Raises:
            nas_tf.trial.InfeasibleArchitecture: the device cannot run the network.
            nas_tf.trial.EvaluationError: the device did not answer, or its answer is no latency.
        """


class Estimator(Device):
    """Predicts latencies of architectures.

    Attributes:
        answers_at_once: whether an estimate takes microseconds, so that an algorithm may ask for many.
        number_type: type of the TFLite files whose latencies they are.
    """

    answers_at_once = False
    number_type = "float32"

    def knows(self, architecture):
        """bool: whether the architecture, one of the space's, can be estimated."""
        return True

    @abc.abstractmethod
    def estimate(self, architectures):
        """Returns a list of the architectures' latencies at the deployment scale, float, in milliseconds."""
