"""Times files on one phone: pinned to cores, cool, repeated until the repeats agree.

The reference network is timed before each file, unless it passed within the last minute, and after it. A latency is
returned only if these timings agree with the first one of the reference network, so none of them is provisional.
"""

import contextlib
import dataclasses
import functools
import hashlib
import pathlib
import statistics
import sys
import time

from nas_tf.devices._android import phone
from nas_tf.devices._android.adapters import LIBRARIES
from nas_tf.devices._android.adb import Adb, AdbFailed, quote
from nas_tf.devices._android.runner import END, Runner
from nas_tf.devices._reference import REFERENCE, Memory
from nas_tf.quiet import count
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError

EMULATOR = "emulator: not a phone's latency"
# Ends and removes what a killed worker may have left behind.
RESTORE = (
    f"{END}; cd {phone.FOLDER} && for f in *.tflite; do "
    '[ "$f" = reference.tflite ] || rm -f "$f"; done; cmd power set-fixed-performance-mode-enabled false'
)
_PASSED_FOR_SECONDS = 60.0
_OF_A_RUN = ("flags", "unconsumed", "delegates", "placement", "figures_from")
_SLOWEST_PUSH = 500_000  # bytes a second


class ReferenceRefused(AdbFailed):
    """The tool cannot run the reference network. This says nothing about the network to be timed."""


class Unfit(EvaluationError):
    """The phone answers, but its condition does not allow timing now."""


