"""What tests do with a phone from the side of its client."""

import time

from phone.sandbox import elf_header

FOLDER = "/data/local/tmp/nas_tf"
TOOL = f"{FOLDER}/benchmark_model"


def prepare(device, model, abi="arm64-v8a"):
    """Pushes a benchmark_model for `abi` and a network, `small.tflite`, to a device of adbutils."""
    device.sync.push(elf_header(abi), TOOL, 0o755)
    device.sync.push(model, f"{FOLDER}/small.tflite", 0o644)


def shell(device, command, timeout=60):
    """The `ShellReturn` of a command: returncode, stdout, stderr and both as output."""
    return device.shell2(command, v2=True, timeout=timeout)


def wait_until(condition, seconds=20):
    """The last value of `condition()`, called until it is true or the time is over."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return met
