"""Phones as the device: the real meter, through real adb, to simulated phones; every fault that can be scripted."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

import pytest
from phone import Fault, Phone, elf_header
from phone.client import FOLDER, TOOL, wait_until
from phone.meter import QUICK, given
from support import ROOT

from nas_tf.devices import android
from nas_tf.devices._android.bench import REFERENCE
from nas_tf.devices._android.runner import PID_FILE
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError
from nasnet_tf.spaces.nasnet import NASNetSpace, Scale

pytestmark = pytest.mark.real


def test_a_latency_is_the_median_of_what_the_phone_gave(phone, meter_of, small_model):
    meter = meter_of(phone, repeats=3)
    meter.check()
    latency = meter.measure(small_model)
    assert latency.details["counted_runs"] == 3
    runs = latency.details["tool_runs"][-latency.details["counted_runs"] :]
    assert latency.latency_ms == statistics.median(run["median_ms"] for run in runs)
    assert {run["median_ms"] for run in runs} <= given(phone)
    assert latency.runs >= 5 and latency.details["mask"] == "f0" and latency.details["threads"] == 1
    assert phone.events("benchmark")[-1]["mask"] == "f0"
    assert latency.details["model"] == "Google Pixel 2 XL" and latency.details["before"]["thermal_status"] == 0
    assert latency.details["reference"]["baseline_ms"] in given(phone)
    assert json.loads(json.dumps(latency.to_json()))["details"]["serial"] == phone.address
    left = sorted(path.name for path in phone.path("/data/local/tmp/nas_tf").iterdir())
    assert left == ["benchmark_model", "reference.tflite"]


def test_fixed_performance_is_turned_off_again(phone, meter_of, small_model):
    meter = meter_of(phone)
    assert meter.measure(small_model).details["fixed_performance"] is True
    switched = [each["command"] for each in phone.events("shell") if "fixed-performance" in each["command"]]
    assert "true" in switched[0] and "false" in switched[-1]
    assert phone.fixed_performance == "false"


def test_a_reference_that_never_agrees_is_no_reference(phone, meter_of):
    with pytest.raises(EvaluationError, match=r"is unstable: it times the reference network at [\d., ]+ ms"):
        meter_of(phone, max_spread=1e-9, attempts=1, repeats=3, num_runs=2).check()


def test_what_a_killed_worker_left_is_put_right(phone, meter_of):
    meter = meter_of(phone)
    meter.check()
    left = phone.path("/data/local/tmp/nas_tf/0123456789abcdef.tflite")
    left.write_bytes(b"left behind")
    with meter.held(phone.address) as bench:
        bench._adb.run("cmd power set-fixed-performance-mode-enabled true")
        # A tool that has outlived its connection.
        flags = f"--graph={FOLDER}/reference.tflite --min_secs=600 --max_secs=600"
        bench._adb.run(f"nohup {TOOL} {flags} > /dev/null 2>&1 & echo $! > {PID_FILE}")
    assert wait_until(lambda: tool_of(phone))
    meter.close()
    assert wait_until(lambda: not tool_of(phone))
    assert not left.exists() and phone.path("/data/local/tmp/nas_tf/reference.tflite").exists()
    assert phone.fixed_performance == "false"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_phone_is_left_as_it_was_found(adb, tmp_path, binary, small_model, monkeypatch, number):
    """By nas-phone when it is stopped in mid-timing; by a search for its worker, which it kills."""
    for name, value in adb.env.items():
        monkeypatch.setenv(name, value)
    with Phone(tmp_path / "one", children_survive=True) as phone:
        settings = {**QUICK, "benchmark_binary": binary, "serials": (adb.connect(phone),)}
        meter = android.make(android.Config(**settings))
        meter.check()
        endless = {**settings, "serials": phone.address, "min_seconds": 600, "max_seconds": 600}
        flags = [f"--android_{name}={value}" for name, value in endless.items()]
        program = "import sys; from nas_tf.apps.phone import cli; sys.argv[0] = 'nas-phone'; cli()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, "measure", str(small_model), f"--out_dir={tmp_path}", *flags],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        folder = phone.path("/data/local/tmp/nas_tf")

        def is_timing():
            names = [path.name for path in folder.glob("*.tflite")]
            return len(names) == 2 and phone.fixed_performance == "true" and tool_of(phone)

        assert wait_until(is_timing, 60), process.communicate(timeout=10)
        process.send_signal(number)
        begin = time.monotonic()
        _, said = process.communicate(timeout=60)
        if number == signal.SIGKILL:
            assert len(list(folder.glob("*.tflite"))) == 2 and phone.fixed_performance == "true"
            meter.close()
        else:
            assert process.returncode == 143 and said.count("\n") == 1 and "nas-phone: stopped." in said, said
            assert time.monotonic() - begin < 5.5
        assert sorted(path.name for path in folder.iterdir()) == ["benchmark_model", "reference.tflite"]
        assert phone.fixed_performance == "false" and wait_until(lambda: not tool_of(phone), 10)


def test_a_table_that_is_stopped_leaves_its_phones_as_they_were_found(adb, tmp_path, binary, small_model):
    """While threads time on two phones. All files are there already, so that nothing is converted."""
    settings = {"blocks": 1, "operations": ("identity", "conv_1x1")}
    space, scale = NASNetSpace(**settings), Scale(16, 10, 1, 4, "cifar")
    files = tmp_path / "table.timings" / "files"
    files.mkdir(parents=True)
    names = [unit.name for unit in space.all_units(scale)] + [f"network{each:04d}" for each in range(12)]
    for name in names:
        shutil.copy(small_model, files / f"{name}.tflite")
    flags = {
        "search_space": "nasnet",
        "nasnet_blocks": 1,
        "nasnet_operations": "identity,conv_1x1",
        "deploy_stem": "cifar",
        "deploy_image_size": 16,
        "deploy_cells": 1,
        "deploy_filters": 4,
        "num_classes": 10,
        "num_calibration": 10,
        "num_validation": 2,
        "device": "android",
        "out": tmp_path / "table.json",
    }
    # A unit's timing is cut short; a network's would take ten minutes.
    phone_flags = {**QUICK, "benchmark_binary": binary, "min_seconds": 600, "max_seconds": 600}
    program = "import sys; from nas_tf.apps.scripts import table; sys.argv[0] = 'nas-table'; table()"
    with (
        Phone(tmp_path / "one", children_survive=True) as one,
        Phone(tmp_path / "two", serial="712KPBF1235566", children_survive=True) as two,
    ):
        phone_flags["serials"] = f"{adb.connect(one)},{adb.connect(two)}"
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", program),
                *(f"--{name}={value}" for name, value in flags.items()),
                *(f"--android_{name}={value}" for name, value in phone_flags.items()),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **adb.env},
        )
        assert wait_until(lambda: process.poll() is not None or (tool_of(one) and tool_of(two)), 60)
        assert process.poll() is None, process.communicate()
        assert one.fixed_performance == two.fixed_performance == "true"
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        _, said = process.communicate(timeout=60)
        # A watching thread would end it after 4.5 s.
        assert time.monotonic() - begin < 5.5
        assert process.returncode == 130 and "nas-table: stopped." in said and "Traceback" not in said, said
        for phone in (one, two):
            left = sorted(path.name for path in phone.path(FOLDER).iterdir())
            assert phone.fixed_performance == "false" and left == ["benchmark_model", "reference.tflite"]
            assert wait_until(lambda: not tool_of(phone), 10)  # noqa: B023


def test_a_phone_that_a_sleeping_thread_holds_is_left_as_it_was_found(phone, meter_of, small_model):
    """It waits for ten minutes, for the phone to cool; nothing is asked of the phone once the meter is closed."""
    meter = meter_of(phone, max_spread=1e-9, attempts=2, repeats=3, num_runs=2, cool_seconds=600)

    def time_it():
        with contextlib.suppress(EvaluationError):  # which it hears when it wakes
            meter.measure(small_model)

    threading.Thread(target=time_it, daemon=True).start()
    phone.wait_for("benchmark", 3)
    assert phone.fixed_performance == "true"
    begin = time.monotonic()
    meter.close()
    assert time.monotonic() - begin < 4.5  # which a stop has
    assert phone.fixed_performance == "false"
    with pytest.raises(EvaluationError, match="is no longer timed on"):
        meter.bench(phone.address).measure(small_model)


def tool_of(phone):
    """The ids of the phone's processes that time the small network."""
    found = []
    for process in phone.processes():
        with contextlib.suppress(OSError):
            words = pathlib.Path(f"/proc/{process}/cmdline").read_bytes()
            found += [process] if b"--min_secs=600" in words and b"benchmark_model" in words else []
    return found


