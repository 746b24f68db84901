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
