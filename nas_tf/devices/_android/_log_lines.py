"""What lines of `benchmark_model` look like, in all of its versions, and which figures in them can be true.

Times are whole microseconds; averages and sizes are C++ doubles at six significant digits (`%g`).
"""

import math
import re

from nas_tf.trial import EvaluationError


class BenchmarkLogError(EvaluationError):
    """A log is cut, reports a failure or contradicts itself.

    Attributes:
        refused_network: whether the tool said that it cannot run this network.
    """

    def __init__(self, message, refused_network=False):
        super().__init__(message)
        self.refused_network = refused_network


_WHOLE, _FROM_0, _NUMBER = r"[1-9]\d{0,17}", r"(?:0|[1-9]\d{0,17})", r"(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]\d\d+)?"
TIMES = ["first", "curr", "min", "max"]
# How the lines begin that only LiteRT 2's own tool (//litert/tools) prints: with the place in its source.
_LITERT = r"\[(?:[^\]]*[/\\])?benchmark_litert_model\.(?:cc|h):\d+\] "
# Kind of line: (how it begins, the whole line, an example for messages). A line that begins as one of these and goes on
# differently is damaged.
_GRAMMAR = {
    "start": ("STARTING!", "STARTING!", "STARTING!"),
    "loaded": ("Loaded model", r"Loaded model ?(?P<graph>.*)", "Loaded model PATH"),
    "loading": (
        rf"{_LITERT}Loading model",
        rf"{_LITERT}Loading model from: (?P<graph>.*)",
        "[benchmark_litert_model.cc:1] Loading model from: PATH",
    ),
    "unconsumed": (
        "Unconsumed cmdline",
        r"Unconsumed cmdline flags: (?P<flags>.*)",
        "Unconsumed cmdline flags: --x=1",
    ),
    "replaced": (
        r"Replacing \d",
        rf"Replacing (?P<nodes>{_FROM_0})(?: out of (?P<of>{_WHOLE}))? node\(s\) with delegate \((?P<name>.+?)\) node, "
        rf"yielding (?P<partitions>{_FROM_0}) partitions"
        r"(?: for (?:the whole graph|subgraph (?P<subgraph>\d+)(?: \(.*\))?))?\.?",
        "Replacing 9 out of 9 node(s) with delegate (NAME) node, yielding 1 partitions",
    ),
    "several": (
        "Going to apply",
        rf"Going to apply (?P<count>{_WHOLE}) delegates one after another\.",
        "Going to apply 2 delegates one after another.",
    ),
    "applied": (
        "Explicitly applied|Though .* delegate",
        r"Explicitly applied (?P<name>.+) delegate, and the model graph will be (?:(?P<all>completely)|partially) "
        rf"executed by the delegate(?: w/ {_WHOLE} delegate kernels)?\.|"
        r"Though (?P<unused>.+) delegate is explicitly applied, the model graph will not be executed by the delegate\.",
        "Explicitly applied NAME delegate, and the model graph will be completely executed by the delegate.",
    ),
    "size": (
        "The input model file size",
        rf"The input model file size \(MB\): (?P<size>{_NUMBER})",
        "The input model file size (MB): 4.2",
    ),
    "session": ("Initialized session", rf"Initialized session in (?P<ms>{_NUMBER})ms\.?", "Initialized session in 5ms"),
    "phase": (
        "Running benchmark",
        rf"Running benchmark for (?:at least )?(?P<runs>{_FROM_0}) iterations(?: and at least (?P<seconds>-?{_NUMBER}) "
        rf"seconds(?: but terminate if exceeding (?P<limit>{_NUMBER}) seconds\.)?)? ?",
        "Running benchmark for at least 50 iterations and at least 1 seconds",
    ),
    "times": (
        "count=",
        rf"count=(?P<count>{_WHOLE})(?:{''.join(f' {name}=(?P<{name}>{_WHOLE})' for name in TIMES)} "
        rf"avg=(?P<avg>{_NUMBER}) std=(?P<std>{_FROM_0})| curr=(?P<each>{_WHOLE})(?P<same>\(all same\))?)"
        rf"(?: p5=(?P<p5>{_WHOLE}) median=(?P<median>{_WHOLE}) p95=(?P<p95>{_WHOLE}))?",
        "count=50 first=9 curr=9 min=8 max=10 avg=9 std=1",
    ),
    "summary": (
        "Inference timings in us|Average inference timings in us",
        rf"Inference timings in us: Init: (?P<init>{_WHOLE}), First inference: (?P<first>{_WHOLE}), "
        rf"Warmup \(avg\): (?P<warm>{_NUMBER}), Inference \(avg\): (?P<mean>{_NUMBER})|"
        rf"Average inference timings in us: Warmup: (?P<old_warm>{_NUMBER}), Init: (?P<old_init>{_WHOLE}), "
        rf"no stats: (?P<old_mean>{_NUMBER})",
        "Inference timings in us: Init: 5, First inference: 9, Warmup (avg): 9, Inference (avg): 9",
    ),
    "result": (
        rf"{_LITERT}(?:Model initialization|Warmup|Inference)\b",
        rf"{_LITERT}(?P<what>Model initialization|Warmup \((?:first|avg)\)|Inference \((?:avg|min|max|std)\)): +"
        rf"(?P<value>{_FROM_0}\.\d\d)(?: ms(?: \((?P<count>{_WHOLE}) runs\))?)?",
        "[benchmark_litert_model.h:1] Inference (avg):      12.55 ms (80 runs)",
    ),
    "memory": (
        "Memory footprint|Peak memory footprint",
        r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
        rf"init=(?P<init>{_NUMBER}) overall=(?P<overall>{_NUMBER})",
        "Memory footprint delta from the start of the tool (MB): init=1 overall=2",
    ),
    "peak": (
        "Overall peak memory footprint",
        rf"Overall peak memory footprint \(MB\) via periodic monitoring: (?P<peak>{_NUMBER})",
        "Overall peak memory footprint (MB) via periodic monitoring: 9",
    ),
    # Statistics of the operators' profile, which follow a run. They are not of whole inferences.
    "profile": (r"Timings \(microseconds\): |Memory \(bytes\): ", ".*", ""),
    "flag": (r"[^:\[\]\t]+: \[", r"(?P<name>.+?) ?: \[(?P<value>.*)\]", "Num threads: [1]"),
}
KIND = re.compile("|".join(f"(?P<{kind}>{begin})" for kind, (begin, _, _) in _GRAMMAR.items()))
# ASCII, because the tool writes no digits of other scripts.
WHOLE_LINE = {kind: re.compile(pattern, re.ASCII) for kind, (_, pattern, _) in _GRAMMAR.items()}
EXAMPLE = {kind: example for kind, (_, _, example) in _GRAMMAR.items()}
# The rest of a line of figures whose beginning was lost.
REMAINS = re.compile(
    r"(?:count|first|curr|min|max|avg|std|p5|median|p95|overall)=\d|timings in us|nitialized session|unning benchmark|"
    r"model file size \(MB|node\(s\) with delegate|Benchmarking"
)
# A line of logcat: its formats "threadtime" (the default), "time", "brief", "tag", "process" and "thread", the first
# two also with years, zones, seconds since 1970 or since the start, and user ids. "raw" has nothing to take off.
_TIME = r"(?:(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d\.\d+(?: [+-]\d{4})?|\d+\.\d{3,})"
_LEVEL = "[VDIWEFAS]"
_LOGCAT = [
    re.compile(pattern)
    for pattern in (
        rf"{_TIME}:?\s+(?:[\w]+\s+)?(?P<pid>\d+)\s+\d+\s+(?P<level>{_LEVEL})\s+(?P<tag>[^:]*?)\s*: ?(?P<message>.*)",
        rf"(?:{_TIME}:?\s+)?(?P<level>{_LEVEL})/(?P<tag>[^(:]*?)\s*(?:\(\s*(?:\w+:\s*)?(?P<pid>\d+)\))?\s*: ?"
        r"(?P<message>.*)",
        rf"(?P<level>{_LEVEL})\(\s*(?P<pid>\d+)\) (?P<message>.*?)\s+\((?P<tag>[^()]*)\)",
        rf"(?P<level>{_LEVEL})\(\s*(?P<pid>\d+):\s*\d+\) (?P<message>.*)",
    )
]
# The format "long": a head, and then the message to the next empty line.
_LOGCAT_HEAD = re.compile(rf"\[ {_TIME}\s+(?:\w+:\s*)?(?P<pid>\d+):\s*\d+ (?P<level>{_LEVEL})/(?P<tag>.*?)\s*\]")
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_TAGS = ("tflite", "litert", None)
SEVERITY = re.compile(r"(?:(INFO|VERBOSE|WARN|WARNING|ERROR|FATAL): )?(.*)", re.DOTALL)


