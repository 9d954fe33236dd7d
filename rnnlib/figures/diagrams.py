"""Architecture diagrams drawn by code, in one visual language.

What a node is shows in its shape as well as in its colour, so that a grey print says the same:

- a state is a blue box with round corners, an input a green circle, an output an orange box;
- a loss is a red box with cut corners, a gate a yellow box, an operation a white circle or pill;
- a solid black arrow carries values forward, a dashed red one carries the gradient back.

Positions are inches from the lower left corner, so sizes of text and boxes fit by construction.
Each function opens a figure of the book's width and returns it. End a notebook cell with `;`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import (
    Circle,
    FancyArrowPatch,
    FancyBboxPatch,
    PathPatch,
    Polygon,
    Rectangle,
)
from matplotlib.path import Path

from rnnlib.figures.style import PALETTE, SMALLEST_FONT, WIDTH, use_style

Point = tuple[float, float]
Kind = Literal["state", "input", "output", "loss", "gate", "operation", "weight"]

# Kind: fill, edge, corner style of the box.
_LOOKS: dict[str, tuple[str, str, str]] = {
    "state": ("#CFE3F1", PALETTE["blue"], "round"),
    "input": ("#D3EFE4", "#00744F", "circle"),
    "output": ("#FBE3C6", "#A86400", "square"),
    "loss": ("#F9D5C4", PALETTE["rust"], "octagon"),
    "gate": ("#FFF0AE", "#7A6000", "square"),
    "operation": ("#FFFFFF", PALETTE["black"], "circle"),
    "weight": ("#ECECE8", PALETTE["grey"], "square"),
}
_GRADIENT = PALETTE["rust"]
_CELL = 0.24  # side of a matrix cell, inches


@dataclass(frozen=True)
class Node:
    """A drawn shape, and the points where arrows meet it."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> Point:
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def bottom(self) -> Point:
        return self.x, self.y - self.height / 2


class Canvas:
    """A blank figure of the book's width, measured in inches.

    Args:
        height: inches.
    """

    def __init__(self, height: float) -> None:
        use_style()
        self.figure: Figure = plt.figure(figsize=(WIDTH, height), layout="none")
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(0, WIDTH)
        self.axes.set_ylim(0, height)
        self.axes.set_axis_off()

    def node(
        self,
        kind: Kind,
        x: float,
        y: float,
        text: str,
        *,
        width: float = 0.52,
        height: float = 0.52,
        size: float = 15,
    ) -> Node:
        """Draw a shape with `text` inside, centred at (x, y).

        Args:
            kind: what it stands for, which decides colour and shape.
            x: inches from the left.
            y: inches from the bottom.
            text: may hold mathtext.
            width: inches.
            height: inches.
            size: of the letters, points.
        """
        fill, edge, corners = _LOOKS[kind]
        patch: Any
        if corners == "circle" and width == height:
            patch = Circle((x, y), width / 2)
        elif corners == "octagon":
            patch = Polygon(_octagon(x, y, width, height, cut=0.1), closed=True)
        else:
            radius = {"round": 0.12, "circle": height / 2}.get(corners, 0.0)
            style = f"round,pad=0,rounding_size={radius}" if radius else "square,pad=0"
            patch = FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle=style)
        patch.set(facecolor=fill, edgecolor=edge, linewidth=1.6, zorder=3)
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
        colour: str = PALETTE["black"],
        align: Literal["left", "center", "right"] = "center",
        weight: str = "normal",
    ) -> None:
        """Write `text` with its middle at height y, and its left end, centre or right end at x.

        `size` is in points and never smaller than `SMALLEST_FONT`.
        """
        self.axes.text(x, y, text, fontsize=max(size, SMALLEST_FONT), color=colour, ha=align,
                       va="center", fontweight=weight, zorder=5, linespacing=1.25)  # fmt: skip

    def arrow(
        self,
        *points: Point,
        gradient: bool = False,
        head: bool = True,
        bend: float = 0.0,
        over: bool = False,
    ) -> None:
        """Draw an arrow through the points, with rounded corners.

        `bend` bows an arrow of two points to the left of its direction by that many inches;
        `over` leaves a gap in the lines that this one crosses.
        """
        if bend and len(points) == 2:
            path = _bowed(points[0], points[1], bend)
        else:
            path = _rounded(points, radius=0.12)
        if over:
            gap = PathPatch(path, fill=False, edgecolor=PALETTE["paper"], linewidth=7, zorder=2.1)
            self.axes.add_patch(gap)
        self.axes.add_patch(
            FancyArrowPatch(
                path=path,
                arrowstyle="-|>,head_length=5,head_width=2.6" if head else "-",
                mutation_scale=1,
                linewidth=1.7 if gradient else 1.5,
                linestyle=(0, (3.2, 1.6)) if gradient else "-",
                color=_GRADIENT if gradient else PALETTE["black"],
                shrinkA=0,
                shrinkB=1.5,
                joinstyle="round",
                capstyle="butt",
                zorder=2.2 if over else 2,
            )
        )

    def dot(self, point: Point) -> None:
        """Mark where a line branches."""
        self.axes.plot(*point, marker="o", markersize=4.5, color=PALETTE["black"], zorder=4)

    def band(self, left: float, bottom: float, right: float, top: float, fill: str) -> None:
        """Draw a plain background rectangle."""
        self.axes.add_patch(
            Rectangle((left, bottom), right - left, top - bottom, facecolor=fill, zorder=0)
        )

    def grid(self, kind: Kind, left: float, middle: float, rows: int, columns: int) -> Node:
        """Draw a matrix as a grid of cells, `middle` being the height of its centre."""
        cell = _CELL
        fill, edge, _ = _LOOKS[kind]
        width, height = columns * cell, rows * cell
        for i in range(rows):
            for j in range(columns):
                corner = (left + j * cell, middle - height / 2 + i * cell)
                self.axes.add_patch(
                    Rectangle(corner, cell, cell, facecolor=fill, edgecolor=edge, linewidth=1.1)
                )
        return Node(left + width / 2, middle, width, height)


