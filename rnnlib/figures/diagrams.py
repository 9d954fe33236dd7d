"""Architecture diagrams drawn by code, in one visual language.

What a node is shows in its shape as well as in its colour, so that a grey print says the same:

- a state is a blue box with round corners, an input a green circle, an output an orange box;
- a loss is a red box with cut corners, a gate a yellow box, an operation a white circle or pill;
- a solid black arrow carries values forward, a dashed red one carries the gradient back.

Positions are inches from the lower left corner, so sizes of text and boxes fit by construction.
Each function opens a figure of the book's width and returns it. End a notebook cell with `;`.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import pairwise
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patches
from matplotlib.figure import Figure
from matplotlib.path import Path

from rnnlib.figures.style import PALETTE, SMALLEST_FONT, WIDTH, expect, use_style

Point = tuple[float, float]


def _circle(left: float, bottom: float, width: float, height: float, _: float) -> Path:
    """A circle, or a pill where the node is not square."""
    if width == height:
        return Path.circle((left + width / 2, bottom + height / 2), height / 2)
    pill = patches.BoxStyle.Round(pad=0, rounding_size=height / 2)
    return pill(left, bottom, width, height, 1.0)


def _cut_corners(left: float, bottom: float, width: float, height: float, _: float) -> Path:
    right, top, cut = left + width, bottom + height, 0.1
    corners = [
        (left + cut, bottom), (right - cut, bottom), (right, bottom + cut), (right, top - cut),
        (right - cut, top), (left + cut, top), (left, top - cut), (left, bottom + cut),
    ]  # fmt: skip
    return Path([*corners, corners[0]], closed=True)


class Look(NamedTuple):
    """How one kind of node is drawn: its fill, its edge, and its outline, a box style."""

    fill: str
    edge: str
    outline: Any = "square,pad=0"
    line_width: float = 1.6
    line_style: str = "-"


LOOKS = {
    "state": Look("#CFE3F1", PALETTE["blue"], "round,pad=0,rounding_size=0.12"),
    "input": Look("#D3EFE4", "#00744F", _circle),
    "output": Look("#FBE3C6", "#A86400"),
    "loss": Look("#F9D5C4", PALETTE["rust"], _cut_corners),
    "gate": Look("#FFF0AE", "#7A6000"),
    "operation": Look("#FFFFFF", PALETTE["black"], _circle),
    "weight": Look("#ECECE8", PALETTE["grey"]),
    "chapter": Look("#E3ECF2", PALETTE["blue"], "round,pad=0,rounding_size=0.08", 1.2),
    "planned": Look(PALETTE["paper"], PALETTE["grey"], "round,pad=0,rounding_size=0.08", 1.2, "--"),
}
"""The kinds of nodes; the last two are chapters that are written and those that are not."""

_GRADIENT = PALETTE["rust"]
_CELL = 0.24  # side of a matrix cell, inches


class Node(NamedTuple):
    """A drawn shape: its centre and size, inches."""

    x: float
    y: float
    width: float
    height: float

    def side(self, across: int, up: int) -> Point:
        """Return the middle of a side: (1, 0) is the right one, (0, -1) the lower one."""
        return self.x + across * self.width / 2, self.y + up * self.height / 2

    def facing(self, other: Point | Node) -> Point:
        """Return the middle of the side that looks to `other`."""
        across, up = other[0] - self.x, other[1] - self.y
        if abs(across) > abs(up):
            return self.side(1 if across > 0 else -1, 0)
        return self.side(0, 1 if up > 0 else -1)


class Canvas:
    """A blank figure of the book's width, measured in inches.

    Args:
        height: inches.
    """

    def __init__(self, height: float) -> None:
        use_style()
        self.figure = plt.figure(figsize=(WIDTH, height), layout="none")
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, WIDTH), ylim=(0, height))
        self.axes.set_axis_off()

    def node(
        self,
        kind: str,
        x: float,
        y: float,
        text: str = "",
        *,
        width: float = 0.52,
        height: float = 0.52,
        size: float = 15,
    ) -> Node:
        """Draw a shape with `text` inside, centred at (x, y).

        Args:
            kind: what it stands for, one of `LOOKS`, which decides colour and shape.
            x: inches from the left.
            y: inches from the bottom.
            text: may hold mathtext.
            width: inches.
            height: inches.
            size: of the letters, points.
        """
        look, corner = LOOKS[kind], (x - width / 2, y - height / 2)
        patch = patches.FancyBboxPatch(corner, width, height, boxstyle=look.outline, zorder=3)
        patch.set(facecolor=look.fill, edgecolor=look.edge)
        patch.set(linewidth=look.line_width, linestyle=look.line_style)
        self.axes.add_patch(patch)
        self.text(x, y, text, size=size)
        return Node(x, y, width, height)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 12,
        align: str = "center",
        colour: str = PALETTE["black"],
        weight: str = "normal",
    ) -> None:
        """Write `text` with its middle at height y, and its left end, centre or right end at x.

        `size` is in points and never smaller than `SMALLEST_FONT`.
        """
        self.axes.text(x, y, text, fontsize=max(size, SMALLEST_FONT), color=colour, ha=align,
                       va="center", fontweight=weight, zorder=5, linespacing=1.25)  # fmt: skip

    def arrow(
        self,
        *stops: Point | Node,
        gradient: bool = False,
        head: bool = True,
        bend: float = 0.0,
        shift: float = 0.0,
        over: bool = False,
    ) -> None:
        """Draw an arrow through the stops, with rounded corners.

        At its ends a node is met in the middle of the side that faces the arrow.

        Args:
            stops: points, and nodes at the ends.
            gradient: dashed and red, instead of solid and black.
            head: end in a head.
            bend: bow an arrow of two stops to the left of its direction by that many inches.
            shift: move an arrow of two stops to the left of its direction, inches.
            over: leave a gap in the lines that this one crosses.
        """
        points = [stop[:2] for stop in stops]
        for end, neighbour in ((0, 1), (-1, -2)):
            if isinstance(node := stops[end], Node):
                points[end] = node.facing(stops[neighbour])
        if bend or shift:
            path = _beside(points[0], points[1], shift, bend)
        else:
            path = _rounded(points, radius=0.12)
        if over:
            gap = patches.PathPatch(path, fill=False, linewidth=7, zorder=2.1)
            gap.set_edgecolor(PALETTE["paper"])
            self.axes.add_patch(gap)
        arrow = patches.FancyArrowPatch(path=path, zorder=2.2 if over else 2, capstyle="butt")
        arrow.set_arrowstyle("-|>,head_length=5,head_width=2.6" if head else "-")
        arrow.set(color=PALETTE["black"], linewidth=1.5)
        if gradient:
            arrow.set(color=_GRADIENT, linewidth=1.7, linestyle=(0, (3.2, 1.6)))
        self.axes.add_patch(arrow)

    def chain(self, *nodes: Node) -> None:
        """Draw an arrow from each node to the next."""
        for one, two in pairwise(nodes):
            self.arrow(one, two)

    def exchange(self, one: Node, two: Node) -> None:
        """Draw an arrow from one node to the next, and the gradient's way back beside it."""
        self.arrow(one, two, shift=0.1)
        self.arrow(two, one, shift=0.1, gradient=True)

    def explain(self, left: float, y: float, words: str, gradient: bool = False) -> None:
        """Draw a sample of an arrow in the legend and say what it stands for."""
        ends = [(left, y), (left + 0.6, y)]
        self.arrow(*(ends[::-1] if gradient else ends), gradient=gradient)
        colour = _GRADIENT if gradient else PALETTE["black"]
        self.text(left + 0.7, y, words, align="left", colour=colour)

    def branch(
        self, point: Point, *stops: Point | Node, head: bool = True, over: bool = False
    ) -> None:
        """Draw an arrow that begins on another one, at a dot."""
        self.axes.plot(*point, marker="o", markersize=4.5, color=PALETTE["black"], zorder=4)
        self.arrow(point, *stops, head=head, over=over)

    def grid(self, kind: str, left: float, middle: float, rows: int, columns: int) -> Node:
        """Draw a matrix as a grid of cells, `middle` being the height of its centre."""
        bottom, look = middle - rows * _CELL / 2, LOOKS[kind]
        for i, j in np.ndindex(rows, columns):
            corner = left + j * _CELL, bottom + i * _CELL
            cell = patches.Rectangle(corner, _CELL, _CELL, linewidth=1.1)
            cell.set(facecolor=look.fill, edgecolor=look.edge)
            self.axes.add_patch(cell)
        return Node(left + columns * _CELL / 2, middle, columns * _CELL, rows * _CELL)


