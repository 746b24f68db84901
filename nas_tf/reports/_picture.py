"""How every picture is written: a Matplotlib figure as PNG, whole or not at all."""

import io

from nas_tf.files import write_file


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


def set_span(axis_of, values, least=1.0, margin=0.15, floor=None):
    """Shows all values on an axis, of a span of at least `least`, with plain numbers at its ticks.

    Args:
        axis_of: `(axes, "x")` or `(axes, "y")`.
        values: what is drawn; None and an empty list are fine.
        least: the smallest span, in the unit of the axis. Without it, equal values would fill the axis with noise.
        margin: share of the span that is left free at each end.
        floor: value below which the axis never begins; None: any.
    """
    axes, name = axis_of
    values = [value for value in values if value is not None] or [0.0]
    low, high = min(values), max(values)
    missing = max(0.0, least - (high - low)) / 2
    low, high = low - missing, high + missing
    low, high = low - margin * (high - low), high + margin * (high - low)
    getattr(axes, f"set_{name}lim")(low if floor is None else max(low, floor), high)
    axes.ticklabel_format(axis=name, useOffset=False, style="plain")
