"""The tables of trials.sqlite, and what their rows say.

Rows are dicts from column to value. A value that cannot be is an error that names the file, the table and the row.
"""

import contextlib
import dataclasses
import datetime
import json
import math
import numbers

from nas_tf.files import parse_json
from nas_tf.trial import Cost, EvaluationError, Latency, Measurement, Trial, UserError, first_line

SCHEMA = """
CREATE TABLE trials (
    id INTEGER PRIMARY KEY,
    tokens TEXT NOT NULL,
    note TEXT NOT NULL,
    architecture TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    accuracy REAL,
    latency_ms REAL,
    num_params INTEGER,
    mult_adds INTEGER,
    reward REAL,
    infeasible TEXT,
    error TEXT,
    worker TEXT,
    train_seconds REAL,
    started_at TEXT NOT NULL,
    finished_at TEXT,
    state TEXT GENERATED ALWAYS AS (CASE WHEN error IS NOT NULL THEN 'failed' WHEN infeasible IS NOT NULL
        THEN 'infeasible' WHEN reward IS NOT NULL THEN 'done' ELSE 'running' END) VIRTUAL
);
CREATE INDEX trials_fingerprint ON trials (fingerprint);
CREATE TABLE measurements (
    trial_id INTEGER REFERENCES trials (id),
    kind TEXT NOT NULL,
    judge TEXT NOT NULL,
    device_id TEXT,
    value REAL NOT NULL,
    details TEXT NOT NULL
);
CREATE INDEX measurements_trial ON measurements (trial_id, kind);
CREATE TABLE devices (id TEXT PRIMARY KEY, description TEXT NOT NULL);
CREATE TABLE sessions (started_at TEXT NOT NULL, last_seen_at TEXT NOT NULL);
CREATE TABLE events (id INTEGER PRIMARY KEY, trial_id INTEGER NOT NULL, event TEXT NOT NULL);
CREATE TABLE expectations (trial_id INTEGER PRIMARY KEY, accuracy REAL NOT NULL);
PRAGMA user_version = 1;
"""
EVENTS = next(line for line in SCHEMA.splitlines() if "events" in line)
# What happens between a search and its algorithm: it is asked for a trial, and told of it, or not if the trial failed.
ASKED, TOLD, FAILED, REOPENED = "asked", "told", "failed", "reopened"
PROMOTED = "promoted"  # to the next rung: the search's own affair
EXPECTATIONS = next(line for line in SCHEMA.splitlines() if "expectations" in line)
FULL_TRAINING = "full training"  # the judge of a trial's network that was trained to ship
RETRIED = "(tried again)"  # at the end of a trial's note
WARM_START = "warm start"  # at its beginning
_SIZES = ("num_params", "mult_adds", "peak_activation_bytes")


@dataclasses.dataclass(frozen=True)
class Known:
    """A fact, and the trial that it was found in."""

    trial_id: int
    value: object


@dataclasses.dataclass(frozen=True)
class KnownOfArchitecture:
    """What the trials of a run say of one architecture; None for what none of them says.

    Attributes:
        accuracies: for each rung that the first of them has reached; a value is `(accuracy, train_seconds,
            standard_error)`, of which the last may be None.
        cost: the value is a `nas_tf.trial.Cost`.
        infeasible: the value is the reason.
    """

    accuracies: tuple[Known, ...] = ()
    cost: Known | None = None
    infeasible: Known | None = None


def read_trials(path, rows, measurements, expectations):
    """Returns a list of the `nas_tf.trial.Trial`s of rows of `trials`.

    Args:
        path: of the file.
        rows: of `trials`.
        measurements: their rows of `measurements` in the order of recording. The first of each kind and rung counts.
        expectations: rows of `expectations`. They count only if every finished trial has one.
    """
    accuracies, costs, expected, trials = {}, {}, {}, []
    for row in expectations:
        with _named(path, "expectations", f"trial {row['trial_id']}"):
            expected[row["trial_id"]] = _number(row, "accuracy")
    for row in measurements:
        with _named(path, "measurements", f"trial {row['trial_id']}"):
            if row["kind"] == "accuracy":
                _add_rung(accuracies.setdefault(row["trial_id"], {}), row)
            else:
                costs.setdefault(row["trial_id"], _cost(row))
    for row in rows:
        with _named(path, "trials", f"trial {row['id']}"):
            trials.append(_trial(row, accuracies.get(row["id"], {}), costs.get(row["id"])))
    if any(trial.state == "done" and trial.id not in expected for trial in trials):
        return trials  # the search has gone on since: what is expected would not compare with what is measured
    return [dataclasses.replace(trial, expected=expected.get(trial.id)) for trial in trials]