def _octagon(x: float, y: float, width: float, height: float, cut: float) -> list[Point]:
    w, h = width / 2, height / 2
    return [
        (x - w + cut, y - h), (x + w - cut, y - h), (x + w, y - h + cut), (x + w, y + h - cut),
        (x + w - cut, y + h), (x - w + cut, y + h), (x - w, y + h - cut), (x - w, y - h + cut),
    ]  # fmt: skip


def _rounded(points: Sequence[Point], radius: float) -> Path:
    """Join the points by straight lines with rounded corners."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        for other in (before, after):
            length = ((other[0] - corner[0]) ** 2 + (other[1] - corner[1]) ** 2) ** 0.5
            share = min(radius / length, 0.5)
            near = (
                corner[0] + share * (other[0] - corner[0]),
                corner[1] + share * (other[1] - corner[1]),
            )
            if other is before:
                vertices += [near, corner]
                codes += [Path.LINETO, Path.CURVE3]
            else:
                vertices.append(near)
                codes.append(Path.CURVE3)
    return Path([*vertices, points[-1]], [*codes, Path.LINETO])


def _bowed(start: Point, end: Point, bend: float) -> Path:
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx**2 + dy**2) ** 0.5
    control = (
        (start[0] + end[0]) / 2 - 2 * bend * dy / length,
        (start[1] + end[1]) / 2 + 2 * bend * dx / length,
    )
    return Path([start, control, end], [Path.MOVETO, Path.CURVE3, Path.CURVE3])


# Recurrence ---------------------------------------------------------------------------------


def folded_and_unrolled() -> Figure:
    """The recurrent network as a loop, and the same network unrolled over three steps."""
    c = Canvas(3.75)
    low, middle, high = 0.72, 1.85, 2.98

    def column(x: float, subscript: str) -> Node:
        entry = c.node("input", x, low, f"$x_{subscript}$")
        state = c.node("state", x, middle, f"$h_{subscript}$", width=0.62)
        output = c.node("output", x, high, f"$y_{subscript}$")
        c.arrow(entry.top, state.bottom)
        c.arrow(state.top, output.bottom)
        c.text(x + 0.07, (low + middle) / 2, "$W_x$", align="left", size=14)
        c.text(x + 0.07, (middle + high) / 2, "$W_y$", align="left", size=14)
        return state

    loop = column(0.62, "t")
    out, back = (loop.right[0], middle + 0.13), (loop.right[0], middle - 0.13)
    c.arrow(out, (1.4, out[1]), (1.4, back[1]), back)
    c.text(1.46, middle, "$W_h$", align="left", size=14)
    c.text(2.08, middle, "=", size=20)
    previous = c.node("state", 2.62, middle, "$h_0$", width=0.62)
    for step, x in enumerate((3.72, 4.82, 5.92), start=1):
        state = column(x, str(step))
        c.arrow(previous.right, state.left)
        c.text((previous.x + state.x) / 2, middle + 0.18, "$W_h$", size=14)
        previous = state
    c.text(0.12, 3.55, "folded: a loop", align="left", weight="bold")
    c.text(2.31, 3.55, "unrolled: time runs to the right", align="left", weight="bold")
    c.text(0.12, 0.2, "The same three matrices $W_x$, $W_h$, $W_y$ serve every step.", align="left")
    return c.figure


def backpropagation_through_time() -> Figure:
    """Unrolled network with a loss at every step; the gradient runs back over the same edges."""
    c = Canvas(4.75)
    levels = {"input": 0.95, "state": 2.1, "output": 3.2, "loss": 4.15}
    previous = c.node("state", 0.6, levels["state"], "$h_0$", width=0.62)
    for step, x in enumerate((1.95, 3.75, 5.55), start=1):
        entry = c.node("input", x, levels["input"], f"$x_{step}$")
        state = c.node("state", x, levels["state"], f"$h_{step}$", width=0.62)
        output = c.node("output", x, levels["output"], f"$y_{step}$")
        loss = c.node("loss", x, levels["loss"], f"$L_{step}$")
        c.arrow(entry.top, state.bottom)
        for below, above in ((state, output), (output, loss)):
            c.arrow((x - 0.1, below.top[1]), (x - 0.1, above.bottom[1]))
            c.arrow((x + 0.1, above.bottom[1]), (x + 0.1, below.top[1]), gradient=True)
        c.text(x + 0.17, 2.66, r"$W_y^\top$", align="left", colour=_GRADIENT, size=14)
        c.arrow((previous.right[0], 2.2), (state.left[0], 2.2))
        c.arrow((state.left[0], 2.0), (previous.right[0], 2.0), gradient=True)
        between = (previous.x + state.x) / 2
        c.text(between, 2.4, "$W_h$", size=14)
        c.text(between, 1.77, rf"$W_h^\top D_{step}$", colour=_GRADIENT, size=14)
        previous = state
    c.arrow((0.15, 0.43), (0.75, 0.43))
    c.text(0.85, 0.43, "forward", align="left")
    c.arrow((0.75, 0.16), (0.15, 0.16), gradient=True)
    c.text(0.85, 0.16, "gradient", align="left", colour=_GRADIENT)
    c.text(2.35, 0.43, r"$D_t=\mathrm{diag}(1-h_t^2)$: the slope of tanh", align="left")
    c.text(2.35, 0.16, "Step $t$ receives from $L_t$ and from step $t+1$.", align="left")
    return c.figure


def truncated_windows(window: int = 4, windows: int = 3) -> Figure:
    """Truncated backpropagation: the state goes on, the gradient stops at each window's edge.

    Args:
        window: steps of a window, at least 2.
        windows: how many; all steps together at most 12.

    Raises:
        ValueError: another number of steps than fits.
    """
    steps = window * windows
    if window < 2 or windows < 2 or steps > 12:
        raise ValueError(
            f"window, windows: expected at least 2 of each and at most 12 steps, got {window} "
            f"and {windows}"
        )
    c = Canvas(2.55)
    gap = 6.0 / steps
    place = [0.2 + gap * (t + 0.5) for t in range(steps)]
    nodes = []
    for first in range(0, steps, window):
        left, right = place[first] - gap / 2 + 0.03, place[first + window - 1] + gap / 2 - 0.03
        c.band(left, 0.62, right, 2.38, "#EFEFEB" if first // window % 2 else "#E3ECF2")
        c.text((left + right) / 2, 2.2, f"window {first // window + 1}")
    for t, x in enumerate(place):
        nodes.append(c.node("state", x, 1.5, f"$h_{{{t + 1}}}$", width=0.36, height=0.4, size=11))
    for t, (one, two) in enumerate(pairwise(nodes), start=1):
        c.arrow((one.x, one.top[1]), (two.x, two.top[1]), bend=0.14)
        if t % window:
            c.arrow((two.x, two.bottom[1]), (one.x, one.bottom[1]), gradient=True, bend=0.14)
        else:
            wall = (one.x + two.x) / 2
            c.axes.plot(
                [wall, wall], [0.8, 1.3], color=_GRADIENT, linestyle="-", linewidth=3, zorder=4
            )
    c.arrow((0.2, 0.4), (0.8, 0.4))
    c.text(0.9, 0.4, "the state is carried over every edge", align="left")
    c.arrow((0.8, 0.14), (0.2, 0.14), gradient=True)
    c.text(0.9, 0.14, "the gradient stops at the walls (detach)", align="left",
           colour=_GRADIENT)  # fmt: skip
    return c.figure


def rnn_cell() -> Figure:
    """One step of the recurrent network as a computation graph."""
    c = Canvas(3.3)
    y = 2.0
    old = c.node("state", 0.42, y, "$h_{t-1}$", width=0.7)
    weight = c.node("weight", 1.4, y, "$W_h$")
    plus = c.node("operation", 2.3, y, "+", width=0.4, height=0.4, size=15)
    squash = c.node("operation", 3.65, y, "tanh", width=0.78, height=0.42)
    new = c.node("state", 4.85, y, "$h_t$", width=0.62)
    entry = c.node("input", 1.4, 0.5, "$x_t$")
    to_plus = c.node("weight", 2.3, 0.95, "$W_x$")
    bias = c.node("weight", 2.3, 2.9, "$b$", width=0.42, height=0.42)
    read = c.node("weight", 4.85, 2.9, "$W_y, b_y$", width=0.92)
    output = c.node("output", 6.02, 2.9, "$y_t$")
    c.arrow(old.right, weight.left)
    c.arrow(weight.right, plus.left)
    c.arrow(entry.right, (2.3, 0.5), to_plus.bottom)
    c.arrow(to_plus.top, plus.bottom)
    c.arrow(bias.bottom, plus.top)
    c.arrow(plus.right, squash.left)
    c.text((plus.right[0] + squash.left[0]) / 2, y + 0.2, "$a_t$", size=13)
    c.arrow(squash.right, new.left)
    c.arrow(new.right, (6.25, y))
    c.text(5.72, y - 0.24, "next step", size=11)
    c.arrow(new.top, read.bottom)
    c.arrow(read.right, output.left)
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
    if not (1 <= hidden <= 5 and 1 <= inputs <= 5):
        raise ValueError(f"hidden, inputs: expected 1 to 5 each, got {hidden} and {inputs}")
    c = Canvas(2.1)
    y, H, D = 1.05, hidden, inputs
    pieces: list[tuple[Kind, str, str, int, int] | str] = [
        ("state", "$h_t$", "$(H)$", H, 1), r"$=\tanh($",
        ("weight", "$W_h$", "$(H, H)$", H, H), ("state", "$h_{t-1}$", "$(H)$", H, 1), "+",
        ("weight", "$W_x$", "$(H, D)$", H, D), ("input", "$x_t$", "$(D)$", D, 1), "+",
        ("weight", "$b$", "$(H)$", H, 1), "$)$",
    ]  # fmt: skip
    # Two blocks side by side are a product; signs take their own room.
    room = [_CELL * p[4] if isinstance(p, tuple) else 0.78 if "tanh" in p else 0.16 for p in pieces]
    gaps = [
        0.24 if isinstance(a, tuple) and isinstance(b, tuple) else 0.12 for a, b in pairwise(pieces)
    ]
    left = (WIDTH - sum(room) - sum(gaps)) / 2
    for piece, width, gap in zip(pieces, room, [*gaps, 0.0], strict=True):
        if isinstance(piece, str):
            c.text(left + width / 2, y, piece, size=15)
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

    def shape(
        left: float, base: float, title: str, example: str, reads: Sequence[int],
        writes: Sequence[int], steps: int,
    ) -> None:  # fmt: skip
        states: list[Node] = []
        for t in range(steps):
            x = left + 0.3 + 0.52 * t
            state = c.node("state", x, base + 0.95, "", width=0.34, height=0.34)
            if t in reads:
                c.arrow(c.node("input", x, base + 0.32, "", width=0.3, height=0.3).top,
                        state.bottom)  # fmt: skip
            if t in writes:
                c.arrow(state.top, c.node("output", x, base + 1.58, "", width=0.3,
                                          height=0.3).bottom)  # fmt: skip
            if states:
                c.arrow(states[-1].right, state.left)
            states.append(state)
        c.text(left + 0.08, base + 2.28, title, align="left", weight="bold")
        c.text(left + 0.08, base + 1.98, example, align="left", size=11)

    shape(0.1, 3.0, "one to one", "image → class", [0], [0], 1)
    shape(1.95, 3.0, "one to many", "image → caption", [0], [0, 1, 2], 3)
    shape(4.2, 3.0, "many to one", "review → opinion", [0, 1, 2], [2], 3)
    shape(0.1, 0.4, "many to many, delayed", "sentence → translation", [0, 1, 2], [2, 3, 4], 5)
    shape(3.6, 0.4, "many to many, in step", "letter → next letter", range(4), range(4), 4)
    legend: tuple[tuple[float, Kind], ...] = ((0.3, "input"), (1.6, "state"), (2.9, "output"))
    for x, kind in legend:
        c.node(kind, x, 0.22, "", width=0.26, height=0.26)
        c.text(x + 0.22, 0.22, kind, align="left", size=11)
    return c.figure


# Gates --------------------------------------------------------------------------------------


def lstm_cell() -> Figure:
    """The LSTM cell: three gates and a candidate around the cell state's straight road."""
    c = Canvas(4.15)
    road, bus, gates = 3.65, 1.2, 1.85
    old_cell = c.node("state", 0.47, road, "$c_{t-1}$", width=0.74)
    old = c.node("state", 0.47, bus, "$h_{t-1}$", width=0.74)
    entry = c.node("input", 1.1, 0.4, "$x_t$")
    forget = _operation(c, 1.6, road, r"$\times$")
    add = _operation(c, 3.0, road, "+")
    write = _operation(c, 3.0, 2.75, r"$\times$")
    show = _operation(c, 5.05, 2.35, r"$\times$")
    squash = c.node("operation", 5.05, 3.0, "tanh", width=0.72, height=0.36, size=12)
    new_cell = c.node("state", 5.98, road, "$c_t$", width=0.62)
    new = c.node("state", 5.98, 2.35, "$h_t$", width=0.62)
    c.arrow(old.right, (4.3, bus), (4.3, gates - 0.2))
    c.arrow(entry.top, (1.1, bus), head=False)
    c.dot((1.1, bus))
    for x, name, sign, word in (
        (1.6, "$f_t$", r"$\sigma$", "forget"), (2.45, "$i_t$", r"$\sigma$", "input"),
        (3.5, "$g_t$", "tanh", "candidate"), (4.3, "$o_t$", r"$\sigma$", "output"),
    ):  # fmt: skip
        if x < 4.3:
            c.arrow((x, bus), (x, gates - 0.2))
            c.dot((x, bus))
        kind: Kind = "operation" if sign == "tanh" else "gate"
        c.node(kind, x, gates, sign, width=0.66 if sign == "tanh" else 0.44, height=0.4,
               size=12 if sign == "tanh" else 16)  # fmt: skip
        c.text(x + 0.08, gates + 0.36, name, align="left", size=15)
        c.text(x + 0.05, bus - 0.22, word, size=11)
    c.arrow((1.6, gates + 0.2), forget.bottom)
    c.arrow((2.45, gates + 0.2), (2.45, write.y), write.left)
    c.arrow((3.5, gates + 0.2), (3.5, write.y), write.right)
    c.arrow((4.3, gates + 0.2), (4.3, show.y), show.left)
    c.arrow(write.top, add.bottom)
    c.arrow(old_cell.right, forget.left)
    c.arrow(forget.right, add.left)
    c.arrow(add.right, new_cell.left)
    c.dot((5.05, road))
    c.arrow((5.05, road), squash.top)
    c.arrow(squash.bottom, show.top)
    c.arrow(show.right, new.left)
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
    reset = _operation(c, 2.4, middle, r"$\times$")
    squash = c.node("operation", 3.25, middle, "tanh", width=0.72, height=0.38, size=12)
    write = _operation(c, 5.1, middle, r"$\times$")
    keep = _operation(c, 4.3, road, r"$\times$")
    add = _operation(c, 5.1, road, "+")
    new = c.node("state", 5.98, road, "$h_t$", width=0.62)
    rest = c.node("operation", 5.1, gates + 0.4, r"$1-z$", width=0.62, height=0.36, size=13)
    c.arrow(old.right, keep.left)
    c.arrow(keep.right, add.left)
    c.arrow(add.right, new.left)
    c.arrow((1.1, road), (1.1, from_h), (4.38, from_h), (4.38, gates - 0.2))
    c.dot((1.1, road))
    c.arrow((1.1, middle), product.left)
    c.dot((1.1, middle))
    c.arrow(entry.right, (4.22, from_x), (4.22, gates - 0.2), over=True)
    for x, name, word in ((2.4, "$r_t$", "reset"), (4.3, "$z_t$", "update")):
        c.node("gate", x, gates, r"$\sigma$", width=0.44, height=0.4, size=16)
        c.text(x - 0.3, gates, word, size=11, align="right")
        c.text(x - 0.1, gates + 0.52, name, size=15, align="right")
    c.arrow((2.32, from_x), (2.32, gates - 0.2), over=True)
    c.arrow((2.48, from_h), (2.48, gates - 0.2))
    c.arrow((3.25, from_x), squash.bottom, over=True)
    for point in ((2.32, from_x), (2.48, from_h), (3.25, from_x)):
        c.dot(point)
    c.arrow((2.4, gates + 0.2), reset.bottom)
    c.arrow(product.right, reset.left)
    c.arrow(reset.right, squash.left)
    c.arrow(squash.right, write.left)
    c.text(3.92, middle + 0.2, "$n_t$", size=15)
    c.arrow((4.3, gates + 0.2), keep.bottom, over=True)
    c.dot((4.3, gates + 0.4))
    c.arrow((4.3, gates + 0.4), rest.left)
    c.arrow(rest.top, write.bottom)
    c.arrow(write.top, add.bottom)
    c.text(0.2, 0.6, r"$n_t = \tanh(W_{xn} x_t + r_t \odot (W_{hn} h_{t-1}))$", size=14,
           align="left")  # fmt: skip
    c.text(0.2, 0.23, r"$h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1}$", size=14, align="left")
    c.text(3.85, 0.23, "(biases left out)", size=11, align="left")
    return c.figure


