"""The memory ruler: how strongly, and how well, a model's output depends on the distant past."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnnlib.numpy_nets.arrays import check_whole_number
from rnnlib.probes.prepare import check_inputs, measuring_copy, warn_of_underflow

Array = NDArray[np.float64]


def gradient_by_lag(model: nn.Module, x: Tensor, dtype: torch.dtype = torch.float64) -> Array:
    """Measure ‖∂y_T / ∂x_{T-lag}‖, the pull of an old input on the last output.

    Gradients that shrink exponentially with the lag are why distant events are hard to learn
    (Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013). The norm is Frobenius',
    over all pairs of an output and an input number, averaged over the batch.

    Args:
        model: keeps the sequence-model contract. A copy of it is measured, without dropout.
        x: inputs (T, B, D), floating-point. Sequences of a batch must not influence each other.
        dtype: precision of the measurement. With float32, norms below about 1e-38 are lost.

    Returns:
        Norms (T,), float64: position 0 is the input of the last step, position T - 1 the first.

    Warns:
        RuntimeWarning: norms fell below what `dtype` can represent with full precision.

    Raises:
        TypeError: `model` is not a torch module, or `x` is not floating-point.
        ValueError: `x` or the model's output does not have three axes, or the model is
            `batch_first`.
    """
    check_inputs(x)
    probe = measuring_copy(model, dtype)
    with torch.enable_grad():
        x = x.detach().to(dtype).requires_grad_()
        outputs, _ = probe(x)
        if outputs.ndim != 3 or outputs.shape[:2] != x.shape[:2]:
            raise ValueError(
                f"model: expected outputs (T, B, K) for inputs {tuple(x.shape)}, "
                f"got {tuple(outputs.shape)}"
            )
        norms = torch.zeros(x.shape[:2], dtype=torch.float64, device=x.device)  # (T, B)
        for total in outputs[-1].sum(0):  # one output unit at a time, all sequences at once
            (gradient,) = torch.autograd.grad(total, x, retain_graph=True)
            norms = torch.hypot(norms, _norm(gradient.double()))
    curve = norms.mean(1).flip(0).cpu().numpy()
    warn_of_underflow(curve, torch.finfo(dtype).tiny, "gradient_by_lag")
    return curve


def recall_by_lag(model: nn.Module, x: Tensor, longest: int) -> Array:
    """Measure how much of the input from `lag` steps ago a linear reader finds in the output.

    One linear regression per lag, from y_t to x_{t-lag}, fitted on the first half of the batch
    and scored on the second: the memory function of Jaeger (2001, "Short term memory in echo
    state networks"). Use inputs that are independent from step to step; otherwise the reader
    guesses the past from the present.

    Args:
        model: keeps the sequence-model contract. A copy of it is measured, without dropout.
        x: inputs (T, B, D) with T > `longest` and B >= 2.
        longest: the largest lag.

    Returns:
        The explained share of variance (R²) for lags 0 to `longest`, float64: 1 is perfect
        recall, 0 (or slightly below) none.

    Raises:
        TypeError: `model` is not a torch module, or `x` is not floating-point.
        ValueError: the sequences are too short or too few to fit the reader, or do not vary.
    """
    check_inputs(x)
    check_whole_number("longest", longest, at_least=0)
    T, B, _ = x.shape
    if longest >= T or B < 2:
        raise ValueError(f"x: expected T > {longest} and B >= 2, got T = {T} and B = {B}")
    with torch.no_grad():
        x = x.detach().double()
        y = measuring_copy(model)(x)[0][longest:]  # (N, B, K)
    features = torch.cat([y, torch.ones_like(y[..., :1])], -1).cpu().numpy()
    past = x.cpu().numpy()
    targets = np.stack([past[longest - lag : T - lag] for lag in range(longest + 1)], -1)
    fit, score = np.s_[:, : B // 2], np.s_[:, B // 2 :]
    flat_features, flat_targets = _rows(features[fit]), _rows(targets[fit])
    if len(flat_features) <= flat_features.shape[1]:
        raise ValueError(
            f"x: expected more than {flat_features.shape[1]} time steps to fit as many "
            f"coefficients, got {len(flat_features)}; give more or longer sequences"
        )
    weights = np.linalg.lstsq(flat_features, flat_targets, rcond=None)[0]  # (K + 1, D lags)
    truth = _rows(targets[score])
    wrong = ((_rows(features[score]) @ weights - truth) ** 2).sum(0)
    spread = ((truth - truth.mean(0)) ** 2).sum(0)
    wrong, spread = (a.reshape(-1, longest + 1).sum(0) for a in (wrong, spread))
    if not (spread > 0).all():
        raise ValueError("x: expected inputs that vary, got constant ones")
    return 1 - wrong / spread


def memory_horizon(norms: Array, fraction: float = 0.01) -> int:
    """Return the largest lag at which a curve is still at least `fraction` of its start.

    Args:
        norms: a curve by lag, such as `gradient_by_lag` returns.
        fraction: the share of `norms[0]` that counts as remembered, in (0, 1].

    Raises:
        ValueError: the curve is empty, not finite, or does not start above zero, or `fraction`
            is outside (0, 1].
    """
    norms = np.asarray(norms, dtype=np.float64)
    if norms.ndim != 1 or not len(norms) or not np.isfinite(norms).all() or norms[0] <= 0:
        raise ValueError("norms: expected a finite curve that starts above zero")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: expected a share in (0, 1], got {fraction!r}")
    return int(np.flatnonzero(norms >= fraction * norms[0])[-1])


def _norm(gradient: Tensor) -> Tensor:
    """Norm over the last axis, scaled first: squares of 1e-200 would be lost."""
    largest = gradient.abs().amax(-1, keepdim=True)
    scaled = gradient / torch.where(largest > 0, largest, torch.ones_like(largest))
    return largest.squeeze(-1) * scaled.norm(dim=-1)


def _rows(array: Array) -> Array:
    """Merge time and batch into rows, and everything else into columns."""
    return array.reshape(array.shape[0] * array.shape[1], -1)
