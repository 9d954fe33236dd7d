"""Figures: legible, inside their frame, nothing on top of anything, readable in grey."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from rnnlib.figures import charts, diagrams, style

DIAGRAMS: dict[str, Callable[[], Figure]] = {
    "folded_and_unrolled": diagrams.folded_and_unrolled,
    "backpropagation_through_time": diagrams.backpropagation_through_time,
    "truncated_windows": diagrams.truncated_windows,
    "rnn_cell": diagrams.rnn_cell,
    "step_shapes": diagrams.step_shapes,
    "step_shapes_tiny": lambda: diagrams.step_shapes(hidden=2, inputs=1),
    "step_shapes_wide": lambda: diagrams.step_shapes(hidden=5, inputs=5),
    "sequence_shapes": diagrams.sequence_shapes,
    "lstm_cell": diagrams.lstm_cell,
    "gru_cell": diagrams.gru_cell,
    "bidirectional": diagrams.bidirectional,
    "stacked": diagrams.stacked,
    "attention": diagrams.attention,
    "encoder_decoder": diagrams.encoder_decoder,
    "transformer_block": diagrams.transformer_block,
    "road_map": diagrams.road_map,
    "road_map_started": lambda: diagrams.road_map({"recurrence/rnn", "gates/lstm"}),
}


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    plt.close("all")


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Every text that is really drawn, with its box in pixels."""
    figure.draw_without_rendering()
    hidden: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            labels = {label for tick in ticks for label in (tick.label1, tick.label2)}
            # Ticks outside the limits keep their labels, but matplotlib does not draw them.
            shown = axis._update_ticks()  # type: ignore[attr-defined]
            drawn = {label for tick in shown for label in (tick.label1, tick.label2)}
            hidden |= labels - (drawn if axes.axison else set())
            hidden |= set() if axes.axison else {axis.label}
    found = [a for a in figure.findobj(Text) if a.get_visible() and a.get_text().strip()]  # type: ignore[attr-defined]
    return [(t, t.get_window_extent()) for t in found if t not in hidden]  # type: ignore[misc]


def assert_legible(figure: Figure) -> None:
    width, height = figure.get_size_inches() * figure.dpi
    assert figure.get_size_inches()[0] == style.WIDTH
    boxes = texts(figure)
    assert boxes
    for text, box in boxes:
        assert text.get_fontsize() >= style.SMALLEST_FONT, f"too small: {text.get_text()}"
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"outside the figure: {text.get_text()}"
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        up = min(a.y1, b.y1) - max(a.y0, b.y0)
        clear = across <= 0.5 or up <= 0.5
        assert clear, f"overlap: {one.get_text()!r} and {two.get_text()!r}"


@pytest.mark.parametrize("name", DIAGRAMS)
def test_diagram_text_is_legible(name: str) -> None:
    assert_legible(DIAGRAMS[name]())


@pytest.mark.parametrize("name", DIAGRAMS)
def test_no_line_runs_through_a_text(name: str) -> None:
    figure = DIAGRAMS[name]()
    boxes = texts(figure)
    (axes,) = figure.axes
    for arrow in axes.findobj(FancyArrowPatch):
        # The arrow's spine as a dense row of points, in pixels.
        line = axes.transData.transform_path(arrow._path_original)  # type: ignore[attr-defined]
        (points,) = [np.concatenate([p[:1], p]) for p in line.to_polygons(closed_only=False)]
        dense = np.concatenate([np.linspace(a, b, 200) for a, b in itertools.pairwise(points)])
        for text, box in boxes:
            hit = (
                (dense[:, 0] > box.x0) & (dense[:, 0] < box.x1)
                & (dense[:, 1] > box.y0) & (dense[:, 1] < box.y1)
            )  # fmt: skip
            assert not hit.any(), f"an arrow crosses {text.get_text()!r}"


