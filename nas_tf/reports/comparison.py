"""A network that ships beside those it was chosen from and published ones of equal latency: table, picture, page."""

import csv
import dataclasses
import io

from nas_tf import accuracy
from nas_tf.accuracy import chance_of, num_examples_of
from nas_tf.files import write_file
from nas_tf.networks.description import FileRecord, NetworkDescription
from nas_tf.quiet import count as counted
from nas_tf.reports import _picture
from nas_tf.reports.numbers import milliseconds, number, share, significant

_ABOUT_EQUAL = 0.05  # of latency
_ROLES = {"ships": "ships", "candidate": "candidate", "baseline": "published", "import": "import"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One network.

    Attributes:
        name: as in "trial 17" or "mnasnet_a1".
        role: "ships", "candidate", "baseline" (a published network trained from random weights) or "import".
        network: its description, with its figures or why its training failed.
        files: the records of its files, if they were written.
    """

    name: str
    role: str
    network: NetworkDescription
    files: tuple[FileRecord, ...] = ()

    @property
    def latency_ms(self):
        """float, of the float32 file if that was timed; None for a network whose training failed."""
        latency = self.network.latency or self.network.latency_judged
        return latency and latency.latency_ms

    @property
    def title(self):
        """str: the name. That of a published network has its width."""
        return self.network.text if self.role in ("baseline", "import") else self.name


def text(rows, device, facts):
    """Returns the table as text. `facts` is `nas_tf.datasets.Dataset.facts()` of the images."""
    of_name = max(28, *(len(row.title) + 1 for row in rows))
    of_file = max(46, *(len(f"{row.name}: {record.file}") for row in rows for record in row.files), 0)
    figures = f"{'validation %':>13} {'test %':>13} {'latency ms':>11} {'params M':>9} {'madds M':>8}"
    lines = [f"{'network':<{of_name}}{'':<11}{figures}"]
    num_examples, chance = num_examples_of(facts), chance_of(facts)
    for row in rows:
        network = row.network
        lines.append(
            f"{row.title:<{of_name}}{_ROLES[row.role]:<11}"
            f"{share(network.accuracy.validation, num_examples):>13} "
            f"{share(network.accuracy.test, num_examples_of(facts, 'test')):>13} {significant(row.latency_ms):>11} "
            f"{number(network.num_params, '.2f', 1e-6):>9} {number(network.mult_adds, '.1f', 1e-6):>8}"
            f"{_mark(row, rows[0], num_examples, chance)}"
        )
    lines += ["-: not read, or training failed; ±: standard error of the images"]
    marks = "".join(_mark(row, rows[0], num_examples, chance) for row in rows)
    lines += ["≈: validation accuracy cannot be told apart from the first row's (two standard errors)"] * ("≈" in marks)
    lines += [f"guesses: no better than guessing; {chance}"] * ("guesses" in marks)
    lines += [f"latency: float32 file, median on {device}", *_unequal(rows), ""]
    lines.append(f"{'file':<{of_file}} {'validation %':>13} {'latency ms':>11} {'MB':>7}")
    for row in rows:
        for record in row.files:
            reached = share(record.validation_accuracy, record.num_validation)
            lines.append(
                f"{row.name + ': ' + record.file:<{of_file}} {reached:>13} "
                f"{significant(record.latency_ms):>11} {number(record.bytes, '.3f', 1e-6):>7}"
                f"{'  FAILED' if record.failure else ''}"
            )
    return "\n".join(lines)


def _mark(row, first, num_examples, chance):
    reached, other = row.network.accuracy.validation, first.network.accuracy.validation
    mark = ""
    if row is not first and num_examples and None not in (reached, other):
        errors = [accuracy.standard_error(each, num_examples) for each in (reached, other)]
        mark = "" if accuracy.are_apart(reached, other, *errors) else " ≈"
    return mark + (" guesses" if chance and reached is not None and not chance.is_beaten_by(reached) else "")


def _unequal(rows):
    """Returns a line for each published network whose latency is not within 5 % of that of the one that ships."""
    ships, lines = rows[0].latency_ms, []
    for row in rows[1:]:
        if row.role == "baseline" and None not in (row.latency_ms, ships):
            difference = row.latency_ms / ships - 1
            if abs(difference) > _ABOUT_EQUAL:
                words = "longer" if difference > 0 else "less"
                lines.append(
                    f"{row.title} is not of equal latency: it takes {100 * abs(difference):.1f} % {words} than the "
                    "network that ships"
                )
    return lines


def write(folder, rows, device, recipe, dataset, choice, notes, race="", tries=""):
    """Writes `comparison.csv`, `comparison.png` and the page `README.md`.

    Args:
        folder: the folder to write into.
        rows: list of `Row`, the network that ships first.
        device: the device in one line.
        recipe: `nas_tf.training.recipe.Recipe` by which all were trained.
        dataset: `nas_tf.datasets.Dataset.facts()`.
        choice: in words, why the first row ships.
        notes: list of more sentences for the page.
        race: the table of the race by which the first row was chosen (`nas_tf.reports.race.text`); empty: none was run.
        tries: in words, how often every network of the race was trained.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    columns = (
        "validation_accuracy",
        "validation_standard_error",
        "test_accuracy",
        "test_standard_error",
        "latency_ms",
        "num_params",
        "mult_adds",
        "latency_from",
        "failure",
    )
    writer.writerow(["network", "role", *columns])
    for row in rows:
        network = row.network
        accuracies = []
        for split, reached in (("validation", network.accuracy.validation), ("test", network.accuracy.test)):
            num_examples = num_examples_of(dataset, split)
            known = reached is not None and num_examples
            accuracies += [reached, accuracy.standard_error(reached, num_examples) if known else None]
        figures = (row.latency_ms, network.num_params, network.mult_adds)
        writer.writerow([row.name, row.role, *accuracies, *figures, device, network.failure])
    write_file(folder / "comparison.csv", table.getvalue())
    _draw(folder / "comparison.png", rows, device, dataset)
    write_file(folder / "README.md", _page(rows, device, recipe, dataset, choice, notes, race, tries))


def _page(rows, device, recipe, dataset, choice, notes, race, tries):
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset["num_examples"].items())
    how = _raced(recipe, tries) if race else _alike(recipe)
    lines = [
        "# What ships, and what it is compared with",
        "",
        f"Data: {dataset['name']}, {counts} images ({dataset['splits']}). {how}",
        "",
        f"{rows[0].name} ships: {choice}. The test images were read after that, for it and the networks that it is "
        "compared with. ± is the standard error of the images. "
        + ("" if race else "One training each: another seed changes an accuracy too."),
        "",
        *(f"* {note}" for note in notes),
        "",
        *(["```", race, "```", "", "![The race](race.png)", ""] if race else []),
        "```",
        text(rows, device, dataset),
        "```",
        "",
        "![Accuracy against latency](comparison.png)",
        "",
        "The network that ships, with its model card: [network/](network/README.md)",
    ]
    return "\n".join(lines) + "\n"


