"""The SQLite file: what is written is there after any end, and bad files are refused."""

import contextlib
import dataclasses
import datetime
import json
import math
import multiprocessing
import os
import pathlib
import shutil
import sqlite3
import tempfile
import threading
import time

import pytest

from nas_tf.files import refuse_network_file_system
from nas_tf.search import _database as database_module
from nas_tf.search.records import Known, KnownOfArchitecture, Records
from nas_tf.trial import Cost, EvaluationError, Latency, Measurement, Trial, UserError


@dataclasses.dataclass(frozen=True)
class Net:
    name: str

    fingerprint = property(lambda self: f"print-{self.name}")

    def to_json(self):
        return {"name": self.name}


COST = Cost(10, 200, 30, 400, Latency(2.0, 0.1, 50, 1.9, 2.5))
ESTIMATE = Cost(10, 200, 30, latency=Latency.estimate(3.5))


@pytest.fixture
def records(tmp_path):
    records = Records(tmp_path / "trials.sqlite")
    yield records
    records.close()


def test_a_trial_comes_back_as_it_went_in(records):
    records.add_trials([(Trial(1, (0, 2), "untrained"), Net("a")), (Trial(2, (1, 1)), Net("b"))])
    assert [trial.state for trial in records.trials()] == ["running", "running"]
    records.add_cost(1, COST, "host-1234", {})
    records.add_accuracy(1, "proxy", 0.75, 12.5, 0.02, {"worker": "w"})
    assert records.trials()[0].reward is None
    done = Trial(1, (0, 2), "untrained", Measurement(0.75, COST, 12.5, 0.02), 0.7)
    records.finish(done)
    failed = Trial(2, (1, 1), error="Traceback ...")
    records.finish(failed)
    assert records.trials() == [done, failed]
    assert [trial.fingerprint for trial in records.trials()] == ["print-a", "print-b"]
    records.reopen([2])
    assert records.trials()[1] == Trial(2, (1, 1))


def test_anyone_can_query_it_with_plain_sql(records, tmp_path):
    records.add_trials([(Trial(i, (i,)), Net(str(i))) for i in (1, 2, 3, 4)])
    records.add_cost(1, ESTIMATE, "simulated-1", {})
    records.add_accuracy(1, "proxy", 0.5, 1.0, None, {})
    records.finish(Trial(1, (1,), measurement=Measurement(0.5, ESTIMATE, 1.0), reward=0.4))
    records.finish(Trial(2, (2,), infeasible="diverged", reward=0.0))
    records.finish(Trial(3, (3,), error="lost"))
    db = sqlite3.connect(tmp_path / "trials.sqlite")
    assert db.execute("SELECT id, state, accuracy, latency_ms, reward FROM trials").fetchall() == [
        (1, "done", 0.5, 3.5, 0.4),
        (2, "infeasible", None, None, 0.0),
        (3, "failed", None, None, None),
        (4, "running", None, None, None),
    ]
    columns = {row[1] for row in db.execute("PRAGMA table_xinfo(trials)")}
    assert columns >= {
        "id",
        "tokens",
        "architecture",
        "fingerprint",
        "state",
        "accuracy",
        "latency_ms",
        "num_params",
        "mult_adds",
        "reward",
        "error",
        "worker",
        "train_seconds",
        "started_at",
        "finished_at",
    }
    kinds = db.execute("SELECT trial_id, kind, judge, device_id, value FROM measurements").fetchall()
    assert kinds == [(1, "latency", "simulated", "simulated-1", 3.5), (1, "accuracy", "proxy", None, 0.5)]
    started, finished = db.execute("SELECT started_at, finished_at FROM trials WHERE id = 1").fetchone()
    assert started.endswith("+00:00") and started <= finished
    assert json.loads(db.execute("SELECT tokens FROM trials WHERE id = 2").fetchone()[0]) == [2]
    db.close()


