"""Writes files whole or not at all, and reads JSON from them."""

import json
import os
import pathlib

from nas_tf.trial import UserError

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
    """Writes a JSON value, as `write_file` does."""
    write_file(path, json.dumps(value, indent=2) + "\n")


def read_json(path):
    """Returns the JSON value in a file. Returns None if there is no such file, or if it does not hold JSON."""
    try:
        return json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError):
        return None


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