def _operation(c: Canvas, x: float, y: float, sign: str) -> Node:
    return c.node("operation", x, y, sign, width=0.34, height=0.34, size=14)


# The book -----------------------------------------------------------------------------------

_ROAD: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Recurrence", "A state carries the past. How is it trained?", {
        "recurrence/sequences": "Sequences", "recurrence/rnn": "Recurrent network",
        "recurrence/bptt": "Backpropagation through time", "recurrence/gradients": "Gradients",
    }),
    ("Gates", "Gradients fade over time. What keeps a memory?", {
        "gates/lstm": "LSTM", "gates/gru": "GRU",
        "gates/depth_and_direction": "Depth and direction",
    }),
    ("Beyond", "One vector is a bottleneck, and steps wait in line.", {
        "beyond/seq2seq": "Encoder and decoder", "beyond/attention": "Attention",
        "beyond/transformer": "Transformer", "beyond/rnn_or_transformer": "RNN or Transformer?",
        "beyond/linear_recurrence": "Linear recurrence",
    }),
    ("Practice", "It runs, but it is wrong or slow. Where to look?", {
        "practice/debugging": "Debugging", "practice/speed": "Speed",
    }),
    ("Applications", "Real data, honest baselines.", {
        "applications/language_model": "Language model", "applications/text_labels": "Text labels",
        "applications/translation": "Translation", "applications/time_series": "Time series",
        "applications/speech": "Speech", "applications/music": "Music",
    }),
)  # fmt: skip


