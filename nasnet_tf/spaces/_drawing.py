"""Draws a cell as in the paper's figure 4: the two inputs are below, the concatenated output is above, and the blocks
are between them. A block is two operations below the node that combines them.

Blocks are drawn in rows, each block one row above the highest block that it reads. A line that passes a row has a lane
of its own there, so that no box hides it. Within a row, blocks and lanes are ordered so that few lines cross.
"""

import io
import itertools

from nas_tf.files import write_file
from nasnet_tf.spaces._cell import NUM_INPUTS

BOX_WIDTH, BOX_HEIGHT, LANE_WIDTH, ROW_HEIGHT = 1.5, 0.5, 0.45, 2.6
_OUTPUT = "output"
_COLORS = {
    "sep": "#cfe2f3",
    "conv": "#d9ead3",
    "dil": "#d9ead3",
    "avg": "#fff2cc",
    "max": "#fce5cd",
    "identity": "#ffffff",
}


def draw_cell(cell, title, strides, paths):
    """Writes pictures of a cell.

    Args:
        cell: the `Cell`.
        title: the text above the picture.
        strides: 2 for a Reduction cell, 1 for a Normal cell.
        paths: `pathlib.Path`s of the pictures; each ends in .svg or .png.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout = _Layout(cell)
    left, right, top = layout.bounds()
    figure = Figure(figsize=(0.85 * (right - left), 0.62 * top))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, right), ylim=(-1.0, top))
    axes.axis("off")
    axes.text((left + right) / 2, top - 0.35, title, ha="center", va="center", fontsize=13)
    for start, end in layout.lines():
        _line(axes, start, end)
    for state, label in ((0, "$h_i$\ninput"), (1, "$h_{i-1}$\ninput of the cell before")):
        _box(axes, *layout.top_of(state), label, "#eeeeee", width=2.2, height=0.8)
    for number, block in enumerate(cell.blocks):
        x, y = layout.top_of(number + NUM_INPUTS)
        axes.plot([x, x], [y, y], "o", ms=25, mfc="#f4cccc", mec="black", mew=0.9, zorder=3)
        axes.text(x, y, {"add": "add", "concat": "cat"}[block.combine], ha="center", va="center", fontsize=9, zorder=4)
        for side, (state, operation) in enumerate(block.operands):
            halved = " / 2" if strides > 1 and state < NUM_INPUTS else ""
            _box(axes, *layout.operation(number, side), _label(operation) + halved, _COLORS[operation.split("_")[0]])
    x, y = layout.output
    _box(axes, x, y, "concatenate", "#d9d2e9", width=right - left - 1.2)
    _line(axes, (x, y + BOX_HEIGHT / 2), (x, y + 0.85))
    axes.text(x, y + 1.05, "$h_{i+1}$", ha="center", va="center", fontsize=12)
    FigureCanvasAgg(figure)
    for path in paths:
        content = io.BytesIO()
        with rc_context({"svg.hashsalt": "nasnet", "svg.fonttype": "none"}):
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(content, format=path.suffix[1:], dpi=150, metadata=metadata)
        write_file(path, content.getvalue())


class _Layout:
    """The places of everything in the picture of a cell."""

    def __init__(self, cell):
        self._cell, self._rows_of = cell, {0: 0, 1: 0}
        for number, block in enumerate(cell.blocks):
            self._rows_of[number + NUM_INPUTS] = 1 + max(self._rows_of[state] for state, _ in block.operands)
        self._top_row = max(self._rows_of.values()) + 1
        # (state, row of the reader, reader) of every line. The reader is a block's state and side, or the output.
        self._uses = [
            (state, self._rows_of[number + NUM_INPUTS], (number + NUM_INPUTS, side))
            for number, block in enumerate(cell.blocks)
            for side, (state, _) in enumerate(block.operands)
        ] + [(state, self._top_row, _OUTPUT) for state in cell.output]
        rows = [[] for _ in range(self._top_row)]
        for state, row in self._rows_of.items():
            rows[row].append(state)
            last = max((reader_row for each, reader_row, _ in self._uses if each == state), default=0)
            for between in range(row + 1, last):
                rows[between].append(("lane", state))
        rows[0].sort(reverse=True)  # the previous cell's input on the left, as in the paper
        self._rows = self._ordered(rows)
        self._x, self._sides = self._places(self._rows), {}
        for number, block in enumerate(cell.blocks):
            state = number + NUM_INPUTS
            sources = [self._source_x(each, self._rows_of[state]) for each, _ in block.operands]
            self._sides[state] = (0, 1) if sources[0] <= sources[1] else (1, 0)

    @property
    def output(self):
        return sum(self._extent()) / 2, self._top_row * ROW_HEIGHT + 0.2

    def bounds(self):
        """Returns `(left, right, top)` of the picture."""
        left, right = self._extent()
        return left - 0.6, right + 0.6, self._top_row * ROW_HEIGHT + 2.1

    def top_of(self, state):
        """Returns the place `(x, y)` of an input, or of the node that combines a block."""
        row = self._rows_of[state]
        return self._x[row][state], row * ROW_HEIGHT + (0.35 if row else -0.4)

    def operation(self, number, side):
        """Returns the place of a block's first (0) or second (1) operation, which is drawn on either side."""
        state = number + NUM_INPUTS
        row, place = self._rows_of[state], self._sides[state][side]
        return self._x[row][state] + (place - 0.5) * (BOX_WIDTH + 0.15), row * ROW_HEIGHT - 0.95

    def lines(self):
        """Returns a list of `((x, y), (x, y))` for every piece of every line, from its lower to its upper end."""
        pieces = set()
        for state, reader_row, reader in self._uses:
            x, y = self.top_of(state)
            y += 0.4 if state < NUM_INPUTS else 0.3
            for row in range(self._rows_of[state] + 1, reader_row):
                lane = self._x[row]["lane", state]
                low, high = row * ROW_HEIGHT - 1.3, row * ROW_HEIGHT + 0.65
                pieces |= {((x, y), (lane, low)), ((lane, low), (lane, high))}
                x, y = lane, high
            if reader == _OUTPUT:
                end = (x, self.output[1] - BOX_HEIGHT / 2)
            else:
                box_x, box_y = self.operation(reader[0] - NUM_INPUTS, reader[1])
                end = (box_x, box_y - BOX_HEIGHT / 2)
                node_x, node_y = self.top_of(reader[0])
                pieces.add(((box_x, box_y + BOX_HEIGHT / 2), (node_x, node_y - 0.1)))
            pieces.add(((x, y), end))
        return sorted(pieces)

    def _extent(self):
        """Returns the left and the right end of the widest row."""
        placed = [(x, self._width(item) / 2) for row in self._x for item, x in row.items()]
        return min(x - half for x, half in placed), max(x + half for x, half in placed)

    def _width(self, item):
        if isinstance(item, tuple):
            return LANE_WIDTH
        return 2.8 if item < NUM_INPUTS else 2 * BOX_WIDTH + 0.5

    def _places(self, rows):
        """Returns a dict from item to x for each row. A row is centred, and its items are side by side."""
        places = []
        for row in rows:
            edges = list(itertools.accumulate((self._width(item) for item in row), initial=0.0))
            places.append({item: (a + b) / 2 - edges[-1] / 2 for item, a, b in zip(row, edges, edges[1:])})
        return places

    def _source_x(self, state, row):
        """Returns the x at which a line from `state` enters `row`."""
        below = self._x[row - 1]
        return below[state] if state in below else below["lane", state]

    def _sources(self, item):
        if isinstance(item, tuple):
            return [item[1]]
        return [state for state, _ in self._cell.blocks[item - NUM_INPUTS].operands]

    def _ordered(self, rows):
        """Returns the rows, each ordered by where its lines come from or go to, so that the fewest lines cross."""
        best = rows
        for _ in range(6):
            for upward in (True, False):
                order = range(1, len(rows)) if upward else range(len(rows) - 2, 0, -1)
                for row in order:
                    other = rows[row - 1] if upward else rows[row + 1]
                    rows = (
                        rows[:row] + [sorted(rows[row], key=self._centre(rows, row, other, upward))] + rows[row + 1 :]
                    )
                if self._crossings(rows) < self._crossings(best):
                    best = rows
        return best

    def _centre(self, rows, row, other, upward):
        index = {item: i for i, item in enumerate(other)}

        def at(state):
            return index.get(state, index.get(("lane", state)))

        def centre(item):
            if upward:
                ends = [at(state) for state in self._sources(item)]
            else:
                state = item[1] if isinstance(item, tuple) else item
                ends = [i for each, i in index.items() if state in self._sources(each)]
            return sum(ends) / len(ends) if ends else rows[row].index(item)

        return centre

    def _crossings(self, rows):
        count = 0
        for below, above in itertools.pairwise(rows):
            index = {item: i for i, item in enumerate(below)}
            ends = [
                (index.get(state, index.get(("lane", state))), position)
                for position, item in enumerate(above)
                for state in self._sources(item)
            ]
            count += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(ends, 2))
        return count


def _label(operation):
    kind, _, sizes = operation.partition("_")
    if kind == "identity":
        return "identity"
    sizes = sizes.removeprefix("conv_").removeprefix("pool_").replace("_", "-")
    return f"{ {'conv': 'conv', 'dil': 'dilated', 'sep': 'sep', 'avg': 'avg', 'max': 'max'}[kind] } {sizes}"


def _box(axes, x, y, text, color, width=BOX_WIDTH, height=BOX_HEIGHT):
    from matplotlib.patches import FancyBboxPatch

    corner, style = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, fc=color, ec="black", lw=0.9, zorder=3))
    axes.text(x, y, text, ha="center", va="center", fontsize=9, zorder=4)


def _line(axes, start, end):
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    (x0, y0), (x1, y1) = start, end
    middle = (y0 + y1) / 2
    curve = Path([(x0, y0), (x0, middle), (x1, middle), (x1, y1)], [Path.MOVETO] + [Path.CURVE4] * 3)
    axes.add_patch(PathPatch(curve, fc="none", ec="#444444", lw=1.1, zorder=1))
