"""Sources and what is derived from them are in step; chapters keep their contract.

Nothing is executed here. CONTRIBUTING.md lists all derived files and where each is checked.
"""

from __future__ import annotations

import re

import pytest

from pipeline import contract, exam_pages, lock, references
from pipeline.chapters import (
    BOOK,
    CONTRACT,
    GENERATED_PAGES,
    ROOT,
    Chapter,
    chapters,
    listed_pages,
    missing_pages,
)

CHAPTERS = chapters()
TEMPLATE = Chapter("recurrence/leaky", ROOT / "templates" / "chapter.md")
CONTRACTED = [*(c for c in CHAPTERS if contract.applies(c)), TEMPLATE]


def named(chapter: Chapter) -> str:
    return "template" if chapter is TEMPLATE else chapter.name


@pytest.mark.parametrize("chapter", CHAPTERS, ids=named)
def test_reference_has_the_chapters_code_and_was_executed(chapter: Chapter) -> None:
    assert references.problems(chapter) == []


def test_no_reference_outlives_its_chapter() -> None:
    assert references.orphans(CHAPTERS) == []


def test_references_are_small_and_hold_no_picture() -> None:
    for path in references.REFERENCES.rglob("*.ipynb"):
        assert path.stat().st_size < 300_000, f"{path.name} is large: is there a picture in it?"
        assert "iVBORw0KGgo" not in path.read_text(encoding="utf8")


def test_table_of_contents_lists_what_exists_and_nothing_else() -> None:
    assert missing_pages() == []
    assert len(listed_pages()) == len(set(listed_pages()))
    written = {str(path.relative_to(BOOK).with_suffix("")) for path in BOOK.rglob("*.md")}
    assert written - set(listed_pages()) == set()


def test_generated_pages_are_not_typed() -> None:
    assert [name for name in GENERATED_PAGES if (BOOK / f"{name}.md").exists()] == []


@pytest.mark.parametrize("chapter", CONTRACTED, ids=named)
def test_chapter_keeps_its_contract(chapter: Chapter) -> None:
    assert contract.problems(chapter) == []


BREAKS = {
    "a heading is missing": (r"## In plain words\n", "", "In plain words"),
    "two headings are swapped": (r"## (The code|The mathematics)\n", "## The code\n", "once"),
    "the run time is typed": (r"\{\{ seconds \}\}", "34 s", "{{ seconds }}"),
    "too few exercises": (r"```\{exercise\}\n:label: leaky-sum-limit", "```{note}\n", "exercises"),
    "an exercise without solution": (r"\{solution\} leaky-sum-limit", "{note}", "leaky-sum-limit"),
    "a solution that is not folded": (
        r"(\{solution\} leaky-sum-noise\n):class: dropdown\n",
        r"\1",
        "folded",
    ),
    "one level of exercises is missing": (r"### Small research\n", "", "Small research"),
    "an exam question without marks": (r" \(2 marks\)", "", "marks"),
    "an exam question without answer": (r"Model answer", "Reply", "model answer"),
    "a cell is too long": (r"(h = leaky_sum\(x, a=0.5\)\n)", r"\1" * 25, "lines"),
    "too few self-tests": (
        r"\{admonition\} Draw the loop\n:class: dropdown",
        "{note}",
        "self-test",
    ),
    "too few takeaways": (r"5\. Reset the state", "Reset the state", "takeaways"),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_a_broken_contract_is_noticed(fault: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    pattern, replacement, words = BREAKS[fault]
    text, count = re.subn(pattern, replacement, TEMPLATE.text)
    assert count, f"the template no longer has {pattern}"
    path = tmp_path / "chapter.md"
    path.write_text(text, encoding="utf8")
    found = contract.problems(Chapter("recurrence/leaky", path))
    assert any(words in problem for problem in found), found


def test_a_project_may_leave_parts_out(tmp_path) -> None:  # type: ignore[no-untyped-def]
    text = TEMPLATE.text.replace("## Whiteboard self-test\n", "")
    path = tmp_path / "chapter.md"
    path.write_text(text, encoding="utf8")
    assert contract.problems(Chapter("applications/leaky", path)) == []
    assert contract.problems(Chapter("recurrence/leaky", path)) != []


def test_every_question_of_a_chapter_is_collected() -> None:
    for chapter in CONTRACTED:
        boxes = len(re.findall(r"^:class:.*\bexam\b", chapter.text, re.MULTILINE))
        assert len(exam_pages.questions(chapter)) == boxes, chapter.name


def test_template_shows_the_whole_contract() -> None:
    headings = re.findall(r"^## (.*)$", TEMPLATE.text, re.MULTILINE)
    assert headings == list(CONTRACT)


def test_lock_has_what_the_requirements_ask_for() -> None:
    assert lock.problems() == []


def test_derived_files_are_documented() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
    for derived in (
        "tests/reference/",
        "requirements.lock",
        "rnnlib/_records/",
        "rnnlib/_weights/",
    ):
        assert derived in table
    for command in re.findall(r"`make ([a-z-]+)", table):
        assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text("utf8"), re.MULTILINE)
    for test in re.findall(r"`(tests/\w+\.py)`", table):
        assert (ROOT / test).is_file(), test
