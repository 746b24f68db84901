"""Latencies of several files, for people: as text, as CSV, as a picture."""

import csv
import dataclasses
import io
import statistics

from nas_tf.files import write_file
from nas_tf.trial import Latency

_COLUMNS = ("network", "type", "latency_ms", "spread", "std_ms", "min_ms", "max_ms", "init_ms", "first_inference_ms",
            "runs", "tflite_bytes", "device", "error")  # fmt: skip
_LEAST_REPEATABILITY_PERCENT = 2.0


@dataclasses.dataclass(frozen=True)
class Row:
    """One file: its latency, or in words why it has none."""

    network: str
    number_type: str
    tflite_bytes: int | None
    latency: Latency | None
    error: str = ""

    @property
    def spread(self):
        """float or None: how far the runs of the tool lay apart, as a fraction."""
        return self.latency.details.get("spread") if self.latency else None


def device_line(about):
    """str: which phone, in one line; an emulator is marked as one. `about` is a meter's `describe()`."""
    note = f" ({about['note']})" if about.get("note") else ""
    settings = about.get("settings", {})
    return (
        f"{about.get('model', about['device'])}, Android {about.get('android')}, {about.get('abi')}, cores "
        f"{about.get('mask')}, {settings.get('num_threads')} thread(s), {settings.get('delegate')}{note}"
    )


def table_of_rows(rows, about):
    """str: the rows as aligned text."""
    width = max([len(row.network) for row in rows] + [7])
    header = f"{'network':<{width}} {'type':>8} {'ms':>9} {'spread':>7} {'init ms':>8} {'first ms':>9} {'MB':>6}"
    lines = [device_line(about), "", header]
    for row in rows:
        start = f"{row.network:<{width}} {row.number_type:>8} "
        if row.error:
            lines.append(f"{start}not measured: {row.error}")
            continue
        latency = row.latency
        lines.append(
            f"{start}{latency.latency_ms:>9.3f} {row.spread or 0:>7.1%} {_number(latency.init_ms, 8, 1)} "
            f"{_number(latency.first_inference_ms, 9, 3)} {row.tflite_bytes / 1e6:>6.2f}"
        )
    return "\n".join(lines)


def write_rows_csv(path, rows, about):
    """Writes the rows, one a line, each with its device."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        latency = row.latency
        figures = [getattr(latency, name, None) for name in ("std_ms", "min_ms", "max_ms", "init_ms")]
        writer.writerow([
            row.network, row.number_type, latency and latency.latency_ms, row.spread, *figures,
            latency and latency.first_inference_ms, latency and latency.runs, row.tflite_bytes, device_line(about),
            row.error,
        ])  # fmt: skip
    write_file(path, text.getvalue())


def draw_rows(path, rows, about):
    """Writes a picture: a bar a file, with the range of the tool's runs on it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measured = [row for row in rows if row.latency]
    figure = Figure(figsize=(8, 1.2 + 0.45 * max(1, len(measured))), layout="constrained")
    axes = figure.add_subplot()
    colors = {"": "tab:gray", "float32": "tab:blue", "float16": "tab:green", "int8": "tab:orange"}
    right = max([row.latency.latency_ms for row in measured], default=1.0)
    for place, row in enumerate(reversed(measured)):
        ms = row.latency.latency_ms
        runs = row.latency.details.get("tool_runs", [])[-row.latency.details.get("counted_runs", 1) :]
        values = [run["median_ms"] or run["mean_ms"] for run in runs] or [ms]
        axes.barh(place, ms, color=colors.get(row.number_type, "tab:gray"), height=0.7,
                  xerr=[[max(0.0, ms - min(values))], [max(0.0, max(values) - ms)]], capsize=3)  # fmt: skip
        axes.annotate(f"{ms:.2f} ms", (max([ms, *values]) + 0.01 * right, place), va="center", fontsize=8)
    axes.set_yticks(range(len(measured)), [f"{row.network} {row.number_type}" for row in reversed(measured)])
    axes.set_xlim(0, 1.15 * right)
    axes.set_xlabel("latency (ms); whiskers: the runs of the tool")
    axes.set_title(device_line(about), fontsize=9)
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    write_file(path, content.getvalue())


def validation_text(table):
    """str: how far a `nas_tf.latency_table.LatencyTable` is off on networks that it has not seen."""
    found = table.facts["validation"]
    worst = found["networks"][found["worst"]]
    note = f"\n{table.device['note']}" if table.device.get("note") else ""
    lines = [
        f"{len(found['networks'])} random networks not seen before, predicted against measured "
        f"(median of {len(worst['measured_ms'])} timings each):",
        f"  mean absolute percentage error   {found['mean_absolute_percentage_error']:.2f} %",
        f"  within 5 %                       {found['share_within_5_percent']:.1%}",
        f"  rank correlation (Spearman)      {found['rank_correlation']:.4f}",
        f"  worst                            {found['worst_percentage_error']:+.1f} % "
        f"({worst['predicted_ms']:.2f} ms predicted)",
        f"  repeatability of the device      {found['repeatability_percent']:.2f} % between two timings of one network",
    ]
    if found["repeatability_percent"] > _LEAST_REPEATABILITY_PERCENT:
        lines.append(
            f"  The device repeats its own timings worse than to {_LEAST_REPEATABILITY_PERCENT:g} %: part of the error "
            "above is its noise. Close other programs; remove --out and give the same command with more --passes: the "
            "timings that are there stay"
        )
    return "\n".join(lines) + note


def draw_scatter(path, table):
    """Writes a picture of predicted against measured latency of the networks that tested a table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = table.facts["validation"]
    predicted = [network["predicted_ms"] for network in found["networks"]]
    timings = [sorted(network["measured_ms"]) for network in found["networks"]]
    measured = [statistics.median(row) for row in timings]
    figure = Figure(figsize=(6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    low, high = 0.95 * min(*predicted, *measured), 1.05 * max(*predicted, *measured)
    axes.plot([low, high], [low, high], color="black", lw=1, label="equal")
    axes.fill_between([low, high], [0.95 * low, 0.95 * high], [1.05 * low, 1.05 * high], color="tab:green", alpha=0.15,
                      label="within 5 %")  # fmt: skip
    spread = [[ms - row[0] for ms, row in zip(measured, timings)], [row[-1] - ms for ms, row in zip(measured, timings)]]
    axes.errorbar(measured, predicted, xerr=spread, fmt="o", ms=4, lw=0.8, capsize=2, label="a network, its timings")
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="measured (ms)", ylabel="predicted by the table (ms)")
    note = f"; {table.device['note']}" if table.device.get("note") else ""
    name = table.device.get("model") or table.device.get("processor") or table.device["device"]
    axes.set_title(f"{table.space} on {name}: mean error "
                   f"{found['mean_absolute_percentage_error']:.2f} %{note}", fontsize=10)  # fmt: skip
    axes.legend(loc="upper left", fontsize=8)
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    write_file(path, content.getvalue())


def _number(value, width, digits):
    return " " * (width - 1) + "-" if value is None else f"{value:>{width}.{digits}f}"
