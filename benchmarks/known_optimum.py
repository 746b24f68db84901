"""How near search algorithms come to the exact best network of a user's own problem, in how many trials.

python -m benchmarks.known_optimum --accuracy_table=acc.json --latency_table=lat.json --target_shares=0.8,0.6

Both tables know the accuracy and the latency of every network of the space, and its exact best one within a latency.
Algorithms search on the same tables through the ordinary loop. An algorithm's answer is the most accurate network that
meets the target: how far it is from the optimum, in points of accuracy. The random baseline draws uniformly.
"""

import dataclasses
import sys
import time

import numpy as np

from nas_tf import flags
from nas_tf.accuracy_tables.choosing import Chooser
from nas_tf.family import space_from_file
from nas_tf.networks.accuracy_table import AccuracyTable, Predictor
from nas_tf.plugins import Part
from nas_tf.reports import _picture
from nas_tf.rewards import LatencyReward
from nas_tf.settings import Settings, knob
from nas_tf.testing import QuickWorkers, run_search
from nas_tf.trial import InfeasibleArchitecture

ALGORITHMS = (
    "random_search",
    "ppo",
    "evolution",
    "local_search",
    "predictor",
    "evolution from the parent",
    "local_search from the parent",
    "predictor from the parent",
)
_CHECKPOINTS = (40, 100, 200, 400, 1000, 2000)


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    accuracy_table: str = knob("", "Accuracy table.", path=True)
    latency_table: str = knob("", "Latency table of the same space.", path=True)
    target_shares: tuple[float, ...] = knob((0.8, 0.6), "Targets, in shares of the parent's latency.")
    num_trials: int = knob(1000, "Trials of a search.", least=1)
    seeds: int = knob(5, "Searches by each algorithm.", least=1)
    picture: str = knob("", "Where a picture is written; empty: none.", path=True)


def main():
    knobs = flags.read(Knobs)
    table = AccuracyTable.read(knobs.accuracy_table)
    part = space_from_file(table.space, table.path)
    space, scale_type = part.space, part.module.Scale
    scale = scale_type(**table.deploy_scale)
    device = Part("nas_tf.devices", "table", {"file": knobs.latency_table}).make(space, scale)
    device.check()
    predictor = Predictor(table, space)
    begin = time.perf_counter()
    chooser = Chooser(predictor, device)
    front = chooser.front()
    seconds = time.perf_counter() - begin
    size = float(np.prod([float(count) for count in space.num_choices]))
    print(f"{size:.3g} networks; the exact front has {len(front)} and takes {seconds:.1f} s")
    architectures = [each.architecture for each in front]
    begin = time.perf_counter()
    for _ in range(10):
        for each in architectures:
            predictor.accuracy(each)
    each_us = 1e6 * (time.perf_counter() - begin) / (10 * len(architectures))
    print(f"a prediction takes {each_us:.1f} us")
    parent = next(predictor.parts())[0]
    base_ms, curves = device.estimate([parent])[0], {}
    for share in knobs.target_shares:
        target_ms = share * base_ms
        best = chooser.best(target_ms, 1)[0]
        print(f"\ntarget {target_ms:.3f} ms ({share:.0%} of the parent's): the best has {100 * best.accuracy:.2f} %")
        checkpoints = [each for each in _CHECKPOINTS if each <= knobs.num_trials]
        print("points below the optimum after n trials, mean of the seeds (standard error of the last)")
        print(f"{'':28}" + "".join(f"{each:>8}" for each in checkpoints))
        for name in ALGORITHMS:
            missing = [
                best.accuracy - searched(space, predictor, device, name, seed, target_ms, knobs.num_trials, parent)
                for seed in range(knobs.seeds)
            ]
            rows = 100 * np.array(missing)
            curves[share, name] = rows
            error = rows[:, -1].std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else 0.0
            figures = "".join(f"{rows[:, each - 1].mean():8.2f}" for each in checkpoints)
            print(f"{name:28}{figures}  ({error:.2f})", flush=True)
    if knobs.picture:
        draw(knobs, curves)
    print(f"command: python -m benchmarks.known_optimum {' '.join(sys.argv[1:])}")


def searched(space, predictor, device, name, seed, target_ms, num_trials, parent):
    """Returns float [num_trials]: the accuracy of the best network so far that meets the target; 0 before there is."""
    algorithm, _, start = name.partition(" ")

    def accuracy(tokens, repeat):
        try:
            return predictor.accuracy(space.decode(tokens))
        except KeyError as error:  # a block that diverged when the table was made
            raise InfeasibleArchitecture(f"the table has no {error.args[0]}") from error

    workers = QuickWorkers(accuracy, lambda tokens: device.estimate([space.decode(tokens)])[0])
    part, reward = Part("nas_tf.algorithms", algorithm), LatencyReward(target_ms, "absolute")
    begin = space.encode(parent) if start else None
    trials = run_search(space, part, seed, reward, workers, num_trials, device, begin)
    facts = [trial.measurement for trial in trials]
    found = [each.accuracy if each and each.cost.latency.latency_ms <= target_ms else 0.0 for each in facts]
    return np.maximum.accumulate(found)


def draw(knobs, curves):
    """Draws how far each algorithm is from the optimum after so many trials."""
    figure = _picture.new_figure(6.4 * len(knobs.target_shares), 4.4)
    for number, share in enumerate(knobs.target_shares, 1):
        axes = figure.add_subplot(1, len(knobs.target_shares), number)
        for name in ALGORITHMS:
            rows = curves[share, name]
            trials = np.arange(1, rows.shape[1] + 1)
            mean, error = rows.mean(0), rows.std(0) / np.sqrt(len(rows))
            (line,) = axes.plot(trials, mean, lw=1.4, label=name if number == 1 else None)
            axes.fill_between(trials, mean - error, mean + error, color=line.get_color(), alpha=0.2)
        axes.set(xscale="log", ylim=(0, 12), xlabel="trials", ylabel="points below the exact optimum")
        axes.set_title(f"target: {share:.0%} of the parent's latency", fontsize=10)
    figure.legend(loc="outside lower center", fontsize=8, ncols=4)
    _picture.write(knobs.picture, figure)


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
