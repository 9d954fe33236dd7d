"""The gated recurrent unit in NumPy, in both conventions, with a backward pass derived by hand.

    r_t = σ(W_hr h_{t-1} + W_xr x_t + b_r)            reset gate
    z_t = σ(W_hz h_{t-1} + W_xz x_t + b_z)            update gate
    n_t = tanh(W_xn x_t + b_n + m_t)                  candidate
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}             hidden state
    y_t = W_y h_t + b_y                               output

where the old state reaches the candidate in one of two ways:

    reset after the product    m_t = r_t ⊙ (W_hn h_{t-1} + b_hn)       `torch.nn.GRU`, cuDNN
    reset before the product   m_t = W_hn (r_t ⊙ h_{t-1}) + b_hn       Cho et al. (2014)

Here z = 1 keeps the old state, as in PyTorch and in Cho et al. (2014). Chung et al. (2014)
write h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ n_t instead: their z is 1 - z here. The blocks stand in
the order r, z, n, as in `torch.nn.GRU`. Time comes first and states are rows, as in `rnn.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnnlib.numpy_nets import rnn
from rnnlib.numpy_nets.activations import sigmoid
from rnnlib.numpy_nets.arrays import check_shape, check_whole_number

Array = NDArray[np.float64]
Reset = Literal["after", "before"]


@dataclass
class Parameters(rnn.Parameters):
    """The network's weights. Gradients with respect to them have the same type and shapes.

    Attributes:
        W_h: recurrent weights (3H, H); the blocks of rows belong to r, z, n.
        W_x: input weights (3H, D), in the same blocks.
        b: bias (3H,), in the same blocks. In PyTorch's terms: both biases added for r and z,
            the input bias alone for n.
        W_y: output weights (K, H).
        b_y: output bias (K,).
        b_hn: the candidate's second bias (H,), which stands beside W_hn.

    Raises:
        ValueError: a shape does not fit the others, or an array is empty.
    """

    b_hn: Array

    def __post_init__(self) -> None:
        H, D, K = np.shape(self.W_h)[-1], np.shape(self.W_x)[-1], np.shape(self.b_y)[0]
        shapes = {"W_h": (3 * H, H), "W_x": (3 * H, D), "b": (3 * H,), "W_y": (K, H)}
        for name, shape in {**shapes, "b_hn": (H,)}.items():
            check_shape(name, getattr(self, name), shape)


@dataclass
class States:
    """Everything that one forward pass leaves behind and that the backward pass reads.

    Attributes:
        h: hidden states (T + 1, B, H); `h[0]` is the state before the first step.
        r: reset gates (T, B, H).
        z: update gates (T, B, H).
        n: candidates (T, B, H).
        m: what the old state adds to the candidate (T, B, H), with r = 1 in the convention
            "after": W_hn h + b_hn.
        reset: the convention, "after" or "before" the matrix product.
    """

    h: Array
    r: Array
    z: Array
    n: Array
    m: Array
    reset: Reset


@dataclass
class Gradients:
    """What `backward` returns.

    Attributes:
        parameters: the gradient of the loss for every weight.
        x: for the inputs (T, B, D).
        h_0: for the initial state (B, H).
        a: for the pre-activations (T, B, 3H), in the blocks r, z, n.
    """

    parameters: Parameters
    x: Array
    h_0: Array
    a: Array


def initialise(D: int, H: int, K: int, seed: int, scale: float = 1.0) -> Parameters:
    """Draw weights uniformly from ±scale / sqrt(H), the range that `torch.nn.GRU` uses.

    Args:
        D: input size.
        H: hidden size.
        K: output size.
        seed: seed of NumPy's default generator.
        scale: factor on the range.
    """
    generator = np.random.default_rng(seed)
    limit = scale / np.sqrt(H)
    shapes = {"W_h": (3 * H, H), "W_x": (3 * H, D), "b": (3 * H,), "W_y": (K, H), "b_y": (K,)}
    shapes["b_hn"] = (H,)
    return Parameters(**{n: generator.uniform(-limit, limit, s) for n, s in shapes.items()})


def step(p: Parameters, x_t: Array, h: Array, reset: Reset = "after") -> tuple[Array, ...]:
    """Take one time step from the input (B, D) and the old state (B, H).

    Returns:
        The new `h`, then `r`, `z`, `n` and `m` as `States` keeps them, each (B, H).
    """
    a_r, a_z, a_n = np.split(x_t @ p.W_x.T + p.b, 3, axis=1)  # (B, H) each
    W_hr, W_hz, W_hn = np.split(p.W_h, 3)  # (H, H) each
    r = sigmoid(a_r + h @ W_hr.T)
    z = sigmoid(a_z + h @ W_hz.T)
    if reset == "after":
        m = h @ W_hn.T + p.b_hn
        n = np.tanh(a_n + r * m)
    else:
        m = (r * h) @ W_hn.T + p.b_hn
        n = np.tanh(a_n + m)
    return (1 - z) * n + z * h, r, z, n, m


def forward(
    p: Parameters, x: Array, h_0: Array | None = None, reset: Reset = "after"
) -> tuple[Array, States]:
    """Run the network over a sequence.

    Args:
        p: the weights.
        x: inputs (T, B, D).
        h_0: state before the first step (B, H); zeros when not given.
        reset: whether the reset gate acts "after" or "before" the matrix product.

    Returns:
        `y`, the outputs (T, B, K), and the states and gates of every step.

    Raises:
        ValueError: an array does not fit the weights, the sequence is empty, or `reset` is
            neither "after" nor "before".
    """
    h_0 = check_sequence(p, x, h_0, reset)
    T, B, H = len(x), *h_0.shape
    r, z, n, m = np.empty((4, T, B, H))
    s = States(np.empty((T + 1, B, H)), r, z, n, m, reset)
    s.h[0] = h_0
    for t in range(1, T + 1):
        s.h[t], *gates = step(p, x[t - 1], s.h[t - 1], reset)
        s.r[t - 1], s.z[t - 1], s.n[t - 1], s.m[t - 1] = gates
    y = s.h[1:] @ p.W_y.T + p.b_y  # (T, B, K)
    return y, s


def step_backward(p: Parameters, s: States, t: int, dh: Array) -> tuple[Array, Array]:
    """Go back through one step: `step` number t, counted from 0.

    Args:
        p: the weights.
        s: what `forward` left behind.
        t: the step.
        dh: gradient that arrives at this step's state (B, H).

    Returns:
        The gradient for the pre-activations (B, 3H), and for the state before the step (B, H).
    """
    h, r, z, n = s.h[t], s.r[t], s.z[t], s.n[t]
    W_hr, W_hz, W_hn = np.split(p.W_h, 3)
    da_z = dh * (h - n) * z * (1 - z)
    da_n = dh * (1 - z) * (1 - n**2)
    if s.reset == "after":
        dr = da_n * s.m[t]
        dh_n = (da_n * r) @ W_hn
    else:
        drh = da_n @ W_hn  # at the product r ⊙ h
        dr, dh_n = drh * h, drh * r
    da_r = dr * r * (1 - r)
    dh = dh * z + dh_n + da_r @ W_hr + da_z @ W_hz
    return np.hstack([da_r, da_z, da_n]), dh


def backward(p: Parameters, x: Array, s: States, dy: Array) -> Gradients:
    """Backpropagate through time, in the convention that the states were computed with.

    Args:
        p: the weights used in `forward`.
        x: the inputs (T, B, D).
        s: the states that `forward` returned.
        dy: gradient of the loss for every output (T, B, K).

    Returns:
        The gradients for all weights, the inputs and the initial state.

    Raises:
        ValueError: an array does not have the shape given above.
    """
    check_backward(p, x, s, dy)
    da = np.empty_like(s.h, shape=(*x.shape[:2], len(p.b)))  # (T, B, 3H)
    dh = np.zeros_like(s.h[0])
    for t in range(len(x) - 1, -1, -1):
        dh = dh + dy[t] @ p.W_y  # what arrives at h_t: from later steps, and from y_t
        da[t], dh = step_backward(p, s, t, dh)  # on to the state before
    return Gradients(collect(x, s, dy, da), x=da @ p.W_x, h_0=dh, a=da)


def collect(x: Array, s: States, dy: Array, da: Array) -> Parameters:
    """Turn the errors at the pre-activations (T, B, 3H) into gradients for the shared weights."""
    da_rz, da_n = np.split(da, [2 * s.h.shape[-1]], axis=-1)
    h, rh = s.h[:-1], s.h[:-1]
    if s.reset == "after":
        dm = da_n * s.r
    else:
        dm, rh = da_n, s.r * h
    W_hrz = np.einsum("tbi,tbj->ij", da_rz, h)
    W_hn = np.einsum("tbi,tbj->ij", dm, rh)
    return Parameters(
        W_h=np.vstack([W_hrz, W_hn]),
        W_x=np.einsum("tbi,tbj->ij", da, x),
        b=da.sum((0, 1)),
        W_y=np.einsum("tbk,tbj->kj", dy, s.h[1:]),
        b_y=dy.sum((0, 1)),
        b_hn=dm.sum((0, 1)),
    )


def backward_truncated(
    p: Parameters, x: Array, s: States, dy: Array, every: int, depth: int
) -> Gradients:
    """Backpropagate only `depth` steps, once every `every` steps, as in `rnn.py`.

    Args:
        p: the weights.
        x: the inputs (T, B, D).
        s: the states that `forward` returned.
        dy: gradient of the loss for every output (T, B, K).
        every: how many steps lie between two backward passes, at least 1.
        depth: how many steps each backward pass goes back, at least `every`.

    Returns:
        Truncated gradients, in the same form as `backward` returns them.

    Raises:
        ValueError: `every` is below 1, `depth` is below `every`, or a shape does not fit.
    """
    check_backward(p, x, s, dy)
    check_whole_number("every", every, at_least=1)
    check_whole_number("depth", depth, at_least=every)
    T, total = len(x), np.zeros_like(s.h, shape=(*x.shape[:2], len(p.b)))
    dh_0 = np.zeros_like(s.h[0])
    for start in range(0, T, every):
        stop = min(start + every, T)
        first = max(0, start + every - depth)
        dh = np.zeros_like(s.h[0])
        for t in range(stop - 1, first - 1, -1):
            if t >= start:  # only this block's outputs send errors
                dh = dh + dy[t] @ p.W_y
            da, dh = step_backward(p, s, t, dh)
            total[t] += da
        if first == 0:
            dh_0 += dh
    return Gradients(collect(x, s, dy, total), x=total @ p.W_x, h_0=dh_0, a=total)


def check_sequence(p: Parameters, x: Array, h_0: Array | None, reset: str) -> Array:
    """Refuse inputs that do not fit the weights; return `h_0`, or zeros in its place."""
    H, D = p.W_h.shape[1], p.W_x.shape[1]
    if reset not in ("after", "before"):
        raise ValueError(f"reset: expected 'after' or 'before', got {reset!r}")
    if np.ndim(x) != 3 or 0 in np.shape(x) or np.shape(x)[2] != D:
        raise ValueError(f"x: expected shape (T >= 1, B >= 1, D = {D}), got {np.shape(x)}")
    B = np.shape(x)[1]
    return np.zeros((B, H)) if h_0 is None else check_shape("h_0", h_0, (B, H))


def check_backward(p: Parameters, x: Array, s: States, dy: Array) -> None:
    """Refuse arrays that cannot come from one forward pass with these weights."""
    check_sequence(p, x, None, s.reset)
    (T, B, _), H = x.shape, p.W_h.shape[1]
    for name in ("h", "r", "z", "n", "m"):
        check_shape(name, getattr(s, name), (T + 1 if name == "h" else T, B, H))
    check_shape("dy", dy, (T, B, len(p.b_y)))
