"""The host as a device: real files timed by a real process, and what it says of bad ones."""

import contextlib
import functools
import itertools
import json
import os
import subprocess
import sys
import threading
import time

import keras
import psutil
import pytest
from phone.client import wait_until
from support import ROOT

from benchmarks import compiled_model
from nas_tf import export, resume
from nas_tf.devices import _cores, _host_timer, host
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, KilledWorker, UserError

REFERENCE_MS = 4.0


@pytest.fixture(scope="module")
def tflite_file(tmp_path_factory):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(16, 3, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x)))
    path = tmp_path_factory.mktemp("tflite") / "a model's file.tflite"
    export.to_tflite(model, path)
    return path


@pytest.mark.real
def test_a_file_is_timed(tflite_file):
    # On a machine that others share a timing this short may have any spread: it is taken once.
    meter = host.make(
        host.Config(warmup_seconds=0.01, min_seconds=0.05, max_seconds=1.0, max_spread=10.0, retry_spread=10.0)
    )
    meter.check()
    latency = meter.measure(tflite_file)
    assert latency.statistic == "median" and latency.runs >= 30
    assert 0 < latency.median_ms <= latency.p95_ms and latency.latency_ms == latency.median_ms
    details = latency.details
    assert details.keys() == {"stable", "spread", "cores", "reference_ms", "reference_first_ms", "placement"}
    assert latency.ran_on == "cpu 3 of 3 nodes"
    assert 0 <= details["spread"] <= 10 and details["reference_first_ms"] == meter._reference_first_ms
    assert details["stable"] == (details["spread"] <= 0.01)
    if hasattr(os, "sched_getaffinity"):
        assert len(details["cores"]) == 1
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


@pytest.mark.parametrize("answer", ["all is well", "[1]", ""])
def test_a_program_that_is_no_python_is_named(tmp_path, answer):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    with pytest.raises(UserError, match=r"program' to be a Python, which runs the timer\. It printed: '"):
        host.make(host.Config(python=str(program))).check()


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"Expected --host_num_threads to be at least 1\. Received: 0"):
        host.Config(num_threads=0)
    with pytest.raises(UserError, match="Expected 0 < --host_min_seconds <= --host_max_seconds"):
        host.Config(min_seconds=2.0, max_seconds=1.0)
    with pytest.raises(UserError, match=r"Expected --host_max_spread to be above 0\. Received: 0"):
        host.Config(max_spread=0)
    with pytest.raises(UserError, match=r"Expected --host_attempts to be at least 1\. Received: 0"):
        host.Config(attempts=0)


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


class Machine:
    """Two functions on a machine whose speed changes by half every now and then, and whose caches one drives out."""

    def __init__(self, monkeypatch, slow_seconds):
        self.now, self._slow_seconds, self._last = 0.0, slow_seconds, None
        monkeypatch.setattr(_host_timer.time, "perf_counter", lambda: self.now)

    def call(self, name, seconds):
        cold = 5.0 if self._last != name else 1.0
        is_slow = self._slow_seconds[0] <= self.now < self._slow_seconds[1]
        self._last, self.now = name, self.now + seconds * cold * (1.5 if is_slow else 1.0)


@pytest.mark.parametrize("slow", [(0.0, 0.0), (0.0, 0.3), (0.3, 9.0), (0.2, 0.5)])
def test_the_ratio_to_the_reference_stays_when_the_speed_does_not(monkeypatch, slow):
    machine = Machine(monkeypatch, slow)
    run, beside = (lambda: machine.call("ours", 0.001)), (lambda: machine.call("theirs", 0.004))
    ours, theirs, ratios = _host_timer.time_in_turns(run, beside, 0.5, 3.0, 0.01)
    assert _host_timer._quantile(ratios, 0.5) == pytest.approx(0.25) and len(ratios) >= _host_timer.LEAST_TURNS
    assert len(ours) >= 30 and len(theirs) >= 3 * len(ratios)
    assert max(ours) == pytest.approx(1.0 if slow == (0.0, 0.0) else 1.5)  # the first call of a turn does not count
    assert 0.5 <= machine.now < 1.0


