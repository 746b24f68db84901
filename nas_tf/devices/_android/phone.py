"""What a phone is and in what condition: its properties, cores, heat, battery and storage, read and parsed."""

import dataclasses
import hashlib
import re
import time

from nas_tf.devices._android.adb import AdbFailed

FOLDER = "/data/local/tmp/nas_tf"
_MARK = "--nas_tf--"
_CPU = "/sys/devices/system/cpu"
_STATIC = (
    "getprop",
    f"cat {_CPU}/possible 2>/dev/null",
    f"cat {_CPU}/present 2>/dev/null",
    f'for f in {_CPU}/cpu[0-9]*/cpu_capacity; do [ -r "$f" ] && echo "$f $(cat "$f")"; done',
    f'for f in {_CPU}/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do [ -r "$f" ] && echo "$f $(cat "$f")"; done',
    "cat /proc/cpuinfo 2>/dev/null",
)
_ONLINE = f"cat {_CPU}/online 2>/dev/null"
_CHANGING = (
    "dumpsys thermalservice 2>/dev/null",
    "dumpsys battery 2>/dev/null",
    "settings get global low_power 2>/dev/null",
    "df -k /data/local/tmp 2>/dev/null",
    _ONLINE,
)
# Keeps each core busy for a moment: phones take sleeping clusters back for work.
WAKE = (
    f"for c in {_CPU}/cpu[0-9]*; do (i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done) & done; wait; echo nas_tf awake"
)
_WAKE_TRIES, _WAKE_PAUSE_SECONDS = 5, 0.3
# Thermal types of android.hardware.thermal; others are currents, voltages and sensors of the board.
_THERMAL_TYPES = {0: "cpu", 2: "battery", 3: "skin"}
_LEAST_FREE_BYTES = 100 << 20
# Signs of an emulator, or of Android in a container or a virtual machine. Any of these may be disguised, so all are
# looked for. Properties that name a device, and what programs call it there:
_NAMES = [f"ro.product.{name}" for name in ("manufacturer", "brand", "model", "device", "name", "board")]
_NAMES += ["ro.hardware", "ro.boot.hardware", "ro.build.flavor", "ro.board.platform"]
_EMULATORS = re.compile(
    r"goldfish|ranchu|cutf_cvm|cuttlefish|vsoc_|vbox86|genymotion|redroid|waydroid|\banbox|bluestacks|\bbst|ldplayer|"
    r"windows_(?:x86|arm)|subsystem for android|android_x86|sdk_gphone",
    re.IGNORECASE,
)
# Properties that only they have, by a part of their names.
_THEIR_PROPERTIES = re.compile(
    r"redroid|waydroid|genymotion|vbox86|bluestacks|^bst\.|\banbox|qemud|goldfish|ranchu|cuttlefish",
    re.IGNORECASE,
)
_SOFTWARE_GRAPHICS = re.compile("swiftshader|emulation|pastel|lavapipe|virgl", re.IGNORECASE)
_LAST_X86_SDK = 23  # the last phones with Intel's processors had Android 6
# In /proc/cpuinfo: makers of processors of servers and Macs (Ampere, Apple, Cavium, Broadcom), and Arm's own Neoverse
# parts; another maker's part of the same number is another core (HiSilicon's Cortex-A76 is 0xd40).
_NOT_IN_PHONES = re.compile(
    r"^CPU implementer\s*: 0x(?:c0|61|42|43)$|"
    r"^CPU implementer\s*: 0x41$(?:\n(?!processor|CPU implementer).*)*?\nCPU part\s*: 0x(?:d0c|d40|d49|d4f|d8e|d84)$|"
    r"^flags\s*:.*\bhypervisor\b",
    re.MULTILINE,
)
_NO = ("", "0", "false", "no", "off")
_NO_SERIAL = re.compile(r"|unknown|0123456789ABCDEF|(.)\1*|EMULATOR.*", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What does not change about a phone.

    Attributes:
        serial: adb's name of it, of which one phone may have several.
        identity: its own name: model and a digest of its serial number.
        model: its manufacturer and model.
        android: its version of Android.
        sdk: the level of Android's API; 0 where that is not told.
        build: the fingerprint of its build of Android.
        abi: Android's name of its processor.
        cores: how many cores it has, those that sleep included.
        capacities: dict from each core to its relative speed (cpu_capacity, else its highest frequency in kHz); empty
            where the system does not tell it of every core, as on emulators.
        emulator_signs: tuple of text, why it is taken for an emulator; empty: it is a phone.
    """

    serial: str
    identity: str
    model: str
    android: str
    sdk: int
    build: str
    abi: str
    cores: int
    capacities: dict
    emulator_signs: tuple = ()

    @property
    def is_emulator(self):
        """bool: whether it is an emulator, or Android in a container or a virtual machine."""
        return bool(self.emulator_signs)

    @property
    def tells_cores_apart(self):
        """bool: whether some cores are known to be faster than others."""
        return len(set(self.capacities.values())) > 1

    def mask(self, num_threads):
        """int: the fastest cores as a bit mask, in whole clusters of equal cores, so many that each thread has a core.

        It is 0 where the system does not tell, or all cores are alike: then nothing is pinned.
        """
        if not self.tells_cores_apart:
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
        online: frozenset of the cores that do not sleep.
    """

    thermal_status: int | None
    temperatures_c: dict
    battery_percent: int | None
    battery_saver: bool
    free_bytes: int | None
    online: frozenset | None = None

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
    for attempt in range(_WAKE_TRIES):
        sections = _ask(adb, _STATIC + _CHANGING)
        for command, text in zip(_STATIC + _CHANGING, sections):
            log("phone.txt", f"$ {command}\n{text}")
        facts = parse_facts(adb.serial, *sections[: len(_STATIC)])
        now = parse_condition(*sections[len(_STATIC) :])
        # The system tells no frequency of a core that sleeps.
        if facts.tells_cores_apart or all_awake(facts, now):
            break
        if attempt < _WAKE_TRIES - 1:
            wake(adb)
    return facts, now


def all_awake(facts, now):
    """bool: whether no core sleeps, or the phone does not tell."""
    return now.online is None or len(now.online) >= facts.cores


def online(adb):
    """Returns the set of cores of an `adb.Adb`'s phone that do not sleep; None where it does not tell."""
    return frozenset(_cores(adb.run(_ONLINE)[1])) or None


def wake(adb):
    """Keeps the phone's cores busy for a moment, so that those that sleep wake up."""
    adb.run(WAKE)
    time.sleep(_WAKE_PAUSE_SECONDS)


def identity(adb):
    """Returns the `Facts.identity` of the phone of an `adb.Adb`."""
    properties, cpuinfo = _ask(adb, ("getprop", "cat /proc/cpuinfo 2>/dev/null"))
    prop = _properties(properties)
    return _identity(adb.serial, prop, _emulator_signs(adb.serial, prop, cpuinfo))


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
    sections = adb.shell(script).replace("\r\n", "\n").split(f"{_MARK}\n")
    if len(sections) != len(commands):
        raise AdbFailed(f"{adb.serial} answered {len(sections)} of {len(commands)} questions")
    return sections


def parse_facts(serial, properties, possible, present, capacities, frequencies, cpuinfo):
    """Returns the `Facts` that are in the text of `getprop`, of sysfs and of /proc/cpuinfo.

    Where capacities are not told of every core, or are all alike, frequencies may tell cores apart.
    """
    prop = _properties(properties)
    cores = _cores(present) & _cores(possible) or _cores(present) or _cores(possible)
    told = []
    for text in (capacities, frequencies):
        speeds = _speeds(text)
        if speeds and (not cores or cores <= speeds.keys()):  # a core of unknown speed may be the fastest
            told.append({core: speed for core, speed in speeds.items() if not cores or core in cores})
    speeds = next((each for each in told if len(set(each.values())) > 1), told[0] if told else {})
    signs = _emulator_signs(serial, prop, cpuinfo)
    return Facts(
        serial=serial,
        identity=_identity(serial, prop, signs),
        model=_model(prop),
        android=prop.get("ro.build.version.release", "unknown"),
        sdk=_sdk(prop),
        build=prop.get("ro.build.fingerprint", "unknown"),
        abi=prop.get("ro.product.cpu.abi", "unknown"),
        cores=len(cores) or len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE)),
        capacities=speeds,
        emulator_signs=signs,
    )


