"""What damage to blocks means for the accuracy of a network after a short fine-tuning: fitted, and tested on others.

Accuracy is that of the parent at the network's image size, less a weight for each block times the block's damage. The
weights are at least 0, and are held together by a penalty that cross-validation chooses: a few dozen networks say
little about each block alone.
"""

import dataclasses

import numpy as np

from nas_tf.ranks import rank_correlation

_PENALTIES = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)
_FOLDS = 8
_SIZE_PENALTY = 0.05


@dataclasses.dataclass(frozen=True)
class Fit:
    """What was fitted.

    Attributes:
        sizes: dict from image size to the parent's accuracy there.
        weights: float for each block.
        penalty: that cross-validation chose.
        cross_validated_points: mean error of the networks of the fit, each predicted from others, in points.
    """

    sizes: dict
    weights: tuple
    penalty: float
    cross_validated_points: float

    def predict(self, sizes, damages):
        """Returns float [n]: the accuracies of networks of these image sizes and damages, [n] and [n, blocks]."""
        base = np.array([self.sizes[int(size)] for size in sizes])
        return np.clip(base - np.asarray(damages) @ np.array(self.weights), 0.0, 1.0)


def fit(sizes, damages, accuracies):
    """Returns the `Fit` of networks.

    Args:
        sizes: int [n], image sizes in pixels.
        damages: float [n, blocks].
        accuracies: float [n], measured.
    """
    sizes, damages, accuracies = np.asarray(sizes), np.asarray(damages, float), np.asarray(accuracies, float)
    errors = {penalty: _cross_validated(sizes, damages, accuracies, penalty) for penalty in _PENALTIES}
    penalty = min(errors, key=errors.get)
    base, weights = _solve(sizes, damages, accuracies, penalty)
    base = {size: min(1.0, max(0.0, each)) for size, each in base.items()}  # least squares know no bounds
    return Fit(base, tuple(map(float, weights)), penalty, 100 * errors[penalty])


def _cross_validated(sizes, damages, accuracies, penalty):
    errors, all_sizes = [], np.unique(sizes)
    for fold in range(_FOLDS):
        held_out = np.arange(len(sizes)) % _FOLDS == fold
        if held_out.all() or not held_out.any():
            continue
        base, weights = _solve(sizes[~held_out], damages[~held_out], accuracies[~held_out], penalty, all_sizes)
        predicted = np.array([base[int(size)] for size in sizes[held_out]]) - damages[held_out] @ weights
        errors += list(np.abs(predicted - accuracies[held_out]))
    return float(np.mean(errors))


def _solve(sizes, damages, accuracies, penalty, all_sizes=None):
    """Returns `(dict from size to accuracy, float [blocks])` of least squares under the penalties."""
    from scipy.optimize import nnls

    kinds, blocks = np.unique(sizes) if all_sizes is None else all_sizes, damages.shape[1]
    # Columns: the accuracy at the largest size, what each smaller one loses beside the next larger, a weight that all
    # blocks share, and what each has beside that.
    losses = np.array([[size < kind for kind in kinds[1:]] for size in sizes], float).reshape(len(sizes), -1)
    shared = damages.sum(1, keepdims=True)
    design = np.hstack([np.ones((len(sizes), 1)), -losses, -shared, -damages])
    scale = np.sqrt(np.square(shared).mean()) + 1e-12
    rows = np.zeros((blocks + losses.shape[1], design.shape[1]))
    rows[:blocks, -blocks:] = np.sqrt(penalty * len(sizes) / blocks) * scale * np.eye(blocks)
    rows[blocks:, 1 : 1 + losses.shape[1]] = np.sqrt(_SIZE_PENALTY) * np.eye(losses.shape[1])
    solution, _ = nnls(np.vstack([design, rows]), np.concatenate([accuracies, np.zeros(len(rows))]))
    lost = solution[1 : 1 + losses.shape[1]]
    base = {int(kind): float(solution[0] - lost[number:].sum()) for number, kind in enumerate(kinds)}
    return base, solution[-blocks - 1] + solution[-blocks:]


def compare(predicted, measured):
    """Returns a JSON-ready dict of how far predictions are off, in points of accuracy.

    Args:
        predicted, measured: float [n], accuracies in [0, 1]. Where all of one kind are equal, they have no rank
            correlation: None.
    """
    is_ranked = np.ptp(predicted) > 0 and np.ptp(measured) > 0
    error = 100 * (np.asarray(predicted) - np.asarray(measured))
    worst = int(np.argmax(np.abs(error)))
    return {
        "mean_absolute_error_points": float(np.abs(error).mean()),
        "rank_correlation": rank_correlation(predicted, measured) if is_ranked else None,
        "worst": worst,
        "worst_error_points": float(error[worst]),
    }
