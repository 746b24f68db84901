"""Reads what TensorFlow Lite's `benchmark_model` prints: every figure checked against the others, or an error.

The tool logs a line per fact: to stderr up to TF 2.x, later as "INFO: ..." to stdout and errors to stderr, an app's to
logcat under the tag `tflite`. A figure that stands twice was formatted from the same number, so the two are compared
as text: nothing is tolerated beyond the digits that the format drops.
"""

import collections
import re

from nas_tf.devices._android._log_lines import (
    EXAMPLE,
    KIND,
    LOGCAT,
    REMAINS,
    SEVERITY,
    WHOLE_LINE,
    BenchmarkLogError,
    Times,
    contradiction,
    figure,
    megabytes,
    quoted,
)
from nas_tf.trial import Latency

# After each of these the tool stops, whatever it printed before. "failed to invoke": it goes on counting, to no use.
_FAILURE = re.compile(
    r"Benchmarking failed|Failed to (?:initialize the interpreter|initialize model loader|load model|mmap model|"
    r"allocate tensors|set thread number|apply \S+ delegate\.)|Disallowed CPU fallback detected|failed to invoke"
)
_REFUSAL = re.compile(
    r"Failed to initialize the interpreter|Failed to allocate tensors|[Dd]idn't find (?:custom )?op|not supported|"
    r"unresolved custom op|failed to prepare|not a valid Flatbuffer"
)
# Flags that other programs do not print and one of which every version prints: with these, too, a run may begin.
_HEAD_FLAGS = (
    "Log parameter values verbosely", "Min num runs", "Num threads", "Graph", "Signature to run",
    "#threads used for CPU inference", "Use gpu", "Use NNAPI",
)  # fmt: skip
# The printed names that state one setting; the second is what the interpreter was given.
_ALSO_PRINTED = {"Num threads": "#threads used for CPU inference"}
_PAUSES = ("Inter-run delay (seconds)", "Number of prorated runs per second")

# How far a run has been read, and the kind of line that has to follow.
_NOTHING, _HEAD, _LOADED, _SIZED, _READY, _WARMING, _WARM, _RUNNING, _RAN, _DONE, _MEMORY, _PEAK = range(-1, 11)
_NEXT = {_HEAD: "loaded", _LOADED: "session", _SIZED: "session", _READY: "phase", _WARMING: "times", _WARM: "phase",
         _RUNNING: "times", _RAN: "summary", _DONE: "start", _MEMORY: "start", _PEAK: "start"}  # fmt: skip
# Kinds of line with which a run may begin whose head is cut.
_BEGINNINGS = ("start", "loaded", "several", "replaced", "applied", "size", "session")


def parse_benchmark_output(text):
    """One `Latency` for each run of the tool in the text, in their order; pass the text as it came, line ends too.

    Lines that are not the tool's are passed over. `details` has `flags` (as printed before the model was loaded),
    `delegates` (`name`, `nodes`, `of_nodes`, `partitions`), `delegated` (`all`, `partial`, `none`; None: not said)
    and, where the tool gave them, `tflite_bytes_mb` and `memory_mb`.

    Raises:
        BenchmarkLogError: the text has no run, or any run in it is cut, failed, contradictory or of an unknown form.
    """
    # Not splitlines(), which also breaks lines at damaged bytes.
    lines = text.split("\n")
    processes = collections.defaultdict(_Process)
    for number, line in enumerate(lines):
        pid, severity = None, None
        # Only these: at the end of a line, any other white space may be what is left of a digit.
        line = line.rstrip("\r")
        if line[:1].isdigit() and (logcat := LOGCAT.fullmatch(line)):
            if "tflite" not in (logcat["tag"], logcat["tag2"]):
                continue
            pid, line = logcat["pid"] or logcat["pid2"], logcat["message"]
            severity = logcat["level"] or logcat["level2"]
        if line := line.lstrip(" \t"):
            processes[pid].read(line, severity, number, is_last=number == len(lines) - 1)
    for process in processes.values():
        process.finish()
    found = sorted((run for process in processes.values() for run in process.runs), key=lambda run: run.number)
    if not found:
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        raise BenchmarkLogError(f"Expected a run of benchmark_model. Received a log that ends with {quoted(last)}")
    return [run.latency() for run in found]


def unhonoured_flags(latency, asked):
    """The flags (printed name to value) that the tool did not take over, as "Num threads: asked 1, used 4".

    A log whose head is cut says nothing of its flags and contradicts none.
    """
    flags = latency.details["flags"]
    unhonoured = []
    for name, value in asked.items():
        used = [flags[printed] for printed in (name, _ALSO_PRINTED.get(name)) if printed in flags]
        value = str(int(value)) if isinstance(value, bool) else str(value)
        wrong = next((other for other in used if not _equal(other, value)), None)
        if wrong is not None:
            unhonoured.append(f"{name}: asked {value}, used {wrong}")
        elif not used and "Graph" in flags:
            unhonoured.append(f"{name}: asked {value}, not printed")
    return unhonoured


