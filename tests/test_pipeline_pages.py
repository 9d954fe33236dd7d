"""Generated pages: the library's reference, the exam questions, the timings. And the swap."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import nbformat
import pytest

from pipeline import api_pages, build, exam_pages, publish, stage, timings
from pipeline.chapters import ROOT, Chapter
from pipeline.execute import Run
from pipeline.messages import PipelineError

LIBRARY = '''
"""A small package.

More about it.
"""

def shrink(x: float, *, by: float = 2.0) -> float:
    """Make a number smaller by W_h * 2 [not a link].

    Args:
        x: The number, of shape (T, B).
        by: How much smaller,
            in two lines.

    Returns:
        The smaller number.

    Raises:
        ValueError: `by` is 0.
    """
    return x / by


def _hidden() -> None:
    """Nobody sees this."""


class Net:
    """A network."""

    def __init__(
        self, input_size: int, hidden_size: int, number_of_layers: int = 1, *, nonlinearity='tanh'
    ):
        pass

    def step(self, x: float) -> float:
        """Do one step."""
'''


def test_reference_page_shows_signature_and_sections(tmp_path: Path) -> None:
    package = tmp_path / "small"
    (package / "_private").mkdir(parents=True)
    (package / "__init__.py").write_text(LIBRARY)
    (package / "_private" / "secret.py").write_text('"""Secret."""\n')
    page = api_pages.page(package)
    assert "## `small`" in page and "More about it." in page
    assert "```python\nshrink(x: float, *, by: float = 2.0) -> float\n```" in page
    assert "- `x`: The number, of shape (T, B)." in page
    assert "- `by`: How much smaller, in two lines." in page
    assert "**Returns**: The smaller number." in page
    assert "**Errors**\n\n- `ValueError`: `by` is 0." in page
    assert r"W_h \* 2 \[not a link\]" in page
    assert "#### `Net.step`" in page and "    hidden_size: int,\n" in page
    assert "_hidden" not in page and "Secret" not in page


def test_reference_page_names_what_the_library_exports() -> None:
    page = api_pages.page()
    targets = re.findall(r"^\((api-[^)]+)\)=$", page, re.MULTILINE)
    assert len(targets) > 100 and len(set(targets)) == len(targets)
    for name in ("LSTM", "GRU", "RNN"):
        assert f"### `{name}`" in page
    for module in ("rnnlib.tiny", "rnnlib.claims", "rnnlib.training"):
        assert f"## `{module}`" in page


QUESTION = """\
# A chapter

::::{admonition} Question: how much (3 marks)
:class: exam
:name: own-label

How much is {glue:text}`share:.1f` of 10?

:::{admonition} Model answer
:class: dropdown
It is {glue:text}`whole`.
:::
::::
"""


def chapter_with(text: str, tmp_path: Path) -> Chapter:
    path = tmp_path / "chapter.md"
    path.write_text(text, encoding="utf8")
    return Chapter("gates/some_chapter", path)


def glued(**values: str) -> nbformat.NotebookNode:
    outputs = [
        nbformat.v4.new_output(
            "display_data",
            data={"application/papermill.record/text/plain": text},
            metadata={"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}},
        )
        for name, text in values.items()
    ]
    cell = nbformat.v4.new_code_cell(outputs=outputs)
    return nbformat.v4.new_notebook(cells=[cell])


def test_questions_carry_the_values_of_the_run(tmp_path: Path) -> None:
    chapter = chapter_with(QUESTION, tmp_path)
    page = exam_pages.collected([(chapter, glued(share="np.float64(0.2345)", whole="'all of it'"))])
    assert "1 question, 3 marks." in page
    assert "How much is 0.2 of 10?" in page and "It is all of it." in page
    assert "{glue" not in page and "own-label" not in page
    assert "### A chapter" in page and "<exam-gates-some-chapter-1>" in page
    assert exam_pages.mark_questions(chapter).count("(exam-gates-some-chapter-1)=\n::::") == 1


def test_a_question_with_a_missing_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"gates/some_chapter.*'how much' shows 'share'"):
        exam_pages.collected([(chapter_with(QUESTION, tmp_path), glued(whole="1"))])


def test_a_question_without_marks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="marks"):
        exam_pages.questions(chapter_with(QUESTION.replace(" (3 marks)", ""), tmp_path))


def test_timings_table_adds_up(tmp_path: Path) -> None:
    chapter = chapter_with("# A *chapter*\n", tmp_path)
    table = timings.table([Run(chapter, 12.4, int(3e8)), Run(chapter, 0.4, int(1e8))])
    assert "| A *chapter* | 12 s | 300 MB |" in table
    assert "less than 1 s | 100 MB" in table and "**13 s**" in table


def test_table_of_contents_loses_what_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "missing_pages", lambda: ["a/gone", "b/gone"])
    file = {"file": "book/a/here"}
    toc = {
        "root": "book/index",
        "parts": [
            {"caption": "A", "chapters": [file, {"file": "book/a/gone"}]},
            {"caption": "B", "chapters": [{"file": "book/b/gone"}]},
            {"caption": "C", "chapters": [{**file, "sections": [{"file": "book/b/gone"}]}]},
        ],
    }
    kept = stage._without_missing(toc)
    expected = [{"caption": "A", "chapters": [file]}, {"caption": "C", "chapters": [file]}]
    assert kept == {"root": "book/index", "parts": expected}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SITE", "NEXT", "PREVIOUS"):
        monkeypatch.setattr(build, name, tmp_path / name.lower())
    return tmp_path


def site(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(text)


def test_new_site_takes_the_old_ones_place(places: Path) -> None:
    site(places / "site", "old")
    site(places / "next" / "_build" / "html", "new")
    build._swap()
    assert (places / "site" / "index.html").read_text() == "new"
    assert sorted(path.name for path in places.iterdir()) == ["site"]


def test_a_swap_cut_short_loses_nothing(places: Path) -> None:
    site(places / "previous", "old")
    build._recover()
    assert (places / "site" / "index.html").read_text() == "old"
    build._recover()
    assert (places / "site" / "index.html").read_text() == "old"


def test_site_is_published_to_its_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "BUILD", tmp_path)
    site(tmp_path / "html", "page")
    (tmp_path / "html" / ".nojekyll").touch()
    work, remote = tmp_path / "work", tmp_path / "remote.git"
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@localhost"]
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    commit = [*git, "commit", "-q", "--allow-empty", "-m", "start"]
    subprocess.run(commit, cwd=work, check=True)
    for _ in range(2):
        publish.publish(str(remote), tmp_path / "html", work)
    branch = publish.PUBLISHED_BRANCH
    listing = ["git", "ls-tree", "-r", "--name-only", branch]
    names = subprocess.run(listing, cwd=remote, capture_output=True, text=True).stdout
    assert names.split() == [".nojekyll", "index.html"]
    with pytest.raises(PipelineError, match="make book"):
        publish.publish(str(remote), tmp_path / "nothing", work)


def test_template_is_not_part_of_the_book() -> None:
    assert "templates" not in (ROOT / "_toc.yml").read_text("utf8")
