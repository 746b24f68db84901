"""The simulated phone as the real adb server, the adb client and adbutils see it."""

import hashlib
import os
import re
import subprocess
import threading

import adbutils
import pytest
from phone import AdbServer, Fault, Phone
from phone.client import FOLDER, shell, wait_until
from phone.sandbox import Mapper

pytestmark = pytest.mark.real


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_devices_lists_serial_and_models(adb, phone):
    serial = adb.connect(phone)
    fields = adb.run("devices", "-l").stdout.splitlines()[1].split()
    assert fields[:5] == [serial, "device", "product:taimen", "model:Pixel_2_XL", "device:taimen"]
    assert adb.run("connect", phone.address).stdout.strip() == f"already connected to {serial}"


def test_shell_gives_status_and_both_outputs(adb, device):
    result = shell(device, "pwd; echo out; echo err >&2; exit 3")
    assert (result.returncode, result.stdout, result.stderr) == (3, "/\nout\n", "err\n")
    assert shell(device, "kill -9 $$").returncode == 137
    assert shell(device, "no_such_program").returncode == 127
    process = adb.run("-s", device.serial, "shell", "echo out; echo err >&2; exit 3")
    assert (process.returncode, process.stdout, process.stderr) == (3, "out\n", "err\n")
    assert adb.run("-s", device.serial, "exec-out", "echo out; echo err >&2").stdout == "out\nerr\n"
    assert device.shell("echo out; echo err >&2") == "out\nerr"  # the first form of the service: no status, one output


def test_shell_reads_the_clients_input(adb, device):
    process = subprocess.run(
        [adb.path, "-s", device.serial, "shell", "tr a-z A-Z; cat"],
        env=adb.env,
        input="hello\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (process.returncode, process.stdout) == (0, "HELLO\n")


@pytest.mark.parametrize("size", [0, 1, 20 * 2**20])
def test_files_arrive_whole_in_both_directions(adb, phone, device, tmp_path, size):
    content = os.urandom(size)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(content)
    device.sync.push(source, f"{FOLDER}/from_python", 0o640)
    adb.run("-s", device.serial, "push", source, f"{FOLDER}/from_adb")
    for name in ("from_python", "from_adb"):
        assert shell(device, f"sha256sum {FOLDER}/{name}").stdout == f"{sha256(content)}  {FOLDER}/{name}\n"
        assert device.sync.read_bytes(f"{FOLDER}/{name}") == content
        adb.run("-s", device.serial, "pull", f"{FOLDER}/{name}", back)
        assert back.read_bytes() == content
    assert device.sync.stat(f"{FOLDER}/from_python").size == size
    assert device.sync.stat(f"{FOLDER}/from_python").mode & 0o777 == 0o640
    pushes = [(entry["bytes"], entry["sha256"], entry["answer"]) for entry in phone.events("push")]
    assert pushes == [(size, sha256(content), "OKAY")] * 2


def test_folders_and_missing_files(adb, device, tmp_path):
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "file").write_text("text")
    assert adb.run("-s", device.serial, "push", tmp_path / "tree", "/data/local/tmp").returncode == 0
    assert [f.path for f in device.sync.list("/data/local/tmp/tree/inner")] == [".", "..", "file"]
    assert adb.run("-s", device.serial, "pull", "/data/local/tmp/tree", tmp_path / "copy").returncode == 0
    assert (tmp_path / "copy" / "inner" / "file").read_text() == "text"
    assert "No such file" in adb.run("-s", device.serial, "pull", "/data/local/tmp/none", tmp_path).stderr
    with pytest.raises(adbutils.AdbError, match="No such file"):
        device.sync.read_bytes("/data/local/tmp/none")
    for path, reason in [("/system/bin/x", "Read-only file system"), ("/data/system/x", "Permission denied")]:
        assert reason in adb.run("-s", device.serial, "push", tmp_path / "copy" / "inner" / "file", path).stderr


def test_odd_names_are_the_phones_own(phone, device):
    name = f"{FOLDER}/a b$(touch x);.tflite"
    device.sync.push(b"content", name)
    assert shell(device, f"sha256sum '{name}'; rm -f '{name}'; ls {FOLDER}").stdout == f"{sha256(b'content')}  {name}\n"
    listing = shell(device, f"cd {FOLDER}; echo moved > a; mv a b; chmod 755 b; ls -l {FOLDER}/b").stdout
    assert listing.startswith("-rwx") and listing.endswith(f" {FOLDER}/b\n")
    assert phone.path(f"{FOLDER}/b").read_text() == "moved\n"
    assert shell(device, f"echo {FOLDER}; cat {FOLDER}/none").output.count("/data/local/tmp/nas_tf") == 2


