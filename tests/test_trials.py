"""nas-trials and nas-report: what a run tried, read from its records alone."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import assert_one_line, script

from nas_tf.search.records import Records
from nas_tf.space import fingerprint
from nas_tf.trial import Cost, Latency, Measurement, Trial

pytestmark = pytest.mark.real
DECISIONS = {"block1/kernel_size": [3, 5], "block1/skip": [False, True]}


class Net:
    def __init__(self, number):
        self.fingerprint, self.to_json = fingerprint(number), lambda: number


@pytest.fixture
def run(tmp_path):
    """A run of four trials: two done, one infeasible, one failed."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"flags": {}, "device": {}, "space": {"decisions": DECISIONS}}))
    records = Records(folder / "trials.sqlite")
    for number, (accuracy, latency_ms) in enumerate(((0.5, 2.0), (0.75, 1.5)), 1):
        measured = Measurement(accuracy, Cost(10**6, 2 * 10**7, 10, latency=Latency.estimate(latency_ms)), 3.0, 0.02)
        trial = Trial(number, (number - 1, 1), "random", measured, accuracy - 0.1)
        records.add_finished(trial, Net(number), "phone-1", "proxy")
    for trial in (
        Trial(3, (0, 0), infeasible="The loss is nan\nin step 3", reward=0.0),
        Trial(4, (1, 0), error="Traceback (most recent call last):\n  somewhere\nEvaluationError: the phone is gone"),
    ):
        records.add_trials([(trial, Net(trial.id))])
        records.finish(trial)
    records.close()
    return folder


def shown(*words):
    process = script("nas-trials", *words)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_table(run):
    lines = shown(run, "--sort=accuracy").splitlines()
    assert [line.split()[0] for line in lines] == ["trial", "2", "1", "3", "4", "4"]
    assert lines[1].split()[1:6] == ["done", "75.0", "±", "2.0", "1.500"]
    assert lines[3].endswith("The loss is nan") and lines[4].endswith("EvaluationError: the phone is gone")
    assert lines[5] == "4 trials: 2 done, 1 infeasible, 1 failed"
    assert len(shown(run, "--state=failed,infeasible", "--limit=1").splitlines()) == 3


def test_for_other_programs(run):
    rows = list(csv.DictReader(io.StringIO(shown(run, "--format=csv"))))
    assert [row["block1/kernel_size"] for row in rows] == ["3", "5", "3", "5"]
    assert rows[1]["accuracy"] == "0.75" and rows[3]["accuracy"] == "" and "phone is gone" in rows[3]["error"]
    values = json.loads(shown(run, "--format=json", "--sort=latency_ms", "--state=done"))
    assert [value["id"] for value in values] == [2, 1] and values[0]["answers"]["block1/skip"] is True
    assert values[0]["standard_error"] == 0.02 and values[0]["tokens"] == [1, 1]


def test_one_trial(run):
    text = shown(run, 2)
    assert "trial 2: done (random)" in text and "accuracy 75.0 ± 2.0 %, latency 1.500 ms" in text
    assert "block1/kernel_size  5" in text and "accuracy by proxy: 0.75" in text
    assert "Traceback (most recent call last):\n  somewhere\n" in shown(run, 4)


def test_failed_ones_are_tried_again(run):
    assert "1 trial will be tried again" in shown(run, "--retry_failed")
    assert "running" in shown(run, "--state=running") and "No trial has failed" in shown(run, "--retry_failed")


def test_the_page_of_a_run_whose_space_is_not_run(run):
    process = script("nas-report", run)
    assert process.returncode == 0 and process.stdout == f"{run}/report.html\n", process.stderr
    text = (run / "report.html").read_text()
    assert "The search picks trial 2" in text and "block1/kernel_size: 5" in text and "the phone is gone" in text
    # What shipped is damaged: the page goes without.
    network = run / "ship" / "network"
    network.mkdir(parents=True)
    description = {"text": "a net", "scale": {}, "class_names": ["a", "b"], "dataset": {}}
    (network / "architecture.json").write_text(json.dumps(description))
    assert script("nas-report", run).returncode == 0 and "What it answers" in (run / "report.html").read_text()
    (network / "files.json").write_text(json.dumps({"network": "abc", "files": {"model.tflite": {"bytes": "many"}}}))
    assert script("nas-report", run).returncode == 0 and "What it answers" not in (run / "report.html").read_text()
    assert script("nas-report", run, run, f"--out={run / 'both.html'}").returncode == 0
    assert 'data-key="0">run' in (run / "both.html").read_text()


@pytest.mark.parametrize(
    "words,message",
    [
        ([], "Expected run folders"),
        (["none"], "Expected the folder of a run"),
        (["{run}", "{run}"], "Expected --out, the file in which 2 runs are compared"),
        (["{run}", "--out={run}/none/page.html"], "Expected --out to be a file in a folder that exists"),
    ],
)
def test_what_it_cannot_report(run, words, message):
    assert_one_line(script("nas-report", *[word.format(run=run) for word in words]), 2, message)


@pytest.mark.parametrize(
    "words,message",
    [
        ([], "Expected a run folder"),
        (["none"], "Expected the folder of a run"),
        (["{run}", "5"], "Expected the number of a trial of"),
        (["{run}", "--state=lost"], "Expected --state to be of done, infeasible, failed, running. Received: lost"),
    ],
)
def test_what_it_cannot_show(run, words, message):
    assert_one_line(script("nas-trials", *[word.format(run=run) for word in words]), 2, message)


def test_a_damaged_database_and_an_empty_run(run):
    (run / "trials.sqlite").write_bytes(b"no database" * 100)
    assert_one_line(script("nas-trials", run), 2, "trials.sqlite")
    (run / "trials.sqlite").unlink()
    Records(run / "trials.sqlite").close()
    assert shown(run).splitlines()[-1] == "0 trials"


def test_a_reader_may_have_seen_enough(run):
    """As in `nas-trials RUN | head`: no traceback."""
    read, write = os.pipe()
    os.close(read)
    command = [str(Path(sys.executable).parent / "nas-trials"), str(run)]
    process = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(write)
    assert process.returncode == 141 and process.stderr == ""