def read_events(path, rows):
    """Returns a list of `(event, trial id)` of rows of `events`.

    Raises:
        UserError: they cannot have happened in this order.
    """
    events, running = [], set()
    for row in rows:
        with _named(path, "events", f"row {row['id']}"):
            event, trial_id = _text(row, "event"), _number(row, "trial_id")
            is_of_running = event in (TOLD, FAILED, PROMOTED)
            if event not in (ASKED, TOLD, FAILED, REOPENED, PROMOTED) or is_of_running != (trial_id in running):
                raise ValueError(f"event is {event!r}, of trial {trial_id}. What was before it does not lead there")
            (running.discard if event in (TOLD, FAILED) else running.add)(trial_id)
            events.append((event, trial_id))
    return events


def events_of_batches(path, rows):
    """Returns what `read_events` does of the rows of `trials` of an earlier version, which wrote no events.

    It asked for a batch of trials at once, and told of them in their order once all of them were finished.
    """
    events, batches = [], {}
    for row in rows:
        with _named(path, "trials", f"trial {row['id']}"):
            if not _text(row, "note").startswith(WARM_START):
                batches.setdefault(_text(row, "started_at"), []).append(row)
    for batch in batches.values():
        events += [(ASKED, row["id"]) for row in batch]
        events += [(TOLD if row["error"] is None else FAILED, row["id"]) for row in batch if row["state"] != "running"]
    return events


def read_measurements(path, trial_id, rows):
    """Returns the rows of `measurements` of a trial, with `details` as a dict."""
    with _named(path, "measurements", f"trial {trial_id}"):
        return [{**row, "value": _number(row, "value"), "details": _object(row, "details")} for row in rows]


def read_spent(path, rows):
    """Returns what `Records.spent` does, of rows of `measurements` with their `id`."""
    spent = {}
    for row in rows:
        with _named(path, "measurements", f"row {row['id']}"):
            details = _object(row, "details")
            spent[row["kind"]] = spent.get(row["kind"], 0.0) + (_or_none(_number, details, "seconds") or 0.0)
    return spent


def read_known(path, measurements, infeasible):
    """Returns the `KnownOfArchitecture` that rows say, of which the first of each kind counts.

    Args:
        path: of the file.
        measurements: rows of `measurements`.
        infeasible: rows of `trials` that are infeasible.
    """
    found, rungs, first = {}, {}, None
    for row in measurements:
        with _named(path, "measurements", f"trial {row['trial_id']}"):
            if row["kind"] != "accuracy":
                found.setdefault("cost", Known(row["trial_id"], _cost(row)))
                continue
            first = row["trial_id"] if first is None else first
            if row["trial_id"] == first:
                _add_rung(rungs, row)
    found["accuracies"] = tuple(Known(first, each) for each in rungs.values())
    for row in infeasible:
        with _named(path, "trials", f"trial {row['id']}"):
            found.setdefault("infeasible", Known(row["id"], _text(row, "infeasible")))
    return KnownOfArchitecture(**found)


def read_published(path, measurements):
    """Returns a dict from published network to its `nas_tf.trial.Cost`, of rows of `measurements` with their `id`."""
    found = {}
    for row in measurements:
        with _named(path, "measurements", f"row {row['id']}"):
            found[_text(_object(row, "details"), "network")] = _cost(row)
    return found


def read_hours(path, sessions):
    """Returns the hours that sessions took, a float, of rows of `sessions` with their `id`."""
    seconds = 0.0
    for row in sessions:
        with _named(path, "sessions", f"row {row['id']}"):
            took = _moment(row, "last_seen_at") - _moment(row, "started_at")
            seconds += max(0.0, took.total_seconds())  # earlier versions wrote what the clock on the wall said
    return seconds / 3600


def read_identity(path, rows):
    """Returns the dict in the one row of `identity`, or None if there is no row."""
    for row in rows:
        with _named(path, "identity", "row 1"):
            return _object(row, "value")
    return None


def cost_json(cost):
    """Returns a dict that holds a `nas_tf.trial.Cost`, for the details of a measurement."""
    figures = cost.latency.to_json() if cost.latency else {}
    latency = {"latency": {name: value for name, value in figures.items() if value is not None}} if figures else {}
    return {**{name: getattr(cost, name) for name in (*_SIZES, "tflite_bytes")}, **latency}


