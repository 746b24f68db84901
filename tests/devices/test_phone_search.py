"""A search with its phones: two of them, simulated, through real adb, while every scripted fault strikes once."""

import hashlib
import http.server
import json
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile

import pytest
from phone import Fault, Phone, elf_header
from phone.client import wait_until
from phone.meter import QUICK, given
from support import assert_one_line, readme_commands, script

from nas_tf.apps import _phone_check
from nas_tf.apps import phone as phone_app
from nas_tf.devices import android

pytestmark = pytest.mark.real

FAULTS = {
    "one": [
        Fault("unplug_in_push", match="[.]tflite$", after=500, away=0.3),
        Fault("hang_in_benchmark"),
        Fault("benchmark_truncated"),
        Fault("unplug_in_shell", match="thermalservice", after="Thermal", away=0.0),
        Fault("push_replaced", match="[.]tflite$"),
        Fault("benchmark_killed"),
        Fault("no_space", match="[.]tflite$"),
    ],
    "two": [
        Fault("hang_in_push", match="[.]tflite$"),
        Fault("unplug_in_benchmark", away=0.3),
        Fault("benchmark_garbled"),
        Fault("unplug_after_shell", match="sha256sum", away=0.0),
        Fault("push_short", match="[.]tflite$"),
        Fault("hang_in_shell", match="sha256sum"),
        Fault("benchmark_stopped"),
    ],
}


def quick_flags(binary, *phones):
    settings = {**QUICK, "benchmark_binary": binary, "serials": ",".join(each.address for each in phones)}
    return [f"--android_{name}={value}" for name, value in settings.items()]


def disturb(phone, adb, begun):
    """Once the phone's own faults have struck: it is hot, then cools; goes offline; comes back unauthorized; is slow;
    is itself again."""
    begun.wait(120)
    wait_until(lambda: {each["kind"] for each in phone.events("fault")} >= {each.kind for each in FAULTS["two"]}, 120)
    phone.set(thermal=[3, 2, 1, 0])
    phone.unplug(away=0.5)
    adb.wait_for_state(phone.address, "device")
    unauthorized = Fault("unauthorized")
    phone.add(unauthorized)
    phone.unplug(away=0.0)
    phone.wait_for("fault", kind="unauthorized")
    unauthorized.times = 0
    slow = Fault("slow", delay=0.002)
    phone.add(slow)
    phone.unplug(away=0.0)
    phone.wait_for("fault", kind="slow")
    time.sleep(1)
    slow.times = 0


