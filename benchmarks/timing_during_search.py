"""The same network timed idle and while a search trains beside it, with and without the search holding still.

python -m benchmarks.timing_during_search --repeats=7
"""

import contextlib
import dataclasses
import pathlib
import statistics
import sys
import tempfile

import numpy as np

from mnas_tf import published
from mnas_tf.spaces.mnasnet import Scale
from nas_tf import flags
from nas_tf.devices import host
from nas_tf.evaluation import Setup
from nas_tf.export import to_tflite
from nas_tf.flags import knob
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.recipe import Recipe
from nas_tf.workers import ProcessWorkers


@dataclasses.dataclass(frozen=True)
class Knobs:
    network: str = knob("mnasnet_a1", "Published network to time.")
    image_size: int = knob(224, "Pixels.")
    repeats: int = knob(7, "Measurements of each kind.")


def main():
    knobs = flags.read(Knobs)
    import_keras()
    meter = host.make(host.Config())
    proxy, deploy = Scale(32, 10, 0.35), Scale(knobs.image_size, 10)
    setup = Setup(
        Part("mnas_tf.spaces", "mnasnet"), Part("nas_tf.datasets", "digits"), None, proxy, deploy, Recipe(500), 0, 0,
        Part("nas_tf.devices", "host"), "mnas_tf.published",
    )  # fmt: skip
    rows = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = pathlib.Path(folder) / "network.tflite"
        to_tflite(published.build(knobs.network, deploy), path)
        rows["idle"] = [meter.measure(path).latency_ms for _ in range(knobs.repeats)]
        workers = ProcessWorkers(setup, num_workers=2)
        stack.callback(workers.close)
        # One worker trains without end; the other converts and times, and has the first stopped for it.
        tokens = tuple(int(np.random.default_rng(0).integers(count)) for count in setup.space.space.num_choices)
        workers.submit("training", "accuracy", tokens)
        rows["in a search, as it times"] = []
        for number in range(knobs.repeats):
            workers.submit(number, "reference_cost", knobs.network)
            rows["in a search, as it times"].append(workers.wait().value.latency.latency_ms)
        rows["beside a training worker, if it went on"] = [meter.measure(path).latency_ms for _ in range(knobs.repeats)]
    idle = statistics.median(rows["idle"])
    print(f"{knobs.network} at {knobs.image_size} px, 1 thread, median of {knobs.repeats} measurements")
    print(f"{'':<42}{'median ms':>10}{'min':>8}{'max':>8}{'to idle':>9}")
    for name, values in rows.items():
        median = statistics.median(values)
        print(f"{name:<42}{median:>10.3f}{min(values):>8.3f}{max(values):>8.3f}{median / idle:>9.3f}")
    print(f"command: python -m benchmarks.timing_during_search {' '.join(sys.argv[1:])}")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
