"""One phone over adb, through adbutils: shells, pushes and their time-outs. Names that the user gives are quoted here.

adbutils raises its own kinds of error, bare EOFErrors and OSErrors, and its pushes have no time-out. This module raises
two kinds only: `PhoneGone` (the phone, or the connection to it, is lost: another phone may take its job) and
`AdbFailed`.
"""

import contextlib
import functools
import hashlib
import pathlib
import re
import shlex
import threading

from nas_tf.trial import EvaluationError, UserError


class PhoneGone(EvaluationError):
    """The phone was unplugged, went offline, or does not answer."""


class AdbFailed(EvaluationError):
    """The phone answered, and what it was asked to do failed."""


class Closed(EvaluationError):
    """Nothing more is asked of the phone: the meter that was timing on it has been closed."""


def adbutils():
    """Returns the `adbutils` package.

    Raises:
        UserError: it is not installed, or comes without an adb for this machine.
    """
    try:
        import adbutils as package

        package.adb_path()
    except ImportError:
        raise UserError("Expected the package adbutils, which talks to phones: pip install adbutils") from None
    except Exception as error:  # of adbutils's own kind: there is no adb binary for this machine
        raise UserError(f"Expected the program adb: {error}. Install Android's platform-tools") from None
    return package


def list_phones():
    """Returns a dict from serial to adb's state of that phone (`device`, `offline`, `unauthorized`, ...).

    The order is adb's own.

    Raises:
        UserError: no adb server answers, and none can be started.
    """
    package = adbutils()
    try:
        return {each.serial: each.state for each in package.AdbClient(socket_timeout=10).list(extended=False)}
    except (package.AdbError, OSError, EOFError) as error:
        raise UserError(f"The adb server does not answer: {_text(error)}. Try: adb kill-server; adb devices") from error


def quote(*words):
    """Returns the words as one shell command: whatever they hold, each reaches the phone as one argument."""
    return " ".join(shlex.quote(str(word)) for word in words)


