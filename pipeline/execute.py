"""Runs the chapters by nbval and keeps what they put out.

    python -m pipeline.execute                 run what is not up to date, compare, tell
    python -m pipeline.execute --strict        the same, and fail where an output differs
    python -m pipeline.execute --again         run everything once more
    python -m pipeline.execute --references    run, and store the outputs as the new references

A chapter is up to date while nothing has changed that could change its outputs: its code, the
library, the experiments and their records, its claims, the lock file, the installed packages.
Every finished chapter is kept at once, so an interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import yaml
from filelock import FileLock
from nbformat import NotebookNode

from pipeline import references
from pipeline.chapters import BUILD, EXECUTED, ROOT, Chapter, chapters, code_cells
from pipeline.harvest import KEY, write_whole
from pipeline.messages import PipelineError, run, say

CELL_SECONDS = 240
CHAPTER_SECONDS = 900

# One thread, so that sums have one order; no progress bars, because their last line holds a time.
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
    "JUPYTER_PLATFORM_DIRS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


@dataclass
class Run:
    """One chapter's last execution."""

    chapter: Chapter
    seconds: float = 0.0
    peak_bytes: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    reused: bool = False

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [failure for failure in self.failures if failure["kind"] == "error"]

    @property
    def differences(self) -> list[dict[str, Any]]:
        return [failure for failure in self.failures if failure["kind"] == "difference"]


def executed_path(chapter: Chapter) -> Path:
    """Return where a chapter's executed notebook lies."""
    return EXECUTED / f"{chapter.name}.ipynb"


def executed(chapter: Chapter) -> NotebookNode:
    """Return a chapter's executed notebook: the code cells with the outputs of the last run."""
    return nbformat.read(executed_path(chapter), as_version=4)


@cache
def environment_digest() -> str:
    """Return a hash of all that every chapter depends on."""
    digest = hashlib.sha256()
    for path in _shared_files():
        digest.update(str(path.relative_to(ROOT)).encode())
        digest.update(path.read_bytes())
    packages = sorted(
        f"{package.metadata['Name']}=={package.version}"
        for package in importlib.metadata.distributions()
    )
    facts = [platform.python_version(), platform.machine(), packages, KERNEL_ENVIRONMENT]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _shared_files() -> list[Path]:
    files = [ROOT / "requirements.lock", ROOT / "conftest.py", ROOT / "pipeline" / "harvest.py"]
    for folder in ("rnnlib", "experiments"):
        files += (ROOT / folder).rglob("*")
    wanted = {".py", ".json", ".safetensors", ".txt", ".lock", ".yml", ".csv", ".npz"}
    return sorted(path for path in files if path.is_file() and path.suffix in wanted)


