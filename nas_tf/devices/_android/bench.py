"""One phone timing files: pinned, cool, repeated until the repeats agree, between two timings of a reference network.

Nothing that comes from here is provisional: a latency is given only once the reference, timed after it, has passed.
"""

import contextlib
import dataclasses
import hashlib
import pathlib
import statistics
import sys
import time

from nas_tf.devices._android import phone
from nas_tf.devices._android.adb import Adb, AdbFailed, quote
from nas_tf.devices._android.fleet import Memory
from nas_tf.devices._android.runner import PID_FILE, Runner
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError

REFERENCE = pathlib.Path(__file__).with_name("reference.tflite")
EMULATOR = "emulator: not a phone's latency"
# What a killed worker may have left behind.
RESTORE = (
    f"rm -f {PID_FILE}; cd {phone.FOLDER} && for f in *.tflite; do "
    '[ "$f" = reference.tflite ] || rm -f "$f"; done; cmd power set-fixed-performance-mode-enabled false'
)
_PASSED_FOR_SECONDS = 60.0
_LEAST_FREE_BYTES = 100 << 20
_SLOWEST_PUSH = 500_000  # bytes a second


class ReferenceRefused(AdbFailed):
    """The tool cannot run the reference network, which says nothing of the network to be timed."""


class Unfit(EvaluationError):
    """The phone answers, and is in no state to time anything now."""


