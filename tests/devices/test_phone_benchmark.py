"""The stand-in for benchmark_model on a simulated phone, through the real adb server."""

import hashlib
import os
import re
import subprocess
import threading

import pytest
from phone import Fault, Phone, benchmark_model, elf_header
from phone.client import FOLDER, TOOL, prepare, shell, wait_until

from nas_tf.devices._android.log import parse_benchmark_output

pytestmark = pytest.mark.real
BENCHMARK = (
    f"{TOOL} --graph={FOLDER}/small.tflite --num_threads=1 --num_runs=20 --min_secs=0.01 --warmup_runs=2 "
    "--warmup_min_secs=0.01"
)
MANY_RUNS = BENCHMARK.replace("--num_runs=20", "--num_runs=1000000000")  # more than any test waits for


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def figures(line):
    return {name: float(value) for name, value in re.findall(r"(\w+)=([\d.e+]+)", line)}


def test_benchmark_prints_what_it_measured(phone, ready, small_model):
    flags = "--report_peak_memory_footprint=true --x=1"
    result = shell(ready, f"echo $$ > {FOLDER}/pid; exec taskset f0 {BENCHMARK} {flags}")
    assert result.returncode == 0
    assert result.stdout.startswith(
        "INFO: STARTING!\nWARN: Unconsumed cmdline flags: --x=1\nINFO: Log parameter values verbosely: [0]\n"
    )
    for line in (
        f"Graph: [{FOLDER}/small.tflite]",
        f"Loaded model {FOLDER}/small.tflite",
        "Num threads: [1]",
        f"The input model file size (MB): {small_model.stat().st_size / 1e6:g}",
    ):
        assert f"INFO: {line}\n" in result.stdout
    assert "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n" in result.stderr
    assert "VERBOSE: Replacing 4 out of 4 node(s) with delegate (TfLiteXNNPackDelegate) node" in result.stderr
    warmup, runs = (figures(line) for line in re.findall(r"^INFO: (count=.*)\n$", result.stdout, re.MULTILINE))
    assert runs["count"] >= 20 and warmup["count"] >= 2
    assert runs["min"] <= runs["p5"] <= runs["median"] <= runs["p95"] <= runs["max"]
    timings = re.search(
        r"^INFO: Inference timings in us: Init: \d+, First inference: (\d+), Warmup \(avg\): (\S+), "
        r"Inference \(avg\): (\S+)$",
        result.stdout,
        re.MULTILINE,
    ).groups()
    assert [float(number) for number in timings] == [warmup["first"], warmup["avg"], runs["avg"]]
    assert re.search(r"^INFO: Memory footprint delta .*: init=\S+ overall=\S+$", result.stdout, re.MULTILINE)
    assert "INFO: Overall peak memory footprint (MB) via periodic monitoring: " in result.stdout
    [entry] = phone.events("benchmark")
    assert entry["argv"][:2] == [TOOL, f"--graph={FOLDER}/small.tflite"] and entry["mask"] == "f0"
    assert entry["model_sha256"] == sha256(small_model.read_bytes())
    assert (entry["status"], entry["stdout"], entry["stderr"]) == (0, result.stdout, result.stderr)
    assert phone.path(f"{FOLDER}/pid").read_text().strip() == str(entry["pid"])
    assert shell(ready, f"sha256sum {TOOL}").stdout == f"{sha256(elf_header('arm64-v8a'))}  {TOOL}\n"


def test_statistics_are_those_of_the_tool():
    # Times and lines of a real run of the tool (Android, GPU delegate), and of one whose warm-up was a single run.
    assert benchmark_model.statistics([328140, 309932]) == (
        "count=2 first=328140 curr=309932 min=309932 max=328140 avg=319036 std=9104 p5=309932 median=328140 p95=328140"
    )
    assert benchmark_model.statistics([670083]) == "count=1 curr=670083 p5=670083 median=670083 p95=670083"


def test_benchmark_that_cannot_start(phone, ready, tmp_path):
    shell(ready, f"echo no model > {FOLDER}/bad.tflite; cp {TOOL} {FOLDER}/x86; chmod 644 {FOLDER}/x86")
    result = shell(ready, BENCHMARK.replace("small", "bad"))
    assert result.returncode == 1 and "Inference timings" not in result.stdout
    assert [line.removeprefix("ERROR: ") for line in result.stderr.splitlines()] == [
        "The model is not a valid Flatbuffer buffer",
        f"Failed to load model {FOLDER}/bad.tflite",
        "Benchmarking failed.",
    ]
    result = shell(ready, BENCHMARK.replace("small", "none"))
    assert result.returncode == 1 and f"ERROR: Could not open '{FOLDER}/none.tflite'." in result.stderr
    assert phone.events("benchmark")[-1]["model_sha256"] is None
    assert "ERROR: Failed to parse flag 'num_runs'" in shell(ready, BENCHMARK.replace("=20", "=x")).stderr
    for command, status, reason in [
        (f"{FOLDER}/x86", 126, "can't execute: Permission denied"),
        (f"{FOLDER}/none", 127, "inaccessible or not found"),
    ]:
        result = shell(ready, f"cd {FOLDER} && {command} --graph=x")
        assert (result.returncode, result.stderr) == (status, f"/system/bin/sh: {command}: {reason}\n")
    ready.sync.push(elf_header("x86_64"), f"{FOLDER}/x86", 0o755)
    result = shell(ready, f"timeout 50 {FOLDER}/x86 --graph=x")
    assert (result.returncode, result.stderr.split(": ", 2)[2]) == (126, "not executable: 64-bit ELF file\n")
    assert shell(ready, f"taskset 0 {BENCHMARK}").returncode == 1
    assert len(phone.events("benchmark")) == 3


