"""What a search found, for people: the Pareto front as CSV and picture, and the closing table."""

import csv
import io
import statistics

from nas_tf.files import write_file
from nas_tf.quiet import count
from nas_tf.ranking import pareto_front, ranked
from nas_tf.reports import _picture
from nas_tf.reports._numbers import number
from nas_tf.rewards import cost_of

_UNITS = {"latency_ms": "latency (ms)", "mult_adds": "multiply-adds", "num_params": "parameters"}
_FIRST_NOTES = ("untrained", "random")


def write_pareto_csv(path, trials, space, cost="latency_ms", device=""):
    """Writes the Pareto front as CSV, one network in each row. `device` says where latencies come from."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["trial", "accuracy", "latency_ms", "num_params", "mult_adds", "reward", "architecture", "latency_from"]
    )
    for trial in pareto_front(trials, cost):
        facts = trial.measurement
        latency_ms = f"{facts.cost.latency.latency_ms:.4f}" if facts.cost.latency else ""
        architecture = space.decode(trial.tokens)
        writer.writerow(
            [
                trial.id,
                f"{facts.accuracy:.4f}",
                latency_ms,
                facts.cost.num_params,
                facts.cost.mult_adds,
                f"{trial.reward:.4f}",
                architecture,
                device,
            ]
        )
    write_file(path, text.getvalue())


def draw_pareto(path, trials, *, cost, target, published, title):
    """Writes a picture of all trials, accuracy against cost, with the front and the trial of best reward.

    Args:
        path: of the PNG file.
        trials: list of `nas_tf.trial.Trial`s.
        cost: which figure is the cost (`nas_tf.rewards.COSTS`).
        target: the target cost, or None.
        published: dict from published network to its `nas_tf.trial.Cost`, drawn as vertical lines.
        title: title of the picture.
    """
    figure = _picture.new_figure(8, 5.2)
    axes = figure.add_subplot()
    points = ranked(trials)
    xs = [cost_of(trial.measurement.cost, cost) for trial in points]
    ys = [100 * trial.measurement.accuracy for trial in points]
    if points:
        dots = axes.scatter(xs, ys, c=[trial.id for trial in points], cmap="viridis", s=22, label="trials")
        figure.colorbar(dots, ax=axes, label="trial", pad=0.01)
        front = pareto_front(trials, cost)
        axes.step(
            [cost_of(trial.measurement.cost, cost) for trial in front],
            [100 * trial.measurement.accuracy for trial in front],
            where="post",
            color="tab:red",
            lw=1.2,
            label="Pareto front",
        )
        axes.scatter(
            xs[:1],
            ys[:1],
            marker="*",
            s=220,
            color="tab:red",
            edgecolor="white",
            zorder=3,
            label=f"best reward (trial {points[0].id})",
        )
    if target:
        axes.axvline(target, color="black", ls="--", lw=1.2, label=f"target: {_cost_text(target, cost)}")
    right = max([*xs, target or 0], default=1) * 1.1
    _draw_published(axes, published, cost, right)
    axes.set_xlim(left=0, right=right)
    axes.margins(y=0.2)
    axes.set_xlabel(f"deployment network's {_UNITS[cost]}")
    axes.set_ylabel("proxy's validation accuracy (%)")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    _picture.write(path, figure)


def _draw_published(axes, published, cost, right):
    """Draws published networks as vertical lines; those whose cost is beyond `right` are named at that side."""
    beyond, last, row = 0, None, 0
    for name, measured in sorted(published.items(), key=lambda item: cost_of(item[1], cost)):
        value, label = cost_of(measured, cost), f"{name} {_cost_text(cost_of(measured, cost), cost)}"
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


def closing_table(trials, space, *, target, cost, published, device=""):
    """Returns the text with which a search ends: the best five, the random first samples, published networks' costs."""
    points = ranked(trials)
    states = [trial.state for trial in trials]
    counts = ", ".join(
        f"{states.count(state)} {state}" for state in ("done", "infeasible", "failed", "running") if states.count(state)
    )
    lines = [f"{count(len(trials), 'trial')}: {counts}", ""]
    header = f"{'':<7}{'trial':>5} {'reward':>8} {'accuracy':>9} {'latency ms':>11} {'params M':>9} {'madds M':>8}"
    lines.append(header)
    for rank, trial in enumerate(points[:5], 1):
        facts = trial.measurement
        lines.append(
            f"{'top ' + str(rank):<7}{trial.id:>5} {trial.reward:>8.4f} {facts.accuracy:>9.4f} "
            f"{_latency(facts.cost):>11} {facts.cost.num_params / 1e6:>9.2f} {facts.cost.mult_adds / 1e6:>8.1f}"
        )
    lines += ["", *(f"top {rank}: {space.decode(trial.tokens)}" for rank, trial in enumerate(points[:5], 1))]
    first = [trial for trial in trials if trial.note in _FIRST_NOTES and trial.reward is not None]
    if first:
        rewards = [trial.reward for trial in first]
        lines += ["", f"mean reward of the {len(first)} random first samples: {statistics.mean(rewards):.4f}"]
        later = [trial.reward for trial in trials if trial.note == "" and trial.reward is not None]
        if later:
            lines.append(f"mean reward of the {len(later)} trials after them:     {statistics.mean(later):.4f}")
    if device:
        lines.append(f"latencies from: {device}")
    if target:
        lines.append(f"target: {_cost_text(target, cost)}")
    for name, measured in published.items():
        lines.append(
            f"{name} here: {_latency(measured)} ms, {measured.num_params / 1e6:.2f} M parameters, "
            f"{measured.mult_adds / 1e6:.1f} M multiply-adds"
        )
    return "\n".join(lines)


def _latency(cost):
    return number(cost.latency and cost.latency.latency_ms, ".2f")


def _cost_text(value, cost):
    return f"{value:.2f} ms" if cost == "latency_ms" else f"{value / 1e6:.1f} M"