def test_one_query_tells_what_the_phone_is(device):
    files = "/sys/devices/system/cpu/cpu[0-9]*/cpu_capacity /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq"
    result = shell(
        device,
        "getprop; echo MARK; cat /proc/cpuinfo; echo MARK; "
        f'for f in {files}; do [ -r "$f" ] && echo "$f $(cat "$f")"; done; '
        "cat /sys/devices/system/cpu/online; dumpsys battery; dumpsys thermalservice; "
        "settings get global low_power; df -k /data/local/tmp",
    )
    properties, cpuinfo, rest = result.stdout.split("MARK\n")
    assert "[ro.product.model]: [Pixel 2 XL]\n" in properties and "[ro.product.cpu.abi]: [arm64-v8a]\n" in properties
    assert cpuinfo.count("processor\t: ") == 8 and "MSM8998" in cpuinfo
    # The Snapdragon 835 of a Pixel 2 XL: four cores of 1.9 GHz and four of 2.46 GHz.
    frequencies = re.findall(r"^/sys/devices/system/cpu/cpu\d/cpufreq/cpuinfo_max_freq (\d+)$", rest, re.MULTILINE)
    assert frequencies == ["1900800"] * 4 + ["2457600"] * 4
    for text in ("\n0-7\n", "\n  level: 80\n", "\nThermal Status: 0\n", " 20000000  61% /data\n"):
        assert text in rest
    assert result.stderr == ""


def test_state_is_what_the_test_sets(phone, device):
    phone.set(battery_level=9, battery_temperature=401, low_power=1, free_kb=1000, thermal=[3, 2, 0])
    battery = shell(device, "dumpsys battery").stdout
    assert "  level: 9\n" in battery and "  temperature: 401\n" in battery
    statuses = [re.search(r"Thermal Status: (\d)", shell(device, "dumpsys thermalservice").stdout)[1] for _ in range(4)]
    assert statuses == ["3", "2", "0", "0"]
    assert shell(device, "settings get global low_power").stdout == "1\n"
    phone.set(low_power=None)
    assert shell(device, "settings get global low_power").stdout == "null\n"
    assert shell(device, "df -k /data/local/tmp").stdout.splitlines()[1].split()[3] == "1000"
    with pytest.raises(ValueError, match="Received: batery"):
        phone.set(batery=1)


def test_fixed_performance_mode_is_recorded_or_unknown(tmp_path, adb, phone, device):
    command = "cmd power set-fixed-performance-mode-enabled true"
    assert shell(device, command).returncode == 0 and phone.fixed_performance == "true"
    phone.set(fixed_performance_works=0)
    assert shell(device, command).returncode == 255
    with Phone(tmp_path / "old", sdk=27) as old:  # Android 8.1 has neither this mode nor a thermal service
        device = adb.client.device(adb.connect(old))
        result = shell(device, command)
        assert (result.returncode, result.stderr) == (255, "Unknown command: set-fixed-performance-mode-enabled\n")
        assert shell(device, "dumpsys thermalservice").output == "Can't find service: thermalservice\n"
        assert shell(device, "getprop ro.build.version.sdk; getprop ro.none; getprop ro.none x").stdout == "27\n\nx\n"
        assert old.fixed_performance is None


def test_properties_and_sysfs_of_another_phone(tmp_path, adb):
    capacity = "/sys/devices/system/cpu/cpu0/cpu_capacity"
    frequency = "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"
    with Phone(
        tmp_path / "other",
        model="SM-G998N",
        abi="armeabi-v7a",
        serial="R3CN",
        props={"ro.soc.model": "x"},
        sysfs={capacity: "250\n", frequency: None},
    ) as phone:
        device = adb.client.device(adb.connect(phone))
        names = "ro.product.model ro.product.cpu.abi ro.serialno ro.soc.model"
        output = shell(device, f"for n in {names}; do getprop $n; done; cat {capacity} {frequency}")
    assert output.stdout.split() == ["SM-G998N", "armeabi-v7a", "R3CN", "x", "250"]
    assert output.stderr == f"cat: {frequency}: No such file or directory\n"


def test_emulator_is_found_without_connecting(tmp_path):
    with Phone(tmp_path / "one", emulator=True, found=True) as phone, AdbServer(tmp_path, find_emulators=True) as adb:
        serial = f"emulator-{phone.port - 1}"
        adb.wait_for_state(serial, "device")
        device = adb.client.device(serial)
        names = "ro.product.model ro.product.cpu.abi ro.kernel.qemu ro.boot.qemu"
        output = shell(device, f"for n in {names}; do getprop $n; done").stdout.split()
        assert output == ["sdk_gphone64_x86_64", "x86_64", "1", "1"]
        assert shell(device, "ls /sys/devices/system/cpu; cat /sys/devices/system/cpu/online").stdout == (
            "online\npossible\npresent\n0-3\n"
        )
        thermal = shell(device, "dumpsys thermalservice").stdout
        assert "HAL Ready: false" in thermal and "mValue" not in thermal


