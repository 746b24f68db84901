"""What a phone is and in what condition: its properties, cores, heat, battery and storage, read and parsed."""

import dataclasses
import re

FOLDER = "/data/local/tmp/nas_tf"
_MARK = "--nas_tf--"
_CPU = "/sys/devices/system/cpu"
_STATIC = (
    "getprop",
    f"cat {_CPU}/online 2>/dev/null",
    f'for f in {_CPU}/cpu[0-9]*/cpu_capacity; do [ -r "$f" ] && echo "$f $(cat "$f")"; done',
    f'for f in {_CPU}/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do [ -r "$f" ] && echo "$f $(cat "$f")"; done',
    "grep -c ^processor /proc/cpuinfo",
)
_CHANGING = (
    "dumpsys thermalservice 2>/dev/null",
    "dumpsys battery 2>/dev/null",
    "settings get global low_power 2>/dev/null",
    "df -k /data/local/tmp 2>/dev/null",
)
# Thermal types of android.hardware.thermal; others are currents, voltages and sensors of the board.
_THERMAL_TYPES = {0: "cpu", 2: "battery", 3: "skin"}
_LEAST_FREE_BYTES = 100 << 20
# Properties that name a device, and the names that emulators have there, those in a container included. Any of these
# properties may be disguised; the processor says nothing, since there were phones with x86.
_NAMES = [f"ro.product.{name}" for name in ("manufacturer", "brand", "model", "device", "name")]
_NAMES += ["ro.hardware", "ro.boot.hardware"]
_EMULATORS = re.compile("goldfish|ranchu|cutf_cvm|cuttlefish|vbox86|genymotion|redroid|waydroid|anbox", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What does not change about a phone.

    Attributes:
        serial: adb's name of it.
        model: its manufacturer and model.
        android: its version of Android.
        sdk: the level of Android's API.
        build: the fingerprint of its build of Android.
        abi: Android's name of its processor.
        cores: how many cores are online.
        capacities: dict from each online core to its relative speed (cpu_capacity, else its highest frequency in kHz);
            empty where the system does not tell, as on emulators.
        is_emulator: whether it is an emulator.
    """

    serial: str
    model: str
    android: str
    sdk: int
    build: str
    abi: str
    cores: int
    capacities: dict
    is_emulator: bool

    def mask(self, num_threads):
        """int: the fastest cores as a bit mask, in whole clusters of equal cores, so many that each thread has a core.

        It is 0 where the system does not tell, or all cores are alike: then nothing is pinned.
        """
        if len(set(self.capacities.values())) < 2:
            return 0
        chosen = set()
        for capacity in sorted(set(self.capacities.values()), reverse=True):
            chosen |= {core for core, each in self.capacities.items() if each == capacity}
            if len(chosen) >= num_threads:
                break
        return sum(1 << core for core in chosen)


@dataclasses.dataclass(frozen=True)
class Condition:
    """The condition of a phone at one moment; what the phone does not tell is None.

    Attributes:
        thermal_status: Android's: 0 none, 1 light, 2 moderate, 3 severe, and so on to 6, shutdown.
        temperatures_c: dict of the highest temperature of the CPU, of the battery and of the skin.
        battery_percent: level of the battery; None also where there is no battery.
        battery_saver: whether the battery saver is on.
        free_bytes: free storage.
    """

    thermal_status: int | None
    temperatures_c: dict
    battery_percent: int | None
    battery_saver: bool
    free_bytes: int | None

    def to_json(self):
        """JSON-ready dict of heat and battery."""
        return {
            "thermal_status": self.thermal_status,
            "temperatures_c": self.temperatures_c,
            "battery_percent": self.battery_percent,
        }


def read(adb, log=lambda name, text: None):
    """Returns `(Facts, Condition)` of a phone, asked for in one shell.

    Args:
        adb: the phone's `adb.Adb`.
        log: `log(name, text)` is called with all that the phone printed.
    """
    sections = _ask(adb, _STATIC + _CHANGING)
    for command, text in zip(_STATIC + _CHANGING, sections):
        log("phone.txt", f"$ {command}\n{text}")
    return parse_facts(adb.serial, *sections[: len(_STATIC)]), parse_condition(*sections[len(_STATIC) :])


def condition(adb):
    """Returns the `Condition` of the phone of an `adb.Adb`."""
    return parse_condition(*_ask(adb, _CHANGING))


def complaint(facts, now, config):
    """Says what is wrong with a phone and what to do, in one line; returns None where nothing is wrong.

    Args:
        facts: the phone's `Facts`.
        now: its `Condition`.
        config: the `Config` of the device `android`.
    """
    if now.free_bytes is not None and now.free_bytes < _LEAST_FREE_BYTES:
        return (
            f"The storage of {facts.serial} is full: {now.free_bytes >> 20} MiB are free in /data/local/tmp. "
            f"Expected at least {_LEAST_FREE_BYTES >> 20} MiB: remove something from the phone"
        )
    if facts.is_emulator:
        return None  # it has no battery and no heat of its own
    if now.battery_saver:
        return f"Battery saver is on: it slows {facts.serial}. Turn it off"
    if now.battery_percent is not None and now.battery_percent < config.min_battery_percent:
        return (
            f"The battery of {facts.serial} is at {now.battery_percent} %: charge it to "
            f"{config.min_battery_percent} % (--android_min_battery_percent)"
        )
    return None


def _ask(adb, commands):
    """list[str]: what each of the commands prints."""
    script = f"; echo {_MARK}; ".join(commands) + "; true"
    return adb.shell(script).replace("\r\n", "\n").split(f"{_MARK}\n")


def parse_facts(serial, properties, online, capacities, frequencies, processors):
    """Returns the `Facts` that are in the text of `getprop`, of sysfs and of /proc/cpuinfo."""
    prop = dict(re.findall(r"^\[(.*?)\]: \[(.*?)\]$", properties, re.MULTILINE | re.DOTALL))
    cores = _cores(online.strip())
    speeds = _speeds(capacities) or _speeds(frequencies)
    if cores:
        speeds = {core: speed for core, speed in speeds.items() if core in cores}
    if len(speeds) < len(cores):  # a core of unknown speed may be the fastest
        speeds = {}
    qemu = "1" in (prop.get("ro.kernel.qemu"), prop.get("ro.boot.qemu"))
    named = any(_EMULATORS.search(prop.get(name, "")) for name in _NAMES)
    return Facts(
        serial=serial,
        model=f"{prop.get('ro.product.manufacturer', '')} {prop.get('ro.product.model', 'unknown model')}".strip(),
        android=prop.get("ro.build.version.release", "unknown"),
        sdk=int(prop.get("ro.build.version.sdk") or 0),
        build=prop.get("ro.build.fingerprint", "unknown"),
        abi=prop.get("ro.product.cpu.abi", "unknown"),
        cores=len(cores) or int(processors.strip() or 0),
        capacities=speeds,
        is_emulator=qemu or named or serial.startswith("emulator-"),
    )


def _cores(text):
    """Returns the set of cores in a list such as `0-1,4`, here {0, 1, 4}."""
    cores = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        cores |= set(range(int(first), int(last or first) + 1))
    return cores


def _speeds(text):
    return {int(core): int(speed) for core, speed in re.findall(r"/cpu(\d+)/\S+ (\d+)", text) if int(speed) > 0}


def parse_condition(thermal, battery, low_power, storage):
    """Returns the `Condition` in the text of two `dumpsys`, of `settings get global low_power` and of `df -k`."""
    status = re.search(r"^Thermal Status: (\d+)", thermal, re.MULTILINE)
    if re.search(r"^\s*present: false$", battery, re.MULTILINE):
        battery = ""  # the rest is zeros that nobody measured
    level = re.search(r"^\s*level: (\d+)", battery, re.MULTILINE)
    now = thermal.split("Current temperatures from HAL:")[-1]
    temperatures = {}
    for value, kind in re.findall(r"Temperature\{mValue=(-?[\d.]+), mType=(\d+),", now):
        name = _THERMAL_TYPES.get(int(kind))
        if name and 0 < float(value) < 150:
            temperatures[name] = max(temperatures.get(name, 0.0), round(float(value), 1))
    if "battery" not in temperatures and (match := re.search(r"^\s*temperature: (\d+)", battery, re.MULTILINE)):
        temperatures["battery"] = int(match[1]) / 10
    numbers = re.findall(r"\s(\d+)(?=\s)", storage.strip().splitlines()[-1]) if storage.strip() else []
    return Condition(
        thermal_status=int(status[1]) if status else None,
        temperatures_c=temperatures,
        battery_percent=int(level[1]) if level else None,
        battery_saver=low_power.strip() == "1",
        free_bytes=int(numbers[2]) * 1024 if len(numbers) >= 3 else None,
    )
