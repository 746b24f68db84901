"""How good the networks are that search algorithms find on a space of which all is known, beside Optuna's.

python -m benchmarks.search_quality --table=nasbench201_cifar10_pixel3.json --csv=quality.csv --picture=quality.png

Every search of ours goes through the ordinary loop, records and rewards; a network that was tried before costs nothing
and does not count. Optuna's samplers get the same networks: what they suggest is looked up in its canonical form, and
one that they suggest again does not count either. An algorithm's answer is what it found to be best, at its true
accuracy. Means over seeds with standard errors. Four questions:
* accuracy: the best accuracy after n evaluations, and how many evaluations reach given accuracies.
* latency: the most accurate network within a target, for three targets, with the soft, the hard and the absolute
  reward. Optuna's TPE and GPSampler maximise the same reward; its NSGA-II searches the front.
* front: the hypervolume of accuracy (from 80 %) and latency (up to the table's largest), as a share of the true one's.
* noise: what is lost of the accuracy where the judge errs by 1 point.

Settings of ours that were tuned on NAS-Bench-201's CIFAR-10 table: the predictor's initial trials and share of random
candidates, and its kernel's counts of answers; ppo's small_budget preset.
"""

import concurrent.futures
import csv
import dataclasses
import functools
import pathlib
import sys
import time
import warnings

import numpy as np

from nas_tf import flags
from nas_tf.files import JsonLines
from nas_tf.judges.tabular import Config as JudgeConfig
from nas_tf.judges.tabular import TabularJudge
from nas_tf.plugins import Part
from nas_tf.reports import _picture
from nas_tf.rewards import AccuracyReward, FrontReward, LatencyReward
from nas_tf.settings import Settings, knob
from nas_tf.testing import QuickWorkers, run_search
from nasnet_tf.spaces.nasbench201 import NASBench201

OURS = ("random_search", "evolution", "local_search", "predictor", "ppo")
THEIRS = ("TPE", "GPSampler", "NSGA-II")
_QUESTIONS = ("accuracy", "latency", "front", "noise")
_CHECKPOINTS = {
    "accuracy": (50, 80, 100, 120, 200, 300),
    "latency": (50, 100, 200),
    "front": (100, 200, 300),
    "noise": (100, 200),
}
_REWARDS = ("soft", "hard", "absolute")
_TARGETS = (0.15, 0.3, 0.6)  # quantiles of the latencies of all networks
_LEVELS = (94.0, 94.2, 94.3, 94.37)
_LEAST_PERCENT = 80.0
_NOISE_PERCENT = 1.0
_MOST_TRIALS = 5  # times as many as evaluations: a search that suggests what is known is ended


@dataclasses.dataclass(frozen=True)
class Knobs(Settings):
    table: str = knob("", "JSON of all cells; its last field is a latency in milliseconds.", path=True)
    questions: tuple[str, ...] = knob(_QUESTIONS, "Which questions.", choices=_QUESTIONS)
    algorithms: tuple[str, ...] = knob((*OURS, *THEIRS), "Which algorithms.", choices=(*OURS, *THEIRS))
    seeds: int = knob(50, "Searches by each of our algorithms, for accuracy and noise.", least=2)
    latency_seeds: int = knob(20, "The same for latency and for fronts.", least=2)
    slow_seeds: int = knob(10, "The same, for each question, of ppo and of Optuna's TPE and NSGA-II.", least=2)
    slowest_seeds: int = knob(3, "The same of Optuna's GPSampler, which needs torch.", least=2)
    processes: int = knob(2, "Searches at once.", least=1)
    kept: str = knob("", "File that keeps every search that is done, so that a stop loses little.", path=True)
    csv: str = knob("", "Where all figures are written; empty: nowhere.", path=True)
    picture: str = knob("", "Where a picture is written; empty: none.", path=True)


@dataclasses.dataclass(frozen=True)
class Case:
    """One search: plain data."""

    question: str
    algorithm: str
    seed: int
    reward: str = ""
    target: float = 0.0  # a quantile

    @property
    def num_evaluations(self):
        return _CHECKPOINTS[self.question][-1]


