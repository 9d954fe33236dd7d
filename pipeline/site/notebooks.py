"""Every chapter's notebook as a file that runs when it is opened, anywhere.

The notebook is made from the page itself (the resolved document), so that references, citations
and glued numbers read as they do on the page, in plain Markdown; its code cells come from the
chapter's source and hold no outputs. A first cell installs rnnlib where it is missing.
"""

from __future__ import annotations

import base64
import html
import mimetypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import nbformat
from docutils import nodes
from nbformat import NotebookNode

from . import settings

if TYPE_CHECKING:
    from sphinx.application import Sphinx

Block = str | int
"""A block of Markdown, or the index of a code cell."""

SETUP = """\
# Installs the book's library where it is missing (on Colab, for example).
try:
    import rnnlib
except ImportError:
    %pip install -q "{install}"
"""
GLUE_STAND_IN = '''\
def glue(name, value, display=True):
    """On the book's page, this puts a value into the text; here it has nothing to do."""
'''
GLUE_IMPORT = re.compile(r"^from myst_nb import glue[^\S\n]*\n?", re.MULTILINE)
HIDDEN_TAGS = {"hide-input", "remove-input", "hide-cell", "remove-cell"}


def has_code(doctree: nodes.document) -> bool:
    """Whether the page comes from a notebook with at least one code cell."""
    return any(n.get("nb_element") == "cell_code" for n in doctree.findall(nodes.container))


