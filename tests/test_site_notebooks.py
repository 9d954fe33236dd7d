"""The notebooks that readers download run as they are, and say what the page says."""

from __future__ import annotations

import ast
import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from sphinx.errors import ConfigError

from pipeline.chapters import ROOT, chapters
from pipeline.site import notebooks, settings
from tests.browser.planted import PIXEL

REPOSITORY = "https://github.com/somebody/some-book"
HEADER = """---
file_format: mystnb
kernelspec:
  name: python3
  display_name: Python 3
---

"""
PAGE = (
    HEADER
    + r"""# A small page

See {ref}`the code <code-part>`, {eq}`sum`, {numref}`fig-line` and {doc}`other`.

$$
a_t = a_{t-1} + x_t
$$ (sum)

$$
a &= b \\
c &= d
$$

```{code-cell} ipython3
:tags: [remove-cell]
hidden = 41
```

(code-part)=
## Code

```{code-cell} ipython3
from myst_nb import glue
answer = hidden + 1
glue("answer", answer, display=False)
print(answer)
```

The answer is {glue:text}`answer`. A price of 5 $ and a * star.

```{code-cell} ipython3
---
mystnb:
  image:
    alt: One line that rises
  figure:
    name: fig-line
    caption: A line that **rises**.
tags: [hide-input]
---
from IPython.display import Image
Image(data=__import__("base64").b64decode("PIXEL"))
```

::::{admonition} Question: a sum (2 marks)
:class: exam

What is $1 + 1$?

:::{admonition} Model answer for $x_t$
:class: dropdown

Two, see `sum`.
:::
::::

| value | meaning |
| --- | --- |
| $\|x\|$ | size |

```{image} picture.png
:alt: A grey square that stands for a figure
```

```{glossary}
state
  What is kept.
```

The {term}`state` is kept.[^note]

[^note]: A note.
""".replace("PIXEL", base64.b64encode(PIXEL).decode())
)
MYST = re.compile(r"\{[a-z:]+\}`|^\s*:::|^```\{|^\([a-z-]+\)=$|\[\^", re.MULTILINE)


@pytest.fixture(scope="module")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build two pages with the book's extension; return the finished site."""
    from sphinx.application import Sphinx

    source = tmp_path_factory.mktemp("source")
    (source / "book").mkdir()
    (source / "book" / "page.md").write_text(PAGE, "utf-8")
    (source / "book" / "other.md").write_text("# Another page\n\nText only.\n", "utf-8")
    (source / "book" / "picture.png").write_bytes(PIXEL)
    (source / "index.md").write_text(
        "# Start\n\n```{toctree}\nbook/page\nbook/other\n```\n", "utf-8"
    )
    output = tmp_path_factory.mktemp("site")
    app = Sphinx(
        srcdir=source,
        confdir=None,
        outdir=output,
        doctreedir=tmp_path_factory.mktemp("doctrees"),
        buildername="html",
        status=None,
        warningiserror=True,
        confoverrides={
            "extensions": ["myst_nb", "sphinx_book_theme", "pipeline.site"],
            "html_theme": "sphinx_book_theme",
            "html_theme_options": {"repository_url": REPOSITORY},
            "myst_enable_extensions": ["dollarmath", "colon_fence", "deflist"],
            "nb_execution_mode": "force",
            "numfig": True,
            "project": "A book",
        },
    )
    app.build()
    assert app.statuscode == 0
    return output


@pytest.fixture(scope="module")
def notebook(small_site: Path) -> NotebookNode:
    return nbformat.read(small_site / "_notebooks" / "page.ipynb", as_version=4)


def text(notebook: NotebookNode, kind: str = "markdown") -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == kind)


def run_in_empty_folder(notebook: NotebookNode, folder: Path, timeout: int = 60) -> NotebookNode:
    """Run a notebook where nothing of this repository lies, with rnnlib on the path."""
    kernel_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": kernel_path, "MPLBACKEND": "agg"}
    client = NotebookClient(
        notebook, timeout=timeout, resources={"metadata": {"path": str(folder)}}
    )
    return client.execute(env=environment)


def test_only_pages_with_code_have_a_notebook(small_site: Path) -> None:
    found = [p.relative_to(small_site).as_posix() for p in small_site.rglob("*.ipynb")]
    assert found == ["_notebooks/page.ipynb"]


def test_nothing_is_left_of_myst(notebook: NotebookNode) -> None:
    assert MYST.search("see {ref}`x`") and MYST.search(":::{note}") and MYST.search("```{note}")
    assert not MYST.search(text(notebook))
    assert "myst_nb" not in text(notebook, "code")