def _rounded(points: list[Point], radius: float) -> Path:
    """Join the points by straight lines with rounded corners."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_towards(corner, before, radius), corner, _towards(corner, after, radius)]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    return Path([*vertices, points[-1]], [*codes, Path.LINETO])


def _towards(start: Point, end: Point, distance: float) -> Point:
    """Return the point so far from `start` on the line to `end`, but at most in its middle."""
    share = min(distance / math.dist(start, end), 0.5)
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _beside(start: Point, end: Point, shift: float, bend: float) -> Path:
    """Join two points by a line moved to its left, or bowed to its left."""
    a, b = np.array(start), np.array(end)
    left = np.array([a[1] - b[1], b[0] - a[0]]) / math.dist(a, b)
    a, b = a + shift * left, b + shift * left
    control = (a + b) / 2 + 2 * bend * left
    return Path([a, control, b], [Path.MOVETO, Path.CURVE3, Path.CURVE3])


# Recurrence ---------------------------------------------------------------------------------


def folded_and_unrolled() -> Figure:
    """The recurrent network as a loop, and the same network unrolled over three steps."""
    c = Canvas(3.75)
    low, middle, high = 0.72, 1.85, 2.98

    def column(x: float, subscript: str) -> Node:
        state = c.node("state", x, middle, f"$h_{subscript}$", width=0.62)
        entry = c.node("input", x, low, f"$x_{subscript}$")
        c.chain(entry, state, c.node("output", x, high, f"$y_{subscript}$"))
        c.text(x + 0.07, (low + middle) / 2, "$W_x$", align="left", size=14)
        c.text(x + 0.07, (middle + high) / 2, "$W_y$", align="left", size=14)
        return state

    right, up = column(0.62, "t").side(1, 0)
    c.arrow((right, up + 0.13), (1.4, up + 0.13), (1.4, up - 0.13), (right, up - 0.13))
    c.text(1.46, middle, "$W_h$", align="left", size=14)
    c.text(2.08, middle, "=", size=20)
    previous = c.node("state", 2.62, middle, "$h_0$", width=0.62)
    for step, x in enumerate((3.72, 4.82, 5.92), start=1):
        state = column(x, str(step))
        c.arrow(previous, state)
        c.text((previous.x + x) / 2, middle + 0.18, "$W_h$", size=14)
        previous = state
    c.text(0.12, 3.55, "folded: a loop", align="left", weight="bold")
    c.text(2.31, 3.55, "unrolled: time runs to the right", align="left", weight="bold")
    c.text(0.12, 0.2, "The same three matrices $W_x$, $W_h$, $W_y$ serve every step.", align="left")
    return c.figure


def backpropagation_through_time() -> Figure:
    """Unrolled network with a loss at every step; the gradient runs back over the same edges."""
    c = Canvas(4.75)
    previous = c.node("state", 0.6, 2.1, "$h_0$", width=0.62)
    for step, x in enumerate((1.95, 3.75, 5.55), start=1):
        state = c.node("state", x, 2.1, f"$h_{step}$", width=0.62)
        output = c.node("output", x, 3.2, f"$y_{step}$")
        c.arrow(c.node("input", x, 0.95, f"$x_{step}$"), state)
        c.exchange(state, output)
        c.exchange(output, c.node("loss", x, 4.15, f"$L_{step}$"))
        c.exchange(previous, state)
        c.text(x + 0.17, 2.66, r"$W_y^\top$", align="left", colour=_GRADIENT, size=14)
        c.text((previous.x + x) / 2, 2.4, "$W_h$", size=14)
        c.text((previous.x + x) / 2, 1.77, rf"$W_h^\top D_{step}$", colour=_GRADIENT, size=14)
        previous = state
    c.explain(0.15, 0.43, "forward")
    c.explain(0.15, 0.16, "gradient", gradient=True)
    c.text(2.35, 0.43, r"$D_t=\mathrm{diag}(1-h_t^2)$: the slope of tanh", align="left")
    c.text(2.35, 0.16, "Step $t$ receives from $L_t$ and from step $t+1$.", align="left")
    return c.figure


def truncated_windows() -> Figure:
    """Truncated backpropagation: the state goes on, the gradient stops at each window's edge."""
    c = Canvas(2.55)
    for i, colour in enumerate(("#E3ECF2", "#EFEFEB", "#E3ECF2")):
        corner = (0.23 + 2 * i, 0.62)
        c.axes.add_patch(patches.Rectangle(corner, 1.94, 1.76, facecolor=colour, zorder=0))
        c.text(1.2 + 2 * i, 2.2, f"window {i + 1}")
    nodes = [
        c.node("state", t / 2 - 0.05, 1.5, f"$h_{{{t}}}$", width=0.36, height=0.4, size=11)
        for t in range(1, 13)
    ]
    for t, (one, two) in enumerate(pairwise(nodes), start=1):
        c.arrow(one.side(0, 1), two.side(0, 1), bend=0.14)
        if t % 4:
            c.arrow(two.side(0, -1), one.side(0, -1), gradient=True, bend=0.14)
        else:
            wall = [(one.x + two.x) / 2] * 2
            c.axes.plot(wall, [0.8, 1.3], "-", color=_GRADIENT, linewidth=3, zorder=4)
    c.explain(0.2, 0.4, "the state is carried over every edge")
    c.explain(0.2, 0.14, "the gradient stops at the walls (detach)", gradient=True)
    return c.figure


