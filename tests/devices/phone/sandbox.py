"""The phone's files: a folder of the host in which commands run, with the phone's paths in their text."""

import errno
import json
import os
import pathlib
import re
import shutil
import struct
import sys

from support import ROOT

HERE = pathlib.Path(__file__).parent
SAMPLES = ROOT / "tests" / "data" / "adb_samples"
# e_machine of the ELF files that a phone of each ABI runs, best first.
MACHINES = {"arm64-v8a": (183, 40), "armeabi-v7a": (40,), "x86_64": (62, 3), "x86": (3,)}
EMULATOR_CPU = {f"/sys/devices/system/cpu/{name}": "0-3\n" for name in ("online", "possible", "present")}
THERMAL_WITHOUT_HAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 1
\tkilled: false
\tbroadcasts count: -1
ThermalStatusListeners:
\tcallbacks: 1
\tkilled: false
\tbroadcasts count: -1
Thermal Status: 0
Cached temperatures:
HAL Ready: false
"""

# Paths of the phone within a command; /proc/PID and /proc/self stay the host's, where the processes are.
PATHS = re.compile(r"(?<![\w./-])/(?=(?:data|sdcard|sys|proc(?!/(?:\d|self|\$)))(?![\w.-]))")
# Where a shell starts a program: at the start of a command, after programs that start others, after assignments.
START = r"""(?:^|[;|(\n{]|(?<!>)&|\b(?:then|do|else)\s|\bsh\s-c\s'(?=/))\s*(?:\w+=\S*\s+)*
            (?:(?:exec|nohup|setsid|env|time|nice|timeout|taskset)\s+(?:[\w.=-]+\s+)*)*"""


def elf_header(abi):
    """The 64 bytes with which a program for `abi` begins: enough for a phone of this ABI to run the stand-in."""
    bits = 2 if abi in ("arm64-v8a", "x86_64") else 1
    return struct.pack("<4sBBBB8xHHI", b"\x7fELF", bits, 1, 1, 0, 3, MACHINES[abi][0], 1).ljust(64, b"\0")


class Mapper:
    """Turns the sandbox's paths in a stream of bytes back into the phone's."""

    def __init__(self, root):
        self._root, self._held = root, b""

    def feed(self, data):
        data = self._held + data
        # A path may be split over two reads: an end that may be the start of one waits for the next.
        ends = () if data.endswith(self._root + b"/") else range(min(len(self._root), len(data)), 0, -1)
        held = next((size for size in ends if data.endswith(self._root[:size])), 0)
        data, self._held = data[: len(data) - held], data[len(data) - held :]
        return re.sub(re.escape(self._root) + rb"(?:/|(?![\w.-]))", b"/", data)

    def rest(self):
        held, self._held = self._held, b""
        return b"/" if held == self._root else held


class Sandbox:
    """The folder `root` with /data, /sdcard, /sys and /proc of a phone; `elsewhere` holds what is not the phone's."""

    def __init__(self, root, emulator, sysfs):
        self.root = pathlib.Path(root).resolve()
        if not re.fullmatch(r"[\w./-]+", str(self.root)):
            raise ValueError(f"root must be a path that a shell needs no quotes for. Received: root={root}")
        self.elsewhere = self.root.with_name(self.root.name + ".phone")
        self.more_programs = ""  # a folder of programs that go before the usual ones
        for folder in ("data/local/tmp", "sdcard", "proc", "sys"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("state", "records"):
            (self.elsewhere / folder).mkdir(parents=True, exist_ok=True)
        name = "emulator" if emulator else "pixel-2-xl"
        shutil.copy(SAMPLES / f"proc_cpuinfo_{name}.txt", self.root / "proc" / "cpuinfo")
        files = EMULATOR_CPU if emulator else json.loads((SAMPLES / f"sysfs_cpu_{name}.json").read_text())
        for path, text in {**files, **(sysfs or {})}.items():
            if text is not None:  # None: this phone has no such file
                host = pathlib.Path(self.host(path))
                host.parent.mkdir(parents=True, exist_ok=True)
                host.write_text(text)
        self.properties = dict(
            re.match(r"\[(.*?)\]: \[(.*)\]$", line).groups()
            for line in (SAMPLES / f"getprop_{name}.txt").read_text().splitlines()
        )
        thermal = THERMAL_WITHOUT_HAL if emulator else (SAMPLES / "dumpsys_thermalservice.txt").read_text()
        self.write_state("thermalservice", thermal)

    def write_state(self, name, text):
        """Gives the commands in `bin` a new value; in one step, for they may be reading."""
        path = self.elsewhere / "state" / name
        temporary = path.with_name(name + ".new")
        temporary.write_text(text)
        temporary.replace(path)

    def host(self, path):
        """The host's path for a path of the phone."""
        return str(self.root / os.path.normpath("/" + path.lstrip("/")).lstrip("/"))

    def create(self, path):
        """Opens a file of the phone for writing, with its parent folders; raises OSError as a phone would."""
        host = pathlib.Path(self.host(path))
        writable = [self.root / "data" / "local" / "tmp", self.root / "sdcard"]
        if not any(folder in host.parents for folder in writable):
            code = errno.EACCES if self.root / "data" in host.parents else errno.EROFS
            raise OSError(code, os.strerror(code))
        host.parent.mkdir(parents=True, exist_ok=True)
        if host.is_file():
            host.unlink()  # as adbd does: a program that runs from the old file goes on
        return host.open("wb")

    def command(self, text):
        """The text of a command for the host's shell."""
        text = PATHS.sub(f"{self.root}/", text)
        start = re.compile(rf"({START})(?=['\"]?(?:{re.escape(str(self.root))}/|\./))", re.VERBOSE)
        return start.sub(r"\1run ", text)

    def mapper(self):
        return Mapper(os.fsencode(self.root))

    def environment(self, abi, identity, gpu, logs, tool, slower):
        return {
            "PATH": f"{self.more_programs or HERE / 'bin'}:{HERE / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.root),
            "TMPDIR": str(self.root / "data" / "local" / "tmp"),
            "LANG": "C.UTF-8",
            "PHONE_STATE": str(self.elsewhere / "state"),
            "PHONE_RECORD": str(self.elsewhere / "records" / identity),
            "PHONE_PYTHON": sys.executable,
            "PHONE_BENCHMARK": str(HERE / "benchmark_model.py"),
            "PHONE_MACHINES": " ".join(map(str, MACHINES[abi])),
            "PHONE_GPU": gpu,
            "PHONE_LOGS": logs,
            "PHONE_TOOL": tool,
            "PHONE_SLOWER": str(slower),
        }

    def records(self, identity):
        """What the runs of the benchmark within one command noted at their start, in the phone's paths."""
        paths = sorted((self.elsewhere / "records").glob(f"{identity}-*.json"))
        texts = [path.read_text().replace(f"{self.root}/", "/") for path in paths]
        return [json.loads(text) for text in texts]