@pytest.mark.parametrize("name", DIAGRAMS)
def test_text_fits_into_its_shape(name: str) -> None:
    figure = DIAGRAMS[name]()
    boxes = texts(figure)
    (axes,) = figure.axes
    shapes = [
        patch.get_window_extent()
        for patch in axes.patches
        if not isinstance(patch, FancyArrowPatch | Rectangle) and patch.get_fill()
    ]
    assert shapes or name.startswith("step_shapes")
    for text, box in boxes:
        middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        for shape in shapes:
            if shape.contains(*middle):
                fits = shape.x0 <= box.x0 and box.x1 <= shape.x1
                fits = fits and shape.y0 <= box.y0 and box.y1 <= shape.y1
                assert fits, f"{text.get_text()!r} sticks out of its shape"


@pytest.mark.parametrize("name", DIAGRAMS)
def test_shapes_do_not_overlap(name: str) -> None:
    figure = DIAGRAMS[name]()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    shapes = [
        patch.get_window_extent()
        for patch in figure.axes[0].patches
        if not isinstance(patch, FancyArrowPatch | Rectangle) and patch.get_fill()
    ]
    for box in shapes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    for a, b in itertools.combinations(shapes, 2):
        assert not (min(a.x1, b.x1) > max(a.x0, b.x0) and min(a.y1, b.y1) > max(a.y0, b.y0))


def test_the_checks_can_fail() -> None:
    canvas = diagrams.Canvas(2.0)
    canvas.text(1, 1, "one")
    canvas.text(1.1, 1, "two")
    with pytest.raises(AssertionError, match="overlap"):
        assert_legible(canvas.figure)
    canvas = diagrams.Canvas(2.0)
    canvas.text(0.05, 1, "outside")
    with pytest.raises(AssertionError, match="outside the figure"):
        assert_legible(canvas.figure)
    canvas = diagrams.Canvas(2.0)
    canvas.axes.text(1, 1, "small", fontsize=8)
    with pytest.raises(AssertionError, match="too small"):
        assert_legible(canvas.figure)


def test_diagrams_refuse_what_does_not_fit() -> None:
    for arguments in ((0, 3), (3, 6)):
        with pytest.raises(ValueError, match="hidden, inputs: expected"):
            diagrams.step_shapes(*arguments)
    with pytest.raises(ValueError, match="recurrence/other"):
        diagrams.road_map({"recurrence/other"})


def test_one_direction_runs_right_and_the_other_left() -> None:
    figure = diagrams.bidirectional()
    (axes,) = figure.axes
    ways: dict[str, set[tuple[float, bool]]] = {"right": set(), "left": set()}
    for arrow in axes.findobj(FancyArrowPatch):
        (x0, y0), (x1, y1) = arrow._path_original.vertices[[0, -1]]  # type: ignore[attr-defined]
        if y0 == y1:
            ways["right" if x1 > x0 else "left"].add((float(y0), bool(x1 > x0)))
    (forward,), (backward,) = ways["right"], ways["left"]  # each direction has one row
    names = {t.get_text(): t.get_position()[1] for t, _ in texts(figure)}
    assert names["hidden[-2]"] == forward[0] < names["hidden[-1]"] == backward[0]


def test_the_road_shows_what_is_written() -> None:
    def dashed(figure: Figure) -> int:
        return [p.get_linestyle() for p in figure.axes[0].findobj(FancyBboxPatch)].count("--")  # type: ignore[attr-defined]

    chapters = sum(len(names) for _, _, names in diagrams._ROAD)
    assert dashed(diagrams.road_map()) == 0
    # One more than the chapters left to write: the sample in the legend.
    assert dashed(diagrams.road_map({"recurrence/rnn", "gates/lstm"})) == chapters - 2 + 1


# Style


def grey(colour: str) -> float:
    """Return how light a colour is in grey print: 0 is black, 1 is white (CIE lightness / 100)."""
    channels = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return 1.16 * np.cbrt(luminance) - 0.16 if luminance > 0.008856 else 9.033 * luminance


