"""What a line of `benchmark_model` looks like, version by version, and which figures in it can be true.

Times are whole microseconds; averages and sizes are C++ doubles at six significant digits (`%g`).
"""

import math
import re

from nas_tf.trial import EvaluationError


class BenchmarkLogError(EvaluationError):
    """A log is cut, failed or contradicts itself; `refused_network`: the tool said that it cannot run this model."""

    def __init__(self, message, refused_network=False):
        super().__init__(message)
        self.refused_network = refused_network


_WHOLE, _FROM_0, _NUMBER = r"[1-9]\d{0,17}", r"(?:0|[1-9]\d{0,17})", r"(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]\d\d+)?"
TIMES = ["first", "curr", "min", "max"]
# Kind of line: (how it begins, all of it, an example for messages). A line that begins right and goes on wrong is
# damaged.
_GRAMMAR = {
    "start": ("STARTING!", "STARTING!", "STARTING!"),
    "loaded": ("Loaded model", r"Loaded model ?(?P<graph>.*)", "Loaded model PATH"),
    "replaced": (
        r"Replacing \d",
        rf"Replacing (?P<nodes>{_FROM_0})(?: out of (?P<of>{_WHOLE}))? node\(s\) with delegate \((?P<name>.+?)\) node, "
        rf"yielding (?P<partitions>{_FROM_0}) partitions(?: for (?:the whole graph|subgraph \d+(?: \(.*\))?))?\.?",
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
    # Statistics of the operators' profile, which follow a run: not of whole inferences.
    "profile": (r"Timings \(microseconds\): |Memory \(bytes\): ", ".*", ""),
    "flag": (r"[^:\[\]\t]+: \[", r"(?P<name>.+?) ?: \[(?P<value>.*)\]", "Num threads: [1]"),
}
KIND = re.compile("|".join(f"(?P<{kind}>{begin})" for kind, (begin, _, _) in _GRAMMAR.items()))
# ASCII: other scripts' digits are no figures of the tool's.
WHOLE_LINE = {kind: re.compile(pattern, re.ASCII) for kind, (_, pattern, _) in _GRAMMAR.items()}
EXAMPLE = {kind: example for kind, (_, _, example) in _GRAMMAR.items()}
# What is left of a line of figures whose beginning was lost.
REMAINS = re.compile(
    r"(?:count|first|curr|min|max|avg|std|p5|median|p95|overall)=\d|timings in us|nitialized session|unning benchmark|"
    r"model file size \(MB|node\(s\) with delegate|Benchmarking"
)
# logcat's forms "threadtime" (its default) and "time".
LOGCAT = re.compile(
    r"(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d\.\d+\s+(?:(?P<pid>\d+)\s+\d+\s+(?P<level>[VDIWEFAS])\s+(?P<tag>[^:]*?)\s*: ?|"
    r"(?P<level2>[VDIWEFAS])/(?P<tag2>.*?)\s*\(\s*(?P<pid2>\d+)\): ?)(?P<message>.*)"
)
SEVERITY = re.compile(r"(?:(INFO|VERBOSE|WARN|WARNING|ERROR|FATAL): )?(.*)", re.DOTALL)


def quoted(line):
    return repr(line if len(line) <= 300 else line[:300] + "...")


def contradiction(expected, line):
    return BenchmarkLogError(f"Expected {expected}. Received: {quoted(line)}")


def figure(text, line):
    """A number as the tool writes it, and in no other way: "119.750" or "1e3" are the work of something else."""
    value = float(text)
    if f"{value:g}" != text:
        raise contradiction(f"numbers at six significant digits ({value:g})", line)
    return value


def megabytes(text, line):
    """MB as the tool writes them, which counts memory in whole KB."""
    value = figure(text, line)
    if f"{round(value * 1024) / 1024:g}" != text:
        raise contradiction(f"whole KB in MB ({round(value * 1024) / 1024:g})", line)
    return value


class Times:
    """The figures of a "count=" line in microseconds, checked against one another."""

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
        # The percentile is the sorted times' element [count * percent // 100].
        if percentiles and ((self.count < 20 and self.p5 != self.min) or (self.count <= 20 and self.p95 != self.max)):
            raise contradiction("p5 to be min and p95 to be max where so few were timed", line)
        self._check_moments(line)

    def _check_moments(self, line):
        # Half a unit of the sixth digit is at most 5e-6 of the number.
        slack = 5e-6 * self.mean
        above, below = self.max - self.mean + slack, self.mean - self.min + slack
        if min(above, below) < 0:
            raise contradiction("avg between min and max", line)
        # No distribution in [min, max] with this mean has a larger variance than (max - mean) (mean - min), and with
        # one time at min, one at max none a smaller one than (max - min)^2 / 2n. The tool cuts the decimals off.
        if self.std > math.sqrt(above * below) or self.std + 1 < (self.max - self.min) / math.sqrt(2 * self.count):
            raise contradiction("a std that min, max, avg and count allow", line)

    def check_phase(self, phase, pauses, line):
        """The number of inferences against the tool's announcement; it rests between them if `pauses`."""
        runs, seconds, limit = int(phase["runs"]), float(phase["seconds"] or 0), phase["limit"]
        # Had the time been up before the last inference, it would not have begun: the others took less.
        if self.count > runs and self.count * self.mean * (1 - 5e-6) - self.curr >= seconds * 1e6:
            raise contradiction(f"no more than the {runs} iterations and {seconds:g} seconds announced", line)
        # Only the limit ends it early; half of that time is left to copying the inputs.
        is_over = limit is not None and self.count * self.mean >= float(limit) * 1e6 / 2
        if self.count < runs and not (is_over or pauses):
            raise contradiction(f"the {runs} iterations announced", line)
