"""The ledger refuses what is badly written, and a claim fails loudly when it is not supported."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from rnnlib import claims

GOOD = """
- id: C90
  kind: exact
  chapter: recurrence/rnn
  common: The same weights serve every step, so $T$ does not matter.
  careful: The number of parameters is <independent> of `T` {cite}`elman1990`.
  checks:
    difference: {low: 0, high: 1e-12, unit: "", says: largest difference to `torch.nn.RNN`}
    ratio: {low: 0.5, high: .inf, unit: times, says: how much *larger* it is}
  verdict: holds with conditions
  published: BLEU 17.82 [cho2014properties]; a * b * c
  sources: [elman1990]
- id: C91
  kind: cited
  chapter: index
  common: They were replaced.
  careful: Mostly, since 2017.
  sources: [vaswani2017]
- id: C92
  kind: measured
  chapter: gates/lstm
  common: Not settled yet.
  careful: Still open.
  planned: true
  sources: []
"""


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "claims.yml"
    path.write_text(GOOD, encoding="utf-8")
    monkeypatch.setattr(claims, "claims_file", lambda: path)
    return path


def rewrite(path: Path, **changes: object) -> None:
    """Change fields of the first entry; None removes a field."""
    entries = yaml.load(GOOD, Loader=claims._StrictLoader)
    for key, value in changes.items():
        if value is None:
            del entries[0][key]
        else:
            entries[0][key] = value
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")


def test_values_inside_their_intervals_give_a_result(ledger: Path) -> None:
    result = claims.check("C90", difference=1e-15, ratio=2)
    assert repr(result) == "C90: holds with conditions"
    bundle = result._repr_mimebundle_()
    assert bundle["text/plain"] == repr(result)
    record = json.loads(json.dumps(bundle[claims.CLAIM_MEDIA_TYPE], allow_nan=False))
    assert record["id"] == "C90" and record["kind"] == "exact"
    assert record["verdict"] == "holds with conditions"
    assert record["values"]["difference"]["value"] == 1e-15
    assert record["values"]["difference"]["high"] == 1e-12
    assert record["values"]["ratio"]["high"] is None


@pytest.mark.parametrize("value", [0, 1e-12, 0.0])
def test_both_ends_belong_to_the_interval(ledger: Path, value: float) -> None:
    claims.check("C90", difference=value, ratio=0.5)


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        ({"difference": 0}, "'ratio' is missing"),
        ({"difference": 0, "ratio": 1, "speed": 3}, "'speed' is unknown; the ledger names diff"),
        ({"difference": 2e-12, "ratio": 1}, r"difference is 2e-12, outside its interval \[0.0, 1"),
        ({"difference": 0, "ratio": 0.49}, "ratio is 0.49, outside"),
        ({"difference": math.nan, "ratio": 1}, "difference is nan, which is not finite"),
        ({"difference": 0, "ratio": math.inf}, "ratio is inf, which is not finite"),
        ({"difference": 0, "ratio": True}, "ratio is True, a bool: give one number"),
        ({"difference": 0, "ratio": np.True_}, "ratio is True, a bool: give one number"),
        ({"difference": 0, "ratio": torch.tensor(True)}, "ratio is True, a bool: give one number"),
        ({"difference": 0, "ratio": "1.0"}, "ratio is '1.0', a str"),
        ({"difference": 0, "ratio": None}, "ratio is None, a NoneType"),
        ({"difference": 0, "ratio": 1 + 0j}, r"ratio is \(1\+0j\), a complex"),
        ({"difference": 0, "ratio": Decimal(1)}, r"ratio is Decimal\('1'\), a Decimal"),
        ({"difference": 0, "ratio": torch.ones(1)}, r"ratio has shape \(1,\): give one number"),
        ({"difference": 0, "ratio": np.ones((2, 3))}, r"ratio has shape \(2, 3\)"),
    ],
)
def test_anything_else_is_an_error(ledger: Path, measured: dict, words: str) -> None:
    with pytest.raises(claims.ClaimError, match=words) as caught:
        claims.check("C90", **measured)
    assert "C90" in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        2,
        np.float32(2),
        np.int64(2),
        np.array(2.0),
        torch.tensor(2),
        torch.tensor(2.0, requires_grad=True),
        Fraction(2, 1),
    ],
)
def test_every_honest_number_is_taken(ledger: Path, value: object) -> None:
    assert claims.check("C90", difference=0, ratio=value).values["ratio"] == 2.0


def test_all_problems_come_in_one_message(ledger: Path) -> None:
    with pytest.raises(claims.ClaimError, match=r"(?s)missing.*outside.*unknown"):
        claims.check("C90", difference=1, speed=1)


def test_unknown_cited_and_open_claims_cannot_be_checked(ledger: Path) -> None:
    with pytest.raises(claims.ClaimError, match="no claim 'C99' in the ledger; it has C90, C91"):
        claims.check("C99", x=1)
    with pytest.raises(claims.ClaimError, match="C91 is cited, not measured"):
        claims.check("C91")
    with pytest.raises(claims.ClaimError, match="C92 has no intervals"):
        claims.check("C92", x=1)


def test_the_box_shows_claim_values_and_intervals(ledger: Path) -> None:
    box = claims.check("C90", difference=1.5e-15, ratio=2.34567)._repr_html_()
    assert '<span class="measured">1.5 × 10⁻¹⁵</span>' in box
    assert '<span class="measured">2.346</span>' in box
    assert "(expected: between 0 and 1 × 10⁻¹²)" in box
    assert "(unit: times; expected: at least 0.5)" in box
    assert "Claim C90" in box and "Verdict: holds with conditions" in box
    assert "&lt;independent&gt;" in box and "<code>T</code>" in box and "(elman1990)" in box
    assert r"\(T\)" in box and "<em>larger</em>" in box and "(cho2014properties); a * b * c" in box
    assert "style=" not in box


def test_a_cited_claim_is_shown_without_pretence(ledger: Path) -> None:
    box = claims.show("C91")._repr_html_()
    assert "Cited, not measured" in box and "vaswani2017" in box
    assert "Verdict" not in box and "measured</span>" in box and 'class="measured"' not in box


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"surprise": 1}, "C90: unknown key 'surprise'"),
        ({"careful": None}, "C90: 'careful' is missing"),
        ({"sources": None}, "C90: 'sources' is missing"),
        ({"verdict": None}, "C90: only a planned claim"),
        ({"checks": {}}, "C90: only a planned claim"),
        ({"planned": "yes"}, "C90: 'planned' must be a bool"),
        ({"common": "  "}, "C90: 'common' must be like"),
        ({"kind": "felt"}, "C90: 'kind' must be like measured"),
        ({"kind": "cited"}, "C90: a cited claim is not measured"),
        ({"verdict": "maybe"}, "C90: 'verdict' must be like holds"),
        (
            {"chapter": "recurrence/rnn.md"},
            "'chapter' must be like .* not 'recurrence/rnn.md'",
        ),
        ({"sources": "elman1990"}, "C90: 'sources' must be a list"),
        ({"sources": [1990]}, "C90: sources must be keys"),
        (
            {"checks": {"x": {"low": 2, "high": 1, "says": "x"}}},
            "C90: x: nothing could lie between low 2",
        ),
        ({"checks": {"x": {"low": 0, "says": "x"}}}, "C90: x: 'high' is missing"),
        ({"checks": {"x": {"low": 0, "high": 1}}}, "C90: x: 'says' is missing"),
        ({"checks": {"x": {"low": 0, "high": 1, "says": "x", "max": 1}}}, "x: unknown key 'max'"),
        (
            {"checks": {"x": {"low": True, "high": 1, "says": "x"}}},
            "x: 'low' must be a float",
        ),
        (
            {"checks": {"x": {"low": "few", "high": 1, "says": "x"}}},
            "x: 'low' must be a float",
        ),
        (
            {"checks": {"x": {"low": 0, "high": math.nan, "says": "x"}}},
            "x: nothing could lie between low 0.0 and high nan",
        ),
        ({"checks": {"x": {"low": math.inf, "high": math.inf, "says": "x"}}}, "nothing could lie"),
        ({"checks": {"x": {"low": 0, "high": 1, "says": "x", "unit": 3}}}, "'unit' must be a str"),
        ({"checks": {"x": 3}}, "x: must be a mapping, not int"),
        ({"kind": "cited", "checks": None, "sources": []}, "it has sources and no"),
        ({"checks": {"x": {"low": -math.inf, "high": math.inf, "says": "x"}}}, "could not fail"),
        (
            {"checks": {"not a name": {"low": 0, "high": 1, "says": "x"}}},
            "not a name: 'name' must be like",
        ),
        ({"checks": [1]}, "C90: 'checks' must be a dict"),
        ({"id": "C91"}, "C91: the id is used twice"),
        ({"id": 90}, "entry 1: 'id' must be like"),
    ],
)
def test_a_badly_written_entry_is_named(ledger: Path, changes: dict, words: str) -> None:
    rewrite(ledger, **changes)
    with pytest.raises(claims.ClaimError, match=words):
        claims.load_claims()


def test_a_key_written_twice_is_an_error(ledger: Path) -> None:
    ledger.write_text(GOOD.replace("kind: exact", "kind: exact\n  kind: cited"), encoding="utf-8")
    with pytest.raises(claims.ClaimError, match="key 'kind' is written twice"):
        claims.load_claims()


def test_a_missing_or_strange_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(claims.ClaimError, match=r"cannot read the claims ledger none\.yml"):
        claims.load_claims(tmp_path / "none.yml")
    (tmp_path / "one.yml").write_text("id: C01")
    with pytest.raises(claims.ClaimError, match="must be a list of claims, not dict"):
        claims.load_claims(tmp_path / "one.yml")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25"), (3, "3"), (1.5e-7, "1.5 × 10⁻⁷"), (12771.3, "1.277 × 10⁴"), (-2.5, "-2.5")],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert claims.show_number(value) == text


def test_the_books_ledger_is_well_written() -> None:
    if not claims.claims_file().exists():
        pytest.skip("the ledger does not exist yet")
    assert claims.load_claims()
