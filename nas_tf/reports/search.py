"""What a search found, for people: the Pareto front as CSV and picture, and the closing table."""

import csv
import dataclasses
import io
import math
import statistics

from nas_tf import accuracy
from nas_tf.files import write_file
from nas_tf.quiet import count
from nas_tf.ranking import pareto_front, ranked, repeated
from nas_tf.reports import _picture
from nas_tf.reports.numbers import cost_text, milliseconds, share, significant
from nas_tf.reports.trials import FIRST_NOTES, counts_text, rungs_text
from nas_tf.rewards import cost_of

_UNITS = {
    "latency_ms": ("latency (ms)", 1.0),
    "mult_adds": ("multiply-adds (M)", 1e-6),
    "num_params": ("parameters (M)", 1e-6),
}


def write_pareto_csv(path, trials, space, cost="latency_ms", device=""):
    """Writes the Pareto front as CSV, one network in each row. `device` says where latencies come from."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("accuracy", "standard_error", "latency_ms", "num_params", "mult_adds", "reward")
    writer.writerow(["trial", *columns, "architecture", "latency_from"])
    for trial in pareto_front(trials, cost):
        facts = trial.measurement
        writer.writerow(
            [
                trial.id,
                f"{facts.accuracy:.4f}",
                "" if facts.standard_error is None else f"{facts.standard_error:.4f}",
                f"{facts.cost.latency.latency_ms:.6g}" if facts.cost.latency else "",
                facts.cost.num_params,
                facts.cost.mult_adds,
                f"{trial.reward:.4f}",
                space.decode(trial.tokens),
                device,
            ]
        )
    write_file(path, text.getvalue())


def draw_pareto(path, trials, *, goal, published, title, chance=None):
    """Writes a picture of all trials, accuracy against cost, with the front and the trial that the goal picks.

    Args:
        path: of the PNG file.
        trials: list of `nas_tf.trial.Trial`s.
        goal: the `nas_tf.rewards.Goal`; its cost is the horizontal axis.
        published: dict from published network to its `nas_tf.trial.Cost`, drawn as vertical lines.
        title: title of the picture.
        chance: `nas_tf.accuracy.Chance` of the validation images, drawn as a line, or None.
    """
    from matplotlib.ticker import MaxNLocator

    label, unit = _UNITS[goal.cost]
    figure = _picture.new_figure(8, 5.6)
    axes = figure.add_subplot()
    points = ranked(trials, goal)
    xs = [unit * cost_of(trial.measurement.cost, goal.cost) for trial in points]
    ys = [100 * trial.measurement.accuracy for trial in points]
    errors = [100 * (trial.measurement.standard_error or 0.0) for trial in points]
    if points:
        axes.errorbar(xs, ys, yerr=errors, fmt="none", ecolor="lightgray", lw=0.8, zorder=1)
        dots = axes.scatter(xs, ys, c=[trial.id for trial in points], cmap="viridis", s=22, label="trials", zorder=2)
        figure.colorbar(dots, ax=axes, label="trial", pad=0.01, ticks=MaxNLocator(integer=True, min_n_ticks=1))
        front = pareto_front(trials, goal.cost)
        axes.step(
            [unit * cost_of(trial.measurement.cost, goal.cost) for trial in front],
            [100 * trial.measurement.accuracy for trial in front],
            where="post",
            color="tab:red",
            lw=1.2,
            label="Pareto front",
        )
        is_met = goal.is_met(points[0].measurement.cost)
        picked = "most accurate" if points[0].expected is None else "most accurate, as expected by all trials,"
        picked += " within the target" if goal.target else ""
        axes.scatter(
            xs[:1],
            ys[:1],
            marker="*",
            s=220,
            color="tab:red",
            edgecolor="white",
            zorder=3,
            label=f"{picked if is_met else 'cheapest; none meets the target'} (trial {points[0].id})",
        )
    if goal.target:
        target = f"target: {cost_text(goal.target, goal.cost)}"
        axes.axvline(unit * goal.target, color="black", ls="--", lw=1.2, label=target)
    right = max([*xs, unit * (goal.target or 0)], default=1) * 1.1
    _draw_published(axes, published, goal.cost, right)
    axes.set_xlim(left=0, right=right)
    ends = [y + sign * error for y, error in zip(ys, errors) for sign in (-1, 1)]
    _picture.draw_chance(axes, chance, ends, always=True)
    axes.set_xlabel(f"deployment network's {label}")
    axes.set_ylabel("child's validation accuracy (%), bars: standard error")
    axes.set_title(title, fontsize=10)
    figure.legend(loc="outside lower center", fontsize=8, ncols=3)
    _picture.write(path, figure)


def _draw_published(axes, published, cost, right):
    """Draws published networks as vertical lines; those whose cost is beyond `right` are named at that side."""
    beyond, last, row = 0, None, 0
    known = {name: each for name, each in published.items() if cost != "latency_ms" or each.latency}
    for name, measured in sorted(known.items(), key=lambda item: cost_of(item[1], cost)):
        value, label = _UNITS[cost][1] * cost_of(measured, cost), f"{name} {cost_text(cost_of(measured, cost), cost)}"
        if value <= right:
            # Names of networks that cost nearly the same stand below each other.
            row = (row + 1) % 3 if last is not None and value - last < 0.03 * right else 0
            last = value
            axes.axvline(value, color="tab:gray", ls=":", lw=1)
            axes.annotate(
                label,
                (value, 0.99 - 0.33 * row),
                xycoords=("data", "axes fraction"),
                xytext=(-2, 0),
                rotation=90,
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=8,
                color="dimgray",
            )
        else:
            axes.annotate(
                f"{label} →",
                (0.99, 0.98 - 0.05 * beyond),
                xycoords="axes fraction",
                ha="right",
                va="top",
                fontsize=8,
                color="dimgray",
            )
            beyond += 1


def closing_table(trials, space, *, goal, published, device="", chance=None):
    """Returns the text with which a search ends: the best five, what came before and after learning, published costs.

    The arguments are those of `draw_pareto`; `device` says where latencies come from.
    """
    points = ranked(trials, goal)
    lines = [f"{count(len(trials), 'trial')}: {counts_text(trials)}", ""]
    titles = f"{'accuracy %':>13} {'latency ms':>11} {'params M':>9} {'madds M':>8} {'reward':>8}"
    lines.append(f"{'':<7}{'trial':>5} {titles}")
    for place, trial in enumerate(points[:5], 1):
        facts = trial.measurement
        lines.append(
            f"{f'top {place}':<7}{trial.id:>5} {share(facts.accuracy, error=facts.standard_error):>13} "
            f"{_latency(facts.cost):>11} {facts.cost.num_params / 1e6:>9.2f} {facts.cost.mult_adds / 1e6:>8.1f} "
            f"{trial.reward:>8.4f}{_marks(trial, points[0], goal, chance)}"
        )
    lines += _legend(points[:5], goal, chance)
    lines += ["", *(f"top {place}: {space.decode(trial.tokens)}" for place, trial in enumerate(points[:5], 1))]
    first = [trial for trial in trials if trial.note in FIRST_NOTES and trial.reward is not None]
    if first:
        rewards = [trial.reward for trial in first]
        lines += ["", f"mean reward of the {len(first)} random first samples: {statistics.mean(rewards):.4f}"]
        later = [trial.reward for trial in trials if trial.note == "" and trial.reward is not None]
        if later:
            lines.append(f"mean reward of the {len(later)} trials after them:     {statistics.mean(later):.4f}")
    lines += rungs_text(trials)
    lines += noise(trials)
    if device:
        lines.append(f"latencies from: {device}")
    if goal.target:
        lines.append(f"target: {cost_text(goal.target, goal.cost)}")
    for name, measured in published.items():
        latency = [milliseconds(measured.latency.latency_ms)] if measured.latency else []
        sizes = (cost_text(measured.num_params, "num_params"), cost_text(measured.mult_adds, "mult_adds"))
        lines.append(f"{name} here: {', '.join([*latency, *sizes])}")
    return "\n".join(lines)


def noise(trials):
    """Returns lines of text on how far measurements of one architecture differ; none if nothing was measured again."""
    pairs = [_at_one_rung(one.measurement, other.measurement) for one, other in repeated(trials)]
    if not pairs:
        return []
    words = f"± {100 * _deviation([one.accuracy - other.accuracy for one, other in pairs]):.1f} points of accuracy"
    timed = [
        (one.cost.latency.latency_ms, other.cost.latency.latency_ms)
        for one, other in pairs
        if one.cost.latency and other.cost.latency and one.cost.latency.runs
    ]
    if timed:
        relative = [2 * (one - other) / (one + other) for one, other in timed]
        words += f" and {100 * _deviation(relative):.1f} % of latency"
    return [f"noise of one measurement, from {count(len(pairs), 'network')} measured again: {words}"]


def _at_one_rung(one, other):
    """Returns two measurements with their accuracies at the highest rung that both have reached."""
    rung = min(len(one.rungs), len(other.rungs))
    if not rung:
        return one, other
    return tuple(dataclasses.replace(each, accuracy=each.rungs[rung - 1], rungs=()) for each in (one, other))


def _deviation(differences):
    """Returns the standard deviation of one measurement, from differences of two."""
    return math.sqrt(statistics.fmean(each**2 for each in differences) / 2)


def _marks(trial, best, goal, chance):
    facts, of_best = trial.measurement, best.measurement
    marks = ""
    if trial is not best and not accuracy.are_apart(
        facts.accuracy, of_best.accuracy, facts.standard_error, of_best.standard_error
    ):
        marks += " ≈"
    if not goal.is_met(facts.cost):
        marks += " over the target"
    if chance and not chance.is_beaten_by(facts.accuracy):
        marks += " guesses"
    return marks


def _legend(points, goal, chance):
    """Returns lines of text that explain the marks of the table."""
    if not points:
        return []
    marks, lines = "".join(_marks(trial, points[0], goal, chance) for trial in points), []
    if "≈" in marks:
        lines.append("≈: its accuracy cannot be told apart from that of top 1 (two standard errors)")
    if "guesses" in marks:
        lines.append(f"guesses: no better than guessing; {chance}")
    if points[0].expected is not None:
        lines.append("in the order of the accuracies that the algorithm expects of another measurement, by all trials")
    if not goal.is_met(points[0].measurement.cost):
        lines.append("no trial meets the target: top 1 is the cheapest that no other dominates")
    return lines


def _latency(cost):
    return significant(cost.latency and cost.latency.latency_ms)
