"""What a search tells its algorithm beside the number of choices."""

import functools
import inspect

from nas_tf.algorithms import Problem
from nas_tf.devices import Estimator
from nas_tf.rewards import FrontReward


def problem_of(space, reward, device, start=None, waits=True):
    """Returns the `nas_tf.algorithms.Problem` of a search.

    Args:
        space: the `nas_tf.space.SearchSpace`.
        reward: the reward of `nas_tf.rewards`.
        device: the device, or None.
        start: tokens that the search begins at, or None.
        waits: as `Problem.waits`.
    """

    @functools.lru_cache(maxsize=100_000)
    def canonical(tokens):
        return tuple(space.encode(space.decode(tokens)))

    def estimate(tokens):
        return device.estimate([space.decode(each) for each in tokens])

    is_known = reward.cost == "latency_ms" and isinstance(device, Estimator) and device.answers_at_once
    return Problem(
        start=start and tuple(start),
        canonical=canonical,
        cost=reward.cost,
        target=getattr(reward, "target", None),
        is_front=isinstance(reward, FrontReward),
        estimate=estimate if is_known else None,
        prior=space.prior,
        waits=waits,
    )


def make_algorithm(part, num_choices, seed, problem):
    """Returns the algorithm of a `nas_tf.plugins.Part`, which is given the `Problem` if it takes one."""
    takes = "problem" in inspect.signature(part.module.make).parameters
    return part.make(num_choices, seed, **({"problem": problem} if takes else {}))
