"""A network that ships beside those it was chosen from and published ones of equal latency: table, picture, page."""

import csv
import dataclasses
import io

from nas_tf.files import write_file
from nas_tf.networks.description import FileRecord, NetworkDescription
from nas_tf.reports import _picture
from nas_tf.reports._numbers import number, percent

_ROLES = {"ships": "ships", "candidate": "candidate", "baseline": "published"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One network.

    Attributes:
        name: as in "trial 17" or "mnasnet_a1".
        role: "ships", "candidate" or "baseline".
        network: its description, with its figures or why its training failed.
        files: the records of its files, if they were written.
    """

    name: str
    role: str
    network: NetworkDescription
    files: tuple[FileRecord, ...] = ()

    @property
    def latency_ms(self):
        """float, or None for a network whose training failed."""
        return self.network.latency and self.network.latency.latency_ms

    @property
    def title(self):
        """str: the name. That of a published network has its width."""
        return self.network.text if self.role == "baseline" else self.name


def text(rows, device):
    """Returns the table as text."""
    figures = f"{'validation %':>12} {'test %':>7} {'latency ms':>11} {'params M':>9} {'madds M':>8}"
    lines = [f"{'network':<28}{'':<11}{figures}"]
    for row in rows:
        network = row.network
        lines.append(
            f"{row.title:<28}{_ROLES[row.role]:<11}{percent(network.accuracy.validation):>12} "
            f"{percent(network.accuracy.test):>7} {number(row.latency_ms, '.3f'):>11} "
            f"{number(network.num_params, '.2f', 1e-6):>9} {number(network.mult_adds, '.1f', 1e-6):>8}"
        )
    lines += ["-: not read, or training failed", f"latency: float32 file, median on {device}", ""]
    lines.append(f"{'file':<46} {'validation %':>12} {'latency ms':>11} {'MB':>7}")
    for row in rows:
        for record in row.files:
            lines.append(
                f"{row.name + ': ' + record.file:<46} {percent(record.validation_accuracy):>12} "
                f"{number(record.latency_ms, '.3f'):>11} {number(record.bytes, '.3f', 1e-6):>7}"
                f"{'  FAILED' if record.failure else ''}"
            )
    return "\n".join(lines)


def write(folder, rows, device, recipe, dataset):
    """Writes `comparison.csv`, `comparison.png` and the page `README.md`.

    Args:
        folder: the folder to write into.
        rows: list of `Row`, the network that ships first.
        device: the device in one line.
        recipe: `nas_tf.training.recipe.Recipe` by which all were trained.
        dataset: `nas_tf.datasets.Dataset.describe()`.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    columns = (
        "validation_accuracy",
        "test_accuracy",
        "latency_ms",
        "num_params",
        "mult_adds",
        "latency_from",
        "failure",
    )
    writer.writerow(["network", "role", *columns])
    for row in rows:
        network = row.network
        accuracies = (network.accuracy.validation, network.accuracy.test)
        sizes = (network.num_params, network.mult_adds)
        writer.writerow([row.name, row.role, *accuracies, row.latency_ms, *sizes, device, network.failure])
    write_file(folder / "comparison.csv", table.getvalue())
    _draw(folder / "comparison.png", rows, device)
    write_file(folder / "README.md", _page(rows, device, recipe, dataset))


def _page(rows, device, recipe, dataset):
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset["num_examples"].items())
    lines = [
        "# What ships, and what it is compared with",
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
    figure = _picture.new_figure()
    axes = figure.add_subplot()
    styles = {"candidate": ("o", "tab:gray", 45), "ships": ("*", "tab:red", 260), "baseline": ("s", "tab:blue", 60)}
    shown = [row for row in rows if row.latency_ms is not None and row.network.accuracy.validation is not None]
    for role, (marker, color, size) in styles.items():
        of_role = [row for row in shown if row.role == role]
        if of_role:
            xs, ys = zip(*((row.latency_ms, 100 * row.network.accuracy.validation) for row in of_role))
            axes.scatter(xs, ys, s=size, marker=marker, color=color, label=_ROLES[role], zorder=3, edgecolor="white")
    # Names at regular heights, in a column of their own, cannot run into each other.
    ordered = sorted(shown, key=lambda row: row.network.accuracy.validation)
    for i, row in enumerate(ordered):
        accuracy = 100 * row.network.accuracy.validation
        axes.annotate(
            f"{row.title}: {accuracy:.1f} %, {row.latency_ms:.2f} ms",
            (row.latency_ms, accuracy),
            xytext=(1.02, (i + 0.5) / len(ordered)),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "lightgray", "lw": 0.8},
            annotation_clip=False,
        )
    axes.set_xlim(0, 1.15 * max((row.latency_ms for row in shown), default=1))
    axes.margins(y=0.15)
    axes.set_xlabel("latency of the float32 file (ms)")
    axes.set_ylabel("validation accuracy (%)")
    axes.set_title(device, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="best")
    _picture.write(path, figure, bbox_inches="tight")
