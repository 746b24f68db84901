"""Reads what TensorFlow Lite's `benchmark_model` prints. Every figure is checked against the others.

The tool prints a line for each fact: up to TF 2.x to stderr; later as "INFO: ..." to stdout, and errors to stderr; as
an app to logcat, under the tags `tflite` and `litert`. A figure that is printed twice was formatted from one number
both times. So the two are compared as text, and may differ only in digits that the format drops.

LiteRT 2's own tool, of the same name, prints the same lines but for the first that names the file and the summary,
which it gives in ms at two decimals.
"""

import collections

from nas_tf.devices._android._log_lines import (
    EXAMPLE,
    FAILURE,
    HEAD_FLAGS,
    KIND,
    REFUSAL,
    REMAINS,
    SEVERITY,
    WHOLE_LINE,
    BenchmarkLogError,
    Times,
    contradiction,
    figure,
    lines_of,
    megabytes,
    quoted,
)
from nas_tf.trial import Latency

# Two printed names of one setting; the second one states what the interpreter was told.
_ALSO_PRINTED = {"Num threads": "#threads used for CPU inference"}
_PAUSES = ("Inter-run delay (seconds)", "Number of prorated runs per second")

# How far a run has been read, and the kind of line that has to follow: "session" where nothing else is said.
_NOTHING, _HEAD, _LOADED, _SIZED, _READY, _WARMING, _WARM, _RUNNING, _RAN, _DONE, _MEMORY, _PEAK = range(-1, 11)
_NEXT = {_HEAD: "loaded", _READY: "phase", _WARMING: "times", _WARM: "phase", _RUNNING: "times", _RAN: "summary"}
_NEXT |= dict.fromkeys((_DONE, _MEMORY, _PEAK), "start")
# Kinds of line with which a run may begin if its head is cut off.
_BEGINNINGS = ("start", "unconsumed", "loaded", "loading", "several", "replaced", "applied", "size", "session")


def parse_benchmark_output(text):
    """Reads all runs of the tool in a text. Lines that are not the tool's are ignored.

    Args:
        text: what the tool printed, with its line ends as they were.

    Returns:
        A list with a `Latency` for each run, in their order. Its `details` has

        * `flags`: dict of the flags printed before the model was loaded;
        * `unconsumed`: list of the flags, as given, that the tool said it did not take;
        * `delegates`: list of dicts of `name`, `nodes`, `of_nodes` and `partitions`;
        * `delegated`: how much of the network delegates took: `all`, `partial` or `none`; None where that is not said;
        * `tflite_bytes_mb` and `memory_mb`, where TFLite's tool printed them.

    Raises:
        BenchmarkLogError: the text has no run; or a run in it is cut, failed, contradicts itself or has another form.
    """
    processes, last = collections.defaultdict(_Process), text.count("\n")
    for number, pid, severity, line in lines_of(text):
        if line := line.lstrip(" \t"):
            processes[pid].read(line, severity, number, is_last=number == last)
    for process in processes.values():
        process.finish()
    found = sorted((run for process in processes.values() for run in process.runs), key=lambda run: run.number)
    if not found:
        end = text.rstrip()[-1000:].split("\n")[-1].strip()
        raise BenchmarkLogError(f"Expected a run of benchmark_model. Received a log that ends with {quoted(end)}")
    return [run.latency() for run in found]


def unhonoured_flags(latency, asked):
    """Finds the flags that the tool did not obey.

    Args:
        latency: of a run, as `parse_benchmark_output` returned it.
        asked: dict from the printed name of a flag to the value that was asked for.

    Returns:
        A list of str, such as "Num threads: asked 1, used 4". It is empty for a log whose head is cut off, as such a
        log says nothing about flags.
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
    """bool: whether two texts are the same, or the same number."""
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
        """Reads line `number` of the log; `severity` is logcat's, and None elsewhere."""
        prefix, line = SEVERITY.fullmatch(line).groups()
        if found := KIND.match(line):
            kind = found.lastgroup
            match = WHOLE_LINE[kind].fullmatch(line)
            if match is None and kind == "flag" and line.partition(": [")[0] not in HEAD_FLAGS:
                return
            if match is None:
                raise BenchmarkLogError(f'Expected a line like "{EXAMPLE[kind]}". Received: {quoted(line)}')
            # A last line without its end may have lost digits. No other line states these figures: they are left out.
            if kind == "profile" or (is_last and kind in ("memory", "peak")):
                return
            if self._run.stage >= _DONE and (kind in _BEGINNINGS or (kind == "flag" and match["name"] in HEAD_FLAGS)):
                self.finish()
            getattr(self._run, kind)(match, line)
            if kind in ("summary", "result"):
                self._run.number = number
        elif FAILURE.search(line):
            self._run.fail(line)
        elif REMAINS.search(line) or (_NOTHING < self._run.stage < _DONE and line.replace(".", "").isdigit()):
            raise BenchmarkLogError(f"Expected whole lines of benchmark_model. Received: {quoted(line)}")
        elif (prefix or severity or "I")[0] in "EF":
            self._run.complaints.append(line)

    def finish(self):
        """Ends the run that is being read; a run of which only remarks were read never began."""
        if _NOTHING < self._run.stage < _DONE:
            raise self._run.cut("the log ends with", self._run.last)
        if self._run.stage >= _DONE:
            self.runs.append(self._run)
        self._run = _Run()