def _equal(text, other):
    try:
        return text == other or float(text) == float(other)
    except ValueError:
        return False


def _milliseconds(microseconds):
    return None if microseconds is None else microseconds / 1000


class _Process:
    """Reads the lines of one process and gathers its runs."""

    def __init__(self):
        self.runs = []
        self._run = _Run()

    def read(self, line, severity, number, is_last):
        prefix, line = SEVERITY.fullmatch(line).groups()
        if found := KIND.match(line):
            kind = found.lastgroup
            match = WHOLE_LINE[kind].fullmatch(line)
            if match is None and kind == "flag" and line.partition(": [")[0] not in _HEAD_FLAGS:
                return
            if match is None:
                raise BenchmarkLogError(f'Expected a line like "{EXAMPLE[kind]}". Received: {quoted(line)}')
            # A last line without its end may have lost digits: nothing else states these, so they are left out.
            if kind == "profile" or (is_last and kind in ("memory", "peak")):
                return
            if self._run.stage >= _DONE and (kind in _BEGINNINGS or (kind == "flag" and match["name"] in _HEAD_FLAGS)):
                self.finish()
            getattr(self._run, kind)(match, line)
            if kind == "summary":
                self._run.number = number
        elif _FAILURE.search(line):
            self._run.fail(line)
        elif REMAINS.search(line) or (_NOTHING < self._run.stage < _DONE and line.replace(".", "").isdigit()):
            raise BenchmarkLogError(f"Expected whole lines of benchmark_model. Received: {quoted(line)}")
        elif (prefix or severity or "I")[0] in "EF":
            self._run.complaints.append(line)

    def finish(self):
        """Ends the run that is being read; one of which nothing but remarks was read never began."""
        if _NOTHING < self._run.stage < _DONE:
            raise self._run.cut("the log ends with", self._run.last)
        if self._run.stage >= _DONE:
            self.runs.append(self._run)
        self._run = _Run()


