"""Library code in a page is the code that runs: same text, without docstrings."""

from __future__ import annotations

import ast
import inspect

import pytest

from rnnlib.numpy_nets import lstm, rnn
from rnnlib.show import show_source


def plain(function):
    """The function's syntax tree without its docstring, to compare what runs."""
    (tree,) = ast.parse(inspect.getsource(function)).body
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


@pytest.mark.parametrize("function", [rnn.step, rnn.backward, lstm.step_backward, rnn.Parameters])
def test_shown_source_is_what_runs(function):
    shown = repr(show_source(function))
    assert ast.dump(ast.parse(shown).body[0]) == plain(function)
    assert '"""' not in shown


def test_comments_stay():
    assert "# through the tanh" in repr(show_source(rnn.backward))


def test_several_objects_stand_apart():
    shown = repr(show_source(rnn.step, rnn.forward))
    assert [n.name for n in ast.parse(shown).body] == ["step", "forward"]
    assert "\n\ndef forward" in shown


def test_page_gets_highlighted_python():
    shown = show_source(rnn.step)
    assert shown._repr_markdown_() == f"```python\n{shown!r}\n```"


def test_methods_lose_their_indentation():
    assert repr(show_source(rnn.Parameters.copy)).startswith("def copy(self)")


def test_shown_function_still_works():
    shown = repr(show_source(rnn.squared_error))
    names = dict(vars(rnn))
    exec(compile("from __future__ import annotations\n" + shown, "shown", "exec"), names)
    y = rnn.np.ones((2, 1, 1))
    assert names["squared_error"](y, 0 * y)[0] == 1.0


def test_objects_without_source_are_refused():
    for thing in (len, 3):
        with pytest.raises(TypeError):
            show_source(thing)
