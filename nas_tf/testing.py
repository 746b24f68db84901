"""For those who write an algorithm of their own: searches that take no time, and the promise as a check.

from nas_tf.testing import check_algorithm

check_algorithm("my_algorithm.py")
"""

import dataclasses
import itertools

import numpy as np

from nas_tf.algorithms import Problem
from nas_tf.plugins import Part
from nas_tf.rewards import AccuracyReward, Limits
from nas_tf.search.loop import Search
from nas_tf.search.problem import make_algorithm, problem_of
from nas_tf.search.records import Records
from nas_tf.search.workers.inline import InlineWorkers
from nas_tf.space import Decision, SearchSpace, fingerprint
from nas_tf.training.train import Trained
from nas_tf.trial import Cost, EvaluationError, InfeasibleArchitecture, Latency, Measurement, Trial

FALSE_ALARMS = 1e-3  # how often `check_learning` says of random search that it learns
NUM_CHOICES = (3, 4, 2, 5, 1, 3, 13) * 3
_Z = 3.09  # of that share of a normal distribution's upper tail
_RUNNING = 6  # trials at once


class QuickWorkers(InlineWorkers):
    """Answers at once, and builds no network.

    Args:
        accuracy: `accuracy(tokens, repeat)` returns a `nas_tf.training.train.Trained`, or a float; in a search with
            rungs it takes a rung, too.
        latency_ms: `latency_ms(tokens)` returns a float.
        num_workers: how many jobs are under way at once; the first one begun ends first.
    """

    def __init__(self, accuracy, latency_ms=lambda tokens: 1.0, num_workers=1):
        self._evaluator, self._jobs, self._log_path = _QuickEvaluator(accuracy, latency_ms), [], None
        self.num_workers = num_workers

    def submit(self, key, job, first=False, deadline_seconds=None):
        super().submit(key, job)


class _QuickEvaluator:
    """Both judge and device."""

    def __init__(self, accuracy, latency_ms):
        self._accuracy, self._latency_ms, self.judge = accuracy, latency_ms, self

    def accuracy(self, tokens, max_steps, repeat, **rung):
        found = self._accuracy(tokens, repeat, **rung)
        return Trained(found, 0.0, 0.0, 0.0, 0) if isinstance(found, float) else found

    def cost(self, tokens):
        return Cost(1, 1, 1, latency=Latency.estimate(self._latency_ms(tokens)))


def run_search(
    space,
    part,
    seed,
    reward,
    workers,
    num_trials,
    device=None,
    start=None,
    records=None,
    stop=None,
    rungs=None,
    window=None,
    waits=True,
):
    """Runs a search through the ordinary loop and returns its finished `nas_tf.trial.Trial`s, as they arrived.

    Args:
        space: the `nas_tf.space.SearchSpace`.
        part: the algorithm's `nas_tf.plugins.Part`.
        seed: of the algorithm.
        reward: of `nas_tf.rewards`.
        workers: `QuickWorkers`.
        num_trials: after which it ends.
        device: a `nas_tf.devices.Estimator` that the algorithm may ask for costs, or None.
        start: tokens that it begins at, or None.
        records: `nas_tf.search.records.Records` to go on with; None: new ones in memory.
        stop: `stop(trials)` returns whether these are enough, or None.
        rungs: new `nas_tf.search.rungs.Rungs`, or None.
        window: of how many trials the algorithm may not know yet, or None (`nas_tf.search.loop.Search`).
        waits: as `nas_tf.algorithms.Problem.waits`.
    """
    problem = problem_of(space, reward, device, start, waits)
    algorithm = make_algorithm(part, space.num_choices, seed, problem)
    found, own = [], records is None
    records = records or Records(None)
    records.add_device("quick-1", {})
    search = Search(space, algorithm, workers, records, reward, Limits(), "quick-1", "quick", found.append)
    search.rungs, search.window = rungs, window
    search.run(num_trials, lambda: stop is not None and stop(found))
    if own:
        records.close()
    return found


@dataclasses.dataclass(frozen=True)
class _Net:
    tokens: tuple

    fingerprint = property(lambda self: fingerprint(self.to_json()))

    def to_json(self):
        return list(self.tokens)


class AnySpace(SearchSpace):
    """Decisions without a network: an architecture is its tokens."""

    name = "any"

    def __init__(self, num_choices):
        self._decisions = tuple(Decision(f"decision{i}", tuple(range(n))) for i, n in enumerate(num_choices))

    decisions = property(lambda self: self._decisions)
    build = architecture = None

    def decode(self, tokens):
        return _Net(self.check(tokens))

    def encode(self, architecture):
        return architecture.tokens


class _Stopped(KeyboardInterrupt):
    pass


