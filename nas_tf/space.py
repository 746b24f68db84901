"""Questions, and how their answers become an architecture."""

import abc
import dataclasses
import hashlib
import json

from nas_tf.trial import UserError

Tokens = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Decision:
    """One question and its possible answers: `Decision("block2/kernel_size", (3, 5))`."""

    name: str
    choices: tuple

    def __post_init__(self):
        if len(self.choices) < 1 or len(set(self.choices)) != len(self.choices):
            raise ValueError(
                f"Decision {self.name!r} needs at least one choice, all different. Received: {self.choices}"
            )


class Unit(abc.ABC):
    """A piece of a network that a latency table times alone. Units of one `name` are the same piece; those of one
    `kind` are calibrated together against whole networks."""

    name: str
    kind: str
    costs_nothing = False  # such as a layer left out: it is neither built nor timed

    @abc.abstractmethod
    def build(self):
        """The unit as a `keras.Model`, float32 [batch, height, width, channels] in."""


def fingerprint(value):
    """Sixteen hexadecimal digits that name a JSON value: equal values, and only they, share them."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class SearchSpace(abc.ABC):
    """Decisions, and what their answers mean. A space is a frozen dataclass whose fields are its settings.

    An architecture is frozen, hashable plain data with `to_json()` and a `fingerprint`; `str()` of it is its
    one-line form. Whatever is given as `scale` is the family's own: image size, classes, width.
    """

    name: str

    @property
    @abc.abstractmethod
    def decisions(self):
        """tuple[Decision, ...], in the order in which they are answered."""

    @abc.abstractmethod
    def decode(self, tokens):
        """The canonical architecture that `tokens` mean: tokens of one network give equal values."""

    @abc.abstractmethod
    def encode(self, architecture):
        """Tokens with `decode(tokens) == architecture`.

        Raises:
            ValueError: the architecture is no point of the space.
        """

    @abc.abstractmethod
    def build(self, architecture, scale):
        """The architecture's `keras.Model` at `scale`: float32 [batch, size, size, 3] in [-1, 1] to probabilities."""

    @abc.abstractmethod
    def architecture(self, json_value):
        """The architecture whose `to_json()` gave `json_value`."""

    def draw(self, architecture, folder):
        """Writes pictures of the architecture into `folder` and gives their paths; a space need not have any."""
        return []

    def latency_scale(self, scale):
        """JSON-ready dict of all that `scale` says and a latency depends on: what a table is made for.

        Raises:
            UserError: the space has no latency table.
        """
        raise self._no_units()

    def parts(self, architecture, scale):
        """tuple of the network's parts in any order, hashable and equal where they cost the same; the fewer and the
        cheaper to make, the faster a latency table answers."""
        raise self._no_units()

    def units(self, part, scale):
        """dict of `Unit` to how often it stands in a part: what a latency table has timed and adds up."""
        raise self._no_units()

    def all_units(self, scale):
        """list[Unit]: every unit of which a network of the space can consist at `scale`, each once."""
        raise self._no_units()

    def _no_units(self):
        return UserError(f"Search space {self.name!r} has no building units: no latency table can be made for it")

    @property
    def num_choices(self):
        """tuple[int, ...]: how many choices each decision has; all that an algorithm sees of a space."""
        return tuple(len(decision.choices) for decision in self.decisions)

    def check(self, tokens):
        """`tokens` as a tuple of ints.

        Raises:
            ValueError: their number is wrong or one is out of range.
        """
        tokens = tuple(int(token) for token in tokens)
        if len(tokens) != len(self.decisions):
            raise ValueError(f"Space {self.name!r} has {len(self.decisions)} decisions. Received: {len(tokens)} tokens")
        for token, decision in zip(tokens, self.decisions):
            if not 0 <= token < len(decision.choices):
                raise ValueError(
                    f"Decision {decision.name!r} has choices 0 to {len(decision.choices) - 1}. Received: token {token}"
                )
        return tokens

    def answers(self, tokens):
        """dict of decision name to the choice that `tokens` make."""
        return {decision.name: decision.choices[token] for decision, token in zip(self.decisions, self.check(tokens))}
