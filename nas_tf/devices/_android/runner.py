"""One run of benchmark_model on a phone: its command, how it ends, and its figures, strictly read.

A tool that writes its figures and where each node ran to files is read there; what it prints must agree. Where it
writes none, what it prints is all.
"""

import contextlib
import dataclasses
import functools
import json

from nas_tf.devices._android import adapters, results
from nas_tf.devices._android.adb import AdbFailed, PhoneGone, quote
from nas_tf.devices._android.log import BenchmarkLogError, parse_benchmark_output, unhonoured_flags
from nas_tf.devices._android.phone import FOLDER
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError, placement_in_words

PID_FILE = f"{FOLDER}/benchmark.pid"
_RESULTS, _PLACEMENT = f"{FOLDER}/results.pb", f"{FOLDER}/runtime_info.pb"
# Ends a tool that still runs.
END = (
    f'p=$(cat {PID_FILE} 2>/dev/null); [ -n "$p" ] && grep -q benchmark_model /proc/$p/cmdline 2>/dev/null '
    f"&& kill -9 $p; rm -f {PID_FILE} {_RESULTS} {_PLACEMENT}"
)
# The figures that the results file has, by the names that `nas_tf.trial.Latency` has for them.
_FIGURES = {
    "mean_ms": "avg_ms",
    "std_ms": "stddev_ms",
    "median_ms": "median_ms",
    "p5_ms": "p5_ms",
    "p95_ms": "p95_ms",
    "min_ms": "min_ms",
    "max_ms": "max_ms",
}


