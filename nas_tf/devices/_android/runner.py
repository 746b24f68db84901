"""One run of benchmark_model on a phone: its command, how it ends, and the figures that it prints, strictly read."""

import contextlib
import json

from nas_tf.devices._android.adb import AdbFailed, PhoneGone, quote
from nas_tf.devices._android.log import BenchmarkLogError, parse_benchmark_output, unhonoured_flags
from nas_tf.devices._android.phone import FOLDER
from nas_tf.trial import EvaluationError, InfeasibleArchitecture

PID_FILE = f"{FOLDER}/benchmark.pid"
# Ends a tool that still runs.
END = (
    f'p=$(cat {PID_FILE} 2>/dev/null); [ -n "$p" ] && grep -q benchmark_model /proc/$p/cmdline 2>/dev/null '
    f"&& kill -9 $p; rm -f {PID_FILE}"
)
_DELEGATE_FLAGS = {"cpu": ("--use_xnnpack=true",), "gpu": ("--use_gpu=true",), "nnapi": ("--use_nnapi=true",)}
_DELEGATE_LINES = {"cpu": {}, "gpu": {"Use gpu": "1"}, "nnapi": {"Use NNAPI": "1"}}


class Runner:
    """Runs the tool on a phone.

    Args:
        adb: the phone's `adb.Adb`.
        config: the `Config` of the device `android`.
        mask: int, the cores to pin the tool to, as a bit mask; 0: it is not pinned.
        tool_path: path of the tool on the phone.
        log: `log(name, text)` is called with all that the tool prints.

    Attributes:
        unconsumed: list of the flags that the tool did not take in its latest run and does without: LiteRT 2's own tool
            has no `--use_xnnpack`, and always uses XNNPACK on the CPU.
    """

    def __init__(self, adb, config, mask, tool_path, log):
        self._adb, self._config, self._mask, self._tool_path, self._log = adb, config, mask, tool_path, log
        self.unconsumed = []

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
        config, flags = self._config, [f"--graph={remote}", *self.flags(num_runs, min_seconds, warmup_seconds)]
        pinned = ["taskset", f"{self._mask:x}"] if self._mask else []
        script = f"echo $$ > {PID_FILE}; exec {quote(*pinned, self._tool_path, *flags)} 2>&1"
        failure = None
        for _ in range(3):
            try:
                status, text, _ = self._adb.run(script, config.max_seconds + config.answer_seconds)
            except PhoneGone:
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
            *_DELEGATE_FLAGS[config.delegate],
        ]

    def _read(self, text, status, remote):
        latencies = parse_benchmark_output(text)
        if status or len(latencies) != 1:
            raise BenchmarkLogError(f"expected one run and status 0. Received: {len(latencies)} and status {status}")
        delegate = _DELEGATE_LINES[self._config.delegate]
        asked = {"Graph": remote, "Num threads": str(self._config.num_threads), **delegate}
        unconsumed = latencies[0].details["unconsumed"]
        wrong = unhonoured_flags(latencies[0], asked)
        wrong += [f"{flag}: not taken" for flag in unconsumed if flag not in _DELEGATE_FLAGS["cpu"]]
        if wrong:
            raise BenchmarkLogError(
                f"it did not do as asked: {'; '.join(wrong)}. Is it too old? Another can be given by "
                "--android_benchmark_binary"
            )
        self.unconsumed = unconsumed
        details = latencies[0].details
        if self._config.delegate == "cpu":
            return latencies[0]
        took = details["delegated"]
        if took is None:
            raise BenchmarkLogError(f"it does not say whether the {self._config.delegate} delegate took the network")
        if took != "all":
            raise InfeasibleArchitecture(
                f"Expected the {self._config.delegate} delegate to take all of the network. It took {took}: "
                f"{json.dumps(details.get('delegates', []))}"
            )
        return latencies[0]

    def end_process(self):
        """Ends a tool that still runs after the connection was lost or silent, if the phone can be reached."""
        with contextlib.suppress(EvaluationError):
            self._adb.run(END)


def _or(value, default):
    return default if value is None else value