def test_latencies_are_at_the_speed_that_the_machine_had_first(monkeypatch, tmp_path):
    """What is remembered outlives the meter, and a damaged memory is made anew."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path, speed = tmp_path / "network.tflite", [1.0]
    path.write_bytes(b"the timer is scripted")

    def run_timer(self, *arguments):
        figures = {"runtime": "r", "python": "3"}
        if arguments:
            median = speed[0] * (REFERENCE_MS if arguments == (str(host.REFERENCE),) else 1.0)
            figures |= {"median_ms": median, "mean_ms": 1.1 * median, "p95_ms": 1.2 * median, "std_ms": 0.1 * median}
            figures |= {"runs": 40, "stable": True, "spread": 0.0, "cores": [5]}
            figures |= {"ratio": 1 / REFERENCE_MS, "beside_ms": speed[0] * REFERENCE_MS}
        return subprocess.CompletedProcess(arguments, 0, json.dumps(figures), "")

    monkeypatch.setattr(host.HostMeter, "_run_timer", run_timer)
    host.make(host.Config()).check()
    (kept,) = tmp_path.glob("nas_tf/hosts/*.json")
    begun = host.make(host.Config()).describe()
    for speed[0] in (1.0, 1.5):
        latency = host.make(host.Config()).measure(path)
        assert (latency.median_ms, latency.mean_ms, latency.std_ms) == pytest.approx((1.0, 1.1, 0.1))
        assert latency.details["reference_ms"] == speed[0] * REFERENCE_MS
    kept.write_text('{"reference_ms": "x"}')
    assert host.make(host.Config()).measure(path).median_ms == pytest.approx(1.5)
    assert json.loads(kept.read_text()) == {"reference_ms": 6.0}
    # On that other scale no run goes on, and a chain is on another device.
    assert resume.differences(begun, host.make(host.Config()).describe()) == ["reference_first_ms=6.0 (was 4.0)"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    with pytest.raises(UserError, match=r"Expected to keep what is known of a device in .*Set XDG_CACHE_HOME"):
        host.make(host.Config()).check()


def test_of_two_that_come_first_one_decides_the_scale(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(host.HostMeter, "_facts", {"device": "host"})
    given, asked = itertools.count(4.0), threading.Barrier(2)

    def time_slowly(self, path, beside=True):
        time.sleep(0.02)
        return {"median_ms": next(given)}

    monkeypatch.setattr(host.HostMeter, "_time", time_slowly)
    found = []

    def first():
        asked.wait()
        # Python 3.11's cached_property would let one thread in at a time; two processes have no such help.
        found.append(host.HostMeter._reference_first_ms.func(host.make(host.Config())))

    threads = [threading.Thread(target=first) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [4.0, 4.0]


def test_quantiles_interpolate():
    assert _host_timer._quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert _host_timer._quantile([float(i) for i in range(21)], 0.95) == 19.0


@pytest.mark.parametrize(
    "runs,spread",
    [([10.0] * 30, 0.0), ([10.0] * 20 + [12.0] * 10, 0.2), ([15.0] * 10 + [10.0] * 20, 0.5)],
    ids=["still", "a slow last third", "a slow first third"],
)
def test_the_spread_is_that_of_the_medians_of_three_thirds(runs, spread):
    assert _host_timer._spread(runs) == pytest.approx(spread)


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    """`scripted(meter, *spreads)` returns what the meter makes of a file whose timings have these spreads."""
    path = tmp_path / "network.tflite"
    path.write_bytes(b"the timer is scripted")

    def measure(meter, *spreads):
        left = list(spreads)

        def run_timer(self, *arguments):
            spread = left.pop(0)
            figures = {"median_ms": 1 + spread, "mean_ms": 2.0, "p95_ms": 3.0, "std_ms": 0.1, "runs": 40}
            figures |= {"stable": spread <= 0.01, "spread": spread, "cores": [5]}
            figures |= {"ratio": figures["median_ms"] / REFERENCE_MS, "beside_ms": REFERENCE_MS}
            return subprocess.CompletedProcess(arguments, 0, json.dumps(figures), "")

        monkeypatch.setattr(host.HostMeter, "_run_timer", run_timer)
        monkeypatch.setattr(host.HostMeter, "_reference_first_ms", REFERENCE_MS)
        try:
            return meter.measure(path)
        finally:
            assert left == [], "it was timed less often"

    return measure


def test_what_was_observed_is_kept(scripted):
    latency = scripted(host.make(host.Config()), 0.005)
    references = {"reference_ms": REFERENCE_MS, "reference_first_ms": REFERENCE_MS}
    assert latency.details == {"stable": True, "spread": 0.005, "cores": [5], **references}
    # The 1 % of `stable` is a fact. What decides is the spread.
    unstable = scripted(host.make(host.Config()), 0.1).details
    assert unstable == {"stable": False, "spread": 0.1, "cores": [5], **references}


def test_an_unstable_timing_is_taken_again(scripted, monkeypatch):
    """After a pause, twice as long each time: what disturbs a timing lasts."""
    pauses = []
    monkeypatch.setattr(host.time, "sleep", pauses.append)
    latency = scripted(host.make(host.Config()), 0.5, 0.25, 0.02)
    assert pauses == [0, 1.0, 2.0]
    assert latency.median_ms == 1.02 and latency.details["spread"] == 0.02
    assert latency.details["unstable_before"] == [
        {"spread": 0.5, "median_ms": 1.5},
        {"spread": 0.25, "median_ms": 1.25},
    ]


def test_of_timings_that_stay_unsteady_the_steadiest_counts_within_a_bound(scripted):
    latency = scripted(host.make(host.Config(attempts=3, pause_seconds=0.0)), 0.5, 0.2, 0.3)
    assert latency.median_ms == 1.2 and [each["spread"] for each in latency.details["unstable_before"]] == [0.5, 0.3]


@pytest.fixture
def timers(monkeypatch, tmp_path):
    """`timers(*ends)` returns what a meter makes of a file whose timing processes end so: a status, or None: never."""
    path = tmp_path / "network.tflite"
    path.write_bytes(b"the processes are scripted")
    figures = {"median_ms": 1.0, "mean_ms": 2.0, "p95_ms": 3.0, "std_ms": 0.1, "runs": 40}
    figures |= {"stable": True, "spread": 0.0, "cores": [5], "ratio": 1.0 / REFERENCE_MS, "beside_ms": REFERENCE_MS}

    def measure(*ends):
        left = list(ends)

        def run(command, timeout, **more):
            status = left.pop(0)
            if status is None:
                raise subprocess.TimeoutExpired(command, timeout)
            return subprocess.CompletedProcess(command, status, json.dumps(figures), "it says no")

        monkeypatch.setattr(host.subprocess, "run", run)
        monkeypatch.setattr(host.HostMeter, "_reference_first_ms", REFERENCE_MS)
        try:
            return host.make(host.Config(warmup_seconds=0.2, max_seconds=99.0)).measure(path)
        finally:
            assert left == []

    return measure


@pytest.mark.parametrize(
    "ends,words", [((-9, -11), "signal 11"), ((-9, None), "taking longer than 399 s")], ids=["killed", "late"]
)
def test_a_network_that_costs_its_timing_process_twice_is_infeasible(timers, ends, words):
    with pytest.raises(KilledWorker) as error:
        timers(*ends)
    assert str(error.value) == f"The network cost the process that times it twice, at last by {words}"
    assert timers(ends[1], 0).latency_ms == 1.0
    with pytest.raises(InfeasibleArchitecture, match="The TFLite runtime refused the network: it says no"):
        timers(ends[1], 1)


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_timing_process_does_not_outlive_its_parent(tflite_file):
    program = (
        "import sys; from nas_tf.devices import host; "
        "host.make(host.Config(min_seconds=600, max_seconds=600)).measure(sys.argv[1])"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tflite_file)], cwd=ROOT)
    process = psutil.Process(parent.pid)
    # Once it has loaded the runtime it has begun for good.
    assert wait_until(lambda: [child for child in process.children() if has_loaded(child, "ai_edge_litert")], 60)
    (timer,) = process.children()
    parent.kill()
    parent.wait()
    psutil.wait_procs([timer], timeout=10)
    goes_on = timer.is_running() and timer.status() != psutil.STATUS_ZOMBIE
    if goes_on:
        timer.kill()
    assert not goes_on


def has_loaded(process, library):
    with contextlib.suppress(psutil.Error):
        return any(library in each.path for each in process.memory_maps())


def test_a_latency_that_stays_unstable_is_refused(scripted):
    with pytest.raises(EvaluationError) as refused:
        scripted(host.make(host.Config(max_spread=0.2, attempts=2, pause_seconds=0.0)), 0.5, 0.3)
    said = str(refused.value)
    assert "1.500 ms with a spread of 50.0%, 1.300 ms with a spread of 30.0%. Close other programs" in said
    assert "--host_max_seconds" in said and "--host_max_spread=0.2" in said and "\n" not in said


@pytest.mark.real
def test_a_real_timing_beyond_the_spread_is_refused(tflite_file):
    config = host.Config(
        warmup_seconds=0.0, min_seconds=0.02, max_seconds=0.05, max_spread=1e-9, attempts=2, pause_seconds=0.0
    )
    with pytest.raises(
        EvaluationError, match=r"no stable latency of .*file\.tflite: .* ms with .*, .* ms with .*%\. Clo"
    ):
        host.make(config).measure(tflite_file)


def test_a_brief_meter_takes_the_steadiest_of_its_tries(scripted):
    brief = host.make(host.Config()).brief()
    assert scripted(brief, 0.05).median_ms == 1.05
    latency = scripted(brief, 0.4, 0.2, 0.3)
    assert latency.median_ms == 1.2 and len(latency.details["unstable_before"]) == 2
    with pytest.raises(EvaluationError, match="no stable latency"):
        scripted(brief, 0.6, 0.7, 0.8)
    assert scripted(host.make(host.Config(max_spread=2.0)).brief(), 1.5, 1.6, 1.7).median_ms == 2.5


def tree(folder, files):
    """A folder like /sys/devices, of a dict from path to text."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")
    return folder