class _Run:
    """One run of the tool as far as it has been read, with a method for each kind of line."""

    def __init__(self):
        self.stage, self.number, self.last = _NOTHING, 0, ""
        self.flags, self.delegates, self.applied_by, self.complaints, self.memory_mb = {}, [], {}, [], {}
        self.not_taken, self.num_delegates, self.is_head_cut = [], None, True
        self.is_litert, self.num_results = False, 0
        self.tflite_mb = self.session_ms = self.phase_line = self.warm_up = self.timed = self.init_us = None

    def cut(self, how, line):
        """Returns the `BenchmarkLogError` of a run in which another line should have come before this one."""
        said = f"; it had said: {'; '.join(map(quoted, self.complaints[-5:]))}" if self.complaints else ""
        expected = EXAMPLE["result" if self.is_litert and self.stage == _RAN else _NEXT.get(self.stage, "session")]
        return BenchmarkLogError(f'Expected a line like "{expected}" next in this run, but {how} {quoted(line)}{said}')

    def fail(self, line):
        """Raises the `BenchmarkLogError` of a run that failed, as this line says."""
        said = [*self.complaints[-5:], line]
        refused = any(map(REFUSAL.search, said)) or (line.startswith("Disallowed") and bool(self.delegates))
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
        self.delegates, self.applied_by, self.complaints, self.not_taken = [], {}, [], []

    def unconsumed(self, match, line):
        self._step(line, (_NOTHING, _HEAD), self.stage)
        self.not_taken = match["flags"].split()

    def flag(self, match, line):
        if self.stage == _HEAD or (self.stage == _NOTHING and match["name"] in HEAD_FLAGS):
            self.stage, self.last = _HEAD, line
            # Two delegates may both print an option that both have.
            if self.flags.setdefault(match["name"], match["value"]) != match["value"]:
                raise contradiction(f"{match['name']} to be {self.flags[match['name']]!r} as said before", line)

    def loaded(self, match, line):
        self.is_head_cut = self.stage == _NOTHING
        self._step(line, (_NOTHING, _HEAD), _LOADED)
        if match["graph"] != self.flags.get("Graph", match["graph"]):
            raise contradiction(f"the graph to be {self.flags['Graph']!r} as said before", line)

    def loading(self, match, line):
        # LiteRT's tool does not print its flag of the file.
        if self.stage == _HEAD:
            self.flags.setdefault("Graph", match["graph"])
        self.is_litert = True
        self.loaded(match, line)

    def several(self, match, line):
        self._step(line, (_NOTHING, _LOADED), self.stage)
        self.num_delegates = int(match["count"])

    def replaced(self, match, line):
        # This line comes through stderr, which may be ahead of stdout or behind it.
        of_nodes = int(match["of"]) if match["of"] else None
        nodes, partitions = int(match["nodes"]), int(match["partitions"])
        if of_nodes is not None and nodes > of_nodes:
            raise contradiction("no more nodes replaced than there are", line)
        subgraph = {"subgraph": int(match["subgraph"])} if match["subgraph"] not in (None, "0") else {}
        found = {"name": match["name"], "nodes": nodes, "of_nodes": of_nodes, "partitions": partitions}
        self.delegates.append(found | subgraph)

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

    def result(self, match, line):
        """Checks a line of LiteRT's summary, which has seven in this order, against what the lines before it said."""
        self._step(line, (_RAN,), _RAN)
        warm_up, timed = self.warm_up, self.timed
        init_ms = float(self.session_ms)
        stated = [  # ms, whether it had been rounded to six digits before, and of how many runs it is
            ("Model initialization", init_ms, True, None),
            ("Warmup (first)", warm_up.first / 1000, False, None),
            ("Warmup (avg)", warm_up.mean / 1000, True, warm_up.count),
            ("Inference (avg)", timed.mean / 1000, True, timed.count),
            ("Inference (min)", timed.min / 1000, False, None),
            ("Inference (max)", timed.max / 1000, False, None),
            ("Inference (std)", timed.std / 1000, False, None),
        ]
        what, before, is_rounded, count = stated[self.num_results]
        slack = 0.005 + 1e-9 + (5e-6 * before if is_rounded else 0)
        if match["what"] != what or abs(float(match["value"]) - before) > slack:
            raise contradiction(f"{what} to be {before:.2f} as said before", line)
        if match["count"] != (count and str(count)):
            raise contradiction(f"{what} to be of {count or 'no number of'} runs", line)
        self.num_results += 1
        if self.num_results == len(stated):
            self.stage, self.init_us = _DONE, round(init_ms * 1000)

    def memory(self, match, line):
        self._step(line, (_DONE,), _MEMORY)
        self.memory_mb = {name: megabytes(match[name], line) for name in ("init", "overall")}

    def peak(self, match, line):
        self._step(line, (_DONE, _MEMORY), _PEAK)
        self.memory_mb["peak"] = megabytes(match["peak"], line)

    def latency(self):
        """Returns the `Latency` of the whole run."""
        details = {
            "flags": self.flags,
            "unconsumed": self.not_taken,
            "delegates": self.delegates,
            "delegated": self._delegated(),
        }
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
        """Says how much the delegates took that were asked for; if none was, how much the default one took."""
        names = {name.lower() for name in self.applied_by}
        asked = {name[4:].lower() for name, value in self.flags.items() if name.startswith("Use ") and value == "1"}
        if asked - names - {"caching"}:
            # Nothing is said about a delegate that was asked for. What another took instead would mislead.
            return None
        if said := set(self.applied_by.values()):
            # If one of several took everything, none is left for the others; a damaged log may lack its line.
            share = next(share for share in ("all", "partial", "none") if share in said)
            others = [each["name"] for each in self.delegates if each["nodes"] and "XNNPack" not in each["name"]]
            return None if share == "none" and (self.is_head_cut or others) else share
        shares = [(each["nodes"], each["of_nodes"]) for each in self.delegates]
        if not shares or None in (of_nodes for _, of_nodes in shares):
            return None
        said = {"none" if not nodes else "all" if nodes == of_nodes else "partial" for nodes, of_nodes in shares}
        return said.pop() if len(said) == 1 else "partial"
