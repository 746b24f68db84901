"""A real adb server for tests, apart from any other of this machine."""

import os
import pathlib
import socket
import subprocess
import time


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class AdbServer:
    """The adb binary of adbutils' wheel as a server on a port of its own, with HOME and TMPDIR under `folder`.

    `find_emulators`: the server looks for emulators on this machine's ports 5555 to 5585.
    """

    def __init__(self, folder, find_emulators=False):
        import adbutils

        self.path = str(pathlib.Path(adbutils.__file__).parent / "binaries" / "adb")
        self._folder = pathlib.Path(folder) / "adb"
        self._emulators, self._process = find_emulators, None
        self.port, self.env, self.client = None, {}, None

    def __enter__(self):
        import adbutils

        for name in ("home", "tmp"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(5):  # another process may take the port first
            self.port = _free_port()
            self.env = self._environment()
            log = (self._folder / "server.log").open("ab")
            with log:
                self._process = subprocess.Popen(
                    [self.path, "-P", str(self.port), "nodaemon", "server"],
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._wait_until(lambda: self.is_listening() or self._process.poll() is not None)
            if self.is_listening() and self._process.poll() is None:
                self.client = adbutils.AdbClient("127.0.0.1", self.port)
                return self
        self.__exit__()
        raise RuntimeError(f"adb server did not start: {(self._folder / 'server.log').read_text()[-1000:]}")

    def __exit__(self, *_):
        if self.is_listening():
            subprocess.run([self.path, "kill-server"], env=self.env, capture_output=True, timeout=20, check=False)
        if not self._wait_until(lambda: self._process.poll() is not None):
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"adb server on port {self.port} did not end at kill-server")
        if not self._wait_until(lambda: not self.is_listening()):
            raise RuntimeError(f"an adb server is left behind on port {self.port}")

    def _environment(self):
        """The environment of this process, with this server for adb and adbutils and no device chosen."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("ADB", "ANDROID_"))}
        return {
            **ours,
            "HOME": str(self._folder / "home"),
            "TMPDIR": str(self._folder / "tmp"),
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "ADBUTILS_ADB_PATH": self.path,
            "ADB_MDNS": "0",
            "ADB_USB": "0",
            "ADB_EMU": "1" if self._emulators else "0",
        }

    def is_listening(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _wait_until(self, condition, seconds=15):
        deadline = time.monotonic() + seconds
        while not (met := condition()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return met

    def run(self, *arguments, timeout=60, **options):
        """Runs the adb client; `subprocess.CompletedProcess` with its text."""
        return subprocess.run(
            [self.path, *map(str, arguments)],
            env=self.env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
            **options,
        )

    def connect(self, phone):
        """Has the server connect to `phone` and gives its serial."""
        answer = self.run("connect", phone.address).stdout
        if not answer.startswith(("connected to", "already connected to")):
            raise RuntimeError(f"adb connect: {answer.strip()}")
        return phone.address

    def state(self, serial):
        """`device`, `offline`, `unauthorized`, or None where the server does not list `serial`."""
        lines = [line.split() for line in self.run("devices").stdout.splitlines()[1:] if line.strip()]
        return dict(line[:2] for line in lines).get(serial)

    def wait_for_state(self, serial, state, seconds=20):
        if not self._wait_until(lambda: self.state(serial) == state, seconds):
            raise TimeoutError(f"{serial} is {self.state(serial)}, not {state}, after {seconds} s")
