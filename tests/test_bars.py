"""Progress without a terminal: plain lines, also while nothing is done and while standard error is hidden."""

import io
import re
import subprocess
import sys
import textwrap
import time

import pytest

from nas_tf import bars


def test_lines_are_half_a_minute_apart():
    assert bars.LINE_SECONDS == 30


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(bars, "LINE_SECONDS", 0.1)


def test_without_a_terminal_there_are_lines_also_while_nothing_is_done(often, capsys):
    with bars.progress_bar(total=40, initial=10, desc="trials") as bar:
        bar.update(2)
        bar.set_postfix_str("best 61.2 %, trial 13: epoch 2/5")
        time.sleep(0.55)
    said = capsys.readouterr().err
    assert "\r" not in said and "\x1b" not in said
    lines = said.splitlines()
    # Every 0.1 s of 0.55 s, but for those that a busy machine leaves out, and one at the end.
    assert 3 <= len(lines) <= 6
    # 28 more at 2 in about half a second.
    form = r"trials: 12 of 40, best 61.2 %, trial 13: epoch 2/5; [01] s, about \d+ s left"
    assert all(re.fullmatch(form, line) for line in lines), lines


def test_what_ends_in_a_failure_has_no_line_at_its_end(capsys):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), bars.progress_bar(total=2) as bar:
            bar.update()
            raise KeyboardInterrupt
        with pytest.raises(ZeroDivisionError):
            for each in bars.progress_bar(range(2)):
                each / 0
    assert not capsys.readouterr().err


def test_every_kind_of_bar_has_a_line_at_its_end(capsys):
    assert list(bars.progress_bar(range(3), desc="converting", unit="file")) == [0, 1, 2]
    with bars.progress_bar(desc="benchmark_model", unit="B", unit_scale=True) as bar:
        bar.total = 5_000_000
        bar.update(1_234_567)
    assert capsys.readouterr().err.splitlines() == [
        "converting: 3 of 3; 0 s",
        "benchmark_model: 1.2 MB of 5.0 MB; 0 s, about 0 s left",
    ]
    list(bars.progress_bar(range(3), desc="Checking images", leave=False))
    list(bars.progress_bar(range(3), disable=True))
    assert capsys.readouterr().err == ""


def test_a_bar_that_was_left_in_the_middle_says_no_more(often, capsys):
    for _ in bars.progress_bar(range(3)):
        break
    time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_lines_show_while_standard_error_is_hidden():
    program = """
        import os, time
        from nas_tf import bars, quiet
        bars.LINE_SECONDS = 0.2
        with bars.progress_bar(total=2, desc="converting"):
            with quiet.quiet(), quiet.quiet():
                os.write(2, b"greetings")
                time.sleep(0.5)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    process = subprocess.run(command, capture_output=True, text=True)
    lines = process.stderr.splitlines()
    assert len(lines) >= 2 and set(lines) <= {"converting: 0 of 2; 0 s", "converting: 0 of 2; 1 s"}


def test_on_a_terminal_there_is_a_bar(often, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with bars.progress_bar(total=4, desc="trials") as bar:
        bar.update()
        time.sleep(0.3)
    said = terminal.getvalue()
    assert "\rtrials: " in said and "1/4" in said and "1 of 4" not in said


@pytest.mark.parametrize(
    "seconds,exact,rough",
    [
        (0.4, "0 s", "0 s"),
        (59.7, "1 min 0 s", "60 s"),
        (200, "3 min 20 s", "3 min"),
        (7100, "1 h 58 min", "118 min"),
        (26 * 3600 + 61, "26 h 1 min", "26 h"),
    ],
)
def test_durations_in_words(seconds, exact, rough):
    assert (bars._duration(seconds), bars.rough_duration(seconds)) == (exact, rough)
