"""The units of which every stack of NASNet cells is made, as a latency table times them.

They are the operations, sums, concatenations and ReLUs of a cell, at the width and size of each cell that repeats it;
the 1 x 1 convolution and the factorized reduction of the inputs of cells; the stem; and the classifier.

What `unit_groups` returns are tuples `(cell, what, how)`. Each stands for all cells of the stack at once, so that an
architecture has only some thirty of them.
"""

import collections
import dataclasses

from nas_tf.networks.blocks import Style
from nas_tf.space import Unit
from nasnet_tf.spaces import _operations as nn
from nasnet_tf.spaces._cell import COMBINERS, NUM_INPUTS
from nasnet_tf.spaces._network import DEFAULT_STEM_FILTERS

_POOLS = ("avg_pool_3x3", "max_pool_3x3", "max_pool_5x5", "max_pool_7x7")
READS_AS_IT_IS = ("identity", *_POOLS)
# State 1 of the first cell has the stem's channels. These operations read its projection, which is made once.
READS_FITTED = {"normal": READS_AS_IT_IS, "reduction": _POOLS}


@dataclasses.dataclass(frozen=True)
class CellUnit(Unit):
    """One unit with its shape.

    Attributes:
        kind: an operation, or `relu`, `add`, `concat`, `combine`, `project`, `reduce`, `stem` or `classifier`.
        size: height and width of its input in pixels.
        inputs: channels of its input; for `concat` the number of its inputs, which have `filters` channels each.
        filters: channels of its output.
        strides: its stride.
    """

    kind: str
    size: int
    inputs: int
    filters: int
    strides: int = 1

    @property
    def name(self):
        return f"{self.kind}_s{self.strides}_i{self.inputs}_o{self.filters}@{self.size}"

    def build(self):
        import keras
        from keras import layers

        if self.kind in ("add", "concat", "combine"):
            count = {"add": 2, "concat": self.inputs, "combine": 2}[self.kind]
            inputs = [keras.Input((self.size, self.size, self.filters), name=f"input{i}") for i in range(count)]
        else:
            inputs = [keras.Input((self.size, self.size, self.inputs), name="input")]
        x, style = inputs[0], Style()
        if self.kind == "add":
            x = layers.Add()(inputs)
        elif self.kind == "concat":
            x = layers.Concatenate()(inputs)
        elif self.kind == "combine":
            x = layers.ReLU()(layers.Concatenate()(inputs))
            x = nn.conv_bn(x, self.filters, 1, "combine", style)
        elif self.kind == "relu":
            x = layers.ReLU()(x)
        elif self.kind == "project":
            x = nn.conv_bn(x, self.filters, 1, "project", style)
        elif self.kind == "reduce":
            x = nn.factorized_reduction(_Rectified(x, "input", style), self.filters, "reduce")
        elif self.kind == "stem":
            padding = "valid" if self.strides == 2 else "same"
            x = layers.Conv2D(self.filters, 3, strides=self.strides, padding=padding, use_bias=False)(x)
            x = style.norm(x, "stem")
        elif self.kind == "classifier":
            x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
            x = layers.Dense(self.filters, activation="softmax")(x)
        else:
            x = nn.apply(self.kind, _Rectified(x, "input", style), self.filters, self.strides, "op")
        return keras.Model(inputs, x)


class _Rectified(nn.State):
    """A state whose ReLU costs nothing here: the ReLU is a unit of its own, made once for all that read it."""

    @property
    def relu(self):
        return self.tensor