# The tool stops after each of these, whatever it printed before. After "failed to invoke" it goes on in vain.
FAILURE = re.compile(
    r"Benchmarking failed|Failed to (?:initialize the interpreter|initialize model loader|load model|mmap model|"
    r"allocate tensors|set thread number|compile model\.|create litert environment|apply \S+ delegate\.)|"
    r"Disallowed CPU fallback detected|failed to invoke"
)
REFUSAL = re.compile(
    r"Failed to initialize the interpreter|Failed to allocate tensors|Failed to compile model\.|"
    r"[Dd]idn't find (?:custom )?op|not supported|"
    r"unresolved custom op|failed to prepare|not a valid Flatbuffer"
)
# Flags that no other program prints, and one of which every version prints: a run may also begin with one of these.
HEAD_FLAGS = (
    "Log parameter values verbosely",
    "Min num runs",
    "Num threads",
    "Graph",
    "Signature to run",
    "#threads used for CPU inference",
    "Use gpu",
    "Use NNAPI",
)


def lines_of(text):
    """Yields `(number, process id, severity, line)` of the lines that may be the tool's, without what logcat adds.

    Process id and severity are text where logcat says them, else None. No white space is taken off the ends of lines:
    it may be a damaged digit.
    """
    head = None
    # splitlines() would also break lines at damaged bytes.
    for number, line in enumerate((_COLOUR.sub("", text) if "\x1b" in text else text).split("\n")):
        line = line.rstrip("\r")
        if found := line[:2] == "[ " and _LOGCAT_HEAD.fullmatch(line):
            head = found
            continue
        if head is not None:
            if not line:
                head = None
            elif head["tag"] in _TAGS:
                yield number, head["pid"], head["level"], line
            continue
        # Lines of the tool itself never have these second characters, and no time before them.
        if line[:1].isdigit() or (line[:1] in "VDIWEFAS" and line[1:2] in ("/", "(")):
            found = next(filter(None, (pattern.fullmatch(line) for pattern in _LOGCAT)), None)
            if found:
                parts = found.groupdict()
                if parts.get("tag") in _TAGS:
                    yield number, parts["pid"], parts["level"], parts["message"]
                continue
        yield number, None, None, line


