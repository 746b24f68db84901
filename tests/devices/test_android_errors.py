"""What is wrong with a phone, or with what speaks to it, in one clear line each; the tool and how it is fetched."""

import functools
import hashlib
import http.server
import json
import pathlib
import threading

import pytest
from logs import LITERT
from phone import Fault, Phone, elf_header
from phone.meter import QUICK
from support import ROOT

from nas_tf.apps import _phone_check
from nas_tf.devices import android
from nas_tf.devices._android import adb as adb_module
from nas_tf.devices._android import download, tool
from nas_tf.devices._android import phone as facts
from nas_tf.devices._android.adb import AdbFailed
from nas_tf.devices._android.bench import Bench
from nas_tf.devices._android.runner import Runner
from nas_tf.trial import EvaluationError, UserError

SAMPLES = ROOT / "tests" / "data" / "adb_samples"


def test_no_device(environment, binary):
    with pytest.raises(UserError, match="adb lists no device: plug it in, turn on USB debugging"):
        android.make(android.Config(benchmark_binary=binary)).check()


def test_several_devices_and_none_chosen(environment, tmp_path, binary):
    with Phone(tmp_path / "one") as one, Phone(tmp_path / "two") as two:
        serials = [environment.connect(one), environment.connect(two)]
        with pytest.raises(UserError, match=r"adb lists several devices: .*\(device\).*Choose with --android_serials"):
            android.make(android.Config(benchmark_binary=binary)).check()
        everything = android.make(android.Config(**QUICK, serials=("all",), benchmark_binary=binary))
        assert sorted(everything.fleet.serials) == sorted(serials)


def test_unauthorized(environment, phone, binary):
    phone.add(Fault("unauthorized"))
    environment.run("connect", phone.address)
    with pytest.raises(UserError, match=r"is unauthorized: accept the dialog"):
        android.make(android.Config(benchmark_binary=binary)).check()


def test_offline(environment, phone, binary):
    serial = environment.connect(phone)
    phone.unplug(away=None)
    environment.wait_for_state(serial, "offline")
    with pytest.raises(UserError, match=r"is offline: unplug and plug it in"):
        android.make(android.Config(benchmark_binary=binary)).check()


def test_no_adb(monkeypatch):
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/no/such/adb")
    monkeypatch.setenv("PATH", "/no/such")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")  # nothing listens there
    with pytest.raises(UserError, match="adb"):
        adb_module.list_phones()


@pytest.mark.parametrize(
    "state,words",
    [
        ({"free_kb": 2000}, r"The storage of .* is full: 1 MiB are free"),
        ({"battery_level": 9}, r"The battery of .* is at 9 %: charge it to 20 %"),
        ({"low_power": 1}, r"Battery saver is on"),
    ],
)
def test_condition(phone, meter_of, state, words):
    phone.set(**state)
    with pytest.raises(UserError, match=words):
        meter_of(phone).check()


