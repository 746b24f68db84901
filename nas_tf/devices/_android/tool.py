"""TFLite's own benchmark_model for the phone's processor: the user's file, or the official one, which is downloaded."""

import dataclasses
import hashlib
import os
import pathlib
import struct

from nas_tf.devices._android.download import download
from nas_tf.devices._reference import cache_folder
from nas_tf.files import load_json, write_json
from nas_tf.trial import UserError, first_line

ADDRESS = "https://storage.googleapis.com/litert/binaries/{version}/{platform}/benchmark_model"
PLATFORMS = {"arm64-v8a": "android_arm64"}
# e_machine of ELF headers, by Android's name of the ABI.
_MACHINES = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86"}
_BUILD = (
    "build it from LiteRT's sources (bazel build -c opt --config=android_{arch} "
    "//tflite/tools/benchmark:benchmark_model)"
)


@dataclasses.dataclass(frozen=True)
class Tool:
    """A benchmark_model on this machine.

    Attributes:
        path: where it is.
        abi: Android's name of the processor that it is for.
        version: of TFLite, or "the user's own".
        sha256: its checksum.
    """

    path: str
    abi: str
    version: str
    sha256: str

    def to_json(self):
        """JSON-ready dict of all that a latency depends on."""
        return {"version": self.version, "sha256": self.sha256, "abi": self.abi}


def find(binary, abi):
    """Returns the `Tool` in the user's file `binary`; where that is empty, the one that `nas-phone setup` fetched.

    Raises:
        UserError: there is no such tool, or it is for another ABI.
    """
    if binary:
        return _check(pathlib.Path(binary).expanduser(), abi, "the user's own")
    path = cache_folder() / abi / "benchmark_model"
    if not path.is_file():
        raise UserError(
            f"Expected TFLite's benchmark_model for {abi}. There is none in {path.parent}: {how_to_get(abi)}"
        )
    try:
        made = load_json(path.with_suffix(".json"))
        version, sha256 = made["version"], made["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path.with_suffix('.json')} is missing or damaged: run nas-phone setup again") from error
    tool = _check(path, abi, version)
    if tool.sha256 != sha256:
        raise UserError(
            f"{path} is not the file that was fetched (its SHA-256 is {tool.sha256}, and was {sha256}): run "
            "nas-phone setup again"
        )
    return tool


def how_to_get(abi):
    """str: what a user who has no tool for `abi` can do."""
    if abi in PLATFORMS:
        return "run nas-phone setup, or give --android_benchmark_binary=PATH"
    arch = {"x86_64": "x86_64", "x86": "x86", "armeabi-v7a": "arm"}.get(abi, abi)
    build = _BUILD.format(arch=arch)
    return f"no official one is published for {abi}; {build} and give --android_benchmark_binary=PATH"


def fetch(
    abi, version, sha256="", address=ADDRESS, progress=lambda done, total: None, confirm=lambda url, sha256: False
):
    """Downloads the official `Tool` for `abi` into the cache and returns it.

    A download that broke off continues where it stopped. No digests of the tool are published: a version that is
    fetched for the first time here needs the user's word.

    Args:
        abi: Android's name of the phone's processor.
        version: of TFLite.
        sha256: checksum that the file must have; empty: the one that it had when this version was first fetched here,
            or one that is confirmed.
        address: where it is, with `{version}` and `{platform}` in place of these.
        progress: `progress(done, total)` is called with numbers of bytes.
        confirm: `confirm(url, sha256)` says whether the user takes a file that nothing vouches for.

    Raises:
        UserError: there is no such tool, it cannot be fetched, or the file has another checksum.
    """
    if abi not in PLATFORMS:
        raise UserError(how_to_get(abi))
    url = address.replace("{version}", version).replace("{platform}", PLATFORMS[abi])
    folder = cache_folder() / abi
    folder.mkdir(parents=True, exist_ok=True)
    pins = folder / "sha256.json"
    try:
        known = load_json(pins) if pins.exists() else {}
        known[url] = known.get(url)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{pins} is damaged: {first_line(error)}. Remove it to fetch without comparing") from error
    partial = folder / f"{version.replace('/', '_')}.part"
    download(url, partial, progress, hint="; or give --android_benchmark_binary=PATH")
    try:
        tool = _check(partial, abi, version)
    except UserError:
        partial.unlink(missing_ok=True)  # for instance the page of a gateway: next time it is fetched from the start
        raise
    expected = sha256.lower() or known[url]
    if not expected:
        if not confirm(url, tool.sha256):
            raise UserError(
                f"{url} has SHA-256 {tool.sha256}, and nothing here vouches for it. Compare it with another source or "
                f"machine, then give --tool_sha256={tool.sha256}"
            )
        expected = tool.sha256
    if tool.sha256 != expected:
        partial.unlink()
        raise UserError(f"Expected {url} to have SHA-256 {expected}. Received: {tool.sha256}; nothing was installed")
    write_json(pins, {**known, url: tool.sha256})
    path = folder / "benchmark_model"
    os.replace(partial, path)
    partial.with_name(partial.name + ".version.json").unlink(missing_ok=True)
    write_json(path.with_suffix(".json"), {"version": version, "url": url, "sha256": tool.sha256})
    return find("", abi)


def _check(path, abi, version):
    """Returns the `Tool` at `path`; raises `UserError` where it cannot be read, or is for another ABI."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"Expected a benchmark_model. Received: {str(path)!r}: {error.strerror}") from error
    found = elf_abi(content)
    if found != abi:
        raise UserError(
            f"Expected a benchmark_model for {abi}, the phone's processor. Received: {str(path)!r}, "
            + (f"for {found}" if found else "which is no program of Android or Linux")
        )
    return Tool(str(path), abi, version, hashlib.sha256(content).hexdigest())


def elf_abi(content):
    """Returns Android's name of the processor that an ELF file is for, or None where the bytes are no such file."""
    if content[:4] != b"\x7fELF" or len(content) < 20:
        return None
    return _MACHINES.get(struct.unpack_from("<H" if content[5] == 1 else ">H", content, 18)[0])
