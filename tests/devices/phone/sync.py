"""The `sync:` service: stat, push, pull and list, in the first form of each request and in the second."""

import hashlib
import os
import struct

CHUNK = 64 * 1024
NO_SPACE = "write failed: No space left on device"


async def serve(phone, stream, service):
    while True:
        name, size = struct.unpack("<4sI", await stream.read_exactly(8))
        path = (await stream.read_exactly(size)).decode()
        if name == b"QUIT":
            return
        if name in (b"STAT", b"STA2", b"LST2"):
            await stream.write(name + _stat(phone.sandbox.host(path), name))
        elif name == b"SEND":
            path, mode = path.rsplit(",", 1)
            await _push(phone, stream, path, int(mode))
        elif name == b"SND2":
            _, mode, _ = struct.unpack("<4sII", await stream.read_exactly(12))
            await _push(phone, stream, path, mode)
        elif name in (b"RECV", b"RCV2"):
            if name == b"RCV2":
                await stream.read_exactly(8)
            await _pull(phone, stream, path)
        elif name in (b"LIST", b"LIS2"):
            await _list(stream, phone.sandbox.host(path), name)
        else:
            raise ValueError(f"sync request {name!r} is unknown")


def _stat(path, name):
    """Mode, size and mtime in 12 bytes (STAT, which also serves DENT), or the 68 bytes of the second form."""
    first_form = name == b"STAT"
    try:
        status = os.stat(path, follow_symlinks=name == b"STA2")
    except OSError as error:
        return bytes(12) if first_form else struct.pack("<I", error.errno) + bytes(64)
    size, mtime = status.st_size, int(status.st_mtime)
    if first_form:
        return struct.pack("<III", status.st_mode, size & 0xFFFFFFFF, mtime)
    times = int(status.st_atime), mtime, int(status.st_ctime)
    return struct.pack(
        "<IQQIIIIQqqq",
        0,
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        size,
        *times,
    )


async def _list(stream, path, name):
    entry, form, tail = (b"DENT", b"STAT", 16) if name == b"LIST" else (b"DNT2", b"LST2", 72)
    names = [".", "..", *os.listdir(path)] if os.path.isdir(path) else []
    reply = b""
    for each in names:
        encoded = os.fsencode(each)
        reply += entry + _stat(os.path.join(path, each), form) + struct.pack("<I", len(encoded)) + encoded
    await stream.write(reply + b"DONE" + bytes(tail))


async def _pull(phone, stream, path):
    try:
        file = open(phone.sandbox.host(path), "rb")  # noqa: SIM115
    except OSError as error:
        phone.log("pull", path=path, error=error.strerror)
        await stream.write(_fail(f"open failed: {error.strerror}"))
        return
    with file:
        # As much as fits in one message: small ones cost 40 ms each, for the acknowledgement is delayed.
        reply = b""
        while data := file.read(CHUNK):
            reply += b"DATA" + struct.pack("<I", len(data)) + data
            if len(reply) + CHUNK + 16 > stream.link.max_data:
                await stream.write(reply)
                reply = b""
        phone.log("pull", path=path, error=None)
        await stream.write(reply + b"DONE" + bytes(4))


def _fail(text):
    return b"FAIL" + struct.pack("<I", len(text.encode())) + text.encode()


async def _push(phone, stream, path, mode):
    """Stores what is pushed as it comes, so that a cut push leaves a truncated file behind."""
    fault = phone.take("push", path)
    entry = {"path": path, "mode": mode & 0o777, "bytes": 0, "sha256": None, "answer": None, "error": None}
    try:
        error = await _store(phone, stream, path, mode, fault, entry)
    finally:
        if entry["answer"] is None:
            phone.log("push", **entry)  # the link was lost
    phone.log("push", **entry)
    await stream.write(_fail(error) if error else b"OKAY" + bytes(4))


async def _store(phone, stream, path, mode, fault, entry):
    host, error, digest = phone.sandbox.host(path), None, hashlib.sha256()
    space = phone.state["free_kb"] * 1024
    early = fault and fault.kind in ("unplug_in_push", "hang_in_push", "no_space")
    try:
        file = phone.sandbox.create(path)
    except OSError as problem:
        file, error = open(os.devnull, "wb"), f"couldn't create file: {problem.strerror}"  # noqa: SIM115
    with file:
        while True:
            name, size = struct.unpack("<4sI", await stream.read_exactly(8))
            if name not in (b"DATA", b"DONE"):
                raise ValueError(f"{name!r} within a push")
            data = await stream.read_exactly(size) if name == b"DATA" else b""
            digest.update(data)
            if early and not error and (name == b"DONE" or entry["bytes"] + len(data) >= fault.after):
                file.write(data[: max(0, fault.after - entry["bytes"])])
                file.flush()
                entry["bytes"] = min(fault.after, entry["bytes"] + len(data))
                phone.strike(fault, path=path)
                await phone.break_link(stream.link, fault)  # returns only where there is no space
                error = NO_SPACE
            if not error and entry["bytes"] + len(data) > space:
                error = NO_SPACE
            if not error:
                file.write(data)
                entry["bytes"] += len(data)
            if name == b"DONE":
                break
    entry.update(answer="FAIL" if error else "OKAY", error=error, sha256=digest.hexdigest())
    if error:
        if file.name != os.devnull:
            os.unlink(host)
        return error
    os.chmod(host, mode & 0o777)
    _spoil(phone, host, path, fault)
    os.utime(host, (size, size))
    return None


def _spoil(phone, host, path, fault):
    if fault and fault.kind == "push_short":
        phone.strike(fault, path=path)
        os.truncate(host, os.path.getsize(host) // 2 if fault.after is None else fault.after)
    elif fault and fault.kind == "push_replaced":
        phone.strike(fault, path=path)
        with open(host, "r+b") as file:
            content = file.read()
            file.seek(0)
            file.write(bytes(byte ^ 0x5A for byte in content))