def test_a_tool_for_another_processor(phone, meter_of, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_bytes(elf_header("x86_64"))
    with pytest.raises(UserError, match=r"Expected a benchmark_model for arm64-v8a, .* for x86_64"):
        meter_of(phone, benchmark_binary=str(wrong)).check()
    wrong.write_text("#!/bin/sh")
    with pytest.raises(UserError, match="which is no program of Android or Linux"):
        meter_of(phone, benchmark_binary=str(wrong)).check()


def test_no_tool(phone, meter_of):
    with pytest.raises(UserError, match=r"Expected TFLite's benchmark_model for arm64-v8a.*run nas-phone setup"):
        meter_of(phone, benchmark_binary="").check()
    assert "bazel build -c opt --config=android_x86_64" in tool.how_to_get("x86_64")


def test_settings_that_cannot_be_are_refused():
    for settings in ({"repeats": 4}, {"mask": "0xf0"}, {"mask": "0"}, {"num_threads": 0}, {"max_spread": 0.0}):
        with pytest.raises(UserError, match=f"--android_{next(iter(settings))}"):
            android.Config(**settings)


@pytest.mark.parametrize("name,mask", [("pixel", 0xC), ("pixel-2-xl", 0xF0)])
def test_big_cores_of_real_phones(name, mask):
    """Pixel: two Kryo cores of 2.15 GHz beside two of 1.59; Pixel 2 XL: four A73 at 2.46 beside four A53 at 1.9."""
    sysfs = json.loads((SAMPLES / f"sysfs_cpu_{name}.json").read_text())
    frequencies = "\n".join(f"{path} {text.strip()}" for path, text in sysfs.items() if path.endswith("info_max_freq"))
    properties = (SAMPLES / f"getprop_{name}.txt").read_text()
    present = sysfs["/sys/devices/system/cpu/present"]
    found = facts.parse_facts("x", properties, "", present, "", frequencies, "")
    assert found.mask(1) == mask and found.abi == "arm64-v8a" and not found.is_emulator


def emulator_by(properties):
    return facts.parse_facts("x", properties, "0-3", "0-3", "", "", "").is_emulator


def test_getprop_redroid_like():
    """A container on x86_64, which has no QEMU; each of its names alone gives it away."""
    properties = (SAMPLES / "getprop_redroid_like.txt").read_text()
    assert emulator_by(properties)
    lines = [line for line in properties.splitlines() if "redroid" in line]
    assert len(lines) == 4 and all(map(emulator_by, lines))


def test_emulators_by_their_names():
    assert emulator_by((SAMPLES / "getprop_emulator.txt").read_text())
    assert emulator_by("[ro.hardware]: [unknown]\n[ro.product.model]: [WayDroid x86_64 Device]\n")
    assert emulator_by("[ro.hardware]: [cutf_cvm]\n") and emulator_by("[ro.boot.qemu]: [1]\n")
    # A phone with an Intel processor, as there were up to Android 6.
    intel = "[ro.hardware]: [mofd_v1]\n[ro.product.cpu.abi]: [x86_64]\n[ro.product.model]: [Z00A]\n"
    assert not emulator_by(intel + "[ro.build.version.sdk]: [23]\n")
    assert emulator_by(intel + "[ro.build.version.sdk]: [30]\n")


def test_masks_of_other_shapes():
    def mask(threads, *speeds):
        capacities = "\n".join(f"/cpu{core}/cpu_capacity {speed}" for core, speed in enumerate(speeds))
        return facts.parse_facts("x", "", "0-7", f"0-{len(speeds) - 1}", capacities, "", "").mask(threads)

    # One prime core, three big, four small (Snapdragon 855): four threads take both clusters, as TFLite's docs do.
    assert mask(1, 250, 250, 250, 250, 800, 800, 800, 1024) == 0x80
    assert mask(4, 250, 250, 250, 250, 800, 800, 800, 1024) == 0xF0
    assert mask(1, 100, 100) == 0  # all alike: nothing to choose
    assert facts.parse_facts("x", "", "", "0-1", "/cpu0/cpu_capacity 5", "", "").mask(1) == 0  # one tells nothing
    absent = facts.parse_facts("x", "", "0-2", "0,2", "/cpu0/c 5\n/cpu1/c 9\n/cpu2/c 7", "", "")
    assert absent.mask(1) == 4  # cpu1 is not there


def test_conditions_of_real_phones():
    battery = (SAMPLES / "dumpsys_battery_level9.txt").read_text()
    storage = "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/block/dm-5 1000 300 700 30% /data\n"
    for name, skin in (("qualcomm_6plus2", 30.1), ("tensor_pixel6class", 24.8)):
        thermal = (SAMPLES / f"dumpsys_thermalservice_{name}.txt").read_text()
        now = facts.parse_condition(thermal, battery, "1\n", storage)
        assert now.thermal_status == 0 and now.temperatures_c["skin"] == skin
        assert now.battery_percent == 9 and now.battery_saver and now.free_bytes == 700 * 1024
    silent = facts.parse_condition("Can't find service: thermalservice", "", "null", "")
    assert silent == facts.Condition(None, {}, None, False, None)


def test_dumpsys_battery_absent():
    battery = (SAMPLES / "dumpsys_battery_absent.txt").read_text()
    now = facts.parse_condition("", battery, "null", "")
    assert now == facts.Condition(None, {}, None, False, None)
    board = facts.parse_facts("x", "", "0-3", "0-3", "", "", "")
    assert facts.complaint(board, now, android.Config()) is None
    low = facts.parse_condition("", battery.replace("present: false", "present: true"), "null", "")
    assert "is at 0 %: charge it to 20 %" in facts.complaint(board, low, android.Config())


class _Phone:
    """Prints the same at every run of the tool."""

    serial = "x"

    def __init__(self, text):
        self.text = text

    def run(self, command, timeout_seconds=None):
        return 0, "Flags:\n\t--num_threads=-1\tint32\n" if command.endswith("--help 2>&1") else self.text, ""


def test_flags_that_the_tool_did_not_take():
    """LiteRT 2's own tool has no --use_xnnpack, which says nothing about the figure; any other flag would."""

    def runner(text, **settings):
        return Runner(_Phone(text), android.Config(**settings), 0, "benchmark_model", lambda name, text: None)

    remote, taken = f"{facts.FOLDER}/net.tflite", runner(LITERT)
    assert taken.run(remote).latency_ms == 12.53 and taken.unconsumed == ["--use_xnnpack=true"]
    with pytest.raises(AdbFailed, match=r"did not do as asked: --min_secs=1.0: not taken"):
        runner(LITERT.replace("--use_xnnpack=true", "--use_xnnpack=true --min_secs=1.0")).run(remote)
    with pytest.raises(AdbFailed, match="Use gpu: asked 1, not printed"):
        runner(LITERT, delegate="gpu").run(remote)
    with pytest.raises(AdbFailed, match="Num threads: asked 1, not printed"):
        runner(LITERT.replace("INFO: Num threads: [1]\n", "")).run(remote)


def test_check_says_which_flag_was_not_taken(phone, meter_of, monkeypatch):
    said, meter = [], meter_of(phone)
    monkeypatch.setattr(Bench, "unconsumed", ["--use_xnnpack=true"])
    _phone_check._check_phone(meter, phone.address, said.append)
    assert "benchmark_model did not take --use_xnnpack=true: LiteRT 2's own has no such flag" in said[-1]


class _Server(http.server.SimpleHTTPRequestHandler):
    """Serves one file, whole or from an offset; the first answer breaks off half-way."""

    content, asked, etag, moved_to, length = elf_header("arm64-v8a") + bytes(range(256)) * 400, [], '"one"', None, None

    def do_GET(self):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if self.headers.get("If-Range") not in (None, self.etag):
            start = 0
        self.asked.append(start)
        rest = self.content[start:]
        if self.moved_to:
            self.send_response(302)
            self.send_header("Location", self.moved_to)
            self.end_headers()
            return
        self.send_response(416 if start and not rest else 206 if start else 200)
        if start:
            size = len(self.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}" if rest else f"bytes */{size}")
        if self.etag:
            self.send_header("ETag", self.etag)
        self.send_header("Content-Length", str(self.length or len(rest)))
        self.end_headers()
        self.wfile.write(rest[: len(rest) // 2] if len(self.asked) == 1 else rest)

    def log_message(self, *args):
        pass


@pytest.fixture
def address():
    _Server.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{{version}}/{{platform}}"
    server.shutdown()
    server.server_close()


def test_the_tool_is_fetched_resumed_and_pinned(address):
    fetch = functools.partial(tool.fetch, "arm64-v8a", "2.3.0", address=address, confirm=lambda url, sha256: True)
    with pytest.raises(UserError, match=r"broke off after \d+ of \d+ bytes: the same command goes on from there"):
        fetch()
    fetched = fetch()
    assert _Server.asked == [0, len(_Server.content) // 2]
    assert pathlib.Path(fetched.path).read_bytes() == _Server.content and fetched.version == "2.3.0"
    assert tool.find("", "arm64-v8a") == fetched
    with pytest.raises(UserError, match=r"to have SHA-256 0+\. Received"):
        fetch(sha256="0" * 64)
    changed = _Server.content
    try:
        _Server.content = changed[:-1] + b"!"
        with pytest.raises(UserError, match=f"to have SHA-256 {fetched.sha256}. Received: .*; nothing was installed"):
            fetch()
    finally:
        _Server.content = changed
    pins = pathlib.Path(fetched.path).with_name("sha256.json")
    for written in ("{", "[]"):
        pins.write_text(written)
        with pytest.raises(UserError, match=r"sha256\.json is damaged: .*Remove it to fetch without comparing"):
            fetch()
    pathlib.Path(fetched.path).write_bytes(elf_header("arm64-v8a"))
    with pytest.raises(UserError, match="is not the file that was fetched"):
        tool.find("", "arm64-v8a")


def test_a_page_in_place_of_the_tool_is_not_kept(address, monkeypatch):
    _Server.asked.append(-1)  # answers are whole from the first on
    real = _Server.content
    monkeypatch.setattr(_Server, "content", b"<html>please log in</html>")
    with pytest.raises(UserError, match="which is no program of Android or Linux"):
        tool.fetch("arm64-v8a", "2.3.1", address=address)
    monkeypatch.setattr(_Server, "content", real)
    fetched = tool.fetch("arm64-v8a", "2.3.1", address=address, confirm=lambda url, sha256: True)
    assert fetched.version == "2.3.1"


def test_a_first_fetch_needs_the_users_word(address):
    _Server.asked.append(-1)
    digest = hashlib.sha256(_Server.content).hexdigest()
    with pytest.raises(UserError, match=f"nothing here vouches for it.*--tool_sha256={digest}"):
        tool.fetch("arm64-v8a", "2.3.0", address=address)
    with pytest.raises(UserError, match="Expected TFLite's benchmark_model"):
        tool.find("", "arm64-v8a")
    fetched = tool.fetch("arm64-v8a", "2.3.0", sha256=digest, address=address)
    assert fetched.sha256 == digest and _Server.asked[1:] == [0, len(_Server.content)]  # nothing is fetched twice


def test_a_download_goes_on_only_from_the_same_version(address, monkeypatch, tmp_path):
    path, half = tmp_path / "file", len(_Server.content) // 2
    with pytest.raises(UserError, match="broke off"):
        download.download(address, path)
    changed = bytes(reversed(_Server.content))
    monkeypatch.setattr(_Server, "etag", '"two"')
    monkeypatch.setattr(_Server, "content", changed)
    download.download(address, path)
    assert path.read_bytes() == changed and _Server.asked == [0, 0]
    for etag in (None, 'W/"weak"'):  # which no version can be told by
        path.unlink()
        _Server.asked.clear()
        monkeypatch.setattr(_Server, "etag", etag)
        with pytest.raises(UserError, match=f"broke off after {half}"):
            download.download(address, path)
        download.download(address, path)
        assert path.read_bytes() == changed and _Server.asked == [0, 0]


def test_a_download_is_bounded_in_size_and_time(address, monkeypatch, tmp_path):
    _Server.asked.append(-1)
    with pytest.raises(UserError, match="Expected at most 1,000"):
        download.download(address, tmp_path / "file", most_bytes=1000)
    with pytest.raises(UserError, match="took longer than 0 s"):
        download.download(address, tmp_path / "file", most_seconds=0.0)
    monkeypatch.setattr(_Server, "length", 10**12)
    with pytest.raises(UserError, match=r"is of 1,000,000,0.* bytes\. Expected at most"):
        download.download(address, tmp_path / "file")


def test_a_redirect_to_another_scheme_is_not_followed(address, monkeypatch, tmp_path):
    for target in ("https://example.org/tool", "ftp://example.org/tool"):
        monkeypatch.setattr(_Server, "moved_to", target)
        with pytest.raises(UserError, match=r"redirects to .*: it is not followed"):
            download.download(address, tmp_path / "file")
    monkeypatch.setattr(_Server, "moved_to", "file:///etc/passwd")
    with pytest.raises(UserError, match=r"redirects to .*: it is not followed|Cannot fetch"):
        download.download(address, tmp_path / "file")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("wrong", ["example.com/x", "https://", "file:///etc/passwd", "{version}{oops}{"])
def test_an_address_that_is_none_is_refused(wrong):
    with pytest.raises(UserError, match="Expected an address that begins with https://"):
        tool.fetch("arm64-v8a", "2.3.0", address=wrong)


def test_a_tool_that_is_not_there_cannot_be_fetched(address):
    with pytest.raises(UserError, match="no official one is published for x86_64"):
        tool.fetch("x86_64", "2.3.0", address=address)
    with pytest.raises(UserError, match=r"Cannot fetch http://127\.0\.0\.1:9/"):
        tool.fetch("arm64-v8a", "2.3.0", address="http://127.0.0.1:9/{version}/{platform}")


def test_errors_of_adb_are_evaluation_errors():
    assert issubclass(adb_module.PhoneGone, EvaluationError) and issubclass(adb_module.AdbFailed, EvaluationError)
