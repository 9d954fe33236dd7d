"""Claims, references, glossary and exam page: complete, in step with each other, nothing invented.

What a finished page cites must have been checked, every term must be explained, and all claims
that the book set out to test must keep their row and their place.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pybtex.database import BibliographyData, parse_string

from rnnlib.claims import Claim, load_claims

BOOK = Path(__file__).resolve().parents[1] / "book"

# Where each claim is settled, as the book planned it. Claims after C47 are the chapters' own.
SETTLED_IN = {
    "recurrence/sequences": "C03 C05 C06",
    "recurrence/rnn": "C01 C07",
    "recurrence/gradients": "C08 C09 C10 C11 C12 C13 C14",
    "gates/lstm": "C15 C16 C17 C18 C19 C20 C21 C22",
    "gates/gru": "C23 C24 C25 C26 C27 C28",
    "gates/depth_and_direction": "C29 C30 C31",
    "beyond/seq2seq": "C02 C33",
    "beyond/attention": "C32 C39",
    "beyond/transformer": "C04 C44",
    "beyond/rnn_or_transformer": "C36 C37 C38 C40 C41 C42 C43",
    "beyond/linear_recurrence": "C34 C35 C45",
    "applications/time_series": "C46",
    "index": "C47",
}
EXACT = {"C01", "C22", "C23", "C27", "C35", "C36", "C44"}
CITED = {"C43", "C47"}

ENTRY = re.compile(r"(?m)^@(?!comment)\w+\{(\w+),")
STATUS = re.compile(r"% (confirmed|unconfirmed): \S.*")
CITE = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
BRACKETED_KEY = re.compile(r"\[([a-z]+\d{4}\w*)\]")
TERM = re.compile(r"\{term\}`(?:[^`<]*<([^`>]+)>|([^`<]+))`")
CHINESE = re.compile(r"[\u4e00-\u9fff]")

# These terms are written in Chinese texts as they are in English.
SAME_IN_CHINESE = {"Mamba", "minGRU", "Transformer"}


def read(name: str) -> str:
    return (BOOK / name).read_text(encoding="utf8")


def pages() -> list[Path]:
    return sorted(BOOK.rglob("*.md"))


def finished(claim: Claim) -> bool:
    return (BOOK / f"{claim.chapter}.md").is_file()


# ---------------------------------------------------------------------------- references.bib


def status_by_key(text: str) -> dict[str, str]:
    """Return `confirmed` or `unconfirmed` for every entry, from the line right above it.

    Raises:
        ValueError: an entry has no such line, or a key is used twice.
    """
    lines = text.splitlines()
    statuses: dict[str, str] = {}
    for number, line in enumerate(lines):
        entry = ENTRY.match(line)
        if not entry:
            continue
        status = STATUS.fullmatch(lines[number - 1]) if number else None
        if not status:
            raise ValueError(f"no line '% confirmed: …' or '% unconfirmed: …' above {entry[1]}")
        if entry[1] in statuses:
            raise ValueError(f"{entry[1]} is there twice")
        statuses[entry[1]] = status[1]
    return statuses


@pytest.fixture(scope="module")
def status() -> dict[str, str]:
    return status_by_key(read("references.bib"))


@pytest.fixture(scope="module")
def bibliography() -> BibliographyData:
    return parse_string(read("references.bib"), "bibtex")


def test_every_entry_says_how_it_was_checked(
    status: dict[str, str], bibliography: BibliographyData
) -> None:
    assert set(status) == set(bibliography.entries)


@pytest.mark.parametrize(
    "text",
    [
        "@book{a2000,\n}\n",
        "% confirmed:\n@book{a2000,\n}\n",
        "% seen somewhere\n@book{a2000,\n}\n",
        "% confirmed: x\n@book{a2000,\n}\n% confirmed: x\n@book{a2000,\n}\n",
    ],
)
def test_an_entry_without_its_line_is_found(text: str) -> None:
    with pytest.raises(ValueError, match="a2000"):
        status_by_key(text)


def test_every_entry_has_author_title_year_and_a_place(bibliography: BibliographyData) -> None:
    places = {"journal", "booktitle", "school", "institution", "publisher", "howpublished"}
    for key, entry in bibliography.entries.items():
        assert entry.persons.get("author"), f"{key} has no author"
        assert {"title", "year"} <= set(entry.fields), f"{key} lacks title or year"
        assert places & set(entry.fields), f"{key} does not say where it appeared"
        assert re.fullmatch(r"(19|20)\d\d", entry.fields["year"]), f"{key}: odd year"


def test_pages_cite_only_confirmed_references(status: dict[str, str]) -> None:
    wrong = [
        f"{page.relative_to(BOOK)} cites {key}, which is {status.get(key, 'not in the list')}"
        for page in pages()
        for group in CITE.findall(page.read_text(encoding="utf8"))
        for key in (part.strip() for part in group.split(","))
        if status.get(key) != "confirmed"
    ]
    assert not wrong, "\n".join(wrong)


# -------------------------------------------------------------------------------- claims.yml


@pytest.fixture(scope="module")
def claims() -> dict[str, Claim]:
    return load_claims(BOOK / "claims.yml")


def test_all_planned_claims_keep_their_row_and_their_chapter(claims: dict[str, Claim]) -> None:
    expected = {
        claim: chapter for chapter, listed in SETTLED_IN.items() for claim in listed.split()
    }
    assert len(expected) == 47
    assert {claim: claims[claim].chapter for claim in expected if claim in claims} == expected


def test_ids_are_numbered_without_a_gap(claims: dict[str, Claim]) -> None:
    assert sorted(claims) == [f"C{number:02d}" for number in range(1, len(claims) + 1)]


def test_kinds_are_as_planned(claims: dict[str, Claim]) -> None:
    planned = [claim for claim in claims.values() if int(claim.id[1:]) <= 47]
    assert {claim.id for claim in planned if claim.kind == "exact"} == EXACT
    assert {claim.id for claim in planned if claim.kind == "cited"} == CITED


def test_claims_use_references_that_exist(claims: dict[str, Claim], status: dict[str, str]) -> None:
    for claim in claims.values():
        for key in claim.sources:
            assert key in status, f"{claim.id} names the source {key}, which does not exist"
        for key in BRACKETED_KEY.findall(claim.published or ""):
            assert key in claim.sources, f"{claim.id} quotes {key} and does not list it"


def test_claims_rest_on_confirmed_references(
    claims: dict[str, Claim], status: dict[str, str]
) -> None:
    # The ledger page cites the sources of every claim, of open ones too.
    for claim in claims.values():
        for key in claim.sources:
            assert status.get(key) == "confirmed", f"{claim.id} rests on {key}: {status.get(key)}"


def test_a_finished_chapter_has_no_planned_claim(claims: dict[str, Claim]) -> None:
    open_claims = [claim.id for claim in claims.values() if finished(claim) and claim.planned]
    assert not open_claims, f"intervals not fixed yet: {', '.join(open_claims)}"


def test_careful_forms_hold_no_measured_figures(claims: dict[str, Claim]) -> None:
    # Decimal fractions are what a measurement gives. Definitions and lengths use whole numbers.
    for claim in claims.values():
        assert not re.search(r"\d\.\d", claim.careful), f"{claim.id} types a measured figure"


# ------------------------------------------------------------------------------- glossary.md


def glossary_entries(text: str) -> list[tuple[list[str], str]]:
    """Return (terms, definition) for every entry, in the order of the page."""
    body = re.search(r"(?ms)^:::\{glossary\}\n(.*?)^:::", text)
    assert body, "the page has no glossary"
    entries = []
    for block in re.split(r"\n\s*\n", body[1].strip()):
        lines = block.splitlines()
        terms = [line.strip() for line in lines if not line.startswith(" ")]
        definition = " ".join(line.strip() for line in lines if line.startswith(" "))
        entries.append((terms, definition))
    return entries


ENTRIES = glossary_entries(read("back/glossary.md"))


def test_the_glossary_is_long_enough_and_has_no_double() -> None:
    terms = [term.lower() for names, _ in ENTRIES for term in names]
    assert len(ENTRIES) >= 80
    assert sorted(terms) == sorted(set(terms))


def test_the_glossary_is_in_alphabetical_order() -> None:
    first = [names[0].lower() for names, _ in ENTRIES]
    assert first == sorted(first)


@pytest.mark.parametrize(("terms", "definition"), ENTRIES, ids=[names[0] for names, _ in ENTRIES])
def test_an_entry_has_its_chinese_term_and_one_sentence(terms: list[str], definition: str) -> None:
    chinese, _, sentence = definition.partition(". ")
    assert terms[0] in SAME_IN_CHINESE or CHINESE.search(chinese), f"{chinese!r}: no Chinese term"
    assert sentence.endswith(".") and ". " not in sentence, f"not one sentence: {sentence!r}"
    assert sentence[0].isupper() or sentence.startswith("{term}`"), sentence


def test_terms_that_pages_link_are_in_the_glossary() -> None:
    known = {term.lower() for names, _ in ENTRIES for term in names}
    unknown = [
        f"{page.relative_to(BOOK)}: {target}"
        for page in pages()
        for pair in TERM.findall(page.read_text(encoding="utf8"))
        if (target := " ".join("".join(pair).split())).lower() not in known
    ]
    assert not unknown, "\n".join(unknown)


# --------------------------------------------------- what the pipeline fills into these pages


@pytest.mark.parametrize(
    ("page", "marker"),
    [
        ("start/how_to_use.md", "<!-- timings -->"),
        ("back/exam.md", "<!-- collected questions -->"),
    ],
)
def test_a_page_has_its_marker_once_on_its_own_line(page: str, marker: str) -> None:
    text = read(page)
    assert text.count(marker) == 1
    assert f"\n\n{marker}\n" in text


def test_the_road_map_shows_the_chapters_that_the_book_has() -> None:
    listed = re.findall(r"file: book/([a-z]+/[a-z_0-9]+)", (BOOK.parent / "_toc.yml").read_text())
    chapters = [name for name in listed if name.split("/")[0] not in ("start", "back")]
    cell = re.search(r"(?s)^written = (\[.*?\])$", read("index.md"), re.MULTILINE)
    assert cell and ast.literal_eval(cell[1]) == chapters


def test_marks_of_the_model_questions_add_up() -> None:
    """Each hand-written question says how many marks it has; its scheme must give that many."""
    text = read("back/exam.md")
    questions = re.findall(
        r"(?ms)^::::\{admonition\} Question: [^\n]*\((\d+) marks?\)\n(.*?)^::::$", text
    )
    assert questions
    for marks, body in questions:
        given = [int(number) for number in re.findall(r"\((\d+) marks?\)", body)]
        assert sum(given) == int(marks), f"{given} is not {marks}"
