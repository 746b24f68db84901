"""One TCP connection from an adb server: messages, the handshake, and streams that services read and write."""

import asyncio
import os
import struct

from phone import shell, sync

VERSION = 0x01000001  # of the protocol: the sums of payloads are not checked
MAX_DATA = 256 * 1024
FEATURES = "shell_v2,stat_v2,ls_v2,fixed_push_mkdir,sendrecv_v2"
CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
AUTH_TOKEN, AUTH_PUBLIC_KEY = 1, 3


class Stream:
    """A stream between a service of the phone and the host; at most one message a direction is unacknowledged."""

    def __init__(self, link, local, remote):
        self.link, self.local, self.remote = link, local, remote
        self.inbox = asyncio.Queue()
        self.acknowledged = asyncio.Event()
        self.at_close = None  # called once the stream is closed in good order
        self._buffer = bytearray()
        self._writing = asyncio.Lock()

    async def read(self):
        """The bytes of the next message."""
        data = await self.inbox.get()
        await self.link.send(OKAY, self.local, self.remote)
        return data

    async def read_exactly(self, count):
        while len(self._buffer) < count:
            self._buffer += await self.read()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def write(self, data):
        async with self._writing:
            for start in range(0, len(data), self.link.max_data):
                self.acknowledged.clear()
                await self.link.send(WRTE, self.local, self.remote, data[start : start + self.link.max_data])
                await self.acknowledged.wait()


class Link:
    """A connection: `run` reads messages and never waits for a service, which has a task of its own."""

    def __init__(self, phone, reader, writer):
        self.phone, self.max_data = phone, MAX_DATA
        self.silent = False  # a phone that hangs: TCP stays open, nothing is answered
        self._reader, self._writer = reader, writer
        self._streams, self._tasks, self._next_id = {}, set(), 1

    async def run(self):
        try:
            while True:
                command, arg0, arg1, size, _, _ = struct.unpack("<6I", await self._reader.readexactly(24))
                payload = await self._reader.readexactly(size)
                if not self.silent:
                    await self._receive(command, arg0, arg1, payload)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.cut()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self):
        self._writer.transport.abort()

    async def send(self, command, arg0, arg1, data=b""):
        if slow := self.phone.take("message"):
            self.phone.strike(slow)
            await asyncio.sleep(slow.delay)
        if not self.silent:
            self._writer.write(struct.pack("<6I", command, arg0, arg1, len(data), 0, command ^ 0xFFFFFFFF) + data)
            await self._writer.drain()

    async def _receive(self, command, arg0, arg1, payload):
        stream = self._streams.get(arg1)
        if command == CNXN or (command == AUTH and arg0 != AUTH_PUBLIC_KEY):
            await self._shake_hands(arg1 if command == CNXN else MAX_DATA)
        elif command == OPEN:
            await self._open(arg0, payload.rstrip(b"\0").decode())
        elif command == WRTE and stream:
            stream.inbox.put_nowait(payload)
        elif command == WRTE:
            await self.send(CLSE, 0, arg0)
        elif command == OKAY and stream:
            stream.acknowledged.set()
        elif command == CLSE and stream:
            del self._streams[arg1]
            stream.task.cancel()

    async def _shake_hands(self, peer_max_data):
        fault = self.phone.take("connect")
        if fault:
            self.phone.strike(fault)
            if fault.kind == "hang_in_connect":
                self.silent = True
            else:
                await self.send(AUTH, AUTH_TOKEN, 0, os.urandom(20))
            return
        self.max_data = min(MAX_DATA, peer_max_data)
        self.phone.log("connect")
        await self.send(CNXN, VERSION, MAX_DATA, f"device::{self.phone.banner};features={self.phone.features}".encode())

    async def _open(self, remote, service):
        name, *forms = service.split(":")[0].split(",")
        if service == "sync:":
            serve = sync.serve
        elif name in ("shell", "exec") and ("shell_v2" in self.phone.features or not forms):
            serve = shell.serve
        else:
            self.phone.log("refused", service=service)
            await self.send(CLSE, 0, remote)
            return
        stream = Stream(self, self._next_id, remote)
        self._next_id += 1
        self._streams[stream.local] = stream
        await self.send(OKAY, stream.local, remote)
        stream.task = asyncio.create_task(self._serve(serve, stream, service))
        self._tasks.add(stream.task)
        stream.task.add_done_callback(self._tasks.discard)

    async def _serve(self, serve, stream, service):
        try:
            await serve(self.phone, stream, service)
        except OSError:
            return  # the link was lost
        except Exception as error:
            # A defect of the simulator: the client sees a closed stream, the test this entry.
            self.phone.log("error", service=service, error=repr(error))
        if self._streams.pop(stream.local, None):
            await self.send(CLSE, stream.local, stream.remote)
            if stream.at_close:
                stream.at_close()
