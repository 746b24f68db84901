"""What a search maximises, facts in and one number out, and the limits that a network must keep."""

import dataclasses
import math
import typing

import numpy as np

from nas_tf.settings import TARGET, Settings, knob
from nas_tf.trial import UserError

COSTS = ("latency_ms", "mult_adds", "num_params")
TOLERANCE = 1.02  # a cost of up to target x this meets the target
_FARTHEST = 10.0  # |COST/T - 1| beyond which the absolute reward falls no more


def cost_of(cost, name):
    """Returns a figure of a `nas_tf.trial.Cost` as a float: `latency_ms`, `mult_adds` or `num_params`.

    Raises:
        ValueError: the cost has no latency.
    """
    if name == "latency_ms":
        if cost.latency is None:
            raise ValueError("Expected a latency in this cost. Received: latency=None")
        return cost.latency.latency_ms
    return float(getattr(cost, name))


@dataclasses.dataclass(frozen=True)
class Goal:
    """The constraint by which networks are picked; the reward only steers the search.

    Attributes:
        target: the cost that a network may have, with 2 % of tolerance; None: any.
        cost: which figure that is (`cost_of`). Without a target it decides between networks of equal accuracy.
    """

    target: float | None
    cost: str = "latency_ms"

    def is_met(self, cost):
        """Returns whether a `nas_tf.trial.Cost` is at most target x 1.02."""
        return self.target is None or cost_of(cost, self.cost) <= TOLERANCE * self.target


@dataclasses.dataclass(frozen=True)
class AccuracyReward:
    """The validation accuracy alone (NASNet, section 3). An infeasible trial earns `floor`: nothing earns less."""

    floor = 0.0
    cost = None

    def __call__(self, measurement):
        return measurement.accuracy

    def of(self, accuracy, cost=None):
        """Returns the rewards of accuracies, an array."""
        return accuracy


@dataclasses.dataclass(frozen=True)
class FrontReward(AccuracyReward):
    """What a trial is said to earn where the front of accuracy and cost is the goal: its accuracy.

    Attributes:
        cost: which figure the cost is (`cost_of`).
    """

    cost: str = "latency_ms"


@dataclasses.dataclass(frozen=True)
class LatencyReward:
    """Accuracy against cost, with T the target.

    * `soft`, `hard`: ACC x (COST/T)^w. w is alpha up to the target and beta beyond it. By default alpha = beta = -0.07
      for soft, and alpha = 0, beta = -1 for hard (MnasNet, section 3.1, equations 2 and 3).
    * `absolute`: ACC + beta x |COST/T - 1|, beta = -0.10 by default (TuNAS, Bender et al. 2020, section 4). Beyond
      COST = 11 T it falls no more, so that it has a floor.

    Attributes:
        target: T, in the unit of the cost.
        shape: `"soft"`, `"hard"` or `"absolute"`.
        cost: which figure is COST (`cost_of`).
        alpha, beta: as above; None: the default.

    Raises:
        UserError: the target is not finite and > 0, alpha or beta is not finite and <= 0, or `absolute` has an alpha.
    """

    target: float
    shape: typing.Literal["soft", "hard", "absolute"] = "soft"
    cost: typing.Literal["latency_ms", "mult_adds", "num_params"] = "latency_ms"
    alpha: float | None = None
    beta: float | None = None

    def __post_init__(self):
        check_target(self.target, self.cost)
        alpha, beta = {"soft": (-0.07, -0.07), "hard": (0.0, -1.0), "absolute": (None, -0.10)}[self.shape]
        if self.shape == "absolute" and self.alpha is not None:
            raise UserError(f"The absolute reward has no alpha. Received: alpha={self.alpha}; leave it out")
        for name, default in (("alpha", alpha), ("beta", beta)):
            value = default if getattr(self, name) is None else getattr(self, name)
            if value is not None and not (math.isfinite(value) and value <= 0):
                raise UserError(f"Expected {name} to be finite and <= 0 (a cost cannot be a gain). Received: {value}")
            object.__setattr__(self, name, value)

    @property
    def floor(self):
        """float: what an infeasible trial earns. No feasible one earns less."""
        return _FARTHEST * self.beta if self.shape == "absolute" else 0.0

    def __call__(self, measurement):
        return float(self.of(measurement.accuracy, cost_of(measurement.cost, self.cost)))

    def of(self, accuracy, cost):
        """Returns the rewards of accuracies and costs, two arrays or numbers."""
        relative = cost / self.target
        if self.shape == "absolute":
            return accuracy + self.beta * np.minimum(_FARTHEST, np.abs(relative - 1))
        return accuracy * relative ** np.where(relative <= 1, self.alpha, self.beta)