def test_what_is_known_of_an_architecture(records):
    records.add_trials([(Trial(1, (0,)), Net("a")), (Trial(2, (1,)), Net("a")), (Trial(3, (2,)), Net("b"))])
    assert records.known("print-a") == KnownOfArchitecture()
    records.add_cost(1, COST, "host-1", {})
    assert records.known("print-a") == KnownOfArchitecture(cost=Known(1, COST))
    records.add_accuracy(2, "proxy", 0.5, 3.0, 0.02, {})
    records.finish(Trial(3, (2,), infeasible="too large", reward=0.0))
    assert records.known("print-a") == KnownOfArchitecture((Known(2, (0.5, 3.0, 0.02)),), Known(1, COST))
    assert records.known("print-b") == KnownOfArchitecture(infeasible=Known(3, "too large"))


def test_of_a_trial_that_is_measured_anew_only_its_own_measurements_are_known(records):
    records.add_trials([(Trial(i, (i,)), Net("a")) for i in (1, 2, 3)])
    records.add_cost(1, COST, "host-1", {})
    records.add_accuracy(1, "proxy", 0.5, 3.0, None, {})
    records.add_cost(2, ESTIMATE, "host-1", {})
    assert records.known("print-a", 2) == KnownOfArchitecture(cost=Known(2, ESTIMATE))
    assert records.known("print-a", 3) == KnownOfArchitecture()
    assert records.known("print-a") == KnownOfArchitecture((Known(1, (0.5, 3.0, None)),), Known(1, COST))


def test_published_networks_come_back_in_order(records):
    records.add_published("b", ESTIMATE, "simulated-1")
    records.add_published("a", COST, "host-1")
    assert list(records.published().items()) == [("b", ESTIMATE), ("a", COST)]


def test_trials_are_added_all_or_none(records):
    records.add_trials([(Trial(2, (0,)), Net("a"))])
    with pytest.raises(sqlite3.IntegrityError):
        records.add_trials([(Trial(1, (0,)), Net("a")), (Trial(2, (0,)), Net("a"))])
    assert [trial.id for trial in records.trials()] == [2]


def test_hours_add_up_over_sessions(records, tmp_path):
    assert records.hours() == 0
    records.begin_session()
    db = sqlite3.connect(tmp_path / "trials.sqlite")
    db.execute("INSERT INTO sessions VALUES ('2026-01-01T00:00:00+00:00', '2026-01-01T01:30:00+00:00')")
    db.commit()
    db.close()
    assert records.hours() == pytest.approx(1.5, abs=0.01)


def add_done(records, *trial_ids):
    """Records trials of one accuracy and cost as done."""
    for trial_id in trial_ids:
        records.add_trials([(Trial(trial_id, (trial_id,)), Net(str(trial_id)))])
        records.add_cost(trial_id, COST, "host-1", {})
        records.add_accuracy(trial_id, "proxy", 0.5, 1.0, None, {})
        records.finish(Trial(trial_id, (trial_id,), measurement=Measurement(0.5, COST, 1.0), reward=0.4))


def test_a_clock_set_back_or_forward_stretches_no_hours(records, monkeypatch):
    now = datetime.datetime.now(datetime.UTC)
    clock, monotonic = [now], [100.0]
    monkeypatch.setattr(database_module, "_now", lambda: clock[0])
    monkeypatch.setattr(database_module.time, "monotonic", lambda: monotonic[0])
    records.begin_session()
    for hours_set, trial_id in ((-5, 1), (7, 2)):
        clock[0] = now + datetime.timedelta(hours=hours_set)
        monotonic[0] += 1800
        records.add_trials([(Trial(trial_id, (0,)), Net("a"))])
        assert records.hours() == pytest.approx(0.5 * trial_id, abs=1e-6)


def test_a_session_of_an_earlier_version_whose_clock_was_set_back_counts_nothing(records, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "trials.sqlite")) as db:
        db.execute("INSERT INTO sessions VALUES ('2026-01-01T05:00:00+00:00', '2026-01-01T01:30:00+00:00')")
        db.execute("INSERT INTO sessions VALUES ('2026-01-01T05:00:00+00:00', '2026-01-01T07:00:00+00:00')")
        db.commit()
    assert records.hours() == pytest.approx(2.0)


def copied_alone(path, folder):
    """The trials in a copy of the file trials.sqlite without the files beside it."""
    folder.mkdir()
    shutil.copy(path, folder / "trials.sqlite")
    copy = Records(folder / "trials.sqlite", read_only=True)
    trials = copy.trials()
    copy.close()
    return trials


