"""How a training went, as a table and a picture."""

import csv
import io
import math
import textwrap

from nas_tf.accuracy import chance_of, num_examples_of, standard_error
from nas_tf.files import write_file
from nas_tf.reports import _picture

_COLUMNS = ("epoch", "loss", "accuracy", "validation_accuracy", "validation_standard_error", "seconds")


def write_csv(path, history, facts):
    """Writes the epochs of a `nas_tf.training.train.Trained.history`; `facts` as for `draw`."""
    text, num_examples = io.StringIO(), num_examples_of(facts)
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in history:
        error = standard_error(row["validation_accuracy"], num_examples) if num_examples else None
        writer.writerow({**row, "validation_standard_error": error})
    write_file(path, text.getvalue())


def draw(path, history, title, facts):
    """Writes a picture of loss and accuracy, in training and on validation images, by epoch.

    `facts` is `nas_tf.datasets.Dataset.facts()` of the images, for standard errors and what guessing reaches.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _picture.new_figure(8, 4.0)
    num_examples, chance = num_examples_of(facts), chance_of(facts)
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history], marker=".", color="tab:blue")
    left.set_ylabel("training loss")
    heights = []
    for name, label in (("accuracy", "training (augmented images)"), ("validation_accuracy", "validation")):
        values = [100 * row[name] for row in history]
        errors = [100 * standard_error(value / 100, num_examples) for value in values] if num_examples else None
        bars = errors if name == "validation_accuracy" else None
        heights += [y + sign * bar for y, bar in zip(values, bars or [0.0] * len(values)) for sign in (-1, 1)]
        right.errorbar(epochs, values, yerr=bars, marker=".", label=label, capsize=2, elinewidth=0.8)
    right.set_ylabel("accuracy (%), bars: standard error")
    losses = [row["loss"] for row in history]
    _picture.set_span((left, "y"), losses, least=0.1 * max(losses, default=1.0), bounds=(0.0, math.inf))
    _picture.draw_chance(right, chance, heights, always=True)
    figure.legend(loc="outside lower right", fontsize=8, ncols=3)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        _picture.set_span((axes, "x"), epochs, margin=0.05)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.suptitle(textwrap.fill(title, 120), fontsize=8)
    _picture.write(path, figure)
