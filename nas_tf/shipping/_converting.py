"""Conversion for a command that makes a dozen files and more: where memory has grown, in a process of its own."""

import functools
import gc

from nas_tf import recycling
from nas_tf.export import to_tflite


def to_tflite_recycled(model, path, batch_size=1, number_type="float32", calibration=None):
    """Writes a TFLite file, as `nas_tf.export.to_tflite` does, and keeps this process's memory within bounds.

    The converter keeps memory with every network. This process converts while it is small, for another one would first
    import TensorFlow. Beyond `nas_tf.recycling.MAX_MEMORY_MB` others do, which are replaced as they grow.

    Raises:
        InfeasibleArchitecture: the converter refused the network, or twice cost its process.
    """
    is_small = recycling.memory_mb() < recycling.MAX_MEMORY_MB
    try:
        to_tflite(model, path, batch_size, number_type, calibration, None if is_small else processes().call)
    finally:
        gc.collect()  # graphs are circles: one that was converted, 70 MB of it, would else stay for long


@functools.cache
def processes():
    """Returns the `nas_tf.recycling.Processes` that convert. They end by themselves, after a while or with this one."""
    return recycling.Processes()
