"""One unit of a child and how it comes by its weights: first those of its parent, then those that have to be fitted.

A unit is fitted where it cannot give what its parent does: with fewer channels or taps, without a squeeze-and-
excitation or a skip, or in place of several. Units behind it keep the parent's weights, which differ little from the
fitted ones and were trained on more images. Only behind a unit that is new, whose maps have little in common with the
parent's, are the last convolutions of all units fitted too.
"""

import dataclasses

import numpy as np

from nas_tf.networks import _channels
from nas_tf.networks._stages import at_rows, some_rows, with_taps

RIDGE = 0.1  # the best of 0.3, 0.1, 0.01 and 0.001 for 128 images at 64 px
_CLIPPED_BIAS = 4.0  # a sigmoid of it is 0.98


@dataclasses.dataclass(frozen=True)
class Reached:
    """What the units of a child so far give.

    Attributes:
        target: the unit of the parent to whose map it answers; None: the images.
        source: int [channels], channels of that map (`_channels.py`).
        maps: what the child gives; None: exactly these channels of the parent's map.
        strange: whether a unit so far is new.
    """

    target: str | None
    source: np.ndarray
    maps: np.ndarray | None = None
    strange: bool = False

    def read(self, parent):
        """Returns what the child gives, float32 [images, height, width, channels]."""
        return parent.map(self.target)[..., self.source] if self.maps is None else self.maps


