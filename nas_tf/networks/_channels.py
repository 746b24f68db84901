"""Which channel of a parent each channel of a child is: `source`, int [channels of the child], numbers of the parent's.

A channel that occurs twice in `source` was split: its copies are equal, and what reads them shares the weight out.
"""

import numpy as np


def chosen(order, old, new):
    """Returns the `source` of `new` channels for `old` ones.

    Fewer are the most important, in their old order; further ones are copies of the most important.

    Args:
        order: a function that returns int [old], the most important channel first; not called where both are equal.
        old, new: how many channels the parent and the child have.
    """
    if new == old:
        return np.arange(old)
    if new < old:
        return np.sort(order()[:new])
    return np.concatenate([np.arange(old), np.resize(order(), new - old)])


def covers(source, old):
    """Returns whether each of the parent's `old` channels is there."""
    return len(np.unique(source)) == old


def shares(source, outputs, generator):
    """Returns float [channels, outputs]: which share of its weight each channel of `source` has.

    The shares of all copies of a channel add up to 1 in each output. They are drawn anew for each output: copies with
    equal shares would have equal gradients and remain copies for ever.
    """
    drawn = generator.uniform(0.5, 1.5, (len(source), outputs))
    total = np.zeros((source.max() + 1, outputs))
    np.add.at(total, source, drawn)
    return drawn / total[source]
