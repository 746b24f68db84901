"""A stop by the user, Ctrl-C or SIGTERM: it ends a command within seconds, whatever runs, with one line."""

import contextlib
import ctypes
import importlib
import os
import select
import signal
import sys
import threading
import time

_PATIENCE_SECONDS = 4.5  # that a command has to end by itself
_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
_to_see = []
_is_ending = threading.Lock()


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: what is open is closed, as after Ctrl-C."""


def say_what_there_is(text):
    """Takes words on how to see what a command has done so far, for the line with which a stop ends it."""
    if text not in _to_see:
        _to_see.append(text)


def last_line(command):
    """Returns the line with which a stop ends the command of that name."""
    see = "".join(f". {text}" for text in _to_see)
    return f"{command}: stopped. Nothing finished is lost: the same command goes on from here{see}"


def status_of(stop):
    """Returns the exit status after a `KeyboardInterrupt`."""
    return _STATUS[signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT]


def console_script(module):
    """Returns the function of a console script, which calls `cli` of a module. A stop ends its imports quietly, too.

    Its attribute `module` is the module's name.
    """

    def run():
        command = os.path.basename(sys.argv[0])
        _handle(lambda number, frame: _end(number, command, 2))  # until `stoppable` does: there is nothing to close yet
        return importlib.import_module(module).cli()

    run.module = module
    return run


@contextlib.contextmanager
def stoppable(command):
    """Inside it a stop raises `KeyboardInterrupt` or `Terminated`, once, and a second one ends the process at once.

    What runs inside TensorFlow is not interrupted by an exception, so that a thread ends the process if it has not
    ended by itself within seconds. Call it in the main thread.
    """
    stderr = os.dup(2)  # TensorFlow's imports are quiet: they have standard error elsewhere
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    is_stopping = threading.Event()

    def stop(number, frame):
        if is_stopping.is_set():
            _end(number, command, stderr)
        is_stopping.set()
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    def watch():
        number = _next_stop(readable)
        while number is not None:
            again = select.select([readable], [], [], _PATIENCE_SECONDS)[0]
            if not again:
                _end(number, command, stderr)
            number = _next_stop(readable)
            if number is not None:
                _end(number, command, stderr)

    def unraisable(lost):
        # Python prints and forgets what is raised in __del__ or in what its garbage collector calls.
        if is_stopping.is_set() and issubclass(lost.exc_type, KeyboardInterrupt):
            again = threading.Timer(0.05, _raise_in, (threading.main_thread().ident, lost.exc_type))
            again.daemon = True
            again.start()
        else:
            hook_before(lost)

    hook_before, sys.unraisablehook = sys.unraisablehook, unraisable
    before = _handle(stop)
    written_before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, name="stops", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Only a command that is not being stopped goes on afterwards: that one is watched to its very end.
        if not is_stopping.is_set():
            sys.unraisablehook = hook_before
            signal.set_wakeup_fd(written_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(writable)
            thread.join()
            os.close(readable)
            os.close(stderr)


@contextlib.contextmanager
def stops_blocked():
    """A process that is started inside does not notice a stop, until it calls `follow`; this one does afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STATUS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow(parent):
    """Leaves Ctrl-C to the parent, and has the kernel kill this process when that is gone, even while it is stopped.

    The latter on Linux only.

    Args:
        parent: the parent's process id.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STATUS)


def leave(stop, command):
    """Ends the process after a `KeyboardInterrupt`, with the line and the status of a stop."""
    print(last_line(command), file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status_of(stop))  # neither threads nor libraries keep it


def _handle(handler):
    """Has stops call `handler(number, frame)`, and returns a dict from their numbers to the earlier handlers."""
    # One that is ignored stays so, as for a command in the background of a script.
    heard = [number for number in _STATUS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _end(number, command, stderr):
    """Ends the process at once, with the line and the status of a stop.

    The main thread and the one that watches it may both come here: the first one writes, the other gives it time.
    """
    if _is_ending.acquire(blocking=False):
        with contextlib.suppress(OSError):
            os.write(stderr, f"\n{last_line(command)}\n".encode())
    else:
        time.sleep(1)
    os._exit(_STATUS[number])


def _raise_in(thread, kind):
    """Raises an exception of a type in another thread, once that runs Python code."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


def _next_stop(readable):
    """Returns the number of the next signal that stops; None once nobody writes any more."""
    while True:
        number = os.read(readable, 1)
        if not number:
            return None
        if number[0] in _STATUS:
            return signal.Signals(number[0])
