"""A network's files beside each other: a table of sizes, accuracies and latencies, and its picture.

Records are `nas_tf.networks.description.FileRecord`s, that of the Keras network first.
"""

from nas_tf.accuracy import standard_error
from nas_tf.reports import _picture
from nas_tf.reports.numbers import milliseconds, number, percent, share, significant


def failures(records):
    """Returns a list of one line for each file that failed."""
    return [f"{record.file}: {record.failure}" for record in records if record.failure]


def files_table(records):
    """Returns the table as text, with each accuracy beside its difference from the Keras network's."""
    keras_accuracy = records[0].validation_accuracy if records else None
    width = max([len(record.file) for record in records], default=4)
    titles = ("MB", "accuracy %", "vs Keras", "latency ms", "p95 ms")
    lines = [f"{'file':<{width}} {'type':<8}" + "".join(f"{title:>14}" for title in titles)]
    for record in records:
        accuracy, latency = record.validation_accuracy, record.latency
        gap = None if None in (accuracy, keras_accuracy) else accuracy - keras_accuracy
        cells = (
            number(record.bytes, ".3f", 1e-6),
            share(accuracy, record.num_validation),
            percent(gap, "+.2f"),
            significant(record.latency_ms),
            significant(latency and latency.p95_ms),
        )
        text = f"{record.file:<{width}} {record.number_type:<8}" + "".join(f"{cell:>14}" for cell in cells)
        lines.append(text + ("  FAILED" if record.failure else ""))
    lines.append("-: not measured; ±: standard error of the validation images")
    timed = [record for record in records if record.latency]
    lines += dict.fromkeys(
        f"latency: on {record.device_name}, {record.measured_at[:10]}{_where(record)}" for record in timed
    )
    lines += [f"{each.file} by {name}: {found}" for each in timed for name, found in each.latency.beside.items()]
    return "\n".join([*lines, *(f"FAILED {line}" for line in failures(records))])


def _where(record):
    return f"; {record.latency.ran_on}" if record.latency.ran_on else ""


def draw_files(path, records, title, chance=None):
    """Writes a picture of accuracy against latency for the files that have both. Returns whether there are any.

    `chance` is the `nas_tf.accuracy.Chance` of the validation images, drawn as a line, or None.
    """
    shown = [record for record in records if None not in (record.validation_accuracy, record.latency_ms)]
    if not shown:
        return False
    figure = _picture.new_figure(8, 4.6)
    axes, heights = figure.add_subplot(), []
    for i, record in enumerate(shown):
        x, y, failed = record.latency_ms, 100 * record.validation_accuracy, bool(record.failure)
        color = "tab:red" if failed else ("tab:blue", "tab:orange", "tab:green", "tab:purple")[i % 4]
        reached = share(record.validation_accuracy, record.num_validation)
        label = f"{record.number_type}: {reached} %,\n{milliseconds(x)}, {record.bytes / 1e6:.2f} MB"
        marker = "X" if failed else "osD^"[i % 4]
        label += "; FAILED" if failed else ""
        axes.plot([x], [y], marker=marker, color=color, ms=9, ls="", alpha=0.8, label=label)
        if record.num_validation:
            error = 100 * standard_error(record.validation_accuracy, record.num_validation)
            heights += [y - error, y + error]
            axes.errorbar([x], [y], yerr=[error], fmt="none", ecolor=color, lw=1, capsize=2, alpha=0.6)
        if record.latency.p95_ms:
            axes.plot([x, record.latency.p95_ms], [y, y], color=color, lw=1)
    if records[0].validation_accuracy is not None:
        keras_accuracy = 100 * records[0].validation_accuracy
        heights.append(keras_accuracy)
        label = f"Keras: {share(records[0].validation_accuracy, records[0].num_validation)} %"
        axes.axhline(keras_accuracy, color="black", ls="--", lw=1, label=label, zorder=0)
    heights += [100 * record.validation_accuracy for record in shown]
    _picture.draw_chance(axes, chance, heights)
    figure.legend(loc="outside right upper", fontsize=8, labelspacing=0.9)
    axes.set_xlim(0, 1.2 * max(max(record.latency_ms, record.latency.p95_ms or 0) for record in shown))
    axes.set_xlabel(f"latency (ms), line: to the 95th percentile; {shown[0].device_name}", fontsize=9)
    axes.set_ylabel("accuracy on the validation images (%)", fontsize=9)
    axes.set_title(title, fontsize=10)
    _picture.write(path, figure)
    return True
