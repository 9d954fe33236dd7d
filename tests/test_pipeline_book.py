"""The whole way from chapter to page, on a small book of its own: the chapter template.

Each step is a real run in a copy of the repository, so that planted faults hurt nobody.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from pipeline.chapters import ROOT

TOC = """\
format: jb-book
root: book/index
chapters:
  - file: book/recurrence/leaky
  - file: book/back/exam
  - file: book/back/never_written
"""
INDEX = "# A small book\n\nSee {doc}`recurrence/leaky`.\n"
EXAM = "# Exam\n\n## Questions\n\n<!-- collected questions -->\n\n## Times\n\n<!-- timings -->\n"
HEADER = """\
---
file_format: mystnb
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# Odd

"""
PAGE = "_build/html/book/recurrence/leaky.html"


class SmallBook:
    """A copy of the repository with one chapter."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("pipeline", "rnnlib", "experiments"):
            shutil.copytree(ROOT / folder, root / folder)
        shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
        for name in ("conftest.py", "_config.yml", "requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, root / name)
        self.write(
            "tests/nbval_sanitize.cfg", (ROOT / "tests/nbval_sanitize.cfg").read_text("utf8")
        )
        self.write("book/references.bib", (ROOT / "book/references.bib").read_text("utf8"))
        self.write("_toc.yml", TOC)
        self.write("book/index.md", INDEX)
        self.write("book/back/exam.md", EXAM)
        self.write("book/recurrence/leaky.md", (ROOT / "templates/chapter.md").read_text("utf8"))

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")

    def read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf8")

    def edit(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
        self.write(name, text.replace(old, new))

    def start(self, module: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": "", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, module: str, *arguments: str, expect: int = 0, **environment: str) -> str:
        process = self.start(module, *arguments, **environment)
        output, _ = process.communicate(timeout=500)
        assert process.returncode == expect, output
        return output


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> SmallBook:
    """Return the small book with references and a finished site."""
    small = SmallBook(tmp_path_factory.mktemp("small") / "book")
    assert "leaky.ipynb written" in small.run("pipeline.execute", "--references")
    assert "all well" in small.run("pipeline.execute", "--strict")
    assert "index.html" in small.run("pipeline.build", "--strict")
    return small


@pytest.fixture
def kept(book: SmallBook) -> Iterator[SmallBook]:
    """Return the small book, and bring its sources and its runs back afterwards."""
    saved = book.root.parent / "saved"
    shutil.copytree(book.root, saved, symlinks=True)
    yield book
    shutil.rmtree(book.root)
    os.replace(saved, book.root)


def test_template_becomes_a_page_with_measured_figures(book: SmallBook) -> None:
    page = book.read(PAGE)
    assert re.search(r"the code runs in (less than 1|\d+) s and needs \d+ MB of memory", page)
    assert "our loop equals torch.nn.RNN" in page
    assert "{{" not in page
    assert 'alt="Three falling curves' in page


def test_exam_page_collects_the_questions_and_links_back(book: SmallBook) -> None:
    page = book.read("_build/html/book/back/exam.html")
    assert "2 questions, 3 marks." in page
    assert "After two steps" in page
    assert re.search(r'href="\.\./recurrence/leaky\.html#exam-recurrence-leaky-1"', page)
    assert 'id="exam-recurrence-leaky-1"' in book.read(PAGE)
    assert "The leaky sum</td>" in page or "<p>The leaky sum</p>" in page


def test_without_a_change_nothing_is_executed_or_built(book: SmallBook) -> None:
    before = (book.root / PAGE).stat()
    output = book.run("pipeline.build", "--strict")
    assert "1 of 1 chapters are up to date" in output and "the site is up to date" in output
    assert (book.root / PAGE).stat() == before


def test_a_reworded_sentence_is_built_but_not_executed(kept: SmallBook) -> None:
    kept.edit("book/recurrence/leaky.md", "It holds all the past", "It keeps all the past")
    output = kept.run("pipeline.build", "--strict")
    assert "1 of 1 chapters are up to date" in output and "building" in output
    assert "It keeps all the past" in kept.read(PAGE)


def test_references_can_be_checked_by_nbval_alone(book: SmallBook) -> None:
    output = book.run("pytest", "--nbval", "-p", "no:cacheprovider", "tests/reference")
    assert " passed" in output and "failed" not in output


def test_reference_has_no_picture_and_does_not_change_by_itself(kept: SmallBook) -> None:
    path = "tests/reference/recurrence/leaky.ipynb"
    before = kept.read(path)
    assert "image/png" in before and "iVBOR" not in before
    assert "written" not in kept.run("pipeline.execute", "--references", "--again")
    assert kept.read(path) == before


def test_a_changed_formula_is_red_at_its_cell(kept: SmallBook) -> None:
    site = kept.read(PAGE)
    kept.edit(
        "book/recurrence/leaky.md", "np.concatenate([x, x]), a=0.5", "np.sin([*x, *x]), a=0.5"
    )
    output = kept.run("pipeline.execute", "--strict", expect=1)
    assert "book/recurrence/leaky.md, code cell 6: output differs" in output
    assert output.count("output differs") == 1
    # A reader's machine: a remark, and the page shows what this machine has computed.
    output = kept.run("pipeline.build")
    assert "remark: book/recurrence/leaky.md, code cell 6: output differs" in output
    assert kept.read(PAGE) != site


def test_a_changed_library_or_claim_runs_its_chapters_again(kept: SmallBook) -> None:
    with (kept.root / "rnnlib" / "tiny.py").open("a", encoding="utf8") as file:
        file.write("\n# a change\n")
    state = "import pipeline.execute as e; from pipeline.chapters import chapters\n"
    state += "print([e.last_run(c, compared=True) is not None for c in chapters()])"
    command = [sys.executable, "-c", state]

    def fresh() -> str:
        return subprocess.run(
            command, cwd=kept.root, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert fresh() == "[False]"
    kept.edit("rnnlib/tiny.py", "\n# a change\n", "")
    assert fresh() == "[True]"
    kept.write("book/claims.yml", "- {id: C99, chapter: gates/lstm}\n")
    assert fresh() == "[True]"
    kept.write("book/claims.yml", "- {id: C99, chapter: recurrence/leaky}\n")
    assert fresh() == "[False]"
    (kept.root / "book/claims.yml").unlink()
    kept.write("requirements.lock", "")
    assert fresh() == "[False]"


def test_a_failing_cell_leaves_the_site_as_it_was(kept: SmallBook) -> None:
    site = kept.read(PAGE)
    kept.edit(
        "book/recurrence/leaky.md",
        'assert difference < 1e-15\nprint("loop',
        'assert 0\nprint("loop',
    )
    output = kept.run("pipeline.build", expect=1)
    assert "book/recurrence/leaky.md, code cell 3: cell failed" in output
    assert "AssertionError" in output and "the site was left as it was" in output
    assert kept.read(PAGE) == site


def test_a_warning_fails_every_time_and_leaves_the_site_as_it_was(kept: SmallBook) -> None:
    site = kept.read(PAGE)
    kept.edit("book/index.md", "See", "See {ref}`nowhere` and")
    for _ in range(2):
        output = kept.run("pipeline.build", expect=1)
        assert "nowhere" in output and "WARNING" in output
        assert kept.read(PAGE) == site


def test_the_build_may_not_execute_anything_itself(kept: SmallBook) -> None:
    kept.edit("book/index.md", "See", "See again")
    kept.edit(
        "pipeline/build.py", "check_validity=False", "check_validity=bool(notebook.cells.pop())"
    )
    output = kept.run("pipeline.build", expect=1)
    assert "the build executed" in output and "leaky" in output


ODD_CELLS = """\
```{code-cell} ipython3
import os, random, sys, time
from IPython.display import HTML, display
print("steady", file=sys.stderr)
"a semicolon hides this";
```

```{code-cell} ipython3
value = random.random()
display(HTML(f'<b>C99</b> <span class="measured">{value}</span> holds'))
display({"text/plain": "C99", "application/vnd.rnnlib.claim+json": {"value": value}}, raw=True)
print(object())
```

```{code-cell} ipython3
:tags: [nbval-ignore-output]
print(time.perf_counter())
```

```{code-cell} ipython3
print(time.perf_counter())
```

```{code-cell} ipython3
1 / 0
```

```{code-cell} ipython3
os._exit(1)
```

```{code-cell} ipython3
print("never")
```
"""


def test_what_is_compared_and_how_a_dead_kernel_is_noticed(kept: SmallBook) -> None:
    kept.write(
        "_toc.yml", TOC.replace("  - file: book/back/exam\n", "  - file: book/recurrence/odd\n")
    )
    sound, dying = ODD_CELLS.split("```{code-cell} ipython3\n1 / 0", 1)
    kept.write("book/recurrence/odd.md", HEADER + sound)
    kept.run("pipeline.execute", "--references", "recurrence/odd")
    kept.write("book/recurrence/odd.md", HEADER + sound + "```{code-cell} ipython3\n1 / 0" + dying)
    started = time.monotonic()
    output = kept.run("pipeline.execute", "--strict", "recurrence/odd", expect=1)
    assert time.monotonic() - started < 120, "a dead kernel must not wait out the cell's time limit"
    # Measured values, addresses and tagged cells are not compared; the untagged clock is.
    assert "code cell 4: output differs" in output and output.count("output differs") == 1
    assert "code cell 5: cell failed" in output and "ZeroDivisionError" in output
    executed = nbformat.read(kept.root / "_build/executed/recurrence/odd.ipynb", as_version=4)
    assert [output.output_type for output in executed.cells[0].outputs] == ["stream"]
    failures = executed.metadata["book_run"]["failures"]
    assert [failure["cell"] + 1 for failure in failures] == [4, 5, 6, 7]
    assert "the kernel died" in failures[2]["message"]


def test_an_interrupted_run_continues_where_it_stopped(kept: SmallBook) -> None:
    kept.write("_toc.yml", TOC + "  - file: book/recurrence/slow\n")
    nap = "```{code-cell} ipython3\nimport os, time\ntime.sleep(float(os.environ['NAP']))\n```\n"
    kept.write("book/recurrence/slow.md", HEADER.replace("Odd", "Slow") + nap)
    kept.edit("book/recurrence/leaky.md", 'print("without memory:", x)', 'print("without:", x)')
    site = kept.read(PAGE)
    process = kept.start("pipeline.build", NAP="300")
    assert process.stdout
    for line in process.stdout:
        if "recurrence/leaky" in line:
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "continues from here" in output
    assert kept.read(PAGE) == site
    output = kept.run("pipeline.build", NAP="0")
    assert "1 of 2 chapters are up to date" in output
    assert "without: " in kept.read(PAGE)
