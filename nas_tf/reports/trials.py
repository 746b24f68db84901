"""The trials of a run, for people and for other programs: a table, CSV, JSON, and one trial with all that is known."""

import csv
import io
import json

from nas_tf.quiet import count
from nas_tf.ranking import rungs
from nas_tf.reports.numbers import NONE, milliseconds, number, share, significant

STATES = ("done", "infeasible", "failed", "running")
FIRST_NOTES = ("untrained", "random", "near the parent")  # of trials that were drawn before the algorithm learned
_COLUMNS = (
    "id",
    "state",
    "accuracy",
    "standard_error",
    "rung",
    "latency_ms",
    "num_params",
    "mult_adds",
    "reward",
    "train_seconds",
    "note",
    "infeasible",
    "error",
)


def rungs_text(trials):
    """Returns lines of text on the rungs of a search, from 1: how many networks reached each, and how alike they are.

    A search without rungs has none.
    """
    lines = []
    for number_, (count_, correlation) in enumerate(rungs(trials), 1):
        reached = f"rung {number_}: {count(count_, 'network')}"
        known = "not known" if correlation is None else f"{correlation:.2f}"
        lines.append(reached if number_ == 1 else f"{reached}, rank correlation with the rung below {known}")
    return lines


def counts(trials):
    """Returns a list of (state, how many trials are in it), without states that none is in."""
    states = [trial.state for trial in trials]
    return [(state, states.count(state)) for state in STATES if state in states]


def counts_text(trials):
    """Returns `counts` as text, as in "38 done, 2 infeasible"."""
    return ", ".join(f"{number} {state}" for state, number in counts(trials))


def facts(trial):
    """Returns a dict of what is known of a `nas_tf.trial.Trial`, None for what is not, with the names of its units."""
    found = dict.fromkeys(_COLUMNS)
    found |= {name: getattr(trial, name) for name in ("id", "state", "note", "reward", "infeasible", "error")}
    measured = trial.measurement
    if measured:
        found |= {name: getattr(measured, name) for name in ("accuracy", "standard_error", "train_seconds")}
        found |= {name: getattr(measured.cost, name) for name in ("num_params", "mult_adds")}
        found["rung"] = len(measured.rungs) or None
        found["latency_ms"] = measured.cost.latency and measured.cost.latency.latency_ms
    return found


def table(trials):
    """Returns lines of text, one for each trial after the titles; reasons are cut at the end of the first line."""
    titles = f"{'accuracy %':>13} {'latency ms':>11} {'params M':>9} {'madds M':>8} {'reward':>8}"
    lines = [f"{'trial':>6} {'state':<11}{titles}"]
    for trial in trials:
        known = facts(trial)
        why = " ".join(filter(None, (known["note"], _first(known["infeasible"]), _last(known["error"]))))
        lines.append(
            f"{trial.id:>6} {known['state']:<11}{share(known['accuracy'], error=known['standard_error']):>13} "
            f"{significant(known['latency_ms']):>11} {number(known['num_params'], '.2f', 1e-6):>9} "
            f"{number(known['mult_adds'], '.1f', 1e-6):>8} {number(known['reward'], '.4f'):>8}  {why}".rstrip()
        )
    return lines


def to_csv(trials, decisions):
    """Returns the trials as CSV: a column for each fact, and one for each decision.

    Args:
        trials: list of `nas_tf.trial.Trial`s.
        decisions: dict from a decision's name to its choices, in the order of the tokens.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *decisions])
    for trial in trials:
        known = facts(trial)
        writer.writerow(
            [*("" if known[name] is None else known[name] for name in _COLUMNS), *_answers(trial, decisions)]
        )
    return text.getvalue()


def to_json(trials, decisions):
    """Returns the trials as a JSON array of objects; the arguments are those of `to_csv`."""
    rows = [
        {**facts(trial), "tokens": trial.tokens, "answers": dict(zip(decisions, _answers(trial, decisions)))}
        for trial in trials
    ]
    return json.dumps(rows, indent=1)


def page(trial, decisions, measurements):
    """Returns all that is known of one trial as text.

    Args:
        trial: the `nas_tf.trial.Trial`.
        decisions: as in `to_csv`.
        measurements: list of dicts, the rows of the table `measurements` that are the trial's.
    """
    known = facts(trial)
    latency = milliseconds(known["latency_ms"])
    lines = [
        f"trial {trial.id}: {trial.state}" + (f" ({trial.note})" if trial.note else ""),
        f"accuracy {share(known['accuracy'], error=known['standard_error'])} %, latency {latency}, "
        f"{number(known['num_params'], '.3f', 1e-6)} M parameters, {number(known['mult_adds'], '.2f', 1e-6)} M "
        f"multiply-adds, reward {number(known['reward'], '.4f')}",
        f"trained for {number(known['train_seconds'], '.0f')} s",
        "",
    ]
    names, answers = list(decisions), _answers(trial, decisions)
    width = max(map(len, names), default=0)
    lines += [f"{name:<{width}}  {answer}" for name, answer in zip(names, answers)]
    for row in measurements:
        lines += ["", f"{row['kind']} by {row['judge']}: {row['value']:g}"]
        lines += [f"  {name}: {json.dumps(value)}" for name, value in row["details"].items() if value is not None]
    for title, text in (("infeasible", trial.infeasible), ("failed", trial.error)):
        if text:
            lines += ["", f"{title}:", text.rstrip()]
    return "\n".join(lines)


def _answers(trial, decisions):
    """Returns a list of the choices that a trial's tokens stand for; a dash where they are of another space."""
    found = []
    for i, choices in enumerate(decisions.values()):
        token = trial.tokens[i] if i < len(trial.tokens) else None
        found.append(choices[token] if token is not None and 0 <= token < len(choices) else NONE)
    return found


def _first(text):
    return text and next(iter(text.strip().splitlines()), "")


def _last(text):
    return text and text.strip().splitlines()[-1]