def quoted(line):
    """str: the line in quotes, cut if it is long."""
    return repr(line if len(line) <= 300 else line[:300] + "...")


def contradiction(expected, line):
    """Returns the `BenchmarkLogError` of a line that contradicts what was `expected`, in words."""
    return BenchmarkLogError(f"Expected {expected}. Received: {quoted(line)}")


def figure(text, line):
    """Returns a number that is written as the tool writes it; "119.750" or "1e3" come from something else."""
    value = float(text)
    if f"{value:g}" != text:
        raise contradiction(f"numbers at six significant digits ({value:g})", line)
    return value


def megabytes(text, line):
    """Returns MB that are written as the tool writes them: it counts memory in whole KB."""
    value = figure(text, line)
    if f"{round(value * 1024) / 1024:g}" != text:
        raise contradiction(f"whole KB in MB ({round(value * 1024) / 1024:g})", line)
    return value


class Times:
    """The figures of a "count=" line in microseconds, checked against one another.

    Args:
        match: the match of the whole line.
        line: the line, for messages.

    Raises:
        BenchmarkLogError: they contradict one another.
    """

    def __init__(self, match, line):
        self.count = int(match["count"])
        self.p5, self.median, self.p95 = (int(match[name]) if match[name] else None for name in ("p5", "median", "p95"))
        if match["each"]:
            self.first = self.curr = self.min = self.max = int(match["each"])
            self.mean_text, self.std = f"{self.min:g}", 0
            consistent = bool(match["same"]) == (self.count > 1)
        else:
            self.first, self.curr, self.min, self.max = (int(match[name]) for name in TIMES)
            self.mean_text, self.std = match["avg"], int(match["std"])
            consistent = self.min < self.max and self.count > 1
        self.mean = figure(self.mean_text, line)
        if not consistent:
            raise contradiction("one count=1 or several times, equal or not", line)
        percentiles = [] if self.median is None else [self.p5, self.median, self.p95]
        rising = [self.min, *percentiles, self.max]
        if rising != sorted(rising):
            raise contradiction("min <= p5 <= median <= p95 <= max", line)
        if not all(self.min <= value <= self.max for value in (self.first, self.curr)):
            raise contradiction("first and curr between min and max", line)
        # A percentile is element [count * percent // 100] of the sorted times.
        if percentiles and ((self.count < 20 and self.p5 != self.min) or (self.count <= 20 and self.p95 != self.max)):
            raise contradiction("p5 to be min and p95 to be max where so few were timed", line)
        self._check_moments(line)

    def _check_moments(self, line):
        # Half a unit of the sixth digit is at most 5e-6 of the number.
        slack = 5e-6 * self.mean
        above, below = self.max - self.mean + slack, self.mean - self.min + slack
        if min(above, below) < 0:
            raise contradiction("avg between min and max", line)
        # Times in [min, max] with this mean have at most the variance (max - mean) (mean - min). With one time at min
        # and one at max they have at least (max - min)^2 / 2n. The tool cuts off the decimals of the deviation.
        if self.std > math.sqrt(above * below) or self.std + 1 < (self.max - self.min) / math.sqrt(2 * self.count):
            raise contradiction("a std that min, max, avg and count allow", line)

    def check_phase(self, phase, pauses, line):
        """Checks the number of inferences against the match of the line that announced them, `phase`.

        `pauses` says whether the tool rests between inferences.
        """
        runs, seconds, limit = int(phase["runs"]), float(phase["seconds"] or 0), phase["limit"]
        # The last inference began, so the others had taken less than the time announced.
        if self.count > runs and self.count * self.mean * (1 - 5e-6) - self.curr >= seconds * 1e6:
            raise contradiction(f"no more than the {runs} iterations and {seconds:g} seconds announced", line)
        # Only the limit ends a run early. Up to half of that time may go to copying the inputs.
        is_over = limit is not None and self.count * self.mean >= float(limit) * 1e6 / 2
        if self.count < runs and not (is_over or pauses):
            raise contradiction(f"the {runs} iterations announced", line)
