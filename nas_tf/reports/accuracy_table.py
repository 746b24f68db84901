"""How far an accuracy table is off, and what is best by it, as text, CSV and picture."""

import csv
import io

from nas_tf.files import write_file
from nas_tf.reports import _picture
from nas_tf.reports.numbers import milliseconds


def validation_text(table):
    """Returns in words how far an `AccuracyTable` is off on networks that it has not seen."""
    lines = []
    for library in table.libraries:
        found = library.facts["validation"]
        worst = found["networks"][found["worst"]]
        kept = [each.kept for block in library.blocks for each in block.values()]
        lines += [
            f"width {library.width:g}: {len(kept) - kept.count('own')} blocks in place of the parent's "
            f"{len(library.blocks)}; {kept.count('repaired')} are better repaired, {kept.count('inherited')} as they "
            "inherit",
            f"{len(found['networks'])} networks not seen before, predicted against measured after a short fine-tuning:",
            f"  mean error                       {found['mean_absolute_error_points']:.1f} points (a measurement's own "
            f"standard error is {found['standard_error_points']:.1f})",
            "  rank correlation (Spearman)      "
            + ("none: all are alike" if found["rank_correlation"] is None else f"{found['rank_correlation']:.3f}"),
            f"  worst                            {found['worst_error_points']:+.1f} points "
            f"({100 * worst['predicted']:.1f} % predicted)",
        ]
    return "\n".join(lines)


def draw_scatter(path, table):
    """Writes a picture of predicted against measured accuracy of the networks that tested a table."""
    figure = _picture.new_figure(6, 5.6)
    axes = figure.add_subplot()
    rows = [each for library in table.libraries for each in library.facts["validation"]["networks"]]
    predicted, measured = ([100 * each[name] for each in rows] for name in ("predicted", "accuracy"))
    low, high = min(*predicted, *measured) - 1, max(*predicted, *measured) + 1
    axes.plot([low, high], [low, high], color="black", lw=1, label="equal")
    axes.fill_between(
        [low, high], [low - 2, high - 2], [low + 2, high + 2], color="tab:green", alpha=0.15, label="within 2 points"
    )
    errors = [100 * (each["accuracy"] * (1 - each["accuracy"]) / each["num_images"]) ** 0.5 for each in rows]
    axes.errorbar(measured, predicted, xerr=errors, fmt="o", ms=4, lw=0.8, capsize=2, label="a network, its error")
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="measured accuracy (%)", ylabel="predicted by the table (%)")
    worst = max(library.facts["validation"]["mean_absolute_error_points"] for library in table.libraries)
    axes.set_title(f"{table.parent['parent']}: mean error {worst:.1f} points", fontsize=10)
    figure.legend(loc="outside lower center", fontsize=8, ncols=3)
    _picture.write(path, figure)


def front_text(front, best, target_ms):
    """Returns in words what is best by both tables.

    Args:
        front: list of `nas_tf.accuracy_tables.choosing.Choice`, the fastest first.
        best: list of those that were chosen.
        target_ms: latency that they have at most, or None.
    """
    within = f"within {milliseconds(target_ms)}" if target_ms else "of all"
    most_ms = front[-1].latency_ms
    if target_ms and target_ms > most_ms:
        within += f", which is beyond both tables: none is better that takes more than {milliseconds(most_ms)}"
    lines = [
        f"the exact front has {len(front)} networks, from {100 * front[0].accuracy:.1f} % at "
        f"{milliseconds(front[0].latency_ms)} to {100 * front[-1].accuracy:.1f} % at "
        f"{milliseconds(front[-1].latency_ms)}",
        f"the best {within}:",
    ]
    lines += [f"  {100 * each.accuracy:.1f} %  {milliseconds(each.latency_ms)}  {each.architecture}" for each in best]
    return "\n".join(lines)


def write_front(path, front):
    """Writes a front, a list of `Choice`s, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["latency_ms", "accuracy", "architecture"])
    writer.writerows([f"{each.latency_ms:.6g}", f"{each.accuracy:.6g}", str(each.architecture)] for each in front)
    write_file(path, text.getvalue())


def draw_front(path, front, best, target_ms):
    """Writes a picture of a front and of the networks that were chosen."""
    figure = _picture.new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    ms, reached = [each.latency_ms for each in front], [100 * each.accuracy for each in front]
    axes.step(ms, reached, where="post", color="tab:blue", lw=1.2, label="exact front of both tables")
    axes.plot(
        [each.latency_ms for each in best],
        [100 * each.accuracy for each in best],
        "o",
        color="tab:orange",
        ms=5,
        label="chosen",
    )
    if target_ms:
        axes.axvline(target_ms, color="black", lw=0.8, ls="--", label=f"target, {milliseconds(target_ms)}")
    axes.set(xlabel="latency by the table (ms)", ylabel="validation accuracy by the table (%)")
    figure.legend(loc="outside lower center", fontsize=8, ncols=3)
    _picture.write(path, figure)
