"""Writes the library's reference page from the docstrings.

It reads the sources without importing them, so the page needs no torch and cannot be changed by
what happens to be loaded. Docstrings are Markdown with Google's section headings.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.chapters import ROOT

SECTIONS = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Returns": "Returns",
    "Yields": "Yields",
    "Raises": "Errors",
    "Source": "Source",
    "References": "Source",
    "Example": "Example",
    "Examples": "Example",
    "Note": "Note",
}
WIDTH = 88

_HEADING = re.compile(rf"^({'|'.join(SECTIONS)}):[ \t]*(.*)$")
_ENTRY = re.compile(r"^(\*{0,2}[\w.`, ]+?)(?: \([^)]*\))?:\s+(.*)$", re.DOTALL)

Documented = ast.FunctionDef | ast.ClassDef


def page(package: Path = ROOT / "rnnlib") -> str:
    """Return the Markdown of the whole reference page."""
    lines = [
        f"# {package.name}, the library",
        "Every public name of the library, with what it takes, what it returns and when it "
        "refuses. This page is generated from the sources.",
    ]
    for path in _modules(package):
        lines += list(_module(path, package))
    return "\n\n".join(lines) + "\n"


def _modules(package: Path) -> list[Path]:
    found = [
        path
        for path in package.rglob("*.py")
        if not any(part.startswith("_") and part != "__init__.py" for part in path.parts[-3:])
    ]
    return sorted(found, key=lambda path: _dotted(path, package))


def _dotted(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _module(path: Path, package: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf8"))
    name, described = _dotted(path, package), ast.get_docstring(tree)
    members = _public(tree)
    if not members and not described:
        return
    yield f"({_label(name)})=\n## `{name}`"
    if described:
        yield _prose(described)
    for member in members:
        yield from _member(member, name)


def _public(tree: ast.Module | ast.ClassDef) -> list[Documented]:
    documented = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [n for n in documented if not n.name.startswith("_") and not _is_overload(n)]


def _is_overload(node: Documented) -> bool:
    return any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)


def _member(node: Documented, module: str) -> Iterator[str]:
    # Targets know no capitals, and a module may have a function `player` and a class `Player`.
    kind = "class" if isinstance(node, ast.ClassDef) else ""
    yield f"({_label(module, node.name, kind)})=\n### `{node.name}`"
    yield f"```python\n{signature(node)}\n```"
    yield _prose(ast.get_docstring(node) or "")
    if isinstance(node, ast.ClassDef):
        for method in _public(node):
            if isinstance(method, ast.FunctionDef) and ast.get_docstring(method):
                yield f"#### `{node.name}.{method.name}`"
                yield f"```python\n{signature(method)}\n```"
                yield _prose(ast.get_docstring(method) or "")


def _label(*parts: str) -> str:
    return "api-" + re.sub(r"[^a-z0-9]+", "-", ".".join(parts).lower()).strip("-")


def signature(node: Documented) -> str:
    """Return how a function or class is called, one argument a line where that is long."""
    if isinstance(node, ast.ClassDef):
        return _class_signature(node)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return _call(f"{node.name}", node.args, returns)


def _class_signature(node: ast.ClassDef) -> str:
    initialisers = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    if initialisers:
        return _call(node.name, initialisers[0].args, "")
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    is_data = any("dataclass" in ast.unparse(d) for d in node.decorator_list)
    if fields and (is_data or "NamedTuple" in bases):
        shown = [ast.unparse(field) for field in fields if "ClassVar" not in ast.unparse(field)]
        return _wrap(node.name, shown, "")
    return f"class {node.name}({bases})" if bases else f"class {node.name}"


def _call(name: str, arguments: ast.arguments, returns: str) -> str:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    shown = [_argument(a, d) for a, d in zip(positional, defaults, strict=True)]
    if positional and positional[0].arg in ("self", "cls"):
        shown = shown[1:]
    if arguments.vararg:
        shown.append("*" + _argument(arguments.vararg, None))
    elif arguments.kwonlyargs:
        shown.append("*")
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    shown += [_argument(a, d) for a, d in keywords]
    if arguments.kwarg:
        shown.append("**" + _argument(arguments.kwarg, None))
    return _wrap(name, shown, returns)


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(argument)
    if default is None:
        return text
    return f"{text}{' = ' if argument.annotation else '='}{ast.unparse(default)}"


def _wrap(name: str, arguments: list[str], returns: str) -> str:
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= WIDTH:
        return line
    inside = "".join(f"    {argument},\n" for argument in arguments)
    return f"{name}(\n{inside}){returns}"


def _prose(docstring: str) -> str:
    """Turn a docstring into Markdown: its sections become lists."""
    blocks, heading, lines = [], "", []  # type: list[str], str, list[str]
    for line in [*inspect.cleandoc(docstring).splitlines(), "Note:"]:
        found = _HEADING.match(line)
        if found:
            blocks.append(_section(heading, lines))
            heading, lines = found[1], [f"    {found[2]}"] if found[2] else []
        else:
            lines.append(line)
    return "\n\n".join(block for block in blocks if block)


def _section(heading: str, lines: list[str]) -> str:
    text = inspect.cleandoc("\n".join(lines)).strip()
    if not text:
        return ""
    if not heading:
        return _safe(text)
    if heading in ("Example", "Examples"):
        body = text if text.startswith("```") else f"```python\n{text}\n```"
        return f"**{SECTIONS[heading]}**\n\n{body}"
    if heading not in ("Args", "Raises", "Attributes"):
        return f"**{SECTIONS[heading]}**: {_safe(text)}"
    items = re.split(r"\n(?=\S)", text)
    return f"**{SECTIONS[heading]}**\n\n" + "\n".join(_item(item) for item in items)


def _item(text: str) -> str:
    text = " ".join(line.strip() for line in text.splitlines())
    found = _ENTRY.match(text)
    if not found:
        return f"- {_safe(text)}"
    return f"- `{found[1].strip('`')}`: {_safe(found[2])}"


def _safe(text: str) -> str:
    """Escape, outside of code, what Markdown would take for markup."""
    parts = re.split(r"(```.*?```|``.*?``|`[^`]*`|\$[^$\n]+\$)", text, flags=re.DOTALL)
    return "".join(
        part if number % 2 else re.sub(r"([*<\[\]$]|(?<=\w)_(?=\W|$))", r"\\\1", part)
        for number, part in enumerate(parts)
    )
