"""Networks without weights, for tests of graphs, shapes and counts: built in less than half the time."""

import keras


def without_weights():
    """A context in which a network's variables have names and shapes and no values; such a network cannot be run."""
    return keras.StatelessScope(initialize_variables=False)


def zeros_at_first(monkeypatch):
    """Has kernels begin as zeros until the test's end, for networks that get their weights from a file: drawing random
    ones takes most of the time of building."""
    monkeypatch.setattr(
        keras.initializers.VarianceScaling, "__call__", lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
    )
