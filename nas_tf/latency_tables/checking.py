"""Whether a latency table holds on a device: a few networks that it has not seen, timed there."""

import dataclasses
import os
import pathlib
import statistics
import tempfile

import numpy as np

from nas_tf.bars import progress_bar
from nas_tf.devices import Meter
from nas_tf.devices.table import Config, TableEstimator
from nas_tf.latency_tables import builder
from nas_tf.ranks import rank_correlation
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError

_LEAST_PERCENT = 5.0  # of mean error, that a table may always have
_SEED = 1_000_003


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        rows: list of (architecture, predicted ms, measured ms).
        bound_percent: the mean absolute error up to which the table holds.
    """

    rows: list
    bound_percent: float

    @property
    def ratios(self):
        """list of float: measured by predicted latency of each network."""
        return [measured / predicted for _, predicted, measured in self.rows]

    @property
    def error_percent(self):
        """float: the mean of the predictions' absolute relative errors."""
        return 100 * statistics.mean(abs(predicted / measured - 1) for _, predicted, measured in self.rows)

    @property
    def rank_correlation(self):
        predicted, measured = zip(*(row[1:] for row in self.rows))
        return rank_correlation(np.array(predicted), np.array(measured))

    @property
    def holds(self):
        """bool: whether the table predicts this device about as well as the one that it was made on."""
        return self.error_percent <= self.bound_percent


def check(table, path, space, scale, device, count=10, most_percent=0.0):
    """Times networks of a table's space on a device, and returns the `Verdict`.

    Args:
        table: the `nas_tf.devices.table.LatencyTable`.
        path: its file.
        space: the search space's `nas_tf.plugins.Part`.
        scale: the deployment `Scale` that it is for.
        device: the device's `Part`.
        count: how many networks.
        most_percent: the error up to which it holds; 0: twice its own on networks that it had not seen, but at least 5.

    Raises:
        UserError: the device does not time files, or the table is for another space or scale.
    """
    estimator = TableEstimator(Config(file=os.fspath(path)), space.space, scale)
    estimator.check()
    meter = device.make(space.space, scale)
    if not isinstance(meter, Meter):
        raise UserError(f"Expected a --device that times files. Received: {device.name!r}")
    own = (table.facts.get("validation") or {}).get("mean_absolute_percentage_error", 0.0)
    meter.check()
    rows = []
    try:
        with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
            for number, architecture in enumerate(
                progress_bar(_networks(space.space, count, table.facts.get("seen") or ()), unit="network")
            ):
                file = pathlib.Path(folder) / f"{number}.tflite"
                builder.convert_network(space, scale, space.space.encode(architecture), file, table.number_type)
                predicted = estimator.estimate([architecture])[0]
                try:
                    rows.append((architecture, predicted, meter.measure(os.fspath(file)).latency_ms))
                except InfeasibleArchitecture as error:
                    raise EvaluationError(f"A network cannot be timed, so the table is not checked: {error}") from error
    finally:
        meter.close()
    return Verdict(rows, most_percent or max(_LEAST_PERCENT, 2 * own))


def _networks(space, count, seen):
    """Returns random networks, each once. Those come first that the table was not made with: small spaces have few."""
    rng, found = np.random.default_rng(_SEED), {}
    for _ in range(100 * count):
        architecture = space.decode(tuple(int(rng.integers(n)) for n in space.num_choices))
        found.setdefault(architecture.fingerprint, architecture)
        if len(found.keys() - set(seen)) == count:
            break
    return [found[name] for name in sorted(found, key=lambda name: name in seen)[:count]]
