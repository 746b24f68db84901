"""Searches of a space of which all is known, by our algorithms and by Optuna's: what `search_quality` shows.

Every search of ours goes through the ordinary loop, records and rewards; a network that was tried before costs nothing
and does not count. Optuna's samplers get the same networks: what they suggest is looked up in its canonical form, and
one that they suggest again does not count either.
"""

import dataclasses
import functools
import pathlib
import time
import warnings

import numpy as np

from mnas_tf.spaces.mnasnet import MnasNetSpace
from nas_tf.files import JsonLines
from nas_tf.judges.tabular import Config as JudgeConfig
from nas_tf.judges.tabular import TabularJudge
from nas_tf.plugins import Part
from nas_tf.rewards import AccuracyReward, FrontReward, LatencyReward
from nas_tf.search.problem import make_algorithm, problem_of
from nas_tf.search.records import Records
from nas_tf.testing import QuickWorkers, run_search
from nas_tf.trial import Cost, Latency, Measurement, Trial
from nasnet_tf.spaces.nasbench201 import NASBench201

OURS = ("random_search", "evolution", "local_search", "predictor", "ppo")
THEIRS = ("TPE", "GPSampler", "NSGA-II")
CHECKPOINTS = {
    "accuracy": (50, 80, 100, 120, 200, 300),
    "latency": (50, 100, 200),
    "front": (100, 200, 300),
    "noise": (100, 200),
    "time": (100, 300, 1000),
}
NOISE_PERCENT = 1.0
OWN_TIME_TRIALS = 1000
_LEAST_PERCENT = 80.0  # where fronts begin; on harder images, where this leaves nothing, the median of all networks
_MOST_TRIALS = 5  # times as many as evaluations: a search that suggests what is known is ended


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
        return CHECKPOINTS[self.question][-1]


class Kept:
    """Searches of one table that are done, in a file if it has a name."""

    def __init__(self, path, table_digest):
        self._lines = JsonLines(pathlib.Path(path), ("table", "case")) if path else None
        self._table, self._found = table_digest, {}

    def get(self, case):
        """Returns the curve and the seconds of a search, or None."""
        if case not in self._found and self._lines is not None:
            row = self._lines.get((self._table, str(case)))
            if row is not None:
                self._found[case] = row["curve"], row["seconds"]
        return self._found.get(case)

    def keep(self, case, curve, seconds):
        self._found[case] = curve, seconds
        if self._lines is not None:
            row = {"curve": [round(float(each), 6) for each in curve], "seconds": seconds}
            self._lines.add({"table": self._table, "case": str(case)} | row)


class Truth:
    """The whole space."""

    def __init__(self, path):
        self.space = NASBench201(table=path)
        self.judges = {noise: TabularJudge(JudgeConfig(noise), self.space, 0) for noise in (0.0, NOISE_PERCENT)}
        self.device = Part("nas_tf.devices", "tabular").make(self.space, None)
        self.judges[0.0].check()
        self.networks = sorted({self.canonical(tokens) for tokens in np.ndindex(*self.space.num_choices)})
        facts = [(self.percent(each), self.latency_ms(each)) for each in self.networks]
        self.percents, self.latencies = np.array(facts).T
        self.least_percent = min(_LEAST_PERCENT, float(np.median(self.percents)))
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
        area, best, most = 0.0, self.least_percent, max(self.latencies)
        for latency, percent in sorted(zip(latencies, percents)):
            if percent > best:
                area += (percent - best) * (most - latency)
                best = percent
        return area


truth_of = functools.lru_cache(maxsize=1)(Truth)


def searched(table, case):
    """Returns a `Case`, float [evaluations], what the answer after each is worth, and the seconds that it took."""
    import threadpoolctl

    truth, begin = truth_of(table), time.perf_counter()
    with threadpoolctl.threadpool_limits(1):
        run = _by_optuna if case.algorithm in THEIRS else _by_ours
        found, picked = run(truth, case)
    return case, worth(truth, case, found, picked), time.perf_counter() - begin


def _by_ours(truth, case):
    """Returns the canonical tokens and the measured accuracies of the different networks tried, in order.

    And a dict from how many were tried to the one that is picked then, where an algorithm expects other accuracies.
    """
    judge = truth.judges[NOISE_PERCENT if case.question == "noise" else 0.0]
    seed_repeat = 1000 * case.seed if case.question == "noise" else 0  # other noise in each search
    workers = QuickWorkers(lambda tokens, repeat: judge.accuracy(tokens, repeat=repeat + seed_repeat), truth.latency_ms)
    part, most, found, picked = Part("nas_tf.algorithms", case.algorithm), _MOST_TRIALS * case.num_evaluations, {}, {}
    records = Records(None)
    for number in CHECKPOINTS[case.question] if case.question == "noise" else (case.num_evaluations,):

        def enough(trials, number=number):
            for trial in trials[-1:]:
                found.setdefault(truth.canonical(trial.tokens), trial.measurement.accuracy)
            return len(found) >= number

        run_search(
            truth.space,
            part,
            case.seed,
            _reward(truth, case),
            workers,
            most,
            truth.device,
            records=records,
            stop=enough,
        )
        expected = {truth.canonical(trial.tokens): trial.expected for trial in records.trials()}
        if None not in expected.values():
            picked[number] = max(expected, key=expected.get)
    records.close()
    return list(found.items())[: case.num_evaluations], picked


def _reward(truth, case):
    if case.question == "latency":
        return LatencyReward(truth.target_ms(case.target), case.reward)
    return FrontReward() if case.question == "front" else AccuracyReward()


def _by_optuna(truth, case):
    """The same by one of Optuna's samplers, with its defaults."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    judge, found = truth.judges[NOISE_PERCENT if case.question == "noise" else 0.0], {}
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
    return list(found.items()), {}


def own_milliseconds(name):
    """Returns float [trials]: what one of our algorithms computes itself for each trial of MnasNet's space.

    Accuracy and latency have a closed form and noise; the target is the median latency.
    """
    import threadpoolctl

    space, rng = MnasNetSpace(), np.random.default_rng(0)
    worths = [rng.normal(size=count) for count in space.num_choices]
    costs = [rng.uniform(size=count) for count in space.num_choices]
    reward, took = LatencyReward(sum(np.median(each) for each in costs)), []
    with threadpoolctl.threadpool_limits(1):
        part = Part("nas_tf.algorithms", name)
        algorithm = make_algorithm(part, space.num_choices, 0, problem_of(space, reward, None))
        for number in range(1, OWN_TIME_TRIALS + 1):
            begin = time.process_time()
            (suggestion,) = algorithm.suggest(1)
            took.append(time.process_time() - begin)
            tokens = suggestion.tokens
            accuracy = 1 / (1 + np.exp(-sum(each[i] for each, i in zip(worths, tokens)) / 3 - rng.normal(0, 0.05)))
            latency = Latency.estimate(float(sum(each[i] for each, i in zip(costs, tokens))))
            facts = Measurement(float(accuracy), Cost(1, 1, 1, latency=latency), 1.0, 0.01)
            trial = Trial(number, tokens, measurement=facts, reward=reward(facts))
            begin = time.process_time()
            algorithm.update([trial])
            took[-1] += time.process_time() - begin
    return 1e3 * np.array(took)


def worth(truth, case, found, picked):
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
        for number, tokens in picked.items():
            curve[number - 1] = truth.percent(tokens)
    return np.concatenate([curve, np.full(case.num_evaluations - len(curve), curve[-1])])
