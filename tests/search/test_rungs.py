"""Rungs: who goes on, what algorithms are told, what is recorded, and that kills change nothing."""

import csv
import dataclasses
import io
import json
import sqlite3

import numpy as np
import pytest
from support import assert_one_line, script

from nas_tf import ranking
from nas_tf.plugins import Part
from nas_tf.reports.trials import rungs_text
from nas_tf.rewards import AccuracyReward, FrontReward, LatencyReward
from nas_tf.search.records import Records
from nas_tf.search.rungs import Rungs
from nas_tf.testing import AnySpace, QuickWorkers, run_search
from nas_tf.training.train import Trained
from nas_tf.trial import Cost, EvaluationError, InfeasibleArchitecture, Latency, Measurement, Trial, UserError

WORKS = (1.0, 2.0, 4.0)


def measured(accuracy, latency_ms=1.0, rungs=()):
    return Measurement(accuracy, Cost(1, 1, 1, latency=Latency.estimate(latency_ms)), 1.0, rungs=rungs)


def test_the_best_share_of_those_so_far_goes_on():
    rungs = Rungs(WORKS, 1 / 3, AccuracyReward())
    goes_on = [rungs.add(0, measured(each)) for each in (0.5, 0.4, 0.6, 0.55, 0.3, 0.2, 0.58)]
    # 0.55 and 0.58: one of four, and one of seven, is better; a third of these are more than one.
    assert goes_on == [True, False, True, True, False, False, True]
    assert rungs.add(1, measured(0.7)) and not rungs.add(1, measured(0.6))
    assert not rungs.add(2, measured(0.9))  # there is none above
    assert rungs.mean_work == pytest.approx(1 + 2 / 3 + 4 / 9)


def test_the_reward_decides_where_there_is_a_target():
    rungs = Rungs(WORKS, 0.5, LatencyReward(1.0, "hard"))
    assert rungs.add(0, measured(0.5)) and not rungs.add(0, measured(0.9, 3.0))


def test_where_the_front_is_the_goal_those_that_few_dominate_go_on():
    rungs = Rungs(WORKS, 0.25, FrontReward())
    assert rungs.add(0, measured(0.5, 1.0)) and rungs.add(0, measured(0.8, 5.0))  # both are on the front
    assert not rungs.add(0, measured(0.4, 2.0)) and rungs.add(0, measured(0.3, 0.5))


def told(rungs, *accuracies):
    found = rungs.told(Trial(1, (0,), measurement=measured(accuracies[-1], rungs=accuracies), reward=accuracies[-1]))
    return found.measurement.accuracy, found.reward


def test_algorithms_are_told_accuracies_of_the_lowest_rung():
    rungs = Rungs(WORKS, 0.5, AccuracyReward())
    assert told(rungs, 0.5) == (0.5, 0.5)
    assert told(rungs, 0.6, 0.9) == (0.6, 0.6)  # not 0.9, which more work gave
    assert told(rungs, 0.7, 0.8) == (0.6, 0.6)  # below the former at rung 2: the worse of the two places
    assert told(rungs, 0.65, 0.95) == (0.7, 0.7)
    assert told(rungs, 0.64, 0.85, 0.99) == (0.64, 0.64)  # third of four at rung 2
    infeasible = Trial(2, (0,), measurement=measured(0.5, rungs=(0.5,)), reward=0.0, infeasible="diverged")
    assert rungs.told(infeasible).measurement is None


def judged(tokens, rung):
    """Networks whose first rung is a poor guess of the last."""
    worth, guess = sum(tokens) / 8, np.random.default_rng(tokens).uniform(-0.2, 0.2)
    return 0.4 + 0.2 * worth + 0.05 * rung + guess / (1 + rung)


class _Stopped(KeyboardInterrupt):
    pass


def searched(algorithm, stops, num_workers=1, num_trials=60):
    """Returns the trials of a search that is stopped after so many answers, and its events."""
    records, space = Records(None), AnySpace((3, 3, 3, 3))
    for stop in (*stops, None):
        answers = []

        def accuracy(tokens, repeat, rung, answers=answers, stop=stop):
            if stop is not None and len(answers) >= stop:
                raise _Stopped
            answers.append(rung)
            if rung == 1 and sum(tokens) == 5:
                raise InfeasibleArchitecture("it diverges later")
            if rung == 1 and tokens == (2, 2, 0, 0):
                raise EvaluationError("it fails later")
            return Trained(judged(tokens, rung), 1.0, 0.0, 0.0, 0, standard_error=0.01)

        workers, part = QuickWorkers(accuracy, num_workers=num_workers), Part("nas_tf.algorithms", algorithm)
        rungs, reward = Rungs(WORKS, 1 / 3, AccuracyReward()), AccuracyReward()
        try:
            run_search(space, part, 3, reward, workers, num_trials, records=records, rungs=rungs)
        except _Stopped:
            continue
    trials, events = records.trials(), records.events()
    records.close()
    return trials, events


@pytest.mark.parametrize("algorithm", ["random_search", "evolution", "predictor"])
def test_a_search_that_is_stopped_goes_on_as_it_would_have(algorithm):
    alone, stopped = searched(algorithm, ()), searched(algorithm, (0, 1, 7, 20, 21))
    assert alone == stopped
    trials, _ = alone
    assert {len(trial.measurement.rungs) for trial in trials if trial.state == "done"} == {1, 2, 3}
    for trial in trials:
        if trial.state == "done":
            expected = [judged(trial.tokens, rung) for rung in range(len(trial.measurement.rungs))]
            assert list(trial.measurement.rungs) == expected and trial.reward == expected[-1]
            assert trial.measurement.train_seconds == len(expected) and trial.measurement.standard_error == 0.01
    assert any(trial.infeasible for trial in trials)


