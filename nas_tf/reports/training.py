"""How a training went, as a table and a picture."""

import csv
import io
import textwrap

from nas_tf.files import write_file
from nas_tf.reports import _picture

_COLUMNS = ("epoch", "loss", "accuracy", "validation_accuracy", "seconds")


def write_csv(path, history):
    """Writes the epochs of a `nas_tf.training.train.Trained.history`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_file(path, text.getvalue())


def draw(path, history, title):
    """Writes a picture of loss and accuracy, in training and on validation images, by epoch."""
    from matplotlib.ticker import MaxNLocator

    figure = _picture.new_figure(8, 3.6)
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history], marker=".", color="tab:blue")
    left.set_ylabel("training loss")
    for name, label in (("accuracy", "training (augmented images)"), ("validation_accuracy", "validation")):
        right.plot(epochs, [100 * row[name] for row in history], marker=".", label=label)
    right.set_ylabel("accuracy (%)")
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.suptitle(textwrap.fill(title, 120), fontsize=8)
    _picture.write(path, figure)
