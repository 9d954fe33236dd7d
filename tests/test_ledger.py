"""The ledger page says what the chapters measured, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path

import nbformat
import pytest
from docutils import nodes
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from pipeline import chapters, execute, ledger
from pipeline.messages import PipelineError
from rnnlib import claims

LEDGER = """
- id: C90
  kind: measured
  chapter: recurrence/rnn
  common: The state h_t holds *everything* | really.
  careful: It holds `h`, a <part> {cite}`elman1990`, and $h_t$ [pascanu2013, le2015].
  checks:
    loss: {low: 0.5, high: 2, unit: nats, says: loss of W_h}
    ratio: {low: 1, high: .inf, says: how much larger}
  verdict: holds with conditions
  published: 17.82 BLEU [bahdanau2015]
  sources: [elman1990, le2015]
- {id: C91, kind: cited, chapter: index, common: Gone., careful: Mostly., sources: [le2015]}
- id: C92
  kind: exact
  chapter: gates/lstm
  common: Not yet.
  careful: Not yet at all.
  checks: {share: {low: 0, high: 1, says: a share}}
  verdict: holds
  planned: true
  sources: []
"""


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, claims.Claim]:
    path = tmp_path / "claims.yml"
    path.write_text(LEDGER, encoding="utf-8")
    monkeypatch.setattr(claims, "claims_file", lambda: path)
    monkeypatch.setattr(chapters, "exists", lambda name: name == "recurrence/rnn")
    monkeypatch.setattr(chapters, "listed_pages", lambda: ["index", "recurrence/rnn"])
    return claims.load_claims()


def executed(*results: claims.ClaimResult) -> nbformat.NotebookNode:
    cells = [new_markdown_cell("# A chapter")]
    for result in results:
        output = new_output("execute_result", data=result._repr_mimebundle_())
        cells.append(new_code_cell(f'claims.check("{result.claim.id}")', outputs=[output]))
    return new_notebook(cells=cells)


@pytest.fixture
def notebooks(entries: dict[str, claims.Claim]) -> dict[str, nbformat.NotebookNode]:
    result = claims.check("C90", loss=1.23456, ratio=7e7)
    written = nbformat.writes(executed(result))  # as it comes back from a file
    return {"recurrence/rnn": nbformat.reads(written, as_version=4)}


def test_the_page_shows_values_verdicts_and_sources(notebooks, entries) -> None:
    page = ledger.page(notebooks)
    assert "loss of W\\_h: **1.235** (unit: nats; expected: between 0.5 and 2)" in page
    assert "**7 × 10⁷** (expected: at least 1)" in page
    assert "{cite}`elman1990,le2015`" in page and "17.82 BLEU {cite}`bahdanau2015`" in page
    assert "`h`, a \\<part> {cite}`elman1990`, and $h_t$ {cite}`pascanu2013,le2015`" in page
    assert "(claim-c90)=\n### C90" in page and "Status\n: holds with conditions" in page
    row = "| [C90](#claim-c90) | The state h\\_t holds *everything* \\| really. | "
    assert row + "holds with conditions | {doc}`../recurrence/rnn` |" in page


def test_the_summary_counts_every_claim_once(notebooks, entries) -> None:
    page = ledger.page(notebooks)
    rows = dict(line.strip("| ").split(" | ") for line in page.splitlines() if line.count("|") == 3)
    assert rows["settled"] == "1" and rows["settled: holds with conditions"] == "1"
    assert rows["settled: holds"] == rows["settled: does not hold as said"] == "0"
    assert rows["sourced, not measured"] == "1" and rows["open"] == "1" and rows["all"] == "3"


def test_open_and_cited_claims_make_no_pretence(notebooks, entries) -> None:
    page = ledger.page(notebooks)
    cited = page[page.index("### C91") : page.index("### C92")]
    assert "sourced, not measured" in cited and "Measured\n" not in cited
    still_open = page[page.index("### C92") :]
    assert "Status\n: open" in still_open and "not written yet" in still_open
    assert "Measured\n" not in still_open and "holds" not in still_open
    assert "Measured" not in ledger.page({}) and "| open | 2 |" in ledger.page({})


def test_values_can_be_quoted_by_key(notebooks) -> None:
    assert ledger.values(notebooks) == {"C90": {"loss": 1.23456, "ratio": 7e7}}


def test_a_true_ledger_has_no_problems(notebooks, entries) -> None:
    assert ledger.problems(entries, notebooks, ["recurrence/rnn"]) == []


def test_a_claim_checked_twice_elsewhere_or_never_is_a_problem(notebooks, entries) -> None:
    chapter = notebooks["recurrence/rnn"]
    twice = {"recurrence/rnn": chapter, "gates/lstm": chapter}
    assert ledger.problems(entries, twice, []) == [
        "C90 is checked 2 times: recurrence/rnn, gates/lstm"
    ]
    elsewhere = {"gates/lstm": chapter}
    words = "C90 belongs to recurrence/rnn, but is checked in gates/lstm"
    assert ledger.problems(entries, elsewhere, []) == [words]
    with pytest.raises(PipelineError, match=words):
        ledger.page(elsewhere)
    assert ledger.problems(entries, {}, ["recurrence/rnn", "gates/lstm"]) == [
        "C90 is not checked in recurrence/rnn",
        "C92 is not checked in gates/lstm",
        "C92 is still planned, though gates/lstm is written",
    ]
    unknown = {name: entry for name, entry in entries.items() if name != "C90"}
    assert ledger.problems(unknown, notebooks, []) == [
        "C90 is checked in recurrence/rnn, but is no claim of the ledger"
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[claims.CLAIM_MEDIA_TYPE].update(verdict="holds"), "another verdict"),
        (lambda data: data[claims.CLAIM_MEDIA_TYPE]["values"].pop("loss"), "other quantities"),
        (
            lambda data: data[claims.CLAIM_MEDIA_TYPE]["values"]["loss"].update(high=3),
            "loss was run with another interval",
        ),
        (
            lambda data: data[claims.CLAIM_MEDIA_TYPE]["values"]["loss"].update(value=1.3),
            "shows 1.235, 7 × 10⁷, which is not what it measured",
        ),
        (
            lambda data: data[claims.CLAIM_MEDIA_TYPE]["values"]["loss"].update(value=9),
            "loss is 9, outside its interval",
        ),
        (
            lambda data: data.update({"text/html": data["text/html"].replace("1.235", "1.2")}),
            "shows 1.2, 7",
        ),
    ],
)
def test_a_value_that_differs_from_the_chapter_is_a_problem(notebooks, entries, change, words):
    changed = copy.deepcopy(notebooks)
    change(changed["recurrence/rnn"].cells[1].outputs[0].data)
    assert any(words in problem for problem in ledger.problems(entries, changed, []))
    with pytest.raises(PipelineError, match="the claims ledger: C90 in recurrence/rnn"):
        ledger.page(changed)


def test_sources_are_judged_without_running_them(entries) -> None:
    good = {"recurrence/rnn": 'x = 1\nclaims.check("C90", loss=x)', "index": "claims.show('C91')"}
    assert ledger.problems_in_sources(entries, good) == []
    assert ledger.problems_in_sources(entries, {"recurrence/rnn": "x = 1"}) == [
        "C90 is not checked in recurrence/rnn"
    ]
    twice = {"recurrence/rnn": "claims.check('C90')\nclaims.check(\n    'C90')"}
    assert ledger.problems_in_sources(entries, twice) == [
        "C90 is checked 2 times: recurrence/rnn, recurrence/rnn"
    ]


def test_the_page_is_valid_markdown(notebooks, entries) -> None:
    """Sphinx's own reader builds a definition list with the measured values inside."""
    from myst_parser.config.main import MdParserConfig
    from myst_parser.mdit_to_docutils.base import DocutilsRenderer
    from myst_parser.parsers.mdit import create_md_parser

    parser = create_md_parser(
        MdParserConfig(enable_extensions={"deflist", "dollarmath"}), DocutilsRenderer
    )
    page = ledger.page(notebooks).replace("{doc}", "{code}").replace("{cite}", "{code}")
    document = parser.render(page)
    sections = [n for n in document.findall(nodes.section) if "c90" in n["ids"] + n["names"]]
    assert len(sections) == 1
    terms = [term.astext() for term in sections[0].findall(nodes.term)]
    assert terms == [
        "Often said",
        "More carefully",
        "Status",
        "Kind",
        "Chapter",
        "Measured",
        "Published",
        "Sources",
    ]
    assert [item.astext() for item in sections[0].findall(nodes.list_item)] == [
        "loss of W_h: 1.235 (unit: nats; expected: between 0.5 and 2)",
        "how much larger: 7 × 10⁷ (expected: at least 1)",
    ]
    assert not list(document.findall(nodes.system_message))


def test_the_chapters_check_their_claims() -> None:
    sources = {
        chapter.name: "\n".join(cell.source for cell in chapters.code_cells(chapter.notebook()))
        for chapter in chapters.chapters()
    }
    assert ledger.problems_in_sources(claims.load_claims(), sources) == []


def test_the_executed_chapters_agree_with_the_ledger() -> None:
    up_to_date = [c for c in chapters.chapters() if execute.last_run(c, compared=False)]
    if not up_to_date:
        pytest.skip("no chapter has been executed since it last changed")
    found = {chapter.name: execute.executed(chapter) for chapter in up_to_date}
    assert ledger.problems(claims.load_claims(), found, list(found)) == []
