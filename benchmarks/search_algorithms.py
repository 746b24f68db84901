"""How good the architectures are that random search and the controller find on NAS-Bench-201, where all are known.

python -m benchmarks.search_algorithms --table=nasbench201_cifar10_pixel3.json --seeds=40
"""

import dataclasses
import json
import pathlib
import time

import numpy as np

from nas_tf import flags
from nas_tf.algorithms import evolution, ppo, random_search
from nas_tf.settings import Settings, knob
from nas_tf.trial import Trial, UserError

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = 6
CHECKPOINTS = (50, 100, 200)
ALGORITHMS = {
    "random": (random_search, random_search.Config()),
    "ppo, small_budget": (ppo, ppo.Config()),
    "ppo, paper": (ppo, ppo.Config(preset="paper")),
    "evolution": (evolution, evolution.Config()),
    "reinforce, small_budget": (ppo, ppo.Config(method="reinforce")),
}


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    table: str = knob("", "JSON of all 15,625 cells: rows of cell and CIFAR-10 test accuracy.", path=True)
    seeds: int = knob(40, "Searches by each algorithm.")


def read_table(path):
    """Returns a dict from tokens, one for each edge of a cell, to CIFAR-10 test accuracy in [0, 1]."""
    if not pathlib.Path(path).is_file():
        raise UserError(f"Expected the NAS-Bench-201 table as JSON. Received: --table={path}")
    rows = json.loads(pathlib.Path(path).read_text())["rows"]
    return {_tokens(cell): accuracy / 100 for cell, accuracy, *_ in rows}


def _tokens(cell):
    edges = [edge for node in cell.split("+") for edge in node.strip("|").split("|")]
    return tuple(OPERATIONS.index(edge.split("~")[0]) for edge in edges)


def best_so_far(algorithm, table):
    """Returns float [evaluations]: the best accuracy after each. An architecture that was seen before counts again."""
    accuracies = []
    while len(accuracies) < max(CHECKPOINTS):
        tokens = [suggestion.tokens for suggestion in algorithm.suggest(algorithm.batch_size)]
        trials = [Trial(len(accuracies) + i, each, reward=table[each]) for i, each in enumerate(tokens)]
        algorithm.update(trials)
        accuracies += [trial.reward for trial in trials]
    return np.maximum.accumulate(accuracies)


def main():
    knobs = flags.read(Knobs)
    table = read_table(knobs.table)
    print("best accuracy, %, after n evaluations, mean of", knobs.seeds, "seeds (standard error of the last)")
    print(f"{'':26}" + "".join(f"{n:>8}" for n in CHECKPOINTS), flush=True)
    for name, (part, config) in ALGORITHMS.items():
        begin, rows = time.perf_counter(), []
        for seed in range(knobs.seeds):
            best = best_so_far(part.make(config, (len(OPERATIONS),) * EDGES, seed), table)
            rows.append([100 * best[n - 1] for n in CHECKPOINTS])
        means, error = np.mean(rows, axis=0), np.std(rows, axis=0)[-1] / np.sqrt(knobs.seeds)
        figures = "".join(f"{mean:8.2f}" for mean in means)
        print(f"{name:26}{figures}  ({error:.2f})  {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
