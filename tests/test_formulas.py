"""The displayed formulas of the chapters: each one is listed, checked, and able to fail.

A chapter joins by its file `tests/formulas/NAME.yml`; see `chapter_formulas`. The chapter on the
recurrent network has its own test, because its cells run library code in which errors are planted.
"""

from __future__ import annotations

from pathlib import Path

import chapter_formulas as formulas
import pytest
import torch

from pipeline.chapters import BOOK

FILES = {path.stem for path in (Path(__file__).parent / "formulas").glob("*.yml")} - {"rnn"}
NAMES = sorted(
    path.relative_to(BOOK).with_suffix("").as_posix()
    for path in BOOK.rglob("*.md")
    if path.stem in FILES
)
LISTED = {name: formulas.listed(name) for name in NAMES}
MUTATIONS = [
    pytest.param(name, f.label, old, new, id=f"{f.label}-{number}")
    for name, listed in LISTED.items()
    for f in listed
    for number, (old, new) in enumerate(f.mutations)
]


@pytest.fixture(autouse=True)
def restore_torch_defaults():
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    yield
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)


def test_every_list_belongs_to_a_chapter_and_every_chapter_with_formulas_has_a_list():
    assert {name.split("/")[-1] for name in NAMES} == FILES
    chapters = [path for path in BOOK.rglob("*.md") if path.parent.name not in ("start", "back")]
    with_formulas = {path.stem for path in chapters if "$$ (eq-" in path.read_text("utf8")}
    assert with_formulas == FILES | {"rnn"}


@pytest.mark.parametrize("name", NAMES)
def test_every_displayed_formula_is_listed_as_it_is_shown(name):
    shown = formulas.displayed(name)
    assert list(shown) == [formula.label for formula in LISTED[name]]
    for formula in LISTED[name]:
        assert formulas.same_tex(shown[formula.label], formula.tex), formula.label
        assert formula.mutations, f"{formula.label}: no mutation"


@pytest.mark.parametrize("name", NAMES)
def test_all_checks_pass_as_the_chapter_stands(name):
    formulas.run(formulas.cells(name))


@pytest.mark.parametrize(("name", "label", "old", "new"), MUTATIONS)
def test_a_wrong_formula_is_noticed(name, label, old, new):
    sources = formulas.cells(name)
    changed = [source.replace(old, new) for source in sources]
    assert sum(a != b for a, b in zip(sources, changed, strict=True)) == 1, f"{old!r}: not one cell"
    with pytest.raises(AssertionError, match=label):
        formulas.run(changed, until=f'"{label}')