def test_a_copy_of_the_file_alone_is_whole_after_make_whole(records, tmp_path):
    add_done(records, 1, 2, 3)
    records.make_whole()
    assert copied_alone(tmp_path / "trials.sqlite", tmp_path / "copy") == records.trials()
    assert len(records.trials()) == 3


def test_a_copy_of_the_file_alone_is_whole_once_the_records_are_closed(tmp_path):
    path = tmp_path / "trials.sqlite"
    records = Records(path)
    with contextlib.closing(sqlite3.connect(path)) as shell:  # while it is open, SQLite itself brings nothing over
        add_done(records, 1, 2)
        shell.execute("SELECT * FROM trials").fetchall()
        records.close()
        assert [trial.id for trial in copied_alone(path, tmp_path / "copy")] == [1, 2]
    records.close()


def test_a_reader_keeps_the_file_from_being_whole_and_is_no_error(records, tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "_CHECKPOINT_SECONDS", 0.05)
    add_done(records, 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "trials.sqlite", isolation_level=None)) as shell:
        shell.execute("BEGIN")
        shell.execute("SELECT * FROM trials").fetchall()
        add_done(records, 2)
        records.make_whole()
        shell.execute("COMMIT")
    records.make_whole()
    assert [trial.id for trial in copied_alone(tmp_path / "trials.sqlite", tmp_path / "copy")] == [1, 2]


@contextlib.contextmanager
def folder_of_a_run(closed):
    """Yields the path of trials.sqlite, of two trials, in a folder that anyone may read and no one but root write."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        records = Records(folder / "trials.sqlite")
        add_done(records, 1, 2)
        if closed:
            records.close()
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
        try:
            yield folder / "trials.sqlite"
        finally:
            folder.chmod(0o755)
            records.close()


def read_as_a_stranger(path):
    """What a user who may not write the folder reads: the ids of the trials, or the error's text."""
    context = multiprocessing.get_context("fork")  # the Python of root's own home is in no stranger's reach
    ours, theirs = context.Pipe()

    def read():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            theirs.send([trial.id for trial in Records(path, read_only=True).trials()])
        except UserError as error:
            theirs.send(str(error))

    process = context.Process(target=read)
    process.start()
    theirs.close()
    answer = ours.recv()
    process.join()
    return answer


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="this system has no users as Unix has")
def test_a_read_only_run_folder_can_be_read():
    with folder_of_a_run(closed=True) as path:
        assert [each.name for each in path.parent.iterdir()] == ["trials.sqlite"]
        assert read_as_a_stranger(path) == [1, 2]
    with folder_of_a_run(closed=False) as path:  # while the search runs
        assert read_as_a_stranger(path) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="this system has no users as Unix has")
def test_a_read_only_run_folder_whose_log_is_not_in_the_file_is_refused_in_words():
    with folder_of_a_run(closed=False) as path, tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name) / "copy"
        folder.mkdir()
        for file in ("trials.sqlite", "trials.sqlite-wal"):
            shutil.copy(path.with_name(file), folder / file)
        folder.chmod(0o555)
        folder.parent.chmod(0o755)
        said = read_as_a_stranger(folder / "trials.sqlite")
        folder.chmod(0o755)
    assert "lies in a folder that cannot be written" in said and "Copy the folder, and give the copy" in said


@pytest.fixture
def impatient(monkeypatch):
    """Locks are waited for half a second, and that is said after a tenth."""
    monkeypatch.setattr(database_module, "_SILENT_SECONDS", 0.1, raising=False)
    monkeypatch.setattr(database_module, "_PATIENT_SECONDS", 0.5, raising=False)


@contextlib.contextmanager
def open_shell(path, *statements):
    """A connection of another program that has run these statements."""
    shell = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with contextlib.closing(shell):
        for statement in statements:
            shell.execute(statement).fetchone()
        yield shell


LOCKED = r"trials\.sqlite is locked by another program, .*: end its transaction or close it, and give the same command"
WAITING = "trials.sqlite is locked by another program, such as an open SQL shell; waiting up to a minute\n"