def check_target(target, cost="latency_ms"):
    """Raises `UserError` unless `target` is finite and > 0."""
    if not (math.isfinite(target) and target > 0):
        unit = " milliseconds" if cost == "latency_ms" else ""
        raise UserError(f"Expected a target {cost} that is a finite number > 0{unit}. Received: {target}")


@dataclasses.dataclass(frozen=True)
class Objective(Settings):
    """The settings that choose a reward; `resolve` makes it once the published networks have been measured."""

    reward: str = knob(
        "soft",
        "What a search maximises: ACC x (COST/T)^w soft or hard, ACC + beta |COST/T - 1|, accuracy alone, or the whole "
        "front of accuracy and COST, without a target.",
        choices=("soft", "hard", "absolute", "accuracy", "front"),
        group=TARGET,
    )
    cost: str = knob("latency_ms", "What COST is.", choices=COSTS, group=TARGET)
    target_latency_ms: float | None = knob(None, "Target T in milliseconds on --device.", above=0, group=TARGET)
    target_mult_adds: float | None = knob(None, "Target T where --cost=mult_adds.", above=0, group=TARGET)
    target_num_params: float | None = knob(None, "Target T where --cost=num_params.", above=0, group=TARGET)
    target_latency_of: str = knob(
        "mobilenet_v2",
        "Published network whose own latency (or other --cost), measured on the same device in the same run at the "
        "deployment scale, is the target where no number is given.",
        group=TARGET,
    )
    reward_alpha: float | None = knob(
        None,
        "Exponent up to the target; default: the paper's for --reward. A cost cannot be a gain.",
        most=0,
        group=TARGET,
    )
    reward_beta: float | None = knob(
        None, "Exponent, or factor of the absolute reward, beyond the target; as above.", most=0, group=TARGET
    )

    def __post_init__(self):
        super().__post_init__()
        for cost in COSTS:
            if getattr(self, f"target_{cost}") is not None and (
                cost != self.cost or self.reward in ("accuracy", "front")
            ):
                raise UserError(
                    f"--target_{cost} needs --cost={cost} and a --reward with a target. "
                    f"Received: --cost={self.cost} --reward={self.reward}"
                )

    @property
    def target(self):
        """float or None: the target given as a number."""
        return getattr(self, f"target_{self.cost}")

    def goal(self, reward, has_device=True):
        """Returns the `Goal` of a reward that `resolve` returned. Without a device, no latency is known."""
        if isinstance(reward, LatencyReward):
            return Goal(reward.target, reward.cost)
        return Goal(None, self.cost if has_device or self.cost != "latency_ms" else "mult_adds")

    def resolve(self, published):
        """Returns the reward.

        Args:
            published: dict from published network to its `nas_tf.trial.Cost`, the target if no number was given.

        Raises:
            UserError: `target_latency_of` is not among the networks measured.
        """
        if self.reward == "accuracy":
            return AccuracyReward()
        if self.reward == "front":
            return FrontReward(self.cost)
        target = self.target
        if target is None:
            if self.target_latency_of not in published:
                known = f"one of {', '.join(published)}, which" if published else "a published network, none of which"
                raise UserError(
                    f"Expected --target_latency_of to be {known} this device can judge here. "
                    f"Received: {self.target_latency_of!r}; or give --target_{self.cost}=NUMBER"
                )
            target = cost_of(published[self.target_latency_of], self.cost)
        return LatencyReward(target, self.reward, self.cost, self.reward_alpha, self.reward_beta)


@dataclasses.dataclass(frozen=True)
class Limits(Settings):
    """What the deployment network may not exceed. A network that does is infeasible and is not trained."""

    max_num_params: int | None = knob(None, "Trainable parameters a network may have at most.", above=0)
    max_tflite_bytes: int | None = knob(
        None, "Size of the TFLite file at most; needs a device that times files.", above=0
    )
    max_peak_activation_bytes: int | None = knob(
        None, "Peak memory of activations at batch 1, float32, at most.", above=0
    )

    def violation(self, cost):
        """Returns the first limit that a `nas_tf.trial.Cost` breaks, in words, or None."""
        for field in dataclasses.fields(self):
            limit, name = getattr(self, field.name), field.name.removeprefix("max_")
            if limit is not None and getattr(cost, name) > limit:
                return f"{name}={getattr(cost, name)} is over --{field.name}={limit}"
        return None