def test_text_says_what_the_page_says(notebook: NotebookNode) -> None:
    markdown = text(notebook)
    site = "https://somebody.github.io/some-book/book/page.html"
    assert markdown.startswith("# A small page")
    assert "The answer is 42." in markdown
    assert "5 \\$ and a \\* star" in markdown
    assert f"[the code]({site}#code-part)" in markdown
    assert "[Another page](https://somebody.github.io/some-book/book/other.html)" in markdown
    assert "a_t = a_{t-1} + x_t \\tag{1}" in markdown
    assert "\\begin{split}a &= b \\\\" in markdown
    assert "**Figure 1.** A line that **rises**." in markdown
    assert "> <summary>Model answer for $x_t$</summary>" in markdown
    assert "> Two, see `sum`." in markdown
    assert "| $\\vert x\\vert$ | size |" in markdown
    assert "- **state**: What is kept." in markdown
    assert "![A grey square that stands for a figure](attachment:picture.png)" in markdown
    (cell,) = [c for c in notebook.cells if "attachments" in c]
    assert base64.b64decode(cell.attachments["picture.png"]["image/png"]) == PIXEL


def test_cells_keep_their_order_and_hold_no_output(notebook: NotebookNode) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert ["import rnnlib" in c.source for c in code] == [True, False, False, False]
    assert [next(iter(c.source.split())) for c in code[1:]] == ["hidden", "answer", "from"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert code[3].metadata.jupyter.source_hidden


def test_setup_installs_from_the_repository_only_when_missing(notebook: NotebookNode) -> None:
    setup = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    before, after = setup.split("except ImportError:")
    assert "import rnnlib" in before and "pip" not in before
    assert f'%pip install -q "rnnlib @ git+{REPOSITORY}"' in after


def test_notebook_runs_in_an_empty_folder(notebook: NotebookNode, tmp_path: Path) -> None:
    finished = run_in_empty_folder(nbformat.from_dict(notebook), tmp_path)
    printed = [o.text for c in finished.cells for o in c.get("outputs", []) if "text" in o]
    assert printed == ["42\n"]


def test_links_open_the_published_notebook(small_site: Path) -> None:
    page = (small_site / "book" / "page.html").read_text("utf-8")
    assert 'href="../_notebooks/page.ipynb"' in page
    assert (
        "https://colab.research.google.com/github/somebody/some-book/blob/gh-pages"
        "/_notebooks/page.ipynb" in page
    )
    assert (
        "https://mybinder.org/v2/gh/somebody/some-book/gh-pages"
        "?urlpath=lab%2Ftree%2F_notebooks%2Fpage.ipynb" in page
    )
    assert "run-this-page" not in (small_site / "book" / "other.html").read_text("utf-8")
    binder = (small_site / ".binder" / "requirements.txt").read_text("utf-8")
    assert f"rnnlib @ git+{REPOSITORY}" in binder


@pytest.mark.parametrize(
    "address", ["", "https://github.com/somebody", "https://gitlab.com/a/b", "somebody/some-book"]
)
def test_a_wrong_repository_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="expected https://github"):
        settings.addresses(address)


# The book


def published(site: Path, name: str) -> NotebookNode:
    return nbformat.read(site / settings.notebook_path(f"book/{name}"), as_version=4)


@pytest.mark.parametrize("chapter", chapters(), ids=lambda chapter: chapter.name)
def test_every_chapter_has_its_notebook(built_site: Path, chapter: notebooks.Any) -> None:
    made = published(built_site, chapter.name)
    assert not MYST.search(re.sub(r"```.*?```", "", text(made), flags=re.DOTALL))
    own = [notebooks.GLUE_IMPORT.sub("", source).strip("\n") for source, _ in cells(chapter.path)]
    code = [cell.source for cell in made.cells if cell.cell_type == "code"]
    assert code[1:] == [source for source in own if source]
    for source in code[1:]:
        ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE))
    page = (built_site / "book" / f"{chapter.name}.html").read_text("utf-8")
    assert "run-this-page" in page


def cells(path: Path) -> list[tuple[str, list[str]]]:
    return list(notebooks.code_cells(path.read_text("utf-8")).values())


def test_a_published_notebook_runs_in_an_empty_folder(built_site: Path, tmp_path: Path) -> None:
    """The chapter with the fewest cells: the others run cell by cell under nbval anyway."""
    shortest = min(chapters(), key=lambda chapter: len(cells(chapter.path)))
    run_in_empty_folder(published(built_site, shortest.name), tmp_path, timeout=120)


def test_an_installed_library_brings_claims_and_records(tmp_path: Path) -> None:
    """What Colab and Binder install is the wheel: it must hold the files that chapters read."""
    wheels, target, empty = (tmp_path / name for name in ("wheels", "target", "empty"))
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)]
    subprocess.run(build, check=True, timeout=120)
    (wheel,) = wheels.glob("rnnlib-*.whl")
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, timeout=120)
    look = (
        "import rnnlib.claims, rnnlib.records, experiments, pathlib;"
        "home = pathlib.Path(rnnlib.__file__).parents[1];"
        f"assert home == pathlib.Path({str(target)!r}), home;"
        "assert (home / 'rnnlib' / '_data' / 'claims.yml').is_file();"
        "assert 'C01' in rnnlib.claims.load_claims()"
    )
    environment = {**os.environ, "PYTHONPATH": str(target)}
    subprocess.run(
        [sys.executable, "-P", "-c", look], check=True, cwd=empty, env=environment, timeout=120
    )
    records = {p.name for p in (ROOT / "rnnlib" / "_records").glob("*.json")}
    assert records == {p.name for p in (target / "rnnlib" / "_records").glob("*.json")}