@dataclasses.dataclass(frozen=True)
class _Place:
    """The place of a cell in the stack: which cell it is, its filters, the size and channels of its two inputs."""

    cell: str
    filters: int
    size: int
    channels: int
    previous_size: int
    previous_channels: int
    is_first: bool

    @property
    def strides(self):
        return 2 if self.cell == "reduction" else 1

    @property
    def out_size(self):
        return -(-self.size // self.strides)


def unit_groups(architecture):
    """Returns a tuple of tuples `(cell, what, how)`: all that a `NASNet` consists of."""
    found = [("stack", len(architecture.normal.output), len(architecture.reduction.output))]
    for name in ("normal", "reduction"):
        cell = getattr(architecture, name)
        reads = [read for block in cell.blocks for read in block.operands]
        reads += [(state, "identity") for state in cell.output if state < NUM_INPUTS]
        found += [(name, op, min(state, NUM_INPUTS)) for state, op in reads]
        found += [(name, block.combine, NUM_INPUTS) for block in cell.blocks]
        rectified = {state for state, op in reads if op not in READS_AS_IT_IS}
        found += [(name, "relu", min(state, NUM_INPUTS)) for state in rectified]
        if any(state == 1 and op in READS_FITTED[name] for state, op in reads):
            found.append((name, "fit", 1))
    return tuple(found)


def units(group, scale):
    """Returns a dict from each `CellUnit` in `group` to its count in the whole stack at `scale`."""
    first, what, how = group
    counts = collections.Counter()
    if first == "stack":
        _count_stack(counts, scale, num_normal=what, num_reduction=how)
        return dict(counts)
    for place in _places(scale, 1, 1):
        if place.cell == first:
            unit = _unit(place, what, how)
            if unit is not None:
                counts[unit] += 1
    return dict(counts)


def all_units(scale, space):
    """Returns a list of every `CellUnit` of a space at a scale.

    They are those of every operation at every place, and of every number of states that a cell can concatenate.
    """
    found = {}
    for name in ("normal", "reduction"):
        for kind in range(NUM_INPUTS + 1):
            for what in (*space.operations, *COMBINERS, "relu", "identity", "fit"):
                if kind == {**dict.fromkeys(COMBINERS, NUM_INPUTS), "fit": 1}.get(what, kind):
                    found |= units((name, what, kind), scale)
    most = NUM_INPUTS + space.blocks - 1
    for num_normal in range(1, most + 1):
        for num_reduction in range(1, most + 1):
            found |= units(("stack", num_normal, num_reduction), scale)
    return list(found)


def _unit(place, what, kind):
    """Returns the `CellUnit` of an operation, combiner, ReLU or projection at a place, or None if it costs nothing.

    `kind` is the state that it reads: 0, 1, or 2 for that of any block.
    """
    inner = kind == NUM_INPUTS
    size = place.out_size if inner else place.size
    strides = 1 if inner else place.strides
    # No cell is before the first one: its state 1 is the stem's output, with the same ReLU that state 0 reads.
    is_stem = place.is_first and kind == 1
    inputs = place.channels if is_stem and what not in _POOLS else place.filters
    if what in COMBINERS:
        what = {"add": "add", "concat": "combine"}[what]
        return CellUnit(what, place.out_size, place.filters, place.filters)
    if what == "relu":
        return None if is_stem else CellUnit("relu", size, inputs, inputs)
    if what == "fit":
        return None if inputs == place.filters else CellUnit("project", size, inputs, place.filters)
    if what == "identity":
        return CellUnit("reduce", size, inputs, place.filters, 2) if strides == 2 else None
    return CellUnit(what, size, inputs, place.filters, strides)


def _count_stack(counts, scale, num_normal, num_reduction):
    """Counts the units between cells, for cells that concatenate so many states."""
    stem_strides = 2 if scale.stem == "imagenet" else 1
    places = _places(scale, num_normal, num_reduction)
    counts[CellUnit("stem", scale.image_size, 3, places[0].channels, stem_strides)] += 1
    for place in places:
        outputs = num_normal if place.cell == "normal" else num_reduction
        counts[CellUnit("relu", place.size, place.channels, place.channels)] += 1
        counts[CellUnit("project", place.size, place.channels, place.filters)] += 1
        if not place.is_first:
            kind, strides = ("reduce", 2) if place.previous_size != place.size else ("project", 1)
            counts[CellUnit(kind, place.previous_size, place.previous_channels, place.filters, strides)] += 1
        if outputs > 1:
            counts[CellUnit("concat", place.out_size, outputs, place.filters)] += 1
    last = places[-1]
    channels = last.filters * (num_normal if last.cell == "normal" else num_reduction)
    counts[CellUnit("classifier", last.out_size, channels, scale.num_classes)] += 1


def _places(scale, num_normal, num_reduction):
    """Returns a list of the `_Place`s of a stack whose cells concatenate so many states.

    `_network.features` builds the same stack.
    """
    imagenet = scale.stem == "imagenet"
    size = (scale.image_size - 3) // 2 + 1 if imagenet else scale.image_size
    channels = scale.stem_filters or (DEFAULT_STEM_FILTERS if imagenet else 3 * scale.filters)
    order = [("reduction", scale.filters // 4), ("reduction", scale.filters // 2)] if imagenet else []
    for stage in range(3):
        if stage:
            order.append(("reduction", scale.filters * 2**stage))
        order += [("normal", scale.filters * 2**stage)] * scale.cells
    places, outputs = [], [(size, channels)]
    skips_input = False
    for number, (cell, filters) in enumerate(order):
        current = outputs[-1]
        previous = outputs[-3 if skips_input else -2] if number else current
        place = _Place(cell, filters, *current, *previous, is_first=not number)
        places.append(place)
        outputs.append((place.out_size, filters * (num_normal if cell == "normal" else num_reduction)))
        skips_input = cell == "reduction" and scale.skip_reduction_input and number > 1
    return places
