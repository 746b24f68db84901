"""How the timings of units add up to a network's latency: fitted on whole networks, and tested on others.

In a network, a unit finds its inputs and weights elsewhere in the caches than when it runs alone again and again, and
one call runs all units. So a unit adds `timing factor` x its own timing + `ms per megabyte` x its size + `ms per unit`.
The timing factor may differ from kind to kind. How much is chosen by cross-validation. None of these is negative, so
that no unit's cost is.
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
        return np.array([megabytes, float(ms > 0), *(ms * (kinds[unit] == name) for name in names)])

    columns = {unit: describe(unit) for unit in timings}
    design = np.array([sum(count * columns[unit] for unit, count in each.items()) for each in counts])
    errors = [_cross_validate(design, measured, penalty) for penalty in _PENALTIES]
    penalty = _PENALTIES[int(np.argmin(errors))]
    solution, common = _solve(design, measured, penalty)
    factors = {
        "timing_factor": common,
        "ms_per_megabyte": solution[0],
        "ms_per_unit": solution[1],
        "timing_factor_of_kind": dict(zip(names, solution[2:].tolist())),
        "penalty": penalty,
        "cross_validated_error_percent": 100 * min(errors),
    }
    return Model({unit: float(column @ solution) for unit, column in columns.items()}, factors)


def _cross_validate(design, measured, penalty):
    errors = []
    for fold in range(_FOLDS):
        held_out = np.arange(len(measured)) % _FOLDS == fold
        solution, _ = _solve(design[~held_out], measured[~held_out], penalty)
        errors += list(np.abs(design[held_out] @ solution / measured[held_out] - 1))
    return float(np.mean(errors))


def _solve(design, measured, penalty):
    """Returns the coefficients of least absolute relative error, none negative, by reweighted least squares.

    Penalised, as shares of the latency that they stand for, are those of a unit, and of each kind how far its timing
    factor is from the common one.

    Returns:
        `(coefficients, the common timing factor)`.
    """
    from scipy.optimize import nnls

    relative = design / measured[:, np.newaxis]
    sizes = np.sqrt(penalty * len(measured)) * np.sqrt((relative**2).mean(axis=0))
    num_kinds = design.shape[1] - 2
    # The last column is the common factor, which stands in the penalties alone.
    rows = np.hstack([relative, np.zeros((len(measured), 1))])
    penalties = np.zeros((1 + num_kinds, design.shape[1] + 1))
    penalties[0, 1] = sizes[1]
    penalties[1:, 2:-1] = np.diag(sizes[2:])
    penalties[1:, -1] = -sizes[2:]
    weights = np.ones(len(measured))
    for _ in range(20):
        matrix = np.vstack([rows * weights[:, np.newaxis], penalties])
        solution, _ = nnls(matrix, np.concatenate([weights, np.zeros(len(penalties))]), maxiter=100 * matrix.shape[1])
        weights = 1 / np.sqrt(np.maximum(np.abs(rows @ solution - 1), 0.01))
        weights /= weights.mean()
    return solution[:-1], float(solution[-1])


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
