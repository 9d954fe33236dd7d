"""Charts of measurements: the spread over seeds is always shown, every axis names its unit.

Every function takes `axes` to draw into a figure made by `style.new_figure`; without it, it opens
its own. Each returns the `Axes` it drew in. End a notebook cell that calls one with `;`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from numpy.typing import ArrayLike, NDArray

from rnnlib.figures.style import (
    PALETTE,
    SEQUENTIAL,
    SERIES,
    SIGNED,
    SMALLEST_FONT,
    expect,
    label_axes,
    new_figure,
    with_unit,
)

Array = NDArray[np.float64]

BASELINES: tuple[Any, ...] = ((0, (2, 2)), (0, (8, 3)), (0, (8, 3, 2, 3)))
"""Line styles of baselines, thinner than any series."""


def lines(
    x: ArrayLike,
    series: Mapping[str, ArrayLike],
    *,
    x_label: str,
    y_label: str,
    baselines: Mapping[str, float] | None = None,
    spread: Literal["range", "runs"] = "range",
    log_x: bool = False,
    log_y: bool = False,
    axes: Axes | None = None,
) -> Axes:
    """Draw one line for each series: the median over its runs, with all runs around it.

    Where there are at most 25 points, each is marked.

    Args:
        x: shape (N,).
        series: name to values, (N,) for one run or (runs, N) for several seeds. Values that are
            not finite leave a gap.
        x_label: quantity and unit in brackets.
        y_label: quantity and unit in brackets.
        baselines: name to the height of a horizontal line, such as the loss of a trivial guess.
        spread: `"range"` fills from the smallest to the largest run, `"runs"` draws each thinly.
        log_x: logarithmic x axis.
        log_y: logarithmic y axis.
        axes: where to draw.

    Raises:
        ValueError: no series, too many, a shape that does not fit `x`, a label without a unit.
    """
    points = np.asarray(x, dtype=float)
    expect(points.ndim == 1 and points.size, "x", "shape (N,) with N ≥ 1", points.shape)
    expect(1 <= len(series) <= len(SERIES), "series", f"1 to {len(SERIES)}", len(series))
    expect(spread in ("range", "runs"), "spread", "'range' or 'runs'", repr(spread))
    axes = _axes(axes)
    label_axes(axes, x_label, y_label)
    for (name, values), (colour, line_style, marker) in zip(series.items(), SERIES, strict=False):
        runs = _runs(name, values, len(points))
        # Points where no run has a value stay empty, without a warning.
        finite = np.ma.masked_invalid(runs)
        middle = np.ma.median(finite, axis=0).filled(np.nan)
        (line,) = axes.plot(points, middle, color=colour, label=name)
        line.set(linestyle=line_style, marker=marker if len(points) <= 25 else "", zorder=3)
        if len(runs) > 1 and spread == "range":
            ends = finite.min(axis=0), finite.max(axis=0)
            axes.fill_between(points, *ends, color=colour, alpha=0.18, linewidth=0)
        elif len(runs) > 1:
            axes.plot(points, runs.T, color=colour, alpha=0.45, linewidth=0.9, linestyle="-")
    if log_x:
        axes.set_xscale("log")
        if len(points) <= 8:  # name the points themselves rather than powers of ten
            axes.set_xticks(points, [f"{point:g}" for point in points])
            axes.minorticks_off()
    if log_y:
        axes.set_yscale("log")
    _draw_baselines(axes.axhline, baselines, linewidth=1.1, zorder=2)
    axes.legend()
    return axes


def learning_curves(
    updates: ArrayLike,
    curves: Mapping[str, ArrayLike],
    *,
    y_label: str,
    x_label: str = "training (updates)",
    smooth: int = 1,
    **options: Any,
) -> Axes:
    """Draw a measure during training, with the trivial baseline to beat.

    Args:
        updates: after how many updates each value was taken, shape (N,).
        curves: name to values, (N,) or (runs, N).
        y_label: quantity and unit in brackets.
        x_label: what counts the training.
        smooth: mean over this many neighbouring values, cut at both ends; 1 leaves the curve as
            it is. Say so in the caption.
        options: `baselines`, `spread`, `log_y`, `axes` … as in `lines`.

    Raises:
        ValueError: as in `lines`, or `smooth` is not between 1 and N.
    """
    points = np.asarray(updates, dtype=float)
    expect(1 <= smooth <= max(1, len(points)), "smooth", f"1 to {len(points)}", smooth)

    def smoothed(run: Array) -> Array:
        return np.convolve(run, np.ones(smooth) / smooth, "valid")

    series = {
        name: np.array([smoothed(run) for run in _runs(name, values, len(points))])
        for name, values in curves.items()
    }
    return lines(smoothed(points), series, x_label=x_label, y_label=y_label, **options)


def memory_ruler(
    norms: Mapping[str, ArrayLike], *, lags: ArrayLike | None = None, axes: Axes | None = None
) -> Axes:
    """Draw the memory ruler: how much gradient reaches an input `lag` steps back.

    Args:
        norms: name to the gradient's norm by lag, lag 0 first, (N,) or (runs, N). Each run is
            divided by its own value at the first lag. A zero (underflow) leaves a gap.
        lags: shape (N,); without it 0, 1, 2 …
        axes: where to draw.

    Raises:
        ValueError: as in `lines`, or a first value that is not positive.
    """
    sizes = {np.shape(values)[-1] for values in norms.values() if np.ndim(values)}
    expect(len(sizes) == 1, "norms", "series of one length", f"lengths {sorted(sizes)}")
    steps = np.arange(sizes.pop()) if lags is None else np.asarray(lags)
    ratios = {}
    for name, values in norms.items():
        runs = _runs(name, values, len(steps))
        first = runs[:, :1]
        expect((first > 0).all(), f"norms[{name!r}]", "positive norms at the first lag", first)
        ratios[name] = np.where(runs > 0, runs / first, np.nan)
    x_label, y_label = "lag (steps back)", "gradient norm (ratio to lag 0)"
    return lines(steps, ratios, x_label=x_label, y_label=y_label, log_y=True, axes=axes)


def bars(
    values: Mapping[str, ArrayLike],
    *,
    x_label: str,
    baselines: Mapping[str, float] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw one horizontal bar for each name: the median, and a dot for each seed.

    Names stand at the left, where long ones stay readable on a phone.

    Args:
        values: name to one value or one for each seed, shape () or (runs,).
        x_label: quantity and unit in brackets.
        baselines: name to the position of a vertical line.
        axes: where to draw.

    Raises:
        ValueError: nothing to draw, a value that is not finite, a label without a unit.
    """
    expect(values, "values", "at least one bar", "none")
    axes = _axes(axes, height=1.2 + 0.42 * len(values) + 0.3 * bool(baselines))
    axes.set_xlabel(with_unit("x_label", x_label))
    places = np.arange(len(values))[::-1]
    for place, (name, given) in zip(places, values.items(), strict=True):
        runs = np.atleast_1d(np.asarray(given, dtype=float))
        fine = runs.ndim == 1 and np.isfinite(runs).all()
        expect(fine, f"values[{name!r}]", "finite numbers (runs,)", repr(given))
        (bar,) = axes.barh(place, np.median(runs), height=0.62, color="#BBD7EA")
        bar.set(edgecolor=PALETTE["blue"], linewidth=1.2)
        if len(runs) > 1:
            heights = place + np.linspace(-0.16, 0.16, len(runs))
            axes.plot(runs, heights, "o", markersize=4.5, color=PALETTE["black"], alpha=0.75)
    axes.set_yticks(places, list(values))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    if baselines:
        _draw_baselines(axes.axvline, baselines, linewidth=1.4)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return axes


