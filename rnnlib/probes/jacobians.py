"""The Jacobians ∂h_t / ∂h_{t-1} of a model that can step, and what their products do.

The derivative of a state with respect to an older one is a product of Jacobians, one a step. Its
size is bounded by their singular values (Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and
Bengio 2013); eigenvalues tell only how powers of one fixed matrix behave in the long run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnnlib.probes.prepare import check_inputs, measuring_copy, warn_of_underflow

Array = NDArray[np.float64]


def state_jacobians(model: nn.Module, x: Tensor, state: Any = None) -> Array:
    """Return ∂s_t / ∂s_{t-1} for every step of one sequence, in float64.

    Args:
        model: has `step(x_t, state)` and `initial_state(batch_size)` of the sequence-model
            contract. A copy of it is measured, without dropout.
        x: inputs (T, 1, D): one sequence.
        state: where to start; the model's initial state when not given.

    Returns:
        Jacobians (T, S, S). S counts all numbers of the state; where a state has several parts
        (an LSTM's h and c, layers), they follow each other in the model's own order.

    Raises:
        TypeError: `model` is not a torch module that can step, `x` is not floating-point, or the
            state holds something other than tensors.
        ValueError: `x` is not a single non-empty sequence.
    """
    check_inputs(x, batch=1)
    probe: Any = measuring_copy(model)
    if not callable(getattr(probe, "step", None)):
        raise TypeError(f"model: expected one with a step method, got {type(model).__name__}")
    state = probe.initial_state(1) if state is None else state
    jacobians = []
    for x_t in x.detach().double():

        def advance(flat: Tensor, x_t: Tensor = x_t, like: Any = state) -> Tensor:
            return _flatten(probe.step(x_t, _rebuild(like, flat))[1])

        flat = _flatten(state).detach().double()
        jacobians.append(torch.autograd.functional.jacobian(advance, flat))
        with torch.no_grad():
            state = _rebuild(state, advance(flat))
    return torch.stack(jacobians).cpu().numpy()


def product_norms(jacobians: Array) -> Array:
    """Return ‖J_T J_{T-1} … J_{T-lag+1}‖₂ = ‖∂h_T / ∂h_{T-lag}‖₂ for every lag from 0 to T.

    Args:
        jacobians: (T, S, S), in the order of time, float64.

    Returns:
        Spectral norms (T + 1,); the first is 1, the norm of the empty product.

    Warns:
        RuntimeWarning: norms fell below what float64 represents with full precision.

    Raises:
        TypeError: the matrices are not float64.
        ValueError: they are not square, or there are none.
    """
    matrices = _check_matrices("jacobians", jacobians)
    if matrices.ndim != 3:
        raise ValueError(f"jacobians: expected shape (T, S, S), got {matrices.shape}")
    product = np.eye(matrices.shape[-1])
    norms = [1.0]
    for J in matrices[::-1]:
        product = product @ J
        norms.append(float(np.linalg.norm(product, 2)))
    warn_of_underflow(np.array(norms), float(np.finfo(np.float64).tiny), "product_norms")
    return np.array(norms)


def singular_values(matrices: Array) -> Array:
    """Return the singular values (…, S), largest first, of matrices (…, S, S).

    Raises:
        TypeError: the matrices are not float64.
        ValueError: they are not square, or there are none.
    """
    values = np.linalg.svd(_check_matrices("matrices", matrices), compute_uv=False)
    return np.asarray(values, dtype=np.float64)


def spectral_radius(matrices: Array) -> Array:
    """Return the largest absolute value of an eigenvalue (…) of matrices (…, S, S).

    Raises:
        TypeError: the matrices are not float64.
        ValueError: they are not square, or there are none.
    """
    return np.abs(np.linalg.eigvals(_check_matrices("matrices", matrices))).max(-1)


def _check_matrices(name: str, matrices: Array) -> Array:
    if not isinstance(matrices, np.ndarray) or matrices.dtype != np.float64:
        got = getattr(matrices, "dtype", type(matrices).__name__)
        raise TypeError(f"{name}: expected a float64 array, got {got}")
    if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2] or matrices.size == 0:
        raise ValueError(f"{name}: expected square matrices (…, S, S), got shape {matrices.shape}")
    return matrices


def _flatten(state: Any) -> Tensor:
    """Return all numbers of a state, a tensor or nested tuples of them, as one vector."""
    if isinstance(state, Tensor):
        return state.reshape(-1)
    if isinstance(state, tuple | list) and state:
        return torch.cat([_flatten(part) for part in state])
    raise TypeError(f"state: expected tensors, got {type(state).__name__}")


def _rebuild(like: Any, flat: Tensor) -> Any:
    """Undo `_flatten`, in the form of `like`."""
    if isinstance(like, Tensor):
        return flat.reshape(like.shape)
    sizes = [_flatten(part).numel() for part in like]
    return tuple(_rebuild(part, piece) for part, piece in zip(like, flat.split(sizes), strict=True))
