"""The SQLite file itself: opened, locked by others, written in transactions, brought over whole.

A lock that another program holds is waited for.
"""

import contextlib
import datetime
import os
import pathlib
import sqlite3
import sys
import time

from nas_tf.files import refuse_network_file_system
from nas_tf.search import _rows, _sqlite_errors
from nas_tf.trial import EvaluationError, UserError

_SILENT_SECONDS = 5.0  # for which a lock is waited for before that is said
_PATIENT_SECONDS = 60.0  # for which it is waited for in all
_CHECKPOINT_SECONDS = 1.0  # for which `make_whole` waits for readers


class Database:
    """The file of one run, with the tables of `_rows.SCHEMA`; with the path None it is kept in memory.

    Raises:
        UserError: the file is damaged, of another version, locked for a minute or cannot be written, or it lies on a
            network file system.
        EvaluationError: the file is locked for a minute, the disk is full, or the file can no longer be written (from
            any method).
    """

    def __init__(self, path, *, read_only=False):
        self._in_memory = path is None
        self._path, self._read_only, self._session = pathlib.Path(path or "memory"), read_only, None
        if self._in_memory:
            pass
        elif not read_only:
            refuse_network_file_system(self._path.parent)
        elif not self._path.exists():
            raise UserError(f"Expected a run folder with trials.sqlite. There is no file {str(path)!r}")
        with self._in_words("open"):
            if read_only:
                self._open_to_read()
            else:
                self._open("mode=rwc")
                self._prepare_to_write()
            version = self._version()
            if version != 1:
                raise UserError(f"Expected {self._path} to be of version 1. Received: version {version}")

    def _open(self, how):
        uri = "file::memory:" if self._in_memory else f"{self._path.resolve().as_uri()}?{how}"
        self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_SILENT_SECONDS)
        self._db.row_factory = sqlite3.Row
        try:
            if self._patiently("PRAGMA quick_check")[0][0] != "ok":
                raise sqlite3.DatabaseError("quick_check found damage")
        except sqlite3.DatabaseError:
            self._db.close()
            raise

    def _open_to_read(self):
        """Opens the file to read, also in a folder that cannot be written, where SQLite cannot make its lock's file."""
        try:
            self._open("mode=ro")
        except sqlite3.OperationalError as error:
            log = self._path.with_name(f"{self._path.name}-wal")
            if not _sqlite_errors.is_unwritable(error) or os.access(self._path.parent, os.W_OK):
                raise
            if log.exists() and log.stat().st_size:
                raise UserError(
                    f"{self._path} lies in a folder that cannot be written, and its latest records in {log.name}, "
                    "which can be read only in one that can. Copy the folder, and give the copy"
                ) from error
            self._open("mode=ro&immutable=1")

    def _prepare_to_write(self):
        self._patiently("PRAGMA journal_mode = WAL")
        self._patiently("PRAGMA synchronous = NORMAL")
        if self._version() == 0:
            with self._raw_transaction() as db:
                if self._version() == 0:  # another search may have made the tables meanwhile
                    for statement in _rows.SCHEMA.split(";"):
                        db.execute(statement)

    def _version(self):
        return self._patiently("PRAGMA user_version")[0][0]

    def close(self):
        """Closes the file, which is whole by then unless another program reads it or the disk is full."""
        with contextlib.suppress(EvaluationError, sqlite3.ProgrammingError):  # the latter: it is closed
            self.make_whole()
        self._db.close()

    def make_whole(self):
        """Brings all that is recorded into the file trials.sqlite itself, so that a copy of it alone is whole.

        What a program reads meanwhile stays in the log beside the file until the next call.
        """
        if self._read_only or self._in_memory:
            return
        with self._in_words("write"):
            self._db.execute(f"PRAGMA busy_timeout = {round(1000 * _CHECKPOINT_SECONDS)}")
            try:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self._db.execute(f"PRAGMA busy_timeout = {round(1000 * _SILENT_SECONDS)}")

    def begin_session(self):
        """Starts counting this process's hours."""
        start, clock = _now(), time.monotonic()
        with self.transaction() as db:
            written = start.isoformat(timespec="milliseconds")
            row_id = db.execute("INSERT INTO sessions VALUES (?, ?)", (written, written)).lastrowid
            self._session = row_id, start, clock

    def _has_table(self, name):
        return bool(self._read("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)))

    def _read(self, query, values=()):
        """Returns a list of a dict for each row that a query finds."""
        with self._in_words("read"):
            return [dict(row) for row in self._patiently(query, values)]

    @contextlib.contextmanager
    def transaction(self):
        """Returns a context in which either everything is written or nothing. It yields the database connection."""
        if self._db.in_transaction:
            yield self._db
            return
        with self._in_words("write"), self._raw_transaction() as db:
            yield db

    @contextlib.contextmanager
    def _raw_transaction(self):
        self._patiently("BEGIN IMMEDIATE")
        try:
            yield self._db
            if self._session is not None:
                # The clock on the wall may be set back or forward meanwhile.
                row_id, start, clock = self._session
                seen = start + datetime.timedelta(seconds=time.monotonic() - clock)
                values = (seen.isoformat(timespec="milliseconds"), row_id)
                self._db.execute("UPDATE sessions SET last_seen_at = ? WHERE rowid = ?", values)
            self._patiently("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _patiently(self, statement, values=()):
        """Returns the rows of a statement, and waits while another program's lock keeps it from running."""
        begin, is_told = time.monotonic(), False
        while True:
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - begin
                if not _sqlite_errors.is_locked(error) or waited >= _PATIENT_SECONDS:
                    raise
            if waited >= _SILENT_SECONDS and not is_told:
                print(
                    f"{self._path} is locked by another program, such as an open SQL shell; waiting up to a minute",
                    file=sys.stderr,
                    flush=True,
                )
                is_told = True
            time.sleep(0.05)  # SQLite itself waits for most locks, but not for all

    @contextlib.contextmanager
    def _in_words(self, doing):
        """Returns a context in which an error of SQLite's becomes one that says what is wrong and what to do."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            raise _sqlite_errors.in_words(error, self._path, doing) from error


def _now():
    return datetime.datetime.now(datetime.UTC)


def text_now():
    return _now().isoformat(timespec="milliseconds")
