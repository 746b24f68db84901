"""What a search costs beside training, converting and timing: the controller alone, and the share of a real run.

python -m benchmarks.search_overhead --num_suggestions=8000
"""

import dataclasses
import pathlib
import sys
import tempfile
import time

import numpy as np

from mnas_tf.search import Settings as SearchSettings
from mnas_tf.search import search
from nas_tf import flags
from nas_tf.algorithms import ppo
from nas_tf.plugins import Part
from nas_tf.settings import Settings, knob
from nas_tf.trial import Trial


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    num_suggestions: int = knob(8000, "Suggestions, with their updates, of the controller at the paper's preset.")
    num_trials: int = knob(8, "Trials of the real search on the digits; 0: none.")


def time_controller(num_suggestions):
    """Returns `(seconds, updates)` of the paper's preset on the MnasNet space, with random rewards."""
    space = Part("mnas_tf.spaces", "mnasnet").space
    algorithm = ppo.make(ppo.Config(preset="paper"), space.num_choices, seed=0)
    rng = np.random.default_rng(0)
    begin, updates = time.perf_counter(), 0
    for start in range(0, num_suggestions, algorithm.batch_size):
        suggestions = algorithm.suggest(algorithm.batch_size)
        trials = [
            Trial(start + i, each.tokens, reward=float(rng.uniform(0.4, 0.7))) for i, each in enumerate(suggestions)
        ]
        algorithm.update(trials)
        updates += 1
    return time.perf_counter() - begin, updates


def time_search(num_trials):
    """Returns the lines that a real search on the digits prints about its own time."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        settings = SearchSettings(
            run_dir=str(pathlib.Path(folder) / "run"),
            num_trials=num_trials,
            proxy_width_multiplier=0.35,
            deploy_image_size=96,
            final_epochs=0,
        )
        search(settings, say=lines.append)
    return [line.strip() for line in lines if "searched for" in line]


def main():
    knobs = flags.read(Knobs)
    seconds, updates = time_controller(knobs.num_suggestions)
    print(f"{'what':<40}{'figure':>40}")
    print(f"{'suggestions, with ' + str(updates) + ' updates':<40}{knobs.num_suggestions:>40}")
    print(f"{'seconds, tracing included':<40}{seconds:>40.1f}")
    for line in time_search(knobs.num_trials) if knobs.num_trials else []:
        print(f"a real search of {knobs.num_trials} trials: {line}")
    print(f"command: python -m benchmarks.search_overhead {' '.join(sys.argv[1:])}")


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