def capacities(*values):
    return {f"system/cpu/cpu{core}/cpu_capacity": value for core, value in enumerate(values)}


HYBRID = {"cpu_core/cpus": "0-7,16", "cpu_atom/cpus": "8-15"}


@pytest.mark.parametrize(
    "files,expected",
    [
        (HYBRID, [("performance", (0, 1, 2, 3, 4, 5, 6, 7, 16)), ("efficiency", (8, 9, 10, 11, 12, 13, 14, 15))]),
        (
            capacities(*[446] * 4, 871, 871, 1024),
            [("capacity 1024", (6,)), ("capacity 871", (4, 5)), ("capacity 446", (0, 1, 2, 3))],
        ),
        (capacities(*[1024] * 4), []),
        ({"system/cpu/cpu0/topology/core_id": 0, "cpu/cpus": "0-3"}, []),
        ({"cpu_core/cpus": "0-3", "cpu_atom/cpus": ""}, []),
        ({}, []),
    ],
    ids=["Intel hybrid", "Arm big.LITTLE", "Arm of one kind", "plain", "Intel without its efficient cores", "no Linux"],
)
def test_kinds_of_cores_are_told_apart_the_fastest_first(tmp_path, files, expected):
    assert _cores.kinds(tree(tmp_path, files), usable=lambda cores: cores) == expected


