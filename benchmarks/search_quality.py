"""How good the networks are that search algorithms find on a space of which all is known, beside Optuna's.

python -m benchmarks.search_quality --table=nasbench201_cifar10_pixel3.json --csv=quality.csv --picture=quality.png

How searches run, `tabular_searches.py` says. An algorithm's answer is what it found to be best, at its true
accuracy. Means over seeds with standard errors. Five questions:
* accuracy: the best accuracy after n evaluations, and how many evaluations reach given accuracies.
* latency: the most accurate network within a target, for three targets, with the soft, the hard and the absolute
  reward. Optuna's TPE maximises the same reward; its NSGA-II searches the front.
* front: the hypervolume of accuracy (from 80 %, or from the median of all networks, if that is less) and latency (up to
  the table's largest), as a share of the true one's.
* noise: what is lost of the accuracy where the judge errs by 1 point.
* time: what our algorithms take themselves, a trial of MnasNet's space, after so many trials.
Optuna's GPSampler, which needs torch, answers the first alone: a search for a front takes it half an hour.

Settings of ours that were tuned on NAS-Bench-201's CIFAR-10 table: the predictor's initial trials and share of random
candidates, and its kernel's counts of answers; ppo's small_budget preset.
"""

import concurrent.futures
import csv
import dataclasses
import sys
import time

import numpy as np

from benchmarks.tabular_searches import (
    CHECKPOINTS,
    NOISE_PERCENT,
    OURS,
    THEIRS,
    Case,
    Kept,
    own_milliseconds,
    searched,
    truth_of,
)
from nas_tf import flags
from nas_tf.reports import _picture
from nas_tf.settings import Settings, knob

_QUESTIONS = ("accuracy", "latency", "front", "noise", "time")
_REWARDS = ("soft", "hard", "absolute")
_TARGETS = (0.15, 0.3, 0.6)  # quantiles of the latencies of all networks
_BELOW_BEST = (0.4, 0.2, 0.1, 0.0)  # points, of levels that are to be reached


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    table: str = knob("", "JSON of all cells; its last field is a latency in milliseconds.", path=True)
    questions: tuple[str, ...] = knob(_QUESTIONS, "Which questions.", choices=_QUESTIONS)
    algorithms: tuple[str, ...] = knob((*OURS, *THEIRS), "Which algorithms.", choices=(*OURS, *THEIRS))
    seeds: int = knob(50, "Searches by each of our algorithms, for accuracy and noise.", least=2)
    latency_seeds: int = knob(20, "The same for latency and for fronts.", least=2)
    slow_seeds: int = knob(20, "The same, for each question, of Optuna's TPE and NSGA-II.", least=2)
    slowest_seeds: int = knob(5, "The same of Optuna's GPSampler, for accuracy.", least=2)
    processes: int = knob(2, "Searches at once.", least=1)
    kept: str = knob("", "File that keeps every search that is done, so that a stop loses little.", path=True)
    csv: str = knob("", "Where all figures are written; empty: nowhere.", path=True)
    picture: str = knob("", "Where a picture is written; empty: none.", path=True)


def main():
    knobs = flags.read(Knobs)
    truth = truth_of(knobs.table)
    print(
        f"{len(truth.networks):,} networks; the best has {truth.percents.max():.3f} %; fronts begin at "
        f"{truth.least_percent:.1f} %",
        flush=True,
    )
    begin, rows, kept = time.perf_counter(), {}, Kept(knobs.kept, truth.space.known_digest)
    todo = list(cases(knobs))
    missing = [case for case in todo if kept.get(case) is None]
    with concurrent.futures.ProcessPoolExecutor(knobs.processes) as pool:
        for done in concurrent.futures.as_completed(pool.submit(searched, knobs.table, case) for case in missing):
            kept.keep(*done.result())
    for case in todo:
        rows.setdefault(dataclasses.replace(case, seed=0), []).append((case.seed, *kept.get(case)))
    curves = {case: np.array([curve for _, curve, _ in sorted(found)]) for case, found in rows.items()}
    seconds = {case: np.mean([each for *_, each in found]) for case, found in rows.items()}
    report(knobs, truth, curves, seconds)
    if "time" in knobs.questions:
        report_time([name for name in knobs.algorithms if name in OURS])
    if knobs.csv:
        write_csv(knobs.csv, curves)
    if knobs.picture:
        draw(knobs.picture, truth, curves)
    minutes = (time.perf_counter() - begin) / 60
    print(f"{minutes:.1f} min; command: python -m benchmarks.search_quality {' '.join(sys.argv[1:])}")


def cases(knobs):
    """Yields every search, the slowest first, so that processes end together."""
    for algorithm in sorted(knobs.algorithms, key=("GPSampler", "ppo", "NSGA-II", "TPE", *OURS).index):
        packages = [*(["optuna"] if algorithm in THEIRS else []), *(["torch"] if algorithm == "GPSampler" else [])]
        if not all(map(_has, packages)):
            print(f"{algorithm} is left out: it needs {' and '.join(packages)}", flush=True)
            continue
        for question in [each for each in knobs.questions if each != "time"]:
            many = knobs.seeds if question in ("accuracy", "noise") else knobs.latency_seeds
            if algorithm in ("TPE", "NSGA-II"):
                many = knobs.slow_seeds
            elif algorithm == "GPSampler":
                many = knobs.slowest_seeds if question == "accuracy" else 0
            for seed in range(many):
                if question == "latency":
                    for target in _TARGETS:
                        for reward in _REWARDS if algorithm != "NSGA-II" else ("front",):
                            yield Case(question, algorithm, seed, reward, target)
                elif not (question == "front" and algorithm == "ppo") and not (
                    question in ("accuracy", "noise") and algorithm == "NSGA-II"
                ):
                    yield Case(question, algorithm, seed)