def road_map(written: Collection[str] | None = None) -> Figure:
    """The whole book as a road: five parts, the question that leads to each, their chapters.

    Args:
        written: the chapters that exist, such as `"recurrence/rnn"`; the others are drawn dashed.
            Without it every chapter counts as written.

    Raises:
        ValueError: `written` names a chapter that the road does not have.
    """
    known = {chapter for _, _, chapters in _ROAD for chapter in chapters}
    there = known if written is None else set(written)
    if there - known:
        raise ValueError(f"written: no such chapter: {sorted(there - known)}")
    left, rows = 0.98, []
    for _, _, chapters in _ROAD:  # break the chapters of each part into rows that fit
        lines: list[list[tuple[str, str, float]]] = [[]]
        for chapter, title in chapters.items():
            width = 0.24 + 0.091 * len(title)
            if left + sum(w + 0.1 for _, _, w in lines[-1]) + width > WIDTH - 0.1:
                lines.append([])
            lines[-1].append((chapter, title, width))
        rows.append(lines)
    heights = [0.82 + 0.42 * len(lines) for lines in rows]
    footer = 0.0 if there == known else 0.3
    c = Canvas(sum(heights) + 0.1 + footer)
    top = sum(heights) + footer
    stops = []
    for numeral, (name, question, _), lines, height in zip(
        ("I", "II", "III", "IV", "V"), _ROAD, rows, heights, strict=True
    ):
        stops.append(c.node("state", 0.47, top - 0.3, numeral, width=0.6, height=0.5, size=14))
        c.text(left, top - 0.18, name, size=14, align="left", weight="bold")
        c.text(left, top - 0.46, question, align="left", colour="#444444")
        for i, line in enumerate(lines):
            x, y = left, top - 0.83 - 0.42 * i
            for chapter, title, width in line:
                _chapter(c, x, y, width, title, chapter in there)
                x += width + 0.1
        top -= height
    for one, two in pairwise(stops):
        c.arrow(one.bottom, two.top)
    if footer:
        _chapter(c, left, 0.2, 0.5, "", False)
        c.text(left + 0.6, 0.2, "planned, not written yet", align="left", size=11)
    return c.figure


def _chapter(c: Canvas, left: float, y: float, width: float, title: str, there: bool) -> None:
    style = "round,pad=0,rounding_size=0.08"
    box = FancyBboxPatch((left, y - 0.16), width, 0.32, boxstyle=style, zorder=3)
    box.set(facecolor="#E3ECF2" if there else PALETTE["paper"], linewidth=1.2)
    box.set(edgecolor=PALETTE["blue"] if there else PALETTE["grey"])
    box.set_linestyle("-" if there else "--")
    c.axes.add_patch(box)
    c.text(left + width / 2, y, title, size=11)
