"""The width at which a published network takes as long as another one, found by measuring."""

from nas_tf.trial import EvaluationError, InfeasibleArchitecture

WIDTHS = tuple(round(0.05 * i, 2) for i in range(2, 41))


def match(target_ms, measure, known=None, found=None):
    """`(width multiplier, latency in milliseconds)` nearest to `target_ms` of those in `WIDTHS` (0.1 to 2).

    Widths are halved in on, as latency grows with width but for noise; then the neighbours of where that ends have been
    measured. `measure(width)` gives milliseconds; `known` is a dict of width to them, measured earlier, and
    `found(width, latency_ms)` is told each new one.

    Raises:
        EvaluationError: no width could be measured.
    """
    latencies = dict(known or {})

    def latency_of(width):
        if width not in latencies:
            try:
                latencies[width] = measure(width)
            except InfeasibleArchitecture:
                latencies[width] = float("inf")  # too wide for the device
            if found:
                found(width, latencies[width])
        return latencies[width]

    low, high = 0, len(WIDTHS) - 1
    while low < high:
        middle = (low + high) // 2
        if latency_of(WIDTHS[middle]) < target_ms:
            low = middle + 1
        else:
            high = middle
    for i in (low - 1, low):
        if i >= 0:
            latency_of(WIDTHS[i])
    width = min(latencies, key=lambda each: abs(latencies[each] - target_ms))
    if latencies[width] == float("inf"):
        raise EvaluationError("The device ran no width of the network")
    return width, latencies[width]
