"""Ranks of numbers, and how alike two orders are."""

import numpy as np


def mean_ranks(values):
    """Returns the ranks of numbers from 0, float [n]. Equal numbers share their mean rank."""
    _, places, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[places.ravel()]


def rank_correlation(first, second):
    """Returns Spearman's correlation of two lists of numbers, a float."""
    return float(np.corrcoef(mean_ranks(first), mean_ranks(second))[0, 1])
