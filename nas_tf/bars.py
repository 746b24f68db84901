"""Where long work stands: a bar on a terminal, elsewhere a line every 30 s; and what a process says that it is at."""

import contextlib
import functools
import io
import sys
import threading
import weakref

from nas_tf.quiet import write_error

LINE_SECONDS = 30.0  # between two lines in place of a bar
_listener = None


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

        One that leaves nothing behind has no line at its end if it had none before; one that a stop or a failure ends
        has none.
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
            write_error(f"{_line(self.format_dict)}\n")

        def close(self):
            if not self._is_over.is_set():
                self._is_over.set()
                if self._leaves and sys.exc_info()[0] is None:
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
        text += f", about {rough_duration(seconds / new * (total - done))} left"
    return f"{facts['prefix']}: {text}" if facts["prefix"] else text


def _duration(seconds):
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def rough_duration(seconds):
    """Returns a time to come in words, as in "40 s", "7 min" or "3 h"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.0f} h"


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
