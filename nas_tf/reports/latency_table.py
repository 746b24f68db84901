"""How far a latency table is off, as text and picture."""

import statistics

from nas_tf.quiet import count
from nas_tf.reports import _picture
from nas_tf.reports.device import device_name
from nas_tf.reports.numbers import milliseconds

_LEAST_REPEATABILITY_PERCENT = 2.0


def validation_text(table):
    """Returns in words how far a `nas_tf.devices.table.LatencyTable` is off on networks that it has not seen."""
    found = table.facts["validation"]
    worst = found["networks"][found["worst"]]
    note = f"\n{table.device['note']}" if table.device.get("note") else ""
    lines = [
        heading(table),
        f"{len(found['networks'])} random networks not seen before, predicted against measured "
        f"(median of {len(worst['measured_ms'])} timings each):",
        f"  mean absolute percentage error   {found['mean_absolute_percentage_error']:.2f} %",
        f"  within 5 %                       {found['share_within_5_percent']:.1%}",
        f"  rank correlation (Spearman)      {found['rank_correlation']:.4f}",
        f"  worst                            {found['worst_percentage_error']:+.1f} % "
        f"({milliseconds(worst['predicted_ms'])} predicted)",
        f"  repeatability of the device      {found['repeatability_percent']:.2f} % between two timings of one network",
    ]
    if found["repeatability_percent"] > _LEAST_REPEATABILITY_PERCENT:
        lines.append(
            f"  The device's own timings differ by more than {_LEAST_REPEATABILITY_PERCENT:g} %: some of the error "
            "above is its noise. Close other programs, remove --out and give the same command with more --passes: the "
            "timings that are there stay"
        )
    return "\n".join(lines) + note


def heading(table):
    """Returns what a table is of in one line: device, build, tool, threads, delegate, files, date and its error."""
    device, settings = table.device, table.device.get("settings", {})
    tool = device.get("tool", {}).get("version") or device.get("runtime")
    tested = table.facts.get("validation")
    error = tested and (
        f"{tested['mean_absolute_percentage_error']:.1f} % off on {len(tested['networks'])} networks not seen before"
    )
    words = [
        device_name(device),
        device.get("build"),
        tool and (f"benchmark_model {tool}" if "tool" in device else tool),
        settings.get("num_threads") and count(settings["num_threads"], "thread"),
        settings.get("delegate", "cpu"),
        f"{table.number_type} files",
        table.facts["made_at"][:10] if table.facts.get("made_at") else "date not told",
        error or "its error is not told",
    ]
    return "; ".join(filter(None, words))


def verdict_text(table, verdict):
    """Returns in words whether a table holds: of a `nas_tf.latency_tables.checking.Verdict`."""
    lines = [f"the table: {heading(table)}", f"{'predicted':>12} {'measured':>12} {'ratio':>7}  network"]
    lines += [
        f"{milliseconds(predicted):>12} {milliseconds(measured):>12} {ratio:>7.3f}  {architecture}"
        for (architecture, predicted, measured), ratio in zip(verdict.rows, verdict.ratios)
    ]
    ratios, rank = verdict.ratios, verdict.rank_correlation
    found = (
        f"mean error {verdict.error_percent:.1f} % (at most {verdict.bound_percent:.1f} %), rank correlation {rank:.3f}"
    )
    if verdict.holds:
        return "\n".join([*lines, f"The table holds here: {found}"])
    middle = statistics.median(ratios)
    lines.append(f"The table does not hold here: {found}")
    lines.append(
        f"Networks take {middle:.2f} times as long as it says ({min(ratios):.2f} to {max(ratios):.2f}). Make a table "
        "of this device with nas-table"
    )
    return "\n".join(lines)


def draw_scatter(path, table):
    """Writes a picture of predicted against measured latency of the networks that tested a table."""
    found = table.facts["validation"]
    predicted = [network["predicted_ms"] for network in found["networks"]]
    timings = [sorted(network["measured_ms"]) for network in found["networks"]]
    measured = [statistics.median(row) for row in timings]
    figure = _picture.new_figure(6, 5.6)
    axes = figure.add_subplot()
    low, high = 0.95 * min(*predicted, *measured), 1.05 * max(*predicted, *measured)
    axes.plot([low, high], [low, high], color="black", lw=1, label="equal")
    axes.fill_between(
        [low, high],
        [0.95 * low, 0.95 * high],
        [1.05 * low, 1.05 * high],
        color="tab:green",
        alpha=0.15,
        label="within 5 %",
    )
    spread = [[ms - row[0] for ms, row in zip(measured, timings)], [row[-1] - ms for ms, row in zip(measured, timings)]]
    axes.errorbar(measured, predicted, xerr=spread, fmt="o", ms=4, lw=0.8, capsize=2, label="a network, its timings")
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="measured (ms)", ylabel="predicted by the table (ms)")
    note = f"; {table.device['note']}" if table.device.get("note") else ""
    name = table.device.get("model") or table.device.get("processor") or table.device["device"]
    axes.set_title(
        f"{table.space} on {name}: mean error {found['mean_absolute_percentage_error']:.2f} %{note}", fontsize=10
    )
    figure.legend(loc="outside lower center", fontsize=8, ncols=3)
    _picture.write(path, figure)
