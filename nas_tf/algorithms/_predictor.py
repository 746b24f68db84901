"""The search that `predictor.py` describes; SciPy is imported here alone."""

import dataclasses
import math

import numpy as np
from scipy import special

from nas_tf.algorithms import Algorithm, _neighbours
from nas_tf.algorithms._gaussian_process import GaussianProcess, one_thread
from nas_tf.ranks import mean_ranks
from nas_tf.trial import Suggestion

_INCUMBENTS = 10  # whose neighbourhood is looked at
_RANDOM_SHARE = 0.25  # of the candidates
_MOST_KNOWN = 500  # trials in the model: the best half, and the latest
_MOST_TUNED = 250
_MOST_BEATEN = 50  # of the best trials, those whose predictions are looked at
_TUNED_AGAIN = 1.25  # times as many trials
_QUANTILES = special.ndtri((np.arange(16) + 0.5) / 16)
_TRIES = 50  # to draw an architecture that was not suggested before


class Predictor(Algorithm):
    """Tries what is expected to improve most on the best."""

    def __init__(self, config, num_choices, seed, problem):
        self._config, self._num_choices, self._problem = config, num_choices, problem
        self._rng = np.random.default_rng(seed)
        self._found = {}  # what came of each network, by its canonical tokens: `_Found`
        self._suggested = set()
        self._accuracy, self._cost = GaussianProcess(num_choices), GaussianProcess(num_choices)
        self._tuned_at = 0

    def suggest(self, count, running=()):
        taken, found = {self._problem.canonical(trial.tokens) for trial in running}, []
        for _ in range(count):
            suggestion = self._suggest(taken)
            taken.add(self._problem.canonical(suggestion.tokens))
            self._suggested.add(self._problem.canonical(suggestion.tokens))
            found.append(suggestion)
        return found

    def expected(self, trials):
        """Returns means of the prediction, where judges know their standard errors."""
        facts = _Facts(self._found, self._problem) if len(self._found) >= self._config.initial else None
        if facts is None or not facts.errors.any():
            return None
        with one_thread():
            self._fit(facts, ())
            canonical = [self._problem.canonical(trial.tokens) for trial in trials]
            return facts.accuracy_of(self._accuracy.predict(canonical)[0]).tolist()

    def update(self, trials):
        for trial in trials:
            tokens = self._problem.canonical(trial.tokens)
            earlier = self._found[tokens].trials if tokens in self._found else ()
            self._found[tokens] = _Found.of((*earlier, trial), self._problem.cost)

    def _suggest(self, taken):
        start, known = self._problem.start, self._found.keys() | taken | self._suggested
        if start is not None and self._problem.canonical(start) not in known:
            return Suggestion(tuple(start), "the parent")
        if len(known) >= self._config.initial and self._can_predict():
            tokens = self._most_promising(taken, known)
            if tokens is not None:
                return Suggestion(tokens, "predicted")
        for _ in range(_TRIES):
            if start is not None and len(known) < self._config.initial:
                tokens = _neighbours.changed(start, self._num_choices, self._rng, int(self._rng.integers(1, 4)))
            else:
                tokens = _neighbours.drawn(self._num_choices, self._rng)
            if self._problem.canonical(tokens) not in known:
                break
        return Suggestion(tokens, "random" if start is None else "near the parent")

    def _can_predict(self):
        """Returns whether enough is known: of a front, at least one network that can be measured."""
        is_enough = not self._problem.is_front or any(each.is_measured for each in self._found.values())
        return is_enough and len(self._found) >= 2

    def _most_promising(self, taken, known):
        """Returns the tokens of the largest expected improvement, or None if no candidate is new."""
        with one_thread():
            return self._of_largest_improvement(taken, known)

    def _of_largest_improvement(self, taken, known):
        facts = _Facts(self._found, self._problem)
        self._fit(facts, taken)
        candidates = self._candidates(facts, known)
        if not candidates:
            return None
        means, deviations = self._accuracy.predict(candidates)
        costs = self._costs(facts, candidates)
        if self._problem.is_front:
            accuracies = facts.accuracy_of(means[:, None] + deviations[:, None] * _QUANTILES)
            gains = _hypervolume_gain(*facts.front(), accuracies, _sampled(*costs))
            return candidates[int(np.argmax(gains if gains.any() else means))]
        log_fits = np.zeros(len(candidates))
        if facts.target is not None:
            log_fits = special.log_ndtr((facts.target - costs[0]) / np.maximum(costs[1], 1e-9))
        if not facts.fits.any():
            return candidates[int(np.argmax(log_fits))]  # one that meets the target comes first
        best = self._accuracy.predict(facts.best())[0].max()
        return candidates[int(np.argmax(_log_improvement(means, deviations, best) + log_fits))]

    def _costs(self, facts, candidates):
        """Returns mean and standard deviation, each float [n], of the candidates' log costs; None without a cost."""
        if facts.log_costs is None:
            return None
        if self._problem.estimate is not None:
            return np.log(self._problem.estimate(candidates)), np.zeros(len(candidates))
        means, deviations = self._cost.predict(candidates)
        return facts.center + facts.spread * means, facts.spread * deviations

    def _fit(self, facts, taken):
        kept = facts.most_useful(_MOST_KNOWN)
        tokens = [facts.tokens[i] for i in kept]
        if len(facts.tokens) >= _TUNED_AGAIN * self._tuned_at:
            tuned = facts.most_useful(_MOST_TUNED)
            some = [facts.tokens[i] for i in tuned]
            self._accuracy.tune(some, facts.scores[tuned], facts.errors[tuned])
            if facts.models_cost:
                self._cost.tune(some, facts.costs[tuned], np.zeros(len(some)))
            self._tuned_at = len(facts.tokens)
        for model, values, errors in (
            (self._accuracy, facts.scores[kept], facts.errors[kept]),
            (self._cost, facts.costs[kept] if facts.models_cost else None, np.zeros(len(kept))),
        ):
            if values is None:
                continue
            model.fit(tokens, values, errors)
            if taken:
                believed = sorted(taken)
                more = np.concatenate([values, model.predict(believed)[0]])
                model.fit([*tokens, *believed], more, np.concatenate([errors, np.zeros(len(believed))]))

    def _candidates(self, facts, known):
        found, incumbents = {}, facts.incumbents()
        for number in range(self._config.candidates):
            if number < _RANDOM_SHARE * self._config.candidates:
                tokens = _neighbours.drawn(self._num_choices, self._rng)
            else:
                near = incumbents[number % len(incumbents)]
                tokens = _neighbours.changed(near, self._num_choices, self._rng, int(self._rng.geometric(0.5)))
            canonical = self._problem.canonical(tokens)
            if canonical not in known:
                found[canonical] = None
        return list(found)


