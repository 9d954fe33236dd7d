"""Collects the exam questions of all chapters for the exam page.

A chapter holds a question as an admonition of class `exam`:

    ::::{admonition} Question: half-life (2 marks)
    :class: exam
    The question.
    :::{admonition} Model answer
    :class: dropdown
    The answer, with a measured number {glue:text}`name:.2f` where there is one.
    :::
    ::::

On the exam page a glued number has to be replaced by the value that the chapter's run put out,
because glue does not reach across pages reliably.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nbformat import NotebookNode

from pipeline.chapters import Chapter, code_cells
from pipeline.messages import PipelineError
from pipeline.timings import title

_BLOCK = re.compile(
    r"^(?P<fence>:{3,})\{admonition\}[ \t]*(?P<title>Question:[^\n]*)\n"
    r"(?P<body>.*?)^(?P=fence)[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
_MARKS = re.compile(r"\((\d+) marks?\)\s*$")
_GLUE = re.compile(r"\{glue:(?:text)?\}`([^`]+)`")
_OWN_LABEL = re.compile(r"^\([\w-]+\)=\n|^:(?:name|label):[^\n]*\n", re.MULTILINE)


@dataclass(frozen=True)
class Question:
    """One exam question as it stands in its chapter."""

    chapter: Chapter
    number: int
    title: str
    marks: int
    source: str

    @property
    def label(self) -> str:
        """Return the target that `mark_questions` puts before the question in its chapter."""
        return f"exam-{self.chapter.name.replace('/', '-').replace('_', '-')}-{self.number}"


def questions(chapter: Chapter) -> list[Question]:
    """Return the questions of a chapter in order.

    Raises:
        PipelineError: a question's title does not end with its marks.
    """
    found = []
    for number, match in enumerate(_exam_blocks(chapter.text), 1):
        marks = _MARKS.search(match["title"])
        if not marks:
            raise PipelineError(
                f"book/{chapter.name}.md: the exam question {match['title']!r} must end with its "
                "marks, like `(2 marks)`"
            )
        name = _MARKS.sub("", match["title"]).removeprefix("Question:").strip()
        found.append(Question(chapter, number, name, int(marks[1]), match[0]))
    return found


def _exam_blocks(text: str) -> Iterable[re.Match[str]]:
    for match in _BLOCK.finditer(text):
        if re.match(r"(?::\w+:.*\n)*?:class:.*\bexam\b", match["body"]):
            yield match


def mark_questions(chapter: Chapter) -> str:
    """Return a chapter's text with a link target before every question."""
    text = chapter.text
    for question in questions(chapter):
        target = f"({question.label})=\n"
        text = text.replace(question.source, target + question.source, 1)
    return text


def glued_values(executed: NotebookNode) -> dict[str, str]:
    """Return the plain text of everything that a chapter's run has glued, by name."""
    values: dict[str, str] = {}
    for cell in code_cells(executed):
        for output in cell.outputs:
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            for kind, payload in output.get("data", {}).items():
                if name and kind.endswith("text/plain"):
                    values[name] = plain_number(payload)
    return values


def plain_number(text: str) -> str:
    """Return `0.5` for `np.float64(0.5)`, which is how NumPy 2 prints it and glue cannot read."""
    return re.sub(r"^np\.(?:float|int|uint)\d+\((.*)\)$", r"\1", text)


def collected(runs: Iterable[tuple[Chapter, NotebookNode]]) -> str:
    """Return the Markdown that stands for `<!-- collected questions -->` on the exam page."""
    parts, count, marks = [], 0, 0
    for chapter, executed in runs:
        found = questions(chapter)
        if not found:
            continue
        values = glued_values(executed)
        parts.append(f"### {title(chapter.text)}")
        for question in found:
            count, marks = count + 1, marks + question.marks
            parts.append(_with_values(question, values))
            parts.append(f"{{ref}}`Where the chapter answers this <{question.label}>`")
    if not parts:
        return "No chapter has a question yet."
    total = f"{_counted(count, 'question')}, {_counted(marks, 'mark')}."
    return "\n\n".join([total, *parts])


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _with_values(question: Question, values: dict[str, str]) -> str:
    from myst_nb.core.variables import format_plain_text

    def value(match: re.Match[str]) -> str:
        name, _, form = match[1].partition(":")
        if name not in values:
            raise PipelineError(
                f"book/{question.chapter.name}.md: the question {question.title!r} shows "
                f"{name!r}, which the chapter does not glue"
            )
        return str(format_plain_text(values[name], form or "s"))

    return _GLUE.sub(value, _OWN_LABEL.sub("", question.source))
