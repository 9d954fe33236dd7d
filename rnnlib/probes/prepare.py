"""What the probes of torch models share: a copy to measure on, and a warning of underflow."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def measuring_copy(model: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return a copy of the model in `dtype`, without dropout; the model itself stays untouched.

    Raises:
        TypeError: `model` is not a torch module.
        ValueError: it takes the batch first, where the probes put time first.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if getattr(model, "batch_first", False):
        raise ValueError("model: expected time first, (T, B, D), got a model with batch_first=True")
    return copy.deepcopy(model).to(dtype).eval()


def check_inputs(x: Tensor, batch: int | None = None) -> None:
    """Refuse inputs that are not a non-empty floating-point (T, B, D), or not of this batch."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f"x: expected a floating-point tensor (T, B, D), got {got}; for a model that reads "
            "tokens, probe the part behind its embedding"
        )
    if x.ndim != 3 or x.numel() == 0 or (batch is not None and x.shape[1] != batch):
        expected = f"(T, {'B' if batch is None else batch}, D)"
        raise ValueError(f"x: expected a non-empty tensor {expected}, got {tuple(x.shape)}")


def warn_of_underflow(norms: NDArray[np.float64], smallest: float, what: str) -> None:
    """Warn when numbers fell below the smallest one that keeps its full precision."""
    too_small = np.flatnonzero(norms < smallest)
    if len(too_small):
        warnings.warn(
            f"{what}: from lag {too_small[0]} on, {len(too_small)} of {len(norms)} norms lie below "
            f"{smallest:.1e}, the smallest number of full precision. They are underflow, "
            "unless nothing depends on those inputs at all.",
            RuntimeWarning,
            stacklevel=3,
        )
