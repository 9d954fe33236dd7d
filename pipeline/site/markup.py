"""Repair markup that other extensions write and that screen readers stumble over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# sphinx-exercise gives the same id to the content of every exercise and of every solution.
REPEATED_IDS = ("exercise-content", "solution-content")
# A list whose children say that they are something else than list items.
ROLES = (('role="doc-biblioentry"', 'role="listitem"'),)


def drop_repeated_ids(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for section in doctree.findall(nodes.section):
        if any(identifier.startswith(REPEATED_IDS) for identifier in section["ids"]):
            section["ids"] = []


def correct_roles(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    body = context.get("body")
    if body:
        for wrong, right in ROLES:
            body = body.replace(wrong, right)
        context["body"] = body


def connect(app: Sphinx) -> None:
    app.connect("doctree-resolved", drop_repeated_ids, priority=890)
    app.connect("html-page-context", correct_roles, priority=590)
