"""What a search found, for people: the Pareto front as CSV and picture, and the closing table."""

import csv
import io
import statistics

from nas_tf.files import write_file
from nas_tf.rewards import cost_of

_UNITS = {"latency_ms": "latency (ms)", "mult_adds": "multiply-adds", "num_params": "parameters"}
_FIRST_NOTES = ("untrained", "random")


def done(trials):
    """The trials that have a measurement, best reward first, the first of an architecture only."""
    best = {}
    for trial in trials:
        if trial.state == "done":
            best.setdefault((trial.measurement, trial.reward), trial)
    return sorted(best.values(), key=lambda trial: (-trial.reward, trial.id))


def pareto_front(trials, cost="latency_ms"):
    """The trials that no other beats in both accuracy and `cost`, cheapest first."""
    ordered = sorted(
        done(trials), key=lambda trial: (cost_of(trial.measurement.cost, cost), -trial.measurement.accuracy, trial.id)
    )
    front = []
    for trial in ordered:
        if not front or trial.measurement.accuracy > front[-1].measurement.accuracy:
            front.append(trial)
    return front


def device_name(description):
    """str: where latencies come from, of a device's `describe()`; an emulator is marked as one."""
    if not description:
        return "no device"
    model = description.get("model") or description.get("processor") or ""
    made_on = description.get("made_on")
    text = f"{description['device']} {model}".strip() + (f" of {device_name(made_on)}" if made_on else "")
    return f"{text} ({description['note']})" if description.get("note") else text


def write_pareto_csv(path, trials, space, cost="latency_ms", device=""):
    """Writes the Pareto front, a network a row; `device` says where latencies come from."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["trial", "accuracy", "latency_ms", "num_params", "mult_adds", "reward", "architecture", "latency_from"]
    )
    for trial in pareto_front(trials, cost):
        facts = trial.measurement
        latency_ms = f"{facts.cost.latency.latency_ms:.4f}" if facts.cost.latency else ""
        architecture = space.decode(trial.tokens)
        writer.writerow([
            trial.id, f"{facts.accuracy:.4f}", latency_ms, facts.cost.num_params, facts.cost.mult_adds,
            f"{trial.reward:.4f}", architecture, device,
        ])  # fmt: skip
    write_file(path, text.getvalue())


def draw_pareto(path, trials, *, cost, target, references, title):
    """Writes a picture of all trials, accuracy against cost: the front, the best by reward, the target, the costs of
    published networks (dict of name to `nas_tf.trial.Cost`) as vertical marks."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.add_subplot()
    points = done(trials)
    xs = [cost_of(trial.measurement.cost, cost) for trial in points]
    ys = [100 * trial.measurement.accuracy for trial in points]
    if points:
        dots = axes.scatter(xs, ys, c=[trial.id for trial in points], cmap="viridis", s=22, label="trials")
        figure.colorbar(dots, ax=axes, label="trial", pad=0.01)
        front = pareto_front(trials, cost)
        axes.step([cost_of(trial.measurement.cost, cost) for trial in front],
                  [100 * trial.measurement.accuracy for trial in front], where="post", color="tab:red", lw=1.2,
                  label="Pareto front")  # fmt: skip
        axes.scatter(xs[:1], ys[:1], marker="*", s=220, color="tab:red", edgecolor="white", zorder=3,
                     label=f"best reward (trial {points[0].id})")  # fmt: skip
    if target:
        axes.axvline(target, color="black", ls="--", lw=1.2, label=f"target: {_number(target, cost)}")
    right = max([*xs, target or 0], default=1) * 1.1
    beyond = 0
    for name, reference in references.items():
        value, label = cost_of(reference, cost), f"{name} {_number(cost_of(reference, cost), cost)}"
        if value <= right:
            axes.axvline(value, color="tab:gray", ls=":", lw=1)
            axes.annotate(label, (value, 0.99), xycoords=("data", "axes fraction"), xytext=(2, 0), rotation=90,
                          textcoords="offset points", va="top", fontsize=8, color="dimgray")  # fmt: skip
        else:
            axes.annotate(f"{label} →", (0.99, 0.98 - 0.05 * beyond), xycoords="axes fraction", ha="right", va="top",
                          fontsize=8, color="dimgray")  # fmt: skip
            beyond += 1
    axes.set_xlim(left=0, right=right)
    axes.margins(y=0.2)
    axes.set_xlabel(f"deployment network's {_UNITS[cost]}")
    axes.set_ylabel("proxy's validation accuracy (%)")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    write_file(path, content.getvalue())


def closing_table(trials, space, *, target, cost, references, device=""):
    """The text with which a search ends: the best five, the random first samples, the published networks' costs."""
    points = done(trials)
    states = [trial.state for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("done", "infeasible", "failed", "running")
                       if states.count(state))  # fmt: skip
    lines = [f"{len(trials)} trials: {counts}", ""]
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
        lines.append(f"target: {_number(target, cost)}")
    for name, reference in references.items():
        lines.append(f"{name} here: {_latency(reference)} ms, {reference.num_params / 1e6:.2f} M parameters, "
                     f"{reference.mult_adds / 1e6:.1f} M multiply-adds")  # fmt: skip
    return "\n".join(lines)


def _latency(cost):
    return f"{cost.latency.latency_ms:.2f}" if cost.latency else "-"


def _number(value, cost):
    return f"{value:.2f} ms" if cost == "latency_ms" else f"{value / 1e6:.1f} M"
