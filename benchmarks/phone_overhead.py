"""What a phone measurement costs beyond the benchmark itself, on a simulated phone behind the real adb.

That is the push of the file, checks, the phone's condition, parsing, cleaning up, and the shells in which the benchmark
runs.

python -m benchmarks.phone_overhead --megabytes=20 --repeats=5
"""

import dataclasses
import os
import pathlib
import statistics
import sys
import tempfile
import time

from nas_tf import flags
from nas_tf.devices import android
from nas_tf.devices._android.adb import Adb
from nas_tf.export import to_tflite
from nas_tf.quiet import import_keras
from nas_tf.settings import Settings, knob


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    megabytes: float = knob(20.0, "Size of the TFLite file.")
    repeats: int = knob(5, "Measurements.")


def make_network(path, megabytes):
    keras = import_keras()
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(16, 3, activation="relu")(inputs))
    units = int(megabytes * 1e6 / 4 / 1000)
    x = keras.layers.Dense(1000)(keras.layers.Dense(units)(x))
    return to_tflite(keras.Model(inputs, x), path)


def main():
    knobs = flags.read(Knobs)
    sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "devices"))
    from phone import AdbServer, Phone, elf_header

    with tempfile.TemporaryDirectory(prefix="nas_tf_") as folder:
        folder = pathlib.Path(folder)
        network, binary = folder / "network.tflite", folder / "benchmark_model"
        size = make_network(network, knobs.megabytes)
        binary.write_bytes(elf_header("arm64-v8a"))
        with AdbServer(folder) as adb, Phone(folder / "phone") as phone:
            os.environ.update({**adb.env, "XDG_CACHE_HOME": str(folder)})
            config = android.Config(
                serials=(adb.connect(phone),), benchmark_binary=str(binary), max_spread=10.0, max_drift=10.0
            )
            meter = android.make(config)
            meter.check()
            shell = Adb(phone.address)
            shell_seconds = statistics.median(seconds(lambda: shell.run("true")) for _ in range(9))
            costs = [measure(meter, str(network), shell_seconds) for _ in range(knobs.repeats)]
    beyond = [each for _, each in costs]
    total = statistics.median(each for each, _ in costs)
    print(
        f"{size / 1e6:.1f} MB, {knobs.repeats} measurements: {total:.2f} s each, of which "
        f"{statistics.median(beyond):.3f} s beyond the benchmark ({min(beyond):.3f} to {max(beyond):.3f}); a shell "
        f"takes {1e3 * shell_seconds:.0f} ms"
    )


def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def measure(meter, path, shell_seconds):
    """Returns `(seconds in all, seconds in which no benchmark ran)` of one measurement."""
    benchmarking, run = [], Adb.run

    def timed(adb, script, *arguments):
        begin = time.perf_counter()
        try:
            return run(adb, script, *arguments)
        finally:
            if "--graph=" in script:
                benchmarking.append(time.perf_counter() - begin - shell_seconds)

    Adb.run = timed
    try:
        total = seconds(lambda: meter.measure(path))
    finally:
        Adb.run = run
    return total, total - sum(benchmarking)


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