def test_a_lock_is_waited_for_a_minute_and_that_is_said_after_five_seconds(impatient, tmp_path, capsys):
    records = Records(tmp_path / "trials.sqlite")
    with open_shell(tmp_path / "trials.sqlite", "BEGIN IMMEDIATE") as shell:
        timer = threading.Timer(0.3, lambda: shell.execute("ROLLBACK"))
        timer.start()
        records.add_trials([(Trial(1, (0,)), Net("a"))])
        timer.join()
    assert [trial.id for trial in records.trials()] == [1]
    assert capsys.readouterr().err == f"{tmp_path}/{WAITING}"
    records.close()


def test_the_waiting_times_are_those_that_are_said():
    assert (database_module._SILENT_SECONDS, database_module._PATIENT_SECONDS) == (5.0, 60.0)


def test_a_lock_that_stays_is_an_error_that_says_what_to_do(impatient, tmp_path, capsys):
    records = Records(tmp_path / "trials.sqlite")
    with open_shell(tmp_path / "trials.sqlite", "BEGIN IMMEDIATE"):
        begin = time.monotonic()
        with pytest.raises(EvaluationError, match=LOCKED) as refused:
            records.add_trials([(Trial(1, (0,)), Net("a"))])
        assert 0.5 <= time.monotonic() - begin < 5
    assert "free some space" not in str(refused.value)
    assert capsys.readouterr().err == f"{tmp_path}/{WAITING}"
    records.add_trials([(Trial(1, (0,)), Net("a"))])
    assert [trial.id for trial in records.trials()] == [1]
    records.close()


def test_a_lock_is_waited_for_at_the_end_of_a_transaction_too(impatient, tmp_path):
    path = tmp_path / "trials.sqlite"
    records = Records(path)
    records._db.execute("PRAGMA journal_mode = DELETE")  # where readers lock writers out, but only from the COMMIT
    with open_shell(path, "BEGIN", "SELECT * FROM trials") as shell:
        timer = threading.Timer(0.3, lambda: shell.execute("COMMIT"))
        timer.start()
        records.add_trials([(Trial(1, (0,)), Net("a"))])
        timer.join()
        shell.execute("BEGIN")
        shell.execute("SELECT * FROM trials").fetchone()
        with pytest.raises(EvaluationError, match=LOCKED):
            records.add_trials([(Trial(2, (0,)), Net("a"))])
    assert [trial.id for trial in records.trials()] == [1]
    records.close()


