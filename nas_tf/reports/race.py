"""The race of a search's networks against imports, as text and CSV."""

import csv
import dataclasses
import io

from nas_tf import accuracy
from nas_tf.files import write_file
from nas_tf.reports.numbers import number, significant


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


def text(rows, num_images):
    """Returns the table of `RaceRow`s, best first, as text; `num_images` is how many race images there are."""
    expected = accuracy.shrunk([row.accuracy for row in rows], [row.error for row in rows])
    figures = f"{'race %':>13} {'expected %':>11} {'seeds':>6} {'validation %':>13} {'latency ms':>11}"
    lines = [f"{'race':<34}{'':<10}{figures}  try"]
    for row, likely in zip(rows, expected):
        lines.append(
            f"{row.name:<34}{row.kind:<10}{100 * row.accuracy:>7.1f} ± {100 * row.error:.1f} "
            f"{number(likely, '.1f', 100):>11} {row.seeds:>6} {number(row.validation, '.1f', 100):>13} "
            f"{significant(row.latency_ms):>11}  {row.attempt}{'' if row.meets_target else ', over the target'}"
        )
    return "\n".join(
        [
            *lines,
            f"race: {num_images:,} images that nothing else has seen; ±: standard error of the images",
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
