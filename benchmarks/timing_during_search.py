"""The same network, timed on an idle machine and during a search that stops for it or trains on.

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
from nas_tf.datasets import Source
from nas_tf.devices import host
from nas_tf.export import to_tflite
from nas_tf.judges import Task
from nas_tf.plugins import Part
from nas_tf.quiet import import_keras
from nas_tf.search.evaluation import AccuracyJob, PublishedCostJob, Setup
from nas_tf.search.workers.process import ProcessWorkers
from nas_tf.settings import Settings, knob
from nas_tf.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    network: str = knob("mnasnet_a1", "Published network to time.")
    image_size: int = knob(224, "Height and width of its images, in pixels.")
    repeats: int = knob(7, "Measurements of each kind.")


def main():
    knobs = flags.read(Knobs)
    import_keras()
    meter = host.make(host.Config(max_spread=10.0, attempts=1))  # what disturbs a timing is what is shown here
    proxy, deploy = Scale(32, 10, 0.35), Scale(knobs.image_size, 10)
    space = Part("mnas_tf.spaces", "mnasnet")
    digits = Source(Part("nas_tf.datasets", "digits"), "", seed=0)
    rows = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = pathlib.Path(folder) / "network.tflite"
        to_tflite(published.build(knobs.network, deploy), path)
        rows["idle"] = [meter.measure(path).latency_ms for _ in range(knobs.repeats)]
        setup = Setup(
            task=Task(space, digits, proxy, deploy, Recipe(500), proxy_samples=0, seed=0),
            judge=Part("nas_tf.judges", "proxy"),
            device=Part("nas_tf.devices", "host"),
            number_type="float32",
            published="mnas_tf.published",
            judge_folder=f"{folder}/judge",
        )
        workers = ProcessWorkers(setup, num_workers=2)
        stack.callback(workers.close)
        # One worker trains without end. The other converts and times, and the first is stopped meanwhile.
        tokens = tuple(int(np.random.default_rng(0).integers(count)) for count in space.space.num_choices)
        workers.submit("training", AccuracyJob(tokens))
        rows["in a search, as it times"] = []
        for number in range(knobs.repeats):
            workers.submit(number, PublishedCostJob(knobs.network))
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