def _properties(text):
    return dict(re.findall(r"^\[(.*?)\]: \[(.*?)\]$", text, re.MULTILINE | re.DOTALL))


def _model(prop):
    return f"{prop.get('ro.product.manufacturer', '')} {prop.get('ro.product.model', 'unknown model')}".strip()


def _sdk(prop):
    level = re.match(r"\d{1,4}", prop.get("ro.build.version.sdk", ""))
    return int(level[0]) if level else 0


def _identity(serial, prop, signs):
    """str: what is the same over USB and over a network. A phone without a serial number is what adb calls it."""
    own = next((prop[name] for name in ("ro.serialno", "ro.boot.serialno") if prop.get(name)), "")
    if signs or _NO_SERIAL.fullmatch(own):
        return serial
    names = [own, *(prop.get(name, "") for name in ("ro.product.manufacturer", "ro.product.device"))]
    return f"{_model(prop)} {hashlib.sha256(chr(0).join(names).encode()).hexdigest()[:8]}"


def _emulator_signs(serial, prop, cpuinfo):
    """tuple of text: why this is taken for an emulator."""
    signs = [
        name
        for name, value in prop.items()
        if (re.match(r"ro\.(?:kernel|boot)\.qemu", name) and value.lower() not in _NO) or _THEIR_PROPERTIES.search(name)
    ]
    signs += [f"{name}={prop[name]}" for name in _NAMES if _EMULATORS.search(prop.get(name, ""))]
    graphics = ("ro.hardware.egl", "ro.hardware.vulkan")
    signs += [f"{name}={prop[name]}" for name in graphics if _SOFTWARE_GRAPHICS.search(prop.get(name, ""))]
    if prop.get("ro.product.cpu.abi", "").startswith("x86") and _sdk(prop) > _LAST_X86_SDK:
        signs.append(f"an {prop['ro.product.cpu.abi']} processor with Android {prop.get('ro.build.version.release')}")
    if found := _NOT_IN_PHONES.search(cpuinfo):
        signs.append(" ".join(found[0].split())[:40])
    if serial.startswith("emulator-"):
        signs.append(serial)
    return tuple(signs)


