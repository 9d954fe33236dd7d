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
from numpy.typing import ArrayLike, NDArray

from rnnlib.figures.style import (
    PALETTE,
    SEQUENTIAL,
    SERIES,
    SIGNED,
    SMALLEST_FONT,
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
    markers: bool | None = None,
    legend: bool = True,
    axes: Axes | None = None,
) -> Axes:
    """Draw one line for each series: the median over its runs, with all runs around it.

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
        markers: mark the points; without a word, where there are at most 25.
        legend: write the names.
        axes: where to draw.

    Raises:
        ValueError: no series, too many, a shape that does not fit `x`, a label without a unit.
    """
    points = np.asarray(x, dtype=float)
    if points.ndim != 1 or not points.size:
        raise ValueError(f"x: expected shape (N,) with N ≥ 1, got {points.shape}")
    if not 1 <= len(series) <= len(SERIES):
        raise ValueError(f"series: expected 1 to {len(SERIES)}, got {len(series)}")
    if len(baselines or {}) > len(BASELINES):
        raise ValueError(
            f"baselines: expected at most {len(BASELINES)}, got {len(baselines or {})}"
        )
    if spread not in ("range", "runs"):
        raise ValueError(f"spread: expected 'range' or 'runs', got {spread!r}")
    axes = _axes(axes)
    label_axes(axes, x_label, y_label)
    show_markers = len(points) <= 25 if markers is None else markers
    for (name, values), look in zip(series.items(), SERIES, strict=False):
        runs = _runs(name, values, len(points))
        middle = _over_runs(np.nanmedian, runs)
        axes.plot(
            points,
            middle,
            color=look.colour,
            linestyle=look.line_style,
            marker=look.marker if show_markers else None,
            label=name,
            zorder=3,
        )
        if len(runs) > 1 and spread == "range":
            low, high = _over_runs(np.nanmin, runs), _over_runs(np.nanmax, runs)
            axes.fill_between(points, low, high, color=look.colour, alpha=0.18, linewidth=0)
        elif len(runs) > 1:
            axes.plot(points, runs.T, color=look.colour, alpha=0.45, linewidth=0.9, linestyle="-")
    if log_x:
        axes.set_xscale("log")
        if len(points) <= 8:  # name the points themselves rather than powers of ten
            axes.set_xticks(points, [f"{point:g}" for point in points], minor=False)
            axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    if log_y:
        axes.set_yscale("log")
    _horizontal_baselines(axes, baselines)
    if legend:
        axes.legend()
    return axes


def learning_curves(
    updates: ArrayLike,
    curves: Mapping[str, ArrayLike],
    *,
    y_label: str,
    x_label: str = "training (updates)",
    baselines: Mapping[str, float] | None = None,
    smooth: int = 1,
    spread: Literal["range", "runs"] = "range",
    log_y: bool = False,
    axes: Axes | None = None,
) -> Axes:
    """Draw a measure during training, with the trivial baseline to beat.

    Args:
        updates: after how many updates each value was taken, shape (N,).
        curves: name to values, (N,) or (runs, N).
        y_label: quantity and unit in brackets.
        x_label: what counts the training.
        baselines: name to height.
        smooth: mean over this many neighbouring values, cut at both ends; 1 leaves the curve as
            it is. Say so in the caption.
        spread: as in `lines`.
        log_y: logarithmic y axis.
        axes: where to draw.

    Raises:
        ValueError: as in `lines`, or `smooth` is not between 1 and N.
    """
    points = np.asarray(updates, dtype=float)
    if not 1 <= smooth <= max(1, len(points)):
        raise ValueError(f"smooth: expected 1 to {len(points)}, got {smooth}")
    kernel = np.ones(smooth) / smooth
    smoothed = {
        name: np.array(
            [np.convolve(run, kernel, "valid") for run in _runs(name, values, len(points))]
        )
        for name, values in curves.items()
    }
    return lines(
        np.convolve(points, kernel, "valid"),
        smoothed,
        x_label=x_label,
        y_label=y_label,
        baselines=baselines,
        spread=spread,
        log_y=log_y,
        axes=axes,
    )


