"""Shows the trials of a search: a table, one trial with its traceback, or all as CSV or JSON for other programs.

nas-trials runs/flowers
nas-trials runs/flowers --state=infeasible,failed
nas-trials runs/flowers 17
nas-trials runs/flowers --format=csv > trials.csv
nas-trials runs/flowers --retry_failed

A search may go on meanwhile. Only records are read: nothing that the run names is loaded or run.
"""

import dataclasses
import math

from nas_tf import flags
from nas_tf.files import alone
from nas_tf.quiet import count
from nas_tf.reports import trials as report
from nas_tf.search.records import Records
from nas_tf.search.run_folder import RunFolder
from nas_tf.settings import RUN, Settings, knob
from nas_tf.trial import UserError

_RISING = ("id", "latency_ms", "num_params", "mult_adds", "train_seconds")


@dataclasses.dataclass(frozen=True)
class TrialsSettings(Settings):
    """Which trials are shown, and how."""

    state: tuple[str, ...] = knob(
        (), "Trials of these states only, of done, infeasible, failed and running.", group=RUN
    )
    sort: str = knob(
        "id",
        "What decides the order: accuracies and rewards fall, all others rise.",
        choices=("accuracy", "reward", *_RISING),
        group=RUN,
    )
    limit: int = knob(0, "How many are shown; 0: all.", least=0, group=RUN)
    format: str = knob("table", "What is printed.", choices=("table", "csv", "json"), group=RUN)
    retry_failed: bool = knob(
        False,
        "Have the command that made the run try its failed trials again. The algorithm has gone on without them, and "
        "does not see what comes of them.",
        group=RUN,
    )

    def __post_init__(self):
        super().__post_init__()
        unknown = [state for state in self.state if state not in report.STATES]
        if unknown:
            raise UserError(f"Expected --state to be of {', '.join(report.STATES)}. Received: {', '.join(unknown)}")


def main(words):
    settings = flags.read(TrialsSettings)
    if not 1 <= len(words) <= 2:
        raise UserError(
            "Expected a run folder, and the number of a trial to see it whole, as in nas-trials runs/flowers 17. "
            f"Received: {' '.join(words) or 'nothing'}"
        )
    folder = RunFolder(words[0])
    decisions = folder.read()["space"].get("decisions")
    if not isinstance(decisions, dict) or not all(isinstance(choices, list) for choices in decisions.values()):
        raise UserError(f"{folder.config} is damaged: it describes no decisions of a search space")
    if settings.retry_failed:
        return _retry(folder)
    records = Records(folder.records, read_only=True)
    try:
        trials = records.trials()
        if len(words) == 2:
            trial = _one(trials, words[1], folder)
            print(report.page(trial, decisions, records.measurements(trial.id)))
            return
    finally:
        records.close()
    _show(trials, settings, decisions)


def _show(trials, settings, decisions):
    shown = [trial for trial in trials if not settings.state or trial.state in settings.state]
    sign = 1 if settings.sort in _RISING else -1

    def place(trial):
        value = report.facts(trial)[settings.sort]
        return (math.inf if value is None else sign * value), trial.id

    shown.sort(key=place)
    if settings.limit:
        shown = shown[: settings.limit]
    if settings.format == "csv":
        print(report.to_csv(shown, decisions), end="")
    elif settings.format == "json":
        print(report.to_json(shown, decisions))
    else:
        said = [count(len(trials), "trial"), report.counts_text(trials)]
        print(*report.table(shown), ": ".join(filter(None, said)), sep="\n")


def _one(trials, word, folder):
    """Returns the trial of the number that a word is."""
    found = next((trial for trial in trials if str(trial.id) == word), None)
    if found is None:
        there = f"1 to {trials[-1].id}" if trials else "none yet"
        raise UserError(f"Expected the number of a trial of {folder.path}: {there}. Received: {word!r}")
    return found


def _retry(folder):
    with alone(folder.path, "search"):
        records = Records(folder.records)
        try:
            failed = [trial.id for trial in records.trials() if trial.state == "failed"]
            records.retry(failed)
        finally:
            records.close()
    if not failed:
        print("No trial has failed.")
        return
    numbers = ", ".join(map(str, failed))
    command = "the command that made the run"
    if (folder.path / "make").is_dir():
        command = "nas-make, if it is given more --hours"
    print(f"{count(len(failed), 'trial')} will be tried again by {command}: {numbers}")


def cli():
    flags.define(TrialsSettings)
    flags.run(main, __doc__, takes_words=True)


if __name__ == "__main__":
    cli()
