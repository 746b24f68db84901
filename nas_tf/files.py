"""Writes files whole or not at all, reads bounded JSON from them, and keeps a folder to one program at a time."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re

from nas_tf.trial import UserError

# JSON of others is bounded before memory is taken. The largest here, NASNet-A large in a `.keras` file, has 1 MB.
_MAX_JSON_BYTES = 2 << 20
_MAX_JSON_DEPTH = 64
_MAX_JSON_DIGITS = 18  # a whole number of more does not fit in 64 bits
_NETWORK_FILE_SYSTEMS = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "afs",
    "fuse.sshfs",
    "lustre",
    "gpfs",
    "glusterfs",
    "ceph",
    "webdav",
)


def write_file(path, content):
    """Writes bytes or text so that `path` holds either all of it or what it held before."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Writes a JSON value of finite numbers, as `write_file` does."""
    write_file(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_array(path, array):
    """Writes a NumPy array as a `.npy` file, as `write_file` does."""
    import io

    import numpy as np

    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_file(path, content.getvalue())


def read_json(path):
    """Returns the JSON value in a file. Returns None if there is no such file, or if it does not hold JSON."""
    try:
        return load_json(path)
    except (OSError, ValueError):
        return None


def load_json(path):
    """Returns the JSON value in a file, as `parse_json` does.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no regular file, or holds no JSON within the bounds.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError("it is no regular file")
    if size > _MAX_JSON_BYTES:
        raise ValueError(f"it has {size:,} bytes. Expected at most {_MAX_JSON_BYTES:,}")
    return parse_json(path.read_bytes())


def parse_json(text):
    """Returns the value of JSON that may come from anybody, str or bytes.

    Raises:
        ValueError: it is no JSON; it is longer than 2 MiB, or nested deeper than 64 levels; a number is not finite, or
            a whole number has more than 18 digits; or a text holds half a character.
    """
    if len(text) > _MAX_JSON_BYTES:
        raise ValueError(f"it is {len(text):,} long. Expected at most {_MAX_JSON_BYTES:,}")
    try:
        value = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError(f"it is nested too deeply. Expected at most {_MAX_JSON_DEPTH} levels") from error
    depth, level = 0, [value]
    while level := [each for each in level if type(each) in (dict, list)]:
        depth += 1
        if depth > _MAX_JSON_DEPTH:
            raise ValueError(f"it is nested too deeply. Expected at most {_MAX_JSON_DEPTH} levels")
        level = [inner for each in level for inner in (each.values() if type(each) is dict else each)]
    if re.search(r"\\u[dD][89a-fA-F]" if isinstance(text, str) else rb"\\u[dD][89a-fA-F]", text):
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text that can be printed
    return value


def _whole(written):
    if len(written.lstrip("-")) > _MAX_JSON_DIGITS:
        raise ValueError(
            f"it holds a whole number of {len(written):,} characters. Expected at most {_MAX_JSON_DIGITS} digits"
        )
    return int(written)


def _finite(written):
    value = float(written)
    if not math.isfinite(value):
        raise ValueError(f"it holds {written[:40]}. Expected finite numbers")
    return value


def digest(path):
    """Returns the SHA-256 of a file, or of the names and contents of all files in a folder but its card, README.md."""
    path, found = pathlib.Path(path), hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and (file == path or file.name != "README.md"):
            with open(file, "rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
            if file == path:
                return content
            found.update(f"{file.relative_to(path)} {content}\n".encode())
    return found.hexdigest()


def check_writable(folder):
    """Makes `folder` if need be, and raises `UserError` if it cannot be written."""
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"Expected a folder that can be written. Received: {str(folder)!r}: {error.strerror}"
        ) from error


@contextlib.contextmanager
def alone(folder, what="program"):
    """Returns a context in which no other process may enter the same folder; it ends with the process in any case.

    Args:
        folder: a folder that can be written.
        what: who uses it, for the message.

    Raises:
        UserError: another process is in it; the message has its id.
    """
    path = pathlib.Path(folder) / ".lock"
    with open(path, "a+") as file:
        if not _lock(file):
            file.seek(0)
            raise UserError(
                f"{folder} is in use by another {what}, process {file.read().strip() or 'unknown'}. Wait until it has "
                "ended, or stop it"
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock(file):
    """Locks an open file until it is closed. Returns False if another process has locked it."""
    try:
        import fcntl
    except ImportError:  # a system without such locks
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"Expected a folder on a local disk, where files can be locked. Received: {file.name}: {error.strerror}"
        ) from error
    return True


def refuse_network_file_system(folder, mounts=None):
    """Raises `UserError` if `folder` lies on a network file system, whose locks SQLite's WAL mode cannot trust.

    Args:
        folder: the folder of the run.
        mounts: pairs of mount point and file system type; None: those of this machine.
    """
    if mounts is None:
        import psutil

        mounts = [(mount.mountpoint, mount.fstype) for mount in psutil.disk_partitions(all=True)]
    resolved = pathlib.Path(folder).resolve()
    above = [(len(point), kind) for point, kind in mounts if resolved.is_relative_to(point)]
    kind = max(above)[1].lower() if above else ""
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        raise UserError(
            f"Expected --run_dir on a local disk: SQLite records cannot be trusted to a network file system. "
            f"Received: {str(folder)!r} on {kind}"
        )


class JsonLines:
    """A file of JSON objects, one in each line, to which results are added as they come.

    A last line that a kill has cut short is dropped.

    Args:
        path: of the file, which need not be there.
        keys: names of the fields that tell one line from another.

    Raises:
        UserError: a line is damaged.
    """

    def __init__(self, path, keys):
        self._path, self._keys, self._found = pathlib.Path(path), keys, {}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            return
        text = self._path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            write_file(self._path, whole)
        for line in whole.splitlines():
            try:
                value = parse_json(line)
                self._found[self._key(value)] = value
            except (ValueError, KeyError, TypeError) as error:
                shown = line[:80].decode(errors="replace")
                raise UserError(
                    f"{self._path} is damaged: {shown!r}. Remove {self._path.parent} to begin anew"
                ) from error

    def _key(self, value):
        return tuple(value[name] for name in self._keys)

    def __contains__(self, key):
        return key in self._found

    def __getitem__(self, key):
        return self._found[key]

    def get(self, key):
        """Returns the object of a key, a tuple of the values of `keys`, or None."""
        return self._found.get(key)

    def add(self, value):
        with open(self._path, "a") as file:
            file.write(json.dumps(value) + "\n")
        self._found[self._key(value)] = value
