"""A network's files beside each other: the table of what they weigh, get right and take, and its picture.

A record of a file is a dict of plain data: `file` (its name), `number_type`, `bytes`, `validation_accuracy` (in
[0, 1]), `latency_ms`, `latency` (`nas_tf.trial.Latency.to_json()`), `device` (`Device.describe()`), `device_name`,
`measured_at` (UTC, ISO 8601) and `failure` (why nobody should ship it). What was not measured, or is no failure,
is None.
"""

import io

from nas_tf.files import write_file


def failures(records):
    """list[str]: a line for each file that failed."""
    return [f"{record['file']}: {record['failure']}" for record in records if record["failure"]]


def files_table(records):
    """The table as text, accuracies beside that of the Keras network, which is the first record's."""
    reference = records[0]["validation_accuracy"] if records else None
    width = max([len(record["file"]) for record in records], default=4)
    titles = ("MB", "accuracy %", "vs Keras", "latency ms", "p95 ms")
    lines = [f"{'file':<{width}} {'type':<8}" + "".join(f"{title:>12}" for title in titles)]
    for record in records:
        accuracy, latency = record["validation_accuracy"], record["latency"] or {}
        gap = None if None in (accuracy, reference) else 100 * (accuracy - reference)
        cells = (
            _number(record["bytes"], ".3f", 1e-6),
            _number(accuracy, ".2f", 100),
            _number(gap, "+.2f"),
            _number(record["latency_ms"], ".3f"),
            _number(latency.get("p95_ms"), ".3f"),
        )
        text = f"{record['file']:<{width}} {record['number_type']:<8}" + "".join(f"{cell:>12}" for cell in cells)
        lines.append(text + ("  FAILED" if record["failure"] else ""))
    lines.append("-: not measured")
    timed = [record for record in records if record["latency"]]
    lines += dict.fromkeys(f"latency: on {each['device_name']}, {each['measured_at'][:10]}" for each in timed)
    return "\n".join([*lines, *(f"FAILED {line}" for line in failures(records))])


def _number(value, form, factor=1.0):
    return "-" if value is None else format(value * factor, form)


def draw_files(path, records, title):
    """Writes a picture of accuracy against latency, of the files that have both; bool: there were any."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [each for each in records if None not in (each["validation_accuracy"], each["latency_ms"])]
    if not shown:
        return False
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for i, record in enumerate(shown):
        x, y, failed = record["latency_ms"], 100 * record["validation_accuracy"], bool(record["failure"])
        colour = "tab:red" if failed else ("tab:blue", "tab:orange", "tab:green", "tab:purple")[i % 4]
        label = f"{record['number_type']}: {y:.2f} %, {x:.3f} ms,\n{record['bytes'] / 1e6:.2f} MB"
        axes.plot([x], [y], marker="X" if failed else "osD^"[i % 4], color=colour, ms=9, ls="", alpha=0.8,
                  label=label + ("; FAILED" if failed else ""))  # fmt: skip
        if record["latency"].get("p95_ms"):
            axes.plot([x, record["latency"]["p95_ms"]], [y, y], color=colour, lw=1)
    if records[0]["validation_accuracy"] is not None:
        reference = 100 * records[0]["validation_accuracy"]
        axes.axhline(reference, color="black", ls="--", lw=1, label=f"Keras: {reference:.2f} %", zorder=0)
    figure.legend(loc="outside right upper", fontsize=8, labelspacing=0.9)
    axes.margins(x=0.2, y=0.2)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"latency (ms), line: to the 95th percentile; {shown[0]['device_name']}", fontsize=9)
    axes.set_ylabel("accuracy on the validation images (%)", fontsize=9)
    axes.set_title(title, fontsize=10)
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    write_file(path, content.getvalue())
    return True
