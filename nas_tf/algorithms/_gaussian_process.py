"""A Gaussian process over tokens (Rasmussen and Williams 2006, chapter 2 and section 5.4).

Its kernel, of variance 1, falls with each decision i whose answers differ, by a weight w_i, and with how differently
often each answer is given, whatever the decision: k = exp(-sum of w_i - c |h - h'|^2). h counts the answers over all
decisions with equally many choices: those of a network's parts that ask the same. Weights, c and noise are those of the
largest marginal likelihood that a search along the axes finds.
"""

import dataclasses
import functools

import numpy as np
import threadpoolctl
from scipy import linalg

_NOISES = (1e-3, 1e-2, 5e-2, 0.2, 0.5)  # variances, of the values' 1
_SUMS = (0.6, 1.8, 3.6, 7.2)  # of the weights that the search begins with: of tokens that differ in everything
_OF_COUNTS = (0.0, 0.03, 0.1, 0.3)
_SWEEPS = 2


def one_thread():
    """Returns a context in which linear algebra takes one core: matrices are small, and networks train beside them."""
    return _libraries().limit(limits=1, user_api="blas")


@functools.cache
def _libraries():
    return threadpoolctl.ThreadpoolController()


@dataclasses.dataclass(frozen=True)
class _Kernel:
    """float [decisions], and two numbers."""

    weights: np.ndarray
    of_counts: float
    noise: float


class GaussianProcess:
    """Fitted on values of mean 0 and variance 1.

    Args:
        num_choices: how many choices each decision has.
    """

    def __init__(self, num_choices):
        self._num_choices, self._kernel = np.asarray(num_choices), None
        self._starts = np.cumsum([0, *num_choices[:-1]])
        groups = {choices: place for place, choices in enumerate(dict.fromkeys(num_choices))}
        widths = np.cumsum([0, *groups])
        self._counted = np.array([widths[groups[choices]] for choices in num_choices])
        self._num_counts = int(widths[-1])

    def tune(self, tokens, values, errors):
        """Chooses weights and noise.

        Args:
            tokens: int [n, decisions].
            values: float [n].
            errors: float [n], standard errors of the values that are known beforehand.
        """
        tokens, many = np.asarray(tokens), len(self._num_choices)
        begun = [_Kernel(np.full(many, each / many), 0.1, noise) for each in _SUMS for noise in _NOISES]
        found = [self._likelihood(tokens, values, errors, each) for each in begun]
        best, kernel = max(found), begun[int(np.argmax(found))]
        for _ in range(_SWEEPS):
            for other in self._varied(kernel):
                changed = dataclasses.replace(kernel, **other(kernel))
                likelihood = self._likelihood(tokens, values, errors, changed)
                if likelihood > best:
                    best, kernel = likelihood, changed
        self._kernel = kernel

    def fit(self, tokens, values, errors):
        """Conditions the process on values, with the weights and the noise that `tune` chose."""
        self._tokens = np.asarray(tokens)
        covariance = self._covariance(self._tokens, errors, self._kernel)
        self._factor = linalg.cho_factor(covariance, lower=True, check_finite=False)
        self._solved = linalg.cho_solve(self._factor, np.asarray(values), check_finite=False)

    def predict(self, tokens):
        """Returns mean and standard deviation, each float [m], of tokens, int [m, decisions]."""
        between = self._between(np.asarray(tokens), self._tokens, self._kernel)
        half = linalg.solve_triangular(self._factor[0], between.T, lower=True, check_finite=False)
        return between @ self._solved, np.sqrt(np.maximum(1e-9, 1 - (half**2).sum(0)))

    def _varied(self, kernel):
        """Yields functions that say what of a kernel is other."""
        for noise in _NOISES:
            yield lambda _, noise=noise: {"noise": noise}
        for of_counts in _OF_COUNTS:
            yield lambda _, of_counts=of_counts: {"of_counts": of_counts}
        for i in np.flatnonzero(self._num_choices > 1):
            for factor in (0.5, 2.0):
                scale = np.where(np.arange(len(kernel.weights)) == i, factor, 1.0)
                yield lambda now, scale=scale: {"weights": now.weights * scale}

    def _likelihood(self, tokens, values, errors, kernel):
        """Returns the logarithm of the marginal likelihood, up to a constant."""
        try:
            covariance = self._covariance(tokens, errors, kernel)
            factor = linalg.cho_factor(covariance, lower=True, check_finite=False)
        except linalg.LinAlgError:
            return -np.inf
        fits = values @ linalg.cho_solve(factor, values, check_finite=False)
        return -0.5 * fits - np.log(np.diag(factor[0])).sum()

    def _covariance(self, tokens, errors, kernel):
        return self._between(tokens, tokens, kernel) + np.diag(kernel.noise + np.asarray(errors) ** 2)

    def _between(self, first, second, kernel):
        """Returns the kernel of two sets of tokens, float [n, m]."""
        one, other = self._features(first, kernel), self._features(second, kernel)
        squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
        return np.exp(-0.5 * np.maximum(0.0, squares))

    def _features(self, tokens, kernel):
        """Returns float [n, features], half of whose squared distances the kernel is made of."""
        number = np.arange(len(tokens))[:, None]
        answers = np.zeros((len(tokens), int(self._num_choices.sum())))
        answers[number, self._starts + tokens] = np.sqrt(kernel.weights)
        places = number * self._num_counts + self._counted + tokens
        counts = np.bincount(places.ravel(), minlength=len(tokens) * self._num_counts)
        return np.concatenate(
            [answers, np.sqrt(2 * kernel.of_counts) * counts.reshape(len(tokens), self._num_counts)], axis=1
        )
