"""Means over seeds, as benchmarks print them."""

import numpy as np


def with_error(values, digits, width=0):
    """Returns a mean with its standard error over seeds as text, right-aligned; the error has a digit at least."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.{digits}f} ± {error:.{max(1, digits)}f}".rjust(width)
