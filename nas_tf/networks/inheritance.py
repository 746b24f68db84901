"""A child network begins with the weights of a trained parent, whatever of its architecture differs.

* What grows keeps the function: a larger kernel has zeros round the smaller one, further channels are copies of old
  ones whose consumers share the weight (Net2Net, arXiv 1511.05641), a new layer with a skip begins by adding nothing,
  and a new squeeze-and-excitation begins with one scale for all.
* What shrinks keeps what matters: the channels stay whose loss the others can make up for least (`_least_squares.py`),
  and what reads them is fitted, from the child's own maps to the parent's.

Which layer answers to which is for the search space to say (`nas_tf.space.SearchSpace.counterparts`).
"""

import dataclasses
import functools

import numpy as np

from nas_tf.networks import _channels, _least_squares
from nas_tf.networks._inherited_unit import RIDGE, InheritedUnit, Reached
from nas_tf.networks._stages import at_rows, some_rows
from nas_tf.networks._units import Network, units_of
from nas_tf.trial import UserError

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Counterpart:
    """One unit of a child, and which of its parent's answers to it.

    Attributes:
        name: what the names of its layers begin with, as `block2_layer1`.
        parent: the unit of the parent with whose weights it begins; None: it begins with its own, at random.
        target: the unit of the parent whose output the child's should be.
        border: units of one border return the same channels of the parent, as those that a skip adds up must.
        added: whether the parent has no such unit. It begins by adding nothing to its input, if it has that skip.
    """

    name: str
    parent: str | None
    target: str
    border: str
    added: bool = False


@dataclasses.dataclass(frozen=True)
class Inherited:
    """What a child has not from its parent as it is.

    Attributes:
        new: names of units and layers that began with their own random weights.
        changed: what was changed in a unit, in words, as `block2_layer1: kernel 5 to 3, hidden channels 96 to 48`.
    """

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __str__(self):
        new = f"new: {', '.join(self.new)}" if self.new else ""
        return "; ".join(filter(None, [new, *self.changed])) or "the parent's weights as they are"


class Parent:
    """A trained network with what it makes of some images, for one child after another.

    Attributes:
        network: its `Network`.
    """

    def __init__(self, model, images):
        """Runs `model`, a trained `keras.Model` of this project's builders, once.

        Args:
            model: the network.
            images: float32 [images, size, size, 3] in [-1, 1], of the user's own and of the size of the children's.
                64 to 128 are enough, if they are drawn from all classes.

        Raises:
            UserError: `images` are something else.
        """
        shape = np.shape(images)
        if len(shape) != 4 or not shape[0] or shape[3] != 3:
            raise UserError(
                f"Expected images [images, size, size, 3] to inherit by, at least one. Received: shape {shape}"
            )
        self.network = Network(model)
        self._images = np.asarray(self.network.read(np.asarray(images, "float32")))
        found = {name: [] for name in self.network.units}
        for first in range(0, len(images), _BATCH):
            x = self._images[first : first + _BATCH]
            for name, unit in self.network.units.items():
                x = unit.run(x)
                found[name].append(np.asarray(x))
        self._maps = {name: np.concatenate(each) for name, each in found.items()}
        self._important = {}

    @property
    def size(self):
        """int: height and width of the images in pixels."""
        return self._images.shape[1]

    def map(self, name):
        """Returns the output of a unit, float32 [images, height, width, channels]; of None what the stem reads."""
        return self._images if name is None else self._maps[name]

    def read_by(self, name):
        """Returns what a unit reads."""
        names = [None, *self.network.units]
        return self.map(names[names.index(name) - 1])

    def important_hidden(self, name):
        """Returns int [channels]: what the last stage of a unit reads, the most important channel first."""
        if name not in self._important:
            unit = self.network.units[name]
            hidden = np.asarray(unit.read_by_last(self.read_by(name)))
            self._important[name] = self._importance(hidden, unit.last.outgoing)
        return self._important[name]

    def important_squeezed(self, name):
        """Returns int [channels]: those between the two convolutions of squeeze-and-excitation, likewise."""
        unit = self.network.units[name]
        return self._importance(unit.squeezed_channels(self.read_by(name)), unit.excite.get_weights()[0][0, 0])

    def important_filters(self, readers):
        """Returns int [channels]: the channels between units, likewise.

        Args:
            readers: tuple of `(unit, reader)`: names of a unit with such channels and of the one that reads its map;
                None for the classifier.
        """
        if readers not in self._important:
            maps = [at_rows(self.map(name), some_rows(self.map(name).shape)) for name, _ in readers]
            kernels = [
                self.network.units[reader].first.outgoing if reader else self.network.classifier.get_weights()[0]
                for _, reader in readers
            ]
            order = _least_squares.importance(np.concatenate(maps), np.concatenate(kernels, axis=1), RIDGE)
            self._important[readers] = order
        return self._important[readers]

    def mean_scales(self, name):
        """Returns float32 [channels]: the mean scales of a unit's squeeze-and-excitation."""
        unit = self.network.units[name]
        return np.asarray(unit.excite(unit.squeezed_channels(self.read_by(name)))).mean((0, 1, 2))

    def _importance(self, maps, outgoing):
        return _least_squares.importance(at_rows(maps, some_rows(maps.shape)), outgoing, RIDGE)