def test_unauthorized_until_the_owner_allows_it(adb, phone):
    phone.add(Fault("unauthorized"))
    assert "failed to authenticate" in adb.run("connect", phone.address).stdout
    adb.wait_for_state(phone.address, "unauthorized")
    with pytest.raises(adbutils.AdbError, match="unauthorized"):
        shell(adb.client.device(phone.address), "true")
    assert phone.events("fault", kind="unauthorized")
    phone.clear()
    adb.run("disconnect", phone.address)
    assert shell(adb.client.device(adb.connect(phone)), "echo well").stdout == "well\n"


def test_unplugged_in_a_push(adb, phone, device, tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "source").write_bytes(content)
    phone.add(Fault("unplug_in_push", after=100_000), Fault("unplug_in_push", after=10**9))
    with pytest.raises(adbutils.AdbError):
        device.sync.push(content, f"{FOLDER}/file")
    assert phone.wait_for("push")["answer"] is None
    assert phone.path(f"{FOLDER}/file").read_bytes() == content[:100_000]
    adb.wait_for_state(device.serial, "device")
    process = adb.run("-s", device.serial, "push", tmp_path / "source", f"{FOLDER}/file")
    assert process.returncode == 1 and "failed to read copy response" in process.stderr
    adb.wait_for_state(device.serial, "device")
    assert device.sync.push(content, f"{FOLDER}/file") == len(content)
    assert [entry["path"] for entry in phone.events("fault", kind="unplug_in_push")] == [f"{FOLDER}/file"] * 2


def test_unplugged_in_a_shell(adb, phone, device):
    phone.add(Fault("unplug_in_shell", match="sleep", after="two", times=2))
    command = "echo one two three; sleep 1000; echo end"
    with pytest.raises(EOFError):
        shell(device, command)
    adb.wait_for_state(device.serial, "device")
    process = adb.run("-s", device.serial, "shell", command)
    assert (process.returncode, process.stdout) == (255, "one two")
    entry = phone.wait_for("shell", count=2, command=command)
    assert (entry["status"], entry["stdout"]) == (None, "one two")
    adb.wait_for_state(device.serial, "device")
    assert shell(device, "echo well").stdout == "well\n"
    assert phone.processes() == []  # nothing of the cut commands is left


def test_unplugged_between_commands(adb, phone, device):
    phone.add(Fault("unplug_after_shell", match="first"))
    assert shell(device, "echo first").stdout == "first\n"
    phone.wait_for("unplug")
    phone.wait_for("connect", count=2)
    adb.wait_for_state(device.serial, "device")
    assert shell(device, "echo second").stdout == "second\n"


def test_offline_while_it_refuses_connections(adb, phone, device):
    phone.unplug()
    adb.wait_for_state(device.serial, "offline")
    process = adb.run("-s", device.serial, "shell", "true")
    assert process.returncode == 1 and "device offline" in process.stderr
    with pytest.raises(adbutils.AdbError, match="offline"):
        shell(device, "true")
    phone.plug()
    adb.wait_for_state(device.serial, "device")  # the server tries again by itself
    phone.unplug(away=0.1)
    phone.wait_for("connect", count=3)
    adb.wait_for_state(device.serial, "device")
    phone.unplug()
    adb.wait_for_state(device.serial, "offline")
    adb.run("disconnect", device.serial)
    assert "Connection refused" in adb.run("connect", phone.address).stdout
    phone.plug()
    assert shell(adb.client.device(adb.connect(phone)), "echo well").stdout == "well\n"


def test_hanging_phone_needs_a_new_connection(adb, phone, device, tmp_path):
    phone.add(Fault("hang_in_shell", after="one"), Fault("hang_in_push", after=1000))
    with pytest.raises(adbutils.AdbTimeout):
        shell(device, "echo one; echo two", timeout=1)
    assert adb.state(device.serial) == "device"  # the server does not notice
    adb.run("disconnect", device.serial)
    adb.connect(phone)
    (tmp_path / "source").write_bytes(bytes(100_000))
    client = subprocess.Popen(
        [adb.path, "-s", device.serial, "push", tmp_path / "source", f"{FOLDER}/file"],
        env=adb.env,
        stdout=subprocess.DEVNULL,
    )
    phone.wait_for("fault", kind="hang_in_push")
    assert client.poll() is None
    client.kill()
    client.wait()
    assert phone.path(f"{FOLDER}/file").stat().st_size == 1000
    phone.add(Fault("hang_in_connect"))
    adb.run("disconnect", device.serial)
    with pytest.raises(adbutils.AdbTimeout):
        adb.client.connect(phone.address, timeout=1)
    assert {entry["kind"] for entry in phone.events("fault")} == {"hang_in_shell", "hang_in_push", "hang_in_connect"}