def rnn_cell() -> Figure:
    """One step of the recurrent network as a computation graph."""
    c = Canvas(3.3)
    y = 2.0
    old = c.node("state", 0.42, y, "$h_{t-1}$", width=0.7)
    plus = c.node("operation", 2.3, y, "+", width=0.4, height=0.4)
    squash = c.node("operation", 3.65, y, "tanh", width=0.78, height=0.42)
    new = c.node("state", 4.85, y, "$h_t$", width=0.62)
    entry = c.node("input", 1.4, 0.5, "$x_t$")
    to_plus = c.node("weight", 2.3, 0.95, "$W_x$")
    read = c.node("weight", 4.85, 2.9, "$W_y, b_y$", width=0.92)
    c.chain(old, c.node("weight", 1.4, y, "$W_h$"), plus, squash, new)
    c.chain(new, read, c.node("output", 6.02, 2.9, "$y_t$"))
    c.arrow(entry, (2.3, 0.5), to_plus)
    c.arrow(to_plus, plus)
    c.arrow(c.node("weight", 2.3, 2.9, "$b$", width=0.42, height=0.42), plus)
    c.arrow(new, (6.25, y))
    c.text(2.88, y + 0.2, "$a_t$", size=13)
    c.text(5.72, y - 0.24, "next step", size=11)
    c.text(3.35, 0.75, r"$a_t = W_h h_{t-1} + W_x x_t + b$", size=14, align="left")
    c.text(3.35, 0.37, r"$h_t = \tanh(a_t),\quad y_t = W_y h_t + b_y$", size=14, align="left")
    return c.figure


