"""The ledger page: what every claim says, where it is settled, and what was measured there.

Nothing on the page is typed. The claims come from `book/claims.yml`, the measured values from the
executed chapters, where `rnnlib.claims.check` put them beside the box that the reader sees.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from pipeline import chapters
from pipeline.messages import PipelineError
from rnnlib.claims import CLAIM_MEDIA_TYPE, INLINE, VERDICTS, Claim, load_claims, show_number

SOURCED, OPEN = "sourced, not measured", "open"

_INTRODUCTION = """\
# The claims ledger

Articles and textbooks repeat the sentences on this page. For each of them the book fixes an
interval first, and then measures. This page is generated from the executed chapters: the values
are those that the chapters show.

*Settled* claims have been checked by code. *Sourced* claims are history or the state of the field:
they carry references, and nobody measured them here. *Open* claims wait for their chapter.
"""


@dataclass(frozen=True)
class Checked:
    """One check of a claim, found in an executed chapter."""

    claim_id: str
    chapter: str
    content: Mapping[str, Any]
    """What `ClaimResult.to_json` gave."""

    shown: tuple[str, ...]
    """The measured values as the reader sees them, in the order of the quantities."""


def page(notebooks: Mapping[str, NotebookNode], claims: Mapping[str, Claim] | None = None) -> str:
    """Return the Markdown of `back/claims`.

    Args:
        notebooks: The executed chapters by name, for example `recurrence/rnn`.
        claims: The claims by id; by default those of the book.

    Raises:
        PipelineError: A claim is checked twice, in a chapter that is not its own, or with values
            that its entry does not know.
    """
    claims = load_claims() if claims is None else claims
    found = checks(notebooks)
    wrong = list(_misplaced(claims, found)) + list(_different(claims, found))
    if wrong:
        raise PipelineError("the claims ledger: " + "; ".join(wrong))
    by_id = {check.claim_id: check for check in found}
    parts = [_INTRODUCTION, _summary(claims, by_id), _table(claims, by_id)]
    parts.append("## Claim by claim\n")
    parts += [_section(claim, by_id.get(claim.id)) for claim in claims.values()]
    return "\n".join(parts)


def checks(notebooks: Mapping[str, NotebookNode]) -> list[Checked]:
    """Return every check in the executed chapters, in their order."""
    found = []
    for chapter, notebook in notebooks.items():
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if CLAIM_MEDIA_TYPE in data:
                    box = data.get("text/html", "")
                    box = box if isinstance(box, str) else "".join(box)
                    shown = re.findall(r'<span class="measured">(.*?)</span>', box, re.DOTALL)
                    content = data[CLAIM_MEDIA_TYPE]
                    words = tuple(html.unescape(text) for text in shown)
                    found.append(Checked(content["id"], chapter, content, words))
    return found


def status(claim: Claim, check: Checked | None) -> str:
    """Return a claim's verdict, or that it is sourced or open."""
    if claim.kind == "cited":
        return SOURCED
    return OPEN if check is None else str(check.content["verdict"])


def values(notebooks: Mapping[str, NotebookNode]) -> dict[str, dict[str, float]]:
    """Return the measured values by claim and quantity, for pages that quote them by key."""
    return {
        check.claim_id: {name: entry["value"] for name, entry in check.content["values"].items()}
        for check in checks(notebooks)
    }


def problems(
    claims: Mapping[str, Claim], notebooks: Mapping[str, NotebookNode], existing: Collection[str]
) -> list[str]:
    """Return what keeps the ledger from being true; the tests ask that there is nothing.

    Args:
        claims: The claims by id.
        notebooks: The executed chapters by name.
        existing: The chapters that are written; the claims of others are open.
    """
    found = checks(notebooks)
    result = list(_misplaced(claims, found)) + list(_different(claims, found))
    checked = {check.claim_id for check in found}
    for claim in claims.values():
        if claim.kind != "cited" and claim.chapter in existing:
            if claim.id not in checked:
                result.append(f"{claim.id} is not checked in {claim.chapter}")
            if claim.planned:
                result.append(f"{claim.id} is still planned, though {claim.chapter} is written")
    return result


def problems_in_sources(claims: Mapping[str, Claim], sources: Mapping[str, str]) -> list[str]:
    """Return claims that the chapters' sources check nowhere, twice, or in the wrong place.

    It needs no execution, so it is the quick half of `problems`.

    Args:
        claims: The claims by id.
        sources: The code of the written chapters by name.
    """
    places = [
        (claim_id, chapter)
        for chapter, code in sources.items()
        for claim_id in re.findall(r"\bclaims\.check\(\s*[\"'](\w+)[\"']", code)
    ]
    result = list(_places(claims, places))
    checked = {claim_id for claim_id, _ in places}
    for claim in claims.values():
        if claim.kind != "cited" and claim.chapter in sources and claim.id not in checked:
            result.append(f"{claim.id} is not checked in {claim.chapter}")
    return result


def _misplaced(claims: Mapping[str, Claim], found: list[Checked]) -> Iterator[str]:
    yield from _places(claims, [(check.claim_id, check.chapter) for check in found])