def inherit(child, parent, counterparts):
    """Gives a child the weights of its parent.

    Args:
        child: the `keras.Model`, built in the parent's style: activation, padding, epsilon. All of its weights change.
        parent: the `Parent`.
        counterparts: tuple of the `Counterpart` of each unit of the child, in order.

    Returns:
        An `Inherited`.

    Raises:
        UserError: the child is built in another style, with other strides, or for images of another size.
    """
    network = Network(child)
    _check(network, parent, counterparts)
    borders = _borders(network, parent, counterparts)
    inherited, source = _inherit(network.units, parent, counterparts, borders, Reached(None, np.arange(3)))
    return dataclasses.replace(inherited, new=(*inherited.new, *_classifier(network, parent, source)))


def inherit_block(block, parent, counterparts, before):
    """Gives a block, which stands alone and reads its parent's own maps, the weights of the parent.

    Args:
        block: a `keras.Model` from the map before the block to the one behind it, which have the parent's channels.
        parent: the `Parent`.
        counterparts: the `Counterpart`s of its units, in order.
        before: the unit of the parent whose map it reads.

    Returns:
        An `Inherited`.
    """
    borders = {each.border: np.arange(parent.network.units[each.target].filters) for each in counterparts}
    reached = Reached(before, np.arange(parent.map(before).shape[3]))
    return _inherit(units_of(block), parent, counterparts, borders, reached)[0]


def _inherit(units, parent, counterparts, borders, reached):
    """Returns an `Inherited`, and which channels of the parent the last of `units` returns."""
    new, changed = [], []
    for each in counterparts:
        step = InheritedUnit(units[each.name], parent, each, reached, borders[each.border])
        reached = step.inherit()
        new += step.new
        changed += [f"{each.name}: {', '.join(step.words)}"] if step.words else []
    return Inherited(tuple(new), tuple(changed)), reached.source


def _borders(network, parent, counterparts):
    """Returns a dict from border to the `source` of its channels."""
    names = [*parent.network.units, None]
    readers, sizes = {}, {}
    for each in counterparts:
        after = names[names.index(each.target) + 1]
        readers.setdefault(each.border, {})[each.target, after] = None
        sizes[each.border] = parent.network.units[each.target].filters, network.units[each.name].filters
    return {
        border: _channels.chosen(functools.partial(parent.important_filters, tuple(pairs)), *sizes[border])
        for border, pairs in readers.items()
    }


def _classifier(network, parent, source):
    """Sets the classifier's weights; returns its name in a list if it has another number of classes, and is new."""
    old, new = (each.classifier for each in (parent.network, network))
    kernel, bias = old.get_weights()
    if kernel.shape[1] != new.get_weights()[0].shape[1]:
        return [new.name]
    share = _channels.shares(source, kernel.shape[1], np.random.default_rng(0))
    new.set_weights([(kernel[source] * share).astype("float32"), bias])
    return []


def _check(network, parent, counterparts):
    """Raises `UserError` unless the child computes as the parent does, weights aside."""
    same = [
        ("image size", network.model.input_shape[1], parent.size),
        ("input_normalization", network.normalizes, parent.network.normalizes),
    ]
    for each in counterparts:
        unit = network.units[each.name]
        same.append((f"map size behind {each.name} (its strides)", unit.map_size, parent.map(each.target).shape[1]))
        if each.parent:
            styles = unit.styles(parent.network.units[each.parent])
            same += [(f"{what} at {each.name}", ours, theirs) for what, ours, theirs in styles]
    for what, ours, theirs in same:
        if ours != theirs:
            raise UserError(
                f"Expected a parent with the child's {what}, {ours}. Received: {theirs}. Build both at one scale"
            )
