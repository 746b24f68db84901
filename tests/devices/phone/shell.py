"""The `shell` and `exec` services: a command in /bin/sh, its output on the way to the host, and its faults."""

import asyncio
import contextlib
import os
import signal
import struct

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)  # packets of the second form of the service


async def serve(phone, stream, service):
    head, command = service.split(":", 1)
    second_form = "v2" in head.split(",")
    process, identity = await phone.spawn(command, merged=not second_form)
    output = Output(phone, stream, second_form, command, process)
    tasks = [asyncio.create_task(_forward_input(stream, process, second_form))]
    status = None
    try:
        await output.begin()
        readers = [(process.stdout, STDOUT), (process.stderr, STDERR)]
        tasks += [asyncio.create_task(output.follow(pipe, packet)) for pipe, packet in readers if pipe]
        await asyncio.gather(*tasks[1:])
        status = await process.wait()
        status = await output.end(128 - status if status < 0 else status)
    finally:
        for task in tasks:
            task.cancel()
        if status is None:
            phone.kill(process)
        phone.log_command(identity, command, status, output)
    if second_form:
        await stream.write(struct.pack("<BIB", EXIT, 1, status))


async def _forward_input(stream, process, second_form):
    """Passes what the client types to the command, until the client closes its input."""
    try:
        while True:
            if second_form:
                packet, size = struct.unpack("<BI", await stream.read_exactly(5))
                data = await stream.read_exactly(size)
            else:
                packet, data = STDIN, await stream.read()
            if packet == CLOSE_STDIN:
                process.stdin.close()
            elif packet == STDIN:
                process.stdin.write(data)
                await process.stdin.drain()
    except OSError:
        pass  # the command does not read


class Output:
    """What a command prints: `text[STDOUT]` and `text[STDERR]` hold what was sent, faults included."""

    def __init__(self, phone, stream, second_form, command, process):
        self.text = {STDOUT: b"", STDERR: b""}
        self._phone, self._stream, self._second_form, self._process = phone, stream, second_form, process
        self._command, self._sent = command, b""
        benchmark = "--graph=" in command
        self._fault = (phone.take("benchmark", command) if benchmark else None) or phone.take("shell", command)
        self._kind = self._fault.kind if self._fault else None
        self._lost = False  # what comes from now on never reaches the host
        self._lock = asyncio.Lock()

    async def begin(self):
        if self._fault and self._fault.after == 0 and self._cuts():
            await self._strike()

    async def follow(self, pipe, packet):
        """Sends what comes from `pipe` until its end; paths of the sandbox become the phone's."""
        mapper = self._phone.sandbox.mapper()
        pending = b""
        while True:
            data = await pipe.read(64 * 1024)
            mapped = mapper.feed(data) if data else mapper.rest()
            if self._kind == "benchmark_garbled":
                *lines, pending = (pending + mapped).split(b"\n")
                mapped = b"".join(self._fault.garble(line) + b"\n" for line in lines)
                if not data:
                    mapped, pending = mapped + self._fault.garble(pending), b""
            await self._put(packet, mapped)
            if not data:
                return

    async def end(self, status):
        """The exit status that the host is told."""
        if self._kind == "unplug_after_shell":
            self._stream.at_close = self._unplug
        elif self._kind == "benchmark_garbled":
            self._phone.strike(self._fault, command=self._command)
        elif self._fault and not self._lost:
            await self._strike()
        return {"benchmark_truncated": 0, "benchmark_killed": 128 + self._signal()}.get(self._kind, status)

    def _signal(self):
        return self._fault.signal if self._fault else 0

    def _cuts(self):
        return self._fault and self._kind not in ("benchmark_garbled", "unplug_after_shell")

    def _unplug(self):
        self._phone.strike(self._fault, command=self._command)
        self._phone.cut(self._fault.away)

    async def _put(self, packet, data):
        async with self._lock:  # both pipes: what is cut is cut in both
            if self._lost or not data:
                return
            cut = self._fault.cut(self._sent, data) if self._cuts() else None
            await self._send(packet, data if cut is None else data[:cut])
            if cut is not None:
                await self._strike()

    async def _send(self, packet, data):
        if data and "shell_v2" not in self._phone.features:
            data = data.replace(b"\n", b"\r\n")  # the terminal that the first form of the service has
        if data:
            self.text[packet] += data
            self._sent += data
            await self._stream.write(struct.pack("<BI", packet, len(data)) + data if self._second_form else data)

    async def _strike(self):
        self._lost = True
        self._phone.strike(self._fault, command=self._command)
        await self._phone.break_link(self._stream.link, self._fault)
        number = {"benchmark_killed": self._fault.signal, "benchmark_stopped": signal.SIGSTOP}.get(self._kind)
        if number:
            with contextlib.suppress(ProcessLookupError):  # it had just ended
                os.killpg(self._process.pid, number)
