"""Time and memory of the chapters. The figures come from the nbval run, so nothing runs twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import timings
from pipeline.chapters import Chapter
from pipeline.execute import Run


def test_chapters_keep_their_budgets(runs: dict[str, Run]) -> None:
    assert timings.over_budget(list(runs.values())) == []


def test_memory_was_measured(runs: dict[str, Run]) -> None:
    assert all(done.peak_bytes > 30e6 for done in runs.values() if not done.errors)


@pytest.mark.parametrize(
    ("seconds", "peak_bytes", "words"),
    [(121, 1e9, "runs 121 s"), (1, 2.1e9, "needs 2.1 GB")],
)
def test_a_broken_budget_is_noticed(seconds: float, peak_bytes: float, words: str) -> None:
    chapter = Chapter("recurrence/slow", Path("slow.md"))
    (told,) = timings.over_budget([Run(chapter, seconds=seconds, peak_bytes=int(peak_bytes))])
    assert words in told
    assert timings.over_budget([Run(chapter, seconds=119, peak_bytes=int(1.9e9))]) == []


def test_the_whole_book_has_a_budget_too() -> None:
    chapter = Chapter("recurrence/slow", Path("slow.md"))
    (told,) = timings.over_budget([Run(chapter, seconds=119)] * 13)
    assert "the book runs" in told
