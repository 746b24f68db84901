"""Ranks trials by what the goal picks, and finds their Pareto front."""

from nas_tf.ranks import rank_correlation
from nas_tf.rewards import cost_of


def finished(trials):
    """Returns a list of the trials that have a measurement and keep the limits, only the first of each architecture.

    In a search with rungs they are those of the highest rung that any has reached: others cannot be compared with them.
    """
    top = max((len(trial.measurement.rungs) for trial in trials if trial.state == "done"), default=0)
    first = {}
    for trial in trials:
        if trial.state == "done" and len(trial.measurement.rungs) == top:
            first.setdefault(trial.fingerprint or trial.tokens, trial)
    return list(first.values())


def expected_accuracy(trial):
    """Returns the accuracy that a trial is picked by: what the algorithm expects of it, or else the measured one."""
    return trial.measurement.accuracy if trial.expected is None else trial.expected


def rank(accuracy, cost, goal):
    """Returns a tuple that is the smaller, the better a network is.

    Those that meet the goal come first, by accuracy. The others follow, the cheapest first: the first of these is the
    cheapest that no other dominates.

    Args:
        accuracy: in [0, 1].
        cost: the `nas_tf.trial.Cost`.
        goal: the `nas_tf.rewards.Goal`.
    """
    figure = cost_of(cost, goal.cost)
    return (0, -accuracy, figure) if goal.is_met(cost) else (1, figure, -accuracy)


def ranked(trials, goal):
    """Returns a list of the `finished` trials, best first, by `rank` of what is expected of them; of equal ones, the
    earlier first.
    """
    return sorted(
        finished(trials), key=lambda each: (*rank(expected_accuracy(each), each.measurement.cost, goal), each.id)
    )


def pareto_front(trials, cost="latency_ms"):
    """Returns the trials that no other beats in both accuracy and `cost`, cheapest first."""
    ordered = sorted(
        finished(trials),
        key=lambda trial: (cost_of(trial.measurement.cost, cost), -trial.measurement.accuracy, trial.id),
    )
    front = []
    for trial in ordered:
        if not front or trial.measurement.accuracy > front[-1].measurement.accuracy:
            front.append(trial)
    return front


def repeated(trials):
    """Returns a list of pairs `(first, again)` of trials of one architecture that were measured independently."""
    first, pairs = {}, []
    for trial in trials:
        if trial.state == "done":
            one = first.setdefault(trial.fingerprint or trial.tokens, trial)
            if one is not trial and one.measurement != trial.measurement:
                pairs.append((one, trial))
    return pairs


def rungs(trials):
    """Returns a list of `(networks, rank correlation)` for each rung of a search with rungs.

    The correlation is that of accuracies with those of the rung below, over the networks that reached it. It is None at
    the lowest rung, for fewer than three networks, and where all are alike.
    """
    reached = {each.fingerprint or each.tokens: each.measurement.rungs for each in trials if each.state == "done"}
    found = []
    for rung in range(max(map(len, reached.values()), default=0)):
        here = [each for each in reached.values() if len(each) > rung]
        columns = [[each[place] for each in here] for place in (rung - 1, rung)] if rung else []
        is_known = rung > 0 and len(here) >= 3 and all(len(set(column)) > 1 for column in columns)
        found.append((len(here), rank_correlation(*columns) if is_known else None))
    return found