def key(chapter: Chapter) -> str:
    """Return a hash of everything that can change a chapter's outputs."""
    cells = [[cell.source, dict(cell.metadata)] for cell in code_cells(chapter.notebook())]
    facts = [environment_digest(), chapter.name, cells, _claims_of(chapter)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _claims_of(chapter: Chapter) -> list[Any]:
    path = ROOT / "book" / "claims.yml"
    entries = yaml.safe_load(path.read_text(encoding="utf8")) if path.is_file() else []
    return [
        entry
        for entry in entries or []
        if entry.get("chapter") == chapter.name or str(entry.get("id")) in chapter.text
    ]


def last_run(chapter: Chapter, compared: bool) -> Run | None:
    """Return the stored run of a chapter, or None where it is not up to date.

    Args:
        chapter: which chapter.
        compared: ask that the run was compared with the reference as it stands now.
    """
    try:
        facts = executed(chapter).metadata[KEY]
    except (OSError, KeyError, ValueError, nbformat.reader.NotJSONError):
        return None
    if facts["key"] != key(chapter) or any(f["kind"] == "error" for f in facts["failures"]):
        return None
    if compared and facts["reference"] != references.digest(chapter):
        return None
    return Run(chapter, facts["seconds"], facts["peak_bytes"], facts["failures"], reused=True)


def execute(chapter: Chapter) -> Run:
    """Run one chapter by nbval in a process of its own, and keep its outputs."""
    notebook_path = BUILD / "run" / f"{chapter.name}.ipynb"
    harvested = BUILD / "run" / f"{chapter.name}.harvest.ipynb"
    digest, started_with = references.digest(chapter), key(chapter)
    harvested.unlink(missing_ok=True)
    write_whole(notebook_path, nbformat.writes(references.with_expected_outputs(chapter)) + "\n")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"]
    command += [f"--nbval-cell-timeout={CELL_SECONDS}", f"--harvest={harvested}"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=", "-o", "timeout=0"]
    command += ["--color=no", "-q", f"--rootdir={ROOT}", str(notebook_path)]
    try:
        finished = subprocess.run(
            command,
            cwd=ROOT,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=CHAPTER_SECONDS,
        )
        output = finished.stdout + finished.stderr
    except subprocess.TimeoutExpired:
        return _broken(chapter, f"stopped after {CHAPTER_SECONDS} seconds")
    if not harvested.is_file():
        return _broken(chapter, output[-3000:])
    notebook = nbformat.read(harvested, as_version=4)
    facts = notebook.metadata[KEY]
    facts["key"], facts["reference"] = started_with, digest
    if not facts["finished"] and not facts["failures"]:
        return _broken(chapter, "a cell was not executed (is one tagged nbval-skip?)")
    write_whole(executed_path(chapter), nbformat.writes(notebook, sort_keys=False) + "\n")
    harvested.unlink()
    return Run(chapter, facts["seconds"], facts["peak_bytes"], facts["failures"])


def _broken(chapter: Chapter, message: str) -> Run:
    failure = {"cell": 0, "kind": "error", "message": message, "source": ""}
    return Run(chapter, failures=[failure])


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        **KERNEL_ENVIRONMENT,
        "PYTHONPATH": path,
        # A person's own start-up files must not change what a chapter prints.
        "IPYTHONDIR": str(BUILD / "ipython"),
        "PYTEST_ADDOPTS": "",
    }


def run_chapters(
    wanted: Iterable[Chapter] | None = None, *, again: bool = False, compared: bool = True
) -> list[Run]:
    """Bring chapters up to date, several at a time, and return their runs in reading order.

    Args:
        wanted: which chapters; all of them by default.
        again: run also those that are up to date.
        compared: run also those that were compared with another reference than today's.
    """
    BUILD.mkdir(exist_ok=True)
    with FileLock(BUILD / "execute.lock"):
        environment_digest.cache_clear()
        todo = list(chapters() if wanted is None else wanted)
        runs = {c.name: found for c in todo if not again and (found := last_run(c, compared))}
        if runs:
            say(f"{len(runs)} of {len(todo)} chapters are up to date")
        rest = [chapter for chapter in todo if chapter.name not in runs]
        runs |= {done.chapter.name: done for done in _execute_all(rest)}
    return [runs[chapter.name] for chapter in todo]


def _execute_all(rest: list[Chapter]) -> list[Run]:
    """Execute several chapters at a time; those that measure time run alone, after the others."""

    def work(chapter: Chapter) -> Run:
        done = execute(chapter)
        say(_line(done))
        return done

    together = [chapter for chapter in rest if not chapter.runs_alone]
    with ThreadPoolExecutor(_processes()) as pool:
        futures = [pool.submit(work, chapter) for chapter in together]
        try:
            found = [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found + [work(chapter) for chapter in rest if chapter.runs_alone]


def _processes() -> int:
    return int(os.environ.get("BOOK_PROCESSES", 0)) or max(1, min(4, os.cpu_count() or 1))


def _line(done: Run) -> str:
    verdict = "ok"
    if done.errors:
        verdict = "FAILED"
    elif done.differences:
        verdict = f"{len(done.differences)} cells put out something else than the reference"
    megabytes = done.peak_bytes / 1e6
    return f"  {done.chapter.name:<32} {done.seconds:6.1f} s {megabytes:6.0f} MB   {verdict}"


def describe(chapter: Chapter, failure: dict[str, Any]) -> str:
    """Say in which cell a chapter failed and how."""
    title = "cell failed" if failure["kind"] == "error" else "output differs from the reference"
    indented = "\n".join(f"    {line}" for line in failure["message"].splitlines())
    return f"book/{chapter.name}.md, code cell {failure['cell'] + 1}: {title}\n{indented}"


def report(runs: list[Run], strict: bool) -> int:
    """Print the failures that count and remark on the others; return how many count.

    Of a chapter's errors only the first is shown, because the rest mostly follow from it.
    """
    count = 0
    for done in runs:
        for failure in done.errors[:1]:
            say(describe(done.chapter, failure))
            if further := len(done.errors) - 1:
                say(f"    ({further} further cells of this chapter failed)")
        for failure in done.differences:
            say(("" if strict else "remark: ") + describe(done.chapter, failure))
        count += len(done.failures if strict else done.errors)
    return count


def write_references(runs: list[Run]) -> None:
    """Store the outputs of finished runs as references, and remove those without a chapter."""
    for done in runs:
        if references.write(done.chapter, executed(done.chapter)):
            say(f"  tests/reference/{done.chapter.name}.ipynb written")
    for path in references.orphans(chapters()):
        (ROOT / path).unlink()
        say(f"  {path} removed: its chapter no longer exists")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="run the chapters by nbval")
    parser.add_argument("names", nargs="*", help="chapters such as recurrence/rnn (default: all)")
    parser.add_argument("--strict", action="store_true", help="fail where an output differs")
    parser.add_argument("--again", action="store_true", help="run also what is up to date")
    parser.add_argument("--references", action="store_true", help="store the outputs")
    options = parser.parse_args()
    everything = chapters()
    names = [name.removeprefix("book/").removesuffix(".md") for name in options.names]
    unknown = set(names) - {chapter.name for chapter in everything}
    if unknown:
        known = ", ".join(chapter.name for chapter in everything) or "none"
        raise PipelineError(f"no chapter {', '.join(sorted(unknown))}; the chapters are: {known}")
    wanted = [chapter for chapter in everything if not names or chapter.name in names]
    runs = run_chapters(wanted, again=options.again, compared=not options.references)
    counted = [Run(done.chapter, failures=done.errors) for done in runs]
    failed = report(counted if options.references else runs, strict=options.strict)
    if options.references:
        write_references([done for done in runs if not done.errors])
    if failed:
        say(f"{failed} cells failed")
        return 1
    say(f"{len(runs)} chapters, {sum(done.seconds for done in runs):.0f} s of execution: all well")
    return 0


if __name__ == "__main__":
    run(main)