def test_importing_the_library_leaves_matplotlib_alone() -> None:
    code = "import rnnlib, rnnlib.figures, sys; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


def test_series_differ_without_colour() -> None:
    looks = {(str(s.line_style), s.marker) for s in style.SERIES}
    assert len(looks) == len(style.SERIES) == len({str(s.line_style) for s in style.SERIES})
    for series in style.SERIES:  # visible on paper: WCAG asks for a contrast of graphics of 3
        assert grey(series.colour) < 0.75


def test_signed_colours_rise_in_grey() -> None:
    for colour_map in (style.SIGNED, mpl.colormaps[style.SEQUENTIAL]):
        lightness = [grey(mpl.colors.to_hex(colour_map(v))) for v in np.linspace(0, 1, 20)]
        assert all(b > a for a, b in itertools.pairwise(lightness))
    # Black letters on the darkest cell keep a contrast of 4.5 (WCAG AA): lightness over 0.5.
    assert grey(mpl.colors.to_hex(style.SIGNED(0.0))) > 0.55


def test_grey_is_lightness() -> None:
    assert grey("black") == 0 and grey("white") == pytest.approx(1)
    assert grey("#777777") == pytest.approx(0.5, abs=0.01)


def test_a_notebook_does_not_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib_inline.config import InlineBackend

    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    style.use_style()
    assert InlineBackend.instance().print_figure_kwargs == {"bbox_inches": None}


def test_labels_need_units() -> None:
    _, axes = style.new_figure()
    style.label_axes(axes, "lag (steps)", "loss (bits per character)")
    for bad in ("lag", "", "(steps)", "lag(steps)", "lag ()"):
        with pytest.raises(ValueError, match="x_label: expected"):
            style.label_axes(axes, bad, "loss (nats)")
    with pytest.raises(ValueError, match="height, rows, columns"):
        style.new_figure(height=0)


# Charts

RANDOM = np.random.default_rng(0)
STEPS = np.arange(10)
LABELS = {"x_label": "time (steps)", "y_label": "loss (nats)"}


