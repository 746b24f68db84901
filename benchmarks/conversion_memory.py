"""The memory that the TFLite converter keeps, conversion after conversion, in one process and in recycled ones.

python -m benchmarks.conversion_memory --num_conversions=200
"""

import contextlib
import dataclasses
import pathlib
import sys
import tempfile
import time

from mnas_tf import published
from nas_tf import flags
from nas_tf.bars import progress_bar
from nas_tf.export import to_tflite
from nas_tf.quiet import fresh_keras
from nas_tf.recycling import MAX_MEMORY_MB, Processes, memory_mb
from nas_tf.settings import Settings, knob


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    num_conversions: int = knob(200, "Conversions, each of a network built anew.", least=1)
    every: int = knob(10, "Conversions between two looks at the memory.", least=1)
    network: str = knob("mobilenet_v2", "Name of a published network.")
    width: float = knob(0.35, "Its width.", above=0)
    image_size: int = knob(96, "Its image size.", least=32)


def measure(knobs, what, call=None, look=memory_mb):
    """Returns `(list of `look()` before the first conversion and after each `every`, seconds)`."""
    found, begin = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in progress_bar(range(knobs.num_conversions + 1), desc=what):
            if number:
                fresh_keras(0)
                scale = published.Scale(knobs.image_size, 10, width_multiplier=knobs.width)
                to_tflite(published.build(knobs.network, scale), pathlib.Path(folder) / "network.tflite", call=call)
            if number % knobs.every == 0:
                found.append(look())
    return found, time.perf_counter() - begin


def main():
    knobs = flags.read(Knobs)
    fresh_keras(0)
    with contextlib.closing(Processes()) as processes:  # first, while this process has converted nothing
        both, apart_seconds = measure(knobs, "apart", processes.call, lambda: (memory_mb(), processes.memory_mb))
        num_processes = processes.num_started
    here, here_seconds = measure(knobs, "here")
    print(f"{knobs.network}, width {knobs.width:g}, {knobs.image_size} px; resident memory in MB")
    print(f"{'conversions':>11}{'in one process':>18}{'apart: the one that converts':>32}{'and this one':>16}")
    for number, (one, (this, converting)) in enumerate(zip(here, both)):
        print(f"{number * knobs.every:>11}{one:>18.0f}{converting:>32.0f}{this:>16.0f}")
    if len(here) > 2:
        grown = (here[-1] - here[1]) / (knobs.every * (len(here) - 2))
        print(f"kept by a conversion in one process, after the first {knobs.every}: {grown:.1f} MB")
    print(
        f"seconds for one, building included: {here_seconds / knobs.num_conversions:.2f} in one process, "
        f"{apart_seconds / knobs.num_conversions:.2f} apart"
    )
    print(f"processes that converted, each replaced beyond {MAX_MEMORY_MB} MB: {num_processes}")
    print(f"command: python -m benchmarks.conversion_memory {' '.join(sys.argv[1:])}")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
