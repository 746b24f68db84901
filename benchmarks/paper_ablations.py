"""What the papers say of their controller and rewards, asked of a space of which all is known.

python -m benchmarks.paper_ablations --table=nasbench201_cifar10_pixel3.json --picture=ablations.png

Three questions, each with the controller through the ordinary loop, over seeds:
* Where samples land (MnasNet, figure 6): the latencies of the last samples in shares of the target, with the soft, the
  hard and the absolute reward.
* One objective or two (MnasNet, section 5): the most accurate network within the target that a search finds which asks
  for accuracy alone, or for both.
* The controller against random search (NASNet, figure 6): means of the best 1, 5 and 25 networks tried so far.
"""

import bisect
import concurrent.futures
import dataclasses
import sys
import time

import numpy as np

from benchmarks.seeds import with_error
from benchmarks.tabular_searches import truth_of
from nas_tf import flags
from nas_tf.plugins import Part
from nas_tf.reports import _picture
from nas_tf.rewards import AccuracyReward, LatencyReward
from nas_tf.settings import Settings, knob
from nas_tf.testing import QuickWorkers, run_search

_REWARDS = ("soft", "hard", "absolute", "accuracy")
_TARGET = 0.3  # quantile of the latencies of all networks
_LAST = 0.25  # share of the samples that have landed
_TOPS = (1, 5, 25)
_SHOWN = (100, 200, 500, 1000, 2000, 4000)  # samples


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    table: str = knob("", "JSON of all cells; its last field is a latency in milliseconds.", path=True)
    num_samples: int = knob(4000, "Samples of a search.", least=100)
    seeds: int = knob(5, "Searches of each kind.", least=2)
    preset: str = knob("paper", "The controller's.", choices=("paper", "small_budget"))
    processes: int = knob(2, "Searches at once.", least=1)
    picture: str = knob("", "Where a picture is written; empty: none.", path=True)


def main():
    knobs, begin = flags.read(Knobs), time.perf_counter()
    truth = truth_of(knobs.table)
    asked = [("ppo", reward, seed) for reward in _REWARDS for seed in range(knobs.seeds)]
    asked += [("random_search", "accuracy", seed) for seed in range(knobs.seeds)]
    with concurrent.futures.ProcessPoolExecutor(knobs.processes) as pool:
        found = list(pool.map(sampled, *zip(*[(knobs, *each) for each in asked])))
    samples = {}
    for (algorithm, reward, _), each in zip(asked, found):
        samples.setdefault((algorithm, reward), []).append(each)
    samples = {key: np.array(each) for key, each in samples.items()}  # [seeds, samples, 2]: percent, ms
    landed = report_landing(truth, samples)
    report_objectives(truth, samples)
    tops = report_tops(samples)
    if knobs.picture:
        draw(knobs.picture, landed, tops)
    minutes = (time.perf_counter() - begin) / 60
    print(f"\n{minutes:.1f} min; command: python -m benchmarks.paper_ablations {' '.join(sys.argv[1:])}")


def sampled(knobs, algorithm, reward, seed):
    """Returns the true accuracy in percent and the latency in ms of every sample of a search, float [samples, 2]."""
    truth = truth_of(knobs.table)
    limit = AccuracyReward() if reward == "accuracy" else LatencyReward(truth.target_ms(_TARGET), reward)
    workers = QuickWorkers(lambda tokens, repeat: truth.judges[0.0].accuracy(tokens), truth.latency_ms)
    part = Part("nas_tf.algorithms", algorithm, {"preset": knobs.preset} if algorithm == "ppo" else {})
    trials = run_search(truth.space, part, seed, limit, workers, knobs.num_samples, truth.device)
    return [(100 * each.measurement.accuracy, each.measurement.cost.latency.latency_ms) for each in trials]


