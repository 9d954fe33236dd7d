"""The committed executed notebooks that nbval compares with.

A reference holds a chapter's code cells, their tags and their text outputs. Prose is left out, so
that a reworded sentence needs no new reference; pictures are replaced by a word, so that the
files stay small; outputs that nbval does not compare are left out, so that two runs of
`make references` write the same file.
"""

from __future__ import annotations

import hashlib
import re
from difflib import SequenceMatcher
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from pipeline.chapters import REFERENCES, ROOT, Chapter, code_cells, tags
from pipeline.harvest import NOT_COMPARED, write_whole

PICTURE = "a picture, not compared"
IGNORE = "nbval-ignore-output"


def path_of(chapter: Chapter) -> Path:
    """Return where a chapter's reference lies."""
    return REFERENCES / f"{chapter.name}.ipynb"


def digest(chapter: Chapter) -> str:
    """Return a hash of a chapter's reference, or an empty string where there is none."""
    path = path_of(chapter)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def read(chapter: Chapter) -> NotebookNode | None:
    """Return a chapter's reference, or None where there is none."""
    path = path_of(chapter)
    return nbformat.read(path, as_version=4) if path.is_file() else None


def write(chapter: Chapter, executed: NotebookNode) -> bool:
    """Store the outputs of an executed chapter as its reference; say whether the file changed."""
    reference = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        }
    )
    for number, cell in enumerate(code_cells(executed), 1):
        stored = nbformat.v4.new_code_cell(
            source=cell.source,
            metadata={"tags": tags(cell)} if tags(cell) else {},
            execution_count=number,
            outputs=[] if IGNORE in tags(cell) else [_stored(out) for out in cell.outputs],
        )
        stored["id"] = f"cell-{number:03d}"
        reference.cells.append(stored)
    text = nbformat.writes(reference) + "\n"
    path = path_of(chapter)
    if path.is_file() and path.read_text(encoding="utf8") == text:
        return False
    write_whole(path, text)
    return True


def _stored(output: NotebookNode) -> NotebookNode:
    output = nbformat.from_dict(output)
    if "data" in output:
        for kind, payload in list(output.data.items()):
            if kind in NOT_COMPARED and not kind.startswith("image/"):
                del output.data[kind]
            elif kind.startswith(("image/", "audio/", "video/")):
                output.data[kind] = PICTURE
            elif isinstance(payload, str):
                output.data[kind] = sanitize(payload)
    if "text" in output:
        output.text = sanitize(output.text)
    if output.output_type == "error":
        output.traceback = []
    return output


def sanitize(text: str) -> str:
    """Blank what may differ between two runs, with the patterns that nbval uses."""
    from nbval.plugin import get_sanitize_patterns

    patterns = (ROOT / "tests" / "nbval_sanitize.cfg").read_text(encoding="utf8")
    for pattern, replacement in get_sanitize_patterns(patterns):
        text = re.sub(pattern, replacement, text)
    return text


def with_expected_outputs(chapter: Chapter) -> NotebookNode:
    """Return a chapter's code with the outputs that its reference expects of it.

    An edited cell is compared with the outputs it had before the edit. A new cell keeps no
    execution count, which tells nbval to run it without a comparison; `problems` reports both.
    """
    notebook = chapter.notebook()
    notebook.cells = code_cells(notebook)
    notebook.metadata = nbformat.from_dict({"kernelspec": notebook.metadata["kernelspec"]})
    known = code_cells(read(chapter) or nbformat.v4.new_notebook())
    before, after = ([cell.source for cell in cells] for cells in (known, notebook.cells))
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for _, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        for old, new in zip(range(old_start, old_end), range(new_start, new_end), strict=False):
            cell, expected = notebook.cells[new], known[old]
            cell.outputs, cell.execution_count = expected.outputs, expected.execution_count
    return notebook


def problems(chapter: Chapter) -> list[str]:
    """Return what is out of step between a chapter and its reference (empty: nothing)."""
    source, reference = f"book/{chapter.name}.md", read(chapter)
    if reference is None:
        return [f"{source} has no reference: run `make references`"]
    ours, theirs = code_cells(chapter.notebook()), code_cells(reference)
    found = []
    if len(ours) != len(theirs):
        found.append(f"{source} has {len(ours)} code cells, its reference has {len(theirs)}")
    for number, (cell, expected) in enumerate(zip(ours, theirs, strict=False), 1):
        if cell.source != expected.source:
            found.append(f"{source}, cell {number}: the code differs from its reference")
        if tags(cell) != tags(expected):
            found.append(f"{source}, cell {number}: the tags differ from its reference")
    found += [
        f"{source}, cell {number}: its reference was never executed, so nbval compares nothing"
        for number, cell in enumerate(theirs, 1)
        if cell.execution_count is None
    ]
    return [f"{line} (run `make references`)" for line in found]


def orphans(all_chapters: list[Chapter]) -> list[str]:
    """Return references whose chapter no longer exists."""
    wanted = {path_of(chapter) for chapter in all_chapters}
    return sorted(
        str(path.relative_to(ROOT)) for path in REFERENCES.rglob("*.ipynb") if path not in wanted
    )