def test_cores_that_cannot_be_used_are_of_no_kind(tmp_path):
    def usable(cores):
        return tuple(core for core in cores if core >= withheld)

    tree(tmp_path, HYBRID)
    withheld = 4
    assert [cores for _, cores in _cores.kinds(tmp_path, usable)][0] == (4, 5, 6, 7, 16)
    withheld = 17
    assert _cores.kinds(tmp_path, usable) == []


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin processes to cores")
def test_asking_which_cores_can_be_used_pins_nothing():
    before = os.sched_getaffinity(0)
    some = tuple(sorted(before))[:1]
    assert _cores._usable((*some, 4000)) == some and _cores._usable((4000,)) == ()
    assert os.sched_getaffinity(0) == before


def test_cores_are_written_as_linux_writes_them():
    assert _cores.as_text((5, 0, 1, 2, 7, 8)) == "0-2,5,7-8"


@pytest.fixture
def hybrid(monkeypatch, tmp_path):
    """Makes this machine one of two kinds of cores; core 0 is the only fast one."""
    files = {"cpu_core/cpus": "0", "cpu_atom/cpus": f"1-{max(1, os.cpu_count() - 1)}"}
    kinds = functools.partial(_cores.kinds, tree(tmp_path, files), usable=lambda cores: cores)
    monkeypatch.setattr(_cores, "kinds", kinds)


