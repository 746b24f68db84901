"""The networks that a file lists, one after the other, as nas-table chose them."""

import dataclasses

from nas_tf import algorithms
from nas_tf.files import load_json
from nas_tf.settings import Settings, knob
from nas_tf.trial import Suggestion, UserError


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Which file."""

    file: str = knob(
        "",
        'JSON file with the tokens of each network: {"tokens": [[1, 0, 2], [0, 0, 1]]}.',
        required="a file that lists networks",
        path=True,
    )


def make(config, num_choices, seed):
    """Returns the `Listed` of a file.

    Raises:
        UserError: the file is missing or damaged, or lists tokens of another space.
    """
    try:
        tokens = load_json(config.file)["tokens"]
        tokens = [tuple(int(token) for token in row) for row in tokens]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"Expected a file that lists networks. Received: {config.file!r}: {error!r}") from error
    for row in tokens:
        if len(row) != len(num_choices) or any(not 0 <= one < most for one, most in zip(row, num_choices)):
            raise UserError(f"{config.file} lists networks of another search space. Received: {list(row)}")
    if not tokens:
        raise UserError(f"{config.file} lists no network")
    return Listed(tokens)


class Listed(algorithms.Algorithm):
    """Suggests what a list holds, and from its end on the same again: they are measured once."""

    def __init__(self, tokens):
        self._tokens, self._next = tokens, 0

    def suggest(self, count, running=()):
        found = [self._tokens[(self._next + i) % len(self._tokens)] for i in range(count)]
        self._next += count
        return [Suggestion(row, "listed") for row in found]

    def update(self, trials):
        """Learns nothing."""