class Kept:
    """Searches that are done, in a file if it has a name."""

    def __init__(self, path):
        self._lines = JsonLines(pathlib.Path(path), ("case",)) if path else None
        self._found = {}

    def get(self, case):
        """Returns the curve and the seconds of a search, or None."""
        if case not in self._found and self._lines is not None:
            row = self._lines.get((str(case),))
            if row is not None:
                self._found[case] = row["curve"], row["seconds"]
        return self._found.get(case)

    def keep(self, case, curve, seconds):
        self._found[case] = curve, seconds
        if self._lines is not None:
            self._lines.add({"case": str(case), "curve": [round(float(each), 6) for each in curve], "seconds": seconds})


class Truth:
    """The whole space."""

    def __init__(self, path):
        self.space = NASBench201(table=path)
        self.judges = {noise: TabularJudge(JudgeConfig(noise), self.space, 0) for noise in (0.0, _NOISE_PERCENT)}
        self.device = Part("nas_tf.devices", "tabular").make(self.space, None)
        self.judges[0.0].check()
        self.networks = sorted({self.canonical(tokens) for tokens in np.ndindex(*self.space.num_choices)})
        facts = [(self.percent(each), self.latency_ms(each)) for each in self.networks]
        self.percents, self.latencies = np.array(facts).T
        self.area = self.hypervolume(self.percents, self.latencies)

    @functools.cache  # noqa: B019  one for each process
    def canonical(self, tokens):
        return self.space.encode(self.space.decode(tokens))

    @functools.cache  # noqa: B019
    def percent(self, tokens):
        return 100 * self.judges[0.0].true_accuracy(tokens)

    @functools.cache  # noqa: B019
    def latency_ms(self, tokens):
        return self.device.estimate([self.space.decode(tokens)])[0]

    def target_ms(self, quantile):
        return float(np.quantile(self.latencies, quantile))

    def hypervolume(self, percents, latencies):
        """Returns the area between the reference point and what is at least as good as one of the networks."""
        area, best, most = 0.0, _LEAST_PERCENT, max(self.latencies)
        for latency, percent in sorted(zip(latencies, percents)):
            if percent > best:
                area += (percent - best) * (most - latency)
                best = percent
        return area


_truth = functools.lru_cache(maxsize=1)(Truth)


def main():
    knobs = flags.read(Knobs)
    truth = _truth(knobs.table)
    print(f"{len(truth.networks):,} networks; the best has {truth.percents.max():.3f} %", flush=True)
    begin, rows, kept = time.perf_counter(), {}, Kept(knobs.kept)
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
    if knobs.csv:
        write_csv(knobs.csv, curves)
    if knobs.picture:
        draw(knobs.picture, truth, curves)
    minutes = (time.perf_counter() - begin) / 60
    print(f"{minutes:.1f} min; command: python -m benchmarks.search_quality {' '.join(sys.argv[1:])}")


def cases(knobs):
    """Yields every search, the slowest first, so that processes end together."""
    for algorithm in sorted(knobs.algorithms, key=("GPSampler", "ppo", "NSGA-II", "TPE", *OURS).index):
        if algorithm == "GPSampler" and not _has("torch"):
            print("GPSampler is left out: it needs torch", flush=True)
            continue
        for question in knobs.questions:
            many = knobs.seeds if question in ("accuracy", "noise") else knobs.latency_seeds
            if algorithm in ("ppo", "TPE", "NSGA-II"):
                many = knobs.slow_seeds
            elif algorithm == "GPSampler":
                many = knobs.slowest_seeds
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


def searched(table, case):
    """Returns a `Case`, float [evaluations], what the answer after each is worth, and the seconds that it took."""
    import threadpoolctl

    truth, begin = _truth(table), time.perf_counter()
    with threadpoolctl.threadpool_limits(1):
        run = _by_optuna if case.algorithm in THEIRS else _by_ours
        found = run(truth, case)
    return case, worth(truth, case, found), time.perf_counter() - begin


def _by_ours(truth, case):
    """Returns the canonical tokens and the measured accuracies of the different networks tried, in order."""
    judge = truth.judges[_NOISE_PERCENT if case.question == "noise" else 0.0]
    seed_repeat = 1000 * case.seed if case.question == "noise" else 0  # other noise in each search
    workers = QuickWorkers(lambda tokens, repeat: judge.accuracy(tokens, repeat=repeat + seed_repeat), truth.latency_ms)
    found = {}

    def enough(trials):
        for trial in trials[len(enough.seen) :]:
            enough.seen.append(trial)
            found.setdefault(truth.canonical(trial.tokens), trial.measurement.accuracy)
        return len(found) >= case.num_evaluations

    enough.seen = []
    part = Part("nas_tf.algorithms", case.algorithm)
    most = _MOST_TRIALS * case.num_evaluations
    run_search(truth.space, part, case.seed, _reward(truth, case), workers, most, truth.device, stop=enough)
    return list(found.items())[: case.num_evaluations]


