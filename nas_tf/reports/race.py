"""The race of a search's networks against imports, as text and CSV."""

import csv
import dataclasses
import io
import math

from nas_tf import accuracy
from nas_tf.files import write_file
from nas_tf.reports import _picture
from nas_tf.reports.numbers import milliseconds, number, significant
from nas_tf.rewards import TOLERANCE

_COLORS = {"searched": "tab:red", "import": "tab:blue"}


@dataclasses.dataclass(frozen=True)
class RaceRow:
    """One network of a race.

    Attributes:
        name: as in "trial 17" or "efficientnet_lite0 at 96 px".
        kind: "searched" or "import".
        accuracy, error: on the race images, in [0, 1], and its standard error.
        seeds: how many trainings that is the mean of.
        validation: accuracy on the validation images, by which its best try was chosen.
        attempt: that try.
        latency_ms: of its float32 file.
        meets_target: whether it could ship.
    """

    name: str
    kind: str
    accuracy: float
    error: float
    seeds: int
    validation: float
    attempt: str
    latency_ms: float
    meets_target: bool


def text(rows, num_images=None):
    """Returns the table of `RaceRow`s, best first, as text, with the number of race images if that is known."""
    expected = accuracy.shrunk([row.accuracy for row in rows], [row.error for row in rows])
    figures = f"{'race %':>13} {'expected %':>11} {'seeds':>6} {'validation %':>13} {'latency ms':>11}"
    lines = [f"{'race':<34}{'':<10}{figures}  try"]
    for row, likely in zip(rows, expected):
        lines.append(
            f"{row.name:<34}{row.kind:<10}{100 * row.accuracy:>7.1f} ± {100 * row.error:.1f} "
            f"{number(likely, '.1f', 100):>11} {row.seeds:>6} {number(row.validation, '.1f', 100):>13} "
            f"{significant(row.latency_ms):>11}  {row.attempt}{'' if row.meets_target else ', over the target'}"
        )
    number_of = f"{num_images:,} images" if num_images else "images"
    return "\n".join(
        [
            *lines,
            f"race: {number_of} that nothing else has seen; ±: standard error of the images",
            "expected: the same drawn to the mean of all, because the best of many has been lucky too",
        ]
    )


def write_csv(path, rows):
    """Writes the rows as CSV, with the expected accuracy of each."""
    expected = accuracy.shrunk([row.accuracy for row in rows], [row.error for row in rows])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    names = [field.name for field in dataclasses.fields(RaceRow)]
    writer.writerow([*names, "expected"])
    for row, likely in zip(rows, expected):
        writer.writerow([*(getattr(row, name) for name in names), likely])
    write_file(path, table.getvalue())


def read_text(path):
    """Returns the table of a race that `write_csv` wrote, or "" if there is none that can be read."""
    kinds = {int: int, float: float, bool: lambda text: text == "True", str: str}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        return text(
            [
                RaceRow(**{field.name: kinds[field.type](line[field.name]) for field in dataclasses.fields(RaceRow)})
                for line in lines
            ]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def draw(path, rows, winner, target_ms=None):
    """Writes a picture of the race: accuracy on the race images against latency, with standard errors.

    Args:
        path: of the PNG file.
        rows: list of `RaceRow`.
        winner: name of the one that ships.
        target_ms: the target's latency, drawn as a line; None: there was none.
    """
    figure = _picture.new_figure(8, 5.2)
    axes = figure.add_subplot()
    for kind, color in _COLORS.items():
        points = [row for row in rows if row.kind == kind]
        if points:
            xs, ys = [row.latency_ms for row in points], [100 * row.accuracy for row in points]
            errors = [100 * row.error for row in points]
            axes.errorbar(xs, ys, yerr=errors, fmt="o", ms=5, color=color, lw=1, capsize=3, label=kind)
    for row in rows:
        place = (row.latency_ms, 100 * row.accuracy)
        # Names stand where the target's line does not cross them.
        x, side = (-9, "right") if target_ms and row.latency_ms <= target_ms else (9, "left")
        axes.annotate(row.name, place, xytext=(x, 5), textcoords="offset points", fontsize=8, ha=side)
        if row.name == winner:
            axes.scatter(*place, marker="*", s=240, color=_COLORS[row.kind], edgecolor="white", zorder=3, label="ships")
    if target_ms:
        axes.axvline(target_ms, color="black", ls="--", lw=1.2, label=f"target: {milliseconds(target_ms)}")
        percent = f"{100 * (TOLERANCE - 1):.0f} %"
        axes.axvspan(target_ms, TOLERANCE * target_ms, color="0.9", zorder=0, label=f"{percent} above it, which count")
    latencies = [row.latency_ms for row in rows] + ([target_ms] if target_ms else [])
    span = 0.25 * max(latencies)
    _picture.set_span((axes, "x"), latencies, least=span, margin=0.5, bounds=(0.0, math.inf))  # room for names
    ends = [100 * (row.accuracy + sign * row.error) for row in rows for sign in (-1, 1)]
    _picture.set_span((axes, "y"), ends, least=5.0, margin=0.2, bounds=_picture.PERCENT)
    axes.set_xlabel("latency in ms, all timed in turns")
    axes.set_ylabel("accuracy on the race images in %, bars: standard error")
    axes.set_title("The race: every network had the same tries", fontsize=10)
    axes.legend(fontsize=8, loc="best")
    _picture.write(path, figure)