def step_shapes(hidden: int = 4, inputs: int = 3) -> Figure:
    """The shapes of one step: matrices and vectors as blocks of cells.

    Args:
        hidden: H, 1 to 5.
        inputs: D, 1 to 5.

    Raises:
        ValueError: a size that does not fit.
    """
    fits = 1 <= hidden <= 5 and 1 <= inputs <= 5
    expect(fits, "hidden, inputs", "1 to 5 each", f"{hidden} and {inputs}")
    c = Canvas(2.1)
    y, H, D = 1.05, hidden, inputs
    # Blocks (kind, name, shape, rows, columns), and signs with the room that they take, inches.
    pieces: list[tuple[str, str, str, int, int] | tuple[str, float]] = [
        ("state", "$h_t$", "$(H)$", H, 1), (r"$=\tanh($", 0.78),
        ("weight", "$W_h$", "$(H, H)$", H, H), ("state", "$h_{t-1}$", "$(H)$", H, 1), ("+", 0.16),
        ("weight", "$W_x$", "$(H, D)$", H, D), ("input", "$x_t$", "$(D)$", D, 1), ("+", 0.16),
        ("weight", "$b$", "$(H)$", H, 1), ("$)$", 0.16),
    ]  # fmt: skip
    room = [piece[1] if len(piece) == 2 else _CELL * piece[4] for piece in pieces]
    # Two blocks side by side are a product and stand further apart.
    gaps = [0.12 * min(len(a), len(b), 4) / 2 for a, b in pairwise(pieces)]
    left = (WIDTH - sum(room) - sum(gaps)) / 2
    for piece, width, gap in zip(pieces, room, [*gaps, 0.0], strict=True):
        if len(piece) == 2:
            c.text(left + width / 2, y, piece[0], size=15)
        else:
            kind, name, shape, rows, columns = piece
            block = c.grid(kind, left, y, rows, columns)
            c.text(block.x, y + _CELL / 2 * max(H, D) + 0.22, name, size=14)
            c.text(block.x, y - _CELL / 2 * max(H, D) - 0.22, shape)
        left += width + gap
    return c.figure