def _has(package):
    try:
        __import__(package)
    except ImportError:
        return False
    return True


def report(knobs, truth, curves, seconds):
    """Prints a table for each question."""
    for question in [each for each in knobs.questions if each != "time"]:
        checkpoints = CHECKPOINTS[question]
        for reward, target in sorted(
            {(case.reward, case.target) for case in curves if case.question == question and case.reward != "front"}
        ):
            what = {
                "accuracy": "best accuracy, %",
                "front": "share of the true hypervolume",
                "noise": f"true accuracy, %, of the answer where accuracies err by {NOISE_PERCENT:g} point",
            }.get(question)
            if question == "latency":
                limit = truth.target_ms(target)
                best = truth.percents[truth.latencies <= limit].max()
                what = f"most accurate within {limit:.2f} ms (the best has {best:.2f} %), {reward} reward"
            print(f"\n{what}, after n evaluations: mean (standard error)")
            print(f"{'':16}" + "".join(f"{n:>16}" for n in checkpoints) + "   seeds  s each")
            for name in knobs.algorithms:
                case = Case(
                    question, name, 0, "front" if question == "latency" and name == "NSGA-II" else reward, target
                )
                if case not in curves:
                    continue
                found = curves[case]
                errors = found.std(0, ddof=1) / np.sqrt(len(found))
                figures = "".join(f"{found[:, n - 1].mean():9.3f} ({errors[n - 1]:.3f})" for n in checkpoints)
                reached = ""
                if question == "accuracy":
                    levels = [truth.percents.max() - below for below in _BELOW_BEST]
                    reached = "   evaluations to " + ", ".join(
                        f"{level:.2f}: {needed(found, level)}" for level in levels
                    )
                print(f"{name:16}{figures}{len(found):8}{seconds[case]:8.1f}{reached}", flush=True)


def report_time(algorithms):
    """Prints what algorithms take themselves: means of the 50 trials up to a number of trials, and of all."""
    print("\nan algorithm's own milliseconds a trial of MnasNet's space, up to the n-th trial: mean of 50")
    print(f"{'':16}" + "".join(f"{n:>16}" for n in CHECKPOINTS["time"]) + f"{'mean of all':>16}")
    for name in algorithms:
        took = own_milliseconds(name)
        print(
            f"{name:16}"
            + "".join(f"{took[n - 50 : n].mean():16.1f}" for n in CHECKPOINTS["time"])
            + f"{took.mean():16.1f}"
        )


def needed(curves, level):
    """Returns in words after how many evaluations half of the searches have reached an accuracy."""
    reached = np.where((curves >= level - 1e-5).any(1), (curves >= level - 1e-5).argmax(1) + 1, np.inf)
    median = np.median(reached)
    return f"{median:.0f}" if np.isfinite(median) else f"over {curves.shape[1]}"


def write_csv(path, curves):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "algorithm", "reward", "target_quantile", "seed", "evaluations", "value"])
        for case, found in curves.items():
            for seed, curve in enumerate(found):
                for n in CHECKPOINTS[case.question]:
                    writer.writerow(
                        [case.question, case.algorithm, case.reward, case.target, seed, n, round(curve[n - 1], 6)]
                    )


def draw(path, truth, curves):
    """Draws what is missing to the truth, for accuracy, the hard reward at each target, and the front."""
    panels = [("accuracy", "", 0.0), *(("latency", "hard", target) for target in _TARGETS), ("front", "", 0.0)]
    panels = [each for each in panels if any((case.question, case.reward, case.target) == each for case in curves)]
    columns = min(3, len(panels))
    figure = _picture.new_figure(4.4 * columns, 0.6 + 3.4 * -(-len(panels) // columns))
    names = [name for name in (*OURS, *THEIRS) if any(case.algorithm == name for case in curves)]
    shown = set()
    for place, (question, reward, target) in enumerate(panels, 1):
        axes = figure.add_subplot(-(-len(panels) // columns), columns, place)
        best, title = 100.0, "front: hypervolume missing, %"
        if question == "accuracy":
            best, title = truth.percents.max(), "points below the best network"
        elif question == "latency":
            best = truth.percents[truth.latencies <= truth.target_ms(target)].max()
            title = f"points below the best within {truth.target_ms(target):.1f} ms"
        for number, name in enumerate(names):
            case = Case(question, name, 0, "front" if question == "latency" and name == "NSGA-II" else reward, target)
            if case not in curves:
                continue
            rows = best - curves[case] * (100 if question == "front" else 1)
            mean, error = rows.mean(0), rows.std(0, ddof=1) / np.sqrt(len(rows))
            n = np.arange(1, rows.shape[1] + 1)
            axes.plot(n, np.maximum(mean, 1e-3), lw=1.3, color=f"C{number}", label=name if name not in shown else None)
            shown.add(name)
            axes.fill_between(
                n, np.maximum(mean - error, 1e-3), np.maximum(mean + error, 1e-3), color=f"C{number}", alpha=0.15
            )
        axes.set(xscale="log", yscale="log", xlim=(5, None), xlabel="evaluations")
        axes.set_title(title, fontsize=9)
    figure.legend(loc="outside lower center", fontsize=8, ncols=len(names))
    _picture.write(path, figure)


if __name__ == "__main__":
    from benchmarks import search_quality  # whose functions other processes find by this name

    flags.define(search_quality.Knobs)
    flags.run(search_quality.main, __doc__)
