"""Search algorithms, one a file. Each file exposes a frozen dataclass `Config` (its fields become flags, prefixed with
the file's name; no Keras at import) and `make(config, num_choices, seed) -> Algorithm`."""

import abc


class Algorithm(abc.ABC):
    """Suggests tokens and learns from trials. It sees only how many choices each decision has.

    The same seed and the same trials, updated in the same order, give the same suggestions.
    """

    @property
    @abc.abstractmethod
    def batch_size(self):
        """How many suggestions belong to one update: the loop asks for so many and updates with all of them."""

    @abc.abstractmethod
    def suggest(self, count):
        """list[nas_tf.trial.Suggestion], `count` long. Does not learn."""

    @abc.abstractmethod
    def update(self, trials):
        """Learns from finished `nas_tf.trial.Trial`s (`done`, or `infeasible` with reward 0), in the order given.

        The trials need not be suggestions of this algorithm (a warm start brings another run's).
        """

    @abc.abstractmethod
    def save(self, path):
        """Writes all that `restore` needs to one file at `path`."""

    @abc.abstractmethod
    def restore(self, path):
        """Goes on from what `save` wrote, exactly as the algorithm that wrote it would.

        Raises:
            nas_tf.trial.UserError: the file is damaged, or is of another algorithm or space.
        """
