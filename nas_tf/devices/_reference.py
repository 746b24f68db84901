"""The reference network, which never changes: how fast a device is now, beside how fast it was at first.

What is remembered of each device is a JSON file in the user's cache folder.
"""

import contextlib
import os
import pathlib

from nas_tf.files import read_json, write_json
from nas_tf.space import fingerprint
from nas_tf.trial import UserError

REFERENCE = pathlib.Path(__file__).with_name("reference.tflite")  # made by tools/make_reference.py


def cache_folder():
    """pathlib.Path: the folder of this user's downloaded tools, and of the devices' reference latencies."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "nas_tf"


class Memory:
    """What is remembered of a device.

    Args:
        kind: the folder's name, as in "phones".
        name: what tells the device from others, JSON-ready.

    Raises:
        UserError: the cache folder cannot be written.
    """

    def __init__(self, kind, name):
        folder = cache_folder() / kind
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Expected to keep what is known of a device in {folder}: {error.strerror}. Set XDG_CACHE_HOME to a "
                "folder that you may write"
            ) from error
        self._path = folder / f"{fingerprint(name)}.json"
        self.lock_path = self._path.with_suffix(".lock")

    @contextlib.contextmanager
    def held(self):
        """Inside it no other process holds what is remembered, where the system has locks; it waits for that."""
        with open(self.lock_path, "a") as file:
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read(self):
        """Returns a dict of what is remembered, empty where nothing is or the file is damaged."""
        value = read_json(self._path)
        return value if isinstance(value, dict) else {}

    def write(self, value):
        """Remembers a JSON-ready dict in place of what was remembered before."""
        write_json(self._path, value)

    def update(self, **values):
        """Remembers some JSON-ready values beside others, which another process may be writing; None forgets one."""
        with open(self._path.with_suffix(".writing"), "a") as file:
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            found = {**self.read(), **values}
            self.write({name: value for name, value in found.items() if value is not None})