def report_landing(truth, samples):
    """Prints where the last samples lie; returns a dict from reward to their latencies in shares of the target."""
    target, landed = truth.target_ms(_TARGET), {}
    print(f"\nlatencies of the last {_LAST:.0%} of samples, in shares of the target, {target:.2f} ms")
    print(f"{'reward':12}{'5 %':>8}{'median':>8}{'95 %':>8}{'within 10 % of it':>20}{'at most it':>12}")
    for (algorithm, reward), found in samples.items():
        if algorithm == "ppo":
            shares = found[:, -round(_LAST * found.shape[1]) :, 1] / target
            near, below = (np.abs(shares - 1) <= 0.1).mean(1), (shares <= 1).mean(1)
            low, middle, high = np.percentile(shares, [5, 50, 95])
            print(
                f"{reward:12}{low:8.2f}{middle:8.2f}{high:8.2f}{with_error(100 * near, 0, 20)}"
                f"{with_error(100 * below, 0, 12)}"
            )
            landed[reward] = shares.ravel()
    return landed


def report_objectives(truth, samples):
    target = truth.target_ms(_TARGET)
    best = truth.percents[truth.latencies <= target].max()
    shown = [n for n in _SHOWN if n <= next(iter(samples.values())).shape[1]]
    print(f"\nmost accurate within the target, in percent (the best has {best:.2f}), after n samples")
    print(f"{'reward':12}" + "".join(f"{n:>16}" for n in shown))
    for (algorithm, reward), found in samples.items():
        if algorithm == "ppo":
            fits = np.where(found[..., 1] <= target, found[..., 0], truth.percents.min())
            reached = np.maximum.accumulate(fits, axis=1)
            print(f"{reward:12}" + "".join(with_error(reached[:, n - 1], 2, 16) for n in shown))


def report_tops(samples):
    """Prints the means of the best networks tried; returns a dict from algorithm to float [tops, seeds, samples]."""
    tops = {}
    for algorithm in ("ppo", "random_search"):
        found = samples[algorithm, "accuracy"]
        curves = np.zeros((len(_TOPS), *found.shape[:2]))
        for seed, rows in enumerate(found):
            best, seen = [], set()
            for n, row in enumerate(map(tuple, rows)):
                if row not in seen:  # two networks may have one accuracy, but none have one latency, too
                    seen.add(row)
                    bisect.insort(best, -row[0])
                curves[:, seed, n] = [-np.mean(best[:top]) for top in _TOPS]
        tops[algorithm] = curves
    shown = [n for n in _SHOWN if n <= found.shape[1]]
    print("\nmean accuracy, in percent, of the best different networks tried, after n samples")
    print(f"{'':20}" + "".join(f"{n:>16}" for n in shown))
    for number, top in enumerate(_TOPS):
        for algorithm, curves in tops.items():
            row = "".join(with_error(curves[number, :, n - 1], 2, 16) for n in shown)
            print(f"{f'top {top}':7}{algorithm:13}{row}")
    return tops


def draw(path, landed, tops):
    figure = _picture.new_figure(10, 4)
    axes = figure.add_subplot(1, 2, 1)
    for number, (reward, shares) in enumerate(landed.items()):
        axes.hist(
            shares,
            bins=np.arange(0, max(map(np.max, landed.values())) + 0.1, 0.1),
            histtype="step",
            color=f"C{number}",
            label=reward,
            density=True,
        )
    axes.axvline(1, color="black", lw=0.8, ls="--")
    axes.set(xlabel="latency of the last samples, in shares of the target", ylabel="density")
    axes.legend(fontsize=8)
    axes = figure.add_subplot(1, 2, 2)
    for number, top in enumerate(_TOPS):
        for algorithm, style in (("ppo", "-"), ("random_search", ":")):
            curve = tops[algorithm][number].mean(0)
            name = f"top {top}, {algorithm.replace('_', ' ')}"
            axes.plot(np.arange(1, len(curve) + 1), curve, style, color=f"C{number}", label=name, lw=1.2)
    axes.set(xscale="log", xlim=(50, None), xlabel="samples", ylabel="mean accuracy, %")
    axes.set_ylim(min(curves.mean(1)[:, 99].min() for curves in tops.values()), None)
    axes.legend(fontsize=8)
    _picture.write(path, figure)


if __name__ == "__main__":
    from benchmarks import paper_ablations  # whose functions other processes find by this name

    flags.define(paper_ablations.Knobs)
    flags.run(paper_ablations.main, __doc__)
