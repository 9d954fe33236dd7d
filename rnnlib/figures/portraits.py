"""Portraits of a network with two hidden units: where its state goes while the input is held."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import ArrayLike, NDArray

from rnnlib.figures.style import PALETTE, expect, label_axes, new_figure

Array = NDArray[np.float64]

BASINS = ("#FCFCFA", "#D3DEE8", "#F3DDB3", "#C9C9C9")
"""Pale colours of the regions that lead to different ends."""


def phase_portrait(
    step: Callable[[Array], Array],
    *,
    path: ArrayLike | None = None,
    unstable: ArrayLike | None = None,
    steps: int = 400,
    axes: Axes | None = None,
) -> Axes:
    """Draw the plane of the states (h₁, h₂), both from −1 to 1.

    Arrows point from a state to the next one, a third of the way. States with the same shade end at
    the same fixed point, a filled circle.

    Args:
        step: one step of the network with its input held, states (N, 2) to states (N, 2).
        path: states to connect in the order of time, (T, 2).
        unstable: fixed points that repel, (N, 2): open circles. They must be found elsewhere.
        steps: how many steps a state has to arrive.
        axes: where to draw.

    Raises:
        ValueError: `step` changes the shape, or some states have not settled after `steps`, or
            at more than four points.
    """
    ticks = np.linspace(-1, 1, 161)
    start = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    end = np.asarray(start)
    for _ in range(steps):
        end, before = step(end), end
    expect(end.shape == start.shape, "step", f"states {start.shape}", end.shape)
    moved = float(np.abs(end - before).max())
    expect(moved < 1e-6, "steps", "enough for every state to settle", f"{steps}: still {moved:.1e}")
    ends, basin = np.unique(np.round(end, 4), axis=0, return_inverse=True)
    expect(len(ends) <= len(BASINS), "step", f"at most {len(BASINS)} settled states", len(ends))
    axes = axes if axes is not None else new_figure(height=5.4)[1]
    shades = ListedColormap(BASINS[: max(2, len(ends))])
    grid = basin.reshape(len(ticks), -1)
    axes.pcolormesh(ticks, ticks, grid, cmap=shades, vmin=0, vmax=shades.N - 1, rasterized=True)
    tails = np.stack(np.meshgrid(ticks[10::20], ticks[10::20]), -1).reshape(-1, 2)
    moves = (step(tails) - tails) / 3
    arrows = axes.quiver(*tails.T, *moves.T, angles="xy", scale_units="xy", scale=1, width=0.005)
    arrows.set(color=PALETTE["grey"], zorder=2)
    if path is not None:
        axes.plot(*np.asarray(path).T, color=PALETTE["vermillion"], marker="s", ms=5, zorder=3)
    axes.plot(*ends.T, "o", color=PALETTE["black"], ms=10, zorder=4, clip_on=False)
    if unstable is not None:
        points = np.asarray(unstable).reshape(-1, 2)
        axes.plot(*points.T, "o", mfc=PALETTE["paper"], mec=PALETTE["black"], ms=9, mew=2, zorder=4)
    axes.set(aspect="equal", xlim=(-1, 1), ylim=(-1, 1), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    label_axes(axes, "unit 1, $h_1$ (−1 to 1)", "unit 2, $h_2$ (−1 to 1)")
    axes.grid(visible=False)
    return axes