class Bench:
    """A phone that this process holds, its tool in place.

    Raises:
        UserError: the tool is not for its processor.
        PhoneGone: the phone was lost.
    """

    def __init__(self, serial, config, find_tool, log=lambda name, text: None):
        self._adb, self._config = Adb(serial, config.answer_seconds), config
        self.facts, self.condition = phone.read(self._adb, log)
        self.tool = find_tool(self.facts.abi)
        self._tool_path = f"{phone.FOLDER}/benchmark_model"
        self._memory = Memory(serial)
        self._is_ready = False
        self.mask = int(config.mask, 16) if config.mask else self.facts.mask(config.num_threads)
        self._runner = Runner(self._adb, config, self.mask, self._tool_path, log)

    def describe(self):
        """JSON-ready dict of what phones of one make share, and a latency depends on."""
        facts = self.facts
        return {
            "model": facts.model, "android": facts.android, "build": facts.build, "abi": facts.abi,
            "cores": facts.cores, "mask": f"{self.mask:x}", "tool": self.tool.to_json(),
        }  # fmt: skip

    def complaint(self):
        """What is wrong with the phone's condition and what to do, in one line; None where nothing is."""
        now, config = self.condition, self._config
        if now.free_bytes is not None and now.free_bytes < _LEAST_FREE_BYTES:
            return (
                f"The storage of {self._adb.serial} is full: {now.free_bytes >> 20} MiB are free in /data/local/tmp. "
                f"Expected at least {_LEAST_FREE_BYTES >> 20} MiB: remove something from the phone"
            )
        if self.facts.is_emulator:
            return None  # it has no battery and no heat of its own
        if now.battery_saver:
            return f"Battery saver is on at {self._adb.serial}, which slows the phone: turn it off"
        if now.battery_percent is not None and now.battery_percent < config.min_battery_percent:
            return (
                f"The battery of {self._adb.serial} is at {now.battery_percent} %: charge it to "
                f"{config.min_battery_percent} % (--android_min_battery_percent)"
            )
        return None

    def measure(self, path):
        """`nas_tf.trial.Latency` of the TFLite file: the median of the repeats that agree, with all that was seen on
        the way in its `details`.

        Raises:
            InfeasibleArchitecture: the tool says that it cannot run the network, or the delegate takes only a part.
            Unfit: the phone stayed hot, low, unstable or away from its reference.
            PhoneGone: the phone was lost.
        """
        content = pathlib.Path(path).read_bytes()
        remote = f"{phone.FOLDER}/{hashlib.sha256(content).hexdigest()[:16]}.tflite"
        self._prepare()
        fixed = self._settle()
        voided = []
        try:
            self._adb.push(path, remote, timeout_seconds=self._config.answer_seconds + len(content) / _SLOWEST_PUSH)
            for attempt in range(self._config.attempts):
                if attempt:
                    self._cool()
                before, reference = self.condition, self._reference()
                if reference["drift"] > self._config.max_drift:
                    voided.append({"why": "the reference had drifted before", "reference": reference})
                    continue
                runs, spread = self._repeat(remote, content)
                if spread > self._config.max_spread:
                    voided.append({"why": "unstable", "spread": spread, "latencies_ms": _figures(runs)})
                    continue
                last = self._time_reference()
                after = self._look()
                why = self._why_void(last, after)
                if why:
                    voided.append({"why": why, "reference": last, "latencies_ms": _figures(runs), "spread": spread})
                    continue
                return self._latency(runs, spread, before, after, {**reference, "after_ms": last["ms"]}, fixed, voided)
        finally:
            self._clean(remote, fixed)
        tries = "; ".join(_voided(each) for each in voided)
        raise Unfit(f"{self._adb.serial} gives no stable latency: {tries}. Let it cool, close other programs, see "
                    "nas-phone check; the bounds are --android_max_spread and --android_max_drift")  # fmt: skip

    def renew_reference(self):
        """dict: the reference's latency, taken anew as that which all others are held against."""
        memory = self._memory.read()
        memory.pop(self._reference_key(), None)
        self._memory.write(memory)
        return self.check_reference()

    def check_reference(self):
        """dict: the reference's latency now and the first time's.

        Raises:
            UserError: it has drifted.
        """
        self._prepare()
        fixed = self._settle()
        try:
            found = self._reference()
        except ReferenceRefused as error:
            raise UserError(str(error)) from error
        finally:
            self._clean(None, fixed)
        if found["drift"] > self._config.max_drift:
            raise UserError(
                f"{self._adb.serial} times its reference network at {found['ms']:.3f} ms, {found['drift']:.0%} away "
                f"from the {found['baseline_ms']:.3f} ms of {found['taken_at']}: its latencies would not compare with "
                "those taken since. Let it cool and charge; nas-phone check takes the reference anew"
            )
        return found

    def _prepare(self):
        if self._is_ready:
            return
        self._runner.end_process()  # one that outlived a lost link would run beside the next
        content = pathlib.Path(self.tool.path).read_bytes()
        self._adb.shell(f"mkdir -p {phone.FOLDER}")
        if not self._adb.holds(self._tool_path, content):
            self._adb.push(self.tool.path, self._tool_path, 0o755)
        self._adb.shell(f"chmod 755 {self._tool_path}")
        self._reference_path = f"{phone.FOLDER}/reference.tflite"
        if not self._adb.holds(self._reference_path, REFERENCE.read_bytes()):
            self._adb.push(REFERENCE, self._reference_path)
        self._is_ready = True

    def _settle(self):
        """Waits until the phone is fit and turns its fixed performance on, where it has one; whether it has."""
        self.condition = phone.condition(self._adb)
        deadline, is_told = time.monotonic() + 60 * self._config.patience_minutes, False
        while (why := self._why_unfit()) is not None:
            if not is_told:
                print(f"waiting for {self._adb.serial}: {why}", file=sys.stderr, flush=True)
                is_told = True
            if time.monotonic() > deadline:
                raise Unfit(f"{self._adb.serial} stayed unfit for {self._config.patience_minutes:g} minutes: {why}")
            time.sleep(self._config.poll_seconds)
            self.condition = phone.condition(self._adb)
        if self.facts.sdk < 30 or self.facts.is_emulator:
            return False
        status, text, error = self._adb.run("cmd power set-fixed-performance-mode-enabled true")
        return status == 0 and "error" not in (text + error).lower()

    def _why_unfit(self):
        hot = self.condition.thermal_status
        if not self.facts.is_emulator and hot is not None and hot > self._config.max_thermal_status:
            return f"its thermal status is {hot}, over {self._config.max_thermal_status} (--android_max_thermal_status)"
        return self.complaint()

    def _look(self):
        self.condition = phone.condition(self._adb)
        return self.condition

    def _cool(self):
        time.sleep(self._config.cool_seconds)
        deadline = time.monotonic() + 60 * self._config.patience_minutes
        while self._look() and self._why_unfit() and time.monotonic() < deadline:
            time.sleep(self._config.poll_seconds)

    def _repeat(self, remote, content):
        """`(runs, spread)`: runs of the tool until its last `repeats` agree, at most twice as many, and how far those
        lie apart."""
        count, runs = self._config.repeats, []
        while True:
            try:
                runs.append(self._runner.run(remote))
            except InfeasibleArchitecture as error:
                if self._adb.holds(remote, content):
                    raise
                raise AdbFailed(f"{remote} is not what was pushed: does another program write there?") from error
            spread = _spread(_figures(runs[-count:]))
            if len(runs) >= count and (spread <= self._config.max_spread or len(runs) == 2 * count):
                return runs, spread

    def _reference(self):
        """dict of the reference's latency and its drift; one that passed within the last minute serves again."""
        known = self._memory.read().get(self._reference_key())
        if known and 0 <= time.time() - known["passed_at"] < _PASSED_FOR_SECONDS:
            return {**known, "drift": 0.0}
        return self._time_reference()

    def _time_reference(self):
        """dict of the reference's latency now and the first time, and the drift between; a pass is remembered."""
        key, memory = self._reference_key(), self._memory.read()
        known, drift = memory.get(key), 0.0
        if known is None:
            ms = self._steady_reference_ms()
            known = {"baseline_ms": ms, "taken_at": time.strftime("%Y-%m-%d %H:%M:%S")}
        else:
            for _ in range(2):  # one run may be disturbed; a drift shows in two
                ms = self._reference_ms()
                drift = abs(ms / known["baseline_ms"] - 1)
                if drift <= self._config.max_drift:
                    break
        if drift <= self._config.max_drift:
            self._memory.write({**memory, key: {**known, "ms": ms, "passed_at": time.time()}})
        return {**known, "ms": ms, "drift": drift}

    def _steady_reference_ms(self):
        """float: the median of timings of the reference that agree as those of a network must."""
        for attempt in range(self._config.attempts):
            if attempt:
                self._cool()
            values = [self._reference_ms() for _ in range(self._config.repeats)]
            if _spread(values) <= self._config.max_spread:
                return statistics.median(values)
        figures = ", ".join(f"{ms:.3f}" for ms in values)
        raise Unfit(f"{self._adb.serial} is unstable: it times the reference network at {figures} ms. Let it cool, "
                    "close other programs; the bound is --android_max_spread")  # fmt: skip

    def _reference_ms(self):
        config = self._config
        short = min(0.3, config.min_seconds), min(0.2, config.warmup_seconds)
        try:
            return self._runner.run(self._reference_path, 30, *short).latency_ms
        except InfeasibleArchitecture as error:
            text = f"{self._adb.serial} cannot run the reference network as asked: {error}"
            raise ReferenceRefused(text) from error

    def _reference_key(self):
        config = self._config
        return ":".join((self.facts.build, self.tool.sha256[:16], f"{self.mask:x}", str(config.num_threads),
                         config.delegate))  # fmt: skip

    def _why_void(self, reference, after):
        if reference["drift"] > self._config.max_drift:
            return "the reference had drifted afterwards"
        self.condition = after
        return self._why_unfit()

    def _latency(self, runs, spread, before, after, reference, fixed, voided):
        config, counted = self._config, runs[-self._config.repeats :]
        middle = sorted(counted, key=lambda run: run.latency_ms)[len(counted) // 2]
        details = {
            "serial": self._adb.serial, **self.describe(), "threads": config.num_threads, "delegate": config.delegate,
            "asked": self._runner.flags(), "flags": middle.details["flags"], "delegates": middle.details["delegates"],
            "before": before.to_json(), "after": after.to_json(), "fixed_performance": fixed, "reference": reference,
            "spread": spread, "tool_runs": [dataclasses.asdict(run) for run in runs], "counted_runs": len(counted),
            "voided": voided, **({"note": EMULATOR} if self.facts.is_emulator else {}),
        }  # fmt: skip
        return dataclasses.replace(middle, details=details)

    def _clean(self, remote, fixed):
        script = f"rm -f {PID_FILE} {quote(remote) if remote else ''}"
        if fixed:
            script += "; cmd power set-fixed-performance-mode-enabled false"
        # A lost phone keeps a file, which the next push replaces; a silent one is not waited for a second time.
        if not self._adb.is_silent:
            with contextlib.suppress(EvaluationError):
                self._adb.run(script)


def _figures(runs):
    return [run.latency_ms for run in runs]


def _spread(values):
    return (max(values) - min(values)) / statistics.median(values)


def _voided(entry):
    figures = ", ".join(f"{ms:.3f}" for ms in entry.get("latencies_ms", []))
    reference = entry.get("reference")
    drift = f" (reference {reference['ms']:.3f} ms, at first {reference['baseline_ms']:.3f})" if reference else ""
    return entry["why"] + (f" [{figures}] ms" if figures else "") + drift
