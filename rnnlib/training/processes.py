"""Several processes that train one model: each takes its share of a batch, gradients are averaged.

The average over equal shares of a mean loss is the mean over the whole batch, so the gradient is
the one that a single process computes (up to the order of additions).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn


def processes() -> int:
    """Return how many processes train together; 1 where none were started."""
    joined = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if joined else 1


def is_first() -> bool:
    """Say whether this process is the one that writes files and shows progress."""
    return processes() == 1 or distributed.get_rank() == 0


def own_share(x: Tensor, axis: int) -> Tensor:
    """Return this process's part of a batch.

    Args:
        x: The whole batch, for example (T, B, D).
        axis: The batch's axis, for example 1.

    Raises:
        ValueError: The batch does not divide into equal shares.
    """
    count = processes()
    if x.shape[axis] % count:
        raise ValueError(f"a batch of {x.shape[axis]} does not divide among {count} processes")
    return x.chunk(count, dim=axis)[distributed.get_rank()] if count > 1 else x


def average(x: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes."""
    if processes() > 1:
        x = x.detach().clone()
        distributed.all_reduce(x)
        x /= processes()
    return x


def average_gradients(model: nn.Module) -> None:
    """Replace every gradient by its mean over all processes (no effect in a single one).

    A parameter that no process used keeps its gradient of None.
    """
    if processes() == 1:
        return
    parameters = [p for p in model.parameters() if p.requires_grad]
    used = average(torch.tensor([float(p.grad is not None) for p in parameters]))
    for parameter, share in zip(parameters, used.tolist(), strict=True):
        if share > 0:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = average(gradient)


def broadcast_model(model: nn.Module) -> None:
    """Give every process the first one's parameters and buffers (no effect in a single one)."""
    if processes() > 1:
        for tensor in (*model.parameters(), *model.buffers()):
            distributed.broadcast(tensor.data, src=0)


def run_processes(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Run `work(*arguments)` in several new processes that can average among themselves.

    Args:
        count: How many processes.
        work: A function at the top level of an importable module. It returns tensors, numbers,
            texts, or plain containers of them.
        arguments: What it gets; they are pickled.

    Returns:
        What each process returned, in the order of their ranks.

    Raises:
        ValueError: `count` is not positive.
        torch.multiprocessing.ProcessRaisedException: `work` raised in a process.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_process, (count, folder, work, arguments), nprocs=count)
        files = [Path(folder) / f"result_{rank}" for rank in range(count)]
        return [torch.load(file, weights_only=True) for file in files]


def _process(
    rank: int, count: int, folder: str, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    meeting_point = (Path(folder) / "meeting_point").as_uri()
    distributed.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=count)
    try:
        torch.save(work(*arguments), Path(folder) / f"result_{rank}")
    finally:
        distributed.destroy_process_group()
