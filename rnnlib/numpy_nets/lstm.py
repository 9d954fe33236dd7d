"""The long short-term memory in NumPy, with a backward pass derived by hand.

    i_t = σ(a_i)     input gate         a_t = W_h h_{t-1} + W_x x_t + b,
    f_t = σ(a_f)     forget gate        cut into the four blocks (a_i, a_f, a_g, a_o)
    g_t = tanh(a_g)  candidate
    o_t = σ(a_o)     output gate
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t     cell
    h_t = o_t ⊙ tanh(c_t)               hidden state
    y_t = W_y h_t + b_y                 output

The cell is that of Hochreiter and Schmidhuber (1997) with the forget gate of Gers, Schmidhuber
and Cummins (2000). The blocks stand in the order i, f, g, o, as in `torch.nn.LSTM`, whose two
biases add up to the one `b` here. Sequences are time-major and states are rows, as in `rnn.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnlib.numpy_nets import rnn
from rnnlib.numpy_nets.activations import sigmoid
from rnnlib.numpy_nets.arrays import check_shape, check_whole_number

Array = NDArray[np.float64]


@dataclass
class Parameters(rnn.Parameters):
    """The network's weights. Gradients with respect to them have the same type and shapes.

    Attributes:
        W_h: recurrent weights (4H, H); the blocks of rows belong to i, f, g, o.
        W_x: input weights (4H, D), in the same blocks.
        b: bias (4H,), in the same blocks.
        W_y: output weights (K, H).
        b_y: output bias (K,).

    Raises:
        ValueError: a shape does not fit the others, or an array is empty.
    """

    def __post_init__(self) -> None:
        H, D, K = np.shape(self.W_h)[-1], np.shape(self.W_x)[-1], np.shape(self.b_y)[0]
        shapes = {"W_h": (4 * H, H), "W_x": (4 * H, D), "b": (4 * H,), "W_y": (K, H)}
        for name, shape in shapes.items():
            check_shape(name, getattr(self, name), shape)


@dataclass
class States:
    """Everything that one forward pass leaves behind and that the backward pass reads.

    Attributes:
        h: hidden states (T + 1, B, H); `h[0]` is the state before the first step.
        c: cells (T + 1, B, H); `c[0]` is the cell before the first step.
        i: input gates (T, B, H).
        f: forget gates (T, B, H).
        g: candidates (T, B, H).
        o: output gates (T, B, H).
    """

    h: Array
    c: Array
    i: Array
    f: Array
    g: Array
    o: Array


@dataclass
class Gradients:
    """What `backward` returns.

    Attributes:
        parameters: the gradient of the loss for every weight.
        x: for the inputs (T, B, D).
        h_0: for the first hidden state (B, H).
        c_0: for the first cell (B, H).
        a: for the pre-activations (T, B, 4H), in the blocks i, f, g, o.
    """

    parameters: Parameters
    x: Array
    h_0: Array
    c_0: Array
    a: Array


def initialise(D: int, H: int, K: int, seed: int, scale: float = 1.0) -> Parameters:
    """Draw weights uniformly from ±scale / sqrt(H), the range that `torch.nn.LSTM` uses.

    Args:
        D: input size.
        H: hidden size.
        K: output size.
        seed: seed of NumPy's default generator.
        scale: factor on the range.
    """
    generator = np.random.default_rng(seed)
    limit = scale / np.sqrt(H)
    shapes = {"W_h": (4 * H, H), "W_x": (4 * H, D), "b": (4 * H,), "W_y": (K, H), "b_y": (K,)}
    return Parameters(**{n: generator.uniform(-limit, limit, s) for n, s in shapes.items()})


def step(p: Parameters, x_t: Array, h: Array, c: Array) -> tuple[Array, ...]:
    """Take one time step from the input (B, D), the hidden state (B, H) and the cell (B, H).

    Returns:
        The new `h` and `c`, then the gates `i`, `f`, `g`, `o`, each (B, H).
    """
    a_t = h @ p.W_h.T + x_t @ p.W_x.T + p.b  # (B, 4H)
    a_i, a_f, a_g, a_o = np.split(a_t, 4, axis=1)
    i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
    g = np.tanh(a_g)
    c = f * c + i * g
    h = o * np.tanh(c)
    return h, c, i, f, g, o


def forward(
    p: Parameters, x: Array, h_0: Array | None = None, c_0: Array | None = None
) -> tuple[Array, States]:
    """Run the network over a sequence.

    Args:
        p: the weights.
        x: inputs (T, B, D).
        h_0: hidden state before the first step (B, H); zeros when not given.
        c_0: cell before the first step (B, H); zeros when not given.

    Returns:
        `y`, the outputs (T, B, K), and the states and gates of every step.

    Raises:
        ValueError: an array does not fit the weights, or the sequence is empty.
    """
    h_0, c_0 = check_sequence(p, x, h_0, c_0)
    T, B, H = len(x), *h_0.shape
    s = States(*np.empty((2, T + 1, B, H)), *np.empty((4, T, B, H)))
    s.h[0], s.c[0] = h_0, c_0
    for t in range(1, T + 1):
        s.h[t], s.c[t], *gates = step(p, x[t - 1], s.h[t - 1], s.c[t - 1])
        s.i[t - 1], s.f[t - 1], s.g[t - 1], s.o[t - 1] = gates
    y = s.h[1:] @ p.W_y.T + p.b_y  # (T, B, K)
    return y, s


def step_backward(s: States, t: int, dh: Array, dc: Array) -> tuple[Array, Array]:
    """Go back through one step: `step` number t, counted from 0.

    Args:
        s: what `forward` left behind.
        t: the step.
        dh: gradient that arrives at this step's hidden state (B, H).
        dc: gradient that arrives at this step's cell from later steps (B, H).

    Returns:
        The gradient for the pre-activations (B, 4H), and for the cell before the step (B, H).
    """
    i, f, g, o, c = s.i[t], s.f[t], s.g[t], s.o[t], np.tanh(s.c[t + 1])
    dc = dc + dh * o * (1 - c**2)  # from later steps, and from h_t
    da_i = dc * g * i * (1 - i)
    da_f = dc * s.c[t] * f * (1 - f)
    da_g = dc * i * (1 - g**2)
    da_o = dh * c * o * (1 - o)
    return np.hstack([da_i, da_f, da_g, da_o]), dc * f


def backward(p: Parameters, x: Array, s: States, dy: Array) -> Gradients:
    """Backpropagate through time.

    Args:
        p: the weights used in `forward`.
        x: the inputs (T, B, D).
        s: the states that `forward` returned.
        dy: gradient of the loss for every output (T, B, K).

    Returns:
        The gradients for all weights, the inputs and the initial states.

    Raises:
        ValueError: an array does not have the shape given above.
    """
    check_backward(p, x, s, dy)
    da = np.empty_like(s.h, shape=(*x.shape[:2], len(p.b)))  # (T, B, 4H)
    dh, dc = np.zeros_like(s.h[0]), np.zeros_like(s.c[0])
    for t in range(len(x) - 1, -1, -1):
        dh = dh + dy[t] @ p.W_y  # what arrives at h_t: from later steps, and from y_t
        da[t], dc = step_backward(s, t, dh, dc)
        dh = da[t] @ p.W_h  # on to the state before
    return Gradients(collect(x, s, dy, da), x=da @ p.W_x, h_0=dh, c_0=dc, a=da)


def collect(x: Array, s: States, dy: Array, da: Array) -> Parameters:
    """Turn the errors at the pre-activations (T, B, 4H) into gradients for the shared weights."""
    return Parameters(
        W_h=np.einsum("tbi,tbj->ij", da, s.h[:-1]),
        W_x=np.einsum("tbi,tbj->ij", da, x),
        b=da.sum((0, 1)),
        W_y=np.einsum("tbk,tbj->kj", dy, s.h[1:]),
        b_y=dy.sum((0, 1)),
    )


def backward_truncated(
    p: Parameters, x: Array, s: States, dy: Array, every: int, depth: int
) -> Gradients:
    """Backpropagate only `depth` steps, once every `every` steps, as in `rnn.py`.

    Both paths are cut: the hidden state and the cell.

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
    dh_0, dc_0 = np.zeros_like(s.h[0]), np.zeros_like(s.c[0])
    for start in range(0, T, every):
        stop = min(start + every, T)
        first = max(0, start + every - depth)
        dh, dc = np.zeros_like(s.h[0]), np.zeros_like(s.c[0])
        for t in range(stop - 1, first - 1, -1):
            if t >= start:  # only this block's outputs send errors
                dh = dh + dy[t] @ p.W_y
            da, dc = step_backward(s, t, dh, dc)
            total[t] += da
            dh = da @ p.W_h
        if first == 0:
            dh_0, dc_0 = dh_0 + dh, dc_0 + dc
    return Gradients(collect(x, s, dy, total), x=total @ p.W_x, h_0=dh_0, c_0=dc_0, a=total)


def check_sequence(
    p: Parameters, x: Array, h_0: Array | None, c_0: Array | None
) -> tuple[Array, Array]:
    """Refuse inputs that do not fit the weights; return the initial states, or zeros for them."""
    H, D = p.W_h.shape[1], p.W_x.shape[1]
    if np.ndim(x) != 3 or 0 in np.shape(x) or np.shape(x)[2] != D:
        raise ValueError(f"x: expected shape (T >= 1, B >= 1, D = {D}), got {np.shape(x)}")
    B = np.shape(x)[1]
    return (
        np.zeros((B, H)) if h_0 is None else check_shape("h_0", h_0, (B, H)),
        np.zeros((B, H)) if c_0 is None else check_shape("c_0", c_0, (B, H)),
    )


def check_backward(p: Parameters, x: Array, s: States, dy: Array) -> None:
    """Refuse arrays that cannot come from one forward pass with these weights."""
    check_sequence(p, x, None, None)
    (T, B, _), H = x.shape, p.W_h.shape[1]
    for name in ("h", "c", "i", "f", "g", "o"):
        length = T + 1 if name in ("h", "c") else T
        check_shape(name, getattr(s, name), (length, B, H))
    check_shape("dy", dy, (T, B, len(p.b_y)))
