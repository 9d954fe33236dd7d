"""What every chapter contains, in which order: the part of the contract that a program can see."""

from __future__ import annotations

import re

from pipeline import exam_pages
from pipeline.chapters import (
    CONTRACT,
    PARTS_WITH_CONTRACT,
    PROJECT_MAY_OMIT,
    Chapter,
    code_cells,
)
from pipeline.messages import PipelineError

# The contract says "at most about 15"; imports and blank lines are not counted.
CELL_LINES = 20
EXERCISES = 6
EXERCISE_LEVELS = ("By hand", "Change the code", "Small research")
QUESTIONS = 2
SELF_TESTS = 5
TAKEAWAYS = 5


def applies(chapter: Chapter) -> bool:
    """Say whether a page is a chapter of Parts I to V."""
    return chapter.name.split("/")[0] in PARTS_WITH_CONTRACT


def problems(chapter: Chapter) -> list[str]:
    """Return what a chapter lacks (empty: nothing)."""
    found = _headings(chapter) + _opening(chapter) + _cells(chapter)
    found += _exam(chapter) + _exercises(chapter) + _endings(chapter)
    return [f"book/{chapter.name}.md: {problem}" for problem in found]


def _headings(chapter: Chapter) -> list[str]:
    is_project = chapter.name.startswith("applications/")
    optional = PROJECT_MAY_OMIT if is_project else ()
    headings = [h for h in re.findall(r"^## (.*?)\s*$", _prose(chapter), re.M) if h in CONTRACT]
    found = [
        f"the heading `## {wanted}` must stand there exactly once"
        for wanted in CONTRACT
        if headings.count(wanted) != 1 and not (wanted in optional and wanted not in headings)
    ]
    in_order = [heading for heading in CONTRACT if heading in headings]
    if not found and headings != in_order:
        found.append(f"the headings stand in another order than {', '.join(in_order)}")
    return found


def _opening(chapter: Chapter) -> list[str]:
    opening = _section(chapter, "What you will be able to do")
    found = []
    if "{{ seconds }}" not in opening:
        found.append("the opening must give the measured run time as {{ seconds }}")
    if not re.search(r"\d+\s+minutes", opening):
        found.append("the opening must say how many minutes the chapter takes to read")
    return found


def _cells(chapter: Chapter) -> list[str]:
    found = []
    for number, cell in enumerate(code_cells(chapter.notebook()), 1):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        counted = [line for line in lines if not line.startswith(("import ", "from ", "#"))]
        if len(counted) > CELL_LINES:
            found.append(f"cell {number} has {len(counted)} lines, more than about 15")
        if "nbval-skip" in cell.metadata.get("tags", []):
            found.append(f"cell {number} is tagged nbval-skip: its output would be lost")
    return found


def _exam(chapter: Chapter) -> list[str]:
    try:
        questions = exam_pages.questions(chapter)
    except PipelineError as error:
        return [str(error)]
    found = []
    if len(questions) < QUESTIONS:
        found.append(f"{len(questions)} exam questions, at least {QUESTIONS} are wanted")
    for question in questions:
        answer = re.search(
            r"\{admonition\}\s*Model answer[^\n]*\n:class:.*dropdown", question.source
        )
        if not answer:
            found.append(f"the exam question {question.title!r} has no folded model answer")
    return found


def _exercises(chapter: Chapter) -> list[str]:
    text = _section(chapter, "Exercises")
    fence = r"^(?:`{3,}|:{3,})"
    labels = re.findall(
        rf"{fence}\{{exercise(?:-start)?\}}[^\n]*\n(?::\w+:[^\n]*\n)*?:label:\s*(\S+)", text, re.M
    )
    solutions = re.findall(
        rf"{fence}\{{solution(?:-start)?\}}\s*(\S+)[^\n]*\n((?::\w+:[^\n]*\n)*)", text, re.M
    )
    found = []
    if len(labels) < EXERCISES:
        found.append(f"{len(labels)} exercises, at least {EXERCISES} are wanted")
    solved = {label for label, _ in solutions}
    found += [f"the exercise {label} has no solution" for label in labels if label not in solved]
    found += [
        f"the solution of {label} is not folded"
        for label, options in solutions
        if "dropdown" not in options
    ]
    levels = re.findall(r"^### (.*?)\s*$", text, re.M)
    found += [f"no exercises under `### {name}`" for name in EXERCISE_LEVELS if name not in levels]
    return found


def _endings(chapter: Chapter) -> list[str]:
    found = []
    if "## Whiteboard self-test" in chapter.text:
        prompts = _section(chapter, "Whiteboard self-test").count("dropdown")
        if prompts < SELF_TESTS:
            found.append(f"the self-test has {prompts} folded prompts, {SELF_TESTS} are wanted")
    lines = re.findall(r"^(?:\d+\.|[*-]) ", _section(chapter, "Takeaways"), re.M)
    if len(lines) < TAKEAWAYS:
        found.append(f"{len(lines)} takeaways, {TAKEAWAYS} are wanted")
    return found


def _prose(chapter: Chapter) -> str:
    """Return the text without fenced code, whose comments look like headings."""
    return re.sub(r"^```\{code-cell\}.*?^```", "", chapter.text, flags=re.M | re.S)


def _section(chapter: Chapter, heading: str) -> str:
    parts = re.split(rf"^## {re.escape(heading)}\s*$", _prose(chapter), maxsplit=1, flags=re.M)
    return re.split(r"^## ", parts[1], maxsplit=1, flags=re.M)[0] if len(parts) == 2 else ""
