"""Links that open a page's notebook: download, Colab, Binder, or the reader's own machine."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from . import notebooks, settings

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HOW_TO_PAGE = "book/start/how_to_use"


def links(app: Sphinx, pagename: str, context: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Label, address and description of each way to run a page's notebook."""
    place = settings.of(app)
    path = settings.notebook_path(pagename)
    ways = [
        ("Download notebook", context["pathto"](path, resource=True), "Save this page as .ipynb"),
        ("Open in Colab", place.colab(path), "Run in the browser on Google Colab"),
        ("Open in Binder", place.binder(path), "Run in the browser on mybinder.org"),
    ]
    if HOW_TO_PAGE in app.env.all_docs and pagename != HOW_TO_PAGE:
        ways.append(
            (
                "Run it in JupyterLab",
                context["pathto"](HOW_TO_PAGE),
                "How to run the book on your own machine",
            )
        )
    return ways


def add_links(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Put one line of links under the title of every page that has code."""
    body = context.get("body", "")
    if doctree is None or not notebooks.has_code(doctree) or "</h1>" not in body:
        return
    items = []
    for label, address, description in links(app, pagename, context):
        download = " download" if label.startswith("Download") else ""
        items.append(
            f'<li><a href="{escape(address)}" title="{escape(description)}"{download}>'
            f"{escape(label)}</a></li>"
        )
    line = f'\n<ul class="run-this-page" aria-label="Run this page">{"".join(items)}</ul>\n'
    context["body"] = body.replace("</h1>", "</h1>" + line, 1)


def connect(app: Sphinx) -> None:
    app.connect("html-page-context", add_links, priority=600)
