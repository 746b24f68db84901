"""One phone over adb, through adbutils: shells, pushes and their time-outs. Names that the user gives are quoted here.

adbutils raises its own kinds of error, bare EOFErrors and OSErrors; its pushes have no time-out, and its shells only
one for silence. This module raises two kinds only: `PhoneGone` (the phone, or the connection to it, is lost: another
phone may take its job) and `AdbFailed`. A command has so many seconds in all, and may print so much.
"""

import contextlib
import functools
import hashlib
import pathlib
import re
import shlex
import struct
import threading
import time

from nas_tf.trial import EvaluationError, UserError

_MOST_OUTPUT = 8 << 20  # bytes that one command may print
_STDOUT, _STDERR, _EXIT = 1, 2, 3  # packets of the shell service's second form
_STATUS = "--nas_tf status--"  # before the exit status, where the phone's adbd has the first form only
# What adb takes as the address of a phone that it can be told to connect to again.
_OVER_NETWORK = re.compile(r".+:\d+|.+\._adb(?:-tls-connect)?\._tcp\.?")


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
        answer_seconds: seconds in which a short command must be done; after these the phone counts as lost.
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
        self._has_second_form = None

    def is_back(self):
        """bool: whether the phone answers. A phone that adb reaches over a network, by address or by the name that
        wireless debugging gives it (mDNS), is connected again if it does not."""
        if self._answers():
            return True
        if _OVER_NETWORK.fullmatch(self.serial):
            # To adb a phone that hangs is still connected: only a new connection shows whether it works again.
            with contextlib.suppress(Exception):  # all that matters is whether it answers afterwards
                self._client.disconnect(self.serial)
                self._client.connect(self.serial, timeout=self._answer_seconds)
            return self._answers()
        return False

    def _answers(self):
        with contextlib.suppress(EvaluationError, UserError):
            return list_phones().get(self.serial) == "device" and "here" in self.shell("echo here").split()
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
            timeout_seconds: seconds that it may take in all, whatever it prints; None: `answer_seconds`.

        Returns:
            The tuple `(status, standard output, standard error)`. Where the phone's adbd has no second form of the
            shell service (Android 6 and older), all is in the output.

        Raises:
            PhoneGone: the phone was lost, or the script was not done in time.
            AdbFailed: it printed more than 8 MiB.
        """
        timeout_seconds = timeout_seconds or self._answer_seconds
        with self._errors(f"running {script[:60]!r}", timeout_seconds):
            deadline = time.monotonic() + timeout_seconds
            if self._has_second_form is None:
                self._has_second_form = "shell_v2" in self._device.get_features().split(",")
            connection = self._device.open_transport(timeout=timeout_seconds)
            try:
                answer = _Answer(connection.conn, deadline)
                if self._has_second_form:
                    connection.send_command(f"shell,v2,raw:{script}")
                    connection.check_okay()
                    result = answer.of_second_form()
                else:
                    connection.send_command(f"shell:sh -c {quote(script)}; echo '{_STATUS}'$?")
                    connection.check_okay()
                    result = answer.of_first_form()
            except TimeoutError as error:
                if not answer.size:
                    raise
                raise PhoneGone(  # it answers, and is not hung
                    f"{self.serial} did not end {script[:60]!r} within {timeout_seconds:.0f} s"
                ) from error
            except _Flood:
                raise AdbFailed(
                    f"{self.serial}: {script[:60]!r} printed more than {_MOST_OUTPUT >> 20} MiB, and was ended"
                ) from None
            finally:
                connection.conn.close()
            self.is_silent = False
        return result

    def read(self, remote, most_bytes):
        """Returns the bytes of a file of the phone; None where there is none, or one of more than `most_bytes`."""
        size = re.search(r"^\s*(\d+)\s*$", self.run(f"wc -c < {quote(remote)} 2>/dev/null")[1], re.MULTILINE)
        if size is None or int(size[1]) > most_bytes:
            return None
        with self._errors(f"reading {remote}", self._answer_seconds):
            return self._transfer(self._answer_seconds, lambda sync: sync.read_bytes(remote))

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
        answer = self.shell(script)  # which may have warnings among its lines
        size = re.search(r"^\s*(\d+)\s*$", answer, re.MULTILINE)
        digest = re.search(r"^\\?([0-9a-f]{64}|[0-9a-f]{32})\s", answer, re.MULTILINE)
        if not (size and digest) or int(size[1]) != len(content):
            return False
        make = {64: hashlib.sha256, 32: hashlib.md5}[len(digest[1])]
        return make(content).hexdigest() == digest[1]

    def _send(self, content, remote, mode, timeout_seconds):
        try:
            self._transfer(timeout_seconds, lambda sync: sync.push(content, remote, mode))
        except Exception as error:
            if str(error) == "FAIL":
                raise AdbFailed(f"{self.serial} refused the file {remote}: {self._why_full(remote)}") from error
            raise

    def _transfer(self, timeout_seconds, do):
        """Returns `do(sync)` of adbutils's file transfer, for which it has no time-out."""
        device, opened = self._device, []

        class Watched:
            """Notes the connections of a file transfer, so that they can be cut."""

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
            return do(self._package.sync.Sync(Watched()))
        except Exception as error:
            if late.is_set():
                raise TimeoutError from error
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
                f"{self.serial} did not answer within {timeout_seconds:.0f} s while {doing}. Is it hung, or its cable "
                "bad?"
            ) from error
        except EvaluationError:
            raise
        except (package.AdbError, EOFError, OSError, RuntimeError, AssertionError) as error:
            raise PhoneGone(f"{self.serial} was lost while {doing}: {_text(error)}") from error


class _Flood(Exception):
    """A command prints without end."""


class _Answer:
    """What a command prints, read until its end, its deadline or the most that it may print.

    Attributes:
        size: int, how many bytes came.
    """

    def __init__(self, connection, deadline):
        self._connection, self._deadline = connection, deadline
        self.size = 0

    def of_second_form(self):
        """Returns `(status, stdout, stderr)`: the shell service's packets of kind, size and bytes."""
        texts, held = {_STDOUT: bytearray(), _STDERR: bytearray()}, bytearray()
        while chunk := self._receive():
            held += chunk
            start = 0
            while len(held) - start >= 5:
                kind, size = struct.unpack_from("<BI", held, start)
                if len(held) - start - 5 < size:
                    if size > _MOST_OUTPUT:
                        raise _Flood
                    break
                data, start = held[start + 5 : start + 5 + size], start + 5 + size
                if kind == _EXIT:
                    return (data[0] if data else 255), _decoded(texts[_STDOUT]), _decoded(texts[_STDERR])
                if kind in texts:
                    texts[kind] += data
            del held[:start]
        raise EOFError("the connection ended before the command")

    def of_first_form(self):
        """Returns `(status, output, "")`: all comes through one terminal, and the script says its own status last."""
        text = bytearray()
        while chunk := self._receive():
            text += chunk
        output, mark, status = _decoded(text).replace("\r\n", "\n").rpartition(_STATUS)
        status = re.match(r"\d+", status)
        if not mark or not status:
            raise EOFError("the connection ended before the command")
        return int(status[0]), output, ""

    def _receive(self):
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        chunk = self._connection.recv(1 << 16)
        self.size += len(chunk)
        if self.size > _MOST_OUTPUT:
            raise _Flood
        return chunk


def _decoded(data):
    return data.decode("utf-8", "replace")


def _text(error):
    return " ".join(str(each) for each in error.args if each) or type(error).__name__