def test_a_search_on_two_phones_survives_every_fault_and_records_what_they_gave(adb, tmp_path, binary, plain_space):
    run_dir = tmp_path / "run"
    with Phone(tmp_path / "one") as one, Phone(tmp_path / "two") as two:
        for phone in (one, two):
            adb.connect(phone)
        command = [
            *next(words for words in readme_commands("mnas-search") if "--device=android" in words),
            f"--run_dir={run_dir}",
            f"--search_space={plain_space}",
            "--dataset=digits",
            "--data_dir=",
            "--algorithm=random_search",
            "--num_trials=12",
            *quick_flags(binary, one, two),
            "--target_latency_ms=1",
            "--deploy_image_size=24",
            "--proxy_image_size=8",
            "--proxy_samples=100",
            "--proxy_epochs=1",
            "--num_workers=2",
            "--final_epochs=0",
        ]
        environment = {**adb.env, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        begun = threading.Event()
        watcher = threading.Thread(target=disturb, args=(two, adb, begun))
        watcher.start()

        def set_faults():
            # The start of a search is for its user to mend; faults strike once the phones are accepted.
            one.wait_for("benchmark", timeout=120)
            two.wait_for("benchmark", timeout=120)
            for phone, faults in ((one, FAULTS["one"]), (two, FAULTS["two"])):
                for fault in faults:
                    phone.add(fault)
            begun.set()

        setter = threading.Thread(target=set_faults)
        setter.start()
        process = script(*command, env=environment, timeout=500)
        setter.join()
        watcher.join()
        assert process.returncode == 0, process.stderr[-3000:]
        struck = [event["kind"] for phone in (one, two) for event in phone.events("fault")]
        rows = query(run_dir, "SELECT trial_id, value, details FROM measurements WHERE kind = 'latency'")
        details = [json.loads(text)["latency"]["details"] for _, _, text in rows]
        assert {each["serial"] for each in details} == {one.address, two.address}
        gave = given(one, two)
        for (_, latency_ms, _), each in zip(rows, details):
            assert latency_ms in gave
            assert {run["median_ms"] for run in each["tool_runs"]} <= gave
        assert query(run_dir, "SELECT DISTINCT state FROM trials") == [("done",)]
        assert query(run_dir, "SELECT COUNT(*) FROM trials") == [(12,)]
        wanted = {fault.kind for faults in FAULTS.values() for fault in faults} | {"unauthorized", "slow"}
        assert wanted <= set(struck), f"never struck: {wanted - set(struck)}"


def query(run_dir, sql):
    db = sqlite3.connect(run_dir / "trials.sqlite")
    rows = db.execute(sql).fetchall()
    db.close()
    return rows


@pytest.mark.storm
def test_a_search_that_is_stopped_in_mid_timing_leaves_the_phone_as_it_was_found(
    adb, phone, tmp_path, binary, plain_space
):
    adb.connect(phone)
    command = [
        pathlib.Path(sys.executable).parent / "mnas-search",
        f"--run_dir={tmp_path / 'run'}",
        f"--search_space={plain_space}",
        "--algorithm=random_search",
        "--device=android",
        *quick_flags(binary, phone),
        "--target_latency_ms=1",
        "--deploy_image_size=24",
        "--proxy_image_size=8",
        "--proxy_samples=100",
        "--proxy_epochs=1",
        "--num_workers=1",
        "--final_epochs=0",
    ]
    environment = {**adb.env, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    front = tmp_path / "run" / "pareto.csv"
    assert wait_until(lambda: front.exists() or process.poll() is not None, 300) and process.poll() is None
    phone.add(Fault("benchmark_stopped", times=float("inf")))
    phone.wait_for("fault", timeout=120, kind="benchmark_stopped")
    process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begin < 5.5 and process.returncode == 143
    assert "mnas-search: stopped." in said.strip().splitlines()[-1] and "pareto.csv" in said
    left = sorted(path.name for path in phone.path("/data/local/tmp/nas_tf").iterdir())
    assert left == ["benchmark_model", "reference.tflite"] and phone.fixed_performance == "false"
    assert wait_until(lambda: not phone.processes(), 10)


def test_nas_phone_measures_files_and_published_networks(adb, phone, tmp_path, binary, small_model):
    adb.connect(phone)
    environment = {**adb.env, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    odd = tmp_path / "a net; $(touch hacked).tflite"
    odd.write_bytes(small_model.read_bytes())
    out = tmp_path / "out"
    process = script(
        "nas-phone",
        "measure",
        odd,
        "mnasnet_small",
        "--image_size=48",
        "--num_classes=10",
        f"--out_dir={out}",
        *quick_flags(binary, phone),
        env=environment,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "Google Pixel 2 XL, Android 11, arm64-v8a, cores f0, 1 thread, cpu" in process.stdout
    lines = (out / "latencies.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in lines[1:]] == [
        [odd.name, "", "cpu"],
        ["mnasnet_small", "float32", "cpu"],
        ["mnasnet_small", "int8", "cpu"],
    ]
    assert {float(line.split(",")[3]) for line in lines[1:]} <= given(phone)
    assert (out / "latencies.png").read_bytes().startswith(b"\x89PNG") and not (tmp_path / "hacked").exists()


def test_nas_phone_says_what_is_wrong_in_one_line(adb, phone, tmp_path, binary):
    environment = {**adb.env, "XDG_CACHE_HOME": str(tmp_path / "cache"), "https_proxy": "http://127.0.0.1:9"}
    setup, check = readme_commands("nas-phone")
    process = script(*check, f"--out_dir={tmp_path}", env=environment)
    assert_one_line(process, 2, "adb lists no device")
    adb.connect(phone)
    assert_one_line(script(*setup, env=environment), 2, "benchmark_model", "--android_benchmark_binary")
    process = script(*check, f"--out_dir={tmp_path}", env=environment)
    assert_one_line(process, 2, "Expected TFLite's benchmark_model", "nas-phone setup")
    phone.set(low_power=1)
    process = script(*check, f"--out_dir={tmp_path}", *quick_flags(binary, phone), env=environment)
    assert_one_line(process, 2, "Battery saver is on")
    path = max(tmp_path.glob("nas-phone-*.zip"))
    assert "low_power" in _text_of(path) and "UserError" in _text_of(path)
    for words in ((), ("chekc",), ("measure",), ("check", "x")):
        assert_one_line(script("nas-phone", *words, env=environment), 2, "Expected")


def _text_of(path):
    with zipfile.ZipFile(path) as archive:
        return "\n".join(archive.read(name).decode() for name in archive.namelist())


def assert_checked(text, out_dir):
    """Asserts what `nas-phone check` says of a phone that is well, and the logs in its zip."""
    assert "8 cores, mask f0; thermal status 0" in text
    for row in ("mnasnet_a1            1", "mobilenet             4", "nasnet_mobile         4"):
        assert row in text
    assert "Pixel 1 78" in text and "Pixel 4 34.5" in text
    (path,) = out_dir.glob("nas-phone-*.zip")
    assert "Inference (avg)" in _text_of(path)


@pytest.fixture
def tool_server():
    """The address of a server of benchmark_model for arm64 phones, and the SHA-256 of what it serves."""
    content = elf_header("arm64-v8a")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{{version}}/{{platform}}", hashlib.sha256(content).hexdigest()
    server.shutdown()
    server.server_close()


def test_the_readmes_path_with_the_tool_that_is_fetched(adb, tmp_path, tool_server, small_model, plain_space):
    """setup, measure and a search, against a phone on which LiteRT's own benchmark_model runs."""
    environment = {**adb.env, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    address, digest = tool_server
    setup, _ = readme_commands("nas-phone")
    search = next(words for words in readme_commands("mnas-search") if "--device=android" in words)
    quick = [f"--android_{name}={value}" for name, value in QUICK.items()]
    with Phone(tmp_path / "one", tool="litert") as phone:
        adb.connect(phone)
        refused = script(*setup, f"--tool_address={address}", env=environment)
        assert_one_line(refused, 2, "nothing here vouches for it", f"--tool_sha256={digest}")
        process = script(*setup, f"--tool_address={address}", f"--tool_sha256={digest}", env=environment)
        assert process.returncode == 0 and f"SHA-256 {digest}" in process.stdout

        words = ("nas-phone", "measure", str(small_model), "--delegates=cpu,gpu,nnapi", f"--out_dir={tmp_path / 'out'}")
        process = script(*words, *quick, env=environment)
        assert process.returncode == 1  # one could not be measured, and is said
        lines = [line.split(None, 2)[1:] for line in process.stdout.splitlines() if line.startswith(small_model.name)]
        said = {delegate: rest for delegate, rest in lines}
        assert said["cpu"].endswith("cpu 4 of 4 nodes") and said["gpu"].endswith("gpu 4 of 4 nodes")
        assert "LiteRT's benchmark_model knows the delegates cpu, gpu, npu" in said["nnapi"]

        process = script(
            *search,
            f"--run_dir={tmp_path / 'run'}",
            f"--search_space={plain_space}",
            *(
                "--dataset=digits",
                "--data_dir=",
                "--algorithm=random_search",
                "--num_trials=2",
                "--target_latency_ms=1",
            ),
            *("--deploy_image_size=24", "--proxy_image_size=8", "--proxy_samples=100", "--proxy_epochs=1"),
            *("--num_workers=1", "--final_epochs=0", *quick),
            env=environment,
        )
        assert process.returncode == 0, process.stderr[-3000:]
        rows = query(tmp_path / "run", "SELECT value, details FROM measurements WHERE kind = 'latency'")
        details = [json.loads(text)["latency"]["details"] for _, text in rows]
        assert {value for value, _ in rows} <= given(phone) and len(rows) >= 2
        assert {each["figures_from"] for each in details} == {"file"}
        assert all(set(each["placement"]["nodes"]) == {"cpu"} for each in details)


@pytest.mark.parametrize("tool", ["tflite", "litert"])
def test_nas_phone_check_times_published_networks(environment, tool, tmp_path, binary, small_model, monkeypatch):
    """With a small network in each file: the published ones are built, and converted in the test below."""
    monkeypatch.setattr(phone_app, "to_tflite", lambda model, path, *_: shutil.copy(small_model, path))
    monkeypatch.setattr(_phone_check, "REPEATS", 3)
    said = []
    with Phone(tmp_path / "one", tool=tool) as phone:
        config = android.Config(**{**QUICK, "serials": (environment.connect(phone),), "benchmark_binary": binary})
        phone_app.check(phone_app.PhoneSettings(out_dir=str(tmp_path)), config, said.append)
    assert_checked("\n".join(said), tmp_path)


@pytest.mark.storm
@pytest.mark.parametrize("tool", ["tflite", "litert"])
def test_nas_phone_check_times_whole_networks(adb, tool, tmp_path, binary):
    environment = {**adb.env, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    _, check = readme_commands("nas-phone")
    with Phone(tmp_path / "one", tool=tool) as phone:
        adb.connect(phone)
        flags = [*quick_flags(binary, phone), "--android_num_runs=1", "--android_answer_seconds=30"]
        process = script(*check, f"--out_dir={tmp_path}", *flags, env=environment)
    assert process.returncode == 0, process.stderr[-3000:]
    assert_checked(process.stdout, tmp_path)
