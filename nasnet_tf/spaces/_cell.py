"""Cells as plain data: blocks, the states they read, JSON, and one canonical form for isomorphic cells.

Imports no Keras.
"""

import collections
import dataclasses
import functools
import itertools

from nas_tf.space import fingerprint
from nas_tf.trial import UserError

OPERATIONS = (
    "identity",
    "conv_1x3_3x1",
    "conv_1x7_7x1",
    "dil_conv_3x3",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
    "conv_1x1",
    "conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
)
COMBINERS = ("add", "concat")
NUM_INPUTS = 2
MAX_BLOCKS = 32  # far more than any paper's; sizes from a file are bounded
_MAX_ORDERS = 120  # that are compared; cells of six blocks have at most 24


@dataclasses.dataclass(frozen=True)
class Block:
    """Two operations, each on one state of the cell, and how their results become a new state.

    State 0 is the cell's input, 1 the input of the cell before it, 2 the first block's result, and so on.

    Attributes:
        input1, input2: the states that the operations read.
        op1, op2: the operations, of `OPERATIONS`.
        combine: how their results are combined, one of `COMBINERS`.

    Raises:
        UserError: an operation or a combiner is unknown, or a state is not a whole number from 0 up.
    """

    input1: int
    input2: int
    op1: str
    op2: str
    combine: str = "add"

    def __post_init__(self):
        for name, allowed in (("op1", OPERATIONS), ("op2", OPERATIONS), ("combine", COMBINERS)):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"Expected {name} to be one of {', '.join(allowed)}. Received: {name}={getattr(self, name)!r}"
                )
        for name in ("input1", "input2"):
            _check_state(name, getattr(self, name))

    @property
    def operands(self):
        """((state, operation), (state, operation))."""
        return ((self.input1, self.op1), (self.input2, self.op2))

    def renumbered(self, numbers):
        """Returns the same block with `numbers[state]` in place of each state, and with its operands in order."""
        (input1, op1), (input2, op2) = sorted((numbers[state], op) for state, op in self.operands)
        return Block(input1, input2, op1, op2, self.combine)

    def __str__(self):
        sign = {"add": "+", "concat": "|"}[self.combine]
        return f"{self.op1}({self.input1}){sign}{self.op2}({self.input2})"


