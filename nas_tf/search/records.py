"""The SQLite file of a run, which no other module reads or writes.

Each fact is written in a transaction of its own, so that a kill loses nothing that is finished.
"""

import contextlib
import dataclasses
import datetime
import json
import pathlib
import sqlite3

from nas_tf.files import refuse_network_file_system
from nas_tf.trial import Cost, EvaluationError, Latency, Measurement, Trial, UserError

_SCHEMA = """
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
PRAGMA user_version = 1;
"""
_FULL_TRAINING = "full training"  # the judge of a trial's network that was trained to ship


@dataclasses.dataclass(frozen=True)
class Known:
    """A fact, and the trial that it was found in."""

    trial_id: int
    value: object


@dataclasses.dataclass(frozen=True)
class KnownOfArchitecture:
    """What the trials of a run say of one architecture; None for what none of them says.

    Attributes:
        accuracy: the value is `(accuracy, train_seconds)`.
        cost: the value is a `nas_tf.trial.Cost`.
        infeasible: the value is the reason.
    """

    accuracy: Known | None = None
    cost: Known | None = None
    infeasible: Known | None = None


class Records:
    """Trials and measurements of one run folder.

    Raises:
        UserError: the file is damaged, of another version or cannot be written, or it lies on a network file system.
        EvaluationError: the disk is full (from any method that writes).
    """

    def __init__(self, path, *, read_only=False):
        self._path = pathlib.Path(path)
        if not read_only:
            refuse_network_file_system(self._path.parent)
        exists = self._path.exists()
        if read_only and not exists:
            raise UserError(f"Expected a run folder with trials.sqlite. There is no file {str(path)!r}")
        with self._as_user_error():
            mode = "ro" if read_only else "rwc"
            self._db = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            if self._db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check found damage")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if not read_only:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
            if version == 0 and not read_only:
                self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            elif version != 1:
                raise UserError(f"Expected {self._path} to be of version 1. Received: version {version}")
        self._session = None

    def close(self):
        self._db.close()

    def begin_session(self):
        """Starts counting this process's hours."""
        with self.transaction() as db:
            self._session = db.execute("INSERT INTO sessions VALUES (?, ?)", (_now(), _now())).lastrowid

    def hours(self):
        """Returns the hours that all sessions of this run have taken so far, a float."""
        query = "SELECT COALESCE(SUM(julianday(last_seen_at) - julianday(started_at)), 0) * 24 FROM sessions"
        return self._db.execute(query).fetchone()[0]

    def add_trials(self, trials):
        """Records `(nas_tf.trial.Trial, architecture)` pairs as running, all or none."""
        rows = [
            (trial.id, json.dumps(trial.tokens), trial.note, json.dumps(each.to_json()), each.fingerprint, _now())
            for trial, each in trials
        ]
        with self.transaction() as db:
            db.executemany(
                "INSERT INTO trials (id, tokens, note, architecture, fingerprint, started_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )

    def add_accuracy(self, trial_id, judge, accuracy, train_seconds, details):
        """Records a trial's accuracy by the judge of that name."""
        details = {**details, "train_seconds": train_seconds}
        with self.transaction() as db:
            self._measure(db, trial_id, "accuracy", judge, None, accuracy, details)
            db.execute(
                "UPDATE trials SET accuracy = ?, train_seconds = ?, worker = ? WHERE id = ?",
                (accuracy, train_seconds, details.get("worker"), trial_id),
            )

    def add_cost(self, trial_id, cost, device_id, details):
        """Records the cost of a trial's deployment network: kind `latency`, or `size` if no device was asked."""
        latency_ms = cost.latency.latency_ms if cost.latency else None
        with self.transaction() as db:
            self._measure_cost(db, trial_id, cost, device_id, details)
            db.execute(
                "UPDATE trials SET latency_ms = ?, num_params = ?, mult_adds = ? WHERE id = ?",
                (latency_ms, cost.num_params, cost.mult_adds, trial_id),
            )

    def add_published(self, name, cost, device_id):
        """Records the cost of a published network, which belongs to no trial."""
        with self.transaction() as db:
            self._measure_cost(db, None, cost, device_id, {"network": name})

    def published(self):
        """Returns a dict from published network to its `nas_tf.trial.Cost`, in the order of recording."""
        query = "SELECT details FROM measurements WHERE trial_id IS NULL AND kind != 'accuracy' ORDER BY rowid"
        details = [json.loads(row["details"]) for row in self._db.execute(query)]
        return {each["network"]: _cost(each) for each in details}

    def add_full_accuracy(self, trial_id, architecture, split, accuracy, details):
        """Records the accuracy, on a split, of a trial's network trained to ship. A second call does nothing."""
        details = {**details, "architecture": str(architecture), "split": split}
        row = (trial_id, "accuracy", _FULL_TRAINING, accuracy, json.dumps(details))
        query = "SELECT 1 FROM measurements WHERE (trial_id, kind, judge, value, details) = (?, ?, ?, ?, ?)"
        with self.transaction() as db:
            if db.execute(query, row).fetchone() is None:
                self._measure(db, trial_id, "accuracy", _FULL_TRAINING, None, accuracy, details)

    def add_finished(self, trial, architecture, device_id, judge):
        """Records a trial of another run, with its measurement and with its reward in this run."""
        facts = trial.measurement
        self.add_trials([(trial, architecture)])
        self.add_cost(trial.id, facts.cost, device_id, {"note": trial.note})
        self.add_accuracy(trial.id, judge, facts.accuracy, facts.train_seconds, {"note": trial.note})
        self.finish(trial)

    def finish(self, trial):
        """Records a trial's reward, or why it has none."""
        with self.transaction() as db:
            db.execute(
                "UPDATE trials SET reward = ?, infeasible = ?, error = ?, finished_at = ? WHERE id = ?",
                (trial.reward, trial.infeasible, trial.error, _now(), trial.id),
            )

    def reopen(self, trial_ids):
        """Makes failed trials running again."""
        with self.transaction() as db:
            db.executemany(
                "UPDATE trials SET error = NULL, finished_at = NULL WHERE id = ?",
                [(trial_id,) for trial_id in trial_ids],
            )

    def trials(self):
        """Returns a list of all `nas_tf.trial.Trial`s in order of id."""
        accuracies = {
            row["trial_id"]: row for row in self._of_trials(f"kind = 'accuracy' AND judge != '{_FULL_TRAINING}'")
        }
        costs = {row["trial_id"]: _cost(json.loads(row["details"])) for row in self._of_trials("kind != 'accuracy'")}
        trials = []
        for row in self._db.execute("SELECT * FROM trials ORDER BY id"):
            measurement = None
            if row["id"] in accuracies and row["id"] in costs:
                measurement = Measurement(row["accuracy"], costs[row["id"]], row["train_seconds"])
            trials.append(
                Trial(
                    row["id"],
                    tuple(json.loads(row["tokens"])),
                    row["note"],
                    measurement,
                    row["reward"],
                    row["infeasible"],
                    row["error"],
                )
            )
        return trials

    def known(self, fingerprint):
        """Returns what is `Known` of the architecture of this fingerprint, from the first trial that says it."""
        accuracy = cost = infeasible = None
        query = (
            "SELECT m.* FROM measurements m JOIN trials t ON t.id = m.trial_id WHERE t.fingerprint = ? "
            f"AND m.judge != '{_FULL_TRAINING}' ORDER BY m.trial_id"
        )
        for row in self._db.execute(query, (fingerprint,)):
            details = json.loads(row["details"])
            if row["kind"] == "accuracy":
                accuracy = accuracy or Known(row["trial_id"], (row["value"], details["train_seconds"]))
            else:
                cost = cost or Known(row["trial_id"], _cost(details))
        query = "SELECT id, infeasible FROM trials WHERE fingerprint = ? AND infeasible IS NOT NULL ORDER BY id"
        for row in self._db.execute(query, (fingerprint,)):
            infeasible = infeasible or Known(row["id"], row["infeasible"])
        return KnownOfArchitecture(accuracy, cost, infeasible)

    def add_device(self, device_id, description):
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO devices VALUES (?, ?)", (device_id, json.dumps(description)))

    def _of_trials(self, where):
        return self._db.execute(
            f"SELECT * FROM measurements WHERE trial_id IS NOT NULL AND {where} ORDER BY rowid DESC"
        )

    def _measure_cost(self, db, trial_id, cost, device_id, details):
        details = {**details, **_cost_json(cost)}
        if cost.latency:
            self._measure(db, trial_id, "latency", device_id.split("-")[0], device_id, cost.latency.latency_ms, details)
        else:
            self._measure(db, trial_id, "size", "keras", None, cost.num_params, details)

    @staticmethod
    def _measure(db, trial_id, kind, judge, device_id, value, details):
        db.execute(
            "INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?)",
            (trial_id, kind, judge, device_id, value, json.dumps(details)),
        )

    @contextlib.contextmanager
    def transaction(self):
        """Returns a context in which either everything is written or nothing. It yields the database connection."""
        if self._db.in_transaction:
            yield self._db
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                if self._session is not None:
                    self._db.execute("UPDATE sessions SET last_seen_at = ? WHERE rowid = ?", (_now(), self._session))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise EvaluationError(
                f"Cannot write {self._path}: {error}. Everything finished before is kept: free some space, "
                "see that the folder is writable, and give the same command again"
            ) from error

    @contextlib.contextmanager
    def _as_user_error(self):
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UserError(
                f"Cannot open {self._path}: {error}. Expected a writable folder on a local disk that no other search "
                "uses"
            ) from error
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"{self._path} is damaged ({error}). Expected the records of a search: restore a copy of it, or choose "
                "another --run_dir"
            ) from error


def _cost_json(cost):
    names = ("num_params", "mult_adds", "peak_activation_bytes", "tflite_bytes")
    latency = {"latency": cost.latency.to_json()} if cost.latency else {}
    return {**{name: getattr(cost, name) for name in names}, **latency}


def _cost(details):
    latency = Latency(**details["latency"]) if "latency" in details else None
    names = ("num_params", "mult_adds", "peak_activation_bytes", "tflite_bytes")
    return Cost(**{name: details[name] for name in names}, latency=latency)


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
