"""A judge of one's own that takes a while, and whose accuracy depends on the tokens alone."""

import dataclasses
import time

from nas_tf.judges import Judge
from nas_tf.settings import Settings, knob
from nas_tf.space import fingerprint
from nas_tf.training.train import Trained

TRAINS = False


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """How long it takes."""

    seconds: float = knob(0.5, "Seconds of each accuracy.", least=0)


def make(config, task):
    return Slow(config)


class Slow(Judge):
    def __init__(self, config):
        self._config = config

    def check(self):
        pass

    def describe(self):
        return {"judge": "slow"}

    def accuracy(self, tokens, max_steps=None, repeat=0):
        time.sleep(self._config.seconds)
        share = int(fingerprint([list(tokens), repeat])[:8], 16) / 16**8
        return Trained(0.5 + 0.4 * share, self._config.seconds, 0.0, 0.0, 1)