def test_no_space(adb, phone, device, tmp_path):
    phone.add(Fault("no_space", after=100_000))
    (tmp_path / "source").write_bytes(bytes(300_000))
    process = adb.run("-s", device.serial, "push", tmp_path / "source", f"{FOLDER}/file")
    assert process.returncode == 1 and "No space left on device" in process.stderr
    phone.set(free_kb=100)
    with pytest.raises(adbutils.AdbError, match="FAIL"):
        device.sync.push(bytes(300_000), f"{FOLDER}/file")
    assert not phone.path(f"{FOLDER}/file").exists()
    assert [entry["answer"] for entry in phone.events("push")] == ["FAIL", "FAIL"]
    assert len(phone.events("fault")) == 1
    device.sync.push(bytes(1000), f"{FOLDER}/file")


def test_pushes_that_end_well_and_are_wrong(phone, device):
    content = os.urandom(100_001)
    phone.add(Fault("push_short", match="short"), Fault("push_replaced", match="replaced"))
    for name in ("replaced", "short", "well"):
        assert device.sync.push(content, f"{FOLDER}/{name}") == len(content)
    assert phone.path(f"{FOLDER}/short").read_bytes() == content[:50_000]
    assert phone.path(f"{FOLDER}/well").read_bytes() == content
    replaced = phone.path(f"{FOLDER}/replaced").read_bytes()
    assert len(replaced) == len(content) and sha256(replaced) != sha256(content)
    assert [entry["kind"] for entry in phone.events("fault")] == ["push_replaced", "push_short"]


def test_slow_phone_gives_the_same_answers(phone, device):
    phone.add(Fault("slow", delay=0.02))
    device.sync.push(b"content", f"{FOLDER}/file")
    assert shell(device, f"cat {FOLDER}/file").stdout == "content"
    assert len(phone.events("fault", kind="slow")) == 1 and phone.faults[0].struck > 5


def test_two_phones_do_not_disturb_each_other(adb, phone, device, tmp_path):
    content = os.urandom(5 * 2**20)
    with Phone(tmp_path / "two", model="Pixel 6") as two:
        other = adb.client.device(adb.connect(two))
        phone.add(Fault("unplug_in_push", after=1_000_000))
        errors = []

        def push():
            with pytest.raises(adbutils.AdbError) as caught:
                device.sync.push(content, f"{FOLDER}/file")
            errors.append(caught.value)

        thread = threading.Thread(target=push)
        thread.start()
        other.sync.push(content, f"{FOLDER}/file")
        thread.join()
        assert len(errors) == 1
        assert two.path(f"{FOLDER}/file").read_bytes() == content
        assert shell(other, "getprop ro.product.model").stdout == "Pixel 6\n"
        assert [len(p.events("fault")) for p in (phone, two)] == [1, 0]


def test_nothing_is_left_behind(tmp_path):
    with AdbServer(tmp_path) as adb, Phone(tmp_path / "one") as phone:
        device = adb.client.device(adb.connect(phone))
        shell(device, "sleep 1000 > /dev/null 2>&1 & setsid sleep 1000 > /dev/null 2>&1 &")
        assert wait_until(lambda: len(phone.processes()) == 2)
        adb.run("kill-server")
        assert adb.run("devices").returncode == 0  # a client starts another server, which is not our child
    assert wait_until(lambda: not phone.processes())
    assert not adb.is_listening()
    assert not any(thread.name == f"phone {phone.address}" for thread in threading.enumerate())


def test_mistakes_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"kind must be one of .*Received: kind='unplugged'"):
        Fault("unplugged")
    with pytest.raises(ValueError, match=r"abi must be one of .*Received: abi='mips'"):
        Phone(tmp_path / "one", abi="mips")
    with pytest.raises(ValueError, match=r"Received: root=.*a b"):
        Phone(tmp_path / "a b")


def test_paths_of_the_sandbox_never_reach_the_host():
    text = b"/tmp/one\n/tmp/one/data/x /tmp/one.phone /tmp/oneself /tmp/on"
    for split in range(len(text) + 1):
        mapper = Mapper(b"/tmp/one")
        mapped = mapper.feed(text[:split]) + mapper.feed(text[split:]) + mapper.rest()
        assert mapped == b"/\n/data/x /tmp/one.phone /tmp/oneself /tmp/on"