def _alike(recipe):
    return (
        f"Every network here was trained alike: {_in_words(recipe)}, peak learning rate "
        f"{recipe.peak_learning_rate:g}, the same dropout and momentum of batch normalisation."
    )


def _raced(recipe, tries):
    return (
        f"Every network of the race had the same tries: {_in_words(recipe)}, {tries}. Which try counts was chosen by "
        "validation images, who ships by race images, which nothing had seen. The best of the search and the best "
        "import were trained with more seeds, if there was time: the table says with how many."
    )


def _in_words(recipe):
    return f"{counted(recipe.epochs, 'epoch')} of {recipe.optimizer}, {recipe.batch_size} images a step"


def _draw(path, rows, device, facts):
    figure = _picture.new_figure(8, 5.2)
    num_examples, chance = num_examples_of(facts), chance_of(facts)
    axes = figure.add_subplot()
    styles = {
        "candidate": ("o", "tab:gray", 45),
        "ships": ("*", "tab:red", 260),
        "baseline": ("s", "tab:blue", 60),
        "import": ("D", "tab:green", 55),
    }
    shown = [row for row in rows if row.latency_ms is not None and row.network.accuracy.validation is not None]
    for role, (marker, color, size) in styles.items():
        of_role = [row for row in shown if row.role == role]
        if of_role:
            xs, ys = zip(*((row.latency_ms, 100 * row.network.accuracy.validation) for row in of_role))
            axes.scatter(xs, ys, s=size, marker=marker, color=color, label=_ROLES[role], zorder=3, edgecolor="white")
            if num_examples:
                errors = [100 * accuracy.standard_error(y / 100, num_examples) for y in ys]
                axes.errorbar(xs, ys, yerr=errors, fmt="none", ecolor=color, lw=1, capsize=2, zorder=2)
    # Names at regular heights, in a column of their own, cannot run into each other.
    ordered = sorted(shown, key=lambda row: row.network.accuracy.validation)
    for i, row in enumerate(ordered):
        reached = row.network.accuracy.validation
        axes.annotate(
            f"{row.title}: {accuracy.text(reached, num_examples)}, {milliseconds(row.latency_ms)}",
            (row.latency_ms, 100 * reached),
            xytext=(1.02, (i + 0.5) / len(ordered)),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "lightgray", "lw": 0.8},
            annotation_clip=False,
        )
    axes.set_xlim(0, 1.15 * max((row.latency_ms for row in shown), default=1))
    heights = [100 * row.network.accuracy.validation for row in shown]
    bars = [100 * accuracy.standard_error(y / 100, num_examples) if num_examples else 0.0 for y in heights]
    ends = [y + sign * bar for y, bar in zip(heights, bars) for sign in (-1, 1)]
    _picture.draw_chance(axes, chance, ends)
    axes.set_xlabel("latency of the float32 file (ms)")
    axes.set_ylabel("validation accuracy (%), bars: standard error")
    axes.set_title(device, fontsize=10)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=8, ncols=4)
    _picture.write(path, figure, bbox_inches="tight")
