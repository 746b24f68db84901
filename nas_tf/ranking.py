"""Ranks trials by what the goal picks, and finds their Pareto front."""

from nas_tf.rewards import cost_of


def finished(trials):
    """Returns a list of the trials that have a measurement and keep the limits, only the first of each architecture."""
    first = {}
    for trial in trials:
        if trial.state == "done":
            first.setdefault(trial.fingerprint or trial.tokens, trial)
    return list(first.values())


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
    """Returns a list of the `finished` trials, best first (`rank`); of equal ones, the earlier first."""
    return sorted(
        finished(trials), key=lambda each: (*rank(each.measurement.accuracy, each.measurement.cost, goal), each.id)
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
