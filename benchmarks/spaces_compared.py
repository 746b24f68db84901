"""Cells or layers: NASNet's space against MnasNet's, with one reward, device, budget and set of images.

python -m benchmarks.spaces_compared --data_dir=cifar10_jpeg.zip --device=host --out_dir=runs/spaces

MnasNet's paper (section 5.3, table 5) has the factorised space and the cells searched with the same reward. Here both
are searched for the whole front by the same algorithm, for as many hours each, on several seeds. Said are the most
accurate children within given costs, and the hypervolume of each front, as a share of all that can be had: accuracy
from guessing to 100 %, log cost from the cheapest child of all to the most expensive. Means with standard errors over
seeds. Searches resume: the same command goes on.
"""

import dataclasses
import math
import pathlib
import sys

import numpy as np

import mnas_tf.search
import nasnet_tf.search
from benchmarks.seeds import with_error
from nas_tf import flags
from nas_tf.ranking import pareto_front
from nas_tf.reports import _picture
from nas_tf.rewards import Objective, cost_of
from nas_tf.search.run_folder import measured_under
from nas_tf.settings import Settings, knob
from nas_tf.training.recipe import ProxyRecipe

_SHARES = (0.25, 0.5, 0.75)  # of the way, in logarithms, from the least cost of a child to the largest


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    data_dir: str = knob("", "Folder or zip of images; empty: digits.", path=True)
    out_dir: str = knob("runs/spaces", "Keeps the searches.", path=True)
    device: str = knob("none", "Where latency comes from; none: multiply-adds are the cost.", choices=("none", "host"))
    algorithm: str = knob("predictor", "One that searches for fronts.")
    hours: float = knob(0.5, "Of each search.", above=0)
    seeds: int = knob(3, "Searches of each space.", least=2)
    image_size: int = knob(32, "Of children and of the networks that are timed, in pixels.", least=8)
    num_samples: int = knob(3000, "Training images of a child; 0: all.", least=0)
    proxy_epochs: int = knob(3, "Epochs of a child.", least=1)
    validation_fraction: float = knob(0.04, "Of the training images, that children are judged on.", above=0, below=1)
    picture: str = knob("", "Where a picture is written; empty: none.", path=True)


def main():
    knobs = flags.read(Knobs)
    cost = "mult_adds" if knobs.device == "none" else "latency_ms"
    trials = {
        (name, seed): searched(knobs, module, f"{name}_{seed}", seed, cost, scale)
        for seed in range(knobs.seeds)
        for name, module, scale in (
            ("mnasnet", mnas_tf.search, {"proxy_width_multiplier": 0.5, "deploy_width_multiplier": 0.5}),
            ("nasnet", nasnet_tf.search, dict(proxy_cells=1, proxy_filters=12, deploy_cells=1, deploy_filters=12)),
        )
    }
    classes = measured_under(pathlib.Path(knobs.out_dir) / "mnasnet_0")["data classes"]
    report(knobs, trials, cost, 1 / len(classes))
    print(f"command: python -m benchmarks.spaces_compared {' '.join(sys.argv[1:])}")


def searched(knobs, module, name, seed, cost, scale):
    """Returns the finished trials of a search."""
    settings = module.Settings(
        run_dir=str(pathlib.Path(knobs.out_dir) / name),
        data_dir=knobs.data_dir,
        algorithm=knobs.algorithm,
        device=knobs.device,
        num_trials=0,
        max_hours=knobs.hours,
        proxy_image_size=knobs.image_size,
        deploy_image_size=knobs.image_size,
        proxy_samples=knobs.num_samples,
        final_epochs=0,
        seed=seed,
        **scale,
    )
    parts = {"image_folder": {"validation_fraction": knobs.validation_fraction}} if knobs.data_dir else {}
    proxy = ProxyRecipe(knobs.proxy_epochs)
    found = module.search(settings, Objective(reward="front", cost=cost), proxy=proxy, parts=parts)
    return [trial for trial in found.trials if trial.state == "done"]


def report(knobs, trials, cost, chance):
    every = [each.measurement for found in trials.values() for each in found]
    if not all(trials.values()):
        raise SystemExit("a search has finished no trial: give it more --hours in another --out_dir")
    costs = np.array([cost_of(each.cost, cost) for each in every])
    least, most = costs.min(), costs.max()
    limits = [least * (most / least) ** share for share in _SHARES]
    whole = (1 - chance) * math.log(most / least)
    unit = "ms" if cost == "latency_ms" else "M multiply-adds"
    scale = 1.0 if cost == "latency_ms" else 1e-6
    heads = "".join(f"{f'within {scale * limit:.3g} {unit}':>34}" for limit in limits)
    print(f"\n{'space':10}{'trials':>8}{heads}{'hypervolume':>18}")
    for name in ("mnasnet", "nasnet"):
        runs = [found for (each, _), found in trials.items() if each == name]
        row = "".join(_bests(runs, cost, limit).rjust(34) for limit in limits)
        shares = [_hypervolume(run, cost, chance, math.log(most)) / whole for run in runs]
        print(f"{name:10}{np.mean([len(run) for run in runs]):8.0f}{row}{with_error(shares, 3, 18)}")
    if knobs.picture:
        draw(knobs.picture, trials, cost, scale, unit)


def _bests(runs, cost, limit):
    """Returns in words what the most accurate child within a cost has, in percent."""
    fits = [[each.measurement for each in run if cost_of(each.measurement.cost, cost) <= limit] for run in runs]
    if not all(fits):
        return f"none in {fits.count([])} of {len(runs)}"
    return with_error([100 * max(each.accuracy for each in found) for found in fits], 2)


def _hypervolume(trials, cost, floor, most):
    """Returns the area, over log cost, of what is at least as good as one of the trials."""
    area, best = 0.0, floor
    for each in pareto_front(trials, cost):
        reached = max(best, each.measurement.accuracy)
        area += (reached - best) * (most - math.log(cost_of(each.measurement.cost, cost)))
        best = reached
    return area


def draw(path, trials, cost, scale, unit):
    figure = _picture.new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    for (name, seed), found in trials.items():
        color = "C0" if name == "mnasnet" else "C1"
        xs = [scale * cost_of(each.measurement.cost, cost) for each in found]
        axes.scatter(xs, [100 * each.measurement.accuracy for each in found], s=8, color=color, alpha=0.3)
        front = pareto_front(found, cost)
        axes.step(
            [scale * cost_of(each.measurement.cost, cost) for each in front],
            [100 * each.measurement.accuracy for each in front],
            where="post",
            color=color,
            label=name if seed == 0 else None,
        )
    what = "latency, ms" if unit == "ms" else unit
    axes.set(xscale="log", xlabel=what, ylabel="child's validation accuracy, %")
    axes.legend()
    _picture.write(path, figure)


if __name__ == "__main__":
    flags.define(Knobs)
    flags.run(main, __doc__)
