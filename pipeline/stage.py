"""Copies the sources to where the book is built, and adds what is generated.

Nothing generated stands in the sources. In the staged copy

- `{{ seconds }}` and `{{ memory }}` become the chapter's own measured figures,
- `<!-- timings -->` becomes the table of all chapters' figures,
- `<!-- collected questions -->` becomes the exam questions of all chapters,
- `back/library.md` is written from the docstrings, `back/claims.md` from the executed chapters.
"""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from pipeline import api_pages, exam_pages, timings
from pipeline.chapters import (
    BOOK,
    BUILD,
    GENERATED_PAGES,
    ROOT,
    exists,
    listed_pages,
    missing_pages,
)
from pipeline.execute import Run, executed
from pipeline.messages import PipelineError, say

STAGE = BUILD / "stage"
CACHE = BUILD / "cache"

MARKER = re.compile(r"(?:\{\{|<!--) *(seconds|memory|timings|collected questions) *(?:\}\}|-->)")


def stage(runs: list[Run]) -> Path:
    """Write the staged copy from scratch and return its folder."""
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(BOOK, STAGE / "book", ignore=shutil.ignore_patterns("*.md", "claims.yml"))
    for name in missing_pages():
        say(f"remark: _toc.yml lists book/{name}.md, which does not exist: left out")
    _write("_config.yml", yaml.safe_dump(_configuration(), sort_keys=False, allow_unicode=True))
    _write("_toc.yml", yaml.safe_dump(_without_missing(_read("_toc.yml")), sort_keys=False))
    for name, text in pages(runs).items():
        _write(f"book/{name}.md", text)
    return STAGE


def pages(runs: list[Run]) -> dict[str, str]:
    """Return the final source of every page by name."""
    by_name = {done.chapter.name: done for done in runs}
    result = {}
    for name in listed_pages():
        if name in missing_pages():
            continue
        if name in GENERATED_PAGES:
            result[name] = _generated(name, runs)
        elif exists(name):
            done = by_name.get(name)
            if done is None:
                text = (BOOK / f"{name}.md").read_text(encoding="utf8")
            else:
                text = exam_pages.mark_questions(done.chapter)
            result[name] = _fill(text, done, runs)
    return result


def _fill(text: str, own: Run | None, runs: list[Run]) -> str:
    """Replace the markers of one page by what they stand for."""

    def value(marker: re.Match[str]) -> str:
        name = marker[1]
        if name == "timings":
            return timings.table(runs)
        if name == "collected questions":
            return exam_pages.collected((done.chapter, executed(done.chapter)) for done in runs)
        if own is None:
            raise PipelineError(f"{marker[0]} stands on a page without code: remove it")
        return timings.seconds(own) if name == "seconds" else timings.memory(own)

    return MARKER.sub(value, text)


def _generated(name: str, runs: list[Run]) -> str:
    if name == "back/library":
        return api_pages.page()
    ledger = importlib.import_module("pipeline.ledger")
    return str(ledger.page({done.chapter.name: executed(done.chapter) for done in runs}))


def _configuration() -> dict[str, Any]:
    configuration = _read("_config.yml")
    # The staged copy lies elsewhere, so paths are written out.
    configuration["execute"]["cache"] = str(CACHE)
    extensions = configuration.get("sphinx", {}).get("local_extensions", {})
    for extension, path in extensions.items():
        extensions[extension] = str((ROOT / path).resolve())
    return configuration


def _read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf8"))


def _without_missing(node: Any) -> Any:
    """Return the table of contents without the pages that do not exist."""
    left_out = {f"book/{name}" for name in missing_pages()}
    if isinstance(node, dict):
        kept = {key: _without_missing(value) for key, value in node.items()}
        kept = {key: value for key, value in kept.items() if value != []}
        is_page, has_pages = {"file", "root"} & set(kept), {"chapters", "sections"} & set(kept)
        return kept if is_page or has_pages else None
    if isinstance(node, list):
        children = [c for c in node if not (isinstance(c, dict) and c.get("file") in left_out)]
        return [kept for kept in map(_without_missing, children) if kept]
    return node


def _write(name: str, text: str) -> None:
    path = STAGE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf8")
