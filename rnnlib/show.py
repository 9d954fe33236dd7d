"""Show library code in a page by printing the very source that runs."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


class Source:
    """Python source that a notebook shows highlighted and a terminal shows plain."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.text}\n```"


def show_source(*objects: Callable[..., Any] | type) -> Source:
    """Return the source of functions or classes, without docstrings and decorators' noise.

    Args:
        objects: functions, methods or classes of the library.

    Raises:
        TypeError: an object has no Python source.
    """
    return Source("\n\n".join(_without_docstring(thing) for thing in objects))


def _without_docstring(thing: Callable[..., Any] | type) -> str:
    lines = textwrap.dedent(inspect.getsource(thing)).splitlines()
    drop: set[int] = set()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not ast.get_docstring(node):
            continue
        first = node.body[0]
        drop.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    kept = [line for number, line in enumerate(lines, 1) if number not in drop]
    return "\n".join(kept).strip()