def test_a_lock_is_waited_for_when_records_are_opened(impatient, tmp_path, capsys):
    path = tmp_path / "trials.sqlite"
    with open_shell(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE") as shell:
        for read_only in (False, True):
            with pytest.raises(UserError, match=LOCKED):
                Records(path, read_only=read_only)
        assert capsys.readouterr().err == 2 * f"{tmp_path}/{WAITING}"
        timer = threading.Timer(0.3, shell.close)
        timer.start()
        Records(path).close()
        timer.join()


def without_constraints(db, table):
    """Makes a table of the same columns that takes any value: what a hand-made repair may leave."""
    db.execute(f"ALTER TABLE {table} RENAME TO old")
    db.execute(f"CREATE TABLE {table} AS SELECT * FROM old")
    db.execute("DROP TABLE old")


DETAILS = json.dumps({"num_params": 1, "mult_adds": 1, "peak_activation_bytes": 1, "tflite_bytes": 1})
DAMAGES = {
    "tokens NULL": ("trials", "UPDATE trials SET tokens = NULL WHERE id = 3", "tokens is NULL"),
    "fingerprint NULL": ("trials", "UPDATE trials SET fingerprint = NULL WHERE id = 3", "fingerprint is NULL"),
    "tokens of JSON": ("trials", "UPDATE trials SET tokens = '[1, ' WHERE id = 3", "tokens is no JSON"),
    "tokens a number": ("trials", "UPDATE trials SET tokens = '3' WHERE id = 3", "Expected a list of whole numbers"),
    "a token of text": ("trials", """UPDATE trials SET tokens = '["a"]' WHERE id = 3""", "Expected a list of whole"),
    "accuracy NULL": ("trials", "UPDATE trials SET accuracy = NULL WHERE id = 3", "accuracy is NULL"),
    "accuracy text": (
        "trials",
        "UPDATE trials SET accuracy = 'good' WHERE id = 3",
        "accuracy is 'good'. Expected a fi",
    ),
    "accuracy of 2": ("trials", "UPDATE trials SET accuracy = 2 WHERE id = 3", "Expected an accuracy in [0, 1]"),
    "seconds NULL": ("trials", "UPDATE trials SET train_seconds = NULL WHERE id = 3", "train_seconds is NULL"),
    "infinite reward": ("trials", "UPDATE trials SET reward = 9e999 WHERE id = 3", "reward is inf. Expected a finite"),
    "no measurement": ("trials", "DELETE FROM measurements WHERE trial_id = 3", "a reward and no measurement"),
    "details NULL": ("measurements", "UPDATE measurements SET details = NULL WHERE trial_id = 3", "details is NULL"),
    "details bytes": ("measurements", "UPDATE measurements SET details = x'00' WHERE trial_id = 3", "Expected text"),
    "details of JSON": ("measurements", "UPDATE measurements SET details = '{' WHERE trial_id = 3", "is no JSON"),
    "details a list": ("measurements", "UPDATE measurements SET details = '[]' WHERE trial_id = 3", "an object"),
    "details of another": ("measurements", "UPDATE measurements SET details = '{}' WHERE trial_id = 3", "is missing"),
    **{
        f"details with {value}": (
            "measurements",
            f"UPDATE measurements SET details = replace(details, '2.0', '{value}') WHERE trial_id = 3",
            f"it holds {value}",
        )
        for value in ("NaN", "Infinity", "-Infinity", "1e999")
    },
    "latency of 0": (
        "measurements",
        "UPDATE measurements SET details = replace(details, '2.0', '0.0') WHERE trial_id = 3",
        "A latency must be finite and > 0 ms",
    ),
    "latency of text": (
        "measurements",
        """UPDATE measurements SET details = replace(details, '2.0', '"fast"') WHERE trial_id = 3""",
        "mean_ms is 'fast'. Expected a finite number",
    ),
    "no latency": (
        "measurements",
        f"UPDATE measurements SET details = '{DETAILS}' WHERE trial_id = 3 AND kind = 'latency'",
        "latency is missing",
    ),
}


@pytest.mark.parametrize("table,statement,words", DAMAGES.values(), ids=DAMAGES)
def test_a_row_that_cannot_be_is_named(records, tmp_path, table, statement, words):
    add_done(records, 1, 2, 3)
    for each in ("trials", "measurements"):
        without_constraints(records._db, each)
    records._db.execute(statement)
    with pytest.raises(UserError) as refused:
        records.trials()
    said = str(refused.value)
    assert said.startswith(f"{tmp_path}/trials.sqlite, table {table}, trial 3: ") and words in said
    assert said.endswith(". Restore a copy of it, or choose another --run_dir") and "\n" not in said
    if table == "measurements":
        with pytest.raises(UserError, match="table measurements, trial 3: "):
            records.known("print-3")


def test_rows_that_belong_to_no_trial_are_named(records):
    records.add_published("a", COST, "host-1")
    records._db.execute("UPDATE measurements SET details = replace(details, '2.0', 'NaN')")
    with pytest.raises(
        UserError, match=r"table measurements, row 1: details is no JSON of finite numbers: it holds NaN"
    ):
        records.published()
    records._db.execute("INSERT INTO sessions VALUES ('2026-01-01T05:00:00+00:00', 'yesterday')")
    with pytest.raises(UserError, match=r"table sessions, row 1: .*'yesterday'.*Restore a copy"):
        records.hours()


def test_numbers_that_could_not_be_read_again_are_not_written(records):
    add_done(records, 1)
    odd = dataclasses.replace(COST, latency=dataclasses.replace(COST.latency, details={"temperature": math.nan}))
    with pytest.raises(EvaluationError, match=r"Expected finite numbers to record\. Received: .*nan"):
        records.add_cost(1, odd, "host-1", {})
    assert records.trials()[0].measurement.cost == COST


def test_damage_that_is_found_while_reading_is_one_line(tmp_path):
    path = tmp_path / "trials.sqlite"
    records = Records(path)
    add_done(records, *range(1, 40))
    records.close()
    records = Records(path, read_only=True)
    content = path.read_bytes()
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\x55" * (len(content) - 4096))
    records._db.execute("PRAGMA shrink_memory")  # forgets the pages that were read before
    with pytest.raises(UserError, match=r"trials\.sqlite is damaged \(.*\)\. .*restore a copy of it"):
        records.trials()
    records.close()


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "trials.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(
        UserError, match=r"trials\.sqlite is damaged .* restore a copy of it, or choose another --run_dir"
    ):
        Records(path)
    other = tmp_path / "torn.sqlite"
    records = Records(other)
    records.add_trials([(Trial(i, (0,)), Net("a" * 300)) for i in range(1, 200)])
    records.close()
    content = bytearray(other.read_bytes())
    content[4096 : len(content) // 2] = b"\x55" * (len(content) // 2 - 4096)
    other.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        Records(other)


def test_records_of_another_version_are_refused(tmp_path):
    db = sqlite3.connect(tmp_path / "trials.sqlite")
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(UserError, match=r"to be of version 1\. Received: version 7"):
        Records(tmp_path / "trials.sqlite")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="There is no file"):
        Records(tmp_path / "trials.sqlite", read_only=True)


