"""The page's plots, drawn by Bokeh in the reader's browser, in colours that are seen on white and on black."""

import functools

import numpy as np

from nas_tf.quiet import quiet
from nas_tf.ranking import pareto_front, ranked
from nas_tf.reports.numbers import cost_text
from nas_tf.reports.trials import FIRST_NOTES
from nas_tf.rewards import TOLERANCE, cost_of

_COLORS = ("#3b82c4", "#d9822b", "#3fa45b", "#b0558f", "#8a6d3b", "#7a7ad0")
_GREY, _RED = "#8a8a8a", "#d64545"
_UNITS = {
    "latency_ms": ("latency in ms", 1.0),
    "mult_adds": ("multiply-adds in M", 1e-6),
    "num_params": ("parameters in M", 1e-6),
}
_MOST_POINTS = 3000  # of a curve
_MOST_RANDOM = 500  # rewards that an expectation is taken over
_WINDOW = 20  # trials that a mean is taken over
_SHOW = "window.showTrial(source.data.run[cb], source.data.id[cb])"


@functools.cache
def library():
    """Returns Bokeh's own JavaScript, which stands in the page, so that it opens without a network."""
    from bokeh.resources import Resources

    return Resources(mode="inline", components=["bokeh"]).render_js()


def embedded(runs):
    """Returns `(script, divs)`: HTML of a script, and a dict from a plot's name to the HTML of its place."""
    from bokeh.embed import components

    figures = {"front": _front(runs), "learning": _learning(runs)}
    figures = {name: figure for name, figure in figures.items() if figure is not None}
    if not figures:
        return "", {}
    with quiet():  # warnings on what a figure of few points lacks
        return components(figures)


def _new_figure(x, y, **options):
    from bokeh.plotting import figure

    found = figure(
        height=430,
        sizing_mode="stretch_width",
        x_axis_label=x,
        y_axis_label=y,
        tools="pan,wheel_zoom,box_zoom,reset",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        **options,
    )
    found.toolbar.logo = None
    found.toolbar.autohide = True
    for axis in (*found.xaxis, *found.yaxis):
        axis.axis_label_text_color = axis.major_label_text_color = _GREY
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = _GREY
    found.grid.grid_line_color, found.grid.grid_line_alpha = _GREY, 0.2
    return found


def _legend(figure):
    for legend in figure.legend:
        legend.click_policy, legend.label_text_color = "hide", _GREY
        legend.background_fill_alpha = legend.border_line_alpha = 0.0
        figure.add_layout(legend, "below")
        legend.orientation, legend.ncols = "horizontal", 3


def _front(runs):
    """Accuracy against cost: every trial with its standard error, front, target and published networks."""
    from bokeh.models import BoxAnnotation, ColumnDataSource, CustomJS, HoverTool, Span, TapTool, Whisker

    goal = runs[0].goal
    label, unit = _UNITS[goal.cost]
    if not any(ranked(run.trials, goal) for run in runs):
        return None
    figure = _new_figure(f"deployment network's {label}", "child's validation accuracy in %")
    dots = []
    for number, run in enumerate(runs):
        points = ranked(run.trials, goal)
        if not points:
            continue
        color = _COLORS[number % len(_COLORS)]
        y = np.array([100 * point.measurement.accuracy for point in points])
        errors = np.array([100 * (point.measurement.standard_error or 0.0) for point in points])
        source = ColumnDataSource(
            {
                "x": [unit * cost_of(point.measurement.cost, goal.cost) for point in points],
                "y": y,
                "low": y - errors,
                "high": y + errors,
                "id": [point.id for point in points],
                "run": [number] * len(points),
                "words": [f"± {error:.1f}" for error in errors],
            }
        )
        whisker = Whisker(source=source, base="x", upper="high", lower="low", line_color=_GREY, line_alpha=0.3)
        for head in (whisker.upper_head, whisker.lower_head):
            head.size = 0
        figure.add_layout(whisker)
        name = "trials" if len(runs) == 1 else run.name
        dots.append(figure.scatter("x", "y", source=source, size=7, color=color, alpha=0.8, legend_label=name))
        front = pareto_front(run.trials, goal.cost)
        xs = [unit * cost_of(trial.measurement.cost, goal.cost) for trial in front]
        ys = [100 * trial.measurement.accuracy for trial in front]
        figure.step(xs, ys, mode="after", color=color, line_width=1.5, legend_label=f"front of {name}")
    best, network = ranked(runs[0].trials, goal), runs[0].network
    ships = [trial for trial in best if network and trial.id == network.trial]
    if best:
        star = (ships or best)[0]
        x, y = unit * cost_of(star.measurement.cost, goal.cost), 100 * star.measurement.accuracy
        label_ = f"{'ships' if ships else 'picked'}: trial {star.id}"
        figure.scatter([x], [y], marker="star", size=20, color=_RED, legend_label=label_)
    if goal.target:
        target = unit * goal.target
        figure.add_layout(
            Span(location=target, dimension="height", line_color=_RED, line_dash="dashed", line_width=1.5)
        )
        figure.add_layout(BoxAnnotation(left=target, right=TOLERANCE * target, fill_color=_RED, fill_alpha=0.1))
        figure.line([], [], color=_RED, line_dash="dashed", legend_label=f"target: {cost_text(goal.target, goal.cost)}")
    _published(figure, runs[0], unit)
    if runs[0].chance:
        level = 100 * runs[0].chance.share
        figure.add_layout(Span(location=level, dimension="width", line_color=_GREY, line_dash="dotdash"))
        figure.line([], [], color=_GREY, line_dash="dotdash", legend_label=f"guessing: {level:.1f} %")
    show = "const i = cb_data.index.indices[0]; if (i !== undefined) "
    for dot in dots:
        source = dot.data_source
        hover = CustomJS(args={"source": source}, code=show + _SHOW.replace("[cb]", "[i]"))
        figure.add_tools(
            HoverTool(
                renderers=[dot],
                callback=hover,
                tooltips=[("trial", "@id"), ("accuracy", "@y{0.0} % @words"), (label, "@x{0.[000]}")],
            )
        )
        tap = CustomJS(
            args={"source": source},
            code=f"const i = source.selected.indices[0]; if (i !== undefined) {_SHOW.replace('[cb]', '[i]')}",
        )
        figure.add_tools(TapTool(renderers=[dot], callback=tap))
    _legend(figure)
    return figure