def memory_ruler(
    norms: Mapping[str, ArrayLike],
    *,
    lags: ArrayLike | None = None,
    y_label: str = "gradient norm (ratio to lag 0)",
    x_label: str = "lag (steps back)",
    axes: Axes | None = None,
) -> Axes:
    """Draw the memory ruler: how much gradient reaches an input `lag` steps back.

    Args:
        norms: name to the gradient's norm by lag, lag 0 first, (N,) or (runs, N). Each run is
            divided by its own value at the first lag. A zero (underflow) leaves a gap.
        lags: shape (N,); without it 0, 1, 2 …
        y_label: quantity and unit in brackets.
        x_label: quantity and unit in brackets.
        axes: where to draw.

    Raises:
        ValueError: as in `lines`, or a first value that is not positive.
    """
    sizes = {np.shape(values)[-1] for values in norms.values() if np.ndim(values)}
    if len(sizes) != 1:
        raise ValueError(f"norms: expected series of one length, got lengths {sorted(sizes)}")
    steps = np.arange(sizes.pop()) if lags is None else np.asarray(lags)
    ratios = {}
    for name, values in norms.items():
        runs = _runs(name, values, len(steps))
        if not (runs[:, :1] > 0).all():
            raise ValueError(f"norms[{name!r}]: expected positive norms at the first lag")
        ratios[name] = np.where(runs > 0, runs / runs[:, :1], np.nan)
    axes = lines(steps, ratios, x_label=x_label, y_label=y_label, log_y=True, axes=axes)
    return axes


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
    if not values or len(baselines or {}) > len(BASELINES):
        raise ValueError(
            f"values and baselines: expected at least one bar and at most {len(BASELINES)} "
            f"baselines, got {len(values)} and {len(baselines or {})}"
        )
    axes = _axes(axes, height=1.2 + 0.42 * len(values) + 0.3 * bool(baselines))
    axes.set_xlabel(with_unit("x_label", x_label))
    places = np.arange(len(values))[::-1]
    for place, (name, given) in zip(places, values.items(), strict=True):
        runs = np.atleast_1d(np.asarray(given, dtype=float))
        if runs.ndim != 1 or not np.isfinite(runs).all():
            raise ValueError(f"values[{name!r}]: expected finite numbers (runs,), got {given!r}")
        axes.barh(
            place,
            np.median(runs),
            height=0.62,
            color="#BBD7EA",
            edgecolor=PALETTE["blue"],
            linewidth=1.2,
        )
        if len(runs) > 1:
            axes.plot(
                runs,
                place + np.linspace(-0.16, 0.16, len(runs)),
                linestyle="none",
                marker="o",
                markersize=4.5,
                color=PALETTE["black"],
                alpha=0.75,
            )
    axes.set_yticks(places, list(values))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    for (name, position), style in zip((baselines or {}).items(), BASELINES, strict=False):
        axes.axvline(position, color=PALETTE["black"], linestyle=style, linewidth=1.4, label=name)
    if baselines:
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
    values = _matrix("matrix", matrix)
    axes = _axes(axes, height=min(6.0, max(2.6, 1.4 + 5.0 * values.shape[0] / values.shape[1])))
    label_axes(axes, x_label, y_label)
    low, high = limits or (float(np.nanmin(values)), float(np.nanmax(values)))
    if symmetric and limits is None:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    image = axes.imshow(values, aspect="auto", cmap=SEQUENTIAL, vmin=low, vmax=high)
    axes.grid(visible=False)
    _name_ticks(axes, "x", column_names, values.shape[1])
    _name_ticks(axes, "y", row_names, values.shape[0])
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(with_unit("value_label", value_label))
    bar.outline.set_visible(False)
    return axes


def matrix_picture(
    matrices: Mapping[str, ArrayLike], *, digits: int = 2, axes: Axes | None = None
) -> Axes:
    """Draw small matrices side by side with their numbers, for reading along with an equation.

    Args:
        matrices: name (mathtext is fine) to shape (rows, columns); a vector (N,) is a column.
        digits: digits after the point.
        axes: where to draw.

    Raises:
        ValueError: nothing to draw, or something with more than two axes.
    """
    if not matrices:
        raise ValueError("matrices: expected at least one, got none")
    tables = {
        name: _matrix(name, np.reshape(m, (-1, 1)) if np.ndim(m) == 1 else m)
        for name, m in matrices.items()
    }
    rows = max(table.shape[0] for table in tables.values())
    columns = sum(table.shape[1] for table in tables.values()) + 0.6 * (len(tables) - 1)
    axes = _axes(axes, height=max(1.2, 6.2 / max(columns, 5) * (0.62 * rows + 0.7)))
    largest = max(float(np.abs(table).max()) for table in tables.values()) or 1.0
    left = 0.0
    for name, table in tables.items():
        top = (rows - table.shape[0]) / 2
        for i, j in np.ndindex(*table.shape):
            face = SIGNED(0.5 + 0.5 * table[i, j] / largest)
            axes.add_patch(
                mpl.patches.Rectangle(
                    (left + j, top + i),
                    1,
                    1,
                    facecolor=face,
                    edgecolor=PALETTE["grey"],
                    linewidth=1,
                )
            )
            number = f"{table[i, j]:.{digits}f}".replace("-", "−")
            axes.text(left + j + 0.5, top + i + 0.5, number, ha="center", va="center")
        axes.text(left + table.shape[1] / 2, top - 0.12, name, ha="center", va="bottom")
        left += table.shape[1] + 0.6
    axes.set_xlim(-0.1, left - 0.5)
    axes.set_ylim(rows + 0.1, -0.75)
    axes.set_axis_off()
    return axes


