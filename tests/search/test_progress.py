"""What a running search shows of its running trials: on a terminal in the bar, elsewhere in lines."""

import dataclasses
import io
import re
import sys
import types

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from worker_support import make_setup

from mnas_tf.search import Settings, search
from nas_tf import bars
from nas_tf.algorithms import ppo, random_search
from nas_tf.rewards import Goal, Objective
from nas_tf.search.board import Board
from nas_tf.search.evaluation import AccuracyJob, CostJob
from nas_tf.search.progress import Clock, Progress
from nas_tf.search.records import Records
from nas_tf.search.rehearsal import _run_all
from nas_tf.search.workers import Outcome
from nas_tf.search.workers.inline import InlineWorkers
from nas_tf.search.workers.process import ProcessWorkers
from nas_tf.space import Decision
from nas_tf.training.recipe import ProxyRecipe
from nas_tf.trial import Cost, Latency, Measurement, Trial

QUICK_HOST = {"min_seconds": 0.02, "max_seconds": 0.05, "max_spread": 10.0, "retry_spread": 10.0}


@pytest.mark.real
@pytest.mark.parametrize("place", ["inline", "process"])
def test_workers_say_what_a_job_is_at(place, plain_space, monkeypatch):
    monkeypatch.setattr("nas_tf.training._clock._SAID_SECONDS", 0.0)
    setup = make_setup(plain_space, device="host", epochs=2, **QUICK_HOST)
    workers = InlineWorkers(setup) if place == "inline" else ProcessWorkers(setup, num_workers=1)
    said = []
    workers.on_doing = lambda key, words: said.append((key, words))
    workers.submit("cost", CostJob((0, 0, 0)))
    workers.submit("accuracy", AccuracyJob((0, 0, 0)))
    try:
        assert [outcome.failure for outcome in (workers.wait(), workers.wait())] == [None, None]
    finally:
        workers.close()
    assert [words for key, words in said if key == "cost"] == ["building", "converting", "timing", ""]
    words = [words for key, words in said if key == "accuracy"]
    assert words[:2] == ["reading images", "tracing"] and words[-2:] == ["validating", ""]
    # 200 images in batches of 32 are 7 steps an epoch.
    if place == "inline":
        assert words[2:-2] == [f"epoch {(step - 1) // 7 + 1}/2, {step}/14 steps" for step in range(1, 15)]
    else:  # it keeps to a word every half second
        assert "epoch 1/2, 1/14 steps" in words


def make_progress(tmp_path, num_trials=40, algorithm=None):
    return Progress(
        Settings(run_dir=str(tmp_path), num_trials=num_trials),
        Records(tmp_path / "trials.sqlite"),
        Board(tmp_path / "tensorboard", (Decision("kernel_size", (3, 5)),)),
        Goal(1.0),
        algorithm or random_search.make(random_search.Config(), (2,), 0),
    )


def test_tensorboard_shows_how_each_update_of_the_controller_went(tmp_path):
    config = ppo.Config(batch_size=2, lstm_units=4, embedding_size=4)
    algorithm = ppo.make(config, (2,), 0)
    progress = make_progress(tmp_path, algorithm=algorithm)
    for number in range(1, 6):
        (suggestion,) = algorithm.suggest(1)
        trial = dataclasses.replace(make_trial(number, 0.1 * number), tokens=suggestion.tokens)
        algorithm.update([trial])
        progress.show(trial)
    progress.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    for name in ("approximate_kl", "clip_fraction", "explained_variance"):
        assert [event.step for event in read.Tensors(f"ppo/{name}")] == [2, 4]  # the batches' last trials


def make_trial(number, accuracy):
    cost = Cost(num_params=1, mult_adds=1, peak_activation_bytes=1, latency=Latency.estimate(0.8))
    return Trial(number, (0,), measurement=Measurement(accuracy, cost, 1.0), reward=accuracy)


def test_the_bar_on_a_terminal_shows_what_running_trials_are_at(tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    progress = make_progress(tmp_path)
    progress.show(make_trial(1, 0.612))
    progress.doing((2, "accuracy"), "epoch 2/5, 140/350 steps")
    assert terminal.getvalue().endswith("best 61.2 %, 0.8000 ms, trial 2: epoch 2/5, 140/350 steps]")
    progress.doing((3, "cost"), "converting")
    progress.doing((2, "accuracy"), "")
    assert re.search(r"best 61.2 %, 0.8000 ms, trial 3: converting\] *$", terminal.getvalue())
    progress.close()


def test_lines_name_three_running_trials_and_count_the_others(tmp_path, capsys):
    progress = make_progress(tmp_path)
    for number in range(5):
        progress.doing((number, "accuracy"), "tracing")
    progress.close()
    line = "trials: 0 of 40, trial 0: tracing, trial 1: tracing, trial 2: tracing, 2 more; 0 s\n"
    assert capsys.readouterr().err == line


def test_jobs_of_a_rehearsal_do_not_hide_one_another(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)

    class Workers:
        def submit(self, key, job, deadline_seconds):
            pass

        def wait(self, seconds):
            self.on_doing("training", "tracing")
            self.on_doing("cost", "timing")
            self.on_doing("cost", "")
            return Outcome("cost", 1)

    clock = Clock(None, types.SimpleNamespace(hours=lambda: 0.0))
    assert _run_all(Workers(), {"cost": None}, "rehearsing", clock, 0.0)["cost"].value == 1
    shown = re.findall(r"/s, ([^]]*)\]", terminal.getvalue())
    assert shown[:3] == ["training: tracing", "cost: timing, training: tracing", "training: tracing"]


@pytest.mark.real
def test_a_search_without_a_terminal_says_how_far_its_trials_are(plain_space, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bars, "LINE_SECONDS", 0.05)
    settings = Settings(
        run_dir=str(tmp_path / "run"),
        search_space=str(plain_space),
        algorithm="random_search",
        device="simulated",
        workers="inline",
        num_trials=3,
        proxy_image_size=16,
        deploy_image_size=16,
        proxy_samples=200,
        final_epochs=0,
        seed=1,
    )
    search(settings, Objective(target_latency_ms=1.0), proxy=ProxyRecipe(1), say=lambda line: None)
    said = capsys.readouterr().err
    assert "\r" not in said and "\x1b" not in said
    lines = said.splitlines()
    assert any(re.match(r"rehearsing a trial: [01] of 2, training: tracing; \d s", line) for line in lines)
    assert any(re.match(r"trials: 1 of 3, best .*, trial 2: tracing; \d s, about \d+ s left$", line) for line in lines)
    ends = [line for line in lines if line.startswith("trials: 3 of 3, best ")]
    assert len(ends) >= 1 and ends[-1] == [line for line in lines if line.startswith("trials: ")][-1]
