"""Every formula that the chapter on the recurrent network prints must be able to fail.

For each labelled equation there is at least one planted error: a piece of a cell (or of the library
function that the cell runs) is changed, and the check in that cell must notice. The cells run in
the order of the chapter, without those that train, plot or read records.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import chapter_formulas as formulas
import numpy as np
import pytest
import torch
from mutants import planted

from experiments import character_rnn, state_recall
from pipeline.chapters import BOOK, Chapter, code_cells, tags
from rnnlib import tiny
from rnnlib.claims import ClaimError
from rnnlib.numpy_nets import rnn

CHAPTER = Chapter("recurrence/rnn", BOOK / "recurrence" / "rnn.md")

# A cell with one of these words trains, draws, counts n-grams or needs a record.
LEFT_OUT = (
    "WittenBell", "character_rnn.train(", "after_update", "records", "record.", "recall[", "LAGS",
    "diagrams", "charts", "memory", "texts.test", "write(model", "glue(", "CharacterModel(V)",
    "ngram_bits", "claims.check(\"C07\"", "model.parameters", "model.step", "state_recall",
)  # fmt: skip

FORMULAS = {formula.label: formula for formula in formulas.listed("recurrence/rnn")}

# Errors in the library's own step and forward, for the cells that run them.
LIBRARY = [
    ("step", "h @ p.W_h.T", "h @ p.W_h"),
    ("step", " + p.b", ""),
    ("step", "np.tanh(a_t)", "np.sin(a_t)"),
    ("step", "x_t @ p.W_x.T", "0 * (x_t @ p.W_x.T)"),
    ("forward", "h[1:] @ p.W_y.T", "h[:-1] @ p.W_y.T"),
    ("forward", "p.W_y.T + p.b_y", "p.W_y.T"),
]


def light_cells() -> list[str]:
    """Return the code of the cells that run in a moment."""
    found = []
    for cell in code_cells(CHAPTER.notebook()):
        if not any(word in cell.source for word in LEFT_OUT) and not tags(cell):
            found.append(cell.source)
    return found


def run(source: str, names: dict[str, Any]) -> None:
    """Run one cell; its prints go nowhere."""
    with redirect_stdout(io.StringIO()):
        exec(compile(source, "<cell>", "exec"), names)


def before_each_cell() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each light cell with the names that exist before it, then run it."""
    names: dict[str, Any] = {"__name__": "chapter"}
    for source in light_cells():
        yield source, dict(names)
        run(source, names)


def checks(label: str, source: str) -> bool:
    """Say whether this cell checks the equation."""
    stem = re.sub(r"-\d$", "-{step}", label)
    return f'"{label}"' in source or f'"{stem}"' in source or f"({label})" in source


@pytest.fixture(scope="module")
def cells() -> list[tuple[str, dict[str, Any]]]:
    return list(before_each_cell())


def test_every_equation_is_listed_as_the_page_shows_it() -> None:
    shown = formulas.displayed("recurrence/rnn")
    shown.pop("")  # the tiny network's weights, which have a test of their own
    assert set(shown) == set(FORMULAS)
    for label, formula in FORMULAS.items():
        assert formulas.same_tex(shown[label], formula.tex), f"{label} differs from the page"
        assert formula.mutations, f"{label} has no planted error"


def test_the_page_shows_the_weights_of_the_tiny_network() -> None:
    numbers = re.findall(r"-?\d+\.?\d*", formulas.displayed("recurrence/rnn")[""])
    weights = np.concatenate([array.ravel() for _, array in tiny.parameters().items()])
    assert [float(number) for number in numbers] == weights.tolist()


@pytest.mark.parametrize("label", FORMULAS)
def test_planted_error_is_noticed(label: str, cells: list[tuple[str, dict[str, Any]]]) -> None:
    for old, new in FORMULAS[label].mutations:
        places = [(s, names) for s, names in cells if checks(label, s) and old in s]
        assert places, f"no cell checks {label} and contains {old!r}"
        source, names = places[0]
        with pytest.raises(AssertionError):
            run(source.replace(old, new, 1), dict(names))


@pytest.mark.parametrize(("function", "old", "new"), LIBRARY)
def test_error_in_the_library_is_noticed(
    function: str, old: str, new: str, cells: list[tuple[str, dict[str, Any]]]
) -> None:
    source, names = next((s, n) for s, n in cells if '"eq-rnn-state"' in s)
    broken = {**names, "rnn": planted(rnn, function, old, new)}
    with pytest.raises(AssertionError):
        run(source, broken)


def test_claim_of_equality_can_fail(cells: list[tuple[str, dict[str, Any]]]) -> None:
    source, names = next((s, n) for s, n in cells if 'claims.check(\n    "C01"' in s)
    run(source, dict(names))
    for name, wrong in (("difference", 1e-9), ("parameters_used", lambda T: T)):
        with pytest.raises(ClaimError):
            run(source, {**names, name: wrong})