def sequence_shapes() -> Figure:
    """The five shapes of sequence problems, each with an example."""
    c = Canvas(5.6)
    # Left and lower edge, name, example, the steps that read and those that write.
    for left, base, name, example, reads, writes in (
        (0.1, 3.0, "one to one", "image → class", [0], [0]),
        (1.95, 3.0, "one to many", "image → caption", [0], [0, 1, 2]),
        (4.2, 3.0, "many to one", "review → opinion", [0, 1, 2], [2]),
        (0.1, 0.4, "many to many, delayed", "sentence → translation", [0, 1, 2], [2, 3, 4]),
        (3.6, 0.4, "many to many, in step", "letter → next letter", [0, 1, 2, 3], [0, 1, 2, 3]),
    ):
        states = []
        for t in range(max(writes) + 1):
            x = left + 0.3 + 0.52 * t
            states.append(c.node("state", x, base + 0.95, width=0.34, height=0.34))
            if t in reads:
                c.arrow(c.node("input", x, base + 0.32, width=0.3, height=0.3), states[t])
            if t in writes:
                c.arrow(states[t], c.node("output", x, base + 1.58, width=0.3, height=0.3))
        c.chain(*states)
        c.text(left + 0.08, base + 2.28, name, align="left", weight="bold")
        c.text(left + 0.08, base + 1.98, example, align="left", size=11)
    for x, kind in ((0.3, "input"), (1.6, "state"), (2.9, "output")):
        c.node(kind, x, 0.22, width=0.26, height=0.26)
        c.text(x + 0.22, 0.22, kind, align="left", size=11)
    return c.figure


# Gates --------------------------------------------------------------------------------------


def lstm_cell() -> Figure:
    """The LSTM cell: three gates and a candidate around the cell state's straight road."""
    c = Canvas(4.15)
    road, bus, gates = 3.65, 1.2, 1.85
    old_cell = c.node("state", 0.47, road, "$c_{t-1}$", width=0.74)
    old = c.node("state", 0.47, bus, "$h_{t-1}$", width=0.74)
    keep = _operation(c, 1.6, road, r"$\times$")
    add = _operation(c, 3.0, road, "+")
    write = _operation(c, 3.0, 2.75, r"$\times$")
    show = _operation(c, 5.05, 2.35, r"$\times$")
    squash = c.node("operation", 5.05, 3.0, "tanh", width=0.72, height=0.36, size=12)
    new_cell = c.node("state", 5.98, road, "$c_t$", width=0.62)
    new = c.node("state", 5.98, 2.35, "$h_t$", width=0.62)
    c.chain(old_cell, keep, add, new_cell)
    c.chain(write, add)
    for x, name, word, goal in (
        (1.6, "$f_t$", "forget", keep), (2.45, "$i_t$", "input", write),
        (3.5, "$g_t$", "candidate", write), (4.3, "$o_t$", "output", show),
    ):  # fmt: skip
        if word == "candidate":
            gate = c.node("operation", x, gates, "tanh", width=0.66, height=0.4, size=12)
        else:
            gate = c.node("gate", x, gates, r"$\sigma$", width=0.44, height=0.4, size=16)
        if word == "output":
            c.arrow(old, (x, bus), gate)
        else:
            c.branch((x, bus), gate)
        c.arrow(gate, *([] if x == goal.x else [(x, goal.y)]), goal)
        c.text(x + 0.08, gates + 0.36, name, align="left", size=15)
        c.text(x + 0.05, bus - 0.22, word, size=11)
    c.branch((1.1, bus), c.node("input", 1.1, 0.4, "$x_t$"), head=False)
    c.branch((5.05, road), squash)
    c.chain(squash, show, new)
    c.text(1.75, 0.58, r"$c_t = f_t \odot c_{t-1} + i_t \odot g_t$", size=15, align="left")
    c.text(1.75, 0.22, r"$h_t = o_t \odot \tanh(c_t)$", size=15, align="left")
    return c.figure


def gru_cell() -> Figure:
    """The GRU cell in the convention of torch: z keeps the old state, r acts after the product."""
    c = Canvas(4.3)
    road, middle, gates, from_h, from_x = 3.8, 3.05, 2.05, 1.45, 1.1
    old = c.node("state", 0.47, road, "$h_{t-1}$", width=0.74)
    entry = c.node("input", 0.47, from_x, "$x_t$")
    product = c.node("weight", 1.65, middle, "$W_{hn}$", width=0.62, height=0.44, size=14)
    scale = _operation(c, 2.4, middle, r"$\times$")
    squash = c.node("operation", 3.25, middle, "tanh", width=0.72, height=0.38, size=12)
    write = _operation(c, 5.1, middle, r"$\times$")
    keep = _operation(c, 4.3, road, r"$\times$")
    add = _operation(c, 5.1, road, "+")
    new = c.node("state", 5.98, road, "$h_t$", width=0.62)
    rest = c.node("operation", 5.1, gates + 0.4, r"$1-z$", width=0.62, height=0.36, size=13)
    reset = c.node("gate", 2.4, gates, r"$\sigma$", width=0.44, height=0.4, size=16)
    update = c.node("gate", 4.3, gates, r"$\sigma$", width=0.44, height=0.4, size=16)
    for gate, name, word in ((reset, "$r_t$", "reset"), (update, "$z_t$", "update")):
        c.text(gate.x - 0.3, gates, word, size=11, align="right")
        c.text(gate.x - 0.1, gates + 0.52, name, size=15, align="right")
    c.chain(old, keep, add, new)
    c.branch((1.1, road), (1.1, from_h), (4.38, from_h), (4.38, gates - 0.2))
    c.branch((1.1, middle), product)
    c.arrow(entry, (4.22, from_x), (4.22, gates - 0.2), over=True)
    c.branch((2.32, from_x), (2.32, gates - 0.2), over=True)
    c.branch((2.48, from_h), (2.48, gates - 0.2))
    c.branch((3.25, from_x), squash, over=True)
    c.arrow(reset, scale)
    c.chain(product, scale, squash, write, add)
    c.text(3.92, middle + 0.2, "$n_t$", size=15)
    c.arrow(update, keep, over=True)
    c.branch((4.3, gates + 0.4), rest)
    c.chain(rest, write)
    c.text(
        0.2, 0.6, r"$n_t = \tanh(W_{xn} x_t + r_t \odot (W_{hn} h_{t-1}))$", size=14, align="left"
    )
    c.text(0.2, 0.23, r"$h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1}$", size=14, align="left")
    c.text(3.85, 0.23, "(biases left out)", size=11, align="left")
    return c.figure