def test_a_full_disk_keeps_what_is_finished(tmp_path):
    path = tmp_path / "trials.sqlite"
    records = Records(path)
    records.add_trials([(Trial(1, (0,)), Net("a"))])
    records._db.execute("PRAGMA max_page_count = 12")  # SQLite's own limit gives the very error of a full disk
    with pytest.raises(EvaluationError, match=r"database or disk is full.*is kept: free some space"):
        records.add_trials([(Trial(i, (0,)), Net("a" * 3000)) for i in range(2, 50)])
    records.close()
    assert [trial.id for trial in Records(path).trials()] == [1]


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p", "smbfs"])
def test_a_network_file_system_is_refused(tmp_path, kind):
    with pytest.raises(UserError, match=f"Expected --run_dir on a local disk.*on {kind}"):
        refuse_network_file_system(tmp_path, [("/", "ext4"), (str(tmp_path), kind)])
    refuse_network_file_system(tmp_path, [(str(tmp_path), "ext4"), ("/", kind)])


def test_expectations_count_as_long_as_every_finished_trial_has_one(records):
    records.add_device("host-1", {})
    for number in (1, 2):
        trial = Trial(number, (number,), measurement=Measurement(0.5, COST, 1.0), reward=0.5)
        records.add_finished(trial, Net(str(number)), "host-1", "proxy")
    assert [trial.expected for trial in records.trials()] == [None, None]
    records.expect({1: 0.4, 2: 0.6})
    assert [trial.expected for trial in records.trials()] == [0.4, 0.6]
    records.add_trials([(Trial(3, (3,)), Net("3"))])
    assert [trial.expected for trial in records.trials()] == [0.4, 0.6, None]
    records.expect({1: 0.3, 2: 0.7})
    trial = Trial(4, (4,), measurement=Measurement(0.5, COST, 1.0), reward=0.5)
    records.add_finished(trial, Net("4"), "host-1", "proxy")
    assert [trial.expected for trial in records.trials()] == [None] * 4


def test_what_is_known_of_an_architecture_is_of_the_first_trial_that_says_it(records):
    """Also of the rungs that another trial reached; what thousands of copies say is not read."""
    records.add_trials([(Trial(number, (0,)), Net("a")) for number in (1, 2, 3)])
    records.add_cost(2, COST, "host-1", {})
    for number, rungs in ((2, (0.5,)), (3, (0.5, 0.6))):
        for rung, accuracy in enumerate(rungs):
            records.add_accuracy(number, "proxy", accuracy, 3.0, None, {}, rung)
    assert records.known("print-a") == KnownOfArchitecture((Known(2, (0.5, 3.0, None)),), Known(2, COST))
    found = records.known("print-a", 3)
    assert [each.value[0] for each in found.accuracies] == [0.5, 0.6] and found.cost is None