def to_text(value):
    """Returns a value as JSON without spaces: a search may have 20,000 trials.

    Raises:
        EvaluationError: it holds nan or infinity, which could not be read again.
    """
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise EvaluationError(f"Expected finite numbers to record. Received: {value}") from error


@contextlib.contextmanager
def _named(path, table, row):
    """Returns a context in which a row is read: what is wrong with its values becomes a `UserError` that names it."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{path}, table {table}, {row}: {first_line(error)}. Restore a copy of it, or choose another --run_dir"
        ) from error


def _trial(row, accuracies, cost):
    measurement, accuracy = None, next(reversed(accuracies.values()), None)
    if accuracy is not None and cost is not None:
        rungs = tuple(each[0] for each in accuracies.values()) if None not in accuracies else ()
        measurement = Measurement(_number(row, "accuracy"), cost, _number(row, "train_seconds"), accuracy[2], rungs)
    trial = Trial(
        id=row["id"],
        tokens=_tokens(row),
        note=_text(row, "note"),
        measurement=measurement,
        reward=_or_none(_number, row, "reward"),
        infeasible=_or_none(_text, row, "infeasible"),
        error=_or_none(_text, row, "error"),
        fingerprint=_text(row, "fingerprint"),
    )
    if trial.state == "done" and measurement is None:
        raise ValueError("it has a reward and no measurement")
    if accuracy is not None and row["accuracy"] != accuracy[0]:
        raise ValueError(f"accuracy is {row['accuracy']}, and {accuracy[0]} in the table measurements")
    if cost is not None and row["latency_ms"] != (cost.latency and cost.latency.latency_ms):
        raise ValueError(f"latency_ms is {row['latency_ms']}, and the table measurements has another")
    return trial


def _add_rung(found, row):
    """Adds an accuracy to a dict from rung to what `_accuracy` reads; the key is None in a search without rungs."""
    rung = _or_none(_number, _object(row, "details"), "rung")
    if (rung is not None and rung > len(found)) or (found and (rung is None) != (None in found)):
        raise ValueError(f"rung is {rung}. Expected the rungs one after the other, from 0")
    found.setdefault(rung, _accuracy(row))


def _accuracy(row):
    details, accuracy = _object(row, "details"), _number(row, "value")
    if not 0 <= accuracy <= 1:
        raise ValueError(f"value is {accuracy}. Expected an accuracy in [0, 1]")
    return accuracy, _number(details, "train_seconds"), _or_none(_number, details, "standard_error")


def _cost(row):
    details = _object(row, "details")
    sizes = {name: _number(details, name) for name in _SIZES}
    tflite_bytes = _or_none(_number, details, "tflite_bytes")
    has_latency = row["kind"] == "latency" or "latency" in details
    return Cost(**sizes, tflite_bytes=tflite_bytes, latency=_latency(details) if has_latency else None)


def _latency(details):
    figures = _value(details, "latency")
    if not isinstance(figures, dict):
        raise ValueError(f"latency is {figures!r}. Expected an object")
    for name in figures.keys() - {"statistic", "details"}:
        _or_none(_number, figures, name)
    latency = Latency(**figures)
    _number({"latency": latency.latency_ms}, "latency")
    return latency


def _text(values, name):
    """Returns a value that must be text."""
    value = _value(values, name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}. Expected text")
    return value


def _number(values, name):
    """Returns a value that must be a finite number."""
    value = _value(values, name)
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}. Expected a finite number")
    return value


def _moment(values, name):
    """Returns a value that must be a date with a time, as a `datetime`."""
    value = datetime.datetime.fromisoformat(_text(values, name))
    return value if value.tzinfo else value.replace(tzinfo=datetime.UTC)


def _value(values, name):
    if name not in values:
        raise ValueError(f"{name} is missing")
    if values[name] is None:
        raise ValueError(f"{name} is NULL")
    return values[name]


def _or_none(read, values, name):
    return None if values.get(name) is None else read(values, name)


def _tokens(row):
    tokens = _json(row, "tokens")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise ValueError(f"tokens is {row['tokens']!r}. Expected a list of whole numbers")
    return tuple(tokens)


def _object(row, name):
    value = _json(row, name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {row[name]!r}. Expected an object")
    return value


def _json(row, name):
    written = _text(row, name)
    try:
        return parse_json(written)
    except ValueError as error:
        raise ValueError(f"{name} is no JSON of finite numbers: {error}") from error
