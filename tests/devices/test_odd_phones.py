"""A phone is itself, not its address; and phones that are unlike the usual one."""

import dataclasses
import json
import socket
import threading
import time

import pytest
from phone import Phone
from phone.client import FOLDER

from nas_tf.devices import android
from nas_tf.devices._android import adb as adb_module
from nas_tf.devices._android import phone as facts
from nas_tf.devices._android.adb import Adb, AdbFailed, PhoneGone
from nas_tf.resume import differences
from nas_tf.trial import EvaluationError, UserError

CPU = "/sys/devices/system/cpu"
# Seconds for the look at all cores, which starts tens of processes, on a machine that is busy.
PATIENCE = 20.0
PIXEL = "[ro.serialno]: [HT6C0]\n[ro.product.manufacturer]: [Google]\n[ro.product.model]: [Pixel]\n"


class Second:
    """A second way to a phone, as wireless debugging is beside USB: a port that passes everything on."""

    def __init__(self, phone):
        self._phone, self._listener = phone, socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._phone.port))
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    @staticmethod
    def _pass(source, target):
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            each.close()

    def close(self):
        self._listener.close()


@pytest.fixture
def second(phone):
    way = Second(phone)
    yield way
    way.close()


# A phone is itself.


def test_two_serials_of_one_phone_are_one_phone(phone, second, meter_of, capfd):
    meter = meter_of(phone, second)
    assert meter.fleet.serials == (phone.address,)
    assert capfd.readouterr().err == f"{second.address} is the phone {phone.address}: it is used once\n"
    one, other = (
        android.AndroidMeter(dataclasses.replace(meter.config, serials=(each.address,))) for each in (phone, second)
    )
    assert not differences(one.describe(), other.describe())  # a search goes on over the other way
    assert phone.serial not in json.dumps(one.describe())  # a table that is shared tells no serial


