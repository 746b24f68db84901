"""LiteRT's CompiledModel as `--host_runtime=compiled_model` times it, against LiteRT's own Python tool and Interpreter.

python -m benchmarks.compiled_model --repeats=5 mnasnet_a1 efficientnet_lite0

Each network is timed in turns by all three, each time in a process of its own on one core: medians, and ratios to the
official tool (`python -m ai_edge_litert.tools.benchmark_litert_model`), with the range over repeats.
"""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from nas_tf import flags
from nas_tf.devices import _host_timer
from nas_tf.export import to_tflite
from nas_tf.family import family_of_published
from nas_tf.settings import Settings, knob
from nas_tf.trial import UserError

_SECONDS = ("--warmup_seconds=0.2", "--min_seconds=1", "--max_seconds=2")


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    repeats: int = knob(5, "How often each network is timed by each.", least=1)
    image_size: int = knob(224, "Height and width of images, in pixels.", least=32)


def main(words):
    knobs = flags.read(Knobs)
    if not words:
        raise UserError("Expected names of published networks, such as mnasnet_a1")
    with tempfile.TemporaryDirectory() as folder:
        for name in words:
            path = pathlib.Path(folder) / f"{name}.tflite"
            module = family_of_published(name).published_module
            to_tflite(module.build(name, module.Scale(knobs.image_size, 1000)), path)
            report(name, [times_ms(path) for _ in range(knobs.repeats)])
    print(f"command: python -m benchmarks.compiled_model {' '.join(sys.argv[1:])}")


def times_ms(path):
    """Returns a dict of the median milliseconds of a file by each way to time it, one after another."""
    return {
        "official tool": official_ms(path),
        "compiled_model": ours_ms(path, "compiled_model"),
        "litert": ours_ms(path, "litert"),
    }


def ours_ms(path, runtime):
    """Returns the median milliseconds by this project's timer."""
    command = [sys.executable, _host_timer.__file__, f"--runtime={runtime}", *_SECONDS, str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(answer.splitlines()[-1])["median_ms"]


def official_ms(path, num_runs=200):
    """Returns the median milliseconds by LiteRT's tool, which is kept to the same core."""
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder) / "result.json"
        command = [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", f"--model={path}"]
        command += ["--num_threads=1", f"--num_runs={num_runs}", "--warmup_runs=20", f"--result_json={result}"]
        subprocess.run(command, capture_output=True, check=True, preexec_fn=_keep_to_one_core)
        return json.loads(result.read_text())["latency"]["median_ms"]


def _keep_to_one_core():
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def report(name, found):
    """Prints medians, and ratios to the official tool."""
    for way in found[0]:
        ratios = [each[way] / each["official tool"] for each in found]
        print(
            f"{name:<20} {way:<16} {statistics.median(each[way] for each in found):8.3f} ms  "
            f"{statistics.median(ratios):.3f} of the official tool ({min(ratios):.3f} to {max(ratios):.3f})",
            flush=True,
        )


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__, takes_words=True)