def test_settings_reach_the_tool(phone, meter_of, small_model):
    latency = meter_of(phone, num_threads=2, mask="c", num_runs=7).measure(small_model)
    last = phone.events("benchmark")[-1]
    assert last["mask"] == "c" and "--num_threads=2" in last["argv"]
    assert any("--num_runs=7" in run["argv"] for run in phone.events("benchmark"))
    assert latency.details["flags"]["Num threads"] == "2"


# Each of them strikes once; the phone is there again afterwards, and so is a latency that it gave.
MENDABLE = [
    Fault("unplug_in_push", match="[.]tflite$", after=1000, away=0.0),
    Fault("unplug_in_benchmark", away=0.0),
    Fault("unplug_in_shell", match="thermalservice", after="Thermal", away=0.0),
    Fault("unplug_after_shell", match="sha256sum", away=0.0),
    Fault("hang_in_push", match="[.]tflite$"),
    Fault("hang_in_benchmark"),
    Fault("hang_in_shell", match="sha256sum"),
    Fault("push_short", match="[.]tflite$"),
    Fault("push_replaced", match="[.]tflite$"),
    Fault("no_space", match="[.]tflite$"),
    Fault("benchmark_killed"),
    Fault("benchmark_stopped"),
    Fault("benchmark_truncated"),
    Fault("benchmark_garbled"),
]


