"""Search algorithms, one in each file.

Each file has a frozen dataclass `Config` (its fields become flags, prefixed with the file's name; no Keras at import)
and a function `make(config, num_choices, seed)` that returns an `Algorithm`. Where `make` takes `problem` too, that is
a `Problem`: what is known of the search beside the number of choices. A file with `FINDS_FRONTS = True` can search for
the whole front of accuracy and cost instead of for the largest reward; its `make` takes `problem`.
"""

import abc
import dataclasses

from nas_tf.space import Tokens


@dataclasses.dataclass(frozen=True)
class Problem:
    """What an algorithm may know of a search beside how many choices each decision has.

    Attributes:
        start: tokens at which the search begins, those of a run's parent, or None.
        canonical: `canonical(tokens)` returns the tokens that stand for all which mean the same network.
        cost: `"latency_ms"`, `"mult_adds"` or `"num_params"`; None: accuracy alone counts.
        target: what a network may cost at most, or None.
        is_front: whether the whole front of accuracy and cost is the goal.
        estimate: `estimate(list of tokens)` returns float [n]: their costs, where these need not be measured; or None.
        prior: for each decision a tuple of how often each choice is worth a try, in any unit; or None.
        waits: whether an algorithm that learns from whole batches waits for the slowest trial of each; else it goes on
            with what it knows, and no worker is ever idle.
    """

    start: Tokens | None = None
    canonical: object = tuple
    cost: str | None = None
    target: float | None = None
    is_front: bool = False
    estimate: object = None
    prior: tuple[tuple[float, ...], ...] | None = None
    waits: bool = True


class Algorithm(abc.ABC):
    """Suggests tokens and learns from trials. It sees only how many choices each decision has, and the `Problem`.

    The same seed and the same calls of `suggest` and `update` in the same order lead to the same suggestions.

    Attributes:
        diagnostics: dict from name to float: how the latest learning went, for TensorBoard.
    """

    diagnostics = {}

    @abc.abstractmethod
    def suggest(self, count, running=()):
        """Returns a list of at most `count` `nas_tf.trial.Suggestion`s.

        It may return fewer to wait for trials that run, or for those that it has just suggested.

        Args:
            count: how many are asked for.
            running: the `nas_tf.trial.Trial`s that were suggested and are neither finished nor failed, by id.
        """

    def expected(self, trials):
        """Returns the accuracies that it expects of other measurements of finished trials, list of float; None: none.

        Of many noisy accuracies the largest is too large. Networks are picked by what is expected, where that is said.
        """
        return None

    @abc.abstractmethod
    def update(self, trials):
        """Learns from finished trials, in the order in which they arrived.

        Args:
            trials: list of `nas_tf.trial.Trial`s that are `done`, or `infeasible` with the reward's floor. They need
                not be suggestions of this algorithm: a warm start brings another run's.
        """
