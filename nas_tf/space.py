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
    """A piece of a network that a latency table times alone.

    Attributes:
        name: units of the same name are the same piece.
        kind: units of the same kind are calibrated together against whole networks.
        costs_nothing: whether it takes no time and is neither built nor timed.
    """

    name: str
    kind: str
    costs_nothing = False  # a layer that is left out does

    @abc.abstractmethod
    def build(self):
        """Returns the unit as a `keras.Model`, which takes float32 [batch, height, width, channels]."""


def fingerprint(value):
    """Returns sixteen hexadecimal digits that name a JSON value. Equal values, and only they, share them."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class SearchSpace(abc.ABC):
    """Decisions, and what their answers mean. A space is a frozen dataclass whose fields are its settings.

    An architecture is frozen, hashable plain data with `to_json()` and a `fingerprint`. `str()` of it is its one-line
    form. A `scale` is the family's own `Scale`: image size, classes, width.
    """

    name: str

    @property
    @abc.abstractmethod
    def decisions(self):
        """tuple[Decision, ...], in the order in which they are answered."""

    @abc.abstractmethod
    def decode(self, tokens):
        """Returns the canonical architecture that `tokens` mean. All tokens of one network decode to equal values."""

    @abc.abstractmethod
    def encode(self, architecture):
        """Returns tokens with `decode(tokens) == architecture`.

        Raises:
            ValueError: the architecture is not in the space.
        """

    @abc.abstractmethod
    def build(self, architecture, scale):
        """Returns the `keras.Model` at `scale`, from float32 [batch, size, size, 3] in [-1, 1] to probabilities."""

    @abc.abstractmethod
    def architecture(self, json_value):
        """Returns the architecture whose `to_json()` returned `json_value`."""

    def draw(self, architecture, folder):
        """Writes pictures of the architecture into `folder` and returns their paths. A space need not have any."""
        return []

    def outline(self, architecture):
        """Returns a list of str: what the architecture is, stage by stage, from the image to the classes."""
        return str(architecture).split()

    def feature_maps(self, architecture, scale):
        """Returns the maps that a detector reads, as a `keras.Model` with the layers of the classifier.

        It takes float32 [batch, size, size, 3] in [-1, 1] and returns a dict of float32 [batch, height, width,
        channels]: `"C3"` at stride 8, `"C4"` at 16 and `"C5"` at 32. Weights are carried over by the layers' names.

        Raises:
            UserError: the space names no such maps, or the architecture has none of these strides at `scale`.
        """
        raise UserError(f"Networks of search space {self.name!r} have no maps by name: no detector can be built on one")

    def child_note(self, scale):
        """Returns in words what a network at `scale`, a child's, has otherwise than the one that ships.

        It is part of a sentence, as "children of 32 px keep 3 of 5 strides"; empty: nothing but size and width.
        """
        return ""

    def image_size(self, architecture):
        """Returns the image size in pixels that an architecture has of its own, or None: the scale says."""
        return None

    def scale_of(self, architecture, scale):
        """Returns `scale`, or the same with the image size of an architecture that has one of its own."""
        own = self.image_size(architecture)
        return dataclasses.replace(scale, image_size=own) if own and own != scale.image_size else scale

    def child(self, architecture, proxy_scale, deploy_scale):
        """Returns the architecture of a child: with images smaller than at `deploy_scale` as the proxy's are."""
        return architecture

    def blocks(self, architecture):
        """Returns a tuple of the architecture's blocks: hashable pieces, one after the other, with a text of one line.

        Block number i, from 1 on, has the units `block<i>_layer1` and so on. Before the first there is a stem, behind
        the last a head.

        Raises:
            UserError: networks of the space have no such blocks.
        """
        raise self._no_blocks()

    def block_choices(self, parent):
        """Returns for each block of an architecture a tuple of those that may stand in its place.

        They are the choices of the space's decisions, each once, that read and return the maps that the block does.
        """
        raise self._no_blocks()

    def assembled(self, parent, blocks, image_size=None):
        """Returns the architecture `parent` with other blocks, and for images of another size in pixels."""
        raise self._no_blocks()

    def slimmed(self, architecture, width):
        """Returns the architecture with `width` times the filters in all of its blocks."""
        raise self._no_blocks()

    def build_block(self, architecture, number, scale):
        """Returns block `number`, from 1 on, alone: a `keras.Model` from the map before it to the one behind it."""
        raise self._no_blocks()

    def _no_blocks(self):
        return UserError(
            f"Networks of search space {self.name!r} have no blocks: no accuracy table can be made of them"
        )

    def counterparts(self, architecture, parent):
        """Returns which layers of a trained network answer to those of another that begins with its weights.

        Args:
            architecture: of the network that begins.
            parent: the architecture of the trained one.

        Returns:
            A tuple of `nas_tf.networks.inheritance.Counterpart`, one for each unit of the first network, in order.

        Raises:
            UserError: the two have not enough in common, or networks of the space cannot inherit.
        """
        raise UserError(f"Networks of search space {self.name!r} cannot begin with the weights of a parent")

    def settings_around(self, architecture):
        """Returns a dict of the settings of the space that put `architecture`, a parent's, into its middle."""
        return {}

    def settings_for_blocks(self, architecture, image_size):
        """Returns a dict of the settings of the space for an accuracy table of `architecture`, a parent's.

        Its networks have the parent's filters where blocks meet. `image_size` is that of the network that ships.
        """
        raise self._no_blocks()

    def latency_scale(self, scale):
        """Returns a JSON-ready dict of everything in `scale` that a latency depends on: what a table is made for.

        Raises:
            UserError: the space has no latency table.
        """
        raise self._no_units()

    def unit_groups(self, architecture, scale):
        """Returns a tuple of groups of units of which the network consists, in any order.

        Groups are hashable, and those that cost the same are equal. The fewer they are, and the cheaper to make, the
        faster a latency table answers.
        """
        raise self._no_units()

    def units(self, group, scale):
        """Returns a dict from each `Unit` to its count in one of the groups that `unit_groups` returns.

        A latency table has timed the units, and adds them up.
        """
        raise self._no_units()

    def all_units(self, scale):
        """Returns a list of every `Unit` of which a network of the space can consist at `scale`, each once."""
        raise self._no_units()

    def _no_units(self):
        return UserError(f"Search space {self.name!r} has no building units: no latency table can be made for it")

    @property
    def prior(self):
        """For each decision a tuple of how often each choice is worth a try, in any unit; None: all alike."""
        return None

    @property
    def num_choices(self):
        """tuple[int, ...]: how many choices each decision has; all that an algorithm sees of a space."""
        return tuple(len(decision.choices) for decision in self.decisions)

    def check(self, tokens):
        """Returns `tokens` as a tuple of ints.

        Raises:
            ValueError: there are too few or too many, or one is out of range.
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
        """Returns a dict from decision name to the choice that `tokens` make."""
        return {decision.name: decision.choices[token] for decision, token in zip(self.decisions, self.check(tokens))}
