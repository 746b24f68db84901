"""Keeping what TensorFlow's C++ parts write straight to standard error out of the terminal."""

import contextlib
import os
import tempfile


@contextlib.contextmanager
def quiet():
    """Hides standard error, at the level of the file descriptor, while the block runs."""
    with tempfile.TemporaryFile() as hidden:
        saved = os.dup(2)
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def import_keras():
    """The `keras` module, imported without its backend's greetings."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    with quiet():
        import keras

        if keras.backend.backend() == "tensorflow":
            keras.ops.zeros(())  # the first operation greets too
    return keras
