"""The host as a device: real files timed by a real process, and what it says of bad ones."""

import itertools
import os
import subprocess
import sys

import pytest

from nas_tf import export
from nas_tf.devices import _host_timer, host
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError


@pytest.fixture(scope="module")
def tflite_file(tmp_path_factory):
    import keras

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(16, 3, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))
    path = tmp_path_factory.mktemp("tflite") / "a model's file.tflite"
    export.to_tflite(model, path)
    return path


@pytest.mark.real
def test_a_file_is_timed(tflite_file):
    meter = host.make(host.Config(warmup_seconds=0.01, min_seconds=0.05, max_seconds=1.0))
    meter.check()
    latency = meter.measure(tflite_file)
    assert latency.statistic == "median" and latency.runs >= 30
    assert 0 < latency.median_ms <= latency.p95_ms and latency.latency_ms == latency.median_ms
    description = meter.describe()
    assert description["device"] == "host" and description["runtime"].startswith("ai-edge-litert ")


@pytest.mark.real
def test_a_file_that_is_no_network_is_infeasible(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"nothing of a network")
    with pytest.raises(InfeasibleArchitecture, match="The TFLite runtime refused the network: "):
        host.make(host.Config()).measure(tmp_path / "bad.tflite")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(EvaluationError, match=r"Expected a TFLite file\. There is no file"):
        host.make(host.Config()).measure(tmp_path / "none.tflite")


def test_a_python_without_the_runtime_is_named(tmp_path):
    with pytest.raises(UserError, match=r"Cannot start --host_python='/no/such/python'"):
        host.make(host.Config(python="/no/such/python")).check()
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -I "$@"\n')  # this Python without its packages
    bare.chmod(0o755)
    with pytest.raises(UserError, match=r"to have the TFLite runtime 'litert'.*No module named.*--host_runtime and"):
        host.make(host.Config(python=str(bare))).check()


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"Expected --host_num_threads to be at least 1\. Received: 0"):
        host.Config(num_threads=0)
    with pytest.raises(UserError, match="Expected 0 < --host_min_seconds <= --host_max_seconds"):
        host.Config(min_seconds=2.0, max_seconds=1.0)


class Clock:
    """A clock that only runs advance, by the durations given: the timer's arithmetic without its noise."""

    def __init__(self, monkeypatch, seconds):
        self.now, self._seconds = 0.0, itertools.cycle(seconds)
        monkeypatch.setattr(_host_timer.time, "perf_counter", lambda: self.now)

    def run(self):
        self.now += next(self._seconds)


def test_runs_end_once_the_median_stands_still(monkeypatch):
    clock = Clock(monkeypatch, [0.010])
    runs = _host_timer.time_runs(clock.run, 0.1, 0.5, 5.0, 0.01)
    # Warm-up: one run and those that begin within 0.1 s. Then 0.5 s of runs of 10 ms: 50 of them, and no more.
    assert 50 <= len(runs) <= 51 and runs == pytest.approx([10.0] * len(runs))


def test_runs_go_on_while_the_median_drifts(monkeypatch):
    clock = Clock(monkeypatch, [0.001 * 1.001**i for i in range(6000)])
    runs = _host_timer.time_runs(clock.run, 0.0, 0.1, 2.0, 0.01)
    assert sum(runs) == pytest.approx(2000, rel=0.01)  # ms: the whole of max_seconds


def test_quantiles_interpolate():
    assert _host_timer._quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert _host_timer._quantile([float(i) for i in range(21)], 0.95) == 19.0


@pytest.mark.real
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin processes to cores")
def test_the_timing_process_keeps_to_its_core(tflite_file):
    import json

    process = subprocess.run(
        [sys.executable, _host_timer.__file__, "--min_seconds=0.05", str(tflite_file)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(process.stdout)["cores"] == [max(os.sched_getaffinity(0))]
