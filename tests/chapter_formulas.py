"""Every displayed formula of a chapter is checked, and its check notices a wrong formula.

`tests/formulas/NAME.yml` lists a chapter's labelled equations. Each entry holds the TeX of the
formula, which must be what the page shows (so a formula that is changed in the page alone turns
the tests red), and mutations: pairs of code in the page and wrong code in its place. Each mutation
must make the cell that checks this formula raise an error.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.chapters import BOOK, Chapter, code_cells, tags

FOLDER = Path(__file__).parent / "formulas"
DISPLAY = re.compile(r"^\$\$\n(.*?)\n\$\$[ ]*(?:\(([\w-]+)\))?", re.DOTALL | re.MULTILINE)
# Cells that a check of a formula does not need: figures, records, long training, claims.
NOT_NEEDED = ("plt.show()", "records.load", "claims.check", "truncated_bptt.run")


@dataclass(frozen=True)
class Formula:
    """One labelled equation."""

    label: str
    tex: str
    mutations: list[tuple[str, str]]


def listed(name: str) -> list[Formula]:
    """Read the formulas that are listed for a chapter such as `recurrence/bptt`."""
    content = yaml.safe_load((FOLDER / f"{name.split('/')[-1]}.yml").read_text(encoding="utf8"))
    return [
        Formula(entry["label"], entry["tex"], [tuple(pair) for pair in entry["mutations"]])
        for entry in content
    ]


def displayed(name: str) -> dict[str, str]:
    """Return label and TeX of every display formula; one without a label has the label ""."""
    return {label: tex for tex, label in DISPLAY.findall(Chapter(name, BOOK / f"{name}.md").text)}


def same_tex(a: str, b: str) -> bool:
    """Compare two formulas without regard to white space."""
    return re.sub(r"\s+", "", a) == re.sub(r"\s+", "", b)


def cells(name: str) -> list[str]:
    """Return the code of a chapter that leads to its formulas' checks, cell by cell.

    A cell that uses what a left-out cell defines is left out as well.
    """
    found, missing = [], set[str]()
    for cell in code_cells(Chapter(name, BOOK / f"{name}.md").notebook()):
        defined, used = names_in(cell.source)
        skipped = any(word in cell.source for word in NOT_NEEDED) or used & missing
        if skipped or "nbval-ignore-output" in tags(cell):
            missing |= defined
        else:
            missing -= defined
            found.append(cell.source)
    return found


def names_in(source: str) -> tuple[set[str], set[str]]:
    """Return the names that a cell defines, and those that it uses without defining them."""
    defined, used = set[str](), set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, ast.FunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.alias):
            defined.add((node.asname or node.name).split(".")[0])
    return defined, used - defined


def run(sources: list[str], until: str = "") -> None:
    """Execute cells one after the other, up to the one that holds the text `until`."""
    import myst_nb

    names: dict[str, Any] = {"__name__": "__main__"}
    kept, myst_nb.glue = myst_nb.glue, lambda *_, **__: None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for source in sources:
                exec(compile(ast.parse(source), "cell", "exec"), names)
                if until and until in source:
                    return
    finally:
        myst_nb.glue = kept
    assert not until, f"no cell holds {until!r}"
