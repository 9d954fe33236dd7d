"""Watching torch calculate: what a function executes, how deep it is, and what it allocates.

Nothing here is a formula for a model. Every kernel that torch runs is seen as it runs, forward and
backward, and counted from the shapes that it was really given.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = {"mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addbmm", "addmv"}
FUSED_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
RESERVED = {"zeros_like", "ones_like", "empty_like", "full_like", "fill", "zero", "new_zeros"}
RESERVED |= {"new_ones", "new_empty", "new_empty_strided", "new_full"}
COPIES = {"clone", "copy", "_to_copy", "cat", "stack", "roll", "flip", "repeat", "embedding"}
COPIES |= {"index_select", "constant_pad_nd", "select_backward", "slice_backward"} | RESERVED
SUMS = {"sum", "mean", "amax", "amin", "max", "min", "logsumexp", "cumsum", "linalg_vector_norm"}
SOFTMAX = {"_softmax", "_log_softmax", "_safe_softmax"}
OPAQUE: tuple[str, ...] = (
    "rnn",
    "lstm",
    "gru",
    "conv",
    "multi_head",
    "transformer",
    "scaled_dot_product",
)
OPAQUE += ("linalg_inv", "linalg_solve", "linalg_eig", "linalg_svd", "fft")


@dataclass(frozen=True)
class Execution:
    """What one call of a function executed.

    Attributes:
        multiply_adds: those inside matrix products, fused attention included.
        elementwise: numbers produced by all other arithmetic (tanh, softmax, sums of arrays …).
        calls: kernels started, copies included; views are no work and do not count.
        bytes_moved: bytes of all tensors that these kernels read and wrote.
        chain: operations on the longest chain of which each needs the result of the one before.
        products_in_chain: the same, where only matrix products count.
        levels: the same, where a sum of n numbers counts as the ⌈log₂ n⌉ levels of a tree of
            additions: what would remain with as many processors as one likes.
        peak_bytes: the most that tensors made by the function held at any moment, gradients and
            what is saved for the backward pass included. Scratch inside a kernel is not seen.
        by_name: how often each kernel was called.
    """

    multiply_adds: int
    elementwise: int
    calls: int
    bytes_moved: int
    chain: int
    products_in_chain: int
    levels: int
    peak_bytes: int
    by_name: dict[str, int]


Depth = tuple[int, int, int]
"""Operations, products and levels behind a number."""


class _Depths:
    """How deep every number in memory lies: one depth a storage, or one a number where they differ.

    Views share a storage, so that a row written at step t is found again under any other view.
    """

    def __init__(self) -> None:
        # A weak reference lets the memory go, but keeps the storage's identity from being reused.
        self._known: dict[int, tuple[StorageWeakRef, Depth | Tensor]] = {}

    def read(self, tensor: Tensor) -> Depth:
        _, depths = self._known.get(_identity(tensor), (None, (0, 0, 0)))
        if isinstance(depths, Tensor):
            found = self._like(tensor, depths).flatten(1).amax(1).tolist()
            return found[0], found[1], found[2]
        return depths

    def write(self, tensor: Tensor, depth: Depth) -> None:
        storage = tensor.untyped_storage()
        reference, depths = self._known.get(_identity(tensor), (StorageWeakRef(storage), (0, 0, 0)))
        if tensor.numel() * tensor.element_size() >= storage.nbytes():
            self._known[_identity(tensor)] = reference, depth
            return
        if not isinstance(depths, Tensor):
            size = storage.nbytes() // tensor.element_size()
            depths = torch.tensor(depths, dtype=torch.int32)[:, None].repeat(1, size)
            self._known[_identity(tensor)] = reference, depths
        self._like(tensor, depths).copy_(torch.tensor(depth).view(3, *[1] * tensor.dim()))

    @staticmethod
    def _like(tensor: Tensor, depths: Tensor) -> Tensor:
        """The depths of a view's numbers, (3, *shape)."""
        strides = (depths.shape[1], *tensor.stride())
        return depths.as_strided((3, *tensor.shape), strides, tensor.storage_offset())


