"""This machine as the device: a process of its own, on a core of its own, times a TFLite file."""

import dataclasses
import functools
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import time

from nas_tf.devices import Meter, _cores
from nas_tf.devices._reference import REFERENCE, Memory
from nas_tf.settings import Settings, knob
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, KilledWorker, Latency, UserError

_TIMER = pathlib.Path(__file__).with_name("_host_timer.py")
_LIMIT_SECONDS = 300  # for what comes before and after the runs, and for the last one
_FIGURES, _FIRST_TIMINGS = ("median_ms", "mean_ms", "p95_ms", "std_ms"), 5
_BRIEF_SPREAD = 0.5  # a moment's disturbance fills a third of a brief timing


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """How a file is timed on this machine."""

    num_threads: int = knob(1, "Threads that run the network; each gets a core.", least=1)
    runtime: str = knob(
        "litert",
        "TFLite runtime; compiled_model: LiteRT's CompiledModel, which newer apps use, in place of its Interpreter.",
        choices=("litert", "compiled_model", "tflite_runtime"),
    )
    python: str = knob("", "Python of the virtual environment that holds the runtime; empty: this one.", program=True)
    warmup_seconds: float = knob(0.2, "Seconds of runs before any run counts; one run at least.", least=0)
    min_seconds: float = knob(0.5, "Seconds of counted runs at least.", above=0)
    max_seconds: float = knob(3.0, "Seconds of counted runs at most, if the median is not stable before.", above=0)
    stable_within: float = knob(
        0.01, "The median is stable once its values in three thirds of the runs agree within this fraction.", least=0
    )
    retry_spread: float = knob(
        0.1,
        "Fraction by which the medians of three thirds of the runs may differ; a timing beyond it is taken again.",
        above=0,
    )
    max_spread: float = knob(
        0.25, "That fraction for the steadiest of all timings of a network; beyond it there is no latency.", above=0
    )
    attempts: int = knob(5, "Timings of one network before it is called unstable.", least=1)
    pause_seconds: float = knob(
        1.0, "Pause before a network is timed again, twice as long each time: what disturbs a timing lasts.", least=0
    )

    def __post_init__(self):
        super().__post_init__()
        cores = os.cpu_count()
        if self.num_threads > cores:
            raise UserError(f"This machine has {cores} cores. Received: --host_num_threads={self.num_threads}")
        if self.min_seconds > self.max_seconds:
            raise UserError(
                "Expected 0 < --host_min_seconds <= --host_max_seconds. "
                f"Received: {self.min_seconds} and {self.max_seconds}"
            )


def make(config, space=None, scale=None):
    """Returns the `HostMeter`; what it times may be of any search space and scale."""
    return HostMeter(config)


