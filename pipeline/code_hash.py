"""A hash of the code that a function really uses, so that only a real change makes a record stale.

Starting from one function, names are followed through the modules of `rnnlib` and `experiments`,
symbol by symbol. What does not change a result does not change the hash: comments, docstrings,
layout, annotations of arguments, checks that refuse wrong input, functions that nobody calls.
Other packages count by the name under which they are imported, not by their version.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.chapters import ROOT
from pipeline.messages import PipelineError

OUR_PACKAGES = ("rnnlib", "experiments")
ON_IMPORT = "<on import>"  # stands for the statements of a module that bind no name

Symbol = tuple[str, str]
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def code_hash(module: str, function: str, root: Path = ROOT) -> str:
    """Return a hexadecimal hash of a function and everything of ours that it uses.

    Args:
        module: Its module, for example `experiments.adding`.
        function: Its name, for example `run`.
        root: The folder that holds the packages.

    Raises:
        PipelineError: The module or the function is missing, or a name that it uses cannot be
            followed.
    """
    symbols = Closure(root).of(module, function)
    lines = [f"{where}:{name}:{text}" for (where, name), text in sorted(symbols.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def data_hash(module: str, function: str, root: Path = ROOT) -> str:
    """Return a hash of the data packages that a function reads, or "" where it reads none.

    They are found by name: the loaders in `rnnlib.data` name the package that holds their files.

    Raises:
        PipelineError: As for `code_hash`.
    """
    closure = Closure(root)
    closure.of(module, function)
    lines = []
    for name in sorted(closure.texts_of_loaders()):
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]+", name):
            try:
                distribution = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                continue
            files = [
                f"{file}:{file.hash.value}"
                for file in distribution.files or []
                if file.hash
                and file.suffix not in (".py", ".pyc")
                and ".dist-info" not in str(file)
                and file.parts[0] != ".."  # scripts, whose first line names the environment
            ]
            lines += [f"{name} {distribution.version}", *sorted(files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""


@dataclass
class Module:
    """What the top level of one file binds, and where its imports come from."""

    name: str
    is_package: bool
    bindings: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    on_import: list[ast.stmt] = field(default_factory=list)

    def read(self, statement: ast.stmt, inside: ast.stmt | None = None) -> None:
        """Note a statement of the top level, or one inside an `if`, `try`, `with` or loop."""
        whole = inside or statement
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            self.imports.update(imported_names(statement, self))
        elif isinstance(statement, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            if isinstance(statement, ast.If) and "__main__" in ast.dump(statement.test):
                return  # nothing of it happens on import
            children = [s for s in ast.iter_child_nodes(statement) if isinstance(s, ast.stmt)]
            for handler in getattr(statement, "handlers", []):
                children += handler.body
            for child in children:
                self.read(child, whole)
            if not all(isinstance(child, (ast.Import, ast.ImportFrom)) for child in children):
                self.on_import.append(statement)
        else:
            names = set(bound_names(statement))
            for name in names:
                self.bindings.setdefault(name, []).append(whole)
            if not names and inside is None and not isinstance(statement, ast.Pass):
                self.on_import.append(statement)


class Closure:
    """Follows names from a function to everything of ours that it uses."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[str, Module] = {}
        self.found: dict[Symbol, str] = {}
        self.statements: dict[Symbol, list[ast.stmt]] = {}

    def of(self, module: str, function: str) -> dict[Symbol, str]:
        """Return every symbol that the function uses, with its code in canonical form."""
        if function not in self.module(module).bindings:
            raise PipelineError(f"{module} has no function {function!r}")
        self.add(module, function)
        return self.found

    def texts_of_loaders(self) -> set[str]:
        """Return the text constants in the code found in `rnnlib.data`."""
        return {
            node.value
            for (module, _), statements in self.statements.items()
            if module.startswith("rnnlib.data")
            for statement in statements
            for node in ast.walk(statement)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }

    def path(self, name: str) -> Path | None:
        """Return the file of one of our modules, or None where there is none."""
        base = self.root.joinpath(*name.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if name.split(".")[0] in OUR_PACKAGES and path.is_file():
                return path
        return None

    def module(self, name: str) -> Module:
        if name not in self.modules:
            path = self.path(name)
            if path is None:
                raise PipelineError(f"there is no module {name}")
            module = Module(name, path.name == "__init__.py")
            tree = Normal().visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
            for statement in tree.body:
                module.read(statement)
            self.modules[name] = module
        return self.modules[name]

    def add(self, module: str, name: str) -> None:
        """Take one symbol of a module and all that it uses."""
        if (module, name) in self.found:
            return
        source = self.module(module)
        statements = source.on_import if name == ON_IMPORT else source.bindings[name]
        self.found[module, name] = "".join(canonical(statement) for statement in statements)
        self.statements[module, name] = statements
        parts = module.split(".")
        for end in range(1, len(parts) + 1):  # importing a module runs its packages as well
            if self.path(".".join(parts[:end])) is not None:
                self.add(".".join(parts[:end]), ON_IMPORT)
        for statement in statements:
            for chain in references(statement):
                self.follow(source, chain)
            for node in ast.walk(statement):
                if isinstance(node, (ast.Import, ast.ImportFrom)):  # an import inside a function
                    for target, attribute in imported_names(node, source).values():
                        self.enter(target, [attribute] if attribute else [])

    def follow(self, source: Module, chain: list[str]) -> None:
        """Resolve a dotted name as code in `source` sees it."""
        name = chain[0]
        if name in source.bindings:
            self.add(source.name, name)
        if name in source.imports:
            target, attribute = source.imports[name]
            if target.split(".")[0] in OUR_PACKAGES:
                self.enter(target, ([attribute] if attribute else []) + chain[1:])
            else:
                self.found[source.name, f"import {name}"] = f"{target}:{attribute}"

    def enter(self, name: str, chain: list[str]) -> None:
        """Resolve a dotted name inside the module `name`; an empty one takes the whole module."""
        if name.split(".")[0] not in OUR_PACKAGES:
            return
        module = self.module(name)
        if not chain or chain[0] == "*":
            for binding in module.bindings:
                self.add(name, binding)
            self.add(name, ON_IMPORT)
        elif chain[0] in module.bindings:
            self.add(name, chain[0])
        elif module.imports.get(chain[0], (name, chain[0])) != (name, chain[0]):
            self.follow(module, chain)
        elif self.path(f"{name}.{chain[0]}") is not None:
            self.enter(f"{name}.{chain[0]}", chain[1:])
        elif not chain[0].startswith("__"):
            raise PipelineError(
                f"cannot follow {name}.{chain[0]}: import it from the module that defines it"
            )


def imported_names(
    statement: ast.Import | ast.ImportFrom, module: Module
) -> dict[str, tuple[str, str | None]]:
    """Return what an import binds: name to (module, attribute, or None for the module itself)."""
    if isinstance(statement, ast.Import):
        return {
            a.asname or a.name.split(".")[0]: (a.name if a.asname else a.name.split(".")[0], None)
            for a in statement.names
        }
    target = statement.module or ""
    if statement.level:
        parts = module.name.split(".")
        kept = len(parts) - statement.level + module.is_package
        target = ".".join([*parts[:kept], *filter(None, [target])])
    if any(alias.name == "*" for alias in statement.names) and target.split(".")[0] in OUR_PACKAGES:
        raise PipelineError(f"{module.name} imports * from {target}: name what it needs")
    return {alias.asname or alias.name: (target, alias.name) for alias in statement.names}


def bound_names(statement: ast.AST) -> Iterator[str]:
    """Yield the names that a statement binds in its own scope."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
        return
    if isinstance(statement, ast.Name) and isinstance(statement.ctx, ast.Store):
        yield statement.id
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, (ast.Lambda, *_COMPREHENSION)):  # these have a scope of their own
            yield from bound_names(child)


def references(node: ast.AST, local: frozenset[str] = frozenset()) -> Iterator[list[str]]:
    """Yield the dotted names in a statement that may come from outside it."""
    if isinstance(node, ast.Name):
        if node.id not in local:
            yield [node.id]
        return
    if isinstance(node, ast.Attribute):
        chain, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            chain, inner = [inner.attr, *chain], inner.value
        if isinstance(inner, ast.Name):
            if inner.id not in local:
                yield [inner.id, *chain]
        else:
            yield from references(inner, local)
        return
    inside = local
    if isinstance(node, _COMPREHENSION):
        inside = local | frozenset(n for part in node.generators for n in bound_names(part.target))
    if isinstance(node, _FUNCTION):
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        every += [a for a in (node.args.vararg, node.args.kwarg) if a is not None]
        body: list[ast.AST] = [*node.body] if isinstance(node.body, list) else [node.body]
        elsewhere = {n for s in ast.walk(node) if isinstance(s, ast.Global) for n in s.names}
        own = {a.arg for a in every} | {n for s in body for n in bound_names(s)}
        inside = local | frozenset(own - elsewhere)
        outside = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        outside += getattr(node, "decorator_list", [])
        for expression in outside:
            yield from references(expression, local)
        for statement in body:
            yield from references(statement, inside)
        return
    for child in ast.iter_child_nodes(node):
        yield from references(child, inside)


class Normal(ast.NodeTransformer):
    """Takes away what cannot change a result."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant):
            return None  # a docstring, or a text or `...` that stands for itself
        if isinstance(node.value, ast.Call):
            called = node.value.func
            name = getattr(called, "attr", getattr(called, "id", ""))
            if name.lstrip("_").startswith("check_"):
                return None  # it looks at its arguments, raises or does nothing
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        raises = all(isinstance(statement, ast.Raise) for statement in node.body)
        binds = any(isinstance(part, ast.NamedExpr) for part in ast.walk(node.test))
        if raises and not node.orelse and not binds:
            return None  # wrong input is refused: a run that went through was not
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []  # the words of an error message
        return node


def canonical(node: Any) -> str:
    """Write a syntax tree in a form that does not depend on the version of Python."""
    if isinstance(node, list):
        return "[" + ",".join(canonical(item) for item in node) + "]"
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__} {node.value!r}"
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={canonical(value)}"
            for name, value in ast.iter_fields(node)
            if value is not None and value != [] and name not in ("type_comment", "kind")
        ]
        return f"{type(node).__name__}({','.join(fields)})"
    return repr(node)