class _Watch(TorchDispatchMode):
    """Sees every kernel below autograd, in the forward and in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.depths, self.calls = _Depths(), Counter[str]()
        self.multiply_adds = self.elementwise = self.bytes_moved = self.held = self.peak = 0
        self.deepest: Depth = (0, 0, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        inputs, outputs = list(_tensors((args, kwargs.values()))), list(_tensors(result))
        written = _written(func, args, kwargs)
        owned = {_identity(tensor) for tensor in inputs}
        self._hold([tensor for tensor in outputs if _identity(tensor) not in owned])
        owned -= {_identity(tensor) for tensor in written}
        fresh = [tensor for tensor in outputs if _identity(tensor) not in owned]
        if not inputs or not fresh or torch.Tag.inplace_view in func.tags:
            return result  # a view, or memory that was only reserved
        name = func.overloadpacket.__name__.removesuffix("_")
        cost = _cost(name, args, outputs)
        self.calls[name] += 1
        self.bytes_moved += sum(t.numel() * t.element_size() for t in inputs + fresh)
        self.multiply_adds += cost.multiply_adds
        self.elementwise += cost.elementwise
        if name in RESERVED:
            inputs = []
        elif name == "copy" or "out" in func._overloadname:  # what is overwritten is not read
            inputs = [t for t in inputs if all(t is not target for target in written)]
        behind = [self.depths.read(tensor) for tensor in inputs if tensor.numel()]
        reached = [max(part) for part in zip((0, 0, 0), *behind, strict=True)]
        depth = reached[0] + cost.depth[0], reached[1] + cost.depth[1], reached[2] + cost.depth[2]
        for tensor in fresh:
            if tensor.numel():
                self.depths.write(tensor, depth)
        a, b, c = self.deepest
        self.deepest = max(a, depth[0]), max(b, depth[1]), max(c, depth[2])
        return result

    def _hold(self, made: list[Tensor]) -> None:
        """Count new memory until it is given back."""
        for storage in {_identity(t): t.untyped_storage() for t in made}.values():
            self.held += storage.nbytes()
            weakref.finalize(storage, self._release, storage.nbytes())
        self.peak = max(self.peak, self.held)

    def _release(self, number: int) -> None:
        self.held -= number


@dataclass(frozen=True)
class _Cost:
    multiply_adds: int
    elementwise: int
    depth: Depth


def watch(function: Callable[[], Any]) -> Execution:
    """Run a function once and count what torch executes for it.

    Parameters and inputs have depth 0. Copies (cat, stack, clone …) and look-ups count as calls
    and as bytes, not as operations of a chain.

    Args:
        function: for example `lambda: model(x)[0].sum().backward()`. What torch keeps between
            calls (gradients that are there already, say) counts where it is read.

    Raises:
        TypeError: a kernel runs that hides its arithmetic, such as torch's LSTM (use
            `rnnlib.LSTM(..., backend="loop")` or "fused"), or that has no counting rule.
    """
    with _Watch() as seen:
        function()
    chain, products_in_chain, levels = seen.deepest
    return Execution(
        multiply_adds=seen.multiply_adds,
        elementwise=seen.elementwise,
        calls=sum(seen.calls.values()),
        bytes_moved=seen.bytes_moved,
        chain=chain,
        products_in_chain=products_in_chain,
        levels=levels,
        peak_bytes=seen.peak,
        by_name=dict(sorted(seen.calls.items())),
    )


def _cost(name: str, args: Any, outputs: list[Tensor]) -> _Cost:
    numbers = outputs[0].numel()
    if name in PRODUCTS:
        inner = int(args[1 if "add" in name else 0].shape[-1])
        summed = numbers * inner
        if name == "addbmm":
            summed *= int(args[1].shape[0])
        return _Cost(summed, 0, (1, 1, 1 + _tree(inner)))
    if name == FUSED_ATTENTION:  # scores, softmax, weighted sum
        (*rows, n, d), (m, e) = args[0].shape, args[2].shape[-2:]
        scores = math.prod(rows) * n * m
        return _Cost(scores * (d + e), scores, (3, 2, 2 + _tree(d) + _tree(m) + _softmax_levels(m)))
    if name == f"{FUSED_ATTENTION}_backward":  # the scores again, and four products
        (*rows, n, d), (m, e) = args[1].shape, args[3].shape[-2:]
        scores = math.prod(rows) * n * m
        levels = 3 + _tree(d) + _tree(e) + _tree(max(m, n)) + _softmax_levels(m)
        return _Cost(scores * (3 * d + 2 * e), 2 * scores, (5, 3, levels))
    if name in COPIES:
        return _Cost(0, 0, (0, 0, 0))
    if any(part in name for part in OPAQUE):
        hint = ' (for a recurrent layer: rnnlib\'s, backend="loop" or "fused")'
        raise TypeError(f"watch: no rule for torch's {name}, which hides its arithmetic{hint}")
    if name in SOFTMAX:
        return _Cost(0, numbers, (1, 0, _softmax_levels(int(args[0].shape[args[1]]))))
    if name in SUMS:
        terms = max(1, args[0].numel() // max(1, numbers))
        return _Cost(0, max(numbers, args[0].numel()), (1, 0, max(1, _tree(terms))))
    if name == "native_layer_norm":  # mean, variance, and four operations a number
        return _Cost(0, numbers, (1, 0, 4 + 2 * _tree(math.prod(args[1]))))
    return _Cost(0, numbers, (1, 0, 1))


def _tree(terms: int) -> int:
    """Levels in which a tree of additions adds up so many terms."""
    return math.ceil(math.log2(terms)) if terms > 1 else 0


def _softmax_levels(terms: int) -> int:
    """The largest, subtract it, exp, the sum, divide."""
    return 3 + 2 * _tree(terms)


def _identity(tensor: Tensor) -> int:
    """The memory behind a tensor: the same for all its views."""
    return tensor.untyped_storage()._cdata


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for part in value:
            yield from _tensors(part)


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operation changes in place, or writes its result to."""
    found: list[Tensor] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            found.extend(_tensors(value))
    return found
