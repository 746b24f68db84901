"""Conversion in a process of its own, one for all networks of a command.

It is replaced as its memory grows. This process, which runs the files, never converts: LiteRT has aborted in one that
had.
"""

import functools

from nas_tf.export import to_tflite
from nas_tf.recycling import Processes


def to_tflite_apart(model, path, batch_size=1, number_type="float32", calibration=None):
    """Writes a TFLite file, as `nas_tf.export.to_tflite` does.

    Raises:
        InfeasibleArchitecture: the converter refused the network, or twice cost its process.
    """
    return to_tflite(model, path, batch_size, number_type, calibration, processes().call)


@functools.cache
def processes():
    """Returns the `nas_tf.recycling.Processes` that convert. They end by themselves, after a while or with this one."""
    return Processes()
