"""How every picture is written: a Matplotlib figure as PNG, whole or not at all."""

import io
import math

from nas_tf.files import write_file

PERCENT = (0.0, 102.0)  # bounds of an axis of accuracies, with room for a point at 100 %


def new_figure(width=8, height=4.8):
    """Returns a `matplotlib.figure.Figure` of that size in inches, for `write`. No window is opened."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write(path, figure, **options):
    """Writes a figure as PNG. `options` are those of Matplotlib's `savefig`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130, **options)
    write_file(path, content.getvalue())


def set_span(axis_of, values, least=1.0, margin=0.15, bounds=(-math.inf, math.inf)):
    """Shows all values on an axis, of a span of at least `least`, with plain numbers at its ticks.

    Args:
        axis_of: `(axes, "x")` or `(axes, "y")`.
        values: what is drawn; None and an empty list are fine.
        least: the smallest span, in the unit of the axis. Without it, equal values would fill the axis with noise.
        margin: share of the span that is left free at each end.
        bounds: where the axis begins at least, and ends at most.
    """
    axes, name = axis_of
    values = [value for value in values if value is not None] or [0.0]
    low, high = min(values), max(values)
    missing = max(0.0, least - (high - low)) / 2
    low, high = low - missing, high + missing
    low, high = low - margin * (high - low), high + margin * (high - low)
    getattr(axes, f"set_{name}lim")(max(low, bounds[0]), min(high, bounds[1]))
    axes.ticklabel_format(axis=name, useOffset=False, style="plain")


def draw_chance(axes, chance, heights, always=False):
    """Draws what guessing reaches as a line, and sets the vertical axis of accuracies in percent.

    Where the line lies far below all accuracies, it would press them together: then the legend alone says where it is.

    Args:
        axes: Matplotlib's.
        chance: `nas_tf.accuracy.Chance`, or None.
        heights: list of all accuracies in percent, with the ends of their bars.
        always: whether the line is shown however far it lies.
    """
    if chance:
        level = 100 * chance.share
        low, high = min(heights, default=level), max(heights, default=level)
        is_near = always or low - level < 3 * max(5.0, high - low)
        label = f"guessing: {level:.1f} %" + ("" if is_near else ", below the axis")
        axes.axhline(level, color="tab:brown", ls="-.", lw=1, label=label)
        heights = [*heights, level] if is_near else heights
    set_span((axes, "y"), heights, least=5.0, margin=0.2, bounds=PERCENT)