class Runner:
    """Runs the tool on a phone.

    Args:
        adb: the phone's `adb.Adb`.
        config: the `Config` of the device `android`.
        mask: int, the cores to pin the tool to, as a bit mask; 0: it is not pinned.
        tool_path: path of the tool on the phone.
        log: `log(name, text)` is called with all that the tool prints.

    Attributes:
        unconsumed: list of the flags that the tool did not take in its latest run and does without.
    """

    def __init__(self, adb, config, mask, tool_path, log):
        self._adb, self._config, self._mask, self._tool_path, self._log = adb, config, mask, tool_path, log
        self.unconsumed = []

    @functools.cached_property
    def adapter(self):
        """The `adapters.Adapter` of the tool, which is asked for its flags once.

        Raises:
            UserError: it cannot run networks on the delegate of the settings.
            AdbFailed: it does not start.
        """
        status, usage, _ = self._adb.run(f"{self._environment()}{quote(self._tool_path)} --help 2>&1")
        self._log("benchmark_model.txt", f"$ {self._tool_path} --help\n{usage}\nexit status {status}\n")
        found = adapters.choose(usage)
        if found is None:
            said = (usage.strip().splitlines() or ["nothing"])[-1][:200]
            raise AdbFailed(f"Expected benchmark_model on {self._adb.serial} to list its flags. It says: {said}")
        if self._config.delegate not in found.delegates:
            raise UserError(
                f"{found.name} knows the delegates {', '.join(found.delegates)}. Received: --android_delegate="
                f"{self._config.delegate}. Another tool can be given by --android_benchmark_binary"
            )
        return found

    def _environment(self):
        return f"LD_LIBRARY_PATH={adapters.LIBRARIES} " if self._config.library_dir else ""

    def run(self, remote, num_runs=None, min_seconds=None, warmup_seconds=None):
        """Returns the `nas_tf.trial.Latency` of one run of the tool, repeated where what it printed was damaged.

        Args:
            remote: path of the TFLite file on the phone.
            num_runs, min_seconds, warmup_seconds: settings that replace those of the `Config`; None: those.

        Raises:
            InfeasibleArchitecture: the tool cannot run the network, or the delegate does not take all of it.
            PhoneGone: the phone was lost.
            AdbFailed: what the tool printed was damaged each time.
        """
        config = self._config
        flags = [f"--graph={remote}", *self.flags(num_runs, min_seconds, warmup_seconds)]
        flags += self.adapter.files(_RESULTS, _PLACEMENT)
        pinned = ["taskset", f"{self._mask:x}"] if self._mask else []
        command = f"{self._environment()}exec {quote(*pinned, self._tool_path, *flags)}"
        script = f"rm -f {_RESULTS} {_PLACEMENT}; echo $$ > {PID_FILE}; {command} 2>&1"
        failure = None
        for _ in range(3):
            try:
                # Warm-up and inferences may take max_seconds each.
                status, text, _ = self._adb.run(script, 2 * config.max_seconds + config.answer_seconds)
            except (PhoneGone, AdbFailed):
                self.end_process()
                raise
            self._log("benchmark_model.txt", f"$ {script}\n{text}\nexit status {status}\n")
            try:
                return self._read(text, status, remote)
            except BenchmarkLogError as error:
                if error.refused_network:
                    raise InfeasibleArchitecture(f"benchmark_model cannot run the network: {error}") from error
                failure = error
        raise AdbFailed(f"{self._adb.serial}: benchmark_model ended with status {status}, and {failure}")

    def flags(self, num_runs=None, min_seconds=None, warmup_seconds=None):
        """list[str]: the tool's flags without the file; arguments as for `run`."""
        config = self._config
        return [
            f"--num_threads={config.num_threads}",
            f"--num_runs={_or(num_runs, config.num_runs)}",
            "--warmup_runs=1",
            f"--warmup_min_secs={_or(warmup_seconds, config.warmup_seconds)}",
            f"--min_secs={_or(min_seconds, config.min_seconds)}",
            f"--max_secs={config.max_seconds}",
            *self.adapter.delegates[config.delegate],
        ]

    def _read(self, text, status, remote):
        latencies = parse_benchmark_output(text)
        if status or len(latencies) != 1:
            raise BenchmarkLogError(f"expected one run and status 0. Received: {len(latencies)} and status {status}")
        latency, printed = latencies[0], self.adapter.printed.get(self._config.delegate, {})
        asked = {"Graph": remote, "Num threads": str(self._config.num_threads), **printed}
        unconsumed = latency.details["unconsumed"]
        wrong = unhonoured_flags(latency, asked)
        wrong += [f"{flag}: not taken" for flag in unconsumed if flag not in adapters.HARMLESS]
        if wrong:
            raise BenchmarkLogError(
                f"it did not do as asked: {'; '.join(wrong)}. Is it too old? Another can be given by "
                "--android_benchmark_binary"
            )
        self.unconsumed = unconsumed
        latency = self._with_files(latency)
        self._refuse_elsewhere(latency.details)
        return latency

    def _with_files(self, latency):
        """Returns the `Latency` with the figures of the tool's files, where it wrote them, in place of the printed."""
        figures, placement = {}, None
        if self.adapter.result_flag and (content := self._adb.read(_RESULTS, results.MOST_BYTES)):
            found = results.read_figures(content)
            results.check_figures(found, latency)
            # Floats of four bytes: of whole microseconds, but for the mean, of which the log has six digits.
            figures = {name: round(found[theirs], 3) for name, theirs in _FIGURES.items()}
            figures |= {"mean_ms": float(f"{found['avg_ms']:.7g}"), "statistic": "median"}
        if self.adapter.placement_flags and (content := self._adb.read(_PLACEMENT, results.MOST_BYTES)):
            placement = results.read_placement(content)
        placement = placement or results.placement_in_log(latency.details)
        details = {**latency.details, "placement": placement, "figures_from": "file" if figures else "log"}
        return dataclasses.replace(latency, **figures, details=details)

    def _refuse_elsewhere(self, details):
        """Raises `InfeasibleArchitecture` where the network did not run where it was asked to run, whole."""
        delegate, placement, took = self._config.delegate, details["placement"], details["delegated"]
        if delegate == "cpu":
            if placement and set(placement["nodes"]) != {"cpu"}:
                raise BenchmarkLogError(f"it was to run on the CPU, and ran on {placement_in_words(placement)}")
            return
        if placement is None and took is None:
            raise BenchmarkLogError(f"it does not say whether the {delegate} delegate took the network")
        part = took if took in ("partial", "none") else None
        if placement and placement["nodes"].get(delegate, 0) < placement["of_nodes"]:
            part = placement_in_words(placement)
        if part:
            fell_back = placement and set(placement["nodes"]) == {"cpu"}
            raise InfeasibleArchitecture(
                f"Expected the {delegate} delegate to take all of the network. "
                + ("It took nothing: all ran on the CPU instead, unasked" if fell_back else f"It took {part}")
                + f": {json.dumps(details['delegates'])}"
            )

    def end_process(self):
        """Ends a tool that still runs after the connection was lost or silent, if the phone can be reached."""
        with contextlib.suppress(EvaluationError):
            self._adb.run(END)


def _or(value, default):
    return default if value is None else value