class InheritedUnit:
    """Gives one unit its weights.

    Attributes:
        new: list of names of what keeps its own random weights.
        words: list of what was changed, in words.
    """

    def __init__(self, unit, parent, counterpart, reached, source):
        """Takes what the unit needs to know, and changes nothing yet.

        Args:
            unit: the child's `_units.Unit`.
            parent: the `inheritance.Parent`.
            counterpart: its `inheritance.Counterpart`.
            reached: the `Reached` before it.
            source: int [filters]: which channels of the parent it returns.
        """
        self.new, self.words = [], []
        self._unit, self._parent, self._counterpart = unit, parent, counterpart
        self._reached, self._source = reached, source
        self._old = parent.network.units[counterpart.parent] if counterpart.parent else None
        self._random = np.random.default_rng(0)
        self._lost = set()  # names of stages that cannot give what the parent's do
        self._adds_nothing = counterpart.added and unit.skip == "identity"

    def inherit(self):
        """Sets all weights, and returns the `Reached` behind the unit."""
        unit, counterpart, before = self._unit, self._counterpart, self._reached
        if self._old is None:
            self.new.append(unit.name)
            self._settle(before.read(self._parent))
            if self._adds_nothing:
                self._add_nothing()
            return self._reach(unit.run(before.read(self._parent)), before.strange or not self._adds_nothing)
        sources = self._sources()
        factor = self._squeeze(sources[unit.squeezed_part][1])
        for part, stage in unit.stages.items():
            self._copy(stage, self._old.stages[part], *sources[part], factor if stage is unit.last else 1.0)
        self._compare()
        if counterpart.added:
            self.words = [f"added, a copy of {self._old.name}"]
        if self._adds_nothing:
            self._add_nothing()
        elif before.maps is None and not self._lost:
            return Reached(counterpart.target, self._source, None, before.strange)
        return self._reach(self._fit(before.read(self._parent), sources, factor), before.strange)

    def _reach(self, maps, strange):
        exact = self._adds_nothing and self._reached.maps is None
        return Reached(self._counterpart.target, self._source, None if exact else np.asarray(maps), strange)

    def _sources(self):
        """Returns a dict from part to the sources of what its stage reads and returns."""
        unit, old, source = self._unit, self._old, self._reached.source
        mixing = [stage for stage in unit.stages.values() if not stage.depthwise]
        if not _channels.covers(source, old.inputs):
            self._lost.add(mixing[0].name)
        if "expand" not in unit.stages:
            return {"depthwise": (source, source), unit.last_part: (source, self._source)}
        hidden = _channels.chosen(lambda: self._parent.important_hidden(old.name), old.hidden, unit.hidden)
        if len(hidden) != old.hidden:
            self.words.append(f"hidden channels {old.hidden} to {len(hidden)}")
        if not _channels.covers(hidden, old.hidden):
            self._lost.add(unit.last.name)
        return {"expand": (source, hidden), "depthwise": (hidden, hidden), "project": (hidden, self._source)}

    def _copy(self, stage, of, read, returned, factor):
        kernel = of.kernel
        if stage.size != of.size:
            size = np.shape(self._parent.read_by(self._old.name))[1]
            kernel = with_taps(kernel, stage.size, stage.first_tap(size) - of.first_tap(size))
            self.words.append(f"kernel {of.size} to {stage.size}")
            if stage.size < of.size:
                self._lost.add(stage.name)
        norm = of.norm.of(returned)
        if stage.depthwise:
            stage.set(kernel[:, :, returned], norm)
            return
        kernel = kernel[:, :, read][..., returned] * _channels.shares(read, len(returned), self._random)
        if stage.relu is None:
            stage.set(kernel * np.reshape(factor, (1, 1, -1, 1)), norm)
        else:
            stage.set(kernel, norm.times(factor))  # squeeze-and-excitation follows the ReLU of a plain convolution

    def _squeeze(self, source):
        """Sets squeeze-and-excitation; returns the factor for the weights beside it. `source` is of what it reads."""
        unit, old = self._unit, self._old
        if unit.squeeze is None and old.squeeze is None:
            return 1.0
        if unit.squeeze is None:
            self.words.append("squeeze-and-excitation removed")
            self._lost.add(unit.last.name)
            return self._parent.mean_scales(old.name)[source]
        if old.squeeze is None:
            self.new.append(f"{unit.name}_se")
            return self._squeeze_evenly()
        kernel, bias = old.squeeze.get_weights()
        outer, outer_bias = old.excite.get_weights()
        before, after = kernel.shape[3], unit.squeeze.kernel.shape[3]
        inner = _channels.chosen(lambda: self._parent.important_squeezed(old.name), before, after)
        if before != after:
            self.words.append(f"squeezed channels {before} to {after}")
        if not (_channels.covers(inner, before) and _channels.covers(source, kernel.shape[2])):
            self._lost.add(unit.last.name)
        share = _channels.shares(source, after, self._random)
        unit.squeeze.set_weights([kernel[:, :, source][..., inner] * share, bias[inner]])
        share = _channels.shares(inner, len(source), self._random)
        unit.excite.set_weights([outer[:, :, inner][..., source] * share, outer_bias[source]])
        return 1.0

    def _squeeze_evenly(self):
        """Sets a new squeeze-and-excitation to one scale for all; returns one over that scale."""
        unit, bias = self._unit, 0.0
        if unit.last.relu is not None and unit.last.relu.max_value:
            # Twice as much before a ReLU that ends at 6 would end at 3: a scale near 1 loses only what is above 5.9.
            bias = _CLIPPED_BIAS
            self._lost.add(unit.last.name)
        kernel, biases = unit.excite.get_weights()
        unit.excite.set_weights([0 * kernel, 0 * biases + bias])
        return 1 + np.exp(-bias)

    def _compare(self):
        """Notes other differences."""
        unit, old, counterpart = self._unit, self._old, self._counterpart
        if unit.filters != old.filters:
            self.words.append(f"filters {old.filters} to {unit.filters}")
        if unit.skip != old.skip:
            self.words.append(f"skip {old.skip} to {unit.skip}")
        if counterpart.target != counterpart.parent:
            self.words.append(f"in place of {counterpart.target} too")
        if unit.skip != old.skip or counterpart.target != counterpart.parent or counterpart.added:
            self._lost.add(unit.last.name)

    def _add_nothing(self):
        last, nothing = self._unit.last, np.zeros(self._unit.filters)
        # Behind exactly 0 a ReLU would pass no gradient.
        last.set(last.kernel, dataclasses.replace(last.norm, gamma=nothing, beta=nothing + 1e-6 * bool(last.relu)))
        self._lost = set()

    def _settle(self, inputs):
        """Gives a new unit statistics, and fits what it can of it, where it reads maps `inputs`."""
        unit, x = self._unit, inputs
        for part, stage in unit.stages.items():
            if part == "project":
                x = unit.squeezed(x)
            stage.settle(x)
            if part == "project" and not self._adds_nothing:
                self._fit_to_target(inputs, x)
            x = stage.run(x)

    def _fit(self, inputs, sources, factor):
        """Fits what has to be; returns what the unit makes of `inputs`."""
        unit, x, theirs = self._unit, inputs, self._parent.read_by(self._old.name)
        strange = self._reached.strange and not self._adds_nothing
        stands_alone = self._counterpart.added or self._counterpart.target != self._counterpart.parent
        for part, stage in unit.stages.items():
            of = self._old.stages[part]
            if part == "project":
                x = unit.squeezed(x)
            if part == "project" or (part == "conv" and stands_alone):
                if self._lost or strange:
                    self._fit_to_target(inputs, x)
            elif stage.name in self._lost or (part == "conv" and strange):
                raw = np.asarray(of.before_relu(theirs))
                rows = some_rows(raw.shape)
                wanted = at_rows(raw, rows)[:, sources[part][1]] * (factor if part == "conv" else 1.0)
                stage.fit(x, wanted, rows, RIDGE)
            if self._lost - {unit.last.name}:
                theirs = of.run(theirs)
            x = stage.run(x)
        return unit.end(x, inputs)

    def _fit_to_target(self, inputs, x):
        """Fits the last stage, which reads `x`, so that the unit gives what its target does."""
        target = self._parent.map(self._counterpart.target)
        rows = some_rows(target.shape)
        wanted = at_rows(target, rows)[:, self._source]
        if self._unit.skip != "none":
            wanted = wanted - at_rows(self._unit.skipped(inputs), rows)
        self._unit.last.fit(x, wanted, rows, RIDGE)
