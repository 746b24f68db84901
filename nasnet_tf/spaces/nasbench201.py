"""NAS-Bench-201's cell (Dong and Yang, arXiv 2001.00326): six edges between four nodes, five operations for each.

Node 0 is the cell's input and node 3 its output; a node is the sum of its incoming edges. Every one of the 15,625 cells
was trained by its authors, so that searches can be judged by the whole truth: `--nasbench201_table` names a file of it,
which `--judge=tabular` and `--device=tabular` read.

Two cells that compute the same are the same architecture. Edges that no input reaches, or that reach no output, are
`none`; a node that is only the copy of another is that other; nodes have no names. Of the cells that remain equal the
one with the smallest tokens stands for all: 5,425 networks.
"""

import contextlib
import dataclasses
import functools
import itertools
import os

from nas_tf.settings import Settings, knob
from nas_tf.space import Decision, SearchSpace, fingerprint
from nas_tf.tabular import read_table
from nas_tf.trial import UserError
from nasnet_tf.spaces._scale import Scale

__all__ = ["SPACE", "Cell", "NASBench201", "Scale"]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_INPUT, _OUTPUT = 0, 3
_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}


@dataclasses.dataclass(frozen=True)
class Cell:
    """The operation of each of `EDGES`.

    Raises:
        ValueError: there are not six, or one of them is not known.
    """

    operations: tuple[str, ...]

    def __post_init__(self):
        object.__setattr__(self, "operations", tuple(self.operations))
        if len(self.operations) != len(EDGES) or not set(self.operations) <= set(OPERATIONS):
            raise ValueError(f"Expected six of {', '.join(OPERATIONS)}. Received: {self.operations}")

    def __str__(self):
        """In the authors' notation: `|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|`."""
        nodes = [
            "|" + "|".join(f"{op}~{first}" for (first, last), op in zip(EDGES, self.operations) if last == node) + "|"
            for node in range(1, 4)
        ]
        return "+".join(nodes)

    @classmethod
    def parse(cls, text):
        """Returns the cell that `str` writes.

        Raises:
            ValueError: the text has another form.
        """
        edges = [edge.split("~") for node in text.split("+") for edge in node.strip("|").split("|")]
        if [edge[-1] for edge in edges] != [str(first) for first, _ in EDGES]:
            raise ValueError(f"Expected a cell like {cls(('none',) * 6)}. Received: {text!r}")
        return cls(tuple(operation for operation, _ in edges))

    @property
    def fingerprint(self):
        return fingerprint(self.to_json())

    def to_json(self):
        return {"operations": list(self.operations)}


@dataclasses.dataclass(frozen=True)
class NASBench201(SearchSpace, Settings):
    """One decision for each edge."""

    table: str = knob(
        "",
        "File with the accuracy and the latency of every cell, for --judge=tabular and --device=tabular.",
        path=True,
        flag="nasbench201_table",
        decides=False,  # what it holds is part of the judge and of the device
    )

    name = "nasbench201"

    @property
    def decisions(self):
        return _DECISIONS

    def decode(self, tokens):
        return _canonical(Cell(tuple(OPERATIONS[token] for token in self.check(tokens))))

    def encode(self, architecture):
        return tuple(map(OPERATIONS.index, architecture.operations))

    def build(self, architecture, scale):
        return _build(architecture, scale)

    def architecture(self, json_value):
        return Cell(tuple(json_value["operations"]))

    def known(self, architecture):
        """Returns a dict of what the table says of an architecture.

        Raises:
            UserError: there is no table, or it is damaged or of another space.
        """
        return self._read()[0][architecture]

    @property
    def known_digest(self):
        """str: tells what is known from other tables.

        Raises:
            UserError: there is no table, or it is damaged or of another space.
        """
        return self._read()[1]

    def _read(self):
        if not self.table:
            raise UserError("Expected --nasbench201_table=FILE, in which all cells are known. Received: none")
        with contextlib.suppress(OSError):
            stat = os.stat(self.table)
            return _known(self.table, stat.st_size, stat.st_mtime_ns)
        raise UserError(f"Expected --nasbench201_table to be a file. Received: {self.table}")


_DECISIONS = tuple(Decision(f"edge{first}_{last}", OPERATIONS) for first, last in EDGES)


@functools.lru_cache(maxsize=4)
def _known(path, size, modified_ns):
    """Returns a dict from each canonical cell to what the table at `path` says of it, and the digest of that.

    Size and time of the file tell it from what it was before.
    """
    rows = read_table(path)
    try:
        found = {Cell.parse(name): values for name, values in rows.items()}
    except ValueError as error:
        raise UserError(f"{path} is no table of NAS-Bench-201: {error}") from error
    missing = [cell for cell in map(Cell, itertools.product(OPERATIONS, repeat=len(EDGES))) if cell not in found]
    if missing:
        raise UserError(f"Expected {path} to know all 15,625 cells. It lacks {len(missing):,}, among them {missing[0]}")
    known = {cell: values for cell, values in found.items() if _canonical(cell) == cell}
    return known, fingerprint([[str(cell), values] for cell, values in known.items()])


