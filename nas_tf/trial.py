"""What came of one suggestion: facts, the reward they earned, and the three ways in which things go wrong."""

import dataclasses
import math


class UserError(ValueError):
    """A setting, file or folder that the user has to change. It ends a command with one line and exit status 2."""


class InfeasibleArchitecture(Exception):
    """The architecture's own fault (diverged, cannot be converted, does not fit): the reward's floor, and the algorithm
    learns from it.
    """


class DivergedTraining(InfeasibleArchitecture):
    """The loss of the architecture is no longer finite."""


class KilledWorker(InfeasibleArchitecture):
    """The architecture has twice killed the process that evaluated it, or taken too long in it."""


class EvaluationError(Exception):
    """The world's fault (worker lost, device gone): tried again, then recorded, never shown to the algorithm."""


class OwnFileError(EvaluationError):
    """A mistake in a file of the user's own: its file and line, in one line. It ends a command with exit status 2."""


def first_line(error):
    """Returns the first line of what an exception says, or its type's name if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


_FIGURES = (
    "mean_ms",
    "median_ms",
    "p95_ms",
    "p5_ms",
    "min_ms",
    "max_ms",
    "first_ms",
    "warmup_mean_ms",
    "init_ms",
    "first_inference_ms",
)


@dataclasses.dataclass(frozen=True)
class Latency:
    """One device's latency of one network, in milliseconds.

    A measured latency has `runs` > 0. An estimated one has `runs == 0` and `statistic == "estimate"`. Figures that the
    device does not report are None.

    Attributes:
        mean_ms, std_ms, median_ms, p5_ms, p95_ms, min_ms, max_ms, first_ms: figures of the counted runs.
        runs: how many runs were counted.
        statistic: which figure is `latency_ms`: `"median"`, `"mean"` or `"estimate"`.
        warmup_mean_ms: mean of the warm-up runs.
        init_ms: the time to load and prepare the network.
        first_inference_ms: the very first run, which is in none of the other figures.
        details: JSON-ready dict of the conditions.

    Raises:
        ValueError: a figure is not finite and > 0 (a standard deviation may be 0), or two contradict each other.
    """

    mean_ms: float
    std_ms: float | None = None
    runs: int = 0
    median_ms: float | None = None
    p95_ms: float | None = None
    statistic: str = "median"
    p5_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    first_ms: float | None = None
    warmup_mean_ms: float | None = None
    init_ms: float | None = None
    first_inference_ms: float | None = None
    details: dict = dataclasses.field(default_factory=dict, compare=False)

    def __post_init__(self):
        for name in _FIGURES:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"A latency must be finite and > 0 ms. Received: {name}={value}")
        if self.std_ms is not None and not (math.isfinite(self.std_ms) and self.std_ms >= 0):
            raise ValueError(f"A standard deviation must be finite and >= 0 ms. Received: std_ms={self.std_ms}")
        if self.statistic not in ("median", "mean", "estimate"):
            raise ValueError(f"Expected statistic to be median, mean or estimate. Received: {self.statistic!r}")
        if self.statistic == "median" and self.median_ms is None:
            raise ValueError("statistic='median' needs median_ms. Received: median_ms=None")
        if (self.statistic == "estimate") != (self.runs == 0):
            raise ValueError(f"Only an estimate has no runs. Received: statistic={self.statistic!r}, runs={self.runs}")

    @classmethod
    def estimate(cls, latency_ms):
        """Returns a latency that was predicted, not timed."""
        return cls(mean_ms=latency_ms, statistic="estimate")

    @property
    def latency_ms(self):
        return self.median_ms if self.statistic == "median" else self.mean_ms

    @property
    def ran_on(self):
        """str: where the network's nodes ran, such as "gpu 40 of 42 nodes, cpu 2 of 42 nodes"; empty if not told."""
        return placement_in_words(self.details.get("placement"))

    @property
    def beside(self):
        """dict from another way in which the device runs networks, such as "gpu", to what it took there, in words."""
        return {
            name: each["refused"] if "refused" in each else f"{each['latency_ms']:.4g} ms, {each['on'] or 'not told'}"
            for name, each in self.details.get("beside", {}).items()
        }

    def to_json(self):
        return dataclasses.asdict(self)


def placement_in_words(placement):
    """str: a placement, a dict of `nodes`, from a processor to a number of nodes, and `of_nodes`; empty for None."""
    if not placement:
        return ""
    nodes = sorted(placement["nodes"].items(), key=lambda each: -each[1])
    return ", ".join(f"{where} {count} of {placement['of_nodes']} nodes" for where, count in nodes)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What the deployment network costs. `latency` is None without a device, `tflite_bytes` if no file was timed."""

    num_params: int
    mult_adds: int
    peak_activation_bytes: int
    tflite_bytes: int | None = None
    latency: Latency | None = None


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The facts about one child: the judge's accuracy in [0, 1] and the deployment network's cost.

    Attributes:
        accuracy: that of the highest rung which the child has reached.
        cost: the `Cost`.
        train_seconds: in all rungs together.
        standard_error: that of the accuracy; None where it is not known.
        rungs: the accuracies of all rungs which it has reached, the lowest first; empty in a search without rungs.
    """

    accuracy: float
    cost: Cost
    train_seconds: float
    standard_error: float | None = None
    rungs: tuple[float, ...] = ()

    def __post_init__(self):
        if not (math.isfinite(self.accuracy) and 0 <= self.accuracy <= 1):
            raise ValueError(f"Expected an accuracy in [0, 1]. Received: accuracy={self.accuracy}")
        if self.standard_error is not None and not (math.isfinite(self.standard_error) and self.standard_error >= 0):
            raise ValueError(f"Expected a standard error >= 0. Received: standard_error={self.standard_error}")
        if self.rungs and self.rungs[-1] != self.accuracy:
            raise ValueError(f"Expected the accuracy of the last rung, {self.rungs[-1]}. Received: {self.accuracy}")


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """Tokens that an algorithm wants tried, and its remark on them (`"untrained"`: drawn before it learned)."""

    tokens: tuple[int, ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Trial:
    """Tokens and what came of them.

    Attributes:
        id: number in the run, from 1.
        tokens: one for each decision.
        note: the algorithm's remark, or from where a warm start took the trial.
        measurement: the facts; None until both accuracy and cost are known.
        reward: the reward's floor if infeasible; None while it runs, and if it failed.
        infeasible: what is wrong with the architecture, or None.
        error: what failed through no fault of the architecture, or None.
        fingerprint: of the architecture, as recorded; None for a trial that was not read from records.
        expected: the accuracy that the algorithm expects of another measurement, or None.
    """

    id: int
    tokens: tuple[int, ...]
    note: str = ""
    measurement: Measurement | None = None
    reward: float | None = None
    infeasible: str | None = None
    error: str | None = None
    fingerprint: str | None = dataclasses.field(default=None, compare=False)
    expected: float | None = dataclasses.field(default=None, compare=False)

    @property
    def state(self):
        """`running`, `done`, `infeasible` or `failed`."""
        if self.error is not None:
            return "failed"
        if self.infeasible is not None:
            return "infeasible"
        return "running" if self.reward is None else "done"
