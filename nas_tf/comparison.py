"""A network that ships beside those it was chosen from and published ones of equal latency: table, picture, page."""

import csv
import dataclasses
import io

from nas_tf.files import write_file
from nas_tf.trial import Latency

_ROLES = {"ships": "ships", "candidate": "candidate", "baseline": "published"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One network. `network` is its description with `accuracy`, `latency`, `num_params`, `mult_adds`, or `failure`;
    `test` its accuracy on the test images, where they were read; `files` the records of `nas_tf.files_report`."""

    name: str
    role: str
    network: dict
    test: float | None = None
    files: tuple = ()

    @property
    def latency_ms(self):
        """float, or None for a network whose training failed."""
        latency = self.network.get("latency")
        return latency and Latency(**latency).latency_ms

    @property
    def validation(self):
        return self.network.get("accuracy", {}).get("validation")


def text(rows, device):
    """The table as text."""
    figures = f"{'validation %':>12} {'test %':>7} {'latency ms':>11} {'params M':>9} {'madds M':>8}"
    lines = [f"{'network':<28}{'':<11}{figures}"]
    for row in rows:
        name = row.name if row.role != "baseline" else row.network["text"]
        lines.append(
            f"{name:<28}{_ROLES[row.role]:<11}{_percent(row.validation):>12} {_percent(row.test):>7} "
            f"{_number(row.latency_ms, '.3f'):>11} {_number(row.network.get('num_params'), '.2f', 1e-6):>9} "
            f"{_number(row.network.get('mult_adds'), '.1f', 1e-6):>8}"
        )
    lines += ["-: not read, or training failed", f"latency: float32 file, median on {device}", ""]
    lines.append(f"{'file':<46} {'validation %':>12} {'latency ms':>11} {'MB':>7}")
    for row in rows:
        for record in row.files:
            lines.append(
                f"{row.name + ': ' + record['file']:<46} {_percent(record['validation_accuracy']):>12} "
                f"{_number(record['latency_ms'], '.3f'):>11} {_number(record['bytes'], '.3f', 1e-6):>7}"
                f"{'  FAILED' if record['failure'] else ''}"
            )
    return "\n".join(lines)


def write(folder, rows, device, recipe, dataset):
    """Writes `comparison.csv`, `comparison.png` and the page `README.md`."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["network", "role", "validation_accuracy", "test_accuracy", "latency_ms", "num_params", "mult_adds",
                     "latency_from", "failure"])  # fmt: skip
    for row in rows:
        figures = [row.network.get(name) for name in ("num_params", "mult_adds")]
        writer.writerow([row.name, row.role, row.validation, row.test, row.latency_ms, *figures, device,
                         row.network.get("failure")])  # fmt: skip
    write_file(folder / "comparison.csv", table.getvalue())
    _draw(folder / "comparison.png", rows, device)
    write_file(folder / "README.md", _page(rows, device, recipe, dataset))


def _page(rows, device, recipe, dataset):
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset["num_examples"].items())
    lines = [
        "# What ships, and what it is held against",
        "",
        f"Data: {dataset['name']}, {counts} images ({dataset['splits']}). Every network here was trained alike: "
        f"{recipe.epochs} epochs of {recipe.optimizer}, {recipe.batch_size} images a step, peak learning rate "
        f"{recipe.peak_learning_rate:g}. The one that ships was chosen by its reward with its validation accuracy; "
        "test images were read once, after that, for it and the published networks. One training each: differences of "
        "a few points may be chance.",
        "",
        "```",
        text(rows, device),
        "```",
        "",
        "![Accuracy against latency](comparison.png)",
        "",
        "The network that ships, with its model card: [network/](network/README.md)",
    ]
    return "\n".join(lines) + "\n"


def _draw(path, rows, device):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    styles = {"candidate": ("o", "tab:gray", 45), "ships": ("*", "tab:red", 260), "baseline": ("s", "tab:blue", 60)}
    shown = [row for row in rows if row.latency_ms is not None and row.validation is not None]
    for role, (marker, color, size) in styles.items():
        of_role = [row for row in shown if row.role == role]
        if of_role:
            axes.scatter([row.latency_ms for row in of_role], [100 * row.validation for row in of_role], s=size,
                         marker=marker, color=color, label=_ROLES[role], zorder=3, edgecolor="white")  # fmt: skip
    # Names at equal heights in a column of their own cannot run into each other.
    ordered = sorted(shown, key=lambda row: row.validation)
    for i, row in enumerate(ordered):
        name = row.network["text"] if row.role == "baseline" else row.name
        axes.annotate(
            f"{name}: {100 * row.validation:.1f} %, {row.latency_ms:.2f} ms", (row.latency_ms, 100 * row.validation),
            xytext=(1.02, (i + 0.5) / len(ordered)), textcoords="axes fraction", va="center", fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "lightgray", "lw": 0.8}, annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(0, 1.15 * max((row.latency_ms for row in shown), default=1))
    axes.margins(y=0.15)
    axes.set_xlabel("latency of the float32 file (ms)")
    axes.set_ylabel("validation accuracy (%)")
    axes.set_title(device, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="best")
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130, bbox_inches="tight")
    write_file(path, content.getvalue())


def _percent(value):
    return _number(value, ".2f", 100)


def _number(value, form, factor=1.0):
    return "-" if value is None else format(value * factor, form)
