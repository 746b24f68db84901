"""How the timings of units add up to a network's latency: fitted on whole networks, and tested on others.

In a network, a unit finds its inputs and weights elsewhere in the caches than when it runs alone again and again, and
one call runs all units. So a unit adds `timing factor` x its own timing + `ms per megabyte` x its size + `ms per unit`.
The timing factor may differ from kind to kind. How much is chosen by cross-validation.
"""

import dataclasses

import numpy as np

from nas_tf.ranks import rank_correlation

_PENALTIES = (1e6, 1.0, 0.1, 0.01)  # with the first, all kinds have one factor
_FOLDS = 10


@dataclasses.dataclass(frozen=True)
class Model:
    """How a network's latency is predicted.

    Attributes:
        units: dict from unit name to milliseconds. A network's latency is their sum.
        factors: dict of how they were computed from timings.
    """

    units: dict
    factors: dict


def fit(kinds, timings, counts, measured):
    """Returns the `Model` whose relative errors on whole networks are smallest, in absolute value.

    Args:
        kinds: dict from unit name to the unit's kind.
        timings: dict from unit name to `(ms, megabytes)`.
        counts: list with a dict from unit name to count for each network.
        measured: float [n], the networks' latencies in milliseconds.
    """
    measured, names = np.asarray(measured, float), sorted(set(kinds.values()))

    def describe(unit):
        ms, megabytes = timings[unit]
        return np.array([ms, megabytes, float(ms > 0), *(ms * (kinds[unit] == name) for name in names)])

    columns = {unit: describe(unit) for unit in timings}
    design = np.array([sum(count * columns[unit] for unit, count in each.items()) for each in counts])
    errors = [_cross_validate(design, measured, penalty) for penalty in _PENALTIES]
    penalty = _PENALTIES[int(np.argmin(errors))]
    solution = _solve(design, measured, penalty)
    factors = {
        "timing_factor": solution[0],
        "ms_per_megabyte": solution[1],
        "ms_per_unit": solution[2],
        "timing_factor_of_kind": {name: solution[0] + each for name, each in zip(names, solution[3:])},
        "penalty": penalty,
        "cross_validated_error_percent": 100 * min(errors),
    }
    return Model({unit: float(column @ solution) for unit, column in columns.items()}, factors)


def _cross_validate(design, measured, penalty):
    errors = []
    for fold in range(_FOLDS):
        held_out = np.arange(len(measured)) % _FOLDS == fold
        solution = _solve(design[~held_out], measured[~held_out], penalty)
        errors += list(np.abs(design[held_out] @ solution / measured[held_out] - 1))
    return float(np.mean(errors))


def _solve(design, measured, penalty):
    """Returns the coefficients of least absolute relative error, by reweighted least squares.

    All but the first two are penalised, as shares of the latency that they stand for.
    """
    relative = design / measured[:, np.newaxis]
    shares = np.sqrt(penalty * len(measured)) * np.diag(np.sqrt((relative**2).mean(axis=0)))[2:]
    weights = np.ones(len(measured))
    for _ in range(20):
        rows = np.vstack([relative * weights[:, np.newaxis], shares])
        solution = np.linalg.lstsq(rows, np.concatenate([weights, np.zeros(len(shares))]), rcond=None)[0]
        weights = 1 / np.sqrt(np.maximum(np.abs(relative @ solution - 1), 0.01))
        weights /= weights.mean()
    return solution


def compare(predicted, measured):
    """Returns a dict of how far predictions are off.

    A network's measured latency is the median of its passes. Repeatability is the mean difference of two passes of one
    network, in percent.

    Args:
        predicted: float [n], in milliseconds.
        measured: float [n, passes], in milliseconds.
    """
    predicted, measured = np.asarray(predicted), np.asarray(measured)
    truth = np.median(measured, axis=1)
    error = predicted / truth - 1
    worst = int(np.argmax(np.abs(error)))
    pairs = [(i, j) for i in range(measured.shape[1]) for j in range(i)]
    apart = [np.abs(measured[:, i] / measured[:, j] - 1).mean() for i, j in pairs]
    return {
        "mean_absolute_percentage_error": float(100 * np.abs(error).mean()),
        "share_within_5_percent": float((np.abs(error) <= 0.05).mean()),
        "rank_correlation": rank_correlation(predicted, truth),
        "worst": worst,
        "worst_percentage_error": float(100 * error[worst]),
        "repeatability_percent": float(100 * np.mean(apart)),
    }
