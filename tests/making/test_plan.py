"""What nas-make plans for its hours, and how it counts them."""

import dataclasses
import re
import time

import pytest

from nas_tf.making import clock as clock_module
from nas_tf.making.clock import JobClock
from nas_tf.making.plan import (
    RESERVE,
    Speeds,
    first_seconds,
    last_seconds,
    make_plan,
    plan_from_scratch,
    with_search,
)
from nas_tf.making.preparing import plan_more
from nas_tf.making.settings import PRESETS
from nas_tf.making.state import JobState
from nas_tf.shipping.race import Allowance
from nas_tf.trial import UserError

SPEEDS = Speeds(training=300.0, trainings_to_judge=0, files=60.0, timing=20.0)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("hours", [0.5, 1, 3, 12, 48])
def test_a_plan_fills_its_hours_and_leaves_a_third_to_the_search(name, hours):
    preset = dataclasses.replace(PRESETS[name], hours=hours)
    plan = make_plan(preset, 3600 * hours, SPEEDS, 3, is_searched=True)
    if plan.top_k == 0:
        assert hours == 0.5 and "search" not in plan.text()
        return
    assert plan.first_seconds + plan.search_seconds + plan.last_seconds == pytest.approx(3600 * hours)
    assert plan.search_seconds >= 1200 * hours
    assert plan.first_seconds == first_seconds(SPEEDS, plan.num_imports, plan.tries)
    assert plan.last_seconds == last_seconds(SPEEDS, plan.num_imports, plan.tries, plan.seeds, plan.top_k)
    most = PRESETS[name]
    chosen = (plan.num_imports, plan.tries, plan.seeds, plan.top_k)
    assert all(ours <= theirs for ours, theirs in zip(chosen, (3, most.tries, most.seeds, most.top_k)))
    if hours == 48:
        assert chosen == (most.num_imports, most.tries, most.seeds, most.top_k)


def test_more_hours_never_plan_less():
    counts = []
    for hours in range(1, 40):
        preset = dataclasses.replace(PRESETS["long"], hours=hours)
        plan = make_plan(preset, 3600 * hours, SPEEDS, 3, is_searched=True)
        counts.append(plan.top_k * plan.tries + plan.seeds + plan.num_imports)
    assert counts == sorted(counts)


def test_few_race_images_cost_trainings():
    few = dataclasses.replace(SPEEDS, trainings_to_judge=5)
    assert last_seconds(few, 1, 1, 1, 2) - last_seconds(SPEEDS, 1, 1, 1, 2) == 300 * (2 * 5 + 5)
    assert first_seconds(few, 1, 1) == first_seconds(SPEEDS, 1, 1)  # one alone is held against nothing
    assert first_seconds(few, 2, 1) - first_seconds(SPEEDS, 2, 1) == 300 * 2 * 5


def test_too_few_hours_are_refused_with_those_that_are_needed():
    preset = dataclasses.replace(PRESETS["quick"], hours=0.1)
    with pytest.raises(UserError, match=r"takes 6 min here: --hours=0.11 or more. Received: --hours=0.1, of which 6"):
        make_plan(preset, 350.0, SPEEDS, 1, is_searched=False)
    with pytest.raises(UserError, match=r"--hours=0\.21 or more\. Received: --hours=0\.1"):
        plan_from_scratch(preset, 350.0, 300.0, 60.0)


@pytest.mark.parametrize("prepared", [10.0, 100.0, 300.0])
def test_the_hours_that_are_asked_for_are_enough(prepared):
    """The next call prepares again, and its reserve is larger."""
    preset = dataclasses.replace(PRESETS["quick"], hours=0.1)
    with pytest.raises(UserError) as raised:
        make_plan(preset, (1 - RESERVE) * 360 - prepared, SPEEDS, 1, is_searched=False)
    hours = float(re.search(r"--hours=([\d.]+) or more", str(raised.value))[1])
    preset = dataclasses.replace(preset, hours=hours)
    assert make_plan(preset, (1 - RESERVE) * 3600 * hours - 2 * prepared, SPEEDS, 1, is_searched=False).num_imports == 1


