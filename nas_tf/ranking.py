"""Ranks trials, and finds their Pareto front."""

from nas_tf.rewards import cost_of


def ranked(trials):
    """Returns the trials that have a measurement, best reward first, and only the first of each architecture."""
    best = {}
    for trial in trials:
        if trial.state == "done":
            best.setdefault((trial.measurement, trial.reward), trial)
    return sorted(best.values(), key=lambda trial: (-trial.reward, trial.id))


def pareto_front(trials, cost="latency_ms"):
    """Returns the trials that no other beats in both accuracy and `cost`, cheapest first."""
    ordered = sorted(
        ranked(trials), key=lambda trial: (cost_of(trial.measurement.cost, cost), -trial.measurement.accuracy, trial.id)
    )
    front = []
    for trial in ordered:
        if not front or trial.measurement.accuracy > front[-1].measurement.accuracy:
            front.append(trial)
    return front
