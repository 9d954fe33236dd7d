"""A progress bar for people; silent where nobody watches, so that outputs can be compared."""

from __future__ import annotations

import os
import sys
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, description: str = "", initial: int = 0) -> tqdm[Any]:
    """Return a bar on stderr that redraws its line with a carriage return.

    It is shown in a terminal and in a notebook, and silent under pytest, under nbval (whose kernels
    inherit pytest's environment) and into a file. The environment variable `RNNLIB_PROGRESS`
    overrides that: 0 is silent, 1 is shown.

    Args:
        total: How many steps the whole work has.
        description: What stands before the bar.
        initial: How many of them were done earlier.
    """
    return tqdm(
        total=total,
        desc=description,
        initial=initial,
        file=sys.stderr,
        disable=not _somebody_watches(),
        dynamic_ncols=True,
    )


def _somebody_watches() -> bool:
    wish = os.environ.get("RNNLIB_PROGRESS", "")
    if wish in ("0", "1"):
        return wish == "1"
    if "PYTEST_VERSION" in os.environ or os.environ.get("TQDM_DISABLE", "0") != "0":
        return False
    return sys.stderr.isatty() or _in_notebook()


def _in_notebook() -> bool:
    """Jupyter's kernel is the only place where `get_ipython` belongs to a shell over ZMQ."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"