def example_charts() -> dict[str, Callable[[], Axes]]:
    runs = {"tanh": RANDOM.random((3, 10)), "LSTM": RANDOM.random(10) + 1}
    return {
        "lines": lambda: charts.lines(STEPS, runs, baselines={"guess": 0.5}, **LABELS),
        "runs": lambda: charts.lines(STEPS + 1, runs, spread="runs", log_x=True, **LABELS),
        "learning": lambda: charts.learning_curves(STEPS, runs, y_label="loss (nats)", smooth=3),
        "ruler": lambda: charts.memory_ruler({"tanh": 0.5 ** np.arange(40)}),
        "bars": lambda: charts.bars(
            {"a long name of a model": [0.2, 0.3], "b": 0.4},
            x_label="accuracy (0 to 1)", baselines={"chance": 0.1, "bag of words": 0.3},
        ),
        "heat": lambda: charts.heat_map(
            RANDOM.normal(size=(3, 5)), x_label="input (character)", y_label="unit (number)",
            value_label="state (−1 to 1)", column_names=list("a $b."), symmetric=True,
        ),
        "text": lambda: charts.coloured_text(
            "costs $5\nor less", np.arange(16.0), value_label="surprise (bits)",
            characters_per_line=10,
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", example_charts())
def test_charts_are_legible(name: str) -> None:
    assert_legible(example_charts()[name]().figure)  # type: ignore[arg-type]


def test_lines_show_median_and_range() -> None:
    runs = np.array([[1.0, 1, 1], [2, 9, np.nan], [6, 3, np.inf]])
    axes = charts.lines([0, 1, 2], {"a": runs}, baselines={"guess": 0.5}, **LABELS)
    median, baseline = axes.get_lines()
    assert median.get_ydata().tolist() == [2, 3, 1]  # type: ignore[union-attr]
    assert list(baseline.get_ydata()) == [0.5, 0.5]  # type: ignore[arg-type]
    (area,) = axes.collections
    heights = area.get_paths()[0].vertices[:, 1]  # type: ignore[index]
    assert heights.min() == 1 and heights.max() == 9
    many = charts.lines([0, 1, 2], {"a": runs}, spread="runs", **LABELS)
    assert len(many.get_lines()) == 4 and not many.collections


def test_smoothing_is_a_mean_of_neighbours() -> None:
    axes = charts.learning_curves([0, 1, 2, 3], {"a": [0, 3, 6, 0]}, y_label="l (nats)", smooth=3)
    (line,) = axes.get_lines()
    assert np.allclose(line.get_xdata(), [1, 2]) and np.allclose(line.get_ydata(), [3, 3])  # type: ignore[arg-type]


def test_the_ruler_starts_at_one_and_leaves_out_underflow() -> None:
    axes = charts.memory_ruler({"a": [4.0, 2.0, 0.0]})
    (line,) = axes.get_lines()
    values = np.asarray(line.get_ydata(), dtype=float)
    assert values[:2].tolist() == [1, 0.5] and np.isnan(values[2])
    assert axes.get_yscale() == "log"


def test_bars_show_the_median_and_every_seed() -> None:
    axes = charts.bars({"a": [1.0, 2.0, 9.0]}, x_label="loss (nats)")
    assert axes.patches[0].get_width() == 2  # type: ignore[attr-defined]
    assert sorted(axes.get_lines()[0].get_xdata()) == [1, 2, 9]  # type: ignore[call-overload]


def test_symmetric_maps_put_zero_in_the_middle() -> None:
    axes = charts.heat_map(
        [[-1.0, 3.0]], x_label="x (a)", y_label="y (b)", value_label="v (c)", symmetric=True
    )
    assert axes.images[0].get_clim() == (-3, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: charts.lines([], {"a": []}, **LABELS), "x: expected"),
        (lambda: charts.lines(STEPS, {}, **LABELS), "series: expected"),
        (lambda: charts.lines(STEPS, {str(i): STEPS for i in range(8)}, **LABELS), "series: exp"),
        (lambda: charts.lines(STEPS, {"a": STEPS[1:]}, **LABELS), "series 'a': expected"),
        (lambda: charts.lines(STEPS, {"a": STEPS}, spread="std", **LABELS), "spread: expected"),
        (
            lambda: charts.lines(
                STEPS, {"a": STEPS}, baselines={str(i): i for i in range(4)}, **LABELS
            ),
            "baselines: expected",
        ),
        (lambda: charts.lines(STEPS, {"a": STEPS}, x_label="t", y_label="l (n)"), "x_label"),
        (
            lambda: charts.learning_curves(STEPS, {"a": STEPS}, y_label="l (nats)", smooth=0),
            "smooth: expected",
        ),
        (lambda: charts.memory_ruler({"a": [0.0, 1.0]}), "positive norms"),
        (lambda: charts.memory_ruler({"a": [1.0], "b": [1.0, 2.0]}), "norms: expected"),
        (lambda: charts.bars({}, x_label="loss (nats)"), "values: expected at least one"),
        (lambda: charts.bars({"a": np.nan}, x_label="loss (nats)"), "finite"),
        (
            lambda: charts.heat_map([1.0], x_label="x (a)", y_label="y (b)", value_label="v (c)"),
            "matrix: expected",
        ),
        (
            lambda: charts.heat_map(
                [[1.0, 2.0]], x_label="x (a)", y_label="y (b)", value_label="v (c)",
                column_names=["one"],
            ),
            "x names: expected 2, got 1",
        ),
        (lambda: charts.coloured_text("ab", [1.0], value_label="v (bits)"), "values: expected"),
        (lambda: charts.coloured_text("a", [1.0], value_label="v"), "value_label"),
    ],
)  # fmt: skip
def test_charts_refuse(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