def _canonical(cell):
    """Returns the cell with the smallest tokens of those that compute the same."""
    return _classes()[_network(cell)]


@functools.cache
def _classes():
    """Returns a dict from what a cell computes to the cell that stands for it."""
    classes = {}
    for operations in itertools.product(OPERATIONS, repeat=len(EDGES)):  # the smallest tokens come first
        cell = Cell(operations)
        classes.setdefault(_network(cell), cell)
    return classes


def _network(cell):
    """Returns what a cell computes: a sorted tuple of `(first, last, operation)`, the same for all that compute it."""
    edges = [(*edge, op) for edge, op in zip(EDGES, cell.operations) if op != "none"]
    while True:
        reached, used = {last for _, last, _ in edges} | {_INPUT}, {first for first, _, _ in edges} | {_OUTPUT}
        live = [edge for edge in edges if edge[0] in reached and edge[1] in used]
        if len(live) == len(edges):
            merged = _without_copies(edges)
            if merged is None:
                break
            live = merged
        edges = live
    inner = {node for first, last, _ in edges for node in (first, last)} - {_INPUT, _OUTPUT}
    named = [_renamed(edges, {min(inner): 1})] if len(inner) == 1 else [_renamed(edges, {})]
    if len(inner) == 2 and not any((first, last) == (1, 2) for first, last, _ in edges):
        named.append(_renamed(edges, {1: 2, 2: 1}))
    return min(named)


def _without_copies(edges):
    """Returns edges without an inner node that copies another or is copied once, or None if there is none."""
    for node in (1, 2):
        incoming = [edge for edge in edges if edge[1] == node]
        outgoing = [edge for edge in edges if edge[0] == node]
        if len(incoming) == 1 and incoming[0][2] == "skip_connect":
            rest, other = [edge for edge in edges if edge not in incoming], incoming[0][0]
            return [(other if first == node else first, last, op) for first, last, op in rest]
        if len(outgoing) == 1 and outgoing[0][2] == "skip_connect":
            rest, other = [edge for edge in edges if edge not in outgoing], outgoing[0][1]
            return [(first, other if last == node else last, op) for first, last, op in rest]
    return None


def _renamed(edges, names):
    return tuple(sorted((names.get(first, first), names.get(last, last), op) for first, last, op in edges))


def _build(cell, scale):
    """Builds the authors' network: three stages of cells, with a residual block of stride 2 between stages.

    Their networks have 16 filters, 5 cells in a stage and one convolution as stem (`cifar`). With an `imagenet` stem
    two more convolutions of stride 2 come first.
    """
    import keras

    layers = keras.layers

    def conv(x, filters, kernel_size, strides=1, with_bn=True):
        x = layers.Conv2D(filters, kernel_size, strides, "same", use_bias=False, kernel_initializer="he_normal")(x)
        return layers.BatchNormalization(momentum=scale.bn_momentum, epsilon=scale.bn_epsilon)(x) if with_bn else x

    def operation(x, name, filters):
        if name in _KERNELS:
            return conv(layers.ReLU()(x), filters, _KERNELS[name])
        return layers.AveragePooling2D(3, 1, "same")(x) if name == "avg_pool_3x3" else x

    def one_cell(x, filters):
        nodes = {_INPUT: x}
        for node in range(1, _OUTPUT + 1):
            terms = [
                operation(nodes[first], name, filters)
                for (first, last), name in zip(EDGES, cell.operations)
                if last == node and name != "none" and first in nodes
            ]
            if terms:
                nodes[node] = layers.Add()(terms) if len(terms) > 1 else terms[0]
        return nodes[_OUTPUT] if _OUTPUT in nodes else layers.Rescaling(0.0)(x)

    def reduction(x, filters):
        main = conv(layers.ReLU()(x), filters, 3, 2)
        main = conv(layers.ReLU()(main), filters, 3)
        return layers.Add()([main, conv(layers.AveragePooling2D(2, 2, "same")(x), filters, 1, with_bn=False)])

    filters = scale.filters
    image = keras.Input((scale.image_size, scale.image_size, 3))
    x = image
    if scale.stem == "imagenet":
        x = layers.ReLU()(conv(x, filters // 2, 3, 2))
        x = layers.ReLU()(conv(x, filters, 3, 2))
    x = conv(x, filters, 3)
    for stage in range(3):
        if stage:
            filters *= 2
            x = reduction(x, filters)
        for _ in range(scale.cells):
            x = one_cell(x, filters)
    x = layers.BatchNormalization(momentum=scale.bn_momentum, epsilon=scale.bn_epsilon)(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    if scale.dropout_rate:
        x = layers.Dropout(scale.dropout_rate)(x)
    return keras.Model(image, layers.Dense(scale.num_classes, activation="softmax", name="classifier")(x))


SPACE = NASBench201()
