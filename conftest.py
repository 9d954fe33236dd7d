"""nbval's side of the pipeline: what is compared, how cells are run, what is kept.

`pytest --nbval NOTEBOOK` compares with these settings wherever it is called.
With `--harvest FILE` it also writes the executed notebook, its outputs, time and memory; that is
how `pipeline/execute.py` runs a chapter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import harvest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--harvest", default=None, help="write the executed notebook to this file")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.nbval:
        harvest.adapt_nbval()
        if config.option.nbval_sanitize_with is None:
            patterns = Path(__file__).parent / "tests" / "nbval_sanitize.cfg"
            config.option.nbval_sanitize_with = str(patterns)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for notebook in {item.parent for item in items if harvest.is_cell(item)}:
        notebook.skip_compare = (*notebook.skip_compare, *harvest.NOT_COMPARED)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    outcome = yield
    if harvest.is_cell(item) and item.config.option.harvest:
        harvest.note(item, call, outcome.get_result())


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.option.harvest:
        harvest.write(session.items, Path(session.config.option.harvest))
