"""One look for every figure of the book.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with the common
kinds of colour blindness can tell apart. Colour never stands alone: every series also has its own
line style and marker, so that a grey print says the same. A figure is 6.4 inches wide with text of
11 points or more: scaled to the 350 pixels of a phone its smallest letters are still about 8 pixels
high. The background is opaque and nearly white, so figures also work on a dark page.
"""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 6.4
"""Width of every figure, inches."""

DPI = 150
"""Pixels an inch: 960 pixels across, sharp on a desktop page of 740."""

SMALLEST_FONT = 11.0
"""No text of any figure is smaller than this, points."""

PALETTE = {
    "black": "#1A1A1A",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "rust": "#B24A00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "orange": "#E69F00",
    "grey": "#6B6B6B",
    "paper": "#FCFCFA",
    "rule": "#D9D9D6",
}
"""The colours by name; rust is vermillion dark enough for letters."""


class Series(NamedTuple):
    """How one series is drawn."""

    colour: str
    line_style: Any
    marker: str


SERIES = (
    Series(PALETTE["blue"], "-", "o"),
    Series(PALETTE["vermillion"], "--", "s"),
    Series(PALETTE["green"], "-.", "^"),
    Series(PALETTE["black"], (0, (1, 1.2)), "D"),
    Series(PALETTE["purple"], (0, (5, 1.5, 1, 1.5, 1, 1.5)), "v"),
    Series(PALETTE["orange"], (0, (7, 2)), "P"),
    Series(PALETTE["sky"], (0, (3, 1, 1, 1)), "X"),
)
"""The series of a chart in the order in which they are used."""

SEQUENTIAL = "cividis"
"""Colour map for all values: lighter is more, in even steps; safe for colour-blind readers."""

SIGNED = mpl.colors.LinearSegmentedColormap.from_list("signed", ["#5B9BD0", "#CFCFCF", "#FFF3B0"])
"""Pale colour map for the background of text: blue is negative, yellow positive; lighter is more,
so that the sign survives grey print, where the usual red-and-blue maps lose it."""


def use_style() -> None:
    """Set matplotlib's defaults for this process to the book's; in a notebook, the frontend's too.

    Jupyter crops every figure to its ink, each to another width, so that the same font size would
    look different from figure to figure. This turns the cropping off.
    """
    if "ipykernel" in sys.modules:  # which brings matplotlib_inline along
        from matplotlib_inline.config import InlineBackend

        uncropped: dict[str, Any] = {"bbox_inches": None}
        with warnings.catch_warnings():  # its own listener is written in an old style
            warnings.simplefilter("ignore", DeprecationWarning)
            InlineBackend.instance().print_figure_kwargs = uncropped
    black, grey, paper = PALETTE["black"], PALETTE["grey"], PALETTE["paper"]
    looks = {"color": [s.colour for s in SERIES], "linestyle": [s.line_style for s in SERIES]}
    mpl.rc("figure", figsize=(WIDTH, 3.6), dpi=DPI, facecolor=paper)
    mpl.rc("figure.constrained_layout", use=True, w_pad=0.08, h_pad=0.08)
    mpl.rc("savefig", dpi=DPI, facecolor=paper)
    mpl.rc("font", family="DejaVu Sans", size=12)
    mpl.rc("mathtext", fontset="stix")
    mpl.rc("text", color=black)
    mpl.rc("axes", facecolor=paper, edgecolor=grey, labelcolor=black, labelsize=12, titlesize=12)
    mpl.rc("axes", titlelocation="left", grid=True, axisbelow=True, prop_cycle=cycler(**looks))
    mpl.rc("axes.spines", top=False, right=False)
    mpl.rc("grid", color=PALETTE["rule"], linewidth=0.7)
    mpl.rc("xtick", labelsize=SMALLEST_FONT, color=grey, labelcolor=black)
    mpl.rc("ytick", labelsize=SMALLEST_FONT, color=grey, labelcolor=black)
    mpl.rc("lines", linewidth=2.0, markersize=6)
    mpl.rc("legend", frameon=False, fontsize=SMALLEST_FONT, handlelength=2.8)
    mpl.rc("image", cmap=SEQUENTIAL)


def new_figure(height: float = 3.6, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """Open a figure of the book's width in the book's style.

    Args:
        height: inches.
        rows: charts above each other.
        columns: charts side by side; two still read well on a phone, three do not.

    Returns:
        the figure, and its `Axes` (an array of them where there are several).

    Raises:
        ValueError: a height that is not positive, or fewer than one row or column.
    """
    given, wanted = (height, rows, columns), "a positive height and at least 1 row and column"
    expect(height > 0 and rows >= 1 and columns >= 1, "height, rows, columns", wanted, given)
    use_style()
    return plt.subplots(rows, columns, figsize=(WIDTH, height))


def label_axes(axes: Axes, x_label: str, y_label: str) -> None:
    """Write what stands on the axes; each label ends with its unit in brackets.

    Examples of labels: `"lag (steps)"`, `"loss (bits per character)"`, `"accuracy (0 to 1)"`.

    Raises:
        ValueError: a label has no unit.
    """
    axes.set_xlabel(with_unit("x_label", x_label))
    axes.set_ylabel(with_unit("y_label", y_label))


def with_unit(name: str, label: str) -> str:
    """Return `label` if it ends with a unit in brackets.

    Raises:
        ValueError: it does not; `name` is the argument that the message names.
    """
    wanted = "a quantity with its unit, such as 'lag (steps)' or 'accuracy (0 to 1)'"
    expect(re.fullmatch(r"(?s)\S.*\s\(.+\)", label), name, wanted, repr(label))
    return label


def expect(holds: object, name: str, wanted: str, given: object) -> None:
    """Raise ValueError unless `holds`: the argument `name` should be `wanted`, but is `given`."""
    if not holds:
        raise ValueError(f"{name}: expected {wanted}, got {given}")
