"""Latencies of several files, for people: as text, as CSV and as a picture."""

import csv
import dataclasses
import io

from nas_tf.files import write_file
from nas_tf.reports import _picture
from nas_tf.reports.device import device_line
from nas_tf.reports.numbers import milliseconds, number, significant
from nas_tf.trial import Latency

_COLUMNS = (
    "network",
    "type",
    "delegate",
    "latency_ms",
    "spread",
    "std_ms",
    "min_ms",
    "max_ms",
    "init_ms",
    "first_inference_ms",
    "runs",
    "placement",
    "tflite_bytes",
    "device",
    "error",
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One file: its latency, or in words why it has none."""

    network: str
    number_type: str
    tflite_bytes: int | None
    latency: Latency | None
    error: str = ""
    delegate: str = "cpu"

    @property
    def spread(self):
        """float or None: how far apart the runs of the tool are, as a fraction."""
        return self.latency.details.get("spread") if self.latency else None


def table_of_rows(rows, about):
    """Returns the rows as aligned text."""
    width = max([len(row.network) for row in rows] + [7])
    header = f"{'network':<{width}} {'type':>8} {'delegate':>8} {'ms':>9} {'spread':>7}"
    header += f" {'init ms':>8} {'first ms':>9} {'MB':>6}  on"
    lines = [device_line(about), "", header]
    for row in rows:
        start = f"{row.network:<{width}} {row.number_type:>8} {row.delegate:>8} "
        if row.error:
            lines.append(f"{start}not measured: {row.error}")
            continue
        latency = row.latency
        lines.append(
            f"{start}{significant(latency.latency_ms):>9} {row.spread or 0:>7.1%} {number(latency.init_ms, '.1f'):>8} "
            f"{significant(latency.first_inference_ms):>9} {row.tflite_bytes / 1e6:>6.2f}  "
            f"{latency.ran_on or 'not told'}"
        )
    return "\n".join(lines)


def write_rows_csv(path, rows, about):
    """Writes the rows as CSV, each with its device."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        latency = row.latency
        figures = [getattr(latency, name, None) for name in ("std_ms", "min_ms", "max_ms", "init_ms")]
        writer.writerow(
            [
                row.network,
                row.number_type,
                row.delegate,
                latency and latency.latency_ms,
                row.spread,
                *figures,
                latency and latency.first_inference_ms,
                latency and latency.runs,
                latency and latency.ran_on,
                row.tflite_bytes,
                device_line(about),
                row.error,
            ]
        )
    write_file(path, text.getvalue())


def draw_rows(path, rows, about):
    """Writes a picture: a bar for each file, with the range of the tool's runs on it."""
    measured = [row for row in rows if row.latency]
    figure = _picture.new_figure(8, 1.2 + 0.45 * max(1, len(measured)))
    axes = figure.add_subplot()
    colors = {"": "tab:gray", "float32": "tab:blue", "float16": "tab:green", "int8": "tab:orange"}
    right = max([row.latency.latency_ms for row in measured], default=1.0)
    for place, row in enumerate(reversed(measured)):
        ms = row.latency.latency_ms
        runs = row.latency.details.get("tool_runs", [])[-row.latency.details.get("counted_runs", 1) :]
        values = [run["median_ms"] or run["mean_ms"] for run in runs] or [ms]
        axes.barh(
            place,
            ms,
            color=colors.get(row.number_type, "tab:gray"),
            height=0.7,
            xerr=[[max(0.0, ms - min(values))], [max(0.0, max(values) - ms)]],
            capsize=3,
        )
        axes.annotate(milliseconds(ms), (max([ms, *values]) + 0.01 * right, place), va="center", fontsize=8)
    axes.set_yticks(
        range(len(measured)), [f"{row.network} {row.number_type} {row.delegate}" for row in reversed(measured)]
    )
    axes.set_xlim(0, 1.15 * right)
    axes.set_xlabel("latency (ms); whiskers: the runs of the tool")
    axes.set_title(device_line(about), fontsize=9)
    _picture.write(path, figure)
