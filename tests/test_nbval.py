"""Every chapter runs, and puts out exactly what its reference says."""

from __future__ import annotations

import pytest

from pipeline import execute
from pipeline.chapters import Chapter, chapters, code_cells
from pipeline.execute import Run

CHAPTERS = chapters()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_every_cell_runs_and_puts_out_what_its_reference_says(
    chapter: Chapter, runs: dict[str, Run]
) -> None:
    failures = [execute.describe(chapter, failure) for failure in runs[chapter.name].failures]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_every_figure_has_words(chapter: Chapter, runs: dict[str, Run]) -> None:
    if runs[chapter.name].errors:
        pytest.skip("the chapter does not run")
    # The tags and options of the source, the outputs of the run.
    cells = zip(code_cells(chapter.notebook()), code_cells(execute.executed(chapter)), strict=True)
    problems = []
    for number, (source, ran) in enumerate(cells, 1):
        shows_picture = any(
            kind.startswith("image/") for out in ran.outputs for kind in out.get("data", {})
        )
        if shows_picture:
            problems += [f"cell {number}: {what}" for what in missing_words(source.metadata)]
    assert not problems


def missing_words(metadata: dict) -> list[str]:  # type: ignore[type-arg]
    """Return what a figure's cell lacks: meaningful alternative text, a name, a caption."""
    options = metadata.get("mystnb", {})
    alt = str(options.get("image", {}).get("alt", "")).strip()
    figure = options.get("figure", {})
    lacks = [f"the figure has no {key}" for key in ("name", "caption") if not figure.get(key)]
    if len(alt.split()) < 5 or "/" in alt.split()[0]:
        lacks.append(f"the alternative text {alt!r} does not say what the figure shows")
    return lacks


def test_a_figure_without_words_is_noticed() -> None:
    words = {"alt": "A line that falls from one to zero", "name": "fig-a", "caption": "A line."}
    image, figure = {"alt": words["alt"]}, {"name": words["name"], "caption": words["caption"]}
    assert missing_words({"mystnb": {"image": image, "figure": figure}}) == []
    assert missing_words({"mystnb": {"figure": figure}})
    assert missing_words({"mystnb": {"image": {"alt": "_images/ab12.png"}, "figure": figure}})
    assert missing_words({"mystnb": {"image": image, "figure": {"name": "fig-a"}}})
