"""Folded answers as native ``<details>``: they work by keyboard and without scripts.

Every admonition (note, tip, solution …) of class ``dropdown`` becomes one. Page search finds
text inside, and book.js opens them for printing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.locale import admonitionlabels

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class fold(nodes.General, nodes.Element):  # noqa: N801 (docutils names nodes so)
    """A folded block; its first child is a `fold_title`."""


class fold_title(nodes.Part, nodes.TextElement):  # noqa: N801
    """The line that is always visible."""


def _label(node: nodes.Element) -> str:
    return str(admonitionlabels.get(node.tagname, "Answer"))


def replace_dropdowns(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Replace every admonition of class ``dropdown``, inner ones first."""
    found = [
        node
        for node in doctree.findall(nodes.Admonition)
        if isinstance(node, nodes.Element) and "dropdown" in node.get("classes", [])
    ]
    for node in reversed(found):
        classes = list(dict.fromkeys(["admonition", *node["classes"]]))
        new = fold("", ids=node.get("ids", []), names=node.get("names", []), classes=classes)
        children = list(node.children)
        title = fold_title()
        if children and isinstance(children[0], nodes.title):
            title.extend(children.pop(0).children)
        else:
            title += nodes.Text(_label(node))
        for link in list(title.findall(nodes.reference)):  # a link must not stand inside a button
            link.replace_self(nodes.inline("", "", *link.children))
        node.children = []
        new += title
        new.extend(children)
        node.replace_self(new)


def visit_fold(translator: Any, node: fold) -> None:
    attributes = {"open": "open"} if "open" in node["classes"] else {}
    translator.body.append(translator.starttag(node, "details", **attributes))


def depart_fold(translator: Any, node: fold) -> None:
    translator.body.append("</details>\n")


def visit_fold_title(translator: Any, node: fold_title) -> None:
    translator.body.append(translator.starttag(node, "summary", "", CLASS="admonition-title"))


def depart_fold_title(translator: Any, node: fold_title) -> None:
    translator.body.append("</summary>\n")


def _skip(translator: Any, node: nodes.Element) -> None:
    pass


def connect(app: Sphinx) -> None:
    plain = (_skip, _skip)
    app.add_node(fold, html=(visit_fold, depart_fold), latex=plain, text=plain)
    app.add_node(fold_title, html=(visit_fold_title, depart_fold_title), latex=plain, text=plain)
    app.connect("doctree-resolved", replace_dropdowns, priority=900)
