"""The phone: it listens on a loopback port, in a thread of its own, and writes down what happens to it."""

import asyncio
import contextlib
import itertools
import os
import pathlib
import re
import signal
import socket
import threading
import time
import zlib

from phone.link import FEATURES, Link
from phone.sandbox import MACHINES, Sandbox
from phone.shell import STDERR, STDOUT

EMULATOR_PORTS = range(5557, 5586, 2)  # where an adb server looks for emulators; 5555 is left to real ones


def _listen(ports):
    """A socket that listens on the first of `ports` that is free."""
    for port in ports:
        # asyncio turns Nagle's algorithm off only where the protocol is named; without that a shell takes 40 ms more.
        listener = socket.socket(proto=socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError:
            listener.close()
            continue
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # for `_keep`, and too late for others
        return listener
    raise OSError(f"no port is free. Expected one of: {list(ports)}")


def _keep(port):
    """A socket that keeps the port of an unplugged phone and refuses connections."""
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    keeper.bind(("127.0.0.1", port))
    return keeper


class Phone:
    """A phone whose files lie under `root`, by default a Pixel 2 XL with Android 11 (API 30).

    `emulator`: an Android emulator with x86_64 CPUs; `found=True` has it listen where adb servers look for emulators.
    `sysfs`: files to add, path to text; None removes one. `props`: properties to add. `gpu`: what the benchmark's GPU
    delegate takes, "all", "part" or "none". `logs`: where the benchmark prints, "split" as the tool does (INFO and
    WARN to stdout; ERROR and the runtime's own lines to stderr), "stdout" or "stderr". `tool`: which benchmark_model a
    pushed one is, "tflite", "litert" or "endless", which never stops to print. `features`: of its adbd; without
    shell_v2 it is that of Android 6 or older. `slower`: how many inferences it does in place of each.
    `children_survive`: a lost link hangs up the shell only (SIGHUP), as a real phone does; else all its processes end.
    """

    def __init__(
        self,
        root,
        *,
        model=None,
        serial=None,
        abi=None,
        sdk=None,
        emulator=False,
        found=False,
        sysfs=None,
        props=None,
        gpu="all",
        logs="split",
        tool="tflite",
        slower=1,
        features=FEATURES,
        children_survive=False,
    ):
        self.abi = abi or ("x86_64" if emulator else "arm64-v8a")
        if self.abi not in MACHINES:
            raise ValueError(f"abi must be one of {', '.join(MACHINES)}. Received: abi={abi!r}")
        self.sandbox, self.journal, self.state, self.faults = Sandbox(root, emulator, sysfs), [], {}, []
        self._benchmark, self._children_survive = (gpu, logs, tool, slower), children_survive
        self.features = features
        properties = self.sandbox.properties
        if abi:
            properties.update({"ro.product.cpu.abi": abi, "ro.product.cpu.abilist": abi})
        self.serial = serial or f"712KPBF{zlib.crc32(str(root).encode()):07d}"  # each phone has its own
        properties.update({"ro.serialno": self.serial, "ro.boot.serialno": self.serial})
        if model:
            properties["ro.product.model"] = model
        if not emulator or sdk:
            properties["ro.build.version.sdk"] = str(sdk or 30)
            properties["ro.build.version.release"] = {29: "10", 30: "11"}.get(sdk or 30, "8.1.0")
        properties.update(props or {})
        self.sandbox.write_state("getprop", "".join(f"[{k}]: [{v}]\n" for k, v in sorted(properties.items())))
        self.sandbox.write_state("sdk", properties["ro.build.version.sdk"] + "\n")
        names = ("name", "model", "device")
        self.banner = ";".join(f"ro.product.{name}={properties[f'ro.product.{name}']}" for name in names)
        self.set(
            battery_level=80,
            battery_temperature=274,
            low_power=0,
            free_kb=20_000_000,
            thermal=[0],
            fixed_performance_works=1,
        )
        self._spawned = []
        self._links, self._survivors, self._identities = set(), [], itertools.count()
        self._lock, self._changed, self._closing = threading.Lock(), threading.Condition(), False
        self._listener, self._server = _listen(EMULATOR_PORTS if found else [0]), None
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"phone {self.address}", daemon=True)
        self._thread.start()
        self.plug()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # What a test calls, from its own thread.

    def set(self, **values):
        """battery_level, battery_temperature (tenths of a degree), low_power (0, 1 or None: never set), free_kb,
        thermal (statuses that dumpsys gives one after another; the last stays), fixed_performance_works (0 or 1)."""
        known = {"battery_level", "battery_temperature", "low_power", "free_kb", "thermal", "fixed_performance_works"}
        if unknown := values.keys() - known:
            raise ValueError(f"a phone has {', '.join(sorted(known))}. Received: {', '.join(sorted(unknown))}")
        for name, value in values.items():
            self.state[name] = value
            lines = value if isinstance(value, (list, tuple)) else ["null" if value is None else value]
            self.sandbox.write_state(name, "".join(f"{line}\n" for line in lines))

    @property
    def fixed_performance(self):
        """What `cmd power set-fixed-performance-mode-enabled` was last called with, or None."""
        path = self.sandbox.elsewhere / "state" / "fixed_performance"
        return path.read_text().strip() if path.exists() else None

    def add(self, *faults):
        self.faults.extend(faults)

    def clear(self):
        """Ends all faults, those that last included."""
        self.faults.clear()

    def path(self, path):
        """Where a file of the phone lies on this machine."""
        return self.sandbox.root / path.lstrip("/")

    def events(self, event, **fields):
        """The entries of the journal of this kind and with these fields, oldest first."""
        wanted = {"event": event, **fields}.items()
        return [entry for entry in list(self.journal) if wanted <= {k: entry.get(k) for k, _ in wanted}.items()]

    def wait_for(self, event, count=1, timeout=20, **fields):
        """The `count`-th such entry of the journal, once it is there."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.events(event, **fields)) >= count, timeout):
                raise TimeoutError(f"no {event} {fields} within {timeout} s; the journal ends: {self.journal[-3:]}")
        return self.events(event, **fields)[count - 1]

    def unplug(self, away=None):
        """Cuts all links and refuses new ones for `away` seconds (0: takes them at once; None: until `plug`)."""
        self._call(self._in_loop(lambda: self.cut(away)))

    def plug(self):
        self._call(self._plug())

    def close(self):
        if self._loop.is_closed():
            return
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listener.close()

    # What the services call, in the phone's thread.

    def log(self, event, **fields):
        with self._changed:
            self.journal.append({"event": event, "time": time.time(), **fields})
            self._changed.notify_all()

    def take(self, place, text=""):
        """The next fault for this place, whose strike is now due; None where all goes well."""
        with self._lock:
            for fault in self.faults:
                if fault.place == place and fault.times > 0 and re.search(fault.match, text):
                    fault.times -= 1
                    return fault
        return None

    def strike(self, fault, **fields):
        fault.struck += 1
        if fault.place != "message" or fault.struck == 1:  # a slow phone would fill the journal
            self.log("fault", kind=fault.kind, **fields)

    async def break_link(self, link, fault):
        """Unplugs the phone, or leaves the link open and silent; returns where the fault is of another kind."""
        if fault.action == "unplug":
            self.cut(fault.away)
            raise ConnectionResetError("unplugged")
        if fault.action == "hang":
            link.silent = True
            await asyncio.Event().wait()

    def cut(self, away):
        self.log("unplug", away=away)
        if away != 0 and self._server:
            self._listener = _keep(self.port)
            self._server.close()
            self._server = None
            if away:
                self._loop.call_later(away, lambda: self._loop.create_task(self._plug()))
        for link in self._links:
            link.cut()

    async def spawn(self, command, merged):
        """Starts a command in a session of its own; the process and the name under which its runs keep records."""
        identity = f"{next(self._identities):05d}"
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            *(("-c", self.sandbox.command(command)) if command else ()),
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.STDOUT if merged else pipe,
            start_new_session=True,
            cwd=self.sandbox.root,
            env=self.sandbox.environment(self.abi, identity, *self._benchmark),
        )
        self._spawned.append(process)
        return process, identity

    def kill(self, process):
        """Ends a command whose link is lost."""
        with contextlib.suppress(ProcessLookupError):
            if self._children_survive:
                self._survivors.append(process)  # asyncio kills a process that nothing refers to
                os.kill(process.pid, signal.SIGHUP)
            else:
                os.killpg(process.pid, signal.SIGKILL)

    def processes(self):
        """The ids of all processes that commands of this phone started and that still run."""
        mark, found = f"PHONE_STATE={self.sandbox.elsewhere}/".encode(), []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if mark in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def log_command(self, identity, command, status, output):
        texts = {"stdout": output.text[STDOUT], "stderr": output.text[STDERR]}
        texts = {name: text.decode(errors="replace") for name, text in texts.items()}
        for record in self.sandbox.records(identity):
            self.log("benchmark", **record, command=command, status=status, **texts)
        self.log("shell", command=command, status=status, **texts)

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _in_loop(self, function):
        return function()

    async def _plug(self):
        if not self._server and not self._closing:
            self._server = await asyncio.start_server(self._accept, sock=self._listener)

    async def _accept(self, reader, writer):
        link = Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def _close(self):
        self._closing = True
        if self._server:
            self._server.close()
        for link in self._links:
            link.cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others, timeout=10) if others else None
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for process in self._spawned:
            process._transport.close()  # while the loop still runs, which its pipes belong to
