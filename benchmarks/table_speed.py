"""How long a latency table takes for an architecture, in batches of 1,000 new random ones.

python -m benchmarks.table_speed --tables=pixel1,host_mnasnet.json
"""

import dataclasses
import statistics
import time

import numpy as np

from nas_tf import flags
from nas_tf.devices import table as device
from nas_tf.devices.table import LatencyTable
from nas_tf.family import family_of
from nas_tf.settings import Settings, knob


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    tables: tuple[str, ...] = knob(("pixel1",), "Latency tables: files, or names of shipped ones.")
    batches: int = knob(5, "Batches of 1,000 architectures.")


def main():
    knobs = flags.read(Knobs)
    print(f"{'table':<40} {'space':<14} {'first batch':>12} {'later batches':>14}   microseconds an architecture")
    for name in knobs.tables:
        table = LatencyTable.read(name)
        part = family_of(table.space).space(table.space, table.facts.get("space_settings"))
        space, rng = part.space, np.random.default_rng(0)
        estimator = device.make(device.Config(file=name), space, part.module.Scale(**table.scale))
        estimator.check()
        microseconds = []
        for _ in range(knobs.batches):
            tokens = [tuple(int(rng.integers(each)) for each in space.num_choices) for _ in range(1000)]
            architectures = [space.decode(each) for each in tokens]
            begin = time.perf_counter()
            estimator.estimate(architectures)
            microseconds.append((time.perf_counter() - begin) * 1e6 / 1000)
        later = statistics.median(microseconds[1:])
        print(f"{name:<40} {table.space:<14} {microseconds[0]:>12.1f} {later:>14.1f}")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