@pytest.mark.real
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin processes to cores")
@pytest.mark.skipif(os.cpu_count() < 2, reason="it needs two cores")
def test_a_hybrid_machine_times_on_one_kind_of_core_and_its_description_names_it(hybrid, tflite_file):
    meter = host.make(
        host.Config(warmup_seconds=0.0, min_seconds=0.02, max_seconds=0.05, max_spread=10.0, retry_spread=10.0)
    )
    assert meter.measure(tflite_file).details["cores"] == [0]
    assert meter.describe()["core_kind"] == "performance (cores 0)"
    assert meter.brief().describe()["core_kind"] == "performance (cores 0)"
    # Also from a worker that is pinned to another kind.
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [1])
    try:
        assert meter.measure(tflite_file).details["cores"] == [0]
    finally:
        os.sched_setaffinity(0, mine)


def test_more_threads_than_fast_cores_run_on_the_next_kind_or_on_all(monkeypatch):
    monkeypatch.setattr(_cores, "kinds", lambda: [("performance", (0, 1)), ("efficiency", (2, 3, 4))])
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    chosen = [host.make(host.Config(num_threads=threads))._kind for threads in (2, 3, 4)]
    assert chosen == [("performance", (0, 1)), ("efficiency", (2, 3, 4)), ("several kinds", (0, 1, 2, 3, 4))]


def test_a_machine_of_one_kind_names_none(monkeypatch):
    monkeypatch.setattr(_cores, "kinds", lambda: [])
    facts = {"device", "processor", "system", "cores", "settings", "runtime", "python", "reference_first_ms"}
    assert set(host.make(host.Config()).describe()) == facts


@pytest.mark.real
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin processes to cores")
def test_the_timing_process_keeps_to_its_core(tflite_file):
    process = subprocess.run(
        [sys.executable, _host_timer.__file__, "--min_seconds=0.05", str(tflite_file)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(process.stdout)["cores"] == [max(os.sched_getaffinity(0))]


@pytest.mark.real
def test_compiled_model_is_timed_as_the_official_tool_times_it(tmp_path):
    """LiteRT's own tool of the wheel and our timer, in turns; this machine may be disturbed, so a few times."""
    path, pairs = tmp_path / "net.tflite", []
    keras.utils.set_random_seed(0)
    layers = [keras.Input((64, 64, 3)), *(keras.layers.Conv2D(32, 3, 2) for _ in range(3))]
    export.to_tflite(keras.Sequential(layers), path)  # a millisecond: the tool's figures have two decimals
    for _ in range(8):
        pairs.append((compiled_model.ours_ms(path, "compiled_model"), compiled_model.official_ms(path)))
        if abs(pairs[-1][0] / pairs[-1][1] - 1) < 0.05:
            return
    raise AssertionError(f"ours and LiteRT's medians in ms, eight times: {pairs}")


def test_the_runtime_compiled_model_has_a_reference_of_its_own(tflite_file):
    settings = {
        "warmup_seconds": 0.0,
        "min_seconds": 0.02,
        "max_seconds": 0.1,
        "max_spread": 10.0,
        "retry_spread": 10.0,
    }
    meter = host.make(host.Config(runtime="compiled_model", **settings))
    latency = meter.measure(tflite_file)
    assert latency.latency_ms > 0 and latency.ran_on == "cpu 3 of 3 nodes"
    assert meter.describe()["runtime"].endswith(", CompiledModel")
    with pytest.raises(InfeasibleArchitecture, match="The TFLite runtime refused the network: "):
        meter.measure(__file__)