def _places(claims: Mapping[str, Claim], places: list[tuple[str, str]]) -> Iterator[str]:
    for claim_id, times in Counter(claim_id for claim_id, _ in places).items():
        where = ", ".join(chapter for other, chapter in places if other == claim_id)
        if claim_id not in claims:
            yield f"{claim_id} is checked in {where}, but is no claim of the ledger"
        elif times > 1:
            yield f"{claim_id} is checked {times} times: {where}"
        elif where != claims[claim_id].chapter:
            yield f"{claim_id} belongs to {claims[claim_id].chapter}, but is checked in {where}"


def _different(claims: Mapping[str, Claim], found: list[Checked]) -> Iterator[str]:
    """Yield checks that do not agree with their claim, or with what the chapter shows."""
    for check in found:
        claim = claims.get(check.claim_id)
        if claim is None:
            continue
        name = f"{check.claim_id} in {check.chapter}"
        measured = check.content["values"]
        if check.content["verdict"] != claim.verdict or check.content["kind"] != claim.kind:
            yield f"{name} was run with another verdict or kind than the ledger has now"
        if set(measured) != set(claim.checks):  # a notebook sorts the keys of its outputs
            yield f"{name} was run with other quantities than the ledger has now"
            continue
        for quantity in claim.checks.values():
            entry = measured[quantity.name]
            low = float("-inf") if entry["low"] is None else entry["low"]
            high = float("inf") if entry["high"] is None else entry["high"]
            if (low, high) != (quantity.low, quantity.high):
                yield f"{name}: {quantity.name} was run with another interval"
            if not quantity.low <= entry["value"] <= quantity.high:
                yield f"{name}: {quantity.name} is {entry['value']!r}, outside its interval"
        if check.shown != tuple(_measured_words(claim, check)):
            yield f"{name} shows {', '.join(check.shown)}, which is not what it measured"


def _measured_words(claim: Claim, check: Checked) -> list[str]:
    return [show_number(check.content["values"][name]["value"]) for name in claim.checks]


def _summary(claims: Mapping[str, Claim], by_id: Mapping[str, Checked]) -> str:
    counts = Counter(status(claim, by_id.get(claim.id)) for claim in claims.values())
    settled = sum(counts[verdict] for verdict in VERDICTS)
    rows = [("settled", settled)]
    rows += [(f"settled: {verdict}", counts[verdict]) for verdict in VERDICTS]
    rows += [(SOURCED, counts[SOURCED]), (OPEN, counts[OPEN]), ("all", len(claims))]
    lines = [f"| {words} | {count} |" for words, count in rows]
    return "\n".join(["## Summary", "", "| Claims | Number |", "| --- | ---: |", *lines, ""])


def _table(claims: Mapping[str, Claim], by_id: Mapping[str, Checked]) -> str:
    lines = [
        "## All claims",
        "",
        "| Claim | Often said | Status | Chapter |",
        "| --- | --- | --- | --- |",
    ]
    for claim in claims.values():
        common = _markdown(claim.common).replace("|", "\\|")
        where = _chapter(claim)
        link = f"[{claim.id}](#claim-{claim.id.lower()})"
        lines.append(f"| {link} | {common} | {status(claim, by_id.get(claim.id))} | {where} |")
    return "\n".join([*lines, ""])


def _section(claim: Claim, check: Checked | None) -> str:
    lines = [f"(claim-{claim.id.lower()})=", f"### {claim.id}", ""]
    lines += [f"Often said\n: {_markdown(claim.common)}", ""]
    lines += [f"More carefully\n: {_markdown(claim.careful)}", ""]
    lines += [f"Status\n: {status(claim, check)}", ""]
    lines += [f"Kind\n: {claim.kind}", ""]
    lines += [f"Chapter\n: {_chapter(claim)}", ""]
    if check is not None:
        words = zip(claim.checks.values(), _measured_words(claim, check), strict=True)
        for number, (quantity, measured) in enumerate(words):
            begin = "Measured\n: " if number == 0 else "  "
            text = f"{_markdown(quantity.says)}: **{measured}** ({quantity.expected})"
            lines.append(f"{begin}* {text}")
        lines.append("")
    if claim.published:
        lines += [f"Published\n: {_markdown(claim.published)}", ""]
    if claim.sources:
        lines += [f"Sources\n: {{cite}}`{','.join(claim.sources)}`", ""]
    return "\n".join(lines)


def _chapter(claim: Claim) -> str:
    written = claim.chapter in chapters.listed_pages() and chapters.exists(claim.chapter)
    return f"{{doc}}`../{claim.chapter}`" if written else "not written yet"


def _markdown(text: str) -> str:
    """Make a text of the ledger safe in Markdown, and turn its keys into citations."""
    parts, end = [], 0
    for match in INLINE.finditer(text):
        parts.append(_escaped(text[end : match.start()]))
        key = match["key"]
        parts.append(f"{{cite}}`{key.replace(' ', '')}`" if key else match[0])
        end = match.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return re.sub(r"([\\_*<\[\]])", r"\\\1", text)
