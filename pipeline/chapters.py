"""Where things lie, and what the chapters are.

A page is a Markdown file under `book/` that `_toc.yml` lists; a chapter is a page with code.
Everything else in the pipeline asks this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
BUILD = ROOT / "_build"
EXECUTED = BUILD / "executed"
REFERENCES = ROOT / "tests" / "reference"

# These pages have no source of their own: pipeline/stage.py writes them.
GENERATED_PAGES = ("back/claims", "back/library")
LEDGER = ROOT / "pipeline" / "ledger.py"

# Twelve parts of a chapter, in order; the last one has three headings.
CONTRACT = (
    "What you will be able to do",
    "In plain words",
    "Predict, then a failure",
    "The mathematics",
    "The code",
    "From scratch, then the standard",
    "Experiments",
    "What goes wrong",
    "Exam corner",
    "Whiteboard self-test",
    "Exercises",
    "Takeaways",
    "Terms",
    "Sources",
)
PROJECT_MAY_OMIT = ("The mathematics", "From scratch, then the standard", "Whiteboard self-test")
PARTS_WITH_CONTRACT = ("recurrence", "gates", "beyond", "practice", "applications")


@dataclass(frozen=True)
class Chapter:
    """One page that has code cells."""

    name: str
    """Path under `book/` without the suffix, for example `recurrence/rnn`."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf8")

    def notebook(self) -> NotebookNode:
        """Read the chapter with the very reader that the book build uses."""
        from myst_nb.core.read import read_myst_markdown_notebook

        notebook = read_myst_markdown_notebook(self.text, path=str(self.path))
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number:03d}"
        return notebook

    @property
    def header(self) -> dict[str, Any]:
        """Return the YAML block at the top of the file."""
        match = re.match(r"---\n(.*?)\n---\n", self.text, re.DOTALL)
        return yaml.safe_load(match[1]) if match else {}

    @property
    def runs_alone(self) -> bool:
        """Say whether nothing else may run beside this chapter, because it measures time."""
        return bool(self.header.get("runs_alone"))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells of a notebook in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return list(cell.metadata.get("tags", []))


def listed_pages() -> list[str]:
    """Return every page that `_toc.yml` lists, as a name under `book/`, in reading order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    return [entry.removeprefix("book/") for entry in _entries(toc)]


def _entries(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for child in node:
            yield from _entries(child)
    elif isinstance(node, dict):
        for key in ("root", "file"):
            if key in node:
                yield str(node[key])
        for key in ("parts", "chapters", "sections"):
            yield from _entries(node.get(key, []))


def missing_pages() -> list[str]:
    """Return the listed pages that have neither a source nor a generator."""
    generated = [name for name in GENERATED_PAGES if name != "back/claims" or LEDGER.is_file()]
    return [name for name in listed_pages() if name not in generated and not exists(name)]


def exists(name: str) -> bool:
    """Say whether a page has a source file."""
    return (BOOK / f"{name}.md").is_file()


def chapters() -> list[Chapter]:
    """Return the listed pages that have code cells, in reading order."""
    found = [Chapter(name, BOOK / f"{name}.md") for name in listed_pages() if exists(name)]
    return [chapter for chapter in found if "```{code-cell}" in chapter.text]