class Bench:
    """A phone that this process holds, and the tool for it.

    Args:
        serial: the phone's serial.
        config: the `Config` of the device `android`.
        find_tool: `find_tool(abi)` returns the `tool.Tool` for a processor.
        log: `log(name, text)` is called with all that the phone and the tool print.
        closed: a `threading.Event` after which nothing more is asked of the phone; None: there is none.

    Attributes:
        facts: the phone's `phone.Facts`.
        condition: its latest `phone.Condition`.
        tool: the `tool.Tool`.
        mask: int, the cores that the tool is pinned to, as a bit mask; 0: it is not pinned.

    Raises:
        UserError: the tool is not for its processor.
        PhoneGone: the phone was lost.
    """

    def __init__(self, serial, config, find_tool, log=lambda name, text: None, closed=None):
        self._adb, self._config = Adb(serial, config.answer_seconds, closed), config
        self.facts, self.condition = phone.read(self._adb, log)
        self.tool = find_tool(self.facts.abi)
        self._tool_path = f"{phone.FOLDER}/benchmark_model"
        self._memory = Memory("phones", self.facts.identity)
        if not config.mask:
            self._know_all_cores()
        self._is_ready = False
        self.mask = int(config.mask, 16) if config.mask else self.facts.mask(config.num_threads)
        self._runner = Runner(self._adb, config, self.mask, self._tool_path, log)

    def _know_all_cores(self):
        """Takes the speeds of cores from an earlier time where some sleep so that the phone does not tell them.

        Raises:
            Unfit: there was no earlier time.
        """
        key = f"capacities:{self.facts.build}"
        known = self._memory.read().get(key)
        if self.facts.tells_cores_apart:
            told = {str(core): speed for core, speed in self.facts.capacities.items()}
            if known != told:
                self._memory.update(**{key: told})
        elif not phone.all_awake(self.facts, self.condition):
            if not isinstance(known, dict):
                raise Unfit(
                    f"{self._adb.serial} does not tell how fast its cores are while some of them sleep, and they do "
                    "not wake up: keep its screen on, or give --android_mask"
                )
            speeds = {int(core): speed for core, speed in known.items()}
            self.facts = dataclasses.replace(self.facts, capacities=speeds)

    def describe(self):
        """JSON-ready dict of all that a latency depends on and phones of one model have in common."""
        facts = {name: getattr(self.facts, name) for name in ("model", "android", "build", "abi", "cores")}
        found = {**facts, "mask": f"{self.mask:x}", "tool": self.tool.to_json()}
        return {**found, "libraries": self._digests} if self._digests else found

    @functools.cached_property
    def _digests(self):
        """dict from the name of each library beside the tool to the start of its SHA-256."""
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in self._libraries()}

    def complaint(self):
        """Says what is wrong with the phone and what to do, in one line; returns None where nothing is wrong."""
        return phone.complaint(self.facts, self.condition, self._config)

    @property
    def unconsumed(self):
        """list[str]: the flags that the tool did not take in its latest run, without harm."""
        return self._runner.unconsumed

    def measure(self, path):
        """Returns the `nas_tf.trial.Latency` of a TFLite file: the median of the repeats that agree.

        All that was observed is in its `details`.

        Raises:
            InfeasibleArchitecture: the tool says that it cannot run the network, or the delegate does not take all of
                it.
            Unfit: the phone stayed hot, low or unstable, or the reference network kept another latency than at first.
            PhoneGone: the phone was lost.
        """
        content = pathlib.Path(path).read_bytes()
        remote = f"{phone.FOLDER}/{hashlib.sha256(content).hexdigest()[:16]}.tflite"
        self._prepare()
        voided = []
        try:
            fixed = self._settle()
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
            self._clean(remote)
        tries = "; ".join(_voided(each) for each in voided)
        raise Unfit(
            f"{self._adb.serial} gives no stable latency: {tries}. Let it cool, close other programs, see nas-phone "
            "check; the bounds are --android_max_spread and --android_max_drift"
        )

    def renew_reference(self):
        """As `check_reference`, with the first latency of the reference network forgotten and taken again."""
        self._memory.update(**{self._reference_key(): None})
        return self.check_reference()

    def check_reference(self):
        """Returns a dict of the reference network's latency now and the first time.

        Raises:
            UserError: the two differ too much.
        """
        self._prepare()
        try:
            self._settle()
            found = self._reference()
        except ReferenceRefused as error:
            raise UserError(str(error)) from error
        finally:
            self._clean(None)
        if found["drift"] > self._config.max_drift:
            raise UserError(
                f"{self._adb.serial} times its reference network at {found['ms']:.3f} ms, {found['drift']:.0%} away "
                f"from the {found['baseline_ms']:.3f} ms of {found['taken_at']}: its latencies would not compare with "
                "those taken since. Let it cool and charge; or begin again with nas-phone check"
            )
        return found

    def _prepare(self):
        """Puts the tool and the reference network on the phone."""
        if self._is_ready:
            return
        self._runner.end_process()  # a tool that still runs after a lost connection would slow the next run
        content = pathlib.Path(self.tool.path).read_bytes()
        self._adb.shell(f"mkdir -p {phone.FOLDER}")
        if not self._adb.holds(self._tool_path, content):
            self._adb.push(self.tool.path, self._tool_path, 0o755)
        self._adb.shell(f"chmod 755 {self._tool_path}")
        self._push_libraries()
        self._reference_path = f"{phone.FOLDER}/reference.tflite"
        if not self._adb.holds(self._reference_path, REFERENCE.read_bytes()):
            self._adb.push(REFERENCE, self._reference_path)
        self._is_ready = True

    def _libraries(self):
        """list of `pathlib.Path`: what is put beside the tool."""
        folder = self._config.library_dir
        return sorted(pathlib.Path(folder).expanduser().glob("*.so")) if folder else []

    def _push_libraries(self):
        if self._libraries():
            self._adb.shell(f"mkdir -p {LIBRARIES}")
        for path in self._libraries():
            remote = f"{LIBRARIES}/{path.name}"
            if not self._adb.holds(remote, path.read_bytes()):
                self._adb.push(path, remote, 0o755, self._config.answer_seconds + path.stat().st_size / _SLOWEST_PUSH)

    def _settle(self):
        """Waits until the phone is fit, and turns its mode of fixed performance on; returns whether it has one."""
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
        if not self._knows_fixed_performance:
            return False
        status, text, error = self._adb.run("cmd power set-fixed-performance-mode-enabled true")
        return status == 0 and "error" not in (text + error).lower()

    @property
    def _knows_fixed_performance(self):
        return self.facts.sdk >= 30 and not self.facts.is_emulator

    def _why_unfit(self):
        """Says why the phone cannot time anything now; returns None where it can."""
        hot = self.condition.thermal_status
        if not self.facts.is_emulator and hot is not None and hot > self._config.max_thermal_status:
            return f"its thermal status is {hot}, over {self._config.max_thermal_status} (--android_max_thermal_status)"
        return self.complaint()

    def _wake_cores(self):
        """Wakes the cores that the tool is pinned to, or waits for them: some phones park whole clusters.

        Raises:
            Unfit: so many stayed asleep that its threads would lack some.
        """
        ours = {core for core in range(self.mask.bit_length()) if self.mask >> core & 1}
        deadline = time.monotonic() + 60 * self._config.patience_minutes
        while ours:
            online = phone.online(self._adb)
            if online is None or len(ours & online) >= min(self._config.num_threads, len(ours)):
                return
            if time.monotonic() > deadline:
                raise Unfit(
                    f"{count(len(ours - online), 'core')} of those that {self._adb.serial} is to time on stayed asleep "
                    f"(mask {self.mask:x}): keep its screen on"
                )
            phone.wake(self._adb)

    def _look(self):
        self.condition = phone.condition(self._adb)
        return self.condition

    def _cool(self):
        time.sleep(self._config.cool_seconds)
        deadline = time.monotonic() + 60 * self._config.patience_minutes
        while self._look() and self._why_unfit() and time.monotonic() < deadline:
            time.sleep(self._config.poll_seconds)

    def _repeat(self, remote, content):
        """Runs the tool until its last `repeats` runs agree, but at most twice as often.

        Returns:
            `(runs, spread)`: a `Latency` for each run, and the spread of the last ones.
        """
        count, runs = self._config.repeats, []
        while True:
            self._wake_cores()
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
        """Returns a dict of the reference network's latency and drift; a timing that passed is used for a minute."""
        known = self._memory.read().get(self._reference_key())
        if known and 0 <= time.time() - known["passed_at"] < _PASSED_FOR_SECONDS:
            return {**known, "drift": 0.0}
        return self._time_reference()

    def _time_reference(self):
        """Returns a dict of the reference network's latency now and the first time, and the drift between them.

        A timing that passes is remembered.
        """
        key, drift = self._reference_key(), 0.0
        known = self._memory.read().get(key)
        if known is None:
            ms = self._steady_reference_ms()
            known = {"baseline_ms": ms, "taken_at": time.strftime("%Y-%m-%d %H:%M:%S")}
        else:
            for _ in range(2):  # one run may be disturbed; only what both show is a drift
                ms = self._reference_ms()
                drift = abs(ms / known["baseline_ms"] - 1)
                if drift <= self._config.max_drift:
                    break
        if drift <= self._config.max_drift:
            self._memory.update(**{key: {**known, "ms": ms, "passed_at": time.time()}})
        return {**known, "ms": ms, "drift": drift}

    def _steady_reference_ms(self):
        """float: the median of timings of the reference network that agree as closely as a network's must."""
        for attempt in range(self._config.attempts):
            if attempt:
                self._cool()
            values = [self._reference_ms() for _ in range(self._config.repeats)]
            if _spread(values) <= self._config.max_spread:
                return statistics.median(values)
        figures = ", ".join(f"{ms:.3f}" for ms in values)
        raise Unfit(
            f"{self._adb.serial} is unstable: it times the reference network at {figures} ms. Let it cool, close other "
            "programs; the bound is --android_max_spread"
        )

    def _reference_ms(self):
        config = self._config
        short = min(0.3, config.min_seconds), min(0.2, config.warmup_seconds)
        self._wake_cores()
        try:
            return self._runner.run(self._reference_path, 30, *short).latency_ms
        except InfeasibleArchitecture as error:
            text = f"{self._adb.serial} cannot run the reference network as asked: {error}"
            raise ReferenceRefused(text) from error

    def _reference_key(self):
        config = self._config
        return f"{self.facts.build}:{self.tool.sha256[:16]}:{self.mask:x}:{config.num_threads}:{config.delegate}"

    def _why_void(self, reference, after):
        if reference["drift"] > self._config.max_drift:
            return "the reference had drifted afterwards"
        self.condition = after
        return self._why_unfit()

    def _latency(self, runs, spread, before, after, reference, fixed, voided):
        """Returns the middle `Latency` of the runs that count, with all that was observed in its details."""
        counted = runs[-self._config.repeats :]
        middle = sorted(counted, key=lambda run: run.latency_ms)[len(counted) // 2]
        details = {"serial": self._adb.serial, "phone": self.facts.identity, **self.describe()}
        details |= {"threads": self._config.num_threads, "delegate": self._config.delegate}
        details |= {"asked": self._runner.flags()}
        details |= {name: middle.details[name] for name in _OF_A_RUN}
        details |= {"before": before.to_json(), "after": after.to_json(), "fixed_performance": fixed}
        details |= {"reference": reference, "spread": spread}
        details |= {"tool_runs": [dataclasses.asdict(run) for run in runs], "counted_runs": len(counted)}
        details |= {"voided": voided, **({"note": EMULATOR} if self.facts.is_emulator else {})}
        return dataclasses.replace(middle, details=details)

    def _clean(self, remote):
        """Leaves the phone as it was found: ends a tool that still runs, removes the file `remote`, and turns fixed
        performance off."""
        script = f"{END}; rm -f {quote(remote)}" if remote else END
        if self._knows_fixed_performance:
            script += "; cmd power set-fixed-performance-mode-enabled false"
        # A lost phone keeps the file, which the next push replaces. A silent phone is not waited for a second time.
        if not self._adb.is_silent:
            with contextlib.suppress(EvaluationError):
                try:
                    self._adb.run(script)
                except KeyboardInterrupt:  # of a stop just now; a second one ends the process
                    self._adb.run(script)
                    raise


def _figures(runs):
    return [run.latency_ms for run in runs]


def _spread(values):
    """float: how far the values lie apart, as a fraction of their median."""
    return (max(values) - min(values)) / statistics.median(values)


def _voided(entry):
    """str: why a try did not count, and its figures."""
    figures = ", ".join(f"{ms:.3f}" for ms in entry.get("latencies_ms", []))
    reference = entry.get("reference")
    drift = f" (reference {reference['ms']:.3f} ms, at first {reference['baseline_ms']:.3f})" if reference else ""
    return entry["why"] + (f" [{figures}] ms" if figures else "") + drift