def _published(figure, run, unit):
    from bokeh.models import Label, Span

    for place, (name, cost) in enumerate(sorted(run.published.items())):
        if run.goal.cost == "latency_ms" and not cost.latency:
            continue
        x = unit * cost_of(cost, run.goal.cost)
        figure.add_layout(Span(location=x, dimension="height", line_color=_GREY, line_dash="dotted"))
        words = {"text": name, "angle": np.pi / 2, "text_color": _GREY, "text_font_size": "11px"}
        figure.add_layout(Label(x=x, y=12 + 95 * (place % 3), y_units="screen", x_offset=-3, **words))


def _learning(runs):
    """Rewards as they came: each run's best so far and its mean, beside the best of as many random samples."""
    figure = None
    for number, run in enumerate(runs):
        judged = [trial for trial in run.trials if trial.reward is not None]
        if not judged:
            continue
        figure = figure or _new_figure("trials", "reward")
        color, name = _COLORS[number % len(_COLORS)], "" if len(runs) == 1 else f"{run.name}: "
        rewards, count = np.array([trial.reward for trial in judged]), np.arange(1, len(judged) + 1)
        best = np.maximum.accumulate(rewards)
        sums = np.concatenate([[0.0], np.cumsum(rewards)])
        first = np.maximum(0, count - _WINDOW)
        mean = (sums[count] - sums[first]) / (count - first)
        shown = np.unique(np.linspace(0, len(judged) - 1, min(len(judged), _MOST_POINTS)).astype(int))
        figure.scatter(count[shown], rewards[shown], size=4, color=color, alpha=0.35, legend_label=f"{name}each trial")
        figure.line(count[shown], best[shown], color=color, line_width=2, legend_label=f"{name}best so far")
        label = f"{name}mean of {_WINDOW}"
        figure.line(count[shown], mean[shown], color=color, line_width=1.5, line_dash="dashed", legend_label=label)
        drawn = random_rewards(run.trials)
        if len(drawn) > 1:
            expected = best_of_random(drawn, count[shown])
            label = f"{name}random sampling, from {len(drawn)} trials"
            figure.line(count[shown], expected, color=_GREY, line_dash="dotted", line_width=2, legend_label=label)
    if figure is not None:
        _legend(figure)
    return figure


def random_rewards(trials):
    """Returns float [n], the rewards of those trials that were drawn before the algorithm learned."""
    return np.array([trial.reward for trial in trials if trial.reward is not None and trial.note in FIRST_NOTES])


def best_of_random(rewards, counts):
    """Returns the expected best of that many samples, drawn with replacement from some rewards: float [counts].

    Args:
        rewards: float [n], of trials drawn at random.
        counts: int [counts].
    """
    rewards = np.sort(rewards)
    if len(rewards) > _MOST_RANDOM:
        rewards = np.quantile(rewards, (np.arange(_MOST_RANDOM) + 0.5) / _MOST_RANDOM)
    ordered, n = rewards, len(rewards)
    edges = (np.arange(n + 1)[None] / n) ** np.asarray(counts)[:, None]
    return np.diff(edges, axis=1) @ ordered
