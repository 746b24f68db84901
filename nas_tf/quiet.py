"""What does not reach the terminal: what TensorFlow writes straight to standard error."""

import contextlib
import functools
import gc
import logging
import os
import sys
import tempfile
import threading

_lock = threading.Lock()  # of standard error's file
_shown = None  # its number while `quiet` hides it


@contextlib.contextmanager
def quiet():
    """Hides standard error, at the level of the file descriptor, while the block runs. Lines of progress still show."""
    global _shown
    with tempfile.TemporaryFile() as hidden:
        with _lock:
            saved, before = os.dup(2), _shown
            _shown = saved if before is None else before
            os.dup2(hidden.fileno(), 2)
        try:
            yield
        finally:
            with _lock:
                os.dup2(saved, 2)
                _shown = before
                os.close(saved)


@functools.cache
def import_keras():
    """Returns the `keras` module, imported without its backend's greetings.

    What exists by then, most of it modules of the backend, is left out of later searches for garbage: `clear_session`,
    which is called for every network, begins such a search and would take 0.3 s for it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # that many networks are traced is no mistake
    with quiet():
        import keras

        if keras.backend.backend() == "tensorflow":
            keras.ops.zeros(())  # the first operation greets too
    gc.collect()
    gc.freeze()
    return keras


def fresh_keras(seed):
    """Returns the `keras` module, without what earlier networks left behind and with its random numbers seeded.

    Call it when no earlier network is in use. What the backend keeps of them (tens of thousands of objects for each) is
    left out of later searches for garbage, which would take longer with every network.
    """
    keras = import_keras()
    keras.backend.clear_session()
    gc.freeze()
    keras.utils.set_random_seed(seed)
    return keras


def write_error(text):
    """Writes to standard error, also while `quiet` hides it."""
    with _lock, contextlib.suppress(OSError, ValueError):  # it is closed, or nobody reads it
        if _shown is not None and sys.stderr is sys.__stderr__:
            os.write(_shown, text.encode())
        else:
            sys.stderr.write(text)
            sys.stderr.flush()


def count(number, noun):
    """Returns a number with its noun, as in "1 worker" and "2 workers"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
