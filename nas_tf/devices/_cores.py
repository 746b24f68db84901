"""Kinds of cores of this machine's processor: some have fast ones and efficient ones, which take other times."""

import os
import pathlib
import threading

_SYSTEM = pathlib.Path("/sys/devices")  # Linux; other systems do not tell the kinds apart
_INTEL = {"cpu_core": "performance", "cpu_atom": "efficiency"}


def kinds(system=_SYSTEM, usable=None):
    """Returns a list of `(name, cores)` of each kind of core, the fastest first; `cores` is a tuple of int.

    It is empty where all cores are alike, or the system does not tell.

    Args:
        system: the folder in which Linux describes devices.
        usable: `usable(cores)` returns those of some cores that a process can run on; None: as this machine has it.
    """
    usable = usable or _usable
    found = [(name, usable(cores)) for name, cores in _of_intel(system) or _of_arm(system)]
    found = [(name, cores) for name, cores in found if cores]
    return found if len(found) > 1 else []


def as_text(cores):
    """Returns cores as Linux writes them, such as `0-7,12`."""
    ordered, parts = sorted(cores), []
    for core in ordered:
        if parts and parts[-1][1] == core - 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _of_intel(system):
    lists = {name: _read(system / folder / "cpus") for folder, name in _INTEL.items()}
    return [(name, _cores(text)) for name, text in lists.items() if text]


def _of_arm(system):
    """Kinds by the capacity of each core, which Linux gives as a share of 1024 of the fastest one's."""
    by_capacity = {}
    for folder in (system / "system" / "cpu").glob("cpu[0-9]*"):
        capacity = _read(folder / "cpu_capacity")
        if capacity:
            by_capacity.setdefault(int(capacity), []).append(int(folder.name.removeprefix("cpu")))
    return [(f"capacity {each}", tuple(sorted(by_capacity[each]))) for each in sorted(by_capacity, reverse=True)]


def _read(path):
    """Returns the text of a file, empty if there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _cores(text):
    """Returns the cores of a list such as `0-7,12`."""
    ranges = [part.split("-") for part in text.split(",")]
    return tuple(core for each in ranges for core in range(int(each[0]), int(each[-1]) + 1))


def _usable(cores):
    """Returns those of some cores that are on and that a container does not withhold, whatever this process is pinned
    to.
    """
    if not hasattr(os, "sched_setaffinity"):
        return cores
    found = []

    def ask():
        try:
            os.sched_setaffinity(0, cores)  # of this thread alone
            found.extend(sorted(os.sched_getaffinity(0)))
        except OSError:
            pass  # it can run on none of them

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return tuple(found)
