"""What all tests share: one run of the chapters, one built site, and the cheapest tests first."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import build, execute
from pipeline.execute import Run

# From cheap to dear; a file that is not named here holds unit tests and comes after the first two.
ORDER = (
    "test_style.py",
    "test_environment.py",
    "",
    "test_sync.py",
    "test_pipeline_",
    "test_nbval.py",
    "test_ledger.py",
    "test_site_",
    "test_budgets.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> tuple[int, bool]:
    name = item.path.name
    ranks = [rank for rank, start in enumerate(ORDER) if start and name.startswith(start)]
    return (
        ranks[0] if ranks else ORDER.index(""),
        "built_site" in getattr(item, "fixturenames", ()),
    )


@pytest.fixture(scope="session")
def runs() -> dict[str, Run]:
    """Return every chapter's run by nbval, compared with the references; run what is not fresh."""
    return {done.chapter.name: done for done in execute.run_chapters(compared=True)}


@pytest.fixture(scope="session")
def built_site(runs: dict[str, Run]) -> Path:
    """Return the site, built from exactly the outputs of `runs`."""
    return build.build(runs=list(runs.values()))
