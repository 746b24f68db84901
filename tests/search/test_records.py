"""The SQLite file: what is written is there after any end, and bad files are refused."""

import dataclasses
import json
import sqlite3

import pytest

from nas_tf.files import refuse_network_file_system
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
    records.add_accuracy(1, "proxy", 0.75, 12.5, {"worker": "w"})
    assert records.trials()[0].reward is None
    done = Trial(1, (0, 2), "untrained", Measurement(0.75, COST, 12.5), 0.7)
    records.finish(done)
    failed = Trial(2, (1, 1), error="Traceback ...")
    records.finish(failed)
    assert records.trials() == [done, failed]
    records.reopen([2])
    assert records.trials()[1] == Trial(2, (1, 1))


def test_anyone_can_query_it_with_plain_sql(records, tmp_path):
    records.add_trials([(Trial(i, (i,)), Net(str(i))) for i in (1, 2, 3, 4)])
    records.add_cost(1, ESTIMATE, "simulated-1", {})
    records.add_accuracy(1, "proxy", 0.5, 1.0, {})
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
    records.add_accuracy(2, "proxy", 0.5, 3.0, {})
    records.finish(Trial(3, (2,), infeasible="too large", reward=0.0))
    assert records.known("print-a") == KnownOfArchitecture(Known(2, (0.5, 3.0)), Known(1, COST))
    assert records.known("print-b") == KnownOfArchitecture(infeasible=Known(3, "too large"))


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