def bidirectional() -> Figure:
    """Two networks read the same inputs, one from each end; each output sees both states."""
    c = Canvas(4.35)
    low, forward, backward, high = 0.95, 1.95, 2.85, 3.85
    reads: list[Node] = []
    returns: list[Node] = []
    for step, x in enumerate((1.75, 3.2, 4.65), start=1):
        c.node("input", x, low, f"$x_{step}$")
        output = c.node("output", x, high, f"$y_{step}$")
        sizes = {"width": 0.48, "height": 0.48}
        there = c.node("state", x - 0.36, forward, rf"$\overrightarrow{{h}}_{step}$", **sizes)
        back = c.node("state", x + 0.36, backward, rf"$\overleftarrow{{h}}_{step}$", **sizes)
        for left, state in ((-0.1, there), (0.1, back)):
            over = state is back
            c.arrow((x + left, low + 0.23), (x + left, low + 0.42), (state.x, low + 0.42), state,
                    over=over)  # fmt: skip
            c.arrow(state, (state.x, high - 0.42), (x + left, high - 0.42),
                    (x + left, output.side(0, -1)[1]), over=not over)  # fmt: skip
        reads.append(there)
        returns.insert(0, back)
    first = c.node("state", 0.45, forward, "0", width=0.48, height=0.48)
    last = c.node("state", 5.95, backward, "0", width=0.48, height=0.48)
    c.chain(first, *reads)
    c.chain(last, *returns)
    c.arrow(reads[-1], (5.35, forward))
    c.arrow(returns[-1], (1.05, backward))
    c.text(5.42, forward, "hidden[-2]", align="left", size=11)
    c.text(0.98, backward, "hidden[-1]", align="right", size=11)
    c.text(0.15, 0.42, "Lower row: reads from left to right. Upper row: from right to left.",
           align="left")  # fmt: skip
    c.text(0.15, 0.15, "hidden[-2], hidden[-1]: the two states that have read everything.",
           align="left")  # fmt: skip
    return c.figure


def stacked() -> Figure:
    """Two layers over three steps, and one layer with a residual connection around it."""
    c = Canvas(4.1)
    low, first, second, high = 0.75, 1.6, 2.5, 3.35
    layers: list[list[Node]] = [[], []]
    for step, x in enumerate((0.5, 1.65, 2.8), start=1):
        entry = c.node("input", x, low, f"$x_{step}$", width=0.46, height=0.46)
        one, two = (
            c.node("state", x, y, f"$h_{step}^{{({layer})}}$", width=0.66, height=0.5, size=14)
            for layer, y in ((1, first), (2, second))
        )
        c.chain(entry, one, two, c.node("output", x, high, f"$y_{step}$", width=0.46, height=0.46))
        layers[0].append(one)
        layers[1].append(two)
    for row in layers:
        c.chain(*row)
    c.text(0.15, 3.9, "stacked: two layers", align="left", weight="bold")
    c.text(0.15, 0.2, "Time runs to the right, depth upwards.", align="left")

    c.text(3.85, 3.9, "residual connection", align="left", weight="bold")
    below = c.node("state", 4.75, low, "$h_t^{(1)}$", width=0.66, height=0.5, size=14)
    layer = c.node("weight", 4.75, 1.85, "layer 2", width=0.95, height=0.5, size=13)
    add = _operation(c, 4.75, 2.65, "+")
    above = c.node("output", 4.75, high, "to layer 3", width=1.25, height=0.46, size=13)
    c.chain(below, layer, add, above)
    c.branch((4.75, 1.27), (5.6, 1.27), (5.6, 2.65), add)
    c.text(5.7, 1.95, "skip", align="left")
    c.text(4.68, 2.29, "$h_t^{(2)}$", size=14, align="right")
    return c.figure


