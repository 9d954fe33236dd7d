"""The formulas of the chapter on gradients over time, and its figures of merit."""

from __future__ import annotations

import chapter_formulas as formulas
import pytest
import torch

NAME = "recurrence/gradients"
LISTED = formulas.listed(NAME)
MUTATIONS = [(f.label, old, new) for f in LISTED for old, new in f.mutations]


@pytest.fixture(autouse=True)
def restore_torch_defaults():
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    yield
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)


def test_every_displayed_formula_is_listed_as_it_is_shown():
    shown = formulas.displayed(NAME)
    assert list(shown) == [formula.label for formula in LISTED]
    for formula in LISTED:
        assert formulas.same_tex(shown[formula.label], formula.tex), formula.label
        assert formula.mutations, f"{formula.label}: no mutation"


def test_all_checks_pass_as_the_chapter_stands():
    formulas.run(formulas.cells(NAME))


@pytest.mark.parametrize(("label", "old", "new"), MUTATIONS)
def test_a_wrong_formula_is_noticed(label, old, new):
    sources = formulas.cells(NAME)
    changed = [source.replace(old, new) for source in sources]
    assert sum(a != b for a, b in zip(sources, changed, strict=True)) == 1, f"{old!r}: not one cell"
    with pytest.raises(AssertionError, match=label):
        formulas.run(changed, until=f'"{label}')
