"""Counting memory: what torch keeps for the backward pass, and NumPy's peak."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


def saved_bytes(function: Callable[[], Any], exclude: Iterable[Tensor] = ()) -> int:
    """Return how many bytes autograd keeps for the backward pass of `function`.

    Every piece of memory counts once, however many views of it were saved, and with its whole
    size, since a saved view keeps all of it alive.

    Args:
        function: runs a forward pass, for example `lambda: model(x)[0].sum()`. It should not
            run the backward pass itself.
        exclude: tensors whose memory does not count, for example `model.parameters()`, which
            exist anyway.

    Returns:
        Bytes. What a custom autograd function keeps outside `save_for_backward` is not seen.
    """
    kept: dict[int, torch.UntypedStorage] = {}  # holding it keeps its address from being reused

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        result = function()
    excluded = {tensor.untyped_storage().data_ptr() for tensor in exclude}
    total = sum(s.nbytes() for address, s in kept.items() if address not in excluded)
    del result
    return total


def peak_bytes(function: Callable[[], Any]) -> int:
    """Return the most memory that a NumPy function held at any moment, beyond what was there.

    NumPy reports its arrays to `tracemalloc`; torch does not, see `saved_bytes` for it. Python's
    own small objects are included, so compare figures well above a few kilobytes.

    Args:
        function: called once to warm up, so that caches do not count, and once measured.

    Returns:
        Bytes, the result of the function included.

    Raises:
        RuntimeError: `tracemalloc` is already tracing, and the peak would not be ours.
    """
    if tracemalloc.is_tracing():
        raise RuntimeError("peak_bytes: tracemalloc is already running; stop it first")
    function()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        function()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