@dataclasses.dataclass(frozen=True)
class Cell:
    """Blocks in the order in which they are computed, and the states whose concatenation is the cell's output.

    Attributes:
        blocks: the `Block`s.
        output: the states that are concatenated, ascending. None becomes the states that no block reads, as in a search
            (arXiv 1707.07012, section 3.1: the unused hidden states). Cells of published networks may also concatenate
            states that blocks read.

    Raises:
        UserError: there is no block or more than `MAX_BLOCKS`, a block reads a state that does not exist yet, or the
            output names no such state.
    """

    blocks: tuple[Block, ...]
    output: tuple[int, ...] | None = None

    def __post_init__(self):
        if not self.blocks:
            raise UserError("Expected at least one block in a cell. Received: blocks=()")
        if len(self.blocks) > MAX_BLOCKS:
            raise UserError(f"Expected at most {MAX_BLOCKS} blocks in a cell. Received: {len(self.blocks)}")
        for number, block in enumerate(self.blocks, 1):
            for state, _ in block.operands:
                if state >= number + 1:
                    raise UserError(
                        f"Expected block {number} to read states 0 to {number} (0 and 1 are the cell's inputs). "
                        f"Received: state {state} in {block}"
                    )
        read = {state for block in self.blocks for state, _ in block.operands}
        output = set(range(self.num_states)) - read if self.output is None else self.output
        for state in output:  # before they are sorted: a file may hold anything
            _check_state("a state of output", state)
        output = sorted(output)
        if len(set(output)) < len(output) or not NUM_INPUTS <= max(output, default=0) < self.num_states:
            raise UserError(
                f"Expected output to name states from 0 to {self.num_states - 1}, each once, a block's among them. "
                f"Received: output={self.output}"
            )
        object.__setattr__(self, "output", tuple(output))

    @property
    def num_states(self):
        """int: the inputs and the blocks' results together."""
        return NUM_INPUTS + len(self.blocks)

    @functools.cached_property
    def canonical(self):
        """The one form of all cells that compute the same, whatever their weights are called.

        Its operands are in order, it has no block that the output does not depend on, and its blocks are numbered so
        that the list of them is the first in alphabetical order. Where very many blocks are the same, so that there
        are more than 120 lists to compare, the blocks around each decide their order: the time is polynomial in the
        number of blocks. Two cells of one form always compute the same. Of cells that compute the same, only regular
        structures of a dozen blocks and more could have two forms: such a cell would be measured twice.
        """
        reaching, alive = set(self.output), set(self.output)
        while reaching:
            state = reaching.pop()
            inputs = {each for each, _ in self._operands(state)} - alive
            alive |= inputs
            reaching |= inputs
        inputs = {0: 0, 1: 1}
        orders = list(itertools.islice(self._orders(alive, inputs), _MAX_ORDERS + 1))
        if len(orders) > _MAX_ORDERS:
            orders = self._orders(alive, inputs, one=True)
        blocks, output = min(orders)
        return Cell(tuple(Block(*fields) for fields in blocks), output)

    def _operands(self, state):
        return self.blocks[state - NUM_INPUTS].operands if state >= NUM_INPUTS else ()

    def _orders(self, alive, numbers, one=False):
        """Yields the smallest ways to number the states of `alive` that have no number yet.

        At each step the next number goes to the smallest block whose inputs have numbers. Of blocks that are the same
        and have the same readers only one is tried, because they are interchangeable; all other ties are tried.

        Args:
            alive: set of the states that the output depends on.
            numbers: dict from the states that have a number to that number.
            one: of blocks that are the same, try only one of the smallest colour.

        Yields:
            `(blocks as tuples, output)`.
        """
        ready = {
            state: dataclasses.astuple(self.blocks[state - NUM_INPUTS].renumbered(numbers))
            for state in sorted(alive - numbers.keys())
            if all(each in numbers for each, _ in self._operands(state))
        }
        if not ready:
            yield (), tuple(sorted(numbers[state] for state in self.output))
            return
        smallest = min(ready.values())
        tied = {self._readers(state, alive): state for state, block in reversed(ready.items()) if block == smallest}
        if one and len(tied) > 1:
            tied = {None: min(tied.values(), key=self._colours(alive, numbers).get)}
        for state in tied.values():
            for blocks, output in self._orders(alive, {**numbers, state: len(numbers)}, one):
                yield (smallest, *blocks), output

    def _colours(self, alive, numbers):
        """Returns a dict from state to colour; colours can be sorted. States in unlike places of the cell differ in it.

        Colours begin with what a block is, or its number if it has one, and are told apart by the colours of what it
        reads and of its readers until no more differ (Weisfeiler and Leman's refinement).
        """
        readers = collections.defaultdict(list)
        for reader in alive:
            for state, op in self._operands(reader):
                readers[state].append((op, reader))
        combine = {state: block.combine for state, block in enumerate(self.blocks, NUM_INPUTS)}
        colours = {
            state: (numbers.get(state, -1), state in self.output, combine.get(state, ""))
            for state in alive | numbers.keys()
        }
        distinct = 0
        while len(set(colours.values())) > distinct:
            ranks = {colour: rank for rank, colour in enumerate(sorted(set(colours.values())))}
            colours, distinct = {state: ranks[colour] for state, colour in colours.items()}, len(ranks)
            colours = {
                state: (
                    colour,
                    tuple(sorted((op, colours[each]) for each, op in self._operands(state))),
                    tuple(sorted((op, colours[each]) for op, each in readers[state])),
                )
                for state, colour in colours.items()
            }
        return colours

    def _readers(self, state, alive):
        """Returns who reads a state. The states of two equal blocks with the same readers can change places."""
        uses = collections.Counter(
            (reader, op) for reader in alive for each, op in self._operands(reader) if each == state
        )
        return frozenset(uses.items()), state in self.output

    @functools.cached_property
    def fingerprint(self):
        return fingerprint(self.canonical.to_json())

    def __str__(self):
        """One line: `sep_conv_5x5(0)+sep_conv_3x3(1) ... -> 1,2,3`; `+` adds, `|` concatenates."""
        return f"{' '.join(map(str, self.blocks))} -> {','.join(map(str, self.output))}"

    def to_json(self):
        """JSON-ready dict of the cell."""
        return {"blocks": [dataclasses.asdict(block) for block in self.blocks], "output": list(self.output)}

    @classmethod
    def from_json(cls, value):
        """Returns the cell whose `to_json()` returned `value`.

        `output` may be missing or null: it then names the states that no block reads.

        Raises:
            UserError: `value` has another form.
        """
        fields = [field.name for field in dataclasses.fields(Block)]
        is_cell = isinstance(value, dict) and isinstance(value.get("blocks"), (list, tuple))
        if not is_cell or not set(value) <= {"blocks", "output"}:
            raise UserError(f"Expected the JSON of a cell to have blocks and output. Received: {str(value)[:200]}")
        for block in value["blocks"]:
            if not isinstance(block, dict) or set(block) != set(fields):
                raise UserError(f"Expected the JSON of a block to have {fields}. Received: {str(block)[:200]}")
        output = value.get("output")
        if output is not None and not isinstance(output, (list, tuple)):
            raise UserError(f"Expected output to be a list of states. Received: output={str(output)[:200]}")
        return cls(tuple(Block(**block) for block in value["blocks"]), output if output is None else tuple(output))


@dataclasses.dataclass(frozen=True)
class NASNet:
    """An architecture of the family: its Normal and its Reduction cell. The scale says how often they are stacked."""

    normal: Cell
    reduction: Cell

    @property
    def canonical(self):
        """The same architecture with both cells in their canonical form."""
        return NASNet(self.normal.canonical, self.reduction.canonical)

    @functools.cached_property
    def fingerprint(self):
        return fingerprint(self.canonical.to_json())

    def __str__(self):
        return f"normal: {self.normal}; reduction: {self.reduction}"

    def to_json(self):
        """JSON-ready dict of both cells."""
        return {"normal": self.normal.to_json(), "reduction": self.reduction.to_json()}

    @classmethod
    def from_json(cls, value):
        """Returns the architecture whose `to_json()` returned `value`.

        Raises:
            UserError: `value` has another form.
        """
        if not isinstance(value, dict) or set(value) != {"normal", "reduction"}:
            raise UserError(f"Expected the JSON of two cells, normal and reduction. Received: {str(value)[:200]}")
        return cls(Cell.from_json(value["normal"]), Cell.from_json(value["reduction"]))


def _check_state(name, value):
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UserError(f"Expected {name} to be a whole number from 0 up. Received: {name}={value!r}")