@dataclasses.dataclass(frozen=True)
class _Found:
    """What came of one network.

    Attributes:
        trials: tuple of its trials.
        reward, accuracy: their means; what is infeasible has accuracy 0.
        error: standard error of the accuracy; 0 where it is not known. Copies of one measurement do not make it less.
        log_cost: of the first trial; infinite if that is infeasible, None without a cost.
        is_measured: whether any has an accuracy.
    """

    trials: tuple
    reward: float
    accuracy: float
    error: float
    log_cost: float | None
    is_measured: bool

    @classmethod
    def of(cls, trials, cost):
        measured = [trial.measurement for trial in trials if trial.measurement]
        squares = [(each.standard_error or 0.0) ** 2 for i, each in enumerate(measured) if each not in measured[:i]]
        return cls(
            trials=trials,
            reward=sum(trial.reward for trial in trials) / len(trials),
            accuracy=sum(each.accuracy for each in measured) / len(trials),
            error=math.sqrt(sum(squares)) / len(squares) if squares else 0.0,
            log_cost=None if cost is None else _neighbours.facts(trials[0], cost)[1],
            is_measured=bool(measured),
        )


class _Facts:
    """What is known of the networks that were tried, each once.

    Attributes:
        tokens: list of canonical tokens.
        is_reward: whether rewards are modelled, as nothing else is known, and not accuracies.
        accuracies: float [n], or the rewards.
        scores: float [n], their normal scores.
        errors: float [n], standard errors of the scores.
        log_costs: float [n], or None; `costs` are the same with mean 0 and variance 1.
            `center` and `spread` say how.
        models_cost: whether there is a cost, and it is known of these alone.
        target: the logarithm of the target, or None.
        fits: bool [n], whether they meet the target.
    """

    def __init__(self, found, problem):
        self.tokens, groups = list(found), list(found.values())
        self.is_reward = not any(each.is_measured for each in groups)
        self.accuracies = np.array([each.reward if self.is_reward else each.accuracy for each in groups])
        self.scores = _normal_scores(self.accuracies)
        self._ordered = np.sort(self.accuracies), np.sort(self.scores)
        self.errors = self._of_scores(np.array([0.0 if self.is_reward else each.error for each in groups]))
        self.models_cost, self.log_costs, self.costs = False, None, None
        if problem.cost is not None and not self.is_reward:
            logs = np.array([each.log_cost for each in groups])
            self.log_costs = np.where(np.isfinite(logs), logs, logs[np.isfinite(logs)].max())
            self.models_cost = problem.estimate is None
            self.center, self.spread = self.log_costs.mean(), self.log_costs.std() or 1.0
            self.costs = (self.log_costs - self.center) / self.spread
        has_target = self.log_costs is not None and problem.target is not None
        self.target = float(np.log(problem.target)) if has_target else None
        self.fits = self.log_costs <= self.target if has_target else np.ones(len(groups), bool)
        self._problem = problem

    def accuracy_of(self, scores):
        """Returns the accuracies that scores stand for; beyond the best one they rise as the best tenth do."""
        accuracies, ordered = self._ordered
        tenth = max(2, len(ordered) // 10)
        rise = (accuracies[-1] - accuracies[-tenth]) / max(1e-9, ordered[-1] - ordered[-tenth])
        found = np.interp(scores, ordered, accuracies) + np.maximum(0, scores - ordered[-1]) * rise
        return np.clip(found, 0.0, 1.0)

    def _of_scores(self, errors):
        """Returns standard errors of scores, from those of accuracies: as scores rise around each accuracy."""
        least, most = self._ordered[0][[0, -1]]
        ends = [np.clip(self.accuracies + sign * errors, least, most) for sign in (1, -1)]
        rise = np.interp(ends[0], *self._ordered) - np.interp(ends[1], *self._ordered)
        return errors * rise / np.maximum(ends[0] - ends[1], 1e-12)

    def most_useful(self, most):
        """Returns int [at most `most`]: the indices of the best half, and of the latest."""
        if len(self.tokens) <= most:
            return np.arange(len(self.tokens))
        best = np.argsort(-self.scores, kind="stable")[: most // 2]
        latest = np.setdiff1d(np.arange(len(self.tokens)), best)[-(most - len(best)) :]
        return np.sort(np.concatenate([best, latest]))

    def best(self):
        """Returns the tokens of the most accurate ones that meet the target, which a prediction has to beat."""
        order = np.lexsort((-self.accuracies, ~self.fits))
        return [self.tokens[i] for i in order[: min(_MOST_BEATEN, self.fits.sum())]]

    def incumbents(self):
        """Returns the tokens whose neighbourhood is worth looking at: the front's, or those of the largest rewards."""
        if self._problem.is_front:
            return [self.tokens[i] for i in _neighbours.front(self.accuracies, self.log_costs)]
        costs = np.zeros(len(self.tokens)) if self.target is None else self.log_costs
        # Of those that miss the target, the ones that miss it least.
        order = np.lexsort((np.where(self.fits, -self.accuracies, costs), ~self.fits))
        return [self.tokens[i] for i in order[:_INCUMBENTS]]

    def front(self):
        """Returns the front's accuracies and log costs, both rising, and the reference point of its hypervolume."""
        on = _neighbours.front(self.accuracies, self.log_costs)
        reference = np.quantile(self.accuracies, 0.1), self.log_costs.max()
        return self.accuracies[on], self.log_costs[on], reference


def _normal_scores(values):
    """Returns float [n]: what normal values of these ranks are in the mean."""
    return special.ndtri((mean_ranks(values) + 0.5) / len(values))


def _sampled(means, deviations):
    """Returns float [n, quantiles]: log costs, in another order than accuracies, from which they vary apart."""
    return means[:, None] + deviations[:, None] * np.roll(_QUANTILES[::-1], 5)


def _log_improvement(means, deviations, best):
    """Returns the logarithm of the expected improvement on `best`, float [n] (Ament et al., arXiv 2310.20708)."""
    steps = (means - best) / deviations
    near = np.maximum(steps, -5.0)
    densities = np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi)
    far = -0.5 * steps**2 - 0.5 * np.log(2 * np.pi) - 2 * np.log(np.maximum(-steps, 1.0))  # its limit
    at_limit = np.log(densities + near * special.ndtr(near))
    return np.log(deviations) + np.where(steps >= -5.0, at_limit, far)


def _hypervolume_gain(accuracies, log_costs, reference, sampled, sampled_costs):
    """Returns float [candidates]: by how much a candidate is expected to enlarge the hypervolume.

    Args:
        accuracies, log_costs: of the front, float [n], both rising.
        reference: the accuracy and the log cost at which the hypervolume ends.
        sampled: float [candidates, quantiles], accuracies.
        sampled_costs: float [candidates, 1 or quantiles], log costs.
    """
    least, most = min(log_costs[0], sampled_costs.min()), reference[1]
    edges = np.concatenate([[least], log_costs, [most]])
    levels = np.maximum(reference[0], np.concatenate([[reference[0]], accuracies]))
    gains = np.zeros(np.broadcast(sampled, sampled_costs).shape)
    for begin, end, level in zip(edges[:-1], edges[1:], levels):
        gains += np.maximum(0, end - np.maximum(begin, sampled_costs)) * np.maximum(0, sampled - level)
    return gains.mean(1)