def heat_map(
    matrix: ArrayLike,
    *,
    x_label: str,
    y_label: str,
    value_label: str,
    column_names: Sequence[str] | None = None,
    row_names: Sequence[str] | None = None,
    symmetric: bool = False,
    limits: tuple[float, float] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw a matrix as colours; row 0 is at the top.

    Args:
        matrix: shape (rows, columns).
        x_label: what the columns are, with unit.
        y_label: what the rows are, with unit.
        value_label: what the colour is, with unit.
        column_names: a word for each column, instead of numbers.
        row_names: a word for each row.
        symmetric: put zero in the middle of the colour scale (neutral grey).
        limits: the values of the two ends of the colour scale.
        axes: where to draw.

    Raises:
        ValueError: wrong shape, a wrong number of names, a label without a unit.
    """
    values = np.asarray(matrix, dtype=float)
    expect(values.ndim == 2 and values.size, "matrix", "shape (rows, columns)", values.shape)
    axes = _axes(axes, height=min(6.0, max(2.6, 1.4 + 5.0 * values.shape[0] / values.shape[1])))
    label_axes(axes, x_label, y_label)
    low, high = limits or _ends(values, symmetric)
    image = axes.imshow(values, aspect="auto", cmap=SEQUENTIAL, vmin=low, vmax=high)
    axes.grid(visible=False)
    _name_ticks(axes.xaxis, "x", column_names, values.shape[1])
    _name_ticks(axes.yaxis, "y", row_names, values.shape[0])
    _colour_bar(axes, image, value_label, pad=0.02)
    return axes


def coloured_text(
    text: str,
    values: ArrayLike,
    *,
    value_label: str,
    characters_per_line: int = 56,
    symmetric: bool = False,
) -> Axes:
    """Draw a text with each character on a background that shows its value.

    Args:
        text: what the model read; a line break is drawn as ¶, a space as a blank cell.
        values: one number for each character, shape (len(text),).
        value_label: what the colour is, with unit.
        characters_per_line: cells in a line.
        symmetric: as in `heat_map`.

    Raises:
        ValueError: no text, another number of values, a label without a unit.
    """
    numbers = np.asarray(values, dtype=float)
    wanted = f"one for each of the {len(text)} characters (at least one)"
    expect(text and numbers.shape == (len(text),), "values", wanted, f"shape {numbers.shape}")
    rows = -(-len(text) // characters_per_line)
    axes = _axes(None, height=1.05 + 0.27 * rows)
    # Only the pale part of the blues: black letters keep their contrast on the strongest cell.
    blues = mpl.colors.ListedColormap(mpl.colormaps["Blues"](np.linspace(0.0, 0.55, 256)))
    ends = mpl.colors.Normalize(*_ends(numbers, symmetric))
    scale = mpl.cm.ScalarMappable(ends, SIGNED if symmetric else blues)
    letters = {"family": "DejaVu Sans Mono", "fontsize": SMALLEST_FONT + 1}
    for i, (character, colour) in enumerate(zip(text, scale.to_rgba(numbers), strict=True)):
        row, column = divmod(i, characters_per_line)
        shown = "¶" if character == "\n" else character.replace("$", r"\$")
        cell = mpl.patches.Rectangle((column, row), 1, 1, facecolor=colour, linewidth=0)
        axes.add_patch(cell)
        axes.text(column + 0.5, row + 0.5, shown, letters, ha="center", va="center")
    axes.set_xlim(0, characters_per_line)
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    _colour_bar(axes, scale, value_label, orientation="horizontal", aspect=40, pad=0.03)
    return axes


def _axes(axes: Axes | None, height: float = 3.6) -> Axes:
    return new_figure(height)[1] if axes is None else axes


def _runs(name: str, values: ArrayLike, points: int) -> Array:
    """Return the values as (runs, points)."""
    runs = np.atleast_2d(np.asarray(values, dtype=float))
    fits = runs.ndim == 2 and runs.shape[1] == points and len(runs)
    wanted = f"shape ({points},) or (runs, {points})"
    expect(fits, f"series {name!r}", wanted, np.shape(values))
    return np.where(np.isfinite(runs), runs, np.nan)


def _ends(values: Array, symmetric: bool) -> tuple[float, float]:
    """Return the values at the two ends of the colour scale."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    largest = max(abs(low), abs(high))
    return (-largest, largest) if symmetric else (low, high)


def _colour_bar(axes: Axes, coloured: Any, label: str, **options: Any) -> None:
    bar = axes.figure.colorbar(coloured, ax=axes, **options)
    bar.set_label(with_unit("value_label", label))
    bar.outline.set_visible(False)


def _name_ticks(axis: Axis, side: str, names: Sequence[str] | None, count: int) -> None:
    if names is None:
        axis.set_major_locator(mpl.ticker.MaxNLocator(8, integer=True))
    else:
        expect(len(names) == count, f"{side} names", str(count), len(names))
        axis.set_ticks(range(count), [name.replace("$", r"\$") for name in names])


def _draw_baselines(draw: Any, baselines: Mapping[str, float] | None, **look: Any) -> None:
    """Draw each baseline by `draw`, which is `axes.axhline` or `axes.axvline`."""
    given = baselines or {}
    expect(len(given) <= len(BASELINES), "baselines", f"at most {len(BASELINES)}", len(given))
    for (name, position), style in zip(given.items(), BASELINES, strict=False):
        draw(position, color=PALETTE["black"], linestyle=style, label=name, **look)