def encoder_decoder() -> Figure:
    """An encoder reads three letters; a decoder starts from its last state and writes phones."""
    c = Canvas(3.3)
    low, middle, high = 0.95, 1.75, 2.55
    encoder: list[Node] = []
    decoder: list[Node] = []
    for x, letter in zip((0.4, 1.12, 1.84), "fox", strict=True):
        state = c.node("state", x, middle, rf"$h_{len(encoder) + 1}$", width=0.5, height=0.5)
        c.arrow(c.node("input", x, low, letter, width=0.46, height=0.46), state)
        encoder.append(state)
    words = ("START", "F", "AA", "K", "S", "END")
    for step, (read, written) in enumerate(pairwise(words), start=1):
        x = 2.06 + 0.78 * step
        wide = {"width": 0.62 if read == "START" else 0.46, "height": 0.46}
        entry = c.node("input", x, low, read, size=11 if step == 1 else 13, **wide)
        state = c.node("state", x, middle, f"$u_{step}$", width=0.44, height=0.5)
        wide["width"] = 0.54 if written == "END" else 0.46
        output = c.node("output", x, high, written, size=12 if step == 5 else 13, **wide)
        if decoder:
            turn = x - 0.36
            c.arrow((x - 0.55, high), (turn, high), (turn, low), entry)
        c.chain(entry, state, output)
        decoder.append(state)
    c.chain(*encoder)
    for one, two in pairwise([encoder[-1], *decoder]):
        c.arrow(one, two, over=True)
    c.text(2.33, middle + 0.17, "$c$", size=15)
    c.text(0.15, 3.1, "encoder", align="left", weight="bold")
    c.text(2.58, 3.1, "decoder", align="left", weight="bold")
    c.text(0.15, 0.47, "The context $c = h_3$ is all that the decoder learns of the source.",
           align="left")  # fmt: skip
    c.text(0.15, 0.2, "What is written at one step is read at the next one.", align="left")
    return c.figure


def attention() -> Figure:
    """One decoder step with attention: weights from scores, the context as their average."""
    c = Canvas(4.95)
    low, middle, bus, shares, top, high = 0.85, 1.7, 2.3, 2.8, 3.85, 4.6
    asks = c.node("state", 5.2, middle, "$u_t$", width=0.6)
    join = c.node("weight", 5.2, top, "tanh, $W_c$", width=1.15, height=0.44, size=13)
    total = _operation(c, 2.05, top, "+")
    context = c.node("state", 3.45, top, "$c_t$", width=0.6)
    states = []
    for s, (x, share) in enumerate(zip((0.5, 1.5, 2.5, 3.5), (0.1, 0.55, 0.25, 0.1), strict=True)):
        state = c.node("state", x, middle, f"$h_{s + 1}$", width=0.56)
        c.arrow(c.node("input", x, low, f"$x_{s + 1}$", width=0.46, height=0.46), state)
        weight = c.node("gate", x, shares, rf"$\alpha_{{t{s + 1}}}$", width=0.62, height=0.4)
        c.branch((x + 0.16, bus), (x + 0.16, shares - 0.2))
        c.arrow((x - 0.16, middle + 0.26), (x - 0.16, shares - 0.2), over=True)
        start = weight.side(0, 1)
        rim = _towards((total.x, total.y), start, total.height / 2)
        band = [start[0], rim[0]], [start[1], rim[1]]
        c.axes.plot(*band, "-", color=PALETTE["sky"], alpha=0.45, linewidth=26 * share, zorder=1)
        c.arrow(start, rim)
        states.append(state)
    c.chain(*states)
    c.branch((5.2, bus), (0.66, bus), head=False)
    c.arrow(asks, join)
    c.chain(total, context, join)
    new = c.node("state", 5.2, high, r"$\tilde{u}_t$", width=0.6)
    c.chain(join, new, c.node("output", 6.05, high, "$y_t$", width=0.46, height=0.46))
    c.arrow((4.35, middle), asks)
    c.arrow(asks, (6.2, middle))
    c.text(4.1, shares, "softmax over\npositions", size=11, align="left")
    c.text(0.2, 4.62, "encoder states, averaged", align="left", weight="bold")
    c.text(5.2, 1.2, "decoder", size=11)
    rule = r"The state $u_t$ and every $h_s$ give a score, the scores the weights $\alpha_{ts}$."
    c.text(0.2, 0.4, rule, align="left")
    c.text(0.2, 0.13, "The wider the band, the larger the weight.", align="left")
    return c.figure


