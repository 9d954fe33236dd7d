"""Counting arithmetic: by formula, and by watching NumPy do it.

One multiply-add is one multiplication whose result is added to a sum, the unit of which matrix
products are made (two floating-point operations). Work that is not a matrix product, such as
tanh or a sum of two arrays, is counted separately, one for every number produced.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar

import numpy as np
from torch import nn

from rnnlib.numpy_nets.arrays import check_whole_number

PRODUCT_UFUNCS = {"matmul", "matvec", "vecmat", "vecdot"}
PRODUCT_FUNCTIONS = {np.dot, np.inner, np.outer, np.tensordot, np.vdot}
UNCOUNTABLE = {np.convolve, np.correlate, np.interp}
BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4}


@dataclass(frozen=True)
class Operations:
    """What a run of NumPy code calculated.

    Attributes:
        multiply_adds: those inside products (matmul, einsum, dot, outer, …).
        elementwise: numbers produced, or added up, by everything else.
        by_name: the same counts under the names of the NumPy functions.
    """

    multiply_adds: int
    elementwise: int
    by_name: dict[str, int]


class CountedArray(np.ndarray):
    """An array that adds to `counts` whatever is calculated with it."""

    counts: ClassVar[Counter[str]] = Counter()
    products: ClassVar[set[str]] = set()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Calculate with plain arrays, count, and hand back counted ones."""
        if ufunc.signature is not None and ufunc.__name__ not in PRODUCT_UFUNCS:
            raise TypeError(f"count_operations: no rule for numpy's {ufunc.__name__}")
        out = kwargs.get("out")
        if out is not None:
            kwargs["out"] = tuple(map(_plain, out))
        plain = [_plain(value) for value in inputs]
        result = getattr(ufunc, method)(*plain, **{k: _plain(v) for k, v in kwargs.items()})
        if ufunc.__name__ in PRODUCT_UFUNCS:  # every number of the result is a sum that long
            self._add(ufunc.__name__, np.size(result) * np.shape(plain[0])[-1], product=True)
        else:
            results = result if isinstance(result, tuple) else (result,)
            number = max(np.size(a) for a in (plain[:1] if method != "__call__" else results))
            self._add(ufunc.__name__, number)
        return out[0] if out is not None and len(out) == 1 else self._wrap(result)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Count products here; let everything else come back as ufuncs."""
        if func.__module__.startswith(("numpy.linalg", "numpy.fft")) or func in UNCOUNTABLE:
            raise TypeError(f"count_operations: no rule for {func.__module__}.{func.__name__}")
        if func is not np.einsum and func not in PRODUCT_FUNCTIONS:
            return super().__array_function__(func, types, args, kwargs)
        args = [_plain(value) for value in args]
        result = func(*args, **{k: _plain(v) for k, v in kwargs.items()})
        if func is np.einsum:
            number = _einsum_multiply_adds(args[0], args[1:])
        else:  # a and b share k summed positions: |a||b||result| = (k · |result|)²
            number = math.isqrt(np.size(args[0]) * np.size(args[1]) * np.size(result))
        self._add(func.__name__, number, product=True)
        return self._wrap(result)

    def dot(self, other: Any, out: Any = None) -> Any:
        """Go through `np.dot`, which is counted; the method would not be."""
        return np.dot(self, other, out=out)

    def _add(self, name: str, number: int, product: bool = False) -> None:
        self.counts[name] += int(number)
        if product:
            self.products.add(name)

    def _wrap(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(self._wrap(part) for part in result)
        return result.view(type(self)) if isinstance(result, np.ndarray) else result


def count_operations(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Operations:
    """Run a NumPy function and count what it calculates.

    Floating-point arrays in the arguments (also inside lists, tuples, dictionaries and
    dataclasses) are replaced by arrays that count, and so is every result made from them. An
    operation in which none of these takes part is not seen.

    Args:
        function: the function to run.
        *args: its arguments.
        **kwargs: its named arguments.

    Returns:
        The counts. An einsum counts as if evaluated naively: once over all its indices.

    Raises:
        TypeError: the function calls something that has no counting rule, such as a matrix
            inverse.
    """
    kind: Any = type("CountedArray", (CountedArray,), {"counts": Counter(), "products": set()})
    function(
        *[_counted(v, kind) for v in args], **{k: _counted(v, kind) for k, v in kwargs.items()}
    )
    by_name = dict(sorted(kind.counts.items()))
    multiply_adds = sum(n for name, n in by_name.items() if name in kind.products)
    return Operations(multiply_adds, sum(by_name.values()) - multiply_adds, by_name)


def forward_multiply_adds(T: int, B: int, D: int, H: int, K: int, blocks: int = 1) -> int:
    """Return the multiply-adds of `forward` over a sequence: T B (G H (H + D) + K H).

    Args:
        T: time steps.
        B: batch size.
        D: input size.
        H: hidden size.
        K: output size; 0 for a layer without an output.
        blocks: the G above: 1 for the RNN, 3 for the GRU, 4 for the LSTM.
    """
    _check_sizes(T=T, B=B, D=D, H=H, blocks=blocks)
    check_whole_number("K", K, at_least=0)
    return T * B * (blocks * H * (H + D) + K * H)


def backward_multiply_adds(T: int, B: int, D: int, H: int, K: int, blocks: int = 1) -> int:
    """Return the multiply-adds of full backpropagation: twice those of the forward pass.

    Every weight matrix is used twice: its transpose carries the error back, and an outer
    product makes its gradient. The gradients for the inputs and the initial state are included.

    Args:
        T: time steps.
        B: batch size.
        D: input size.
        H: hidden size.
        K: output size.
        blocks: 1 for the RNN, 3 for the GRU, 4 for the LSTM.
    """
    return 2 * forward_multiply_adds(T, B, D, H, K, blocks)


def truncated_multiply_adds(
    T: int, B: int, D: int, H: int, K: int, every: int, depth: int, blocks: int = 1
) -> int:
    """Return the multiply-adds of the backward pass of BPTT(every; depth), as in `numpy_nets`.

    Only the steps back through the recurrent weights depend on the truncation: a window of n
    steps costs n B G H². Everything else is paid once a step, as in the full pass.

    Args:
        T: time steps.
        B: batch size.
        D: input size.
        H: hidden size.
        K: output size.
        every: steps between two backward passes.
        depth: steps that each backward pass goes back.
        blocks: 1 for the RNN, 3 for the GRU, 4 for the LSTM.
    """
    check_whole_number("every", every, at_least=1)
    check_whole_number("depth", depth, at_least=every)
    starts = range(0, T, every)
    steps_back = sum(min(s + every, T) - max(0, s + every - depth) for s in starts)
    once = backward_multiply_adds(T, B, D, H, K, blocks) - T * B * blocks * H * H
    return once + steps_back * B * blocks * H * H


def real_time_multiply_adds(T: int, D: int, H: int, K: int) -> int:
    """Return the multiply-adds of real-time recurrent learning of the RNN, forward pass included.

    The sensitivity has H rows and P = H (H + D + 1) columns, so carrying it on costs H² P a
    step: of the order of H⁴ (Williams and Zipser 1989). Batch size one.

    Args:
        T: time steps.
        D: input size.
        H: hidden size.
        K: output size.
    """
    _check_sizes(T=T, D=D, H=H, K=K)
    parameters = H * (H + D + 1)
    return T * (H * (H + D) + (H * H + H) * parameters + 3 * K * H)


def layer_multiply_adds(layer: nn.Module, T: int, B: int) -> tuple[int, int]:
    """Return the multiply-adds of a recurrent torch layer, forward and backward.

    By formula: torch's own `FlopCounterMode` does not see inside `torch.nn.LSTM`.

    Args:
        layer: an RNN, LSTM or GRU with torch's attributes (`input_size`, `hidden_size`,
            `num_layers`, `bidirectional`); stacked and bidirectional ones included.
        T: time steps.
        B: batch size.

    Returns:
        The forward count and the backward count, the latter with the gradients for weights,
        input and initial state.

    Raises:
        TypeError: the layer is of another kind.
    """
    names = [base.__name__ for base in type(layer).__mro__ if base.__name__ in BLOCKS]
    if not names or getattr(layer, "proj_size", False):
        raise TypeError(
            f"layer: expected an RNN, LSTM or GRU without projection, got {type(layer).__name__}"
        )
    H, directions = int(layer.hidden_size), 2 if layer.bidirectional else 1  # type: ignore[arg-type]
    sizes = [int(layer.input_size)] + [H * directions] * (int(layer.num_layers) - 1)  # type: ignore[arg-type]
    forward = sum(
        directions * forward_multiply_adds(T, B, D, H, 0, BLOCKS[names[0]]) for D in sizes
    )
    return forward, 2 * forward


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        check_whole_number(name, size, at_least=1)


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, CountedArray) else value


def _counted(value: Any, kind: type[CountedArray]) -> Any:
    """Replace every floating-point array in `value` by a counting view of it."""
    if isinstance(value, np.ndarray):
        return value.view(kind) if value.dtype.kind in "fc" else value
    if isinstance(value, list | tuple):
        return type(value)(_counted(part, kind) for part in value)
    if isinstance(value, dict):
        return {key: _counted(part, kind) for key, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        return replace(value, **{name: _counted(part, kind) for name, part in parts.items()})
    return value


def _einsum_multiply_adds(subscripts: Any, operands: list[Any]) -> int:
    if not isinstance(subscripts, str) or "." in subscripts:
        raise TypeError(f"count_operations: no rule for einsum with subscripts {subscripts!r}")
    terms = subscripts.replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        sizes.update(zip(term, np.shape(operand), strict=True))
    return math.prod(sizes.values()) * max(1, len(operands) - 1)
