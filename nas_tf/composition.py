"""How the latencies of units add up to a network's: fitted on whole networks, and tested on others."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Model:
    """latency = `intercept_ms` + the sum of `units`, dict of unit name to milliseconds; `factors` is how they came."""

    intercept_ms: float
    units: dict
    factors: dict


def compare(predicted, measured):
    """dict of how far predictions are off: `predicted` float [n] and `measured` float [n, passes], in milliseconds.

    A network's measured latency is the median of its passes. Repeatability is the mean difference of two passes of one
    network, in percent.
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
        "repeatability_percent": float(100 * np.mean(apart)) if apart else float("nan"),
    }


def rank_correlation(first, second):
    """float: Spearman's correlation of two lists of numbers, equal ones sharing their mean rank."""
    ranks = [_ranks(np.asarray(values)) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values):
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = np.arange(len(values))
    for value in np.unique(values):
        ranks[values == value] = ranks[values == value].mean()
    return ranks