def test_copies_of_a_network_do_not_keep_others_from_going_on(tmp_path):
    """One good network is tried 20 times, then a worse one, which is second of two and not 21st of 21."""
    tokens = [[2, 2]] * 20 + [[2, 1]]
    (tmp_path / "listed.json").write_text(json.dumps({"tokens": tokens}))
    part = Part("nas_tf.algorithms", "listed", {"file": str(tmp_path / "listed.json")})
    for stops in ((), (19,)):
        records = Records(None)
        for number in (*stops, len(tokens)):
            workers = QuickWorkers(lambda tokens, repeat, rung: 0.5 + 0.1 * sum(tokens) + 0.01 * rung)
            rungs = Rungs(WORKS, 0.6, AccuracyReward())
            run_search(AnySpace((3, 3)), part, 0, AccuracyReward(), workers, number, records=records, rungs=rungs)
        assert [len(trial.measurement.rungs) for trial in records.trials()] == [3] * 21
        records.close()


def test_it_saves_most_of_the_work_and_finds_the_best():
    trials, events = searched("random_search", (), num_workers=4)
    done = [trial for trial in trials if trial.state == "done"]
    work = sum(sum(WORKS[: len(trial.measurement.rungs)]) for trial in done)
    assert work < 0.5 * len(done) * sum(WORKS)
    assert sum(event == "promoted" for event, _ in events) >= len(done) // 4
    # Networks of the highest rung alone are ranked.
    best = ranking.finished(trials)
    assert best and {len(trial.measurement.rungs) for trial in best} == {3}
    different = {trial.tokens: len(trial.measurement.rungs) for trial in done}
    counts = [sum(reached > rung for reached in different.values()) for rung in range(3)]
    found = ranking.rungs(trials)
    assert [count for count, _ in found] == counts and found[0][1] is None and 0 < found[1][1] <= 1
    first, second, _ = rungs_text(trials)
    assert first == f"rung 1: {counts[0]} networks"
    assert second == f"rung 2: {counts[1]} networks, rank correlation with the rung below {found[1][1]:.2f}"
    assert rungs_text([dataclasses.replace(done[0], measurement=measured(0.5))]) == []


def test_a_rung_that_cannot_be_is_named(tmp_path):
    records = Records(tmp_path / "trials.sqlite")
    space = AnySpace((3,))
    records.add_trials([(Trial(1, (0,)), space.decode((0,)))])
    records.add_device("quick-1", {})
    records.add_cost(1, measured(0.5).cost, "quick-1", {})
    records.add_accuracy(1, "quick", 0.5, 1.0, None, {}, 0)
    records.add_accuracy(1, "quick", 0.6, 2.0, None, {}, 1)
    assert records.trials()[0].measurement.rungs == (0.5, 0.6)
    known = records.known(space.decode((0,)).fingerprint).accuracies
    assert [each.value for each in known] == [(0.5, 1.0, None), (0.6, 2.0, None)]
    records.close()
    with sqlite3.connect(tmp_path / "trials.sqlite") as db:
        db.execute("""UPDATE measurements SET details = replace(details, '"rung":1', '"rung":4')""")
    with pytest.raises(UserError, match="measurements, trial 1: rung is 4"):
        Records(tmp_path / "trials.sqlite").trials()


@pytest.mark.real
def test_a_command_with_rungs_says_and_shows_them(plain_space, tmp_path):
    flags = [f"--search_space={plain_space}", "--device=simulated", "--workers=inline", "--target_latency_ms=0.6"]
    flags += ["--proxy_epochs=1", "--proxy_image_size=8", "--proxy_samples=100", "--deploy_image_size=16"]
    flags += ["--final_epochs=0", "--algorithm=random_search", "--promoted_share=0.4"]
    process = script("mnas-search", f"--run_dir={tmp_path / 'run'}", "--num_trials=5", *flags)
    assert process.returncode == 0, process.stderr[-3000:]
    assert "2.4 times that in rungs" in process.stdout  # 1 + 2 x 0.4 + 4 x 0.16
    assert "rung 1: " in process.stdout and "rank correlation with the rung below" in process.stdout
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Networks are compared at the highest rung alone" in page and "rung 1: " in page
    rows = list(csv.DictReader(io.StringIO(script("nas-trials", tmp_path / "run", "--format=csv").stdout)))
    assert {row["rung"] for row in rows} > {"1"} and len(rows) == 5
    process = script("mnas-search", f"--run_dir={tmp_path / 'run'}", "--num_trials=5", *flags[:-1])
    assert_one_line(process, 2, "--promoted_share=null (was 0.4)")


def test_a_judge_without_rungs_is_refused(tmp_path, cell_table):
    flags = [f"--nasbench201_table={cell_table}", "--judge=tabular", "--device=tabular"]
    process = script(
        "nasnet-search", "--search_space=nasbench201", *flags, f"--run_dir={tmp_path}", "--promoted_share=0.3"
    )
    assert_one_line(process, 2, "--promoted_share=0.3 needs a judge that offers rungs: proxy, inherited")
