"""How long each chapter runs and how much memory it takes, from its last nbval run.

    python -m pipeline.timings      print the table

`pipeline/stage.py` puts the figures into the pages.
"""

from __future__ import annotations

from pipeline.chapters import chapters
from pipeline.execute import Run, last_run
from pipeline.messages import run, say

CHAPTER_SECONDS = 60
CHAPTER_BYTES = 2e9
BOOK_SECONDS = 12 * 60
# A noisy machine may take twice as long before the budget counts as broken.
NOISE = 2


def seconds(done: Run) -> str:
    """Return a run time as a reader wants it."""
    return "less than 1 s" if done.seconds < 1 else f"{done.seconds:.0f} s"


def memory(done: Run) -> str:
    """Return a peak memory as a reader wants it."""
    if not done.peak_bytes:
        return "an unknown amount"
    return f"{done.peak_bytes / 1e6:.0f} MB"


def table(runs: list[Run]) -> str:
    """Return a Markdown table of all chapters."""
    rows = ["| Chapter | Run time | Peak memory |", "| --- | ---: | ---: |"]
    rows += [f"| {title(done.chapter.text)} | {seconds(done)} | {memory(done)} |" for done in runs]
    total = sum(done.seconds for done in runs)
    rows.append(f"| **The whole book**, one chapter after the other | **{total:.0f} s** | |")
    return "\n".join(rows)


def title(text: str) -> str:
    """Return a page's first heading."""
    return next((line[2:].strip() for line in text.splitlines() if line.startswith("# ")), "")


def over_budget(runs: list[Run]) -> list[str]:
    """Return every broken budget of time and memory in words (empty: none)."""
    broken = []
    for done in runs:
        name = f"book/{done.chapter.name}.md"
        if done.seconds > NOISE * CHAPTER_SECONDS:
            limit = f"{CHAPTER_SECONDS} s ({NOISE} times that on a noisy machine)"
            broken.append(f"{name} runs {done.seconds:.0f} s, its budget is {limit}")
        if done.peak_bytes > CHAPTER_BYTES:
            broken.append(f"{name} needs {done.peak_bytes / 1e9:.1f} GB, its budget is 2 GB")
    total = sum(done.seconds for done in runs)
    if total > NOISE * BOOK_SECONDS:
        broken.append(
            f"the book runs {total / 60:.0f} minutes, its budget is 12 (twice with noise)"
        )
    return broken


def main() -> int:
    """Print run time and memory of every chapter, the longest first."""
    found = {chapter.name: last_run(chapter, compared=False) for chapter in chapters()}
    runs = [done for done in found.values() if done]
    for done in sorted(runs, key=lambda done: -done.seconds):
        say(f"{done.seconds:8.1f} s {done.peak_bytes / 1e6:8.0f} MB   {done.chapter.name}")
    say(f"{sum(done.seconds for done in runs):8.1f} s               the whole book")
    for name in sorted(name for name, done in found.items() if not done):
        say(f"not up to date, run `make nbval`: {name}")
    for line in over_budget(runs):
        say(f"over budget: {line}")
    return 0


if __name__ == "__main__":
    run(main)