def check_algorithm(part, space=None, num_trials=40):
    """Raises `AssertionError`, which says what, if an algorithm breaks the promise of `nas_tf.algorithms`.

    Tokens are in range; the same seed and measurements lead to the same trials; a search that is stopped goes on as it
    would have, also if several trials run at once; in a synchronous search the trials do not depend on the number of
    workers; what runs is not suggested once more, while it is known too little to settle on anything; and networks that
    are infeasible, or that fail, do not hold it up.

    Args:
        part: the path of a file, the name of a part, or a `nas_tf.plugins.Part` with settings.
        space: a `nas_tf.space.SearchSpace`; None: one of `NUM_CHOICES`.
        num_trials: of each search.
    """
    part, space = _part(part), space or AnySpace(NUM_CHOICES)
    _check_suggestions(part, space)
    _check_running(part, space)
    alone = _searched(part, space, num_trials, stops=())
    stopped = _searched(part, space, num_trials, stops=(1, num_trials // 2))
    assert alone == stopped, "a search that is stopped and goes on leads to other trials"
    several = _searched(part, space, num_trials, stops=(num_trials // 2,), num_workers=3, waits=False)
    assert [trial_id for trial_id, *_ in several] == list(range(1, num_trials + 1)), "trials are lost"
    one = _searched(part, space, num_trials, stops=(), window=4)
    three = _searched(part, space, num_trials, stops=(num_trials // 2,), num_workers=3, window=4)
    assert one == three, "in a synchronous search more workers lead to other trials"


def check_learning(part, space=None, num_trials=150, num_last=50):
    """Raises `AssertionError` if the last of some trials are no better than random ones (one in 1,000 is by chance).

    Each decision is worth the same, and one of its answers is right. The space should have many more networks than the
    search has trials, as an algorithm that tries none twice has to leave the best ones.

    Args:
        part, space: as `check_algorithm` takes them.
        num_trials, num_last: how many there are, and how many of them are judged.
    """
    part, space = _part(part), space or AnySpace(NUM_CHOICES)

    def accuracy(tokens, repeat):
        return _worth(tokens, space.num_choices)

    trials = run_search(space, part, 0, AccuracyReward(), QuickWorkers(accuracy), num_trials)
    reached = np.mean([trial.reward for trial in trials[-num_last:]])
    shares = 1 / np.array([choices for choices in space.num_choices if choices > 1])
    chance, variance = shares.mean(), (shares * (1 - shares)).sum() / len(shares) ** 2
    least = chance + _Z * np.sqrt(variance / num_last)
    assert reached > least, f"its last {num_last} trials reach {reached:.3f}; chance may reach {least:.3f}"


def _part(part):
    return part if isinstance(part, Part) else Part("nas_tf.algorithms", str(part))


def _check_suggestions(part, space):
    algorithm = make_algorithm(part, space.num_choices, 0, Problem())
    for count in (0, 1, 3):
        suggestions = algorithm.suggest(count, [])
        assert len(suggestions) <= count, f"{len(suggestions)} suggestions where {count} were asked for"
        for each in suggestions:
            fits = isinstance(each.tokens, tuple) and len(each.tokens) == len(space.num_choices)
            assert fits, f"tokens {each.tokens!r}: expected a tuple of {len(space.num_choices)}"
            for token, choices in zip(each.tokens, space.num_choices):
                assert type(token) is int and 0 <= token < choices, f"token {token!r} of {choices} choices"
    algorithm.update([])


def _check_running(part, space):
    """Asks for one suggestion after another while all the earlier ones run, at first and after some trials.

    What is drawn at random may come twice, so that one of `_RUNNING` may, in any space that is worth a search.
    """
    algorithm = make_algorithm(part, space.num_choices, 0, problem_of(space, AccuracyReward(), None, waits=False))
    for begin in (1, 1 + _RUNNING):
        running = []
        for number in range(begin, begin + _RUNNING):
            running += [Trial(number, each.tokens, each.note) for each in algorithm.suggest(1, running)]
        different = len({space.decode(trial.tokens).fingerprint for trial in running})
        assert different >= len(running) - 1, (
            f"of {len(running)} suggestions, each made while the earlier ones ran, only {different} are different"
        )
        told = []
        for trial in running:
            facts = Measurement(0.5 + 0.5 * _worth(trial.tokens, space.num_choices), Cost(1, 1, 1), 1.0)
            told.append(dataclasses.replace(trial, measurement=facts, reward=facts.accuracy))
        algorithm.update(told)


def _worth(tokens, num_choices):
    """Returns the share of decisions, of those with a choice, whose answer is the last one."""
    matter = [(token, choices) for token, choices in zip(tokens, num_choices) if choices > 1]
    return sum(token == choices - 1 for token, choices in matter) / len(matter)


def _searched(part, space, num_trials, stops, num_workers=1, **how):
    """Returns id, tokens and reward of the trials of a search that is stopped after so many answers, and goes on."""
    records = Records(None)
    for stop in (*stops, None):
        answers = itertools.count()

        def accuracy(tokens, repeat, answers=answers, stop=stop):
            if stop is not None and next(answers) >= stop:
                raise _Stopped
            number = int(fingerprint(list(tokens)), 16)
            if number % 7 == 0:
                raise InfeasibleArchitecture("a seventh diverges")
            if number % 31 == 0:
                raise EvaluationError("one in 31 fails")
            return 0.5 + 0.5 * _worth(tokens, space.num_choices)

        try:
            run_search(
                space,
                part,
                0,
                AccuracyReward(),
                QuickWorkers(accuracy, num_workers=num_workers),
                num_trials,
                records=records,
                **how,
            )
        except _Stopped:
            continue
    found = [(trial.id, trial.tokens, trial.reward) for trial in records.trials()]
    records.close()
    return found