def test_two_serials_of_one_phone_are_never_timed_at_once(phone, second, meter_of, small_model):
    meters = [meter_of(each) for each in (phone, second)]
    threads = [threading.Thread(target=meter.measure, args=(small_model,)) for meter in meters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    commands = [each["command"] for each in phone.events("shell")]
    modes = [each.rsplit(" ", 1)[1] for each in commands if "set-fixed-performance-mode-enabled" in each]
    assert modes == ["true", "false"] * 2  # the second began when the first had ended


def test_a_phone_behind_another_address_keeps_its_reference(phone, second, meter_of, small_model):
    first = meter_of(phone).measure(small_model).details["reference"]["taken_at"]
    assert meter_of(second).measure(small_model).details["reference"]["taken_at"] == first


def test_phones_without_a_serial_number_are_told_apart_by_adb():
    def identity(serial, own):
        return facts.parse_facts(serial, PIXEL.replace("HT6C0", own), "", "", "", "", "").identity

    for own in ("", "unknown", "0123456789ABCDEF", "00000000", "EMULATOR33X1X20X0"):
        assert identity("a", own) == "a" and identity("b", own) == "b"
    assert identity("a", "HT6C0") == identity("b", "HT6C0") != identity("a", "HT6C1")
    assert identity("a", "HT6C0").startswith("Google Pixel ") and "HT6C0" not in identity("a", "HT6C0")


def test_another_phone_behind_the_address_of_a_lost_one_is_not_used(phone, meter_of, small_model, capfd):
    meter = meter_of(phone, patience_minutes=0.01)
    assert meter.measure(small_model).latency_ms > 0
    own = phone.sandbox.properties["ro.serialno"]
    state = phone.sandbox.elsewhere / "state" / "getprop"
    state.write_text(state.read_text().replace(own, "OTHER71"))
    meter.fleet.put_aside(phone.address, 0.0)  # as when it is lost
    with pytest.raises(PhoneGone, match="came free or back in time"):
        meter.measure(small_model)
    assert f"{phone.address} is Google Pixel 2 XL" in capfd.readouterr().err


def test_a_phone_known_by_an_mdns_name_is_connected_again(environment, monkeypatch):
    """Wireless debugging lists phones by such names; the adb server is asked to connect to it by that name."""
    name, asked = "adb-712KPBF1235565-AbCdEf._adb-tls-connect._tcp", []
    client = Adb(name, 5.0)
    connect = client._client.connect

    def noted(address, timeout=None):
        asked.append(address)
        return connect(address, timeout)

    monkeypatch.setattr(client._client, "connect", noted)
    assert not client.is_back()  # there is no such phone in this network
    assert asked == [name]


def test_cores_that_sleep_are_not_taken_for_the_phone(phone, tmp_path, meter_of):
    """The system tells no frequency of a core that sleeps, and the phone stays the same."""
    awake = meter_of(phone, answer_seconds=PATIENCE).describe()
    phone.path(f"{CPU}/online").write_text("0-3\n")
    for core in range(4, 8):
        phone.path(f"{CPU}/cpu{core}/cpufreq/cpuinfo_max_freq").unlink()
    asleep = meter_of(phone, answer_seconds=PATIENCE).describe()
    assert not differences(awake, asleep) and asleep["cores"] == 8 and asleep["mask"] == "f0"


def test_equal_capacities_of_a_phone_whose_fast_cores_sleep_pin_nothing_by_chance(tmp_path, meter_of):
    """What was told while all were awake counts; on a first look nothing is guessed."""
    equal = {f"{CPU}/cpu{core}/cpu_capacity": "1024\n" for core in range(8)}
    with Phone(tmp_path / "one", sysfs=equal) as phone:

        def sleep():
            phone.path(f"{CPU}/online").write_text("0-3\n")
            for core in range(4, 8):
                phone.path(f"{CPU}/cpu{core}/cpufreq/cpuinfo_max_freq").unlink()

        awake = meter_of(phone, answer_seconds=PATIENCE).describe()
        sleep()
        asleep = meter_of(phone, answer_seconds=PATIENCE).describe()
        assert not differences(awake, asleep) and asleep["mask"] == "f0"
        phone.path(f"{CPU}/online").write_text("0-7\n")
    with Phone(
        tmp_path / "two", sysfs={**equal, f"{CPU}/online": "0-3\n", f"{CPU}/cpu7/cpufreq/cpuinfo_max_freq": None}
    ) as phone:
        with pytest.raises(EvaluationError, match="does not tell how fast its cores are while some of them sleep"):
            meter_of(phone, answer_seconds=PATIENCE).describe()
        assert meter_of(phone, answer_seconds=PATIENCE, mask="f0").describe()["mask"] == "f0"


def test_a_cluster_that_sleeps_is_woken(phone, meter_of, small_model):
    phone.path(f"{CPU}/online").write_text("0-3\n")

    def wake():
        phone.wait_for("shell", stdout="nas_tf awake\n")
        phone.path(f"{CPU}/online").write_text("0-7\n")

    thread = threading.Thread(target=wake)
    thread.start()
    latency = meter_of(phone, poll_seconds=0.05).measure(small_model)
    thread.join()
    assert latency.latency_ms > 0 and {each["mask"] for each in phone.events("benchmark")} == {"f0"}


def test_a_cluster_that_stays_asleep_is_told(phone, meter_of, small_model):
    phone.path(f"{CPU}/online").write_text("0-3\n")
    with pytest.raises(EvaluationError, match=r"4 cores of those that .* is to time on stayed asleep"):
        meter_of(phone, poll_seconds=0.05, patience_minutes=0.01).measure(small_model)
    assert not phone.events("benchmark")


@pytest.mark.parametrize(
    "capacities",
    ["", "/cpu0/cpu_capacity 1024\n", "".join(f"/cpu{core}/cpu_capacity 1024\n" for core in range(4))],
    ids=["absent", "partial", "equal"],
)
def test_capacities_fall_back_to_frequencies(capacities):
    frequencies = "".join(f"/cpu{core}/cpufreq/cpuinfo_max_freq {1800 + 600 * (core > 1)}000\n" for core in range(4))
    assert facts.parse_facts("x", "", "0-3", "0-3", capacities, frequencies, "").mask(1) == 0xC


# Any phone that adb lists.


def test_adbd_without_shell_v2(tmp_path, meter_of, small_model):
    with Phone(tmp_path / "old", sdk=23, features="cmd,stat_v2") as phone:
        latency = meter_of(phone).measure(small_model)
        assert latency.latency_ms > 0 and latency.details["tool_runs"]
        client = Adb(phone.address)
        assert client.run("echo one; echo two >&2; (exit 3)")[0] == 3
        assert client.run("printf 'a\\nb'")[:2] == (0, "a\nb")
        with pytest.raises(AdbFailed, match="status 4"):
            client.shell("exit 4")


def test_a_32_bit_phone_is_told_what_to_do(tmp_path, meter_of, environment):
    with Phone(tmp_path / "old", abi="armeabi-v7a") as phone:
        serial = environment.connect(phone)
        with pytest.raises(UserError, match="no official one is published for armeabi-v7a; build it"):
            android.make(android.Config(serials=(serial,))).check()


@pytest.mark.parametrize(("level", "scale", "percent"), [(255, 255, 100), (128, 255, 50), (5, 1000, 0), (9, 0, 9)])
def test_any_scale_of_the_batterys_level(level, scale, percent):
    text = f"  present: true\n  level: {level}\n  scale: {scale}\n"
    assert facts.parse_condition("", text, "null", "").battery_percent == percent


def test_odd_or_denied_properties():
    for sdk in ("", "REL", "33.0", "[33"):
        found = facts.parse_facts("x", PIXEL + f"[ro.build.version.sdk]: [{sdk}]\n", "", "", "", "", "")
        assert found.sdk == (33 if sdk == "33.0" else 0)
    denied = facts.parse_facts(
        "x", "/system/bin/sh: getprop: Permission denied\n", "cat: Permission denied", "", "", "", ""
    )
    assert (denied.model, denied.cores, denied.identity, denied.is_emulator) == ("unknown model", 0, "x", False)


def test_linker_warnings_and_banners_among_the_lines(environment, tmp_path, meter_of, small_model):
    """What Android's linker and a vendor's shell print, before and after what is asked for."""
    linker = "WARNING: linker: /data/local/tmp/lib.so: unused DT entry: type 0x6ffffef5 arg 0x1a0"
    wrapped = f"{linker}\n0-7\n*** Welcome to shell ***\n"
    assert facts._cores(wrapped) == set(range(8))
    with Phone(tmp_path / "loud", features="cmd") as phone:  # where both streams are one
        phone.path("/data/local/tmp").mkdir(parents=True, exist_ok=True)
        bin_folder = tmp_path / "loud.phone" / "bin"
        bin_folder.mkdir()
        for name in ("wc", "sha256sum"):
            tool = bin_folder / name
            tool.write_text(f"#!/bin/sh\necho '{linker}' >&2\nexec /usr/bin/{name} \"$@\"\n")
            tool.chmod(0o755)
        phone.sandbox.more_programs = bin_folder
        assert meter_of(phone).measure(small_model).latency_ms > 0


@pytest.mark.parametrize(
    "sign",
    [
        "[ro.boot.qemu.avd_name]: [Pixel_7]",
        "[ro.product.manufacturer]: [Microsoft Corporation]\n[ro.product.model]: [Subsystem for Android(TM)]",
        "[ro.boot.hardware]: [windows_x86_64]",
        "[init.svc.vbox86-setup]: [stopped]",
        "[bst.version]: [5.21]",
        "[ro.hardware]: [cutf_cvm]",
        "[ro.genymotion.version]: [3.2.1]",
        "[ro.product.cpu.abi]: [x86_64]\n[ro.build.version.sdk]: [33]\n[ro.build.version.release]: [13]",
        "[ro.hardware.egl]: [swiftshader]",
        "[waydroid.host.user]: [1000]",
    ],
)
def test_emulators_and_containers_by_many_signs(sign):
    text = PIXEL + sign + "\n"
    found = facts.parse_facts("x", text, "", "", "", "", "")
    assert found.is_emulator and len(found.emulator_signs) == 1


@pytest.mark.parametrize(
    ("more", "implementer", "part"),
    [
        ("", "0x41", "0xd0b"),
        ("[ro.product.model]: [ELE-L29]", "0x48", "0xd40"),  # Kirin 980: HiSilicon's Cortex-A76
        ("[vendor.audio.wsa_speaker]: [1]", "0x51", "0x804"),
        ("[ro.kernel.qemu.gles]: [false]", "0x41", "0xd05"),
        ("[ro.product.name]: [TitanBox]", "0x41", "0xd05"),
        ("[ro.hardware.egl]: [mesa]", "0x41", "0xd05"),
    ],
)
def test_real_phones_are_none(more, implementer, part):
    cores = f"processor\t: 0\nCPU implementer\t: {implementer}\nCPU variant\t: 0x1\nCPU part\t: {part}\n"
    assert facts.parse_facts("x", PIXEL + more + "\n", "", "", "", "", cores).emulator_signs == ()


@pytest.mark.parametrize(
    "cpuinfo",
    [
        "CPU implementer\t: 0xc0\n",
        "CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n",
        "flags\t\t: fpu vme hypervisor lahf_lm\n",
    ],
)
def test_android_on_a_server_is_no_phone(cpuinfo):
    assert facts.parse_facts("x", PIXEL, "", "", "", "", cpuinfo).is_emulator


# Commands end.


def test_a_drip_of_bytes_does_not_hold_a_command(phone, meter_of):
    meter_of(phone)
    client, start = Adb(phone.address, 1.0), time.monotonic()
    with pytest.raises(PhoneGone, match=r"did not end .* within 1 s"):
        client.run("while true; do echo .; sleep 0.1; done")
    assert time.monotonic() - start < 10
    assert not client.is_silent  # it is no hung phone, and can be asked to end the tool


def test_output_without_end_is_bounded(phone, meter_of, monkeypatch):
    meter_of(phone)
    monkeypatch.setattr(adb_module, "_MOST_OUTPUT", 1 << 20)
    with pytest.raises(AdbFailed, match="printed more than 1 MiB, and was ended"):
        Adb(phone.address, 30.0).run("yes")


def test_40_mb_of_output_cost_8(phone, meter_of):
    meter_of(phone)
    client = Adb(phone.address, 60.0)
    with pytest.raises(AdbFailed, match="more than 8 MiB"):
        client.run("head -c 40000000 /dev/zero")
    assert client.shell("echo here").strip() == "here"


def test_a_tool_that_prints_for_ever_is_ended(tmp_path, meter_of, monkeypatch):
    monkeypatch.setattr(adb_module, "_MOST_OUTPUT", 1 << 18)
    with Phone(tmp_path / "loud", children_survive=True, tool="endless") as phone:
        bench = meter_of(phone).bench(phone.address)
        bench._prepare()
        with pytest.raises(AdbFailed, match="printed more than"):
            bench._runner.run(f"{FOLDER}/reference.tflite")
        deadline = time.monotonic() + 10
        while phone.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not phone.processes()
