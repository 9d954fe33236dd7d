"""Builds the site from exactly the outputs of the nbval run.

    python -m pipeline.build            run what is not up to date, build, print the page to open
    python -m pipeline.build --strict   the same, and fail where an output differs

The new site is built beside the old one and takes its place in one step, so a reader never finds
half a page. Where nothing has changed, nothing is built.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from filelock import FileLock

from pipeline import execute
from pipeline.chapters import BOOK, BUILD, ROOT
from pipeline.exam_pages import plain_number
from pipeline.execute import Run, executed_path
from pipeline.harvest import KEY
from pipeline.messages import PipelineError, run, say
from pipeline.stage import CACHE, stage

SITE = BUILD / "html"
NEXT = BUILD / "next"
PREVIOUS = BUILD / "previous"
LOG = BUILD / "build.log"
STAMP = ".built-from"
GLUED = "application/papermill.record/text/plain"
BUILD_SECONDS = 1200


def build(*, strict: bool = False, runs: list[Run] | None = None) -> Path:
    """Bring the site up to date and return its folder.

    Args:
        strict: fail also where an output differs from the reference.
        runs: the chapters' runs; by default, those that are not up to date are run now.

    Raises:
        PipelineError: a cell failed, or the build gave a warning.
    """
    with _only_one():
        if runs is None:
            runs = execute.run_chapters(compared=strict)
        if count := execute.report(runs, strict=strict):
            raise PipelineError(f"{count} cells failed; the site was left as it was")
        _recover()
        state = _state(runs)
        if (SITE / STAMP).is_file() and (SITE / STAMP).read_text() == state:
            say("the site is up to date")
            return SITE
        before = _fill_cache(runs)
        stage(runs)
        exit_code = _sphinx()
        _check_nothing_was_executed(before)
        _check_clean(exit_code)
        (NEXT / "_build" / "html" / STAMP).write_text(state)
        _swap()
    return SITE


def _only_one() -> FileLock:
    """Return the lock that keeps two builds apart."""
    BUILD.mkdir(exist_ok=True)
    return FileLock(BUILD / "build.lock")


def _state(runs: list[Run]) -> str:
    """Return a hash of everything that the site is made from."""
    digest = hashlib.sha256(execute.environment_digest().encode())
    files = [ROOT / "_config.yml", ROOT / "_toc.yml"]
    for folder in (BOOK, ROOT / "pipeline"):
        files += [path for path in folder.rglob("*") if path.is_file()]
    files += [executed_path(done.chapter) for done in runs]
    for path in sorted(files):
        if "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def _fill_cache(runs: list[Run]) -> set[str]:
    """Fill an empty notebook cache with the outputs of the runs; return what it holds."""
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn

    shutil.rmtree(CACHE, ignore_errors=True)
    cache = get_cache(CACHE)
    for done in runs:
        notebook = nbformat.read(executed_path(done.chapter), as_version=4)
        seconds = notebook.metadata.pop(KEY)["seconds"]
        # The cache finds a notebook by its code and metadata: they must be the chapter's own.
        notebook.metadata = done.chapter.notebook().metadata
        for output in (output for cell in notebook.cells for output in cell.outputs):
            for kind in output.get("data", {}):
                if kind == GLUED:
                    output.data[kind] = plain_number(output.data[kind])
        bundle = CacheBundleIn(notebook, done.chapter.name, data={"execution_seconds": seconds})
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return {record.hashkey for record in cache.list_cache_records()}


def _check_nothing_was_executed(before: set[str]) -> None:
    from jupyter_cache import get_cache

    cache = get_cache(CACHE)
    after = {record.hashkey for record in cache.list_cache_records()}
    tried = [record.uri for record in cache.list_project_records()]
    if after != before or tried:
        raise PipelineError(
            f"the build executed {', '.join(tried) or 'a chapter'} itself, so its page would not "
            "show what nbval has checked; run `make clean` and try again"
        )


def _sphinx() -> int:
    """Build into NEXT and write the log; return the exit code."""
    shutil.rmtree(NEXT, ignore_errors=True)
    say("building the pages")
    jupyter_book = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", jupyter_book, "build", str(BUILD / "stage")]
    command += ["--path-output", str(NEXT), "-W", "-n", "--keep-going"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, **execute.KERNEL_ENVIRONMENT, "PYTHONPATH": path}
    with LOG.open("w", encoding="utf8") as log:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=BUILD_SECONDS,
        ).returncode


def _check_clean(exit_code: int) -> None:
    """Refuse a build that failed or gave a warning, also where its exit code says nothing."""
    log = re.sub(r"\x1b\[[0-9;]*m", "", LOG.read_text(encoding="utf8"))
    found = [line for line in log.splitlines() if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)]
    if exit_code or found or not (NEXT / "_build" / "html" / "index.html").is_file():
        told = "\n".join(found) or log[-3000:]
        raise PipelineError(
            f"the build must be clean and is not (all of it: _build/build.log):\n{told}"
        )


def _swap() -> None:
    """Put the finished site where readers open it."""
    shutil.rmtree(PREVIOUS, ignore_errors=True)
    if SITE.exists():
        os.replace(SITE, PREVIOUS)
    os.replace(NEXT / "_build" / "html", SITE)
    shutil.rmtree(PREVIOUS, ignore_errors=True)
    shutil.rmtree(NEXT, ignore_errors=True)


def _recover() -> None:
    """Bring back the old site where the swap was interrupted between its two steps."""
    if PREVIOUS.exists() and not SITE.exists():
        os.replace(PREVIOUS, SITE)


def main() -> int:
    """Build the book and print the path of the page to open."""
    parser = argparse.ArgumentParser(description="execute the chapters and build the site")
    parser.add_argument("--strict", action="store_true", help="fail where an output differs")
    site = build(strict=parser.parse_args().strict)
    say(f"\nopen this page: {site / 'index.html'}")
    return 0


if __name__ == "__main__":
    run(main)
