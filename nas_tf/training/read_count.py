"""How often the test images have been read for the networks of one folder: each reading makes the next worth less."""

import datetime
import pathlib

from nas_tf.files import read_json, write_json

_FILE = "test_reads.json"


def note(folder, network):
    """Notes that the test images were read for a network, called by that name, of `folder`."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json(pathlib.Path(folder) / _FILE, [*_reads(folder), {"network": network, "at": now}])


def said(folder):
    """Returns in words how often the test images have been read for `folder`."""
    number = len(_reads(folder))
    times = {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")
    return f"the test images have been read {times} for {folder}"


def _reads(folder):
    reads = read_json(pathlib.Path(folder) / _FILE)
    return reads if isinstance(reads, list) else []