def transformer_block() -> Figure:
    """One Transformer block twice: norms on the stream, and norms in the branches."""
    c = Canvas(5.75)
    for stream, title, norm_first in ((0.7, "post-norm", False), (3.85, "pre-norm", True)):
        last, branch = c.node("input", stream, 0.38, "$x$", width=0.46, height=0.46), stream + 1.35
        for name, start in (("attention", 0.95), ("feed-forward", 3.15)):
            meet = start + (1.55 if norm_first else 1.2)
            add = _operation(c, stream, meet, "+")
            layer = c.node("weight", branch, meet - 0.5, name, width=1.4, height=0.4, size=13)
            if norm_first:
                norm = c.node("gate", branch, start + 0.4, "norm", width=0.8, height=0.36, size=12)
                c.branch((stream, start), (branch, start), norm)
                c.chain(norm, layer)
            else:
                c.branch((stream, start), (branch, start), layer)
            c.arrow(layer, (branch, meet), add)
            c.arrow(last, add)
            last = add
            if not norm_first:
                last = c.node("gate", stream, meet + 0.5, "norm", width=0.8, height=0.36, size=12)
                c.arrow(add, last)
        c.arrow(last, c.node("output", stream, 5.42, "$x'$", width=0.46, height=0.46))
        c.text(stream + 0.4, 5.42, title, align="left", weight="bold")
    return c.figure


def _operation(c: Canvas, x: float, y: float, sign: str) -> Node:
    return c.node("operation", x, y, sign, width=0.34, height=0.34, size=14)


# The book -----------------------------------------------------------------------------------

_NUMERALS = ("I", "II", "III", "IV", "V")
_ROAD = (
    ("Recurrence", "A state carries the past. How is it trained?",
     ["sequences", "rnn", "bptt", "gradients"]),
    ("Gates", "Gradients fade over time. What keeps a memory?",
     ["lstm", "gru", "depth_and_direction"]),
    ("Beyond", "One vector is a bottleneck, and steps wait in line.",
     ["seq2seq", "attention", "transformer", "rnn_or_transformer", "linear_recurrence"]),
    ("Practice", "It runs, but it is wrong or slow. Where to look?", ["debugging", "speed"]),
    ("Applications", "Real data, honest baselines.",
     ["language_model", "text_labels", "translation", "time_series", "speech", "music"]),
)  # fmt: skip
_TITLES = {
    "rnn": "Recurrent network", "bptt": "Backpropagation through time",
    "lstm": "LSTM", "gru": "GRU",
    "seq2seq": "Encoder and decoder", "rnn_or_transformer": "RNN or Transformer?",
}  # fmt: skip


def road_map(written: Collection[str] | None = None) -> Figure:
    """The whole book as a road: five parts, the question that leads to each, their chapters.

    Args:
        written: the chapters that exist, such as `"recurrence/rnn"`; the others are drawn dashed.
            Without it every chapter counts as written.

    Raises:
        ValueError: `written` names a chapter that the road does not have.
    """
    known = {f"{part.lower()}/{name}" for part, _, chapters in _ROAD for name in chapters}
    there = known if written is None else set(written)
    expect(there <= known, "written", "chapters of the road", f"also {sorted(there - known)}")
    c = Canvas(1.0)  # drawn downwards from 0; its height follows
    left, y, parts = 0.98, 0.0, []
    for numeral, (part, question, chapters) in zip(_NUMERALS, _ROAD, strict=True):
        parts.append(c.node("state", 0.47, y - 0.3, numeral, width=0.6, height=0.5, size=14))
        c.text(left, y - 0.18, part, size=14, align="left", weight="bold")
        c.text(left, y - 0.46, question, align="left", colour="#444444")
        x, y = left, y - 0.83
        for name in chapters:
            title = _TITLES.get(name, name.replace("_", " ").capitalize())
            width = 0.24 + 0.091 * len(title)
            if x + width > WIDTH - 0.1:  # a new row
                x, y = left, y - 0.42
            kind = "chapter" if f"{part.lower()}/{name}" in there else "planned"
            c.node(kind, x + width / 2, y, title, width=width, height=0.32, size=11)
            x += width + 0.1
        y -= 0.41
    c.chain(*parts)
    if there != known:
        c.node("planned", left + 0.25, y - 0.1, width=0.5, height=0.32)
        c.text(left + 0.6, y - 0.1, "planned, not written yet", align="left", size=11)
        y -= 0.3
    c.figure.set_figheight(0.1 - y)
    c.axes.set_ylim(y, 0.1)
    return c.figure