@pytest.mark.parametrize(
    "gpu, logs, line",
    [
        ("all", "split", "the model graph will be completely executed by the delegate."),
        ("part", "stderr", "the model graph will be partially executed by the delegate w/ 1 delegate kernels."),
        ("none", "stdout", "ERROR: Failed to apply GPU delegate.\nERROR: Benchmarking failed.\n"),
    ],
)
def test_gpu_takes_what_the_phone_says(tmp_path, adb, small_model, gpu, logs, line):
    with Phone(tmp_path / "one", gpu=gpu, logs=logs) as phone:
        device = adb.client.device(adb.connect(phone))
        prepare(device, small_model)
        result = shell(device, f"{BENCHMARK} --use_gpu=true")
    assert line in (result.stderr if logs == "stderr" else result.stdout)
    assert result.returncode == (1 if gpu == "none" else 0)
    assert (result.stdout == "", result.stderr == "") == (logs == "stderr", logs == "stdout")
    assert ("TfLiteXNNPackDelegate" in result.output) == (gpu == "part")


def test_benchmarks_that_end_wrong(phone, ready):
    kinds = ["benchmark_killed", "benchmark_truncated", "benchmark_garbled"]
    phone.add(Fault(kinds[0]), Fault(kinds[1], after="median="), Fault(kinds[2]))
    killed, truncated, garbled, well = (shell(ready, BENCHMARK) for _ in range(4))
    assert killed.returncode == 137 and killed.stdout.endswith("count=")
    assert truncated.returncode == 0 and truncated.stdout.endswith("median=")
    assert garbled.returncode == 0 and re.search(r"Inference \(avg\): \S*\?", garbled.stdout)
    assert well.returncode == 0 and "?" not in well.stdout and "Inference (avg)" in well.stdout
    entries = phone.events("benchmark")
    assert [entry["status"] for entry in entries] == [137, 0, 0, 0]
    assert [entry["stdout"] for entry in entries] == [r.stdout for r in (killed, truncated, garbled, well)]
    assert [entry["kind"] for entry in phone.events("fault")] == kinds


def test_benchmark_that_stops_is_ended_by_its_client_or_by_its_process_id(adb, phone, ready):
    phone.add(Fault("benchmark_stopped", after="Running benchmark", times=2))
    client = subprocess.Popen(
        [adb.path, "-s", ready.serial, "shell", BENCHMARK],
        env=adb.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    phone.wait_for("fault")
    client.kill()
    client.wait()
    assert phone.wait_for("benchmark")["status"] is None
    assert wait_until(lambda: not phone.processes())
    results = []
    command = f"echo $$ > {FOLDER}/pid; exec taskset f0 {BENCHMARK}"
    thread = threading.Thread(target=lambda: results.append(shell(ready, command)))
    thread.start()
    phone.wait_for("fault", count=2)
    assert shell(ready, f"kill -9 $(cat {FOLDER}/pid)").returncode == 0
    thread.join()
    assert results[0].returncode == 137 and results[0].stdout.endswith("Running benchmark")


@pytest.mark.parametrize("children_survive", [False, True])
def test_benchmark_of_an_unplugged_phone(tmp_path, adb, small_model, children_survive):
    with Phone(tmp_path / "one", children_survive=children_survive) as phone:
        device = adb.client.device(adb.connect(phone))
        prepare(device, small_model)
        phone.add(Fault("unplug_in_benchmark"))
        with pytest.raises(EOFError):
            shell(device, f"{MANY_RUNS}; echo end")
        entry = phone.wait_for("benchmark")
        assert entry["status"] is None and entry["stdout"].endswith("count=")
        adb.wait_for_state(device.serial, "device")
        assert (entry["pid"] in phone.processes()) == children_survive
        if children_survive:
            assert shell(device, f"kill -9 {entry['pid']}").returncode == 0
            assert wait_until(lambda: not phone.processes())


def shape(text):
    """The lines of a run with their figures, paths and sizes left open, as a set: memory lines differ by machine."""
    lines = [re.sub(r"[\d.]+(e[+-]\d+)?", "#", re.sub(r"/\S+", "PATH", line)) for line in text.splitlines()]
    return {line for line in lines if line and "emory" not in line and "p5=" not in line}


def test_the_stand_in_prints_what_the_official_tool_prints(phone, ready, small_model):
    """Needs the official benchmark_model for Linux, by the variable BENCHMARK_MODEL; no package registry has it."""
    official = os.environ.get("BENCHMARK_MODEL")
    if not official:
        pytest.skip("BENCHMARK_MODEL names no official benchmark_model for Linux")
    flags = ["--num_threads=1", "--num_runs=20", "--min_secs=0.01", "--warmup_runs=2", "--warmup_min_secs=0.01"]
    theirs = subprocess.run([official, f"--graph={small_model}", *flags], capture_output=True, text=True, timeout=60)
    ours = shell(ready, BENCHMARK)
    assert (theirs.returncode, shape(theirs.stdout)) == (ours.returncode, shape(ours.stdout))
    for text in (theirs.stdout + theirs.stderr, ours.stdout + ours.stderr):
        assert len(parse_benchmark_output(text)) == 1