def _cores(text):
    """Returns the set of cores in a list such as `0-1,4`, here {0, 1, 4}."""
    cores = set()
    for line in text.splitlines():
        if re.fullmatch(r"\s*\d{1,4}(?:-\d{1,4})?(?:,\d{1,4}(?:-\d{1,4})?)*\s*", line):  # not a warning's
            for first, last in re.findall(r"(\d+)(?:-(\d+))?", line):
                cores |= set(range(int(first), int(last or first) + 1))
    return cores


def _speeds(text):
    return {int(core): int(speed) for core, speed in re.findall(r"/cpu(\d+)/\S+ (\d+)$", text, re.M) if int(speed) > 0}


def parse_condition(thermal, battery, low_power, storage, online=""):
    """Returns the `Condition` in the text of two `dumpsys`, `settings get global low_power`, `df -k` and sysfs."""
    status = re.search(r"^Thermal Status: (\d+)", thermal, re.MULTILINE)
    if re.search(r"^\s*present: false$", battery, re.MULTILINE):
        battery = ""  # the rest is zeros that nobody measured
    level, scale = (re.search(rf"^\s*{name}: (\d+)", battery, re.MULTILINE) for name in ("level", "scale"))
    full = int(scale[1]) if scale and int(scale[1]) else 100
    now = thermal.split("Current temperatures from HAL:")[-1]
    temperatures = {}
    for value, kind in re.findall(r"Temperature\{mValue=(-?[\d.]+), mType=(\d+),", now):
        name = _THERMAL_TYPES.get(int(kind))
        if name and 0 < float(value) < 150:
            temperatures[name] = max(temperatures.get(name, 0.0), round(float(value), 1))
    if "battery" not in temperatures and (match := re.search(r"^\s*temperature: (\d+)", battery, re.MULTILINE)):
        temperatures["battery"] = int(match[1]) / 10
    row = re.findall(r"\s(\d+)\s+(\d+)\s+(\d+)\s+\d+%", storage)
    return Condition(
        thermal_status=int(status[1]) if status else None,
        temperatures_c=temperatures,
        battery_percent=round(100 * int(level[1]) / full) if level else None,
        battery_saver="1" in low_power.split(),
        free_bytes=int(row[-1][2]) * 1024 if row else None,
        online=frozenset(_cores(online)) or None,
    )