def test_a_search_is_planned_when_more_hours_are_given():
    preset = PRESETS["quick"]
    plan = make_plan(preset, 500.0, SPEEDS, 1, is_searched=True)
    assert plan.top_k == 0 and with_search(plan, preset, 500.0, SPEEDS) is None
    later = with_search(plan, preset, 7200.0, SPEEDS)
    assert later.top_k == 2 and later.search_seconds + later.last_seconds == 7200
    assert later.first_seconds == plan.first_seconds


def test_the_first_network_comes_before_a_search_that_is_planned_later():
    preset = dataclasses.replace(PRESETS["quick"], hours=0.45)
    plan = make_plan(preset, 1300.0, SPEEDS, 1, is_searched=True)
    state = JobState(plan=plan, speeds=SPEEDS, parent="net")
    more = plan_more(state, preset, 1340.0).plan  # killed before the first network shipped
    assert plan.top_k == 0 and more.first_seconds + more.search_seconds + more.last_seconds <= 1340.0
    later = plan_more(dataclasses.replace(state, is_first_done=True), preset, 1340.0).plan
    assert later.search_seconds > more.search_seconds > 0


def test_without_weights_half_of_the_time_is_searched():
    plan = plan_from_scratch(PRESETS["normal"], 7200.0, 20.0, 60.0)
    assert plan.num_imports == 0 and plan.top_k == 3 and plan.epochs == 30
    assert plan.search_seconds + plan.last_seconds == 7200 and plan.search_seconds >= 3600
    assert "random weights" in plan.text()


def test_the_clock_goes_on_over_sessions(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(clock_module.time, "monotonic", lambda: now[0])
    clock = JobClock(tmp_path / "clock.json", hours=1)
    with clock.stage("first"):
        now[0] += 62
    now[0] += 3
    clock.note()
    again = JobClock(tmp_path / "clock.json", hours=1)
    now[0] += 5
    assert again.seconds == 70 and again.stages == {"first": 62} and again.seconds_left == 3530
    assert again.ends_at() == now[0] + 3530
    with pytest.raises(KeyError), again.stage("first"):
        now[0] += 10
        raise KeyError
    assert JobClock(tmp_path / "clock.json", hours=1).stages == {"first": 72}


def test_the_clock_is_kept_while_it_runs(tmp_path, monkeypatch):
    """A kill -9 in a stage that says nothing for an hour loses no hour."""
    monkeypatch.setattr(clock_module, "_EVERY_SECONDS", 0.01)
    clock = JobClock(tmp_path / "clock.json", hours=1)
    with clock.running(), clock.stage("the search"):
        begin = time.monotonic()
        while JobClock(tmp_path / "clock.json", hours=1).stages.get("the search", 0.0) < 0.05:
            assert time.monotonic() - begin < 30
            time.sleep(0.01)


def test_what_a_job_knows_is_kept(tmp_path):
    path, plan = tmp_path / "state.json", plan_from_scratch(PRESETS["normal"], 7200.0, 20.0, 60.0)
    assert JobState.load(path) == JobState()
    state = JobState(plan=plan, speeds=SPEEDS, target_ms=2.0, parent="net", imports=("a", "b"), is_searched=True)
    state.save(path)
    assert JobState.load(path) == state
    for damaged in ("[1]", '{"plan": {"epochs": 3}}', '{"unknown": 1}'):
        path.write_text(damaged)
        with pytest.raises(UserError, match=r"state\.json, which is damaged or another's"):
            JobState.load(path)


def test_what_is_trained_already_needs_no_time():
    over = Allowance(ends_at=0.0, training_seconds=60.0, after_seconds=60.0)
    assert over.has(0) and not over.has(1)