def _reward(truth, case):
    if case.question == "latency":
        return LatencyReward(truth.target_ms(case.target), case.reward)
    return FrontReward() if case.question == "front" else AccuracyReward()


def _by_optuna(truth, case):
    """The same by one of Optuna's samplers, with its defaults."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    judge, found = truth.judges[_NOISE_PERCENT if case.question == "noise" else 0.0], {}
    is_front = case.question == "front" or case.algorithm == "NSGA-II"
    sampler = {
        "TPE": optuna.samplers.TPESampler,
        "GPSampler": optuna.samplers.GPSampler,
        "NSGA-II": optuna.samplers.NSGAIISampler,
    }[case.algorithm](seed=case.seed)
    study = optuna.create_study(directions=["maximize", "minimize"] if is_front else ["maximize"], sampler=sampler)
    reward = _reward(truth, case) if not is_front else None
    for _ in range(_MOST_TRIALS * case.num_evaluations):
        trial = study.ask()
        tokens = tuple(
            trial.suggest_categorical(decision.name, list(range(len(decision.choices))))
            for decision in truth.space.decisions
        )
        tokens = truth.canonical(tokens)
        if tokens not in found:
            repeat = 1000 * case.seed if case.question == "noise" else 0
            found[tokens] = judge.accuracy(tokens, repeat=repeat).accuracy
        latency_ms = truth.latency_ms(tokens)
        study.tell(trial, [found[tokens], latency_ms] if is_front else float(reward.of(found[tokens], latency_ms)))
        if len(found) >= case.num_evaluations:
            break
    return list(found.items())


def worth(truth, case, found):
    """Returns float [evaluations]: after each the answer's true accuracy, in percent, or the hypervolume's share."""
    percents = np.array([truth.percent(tokens) for tokens, _ in found])
    latencies = np.array([truth.latency_ms(tokens) for tokens, _ in found])
    said = np.array([accuracy for _, accuracy in found])
    if case.question == "front":
        curve = [truth.hypervolume(percents[: n + 1], latencies[: n + 1]) / truth.area for n in range(len(found))]
    else:
        fits = latencies <= (truth.target_ms(case.target) if case.question == "latency" else np.inf)
        answers = [np.argmax(np.where(fits[: n + 1], said[: n + 1], -1.0)) for n in range(len(found))]
        curve = [percents[i] if fits[i] else percents.min() for i in answers]
    return np.concatenate([curve, np.full(case.num_evaluations - len(curve), curve[-1])])


def report(knobs, truth, curves, seconds):
    """Prints a table for each question."""
    for question in knobs.questions:
        checkpoints = _CHECKPOINTS[question]
        for reward, target in sorted(
            {(case.reward, case.target) for case in curves if case.question == question and case.reward != "front"}
        ):
            what = {
                "accuracy": "best accuracy, %",
                "front": "share of the true hypervolume",
                "noise": f"true accuracy, %, of the answer where accuracies err by {_NOISE_PERCENT:g} point",
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
                    reached = "   evaluations to " + ", ".join(
                        f"{level:g}: {needed(found, level)}" for level in _LEVELS
                    )
                print(f"{name:16}{figures}{len(found):8}{seconds[case]:8.1f}{reached}", flush=True)


def needed(curves, level):
    """Returns in words after how many evaluations half of the searches have reached an accuracy."""
    reached = np.where((curves >= level - 1e-9).any(1), (curves >= level - 1e-9).argmax(1) + 1, np.inf)
    median = np.median(reached)
    return f"{median:.0f}" if np.isfinite(median) else f"over {curves.shape[1]}"


def write_csv(path, curves):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "algorithm", "reward", "target_quantile", "seed", "evaluations", "value"])
        for case, found in curves.items():
            for seed, curve in enumerate(found):
                for n in _CHECKPOINTS[case.question]:
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