class Adb:
    """The connection to one phone.

    Args:
        serial: the phone's serial.
        answer_seconds: seconds of silence after which the phone counts as lost.
        closed: a `threading.Event` after which nothing more is asked of the phone (`Closed`); None: there is none.

    Attributes:
        serial: the phone's serial.
        is_silent: whether it did not answer when it was last asked.
    """

    def __init__(self, serial, answer_seconds=30.0, closed=None):
        self.serial, self._answer_seconds, self._closed = serial, answer_seconds, closed
        self.is_silent = False
        self._package = adbutils()
        self._client = self._package.AdbClient(socket_timeout=10)
        # adbutils asks the server's version before each shell, on a connection of its own that takes 10 ms to close.
        self._client.server_version = functools.cache(self._client.server_version)
        self._device = self._package.AdbDevice(self._client, serial=serial)

    def is_back(self):
        """bool: whether the phone answers. A phone that adb reaches over TCP is connected again if it does not."""
        if self._answers():
            return True
        if re.fullmatch(r".+:\d+", self.serial):
            # To adb a phone that hangs is still connected: only a new connection shows whether it works again.
            with contextlib.suppress(Exception):  # all that matters is whether it answers afterwards
                self._client.disconnect(self.serial)
                self._client.connect(self.serial, timeout=self._answer_seconds)
            return self._answers()
        return False

    def _answers(self):
        with contextlib.suppress(EvaluationError, UserError):
            return list_phones().get(self.serial) == "device" and self.shell("echo here").strip() == "here"
        return False

    def shell(self, script):
        """Returns the standard output of a short script, without its standard error.

        Raises:
            AdbFailed: its exit status is not 0.
        """
        status, output, error = self.run(script)
        if status:
            raise AdbFailed(f"{self.serial}: {script!r} ended with status {status}: {(error or output).strip()[:300]}")
        return output

    def run(self, script, timeout_seconds=None):
        """Runs a script on the phone.

        Args:
            script: the shell script.
            timeout_seconds: seconds of silence after which the phone counts as lost; None: `answer_seconds`.

        Returns:
            The tuple `(status, standard output, standard error)`.

        Raises:
            PhoneGone: the phone was lost, or was silent for too long.
        """
        timeout_seconds = timeout_seconds or self._answer_seconds
        with self._errors(f"running {script[:60]!r}", timeout_seconds):
            result = self._device.shell2(script, v2=True, timeout=timeout_seconds)
            self.is_silent = False
        return result.returncode, result.stdout, result.stderr

    def push(self, local, remote, mode=0o644, timeout_seconds=120.0):
        """Copies a file to the phone and verifies size and checksum of the copy.

        Args:
            local: path of the file on this machine.
            remote: its path on the phone.
            mode: its permissions there.
            timeout_seconds: seconds after which the phone counts as lost.

        Raises:
            AdbFailed: the file did not arrive whole, for instance because the storage is full.
            PhoneGone: the phone was lost before the file had arrived.
        """
        content = pathlib.Path(local).read_bytes()
        with self._errors(f"pushing {pathlib.Path(local).name}", timeout_seconds):
            self._send(content, remote, mode, timeout_seconds)
        if not self.holds(remote, content):
            raise AdbFailed(
                f"{self.serial}: the file pushed to {remote} is not what arrived there: sizes or checksums differ. "
                "Another program may write there, or the storage is full"
            )

    def holds(self, remote, content):
        """bool: whether the phone's file `remote` has exactly these bytes."""
        path = quote(remote)
        # Android 7 has no sha256sum. For a file that does not exist nothing is printed.
        script = f"wc -c < {path} 2>/dev/null; if command -v sha256sum >/dev/null; then sha256sum {path}; "
        script += f"else md5sum {path}; fi 2>/dev/null; true"
        words = self.shell(script).split()
        if len(words) < 2 or words[0] != str(len(content)):
            return False
        make = {64: hashlib.sha256, 32: hashlib.md5}.get(len(words[1]))
        return make is not None and make(content).hexdigest() == words[1]

    def _send(self, content, remote, mode, timeout_seconds):
        device, opened = self._device, []

        class Watched:
            """Notes the connections of a file transfer, so that they can be cut: adbutils has no time-out for it."""

            def open_transport(self, timeout=None):
                opened.append(device.open_transport(timeout=None))
                return opened[-1]

        late = threading.Event()

        def cut():
            late.set()
            for connection in opened:
                with contextlib.suppress(Exception):
                    connection.conn.shutdown(2)

        timer = threading.Timer(timeout_seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            self._package.sync.Sync(Watched()).push(content, remote, mode)
        except Exception as error:
            if late.is_set():
                raise TimeoutError from error
            if str(error) == "FAIL":
                raise AdbFailed(f"{self.serial} refused the file {remote}: {self._why_full(remote)}") from error
            raise
        finally:
            timer.cancel()

    def _why_full(self, remote):
        folder = str(pathlib.PurePosixPath(remote).parent)
        free = self.run(f"df -k {quote(folder)} 2>&1")[1].strip().splitlines()[-1:]
        return f"is its storage full? df says: {' '.join(free)}"

    @contextlib.contextmanager
    def _errors(self, doing, timeout_seconds):
        """Inside it, adbutils's errors become `PhoneGone`; `doing` is what they interrupt, in words."""
        package = self._package
        if self._closed is not None and self._closed.is_set():
            raise Closed(f"{self.serial} is no longer timed on: {doing} was not begun")
        try:
            yield
        except (package.AdbTimeout, TimeoutError) as error:
            self.is_silent = True
            raise PhoneGone(
                f"{self.serial} did not answer for {timeout_seconds:.0f} s while {doing}. Is it hung, or its cable bad?"
            ) from error
        except EvaluationError:
            raise
        except (package.AdbError, EOFError, OSError, RuntimeError, AssertionError) as error:
            raise PhoneGone(f"{self.serial} was lost while {doing}: {_text(error)}") from error


def _text(error):
    return " ".join(str(each) for each in error.args if each) or type(error).__name__
