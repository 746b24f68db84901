"""The accuracy of a network of which all is known, from its space's table, with noise if one likes.

It needs no images and trains nothing: it is for judging searches, not networks.
"""

import dataclasses

import numpy as np

from nas_tf.judges import Judge, repeated_seed
from nas_tf.settings import Settings, knob
from nas_tf.tabular import check_known, the_field

TRAINS = False


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """How noisy it is."""

    noise_percent: float = knob(
        0.0, "Standard deviation, in percent of all images, of what is added to each accuracy.", least=0, most=100
    )


def make(config, task):
    """Returns the `TabularJudge` of a `nas_tf.judges.Task`."""
    return TabularJudge(config, task.space.space, task.seed)


class TabularJudge(Judge):
    """Looks accuracies up. The noise depends on the seed, the architecture and the repetition alone."""

    def __init__(self, config, space, seed):
        self._config, self._space, self._seed = config, space, seed

    def check(self):
        check_known(self._space, "--judge=tabular")
        self.true_accuracy((0,) * len(self._space.decisions))

    def describe(self):
        return {"judge": "tabular", "settings": dataclasses.asdict(self._config), "table": self._space.known_digest}

    def true_accuracy(self, tokens):
        """Returns the table's accuracy in [0, 1]."""
        values = self._space.known(self._space.decode(tokens))
        return values[the_field(values, "_percent", "accuracies")] / 100

    def accuracy(self, tokens, max_steps=None, repeat=0):
        from nas_tf.training.train import Trained

        accuracy, noise = self.true_accuracy(tokens), self._config.noise_percent / 100
        if noise:
            name = int(self._space.decode(tokens).fingerprint, 16)
            rng = np.random.default_rng((repeated_seed(self._seed, repeat), name))
            accuracy = float(np.clip(accuracy + noise * rng.standard_normal(), 0, 1))
        return Trained(accuracy, 0.0, 0.0, 0.0, 0, standard_error=noise or None)
