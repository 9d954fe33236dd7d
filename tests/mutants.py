"""Plant errors in library code: one at a time, in a copy, to see that a check notices.

A mutant is a copy of a module in which one function has changed source. Two ways to make one:
`planted` replaces a piece of text; `mutants` walks over a function and changes every operator,
number, comparison and variable, drops every term and factor, and deletes every statement.
"""

from __future__ import annotations
import __future__

import ast
import copy
import inspect
from collections.abc import Iterator
from types import FunctionType, ModuleType

OTHER_OPERATOR = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult}
OTHER_OPERATOR |= {ast.Pow: ast.Mult, ast.MatMult: ast.Add, ast.FloorDiv: ast.Mult}
OTHER_COMPARISON = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OTHER_COMPARISON |= {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}


def variant(module: ModuleType, function: str | ast.AST) -> ModuleType:
    """Return a copy of `module` in which one function has other source.

    All functions of the copy see each other, so a changed `step` also changes `forward`.
    """
    other = ModuleType(f"{module.__name__} with a planted error")
    other.__dict__.update(vars(module))
    for name, thing in vars(module).items():
        if isinstance(thing, FunctionType) and thing.__module__ == module.__name__:
            defaults = thing.__defaults__
            rebound = FunctionType(thing.__code__, other.__dict__, name, defaults)
            other.__dict__[name] = rebound
    code = function if isinstance(function, str) else ast.unparse(function)
    annotations = __future__.annotations.compiler_flag
    exec(compile(code, other.__name__, "exec", flags=annotations), other.__dict__)
    return other


def planted(module: ModuleType, function: str, old: str, new: str) -> ModuleType:
    """Return a copy of `module` in which `old` reads `new` inside one function."""
    source = inspect.getsource(getattr(module, function))
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {function}"
    return variant(module, source.replace(old, new))


def mutants(module: ModuleType, function: str) -> Iterator[tuple[str, ModuleType]]:
    """Yield a description and a changed copy of `module`, for every change of one function."""
    (tree,) = ast.parse(inspect.getsource(getattr(module, function))).body
    tree.body = tree.body[1:] if ast.get_docstring(tree) else tree.body
    for number, node in enumerate(ast.walk(tree)):
        node.number = number
    for node, replacement in _changes(tree):
        mutated = _Replace(node.number, replacement).visit(copy.deepcopy(tree))
        statement = next((s for s in ast.walk(tree) if _holds(s, node)), tree)
        line = ast.unparse(statement).splitlines()[0]
        text = f"in {line}: {ast.unparse(node)} -> {ast.unparse(replacement)}"
        yield text, variant(module, mutated)


class _Replace(ast.NodeTransformer):
    def __init__(self, number: int, replacement: ast.AST) -> None:
        self.number, self.replacement = number, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        found = getattr(node, "number", None) == self.number
        return self.replacement if found else self.generic_visit(node)


def _changes(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield (node, what to put in its place), for all code outside error messages."""
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    messages = {id(n) for node in nodes if isinstance(node, ast.Raise) for n in ast.walk(node)}
    names = sorted({n.id for n in nodes if isinstance(n, ast.Name) and len(n.id) == 1})
    for node in nodes:
        if id(node) in messages:
            continue
        if isinstance(node, ast.stmt) and not isinstance(node, ast.Return):
            yield node, ast.copy_location(ast.Pass(), node)
        elif isinstance(node, ast.BinOp):
            yield node, _with(node, op=OTHER_OPERATOR[type(node.op)]())
            yield node, node.left
            yield node, node.right
        elif isinstance(node, ast.Compare):
            for place, operator in enumerate(node.ops):
                if type(operator) in OTHER_COMPARISON:
                    ops = list(node.ops)
                    ops[place] = OTHER_COMPARISON[type(operator)]()
                    yield node, _with(node, ops=ops)
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node, _with(node, value=node.value + 1)
        elif isinstance(node, ast.Attribute) and node.attr == "T":
            yield node, node.value
        elif isinstance(node, ast.UnaryOp):
            yield node, node.operand
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
            for name in names:
                if name != node.id:
                    yield node, _with(node, id=name)


def _holds(statement: ast.AST, node: ast.AST) -> bool:
    """Whether `node` stands in this statement's own line, not in a block under it."""
    if not isinstance(statement, ast.stmt) or isinstance(statement, ast.FunctionDef):
        return False
    under = [n for block in ("body", "orelse") for n in getattr(statement, block, [])]
    return any(n is node for n in ast.walk(statement)) and not any(
        n is node for s in under for n in ast.walk(s)
    )


def _with(node: ast.AST, **changes: object) -> ast.AST:
    changed = copy.copy(node)
    changed.__dict__ = {**node.__dict__, **changes}
    return changed
