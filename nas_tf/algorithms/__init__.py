"""Search algorithms, one in each file.

Each file has a frozen dataclass `Config` (its fields become flags, prefixed with the file's name; no Keras at import)
and a function `make(config, num_choices, seed)` that returns an `Algorithm`. Where `make` takes `start` too, that is
tokens, those of a run's parent, at which the search begins.
"""

import abc


class Algorithm(abc.ABC):
    """Suggests tokens and learns from trials. It sees only how many choices each decision has.

    The same seed and the same trials, passed to `update` in the same order, lead to the same suggestions.
    """

    @property
    @abc.abstractmethod
    def batch_size(self):
        """int: suggestions in one update. The loop asks for this many and updates with all of them."""

    @abc.abstractmethod
    def suggest(self, count):
        """Returns a list of `count` `nas_tf.trial.Suggestion`s. Does not learn."""

    @abc.abstractmethod
    def update(self, trials):
        """Learns from finished trials, in the order in which they are listed.

        Args:
            trials: list of `nas_tf.trial.Trial`s that are `done`, or `infeasible` with the reward's floor. They need
                not be suggestions of this algorithm: a warm start brings another run's.
        """
