"""Which channels of a layer explain what it gives, and with which weights: least squares on arrays, NumPy only.

Every problem is over rows: positions of maps, `inputs` [rows, channels] and what should come of them. Means are taken
out first, because batch normalisation behind a layer holds the constant. Ridge keeps the answer near the weights that
the layer has already: a few rows say little about a thousand channels.
"""

import numpy as np


def correction(inputs, missing, strength):
    """Returns float64 [channels, outputs]: the least D for which `inputs @ D` is nearest to `missing`.

    Args:
        inputs: [rows, channels], of mean 0.
        missing: [rows, outputs], of mean 0: what is asked for less what there is.
        strength: of the ridge, as a share of the channels' mean variance.
    """
    rows, channels = inputs.shape
    level = rows * _level(np.square(inputs).mean(), strength)
    if channels <= rows:
        return np.linalg.solve(_raised(inputs.T @ inputs, level), (inputs.T @ missing).astype("float64"))
    return inputs.T @ np.linalg.solve(_raised(inputs @ inputs.T, level), missing.astype("float64"))


def corrections_per_channel(inputs, missing, strength):
    """Returns float64 [channels, taps]: `correction` for each channel alone.

    Args:
        inputs: [channels, rows, taps], of mean 0 over rows.
        missing: [channels, rows], of mean 0 over rows.
        strength: of the ridge, as a share of the taps' mean variance in each channel.
    """
    gram = (inputs.swapaxes(1, 2) @ inputs).astype("float64")
    taps = np.arange(gram.shape[1])
    gram[:, taps, taps] += _level(gram[:, taps, taps].mean(1, keepdims=True), strength)
    return np.linalg.solve(gram, (inputs.swapaxes(1, 2) @ missing[..., None]).astype("float64"))[..., 0]


def importance(inputs, outgoing, strength, steps=16):
    """Returns int [channels]: the channels, those first without which the consumer's output changes most.

    Channels leave one group after another, those whose loss costs least once the weights of the others have made up
    for it: Optimal Brain Surgeon (Hassibi and Stork, 1992) for the rows of a matrix.

    Args:
        inputs: [rows, channels].
        outgoing: [channels, outputs], the weights with which the consumer reads them.
        strength: of the ridge, as a share of the channels' mean variance.
        steps: in about so many groups.
    """
    inputs = inputs - inputs.mean(0)
    gram = inputs.T @ inputs / len(inputs)
    inverse = np.linalg.inv(_raised(gram, _level(np.diag(gram).mean(), strength)))
    outgoing, left, gone = outgoing.astype("float64"), np.arange(len(gram)), []
    group = -(-len(gram) // steps)
    while len(left):
        loss = np.square(outgoing).sum(1) / np.diag(inverse)
        order = np.argsort(loss, kind="stable")
        leave, stay = order[:group], np.sort(order[group:])
        gone.append(left[leave])
        made_up = np.linalg.solve(inverse[np.ix_(leave, leave)], inverse[np.ix_(leave, stay)]).T
        outgoing = outgoing[stay] - made_up @ outgoing[leave]
        inverse = inverse[np.ix_(stay, stay)] - made_up @ inverse[np.ix_(leave, stay)]
        left = left[stay]
    return np.concatenate(gone)[::-1]


def _level(variance, strength):
    return strength * variance + 1e-12  # channels that are all 0 leave an equation that can be solved


def _raised(gram, level):
    gram = gram.astype("float64")
    gram[np.diag_indices_from(gram)] += level
    return gram