@pytest.mark.parametrize("fault", MENDABLE, ids=lambda fault: fault.kind)
def test_a_fault_that_passes_costs_no_latency_and_gives_no_wrong_one(fault, phone, meter_of, small_model):
    meter_of(phone).check()
    phone.add(dataclasses.replace(fault))
    latency = meter_of(phone, answer_seconds=0.8).measure(small_model)
    assert phone.events("fault"), "the fault never struck"
    assert {run["median_ms"] for run in latency.details["tool_runs"]} <= given(phone)
    assert phone.wait_for("shell") is not None and not phone.processes()


def test_a_hot_phone_is_waited_for(phone, meter_of, small_model):
    meter = meter_of(phone)
    phone.set(thermal=[3, 2, 1, 0])
    assert meter.measure(small_model).details["before"]["thermal_status"] == 0


def test_a_phone_that_stays_hot_gives_no_latency(phone, meter_of, small_model):
    meter = meter_of(phone, patience_minutes=0.01)
    phone.set(thermal=[2])
    with pytest.raises(EvaluationError, match=r"stayed unfit for 0\.01 minutes: its thermal status is 2, over 0"):
        meter.measure(small_model)


def test_a_phone_that_gets_hot_meanwhile_voids_what_it_measured(phone, meter_of, small_model):
    meter = meter_of(phone)
    meter.check()
    phone.set(thermal=[0, 1, 0])
    voided = meter.measure(small_model).details["voided"]
    assert len(voided) == 1 and voided[0]["why"].startswith("its thermal status is 1")


def test_runs_that_never_agree_are_refused_with_their_numbers(phone, meter_of, small_model):
    meter_of(phone).check()
    with pytest.raises(EvaluationError, match=r"gives no stable latency: unstable \[.*\] ms; unstable \[") as caught:
        # Of this network's milliseconds no two runs agree to the microsecond, in which the tool counts.
        meter_of(phone, max_spread=1e-9, attempts=2, repeats=3).measure(REFERENCE)
    assert "--android_max_spread" in str(caught.value)