def escape(text: str) -> str:
    """Plain text in which no character means anything to Markdown."""
    return re.sub(r"([\\`*$<]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)


def quote(text: str, prefix: str = "> ") -> str:
    return "\n".join((prefix + line).rstrip() for line in text.split("\n"))


def fence(text: str, language: str = "") -> str:
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


class MarkdownWriter:
    """Turns a resolved document into blocks of Markdown with code cells between them."""

    def __init__(self, page_address: str, image_folder: Path, numbers: dict[str, str]) -> None:
        """Remember where the page is published, where its images lie, and what is numbered how.

        Args:
            page_address: the published page, to which references point.
            image_folder: the folder from which image paths count.
            numbers: the number of each figure, table and exercise by its id on the page.
        """
        self.page_address = page_address
        self.image_folder = image_folder
        self.numbers = numbers
        self.attachments: dict[str, dict[str, str]] = {}
        self.level = 0

    # Blocks

    def blocks(self, node: nodes.Node) -> Iterator[Block]:
        """The blocks of one node, in order."""
        if isinstance(node, nodes.Element):
            for name in (type(node).__name__, *(c.__name__ for c in type(node).__mro__)):
                method = getattr(self, f"block_{name}", None)
                if method is not None:
                    yield from method(node)
                    return
            if isinstance(node, nodes.Inline):
                yield self.inline(node)
            elif isinstance(node, nodes.TextElement):
                yield self.inline_children(node)
            else:
                yield from self.children(node)
        elif isinstance(node, nodes.Text) and node.astext().strip():
            yield escape(node.astext())

    def children(self, node: nodes.Element) -> Iterator[Block]:
        for child in node.children:
            yield from self.blocks(child)

    def text_of(self, node: nodes.Element) -> str:
        """The blocks of a node as one text (where no code cell can stand)."""
        return "\n\n".join(str(b) for b in self.children(node) if isinstance(b, str) and b)

    def block_section(self, node: nodes.Element) -> Iterator[Block]:
        self.level += 1
        yield from self.children(node)
        self.level -= 1

    def block_title(self, node: nodes.Element) -> Iterator[Block]:
        yield f"{'#' * min(max(self.level, 1), 6)} {self.inline_children(node)}"

    def block_rubric(self, node: nodes.Element) -> Iterator[Block]:
        yield f"**{self.inline_children(node)}**"

    def block_paragraph(self, node: nodes.Element) -> Iterator[Block]:
        yield self.inline_children(node)

    def block_math_block(self, node: nodes.Element) -> Iterator[Block]:
        latex = node.astext().strip()
        if r"\\" in latex and not node.get("nowrap") and r"\begin{split}" not in latex:
            latex = f"\\begin{{split}}{latex}\\end{{split}}"
        if node.get("number") and not node.get("nowrap"):
            latex += f" \\tag{{{node['number']}}}"
        yield latex if node.get("nowrap") else f"$$\n{latex}\n$$"

    def block_literal_block(self, node: nodes.Element) -> Iterator[Block]:
        language = str(node.get("language", ""))
        plain = language in ("none", "default", "myst-ansi")
        yield fence(node.astext(), "" if plain else language)

    def block_bullet_list(self, node: nodes.Element) -> Iterator[Block]:
        items = (self.text_of(item) for item in node.children if isinstance(item, nodes.Element))
        yield "\n".join(f"- {self.indent(item, 2)}" for item in items)

    def block_enumerated_list(self, node: nodes.Element) -> Iterator[Block]:
        start = int(node.get("start", 1))
        items = [self.text_of(item) for item in node.children if isinstance(item, nodes.Element)]
        yield "\n".join(f"{n}. {self.indent(item, 3)}" for n, item in enumerate(items, start))

    def block_definition_list(self, node: nodes.Element) -> Iterator[Block]:
        lines = []
        for item in node.children:
            assert isinstance(item, nodes.Element)
            terms = [self.inline_children(t) for t in item.findall(nodes.term)]
            meaning = " ".join(self.text_of(d) for d in item.findall(nodes.definition))
            lines.append(f"- **{', '.join(terms)}**: {self.indent(meaning, 2)}")
        yield "\n".join(lines)

    def block_block_quote(self, node: nodes.Element) -> Iterator[Block]:
        yield quote(self.text_of(node))

    def block_transition(self, node: nodes.Element) -> Iterator[Block]:
        yield "---"

    def block_Admonition(self, node: nodes.Element) -> Iterator[Block]:
        children = list(node.children)
        title = node.tagname.replace("_", " ").capitalize()
        if children and isinstance(children[0], nodes.title):
            head = children.pop(0)
            assert isinstance(head, nodes.Element)
            title = self.inline_children(head)
            if "%s" in str(head.get("title", "")):  # sphinx-exercise counts its exercises
                title = str(head["title"]).replace("%s", self.number(node)) + title
        yield from self.box(f"**{title}**", children)

    def number(self, node: nodes.Element) -> str:
        return next((self.numbers[i] for i in node.get("ids", []) if i in self.numbers), "")

    def block_fold(self, node: nodes.Element) -> Iterator[Block]:
        """A folded block, ours (`fold`) or sphinx-design's (`dropdown_main`)."""
        children = list(node.children)
        title = "Answer"
        if children and type(children[0]).__name__ in ("fold_title", "dropdown_title"):
            head = children.pop(0)
            assert isinstance(head, nodes.Element)
            title = self.inline_html(head)
        parts = [b for child in children for b in self.blocks(child)]
        if any(isinstance(part, int) for part in parts):
            yield f"<b>{title}</b>"
            yield from parts
            return
        inside = "\n\n".join(str(part) for part in parts)
        yield f"<details>\n<summary>{title}</summary>\n\n{inside}\n\n</details>"

    block_dropdown_main = block_fold

    def block_sd_tab_label(self, node: nodes.Element) -> Iterator[Block]:
        yield f"**{self.inline_children(node)}**"

    def box(self, title: str, children: Iterable[nodes.Node]) -> Iterator[Block]:
        parts = [b for child in children for b in self.blocks(child)]
        if any(isinstance(part, int) for part in parts):
            yield title
            yield from parts
        else:
            yield quote("\n\n".join([title, *(str(part) for part in parts)]))

    def block_container(self, node: nodes.Element) -> Iterator[Block]:
        element = node.get("nb_element")
        if element == "cell_code":
            yield int(node["cell_index"])
            yield from self.captions(node)
        else:
            yield from self.children(node)

    def captions(self, node: nodes.Element) -> Iterator[str]:
        """The captions of the figures that a code cell draws."""
        for figure in node.findall(nodes.figure):
            yield from self.caption_of(figure)

    def caption_of(self, figure: nodes.Element) -> Iterator[str]:
        number = self.number(figure)
        lead = f"**Figure {number}.** " if number else ""
        for caption in figure.findall(nodes.caption):
            yield lead + self.inline_children(caption)
        for legend in figure.findall(nodes.legend):
            yield self.text_of(legend)

    def block_figure(self, node: nodes.Element) -> Iterator[Block]:
        for image in node.findall(nodes.image):
            yield self.inline(image)
        yield from self.caption_of(node)

    def block_table(self, node: nodes.Element) -> Iterator[Block]:
        for title in node.findall(nodes.title):
            number = self.number(node)
            lead = f"Table {number}. " if number else ""
            yield f"**{lead}{self.inline_children(title)}**"
        rows = [
            [self.cell(entry) for entry in row.findall(nodes.entry)]
            for row in node.findall(nodes.row)
        ]
        if not rows:
            return
        width = max(len(row) for row in rows)
        if not any(True for _ in node.findall(nodes.thead)):
            rows.insert(0, [""] * width)
        rows = [row + [""] * (width - len(row)) for row in rows]
        rows.insert(1, ["---"] * width)
        yield "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def cell(self, entry: nodes.Element) -> str:
        for formula in entry.findall(nodes.math):  # a bar would end the cell
            latex = re.sub(r"\\\|", r"\\Vert ", formula.astext()).replace("|", r"\vert ")
            formula.children = [nodes.Text(latex)]
        text = self.text_of(entry)
        return re.sub(r"(?<!\\)\|", r"\\|", re.sub(r"\s*\n\s*", "<br>", text))

    def block_raw(self, node: nodes.Element) -> Iterator[Block]:
        if node.get("format") == "html" and "<script" not in node.astext():
            yield node.astext()

    def block_footnote(self, node: nodes.Element) -> Iterator[Block]:
        label = next((n.astext() for n in node.findall(nodes.label)), "")
        body = [c for c in node.children if not isinstance(c, nodes.label)]
        text = "\n\n".join(str(b) for c in body for b in self.blocks(c))
        yield f"<sup>{label}</sup> {text}"

    def nothing(self, node: nodes.Element) -> Iterator[Block]:
        return iter(())

    block_comment = block_target = block_index = block_substitution_definition = nothing
    block_Invisible = block_system_message = block_toctree = nothing  # noqa: N815

    # Inline

    def inline_children(self, node: nodes.Element) -> str:
        return "".join(self.inline(child) for child in node.children).strip("\n")

    def inline(self, node: nodes.Node) -> str:
        """One inline node as Markdown."""
        if isinstance(node, nodes.Text):
            return escape(node.astext().replace("\n", " "))
        if not isinstance(node, nodes.Element) or isinstance(node, nodes.Invisible):
            return ""
        if isinstance(node, nodes.math):
            return f"${node.astext().strip()}$"
        if isinstance(node, nodes.literal):
            text = node.astext()
            ticks = "``" if "`" in text else "`"
            return f"{ticks}{text}{ticks}"
        if isinstance(node, nodes.image):
            return self.image(node)
        if isinstance(node, nodes.footnote_reference):
            return f"<sup>{node.astext()}</sup>"
        if isinstance(node, nodes.raw):
            wanted = node.get("format") == "html" and "<svg" not in node.astext()
            return node.astext() if wanted else ""
        inside = self.inline_children(node)
        if isinstance(node, nodes.strong):
            return f"**{inside}**"
        if isinstance(node, nodes.emphasis):
            return f"*{inside}*"
        if isinstance(node, nodes.subscript):
            return f"<sub>{inside}</sub>"
        if isinstance(node, nodes.superscript):
            return f"<sup>{inside}</sup>"
        if isinstance(node, nodes.reference) and inside:
            return f"[{inside}]({self.target(node)})"
        return inside

    def inline_html(self, node: nodes.Node) -> str:
        """One inline node as HTML, for the title of a fold, where Markdown is not read."""
        if isinstance(node, nodes.math):
            return f"${html.escape(node.astext().strip(), quote=False)}$"
        if isinstance(node, nodes.literal):
            return f"<code>{html.escape(node.astext(), quote=False)}</code>"
        if isinstance(node, nodes.Element) and not isinstance(node, nodes.raw):
            inside = "".join(self.inline_html(child) for child in node.children)
            return f"<em>{inside}</em>" if isinstance(node, nodes.emphasis) else inside
        return html.escape(node.astext(), quote=False) if isinstance(node, nodes.Text) else ""

    def target(self, node: nodes.Element) -> str:
        address = str(node.get("refuri") or f"#{node.get('refid', '')}")
        return urljoin(self.page_address, address)

    def image(self, node: nodes.Element) -> str:
        """An image kept inside the notebook, so that it shows wherever that is opened."""
        alt = escape(str(node.get("alt", "")))
        uri = str(node.get("candidates", {}).get("*", node.get("uri", "")))
        file = self.image_folder / uri
        if not file.is_file():
            return f"![{alt}]({urljoin(self.page_address, uri)})"
        kind = mimetypes.guess_type(file.name)[0] or "image/png"
        self.attachments[file.name] = {kind: base64.b64encode(file.read_bytes()).decode()}
        return f"![{alt}](attachment:{file.name})"

    @staticmethod
    def indent(text: str, width: int) -> str:
        return text.replace("\n", "\n" + " " * width)


def code_cells(source: str) -> dict[int, tuple[str, list[str]]]:
    """Source and tags of each code cell of a chapter, by its index among all cells."""
    from myst_nb.core.read import read_myst_markdown_notebook

    notebook = read_myst_markdown_notebook(source)
    return {
        index: (cell.source, list(cell.metadata.get("tags", [])))
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
    }


def build_notebook(
    blocks: Iterable[Block],
    cells: dict[int, tuple[str, list[str]]],
    attachments: dict[str, dict[str, str]],
    place: settings.Addresses,
    page_address: str,
) -> NotebookNode:
    """Put Markdown and code together; a heading begins a new Markdown cell."""
    new = nbformat.v4
    uses_glue = any(GLUE_IMPORT.search(source) for source, _ in cells.values())
    setup = SETUP.format(install=place.install) + ("\n" + GLUE_STAND_IN if uses_glue else "")
    notebook = new.new_notebook()
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["language_info"] = {"name": "python"}
    about = (
        f"*This notebook is made from [a page of the book]({page_address}), which shows it with "
        "all its outputs. Run the cells from top to bottom.*"
    )
    pending: list[str] = []
    remaining = sorted(cells)

    def flush() -> None:
        text = "\n\n".join(part for part in pending if part)
        pending.clear()
        if text:
            cell = new.new_markdown_cell(text)
            named = {n: data for n, data in attachments.items() if f"attachment:{n}" in text}
            if named:
                cell["attachments"] = named
            notebook.cells.append(cell)

    def add_code(index: int) -> None:
        flush()
        source, tags = cells[index]
        source = GLUE_IMPORT.sub("", source).strip("\n")
        if source:
            cell = new.new_code_cell(source)
            if HIDDEN_TAGS & set(tags):
                cell.metadata["jupyter"] = {"source_hidden": True}
            notebook.cells.append(cell)

    for block in blocks:
        if isinstance(block, int):
            # A cell that the page leaves out altogether still has to run.
            while remaining and remaining[0] <= block:
                add_code(remaining.pop(0))
            continue
        if re.match(r"#{1,6} ", block):
            flush()
        pending.append(block)
        if about and block.startswith("# "):
            pending.append(about)
            flush()
            notebook.cells.append(new.new_code_cell(setup.rstrip()))
            about = ""
    flush()
    while remaining:
        add_code(remaining.pop(0))

    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
    nbformat.validate(notebook)
    return notebook


def write_notebook(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Write the notebook of one page beside the finished pages."""
    if doctree is None or app.builder.format != "html" or not has_code(doctree):
        return
    place = settings.of(app)
    numbers = app.env.toc_fignumbers.get(pagename, {})
    by_id = {
        target: ".".join(str(part) for part in number)
        for targets in numbers.values()
        for target, number in targets.items()
    }
    page_address = place.page(pagename)
    writer = MarkdownWriter(page_address, Path(app.srcdir), by_id)
    blocks = list(writer.blocks(doctree.deepcopy()))
    source = Path(app.env.doc2path(pagename)).read_text("utf-8")
    notebook = build_notebook(blocks, code_cells(source), writer.attachments, place, page_address)
    target = Path(app.outdir) / settings.notebook_path(pagename)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def write_binder_environment(app: Sphinx, error: Exception | None) -> None:
    """Say to Binder what the published notebooks need."""
    if error is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / ".binder"
    folder.mkdir(exist_ok=True)
    (folder / "requirements.txt").write_text(f"jupyterlab\n{settings.of(app).install}\n", "utf-8")


def connect(app: Sphinx) -> None:
    app.connect("html-page-context", write_notebook, priority=550)
    app.connect("build-finished", write_binder_environment)