class _Run:
    """One run of the tool as far as it has been read: a method for each kind of line."""

    def __init__(self):
        self.stage, self.number, self.last = _NOTHING, 0, ""
        self.flags, self.delegates, self.applied_by, self.complaints, self.memory_mb = {}, [], {}, [], {}
        self.num_delegates, self.is_head_cut = None, True
        self.tflite_mb = self.session_ms = self.phase_line = self.warm_up = self.timed = self.init_us = None

    def cut(self, how, line):
        said = f"; it had said: {'; '.join(map(quoted, self.complaints[-5:]))}" if self.complaints else ""
        expected = EXAMPLE[_NEXT.get(self.stage, "session")]
        return BenchmarkLogError(f'Expected a line like "{expected}" next in this run, but {how} {quoted(line)}{said}')

    def fail(self, line):
        said = [*self.complaints[-5:], line]
        refused = any(map(_REFUSAL.search, said)) or (line.startswith("Disallowed") and bool(self.delegates))
        raise BenchmarkLogError(
            f"Expected a finished run of benchmark_model, but it failed: {'; '.join(map(quoted, said))}",
            refused_network=refused and "failed to invoke" not in line,
        )

    def _step(self, line, after, stage):
        if self.stage not in after:
            raise self.cut("there follows", line)
        self.stage, self.last = stage, line

    def start(self, match, line):
        self._step(line, (_NOTHING,), _HEAD)
        self.delegates, self.applied_by, self.complaints = [], {}, []

    def flag(self, match, line):
        if self.stage == _HEAD or (self.stage == _NOTHING and match["name"] in _HEAD_FLAGS):
            self.stage, self.last = _HEAD, line
            # Two delegates may both print an option that they share.
            if self.flags.setdefault(match["name"], match["value"]) != match["value"]:
                raise contradiction(f"{match['name']} to be {self.flags[match['name']]!r} as said before", line)

    def loaded(self, match, line):
        self.is_head_cut = self.stage == _NOTHING
        self._step(line, (_NOTHING, _HEAD), _LOADED)
        if match["graph"] != self.flags.get("Graph", match["graph"]):
            raise contradiction(f"the graph to be {self.flags['Graph']!r} as said before", line)

    def several(self, match, line):
        self._step(line, (_NOTHING, _LOADED), self.stage)
        self.num_delegates = int(match["count"])

    def replaced(self, match, line):
        # Comes by stderr, which may run ahead of stdout or behind it.
        of_nodes = int(match["of"]) if match["of"] else None
        nodes, partitions = int(match["nodes"]), int(match["partitions"])
        if of_nodes is not None and nodes > of_nodes:
            raise contradiction("no more nodes replaced than there are", line)
        self.delegates.append({"name": match["name"], "nodes": nodes, "of_nodes": of_nodes, "partitions": partitions})

    def applied(self, match, line):
        self._step(line, (_NOTHING, _LOADED), self.stage)
        name = match["name"] or match["unused"]
        if name in self.applied_by:
            raise contradiction(f"the delegate {name} once", line)
        self.applied_by[name] = "none" if match["unused"] else "all" if match["all"] else "partial"

    def size(self, match, line):
        self._step(line, (_NOTHING, _LOADED), _SIZED)
        self.tflite_mb = figure(match["size"], line)

    def session(self, match, line):
        self._step(line, (_NOTHING, _LOADED, _SIZED), _READY)
        self.session_ms = match["ms"]
        if self.num_delegates not in (None, len(self.applied_by)):
            raise contradiction(f"what became of each of the {self.num_delegates} delegates before", line)

    def phase(self, match, line):
        self._step(line, (_READY, _WARM), self.stage + 1)
        self.phase_line = match

    def times(self, match, line):
        self._step(line, (_WARMING, _RUNNING), self.stage + 1)
        times = Times(match, line)
        pauses = any(self.flags.get(name, "-1") != "0" and self.flags.get(name, "-1")[:1] != "-" for name in _PAUSES)
        times.check_phase(self.phase_line, pauses, line)
        self.warm_up, self.timed = (times, None) if self.stage == _WARM else (self.warm_up, times)

    def summary(self, match, line):
        self._step(line, (_RAN,), _DONE)
        self.init_us = int(match["init"] or match["old_init"])
        stated = [
            ("the warm-up's mean", match["warm"] or match["old_warm"], self.warm_up.mean_text),
            ("the mean", match["mean"] or match["old_mean"], self.timed.mean_text),
            ("the first inference", match["first"] or str(self.warm_up.first), str(self.warm_up.first)),
            ("the session's start in ms", f"{self.init_us / 1e3:g}", self.session_ms),
        ]
        for what, text, before in stated:
            if text != before:
                raise contradiction(f"{what} to be {before} as said before", line)

    def memory(self, match, line):
        self._step(line, (_DONE,), _MEMORY)
        self.memory_mb = {name: megabytes(match[name], line) for name in ("init", "overall")}

    def peak(self, match, line):
        self._step(line, (_DONE, _MEMORY), _PEAK)
        self.memory_mb["peak"] = megabytes(match["peak"], line)

    def latency(self):
        details = {"flags": self.flags, "delegates": self.delegates, "delegated": self._delegated()}
        details |= {"tflite_bytes_mb": self.tflite_mb} if self.tflite_mb is not None else {}
        details |= {"memory_mb": self.memory_mb} if self.memory_mb else {}
        timed, warm_up = self.timed, self.warm_up
        return Latency(
            mean_ms=timed.mean / 1000,
            std_ms=timed.std / 1000,
            runs=timed.count,
            median_ms=_milliseconds(timed.median),
            p95_ms=_milliseconds(timed.p95),
            statistic="mean" if timed.median is None else "median",
            p5_ms=_milliseconds(timed.p5),
            min_ms=timed.min / 1000,
            max_ms=timed.max / 1000,
            first_ms=timed.first / 1000,
            warmup_mean_ms=warm_up.mean / 1000,
            init_ms=self.init_us / 1000,
            first_inference_ms=warm_up.first / 1000,
            details=details,
        )

    def _delegated(self):
        """What the tool says of the delegates that it was asked for; where of none, what the default one took."""
        names = {name.lower() for name in self.applied_by}
        asked = {name[4:].lower() for name, value in self.flags.items() if name.startswith("Use ") and value == "1"}
        if asked - names - {"caching"}:
            # Silence about one that was asked for; what another took in its place would mislead.
            return None
        if said := set(self.applied_by.values()):
            # One of several that took everything leaves none to the others, and may be missing from a damaged log.
            share = next(share for share in ("all", "partial", "none") if share in said)
            others = [each["name"] for each in self.delegates if each["nodes"] and "XNNPack" not in each["name"]]
            return None if share == "none" and (self.is_head_cut or others) else share
        shares = [(each["nodes"], each["of_nodes"]) for each in self.delegates]
        if not shares or None in (of_nodes for _, of_nodes in shares):
            return None
        said = {"none" if not nodes else "all" if nodes == of_nodes else "partial" for nodes, of_nodes in shares}
        return said.pop() if len(said) == 1 else "partial"
