"""Files that workers on other machines need: found there, or shipped to each machine once."""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import shutil
import tarfile
import tempfile

from nas_tf.trial import UserError

_SLICE_BYTES = 32 * 2**20
_FOLDER = "nas_tf_ray"


@dataclasses.dataclass(frozen=True)
class Parcel:
    """A file or folder, and what lies beside it under the same name, as they are on the machine that has them.

    Attributes:
        path: absolute path.
        stamp: number of files, their bytes, and the time of the newest in ns: another machine that sees the same path
            with the same stamp sees the same files.
        digest: hexadecimal SHA-256 of what was packed; empty: it is not shipped.
        slices: references to the bytes of a tar file, in order.
    """

    path: str
    stamp: tuple[int, int, int]
    digest: str = ""
    slices: tuple = ()


def belongings(path):
    """Returns a list of what has to lie together: a path, and the folder of an accuracy table beside its file."""
    path = pathlib.Path(path)
    beside = path.with_suffix(".blocks")
    return [path, beside] if path.suffix == ".json" and beside.is_dir() else [path]


def stamp_of(path):
    """Returns the `Parcel.stamp` of a path, or None if there is nothing."""
    count, size, newest = 0, 0, 0
    try:
        for file in _files(path):
            facts = file.stat()
            count, size, newest = count + 1, size + facts.st_size, max(newest, facts.st_mtime_ns)
    except OSError:
        return None
    return (count, size, newest) if os.path.exists(path) else None


def pack(path, put):
    """Returns the `Parcel` of a path, whose slices `put(bytes)` has taken."""
    stamp, digest, slices = stamp_of(path), hashlib.sha256(), []
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for each in belongings(path):
                tar.add(each, arcname=each.name, filter=_plain)
        file.seek(0)
        while block := file.read(_SLICE_BYTES):
            digest.update(block)
            slices.append(put(block))
    return Parcel(str(path), stamp, digest.hexdigest(), tuple(slices))


def unpacked(parcel, get):
    """Returns the path of a parcel's files on this machine: its own if they are there, else that of what was shipped.

    Args:
        parcel: the `Parcel`.
        get: `get(reference)` returns the bytes of a slice.

    Raises:
        UserError: the files are not there, and were not shipped.
    """
    if stamp_of(parcel.path) == parcel.stamp:
        return parcel.path
    if not parcel.digest:
        raise UserError(f"Expected {parcel.path} on every node, as it is where the search runs. {_here()} has it not")
    folder = machine_folder() / parcel.digest
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            _unpack(parcel, get, folder)
    return str(folder / pathlib.Path(parcel.path).name)


def _unpack(parcel, get, folder):
    begun = folder.with_suffix(".begun")
    shutil.rmtree(begun, ignore_errors=True)
    digest = hashlib.sha256()
    with tempfile.TemporaryFile(dir=folder.parent) as file:
        for each in parcel.slices:
            block = get(each)
            digest.update(block)
            file.write(block)
        if digest.hexdigest() != parcel.digest:
            raise UserError(f"What came of {parcel.path} on {_here()} is damaged. Give the same command again")
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            tar.extractall(begun, filter="data")
    begun.rename(folder)


def machine_folder():
    """Returns the `pathlib.Path` of a folder of this user's on this machine, which all nodes on it share."""
    folder = pathlib.Path(tempfile.gettempdir()) / f"{_FOLDER}_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"Expected {folder} to be this user's own. It is another's: remove it, or set TMPDIR")
    return folder


@contextlib.contextmanager
def locked(path):
    """Inside it no other process of this machine is in the same context."""
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _files(path):
    for each in belongings(path):
        if each.is_dir():
            for folder, folders, names in os.walk(each):
                folders.sort()
                yield from (pathlib.Path(folder) / name for name in sorted(names))
        else:
            yield each


def _plain(member):
    """Leaves out of an archive whose files they are."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member if member.isfile() or member.isdir() else None


def _here():
    import socket

    return socket.gethostname()