def coloured_text(
    text: str,
    values: ArrayLike,
    *,
    value_label: str,
    characters_per_line: int = 56,
    symmetric: bool = False,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a text with each character on a background that shows its value.

    Args:
        text: what the model read; a line break is drawn as ¶, a space as a blank cell.
        values: one number for each character, shape (len(text),).
        value_label: what the colour is, with unit.
        characters_per_line: cells in a line.
        symmetric: as in `heat_map`.
        limits: as in `heat_map`.

    Raises:
        ValueError: no text, another number of values, a label without a unit.
    """
    numbers = np.asarray(values, dtype=float)
    if not text or numbers.shape != (len(text),):
        raise ValueError(
            f"values: expected one for each of the {len(text)} characters (at least one), "
            f"got shape {numbers.shape}"
        )
    rows = -(-len(text) // characters_per_line)
    axes = _axes(None, height=1.05 + 0.27 * rows)
    low, high = limits or (float(numbers.min()), float(numbers.max()))
    if symmetric and limits is None:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    # Only the pale part of the blues: black letters keep their contrast on the strongest cell.
    blues = mpl.colors.ListedColormap(mpl.colormaps["Blues"](np.linspace(0.0, 0.55, 256)))
    colours = SIGNED if symmetric else blues
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(low, high), colours)
    for i, (character, value) in enumerate(zip(text, numbers, strict=True)):
        row, column = divmod(i, characters_per_line)
        axes.add_patch(
            mpl.patches.Rectangle((column, row), 1, 1, facecolor=scale.to_rgba(value), linewidth=0)
        )
        shown = "¶" if character == "\n" else character
        axes.text(
            column + 0.5,
            row + 0.5,
            shown.replace("$", r"\$"),
            ha="center",
            va="center",
            family="DejaVu Sans Mono",
            fontsize=SMALLEST_FONT + 1,
        )
    axes.set_xlim(0, characters_per_line)
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    bar = axes.figure.colorbar(scale, ax=axes, orientation="horizontal", aspect=40, pad=0.03)
    bar.set_label(with_unit("value_label", value_label))
    bar.outline.set_visible(False)
    return axes


def _axes(axes: Axes | None, height: float = 3.6) -> Axes:
    if axes is not None:
        return axes
    _, new = new_figure(height)
    return new


def _runs(name: str, values: ArrayLike, points: int) -> Array:
    """Return the values as (runs, points)."""
    runs = np.atleast_2d(np.asarray(values, dtype=float))
    if runs.ndim != 2 or runs.shape[1] != points or not len(runs):
        raise ValueError(
            f"series {name!r}: expected shape ({points},) or (runs, {points}), "
            f"got {np.shape(values)}"
        )
    return np.where(np.isfinite(runs), runs, np.nan)


def _over_runs(reduce: Any, runs: Array) -> Array:
    """Reduce over runs; a point where no run has a value stays empty, without a warning."""
    result = np.full(runs.shape[1], np.nan)
    filled = ~np.isnan(runs).all(axis=0)
    result[filled] = reduce(runs[:, filled], axis=0)
    return result


def _matrix(name: str, given: ArrayLike) -> Array:
    values = np.asarray(given, dtype=float)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"{name}: expected shape (rows, columns), got {values.shape}")
    return values


def _name_ticks(
    axes: Axes, side: Literal["x", "y"], names: Sequence[str] | None, count: int
) -> None:
    axis = axes.xaxis if side == "x" else axes.yaxis
    if names is None:
        axis.set_major_locator(mpl.ticker.MaxNLocator(8, integer=True))
        return
    if len(names) != count:
        raise ValueError(f"{side} names: expected {count}, got {len(names)}")
    axis.set_ticks(range(count), [name.replace("$", r"\$") for name in names])


def _horizontal_baselines(axes: Axes, baselines: Mapping[str, float] | None) -> None:
    for (name, height), style in zip((baselines or {}).items(), BASELINES, strict=False):
        axes.axhline(
            height, color=PALETTE["black"], linestyle=style, linewidth=1.1, label=name, zorder=2
        )
