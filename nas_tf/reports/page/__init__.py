"""The page of a run: everything it found, in one file that needs no network.

Plain data go in. `_plots.py` draws with Bokeh, `page.html`, `page.css` and `page.js` are the page's own parts.
"""

import base64
import dataclasses
import json
import pathlib

from nas_tf import accuracy
from nas_tf.files import write_file
from nas_tf.ranking import ranked
from nas_tf.reports.numbers import NONE, cost_text, milliseconds, number, share
from nas_tf.reports.page import _plots
from nas_tf.reports.trials import counts, counts_text, facts, rungs_text
from nas_tf.rewards import Goal

_HERE = pathlib.Path(__file__).parent
_MOST_PICTURE_BYTES = 2 * 2**20
_MOST_CLASSES = 50  # of a confusion matrix


@dataclasses.dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: as in "runs/flowers".
        trials: list of its `nas_tf.trial.Trial`s.
        outlines: dict from a trial's id to a list of str, its architecture stage by stage.
        goal: the `nas_tf.rewards.Goal` that its networks are picked by.
        published: dict from published network to its `nas_tf.trial.Cost` on the device.
        device: where latencies come from, in words; empty: none were asked for.
        chance: `nas_tf.accuracy.Chance` of the validation images, or None.
        settings: dict from flag to value of what was asked for.
        versions: dict from package to version.
        data: list of (what, value) on the images.
        spent: dict from what to the seconds that workers spent on it.
        hours: how long its sessions took in all.
        stages: dict from stage to seconds, of a job of which the search is a part.
        pictures: list of (caption, path of a .png or .svg) of the chosen architecture.
        network: the `Shipped` network, or None as long as there is none.
    """

    name: str
    trials: list
    outlines: dict
    goal: Goal
    published: dict
    device: str = ""
    chance: object = None
    settings: dict = dataclasses.field(default_factory=dict)
    versions: dict = dataclasses.field(default_factory=dict)
    data: list = dataclasses.field(default_factory=list)
    spent: dict = dataclasses.field(default_factory=dict)
    hours: float = 0.0
    stages: dict = dataclasses.field(default_factory=dict)
    pictures: list = dataclasses.field(default_factory=list)
    network: object = None


@dataclasses.dataclass(frozen=True)
class Shipped:
    """A trained network of a run, with its files and its answers.

    Attributes:
        title: what it is, in words.
        why: why it was chosen.
        trial: the trial that it is, if it ships; else None.
        lead: what ships and what it reached, in a sentence; empty if it only is the search's pick.
        figures: list of (title, value, note), texts, of what it reached.
        files: list of (name, numbers, accuracy with error, latency, bytes), texts.
        class_names: in the order of the classes.
        confusion: int [classes, classes], rows are true classes, columns answers, of the validation images; or None.
        mistakes: list of (true class, answer, probability of the answer, PNG bytes): those it was surest of.
        race: text of the race's table, or "".
    """

    title: str
    why: str = ""
    trial: int | None = None
    lead: str = ""
    figures: list = dataclasses.field(default_factory=list)
    files: list = dataclasses.field(default_factory=list)
    class_names: tuple = ()
    confusion: object = None
    mistakes: list = dataclasses.field(default_factory=list)
    race: str = ""


def write_page(path, runs):
    """Writes the page of one run, or of several compared.

    Args:
        path: of the .html file.
        runs: list of `Run`s. Of the first all is shown, of the others their trials.
    """
    import jinja2

    run = runs[0]
    loader = jinja2.FileSystemLoader(_HERE)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    points = ranked(run.trials, run.goal)
    best = points[0] if points else None
    ships = next((trial for trial in run.trials if run.network and trial.id == run.network.trial), None)
    shown = ships or best
    script, plots = _plots.embedded(runs)
    values = {
        "runs": runs,
        "run": run,
        "heading": "The network that ships" if ships else "The search's best network",
        "verdict": _verdict(run, best),
        "outline": run.outlines.get(shown.id, []) if shown else [],
        "counts": counts(run.trials),
        "rungs": rungs_text(run.trials),
        "has_random": any(len(_plots.random_rewards(each.trials)) > 1 for each in runs),
        "plots": plots,
        "tiles": _tiles(run, best),
        "pictures": [
            (caption, _data_uri(file)) for caption, file in run.pictures if file.stat().st_size < _MOST_PICTURE_BYTES
        ],
        "published": [(name, _published_facts(cost)) for name, cost in run.published.items()],
        "spent": _spent(run.spent),
        "stages": _spent(run.stages),
        "has_matrix": bool(run.network) and len(run.network.class_names) <= _MOST_CLASSES,
        "devices": sorted({each.device for each in runs if each.device}),
        "classes": _classes(run.network),
        "mistakes": [
            (true, answer, f"{100 * sure:.0f} %", f"data:image/png;base64,{base64.b64encode(content).decode()}")
            for true, answer, sure, content in (run.network.mistakes if run.network else [])
        ],
        "data_json": _safe_json(_trials_json(runs)),
        "css": (_HERE / "page.css").read_text(),
        "js": (_HERE / "page.js").read_text(),
        "bokeh": _plots.library(),
        "plot_script": script,
    }
    write_file(path, environment.get_template("page.html").render(values))


def _verdict(run, best):
    lead = run.network.lead if run.network else ""
    return " ".join(filter(None, [lead, "" if lead and not run.trials else _picked(run, best)]))


def _picked(run, best):
    if best is None:
        return "No trial has succeeded yet." if run.trials else "Nothing has been tried yet."
    facts_, goal = best.measurement, run.goal
    reached = share(facts_.accuracy, error=facts_.standard_error)
    words = f"The search picks trial {best.id}: its child has {reached} % of the validation images right"
    if facts_.cost.latency:
        words += f", and the network takes {milliseconds(facts_.cost.latency.latency_ms)}"
    is_ = "It is" if best.expected is None else "By all trials, it is expected to be"
    if goal.target is None:
        return f"{words}. There is no target. {is_} the most accurate."
    target = cost_text(goal.target, goal.cost)
    if goal.is_met(facts_.cost):
        return f"{words}. {is_} the most accurate within the target, {target}."
    return f"{words}. None meets the target, {target}: it is the cheapest that no other dominates."


def _tiles(run, best):
    """Returns a list of (title, value, note) for the head of the page."""
    tiles = [("trials", f"{len(run.trials):,}", counts_text(run.trials))]
    if run.network and run.network.lead:
        tiles += run.network.figures
    elif best:
        known = facts(best)
        tiles.append(
            (f"trial {best.id}", f"{share(known['accuracy'], error=known['standard_error'])} %", "proxy accuracy")
        )
        if known["latency_ms"]:
            tiles.append(("its latency", milliseconds(known["latency_ms"]), run.device))
        size = f"{number(known['num_params'], '.2f', 1e-6)} M"
        tiles.append(("its size", size, f"parameters, {number(known['mult_adds'], '.1f', 1e-6)} M multiply-adds"))
    if run.goal.target:
        tiles.append(("target", cost_text(run.goal.target, run.goal.cost), "2 % above it count"))
    tiles.append(
        (
            "time",
            f"{run.hours:.2f} h" if run.hours >= 0.1 else f"{60 * run.hours:.1f} min",
            "of the search, all sessions",
        )
    )
    return tiles


def _published_facts(cost):
    latency = milliseconds(cost.latency.latency_ms) if cost.latency else NONE
    return latency, number(cost.num_params, ".2f", 1e-6), number(cost.mult_adds, ".1f", 1e-6)


def _spent(by_what):
    """Returns a list of (what, text, share of all in percent) on a dict of seconds."""
    whole = sum(by_what.values())
    return [
        (what, f"{seconds / 60:.1f} min", 100 * seconds / whole) for what, seconds in by_what.items() if seconds > 0
    ]


def _classes(network):
    """Returns a list of (class, right, images, share in percent, most frequent wrong answer) of validation images."""
    if network is None or network.confusion is None:
        return []
    rows = []
    for i, name in enumerate(network.class_names):
        row = network.confusion[i]
        total, right = int(row.sum()), int(row[i])
        wrong = [(int(row[j]), network.class_names[j]) for j in range(len(row)) if j != i and row[j]]
        most = max(wrong, default=None)
        reached = accuracy.text(right / total, total) if total else NONE
        rows.append((name, right, total, reached, f"{most[1]} ({most[0]})" if most else NONE))
    return rows


def _trials_json(runs):
    """Returns what the page's own script shows: each stage's words once, and a row for each trial."""
    words, rows = {}, []
    for number_, run in enumerate(runs):
        for trial in run.trials:
            known = facts(trial)
            stages = [words.setdefault(stage, len(words)) for stage in run.outlines.get(trial.id, [])]
            why = trial.infeasible or (trial.error and trial.error.strip().splitlines()[-1]) or ""
            rows.append(
                [
                    number_,
                    trial.id,
                    trial.state,
                    _rounded(known["accuracy"]),
                    _rounded(known["standard_error"]),
                    _rounded(known["latency_ms"]),
                    known["num_params"],
                    known["mult_adds"],
                    _rounded(known["reward"]),
                    " ".join(filter(None, (trial.note, known["rung"] and f"rung {known['rung']}"))),
                    why.strip()[:300],
                    stages,
                ]
            )
    return {"runs": [run.name for run in runs], "words": list(words), "trials": rows}


def _rounded(value):
    return None if value is None else float(f"{value:.5g}")


def _safe_json(value):
    """Returns JSON that may stand inside a script element, whatever its texts hold."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data_uri(path):
    kind = "image/svg+xml" if path.suffix == ".svg" else "image/png"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