class HostMeter(Meter):
    """Median latency of a TFLite file on this machine's processor.

    All files are timed on one kind of core, in turns with the reference network. A latency is the ratio of the two,
    times the reference's latency when this machine was first used: clocks and neighbours change a machine's speed by
    half for minutes, and two files that are timed one after the other could not be compared then. What was observed
    is in the `details` of a latency: `stable`, `spread` and `cores`, `reference_ms` now and `reference_first_ms`, and
    in `unstable_before` the timings of the same file that were less steady; `placement` says how many nodes there are.
    """

    shares_host = True

    def __init__(self, config):
        self._config = config

    @property
    def patience_seconds(self):
        config = self._config
        pauses = config.pause_seconds * (2 ** (config.attempts - 1) - 1)
        timings = config.attempts + _FIRST_TIMINGS
        return pauses + timings * (config.warmup_seconds + config.max_seconds)

    def check(self):
        self._reference_first_ms  # noqa: B018  runs the timer, which prints the runtime's version

    @functools.cached_property
    def _kind(self):
        """`(name, cores)` of the cores that files are timed on; None where all cores are alike.

        They are the fastest kind that has a core for each thread. Where no kind has enough, they are all.
        """
        kinds = _cores.kinds()
        if not kinds:
            return None
        for name, cores in kinds:
            if len(cores) >= self._config.num_threads:
                return name, cores
        return "several kinds", tuple(sorted(core for _, cores in kinds for core in cores))

    @functools.cached_property
    def _runtime(self):
        """dict of the versions of the runtime and of the Python that runs it."""
        try:
            process = self._run_timer()
        except subprocess.TimeoutExpired as late:
            raise EvaluationError(f"The Python {self._python!r} said nothing for {late.timeout:.0f} s") from late
        if process.returncode != 0:
            raise UserError(
                f"Expected the Python {self._python!r} to have the TFLite runtime {self._config.runtime!r}. It says: "
                f"{_last_line(process.stderr)}. Install it there, or choose with --host_runtime and --host_python"
            )
        return self._answer(process)

    def describe(self):
        settings = {"settings": dataclasses.asdict(self._config)}
        return {**self._facts, **settings, "reference_first_ms": self._reference_first_ms}

    @functools.cached_property
    def _facts(self):
        """dict of the machine and of the runtime."""
        kind = {"core_kind": f"{self._kind[0]} (cores {_cores.as_text(self._kind[1])})"} if self._kind else {}
        return {
            "device": "host",
            "processor": _processor(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            **kind,
            **self._runtime,
        }

    def brief(self):
        """A meter of a tenth of the time, which refuses less: a table of hundreds of units need not end for one."""
        shorter = {"warmup_seconds": 0.05, "min_seconds": 0.1, "max_seconds": 0.3, "attempts": 3, "pause_seconds": 0.0}
        least = {name: min(seconds, getattr(self._config, name)) for name, seconds in shorter.items()}
        loosest = max(_BRIEF_SPREAD, self._config.max_spread)
        return HostMeter(dataclasses.replace(self._config, **least, max_spread=loosest))

    def measure(self, tflite_path):
        if not os.path.isfile(tflite_path):
            raise EvaluationError(f"Expected a TFLite file. There is no file {str(tflite_path)!r}")
        tries = []
        while len(tries) < self._config.attempts:
            time.sleep(self._config.pause_seconds * 2 ** (len(tries) - 1) if tries else 0)
            tries.append(self._time(tflite_path))
            if tries[-1]["spread"] <= min(self._config.retry_spread, self._config.max_spread):
                break
        for figures in tries:
            factor = figures["ratio"] * self._reference_first_ms / figures["median_ms"]
            figures |= {name: factor * figures[name] for name in _FIGURES}
        steadiest = min(tries, key=lambda figures: figures["spread"])
        if steadiest["spread"] > self._config.max_spread:
            said = ", ".join(f"{each['median_ms']:.3f} ms with a spread of {each['spread']:.1%}" for each in tries)
            raise EvaluationError(
                f"This machine gives no stable latency of {tflite_path}: {said}. Close other programs, give it more "
                "time with --host_max_seconds, or allow a larger spread than "
                f"--host_max_spread={self._config.max_spread:g}"
            )
        others = [{name: each[name] for name in ("spread", "median_ms")} for each in tries if each is not steadiest]
        details = {name: steadiest[name] for name in ("stable", "spread", "cores")}
        details |= {"reference_ms": steadiest["beside_ms"], "reference_first_ms": self._reference_first_ms}
        details |= {"unstable_before": others} if others else {}
        if nodes := steadiest.get("nodes"):  # the runtimes here run all on the CPU
            details["placement"] = {"nodes": {"cpu": nodes}, "of_nodes": nodes, "delegates": {}, "said_by": "runtime"}
        return Latency(**{name: steadiest[name] for name in (*_FIGURES, "runs")}, details=details)

    @functools.cached_property
    def _reference_first_ms(self):
        """float: the reference network's latency when this machine was first used with these threads and runtime.

        It is the fastest of a few timings, and is remembered in the user's cache folder. It is the scale of all
        latencies, so that a run goes on only where it is the same.
        """
        memory = Memory("hosts", [platform.node(), self._config.num_threads, self._facts])
        with memory.held():  # of several processes that come first, one decides
            found = memory.read().get("reference_ms")
            if not isinstance(found, float) or not 0 < found < math.inf:
                found = min(self._time(REFERENCE, beside=False)["median_ms"] for _ in range(_FIRST_TIMINGS))
                memory.write({"reference_ms": found})
            return found

    def _time(self, tflite_path, beside=True):
        """Returns a dict of what the timer says of a file, timed once. A timer that was lost is tried once more."""
        arguments = [f"--beside={REFERENCE}"] if beside else []
        for _ in range(2):
            try:
                process = self._run_timer(*arguments, str(tflite_path))
            except subprocess.TimeoutExpired as late:
                lost_by = f"taking longer than {late.timeout:.0f} s"
                continue
            if process.returncode > 0:
                raise InfeasibleArchitecture(f"The TFLite runtime refused the network: {_last_line(process.stderr)}")
            if process.returncode == 0:
                return self._answer(process)
            lost_by = f"signal {-process.returncode}"
        raise KilledWorker(f"The network cost the process that times it twice, at last by {lost_by}")

    def _answer(self, process):
        """Returns the dict that the timer's last line holds."""
        try:
            value = json.loads(_last_line(process.stdout))
            if not isinstance(value, dict):
                raise ValueError("no object")
            return value
        except ValueError as error:
            raise UserError(
                f"Expected --host_python={self._python!r} to be a Python, which runs the timer. It printed: "
                f"{_last_line(process.stdout)[:80]!r}"
            ) from error

    @property
    def _python(self):
        return self._config.python or sys.executable

    def _run_timer(self, *arguments):
        """Returns the `subprocess.CompletedProcess` of the timer.

        Raises:
            subprocess.TimeoutExpired: it took too long, and was killed.
        """
        config = self._config
        limit_seconds = _LIMIT_SECONDS + config.warmup_seconds + config.max_seconds
        command = [
            self._python,
            str(_TIMER),
            f"--runtime={config.runtime}",
            f"--threads={config.num_threads}",
            f"--warmup_seconds={config.warmup_seconds}",
            f"--min_seconds={config.min_seconds}",
            f"--max_seconds={config.max_seconds}",
            f"--tolerance={config.stable_within}",
            *arguments,
        ]
        if self._kind is not None:
            command.append(f"--cores={','.join(map(str, self._kind[1]))}")
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=limit_seconds)
        except OSError as error:
            raise UserError(f"Cannot start --host_python={self._python!r}: {error.strerror}") from error


def _last_line(text):
    return text.strip().splitlines()[-1] if text.strip() else "nothing"


def _processor():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