def test_numbers_on_paper_stand_in_the_equations() -> None:
    """The displayed equations and the cell that checks them show the same digits."""
    for step in (1, 2, 3):
        equation = CHAPTER.text.split(f"$$ (eq-rnn-tiny-{step})")[0].rsplit("$$", 1)[-1]
        line = re.search(rf"^    {step}: \((.*)\),$", CHAPTER.text, re.MULTILINE)
        assert line
        for number in re.findall(r"-?[\d.]+", line[1]):
            assert number in equation, f"{number} is not in the equation of step {step}"


def test_wrong_models_of_the_switch_are_no_better_than_they_look(
    cells: list[tuple[str, dict[str, Any]]],
) -> None:
    """The tiny network solves the switch because of its weights, not because of the task."""
    source, names = next((s, n) for s, n in cells if "numbers in the tiny network" in s)
    run(source, names)
    p, x, truth = (names[name] for name in ("p", "x", "truth"))
    right = (rnn.forward(p, x)[0] > 0) == (truth > 0)
    assert right.all()
    forgetful = p.copy()
    forgetful.W_h[...] = 0
    assert ((rnn.forward(forgetful, x)[0] > 0) == (truth > 0)).mean() < 0.7


@pytest.fixture(scope="module")
def texts() -> character_rnn.Texts:
    return character_rnn.load_texts()


@pytest.fixture
def ignorant(texts: character_rnn.Texts) -> character_rnn.CharacterModel:
    """A model that gives every character the same score."""
    model = character_rnn.CharacterModel(texts.vocabulary.size, E=4, H=8)
    torch.nn.init.zeros_(model.readout.weight)
    torch.nn.init.zeros_(model.readout.bias)
    return model


def test_measures_of_an_ignorant_model(
    texts: character_rnn.Texts, ignorant: character_rnn.CharacterModel
) -> None:
    uniform = np.log2(texts.vocabulary.size)
    ids = texts.test[:3001]
    assert character_rnn.bits_per_character(ignorant, ids) == pytest.approx(uniform, rel=1e-6)
    by_context = character_rnn.bits_by_context(ignorant, ids, (1, 5), targets=50)
    assert by_context == pytest.approx([uniform, uniform], rel=1e-6)


def test_context_and_dropped_state_matter(texts: character_rnn.Texts) -> None:
    torch.manual_seed(0)
    model = character_rnn.CharacterModel(texts.vocabulary.size, E=4, H=8)
    kept, dropped = (
        character_rnn.bits_per_character(model, texts.test[:3001], drop_state=drop)
        for drop in (False, True)
    )
    assert kept != dropped
    ids = texts.test[:100]
    with torch.no_grad():
        scores, _ = model(ids[:99, None])  # (99, 1, V): all of the past, ever longer
    nats = torch.nn.functional.cross_entropy(scores[-1], ids[-1:]).item()
    (bits,) = character_rnn.bits_by_context(model, ids, (99,), targets=1)
    assert bits == pytest.approx(nats / np.log(2), rel=1e-5)


def test_read_out_finds_what_is_there_and_nothing_else() -> None:
    """States that hold the last three characters give those away, and no older one."""
    ids = torch.randint(4, (300, 8), generator=torch.Generator().manual_seed(0))
    one_hot = torch.nn.functional.one_hot(ids, 4).float()  # (T, B, 4)
    past = [torch.roll(one_hot, shift, dims=0) for shift in range(3)]
    h = torch.cat(past, dim=2)  # (T, B, 12): the characters of lags 0, 1 and 2
    for lag, low, high in ((0, 1, 1), (2, 1, 1), (3, 0.1, 0.4)):
        states, characters = state_recall.pairs(ids[:200], h[:200], lag)
        readout = state_recall.fit_readout(states, characters, V=4)
        states, characters = state_recall.pairs(ids[200:], h[200:], lag)
        share = float((readout(states).argmax(1) == characters).double().mean())
        assert low <= share <= high, f"lag {lag}: {share}"


def test_distance_forgets_at_the_rate_of_the_recurrent_weights(texts: character_rnn.Texts) -> None:
    """In a linear regime with W_h = 0.8, two states approach each other by 0.8 a step."""
    model = character_rnn.CharacterModel(texts.vocabulary.size, E=4, H=8)
    with torch.no_grad():
        model.embedding.weight.mul_(1e-6)
        model.rnn.weight_hh_l0.copy_(0.8 * torch.eye(8))
        model.rnn.bias_ih_l0.zero_()
        model.rnn.bias_hh_l0.zero_()
    apart = state_recall.distances(model, texts.test)
    expected = [0.8**steps for steps in state_recall.COMMON]
    assert apart == pytest.approx(expected, rel=1e-3)