def test_a_drift_of_the_reference_voids_and_a_pass_confirms(phone, meter_of, small_model, tmp_path):
    meter = meter_of(phone)
    meter.check()
    (memory,) = (tmp_path / "cache" / "nas_tf" / "phones").glob("*.json")
    known = json.loads(memory.read_text())
    for each in known.values():
        each |= {"baseline_ms": 1e6, "passed_at": 0.0}
    memory.write_text(json.dumps(known))
    with pytest.raises(UserError, match=r"times its reference network at .* 100% away from the 1000000\.000 ms"):
        meter_of(phone, max_drift=0.5).check()
    with pytest.raises(EvaluationError, match=r"the reference had drifted before \(reference .* ms, at first 1000000"):
        meter_of(phone, max_drift=0.5, attempts=1).measure(small_model)
    with meter.held(phone.address) as held:
        assert held.renew_reference()["baseline_ms"] < 1e6


def test_a_network_that_the_tool_refuses_is_infeasible(phone, meter_of, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"nothing of a network")
    with pytest.raises(InfeasibleArchitecture, match="benchmark_model cannot run the network"):
        meter_of(phone).measure(bad)


def test_a_delegate_takes_all_or_the_network_is_infeasible(environment, tmp_path, meter_of, small_model):
    with Phone(tmp_path / "all") as whole, Phone(tmp_path / "part", gpu="part") as part:
        assert meter_of(whole, delegate="gpu").measure(small_model).details["delegate"] == "gpu"
        assert "--use_gpu=true" in whole.events("benchmark")[-1]["argv"]
        with pytest.raises(UserError, match="cannot run the reference network as asked: Expected the gpu delegate"):
            meter_of(part, delegate="gpu").check()


def test_two_phones_measure_at_once_and_each_one_file_at_a_time(environment, tmp_path, meter_of, small_model):
    with Phone(tmp_path / "one") as one, Phone(tmp_path / "two") as two:
        meters = [meter_of(one, two) for _ in range(4)]
        meters[0].check()
        latencies = [None] * 4

        def measure(number):
            latencies[number] = meters[number].measure(small_model)

        threads = [threading.Thread(target=measure, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {each.details["serial"] for each in latencies} == {one.address, two.address}
        assert {each.latency_ms for each in latencies} <= given(one, two)


def test_the_job_of_a_lost_phone_moves_to_another(environment, tmp_path, meter_of, small_model):
    with Phone(tmp_path / "one") as one, Phone(tmp_path / "two") as two:
        meter = meter_of(one, two)
        meter.check()
        one.add(Fault("unplug_in_benchmark", away=None))
        two.add(Fault("unplug_in_benchmark", away=0.0))
        assert meter.measure(small_model).details["serial"] == two.address


def test_phones_of_different_models_are_refused_together(environment, tmp_path, meter_of, small_model):
    with Phone(tmp_path / "one") as one, Phone(tmp_path / "two", model="Pixel 3") as two:
        with pytest.raises(UserError, match=r"Expected phones of one model.*Pixel 2 XL.*Pixel 3.*mixed_models"):
            meter_of(one, two).check()
        meter_of(one, two, mixed_models=True).check()


def test_an_emulator_is_marked(environment, tmp_path, small_model, binary):
    with Phone(tmp_path / "emulator", emulator=True) as emulator:
        serial = environment.connect(emulator)
        own = tmp_path / "x86"
        own.write_bytes(elf_header("x86_64"))
        meter = android.make(android.Config(**{**QUICK, "serials": (serial,), "benchmark_binary": str(own)}))
        meter.check()
        latency = meter.measure(small_model)
        assert latency.details["note"] == meter.describe()["note"] == "emulator: not a phone's latency"
        assert meter.describe()["device"] == "emulator" and latency.details["mask"] == "0"
        assert emulator.events("benchmark")[-1]["mask"] is None


def test_names_cannot_reach_a_shell(phone, meter_of, tmp_path, small_model):
    trap = tmp_path / "a 'b' \"c\"; $(touch hacked) `touch hacked` & | > x.tflite"
    trap.write_bytes(small_model.read_bytes())
    meter_of(phone).measure(trap)
    assert not list(tmp_path.rglob("hacked"))
    assert all("hacked" not in each["command"] for each in phone.events("shell"))


def test_a_serial_cannot_reach_a_shell(environment, binary, tmp_path):
    serial = "x; touch hacked; $(touch hacked) 'y"
    with pytest.raises(UserError, match="is absent"):
        android.make(android.Config(serials=(serial,), benchmark_binary=binary)).check()
    assert not list(tmp_path.rglob("hacked"))
