"""Networks without weights, for tests of graphs, shapes and counts: built in less than half the time."""

import keras


def without_weights():
    """A context in which a network's variables have names and shapes and no values; such a network cannot be run."""
    return keras.StatelessScope(initialize_variables=False)
