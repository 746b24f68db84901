"""Model-guided search: a Gaussian process predicts what was not tried, and the most promising is tried next.

It is Bayesian optimisation over tokens (White et al., arXiv 1910.11858, give the frame): networks near the best ones
are scored by how much they are expected to improve on the best. Accuracies enter by their ranks, as normal scores,
since differences among the best are small. Accuracy and cost are modelled apart, and a cost that a table knows is not
modelled at all. With a target the best is the most accurate one that meets it, whatever the reward's shape. Trials that
still run count as if they had come out as predicted (kriging believer, Ginsbourger et al. 2010). Where the front is the
goal, the improvement is that of the hypervolume (Emmerich et al. 2006), over log cost.
"""

import dataclasses

from nas_tf import algorithms
from nas_tf.settings import Settings, knob

FINDS_FRONTS = True


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The settings of model-guided search."""

    initial: int = knob(5, "Trials before the first prediction: random, or near the parent.", least=2)
    candidates: int = knob(300, "Architectures of which the most promising one is tried.", least=1)


def make(config, num_choices, seed, problem=algorithms.Problem()):  # noqa: B008  it is frozen
    """Returns the `_predictor.Predictor` over `num_choices`, a tuple of how many choices each decision has."""
    from nas_tf.algorithms._predictor import Predictor

    return Predictor(config, tuple(num_choices), seed, problem)
