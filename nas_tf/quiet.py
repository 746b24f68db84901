"""What reaches the terminal: progress bars do, and what TensorFlow writes straight to standard error does not."""

import contextlib
import functools
import gc
import io
import os
import sys
import tempfile
import threading
import weakref

LINE_SECONDS = 30.0  # between two lines in place of a bar
_lock = threading.Lock()  # of standard error's file
_shown = None  # its number while `quiet` hides it
_listener = None


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


def progress_bar(*args, disable=None, **kwargs):
    """Returns a `tqdm` bar on standard error. Where that is no terminal, it is a line every `LINE_SECONDS`.

    Args:
        *args, **kwargs: those of `tqdm`.
        disable: True: it shows nothing. False: it is a bar in any case.
    """
    from tqdm import tqdm

    # tqdm's own lock holds a semaphore of the system, which a killed worker would leave behind.
    tqdm.set_lock(threading.RLock())
    if disable is None and not sys.stderr.isatty():
        return _lines_type()(*args, **kwargs)
    return tqdm(*args, disable=disable, **kwargs)


@functools.cache
def _lines_type():
    """Returns the class of bars that are lines, made when `tqdm` is needed."""
    from tqdm import tqdm

    class Lines(tqdm):
        """A line every `LINE_SECONDS`, also while nothing is done, and one at the end.

        One that leaves nothing behind has no line at its end if it had none before.
        """

        monitor_interval = 0  # tqdm needs no thread of its own

        def __init__(self, *args, leave=True, **kwargs):
            self._is_over, self._leaves = threading.Event(), leave
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "delay": 0})
            threading.Thread(target=_write_lines, args=(weakref.ref(self), self._is_over), daemon=True).start()

        def __iter__(self):
            for each in self.iterable:
                yield each
                self.update()
            self.close()

        def __del__(self):
            self._is_over.set()  # one that was left in the middle says no more

        def display(self, *args, **kwargs):
            """Does nothing: its thread writes."""

        def write_line(self):
            self._leaves = True
            _write_error(f"{_line(self.format_dict)}\n")

        def close(self):
            if not self._is_over.is_set():
                self._is_over.set()
                if self._leaves:
                    self.write_line()
            super().close()

    return Lines


def _write_lines(reference, is_over):
    while not is_over.wait(LINE_SECONDS):
        bar = reference()
        if bar is not None:
            bar.write_line()
        del bar


def _line(facts):
    """Returns where a bar stands, as in "trials: 12 of 40, best 61.2 %; 3 min 20 s, about 7 min left".

    Args:
        facts: `tqdm.format_dict`.
    """
    done, total, seconds, new = facts["n"], facts["total"], facts["elapsed"], facts["n"] - facts["initial"]
    number = (lambda n: f"{n / 1e6:.1f} M{facts['unit']}") if facts["unit_scale"] else (lambda n: f"{n:,}")
    text = number(done) if total is None else f"{number(done)} of {number(total)}"
    text = ", ".join(filter(None, (text, facts["postfix"]))) + f"; {_duration(seconds)}"
    if total is not None and new > 0 and done < total:
        text += f", about {_rough_duration(seconds / new * (total - done))} left"
    return f"{facts['prefix']}: {text}" if facts["prefix"] else text


def _duration(seconds):
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _rough_duration(seconds):
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.0f} h"


def _write_error(text):
    """Writes to standard error, also while `quiet` hides it."""
    with _lock, contextlib.suppress(OSError, ValueError):  # it is closed, or nobody reads it
        if _shown is not None and sys.stderr is sys.__stderr__:
            os.write(_shown, text.encode())
        else:
            sys.stderr.write(text)
            sys.stderr.flush()


@contextlib.contextmanager
def listening(listener):
    """Inside it, `listener(words)` is called with what this process says by `doing`."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def doing(words):
    """Says in a few words what this process is at, such as "converting", to whoever shows it.

    Said a few times a second at most, it costs nothing.
    """
    if _listener is not None:
        _listener(words)


def count(number, noun):
    """Returns a number with its noun, as in "1 worker" and "2 workers"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
