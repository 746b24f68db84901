"""The SQLite file of a run, which no other module reads or writes.

Each fact is written in a transaction of its own, so that a kill loses nothing that is finished.
"""

from nas_tf.search import _rows
from nas_tf.search._database import Database, text_now
from nas_tf.search._rows import ASKED, FAILED, PROMOTED, REOPENED, TOLD, WARM_START, Known, KnownOfArchitecture

__all__ = ["ASKED", "FAILED", "PROMOTED", "REOPENED", "TOLD", "WARM_START", "Known", "KnownOfArchitecture", "Records"]


class Records(Database):
    """Trials and measurements of one run folder; with the path None they are kept in memory.

    Raises:
        UserError: the file is damaged, of another version, locked for a minute or cannot be written, or it lies on a
            network file system. Any method that reads raises it for a row that cannot be.
        EvaluationError: the file is locked for a minute, the disk is full, or the file can no longer be written (from
            any method).
    """

    def hours(self):
        """Returns the hours that all sessions of this run have taken so far, a float."""
        return _rows.read_hours(self._path, self._read("SELECT rowid AS id, * FROM sessions"))

    def add_trials(self, trials, event=None):
        """Records `(nas_tf.trial.Trial, architecture)` pairs as running, all or none, and what happened if anything."""
        now, to_text = text_now(), _rows.to_text
        rows = [
            (trial.id, to_text(trial.tokens), trial.note, to_text(each.to_json()), each.fingerprint, now)
            for trial, each in trials
        ]
        with self.transaction() as db:
            db.executemany(
                "INSERT INTO trials (id, tokens, note, architecture, fingerprint, started_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._happened(db, event, [trial.id for trial, _ in trials])

    def add_accuracy(self, trial_id, judge, accuracy, train_seconds, standard_error, details, rung=None):
        """Records a trial's accuracy by the judge of that name; `standard_error` is None where it is not known.

        In a search with rungs it is that of a `rung`, from 0, and those of a trial come in their order.
        """
        rungs = {} if rung is None else {"rung": rung}
        details = {**details, "train_seconds": train_seconds, "standard_error": standard_error, **rungs}
        with self.transaction() as db:
            self._measure(db, trial_id, "accuracy", judge, None, accuracy, details)
            db.execute(
                "UPDATE trials SET accuracy = ?, train_seconds = COALESCE(train_seconds, 0) + ?, worker = ? "
                "WHERE id = ?",
                (accuracy, train_seconds, details.get("worker"), trial_id),
            )

    def promote(self, trial_id):
        """Records that a running trial goes on to the next rung."""
        with self.transaction() as db:
            self._happened(db, PROMOTED, [trial_id])

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
        query = "SELECT rowid AS id, * FROM measurements WHERE trial_id IS NULL AND kind != 'accuracy' ORDER BY rowid"
        return _rows.read_published(self._path, self._read(query))

    def add_full_accuracy(self, trial_id, architecture, split, accuracy, details):
        """Records the accuracy, on a split, of a trial's network trained to ship. A second call does nothing."""
        details = {**details, "architecture": str(architecture), "split": split}
        row = (trial_id, "accuracy", _rows.FULL_TRAINING, accuracy, _rows.to_text(details))
        query = "SELECT 1 FROM measurements WHERE (trial_id, kind, judge, value, details) = (?, ?, ?, ?, ?)"
        with self.transaction() as db:
            if db.execute(query, row).fetchone() is None:
                self._measure(db, trial_id, "accuracy", _rows.FULL_TRAINING, None, accuracy, details)

    def add_finished(self, trial, architecture, device_id, judge):
        """Records a trial of another run, with its measurement and with its reward in this run."""
        facts = trial.measurement
        self.add_trials([(trial, architecture)])
        self.add_cost(trial.id, facts.cost, device_id, {"note": trial.note})
        for rung, accuracy in enumerate(facts.rungs[:-1]):
            self.add_accuracy(trial.id, judge, accuracy, 0.0, None, {"note": trial.note}, rung)
        last, rest = len(facts.rungs) - 1 if facts.rungs else None, (facts.train_seconds, facts.standard_error)
        self.add_accuracy(trial.id, judge, facts.accuracy, *rest, {"note": trial.note}, last)
        self.finish(trial)

    def finish(self, trial, event=None):
        """Records a trial's reward, or why it has none, and what happened if anything."""
        with self.transaction() as db:
            db.execute(
                "UPDATE trials SET reward = ?, infeasible = ?, error = ?, finished_at = ? WHERE id = ?",
                (trial.reward, trial.infeasible, trial.error, text_now(), trial.id),
            )
            self._happened(db, event, [trial.id])

    def happened(self, event, trial_id):
        """Records that something happened to a trial that is finished already."""
        with self.transaction() as db:
            self._happened(db, event, [trial_id])

    def retry(self, trial_ids):
        """Makes failed trials running again, long after: of what comes of them the algorithm is not told."""
        with self.transaction() as db:
            self.reopen(trial_ids)
            db.executemany(
                "UPDATE trials SET note = ltrim(note || ? , ' ') WHERE id = ?",
                [(f" {_rows.RETRIED}", trial_id) for trial_id in trial_ids],
            )

    def reopen(self, trial_ids, event=None):
        """Makes failed trials running again, and records what happened if anything."""
        with self.transaction() as db:
            db.executemany(
                "UPDATE trials SET error = NULL, finished_at = NULL WHERE id = ?",
                [(trial_id,) for trial_id in trial_ids],
            )
            self._happened(db, event, trial_ids)

    def events(self):
        """Returns a list of `(event, trial id)` in the order in which they happened.

        An event is ASKED, TOLD, FAILED, REOPENED or PROMOTED.

        In the file of an earlier version they are worked out: there, trials were asked for and told of in batches.
        """
        if not self._has_table("events"):
            events = _rows.events_of_batches(self._path, self._read("SELECT * FROM trials ORDER BY id"))
            with self.transaction() as db:
                db.execute(_rows.EVENTS)
                for event, trial_id in events:
                    self._happened(db, event, [trial_id])
        rows = self._read("SELECT id, trial_id, event FROM events ORDER BY id")
        return _rows.read_events(self._path, rows)

    def trials(self):
        """Returns a list of all `nas_tf.trial.Trial`s in order of id."""
        measured = self._read(
            "SELECT * FROM measurements WHERE trial_id IS NOT NULL AND judge != ? ORDER BY rowid",
            (_rows.FULL_TRAINING,),
        )
        expected = self._read("SELECT * FROM expectations") if self._has_table("expectations") else []
        return _rows.read_trials(self._path, self._read("SELECT * FROM trials ORDER BY id"), measured, expected)

    def expect(self, accuracies):
        """Records what the algorithm expects, a dict from a trial's id to an accuracy, in place of earlier ones."""
        with self.transaction() as db:
            if not self._has_table("expectations"):  # as in the file of an earlier version
                db.execute(_rows.EXPECTATIONS)
            db.execute("DELETE FROM expectations")
            db.executemany("INSERT INTO expectations VALUES (?, ?)", accuracies.items())

    def measurements(self, trial_id):
        """Returns a list of a dict for each measurement of a trial: kind, judge, device_id, value, details."""
        query = "SELECT kind, judge, device_id, value, details FROM measurements WHERE trial_id = ? ORDER BY rowid"
        return _rows.read_measurements(self._path, trial_id, self._read(query, (trial_id,)))

    def spent(self):
        """Returns a dict from kind of measurement to the seconds that workers spent on it."""
        rows = self._read("SELECT rowid AS id, kind, details FROM measurements WHERE trial_id IS NOT NULL")
        return _rows.read_spent(self._path, rows)

    def known(self, fingerprint, only_trial=None):
        """Returns what is `Known` of the architecture of this fingerprint, from the first trial that says it.

        With `only_trial`, an id, of the measurements only that trial's own are known.
        """
        # Of thousands of trials of one architecture only the first that says something is looked at.
        measured = []
        for kinds in ("kind = 'accuracy'", "kind != 'accuracy'"):
            first = self._read(
                f"SELECT m.trial_id FROM trials t JOIN measurements m ON m.trial_id = t.id WHERE t.fingerprint = ? "
                f"AND m.{kinds} AND m.judge != ? AND t.id = COALESCE(?, t.id) ORDER BY t.id LIMIT 1",
                (fingerprint, _rows.FULL_TRAINING, only_trial),
            )
            measured += self._read(
                f"SELECT * FROM measurements WHERE trial_id = ? AND {kinds} AND judge != ? ORDER BY rowid",
                (first[0]["trial_id"] if first else None, _rows.FULL_TRAINING),
            )
        refused = self._read(
            "SELECT id, infeasible FROM trials WHERE fingerprint = ? AND infeasible IS NOT NULL ORDER BY id LIMIT 1",
            (fingerprint,),
        )
        return _rows.read_known(self._path, measured, refused)

    def set_identity(self, identity):
        """Records a JSON-ready dict of everything that decides a measurement of the run, in place of an earlier one."""
        with self.transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS identity (value TEXT NOT NULL)")  # version 0.1 made none
            db.execute("DELETE FROM identity")
            db.execute("INSERT INTO identity VALUES (?)", (_rows.to_text(identity),))

    def identity(self):
        """Returns the dict that `set_identity` recorded, or None, as in the file of an earlier version."""
        if not self._has_table("identity"):
            return None
        return _rows.read_identity(self._path, self._read("SELECT value FROM identity"))

    def add_device(self, device_id, description):
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO devices VALUES (?, ?)", (device_id, _rows.to_text(description)))

    def _measure_cost(self, db, trial_id, cost, device_id, details):
        details = {**details, **_rows.cost_json(cost)}
        if cost.latency:
            self._measure(db, trial_id, "latency", device_id.split("-")[0], device_id, cost.latency.latency_ms, details)
        else:
            self._measure(db, trial_id, "size", "keras", None, cost.num_params, details)

    @staticmethod
    def _happened(db, event, trial_ids):
        if event is not None:
            rows = [(trial_id, event) for trial_id in trial_ids]
            db.executemany("INSERT INTO events (trial_id, event) VALUES (?, ?)", rows)

    @staticmethod
    def _measure(db, trial_id, kind, judge, device_id, value, details):
        db.execute(
            "INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?)",
            (trial_id, kind, judge, device_id, value, _rows.to_text(details)),
        )
