"""The recurrent network of Elman (1990) in NumPy, with a backward pass derived by hand.

    a_t = W_h h_{t-1} + W_x x_t + b          pre-activation
    h_t = tanh(a_t)                          hidden state
    y_t = W_y h_t + b_y                      output

Sequences are time-major: `x` is (T, B, D). A state is a row of a (B, H) array, so the column
vectors of the equations become rows, and `W_h h` becomes `h @ W_h.T`.

The backward pass is backpropagation through time (Rumelhart, Hinton and Williams 1986;
Werbos 1990), the truncated one is BPTT(h; h') of Williams and Peng (1990), and the forward
accumulation is real-time recurrent learning (Williams and Zipser 1989).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rnnlib.numpy_nets.arrays import check_shape, check_whole_number

Array = NDArray[np.float64]


@dataclass
class Parameters:
    """The network's weights. Gradients with respect to them have the same type and shapes.

    Attributes:
        W_h: recurrent weights (H, H); row i holds the weights into unit i.
        W_x: input weights (H, D).
        b: bias (H,).
        W_y: output weights (K, H).
        b_y: output bias (K,).

    Raises:
        ValueError: a shape does not fit the others, or an array is empty.
    """

    W_h: Array
    W_x: Array
    b: Array
    W_y: Array
    b_y: Array

    def __post_init__(self) -> None:
        H, D, K = np.shape(self.b)[0], np.shape(self.W_x)[-1], np.shape(self.b_y)[0]
        shapes = {"W_h": (H, H), "W_x": (H, D), "b": (H,), "W_y": (K, H), "b_y": (K,)}
        for name, shape in shapes.items():
            check_shape(name, getattr(self, name), shape)

    def items(self) -> list[tuple[str, Array]]:
        """Return (name, array) pairs in the order of the attributes."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]

    def copy(self) -> Self:
        """Return a copy that shares no memory with this one."""
        return type(self)(**{name: array.copy() for name, array in self.items()})

    def zeros_like(self) -> Self:
        """Return zeros in the same shapes, ready to accumulate a gradient."""
        return type(self)(**{name: np.zeros_like(array) for name, array in self.items()})


@dataclass
class Gradients:
    """What `backward` returns.

    Attributes:
        parameters: the gradient of the loss for every weight.
        x: for the inputs, (T, B, D).
        h_0: for the initial state, (B, H).
        a: for the pre-activations, (T, B, H): the `delta_t` of the derivation.
    """

    parameters: Parameters
    x: Array
    h_0: Array
    a: Array


def initialise(D: int, H: int, K: int, seed: int, scale: float = 1.0) -> Parameters:
    """Draw weights uniformly from ±scale / sqrt(H), the range that `torch.nn.RNN` uses.

    Args:
        D: input size.
        H: hidden size.
        K: output size.
        seed: seed of NumPy's default generator.
        scale: factor on the range.
    """
    generator = np.random.default_rng(seed)
    limit = scale / np.sqrt(H)
    shapes = {"W_h": (H, H), "W_x": (H, D), "b": (H,), "W_y": (K, H), "b_y": (K,)}
    return Parameters(**{n: generator.uniform(-limit, limit, s) for n, s in shapes.items()})


def step(p: Parameters, x_t: Array, h: Array) -> Array:
    """Take one time step: the new state from the input (B, D) and the old state (B, H)."""
    a_t = h @ p.W_h.T + x_t @ p.W_x.T + p.b  # (B, H)
    return np.tanh(a_t)


def forward(p: Parameters, x: Array, h_0: Array | None = None) -> tuple[Array, Array]:
    """Run the network over a sequence.

    Args:
        p: the weights.
        x: inputs (T, B, D).
        h_0: state before the first step (B, H); zeros when not given.

    Returns:
        `y`, the outputs (T, B, K), and `h`, all states (T + 1, B, H), where `h[0]` is `h_0`
        and `h[t]` the state after step t. The backward pass needs every one of them.

    Raises:
        ValueError: `x` or `h_0` does not fit the weights, or the sequence is empty.
    """
    h_0 = check_sequence(p, x, h_0)
    h = np.empty((len(x) + 1, *h_0.shape))  # (T + 1, B, H)
    h[0] = h_0
    for t in range(1, len(x) + 1):
        h[t] = step(p, x[t - 1], h[t - 1])
    y = h[1:] @ p.W_y.T + p.b_y  # (T, B, K)
    return y, h


def backward(p: Parameters, x: Array, h: Array, dy: Array, dh_T: Array | None = None) -> Gradients:
    """Backpropagate through time.

    Args:
        p: the weights used in `forward`.
        x: the inputs (T, B, D).
        h: the states that `forward` returned (T + 1, B, H).
        dy: gradient of the loss for every output (T, B, K).
        dh_T: gradient that reaches the last state from outside (B, H); zeros when not given.

    Returns:
        The gradients for all weights, the inputs and the initial state.

    Raises:
        ValueError: an array does not have the shape given above.
    """
    check_backward(p, x, h, dy)
    delta = np.empty_like(h[1:])  # (T, B, H)
    dh = np.zeros_like(h[0]) if dh_T is None else check_shape("dh_T", dh_T, h[0].shape)
    for t in range(len(x) - 1, -1, -1):
        dh = dh + dy[t] @ p.W_y  # what arrives at h_t: from later steps, and from y_t
        delta[t] = dh * (1 - h[t + 1] ** 2)  # through the tanh
        dh = delta[t] @ p.W_h  # on to the state before
    return Gradients(collect(p, x, h, dy, delta), x=delta @ p.W_x, h_0=dh, a=delta)


def collect(p: Parameters, x: Array, h: Array, dy: Array, delta: Array) -> Parameters:
    """Turn the errors at the pre-activations (T, B, H) into gradients for the shared weights."""
    return Parameters(
        W_h=np.einsum("tbi,tbj->ij", delta, h[:-1]),
        W_x=np.einsum("tbi,tbj->ij", delta, x),
        b=delta.sum((0, 1)),
        W_y=np.einsum("tbk,tbj->kj", dy, h[1:]),
        b_y=dy.sum((0, 1)),
    )


def backward_truncated(
    p: Parameters, x: Array, h: Array, dy: Array, every: int, depth: int
) -> Gradients:
    """Backpropagate only `depth` steps, once every `every` steps: BPTT(h; h').

    After each block of `every` steps, the errors of that block's outputs travel back through
    the last `depth` steps and stop (a block that the sequence's end cuts short goes back to the
    same step as a whole one). `every == depth` cuts the sequence into chunks, which is
    what `state.detach()` does in PyTorch. `every == 1` gives every output its own window of
    `depth` steps. The gradient is the full one where `depth >= T` and `every` divides T, and
    always where `depth >= T + every - 1`.

    Args:
        p: the weights.
        x: the inputs (T, B, D).
        h: the states that `forward` returned (T + 1, B, H).
        dy: gradient of the loss for every output (T, B, K).
        every: how many steps lie between two backward passes, at least 1.
        depth: how many steps each backward pass goes back, at least `every`.

    Returns:
        Truncated gradients, in the same form as `backward` returns them.

    Raises:
        ValueError: `every` is below 1, `depth` is below `every`, or a shape does not fit.
    """
    check_backward(p, x, h, dy)
    check_whole_number("every", every, at_least=1)
    check_whole_number("depth", depth, at_least=every)
    T, total = len(x), np.zeros_like(h[1:])
    dh_0 = np.zeros_like(h[0])
    for start in range(0, T, every):
        stop = min(start + every, T)
        first = max(0, start + every - depth)
        dh = np.zeros_like(h[0])
        for t in range(stop - 1, first - 1, -1):
            if t >= start:  # only this block's outputs send errors
                dh = dh + dy[t] @ p.W_y
            delta = dh * (1 - h[t + 1] ** 2)
            total[t] += delta
            dh = delta @ p.W_h
        if first == 0:
            dh_0 += dh
    return Gradients(collect(p, x, h, dy, total), x=total @ p.W_x, h_0=dh_0, a=total)


def backward_randomised(
    p: Parameters, x: Array, h: Array, dy: Array, keep: float, generator: np.random.Generator
) -> Gradients:
    """Cut the backward pass at random places, and reweight so that the mean stays right.

    Before each step back a coin is thrown. With probability `keep` the error goes on, divided
    by `keep`; otherwise it stops there. The expected value is the full gradient
    (Tallec and Ollivier 2017, in its simplest form: one constant probability).

    Args:
        p: the weights.
        x: the inputs (T, B, D).
        h: the states that `forward` returned (T + 1, B, H).
        dy: gradient of the loss for every output (T, B, K).
        keep: probability that the error crosses from one step to the one before, in (0, 1].
        generator: source of the coin throws.

    Returns:
        One random draw of the gradients.

    Raises:
        ValueError: `keep` is outside (0, 1], or a shape does not fit.
    """
    check_backward(p, x, h, dy)
    if not 0 < keep <= 1:
        raise ValueError(f"keep: expected a probability in (0, 1], got {keep!r}")
    delta = np.empty_like(h[1:])
    dh = np.zeros_like(h[0])
    for t in range(len(x) - 1, -1, -1):
        dh = dh + dy[t] @ p.W_y
        delta[t] = dh * (1 - h[t + 1] ** 2)
        crosses = generator.random() < keep
        dh = delta[t] @ p.W_h / keep if crosses else np.zeros_like(dh)
    return Gradients(collect(p, x, h, dy, delta), x=delta @ p.W_x, h_0=dh, a=delta)


def real_time_recurrent_learning(p: Parameters, x: Array, h_0: Array, d: Array) -> Parameters:
    """Compute the gradient of ½ Σ |y_t - d_t|² forward in time, storing no past state.

    The sensitivity P = ∂h_t/∂θ of the state to every recurrent parameter is carried along:
    P_t = diag(1 - h_t²) (W_h P_{t-1} + ∂a_t/∂θ). Batch size one, as in the paper.

    Args:
        p: the weights.
        x: inputs (T, 1, D).
        h_0: state before the first step (1, H).
        d: targets (T, 1, K).

    Returns:
        The same gradient that `backward` gives for this loss.

    Raises:
        ValueError: the batch is larger than one, or a shape does not fit.
    """
    h_0 = check_sequence(p, x, h_0)
    (H, D), K = p.W_x.shape, len(p.b_y)
    check_shape("x", x, (len(x), 1, D))
    check_shape("d", d, (len(x), 1, K))
    eye, h, total = np.eye(H), h_0[0], p.zeros_like()
    P = np.zeros((H, H * (H + D + 1)))  # ∂h/∂(W_h, W_x, b), one row a unit
    for x_t, d_t in zip(x[:, 0], d[:, 0], strict=True):
        da = np.hstack([np.kron(eye, h), np.kron(eye, x_t), eye])  # ∂a_t/∂θ with h_{t-1} fixed
        h = step(p, x_t, h)
        P = (1 - h**2)[:, None] * (p.W_h @ P + da)
        error = p.W_y @ h + p.b_y - d_t  # (K,)
        g = error @ p.W_y @ P  # what this step adds to the gradient
        total.W_h += g[: H * H].reshape(H, H)
        total.W_x += g[H * H : H * (H + D)].reshape(H, D)
        total.b += g[H * (H + D) :]
        total.W_y += np.outer(error, h)
        total.b_y += error
    return total


def squared_error(y: Array, d: Array) -> tuple[float, Array]:
    """Return the loss L = ½ Σ |y_t - d_t|² and its gradient y - d, for targets d (T, B, K)."""
    check_shape("d", d, y.shape)
    return float(0.5 * np.sum((y - d) ** 2)), y - d


def cross_entropy(y: Array, targets: NDArray[np.int64]) -> tuple[float, Array]:
    """Return the mean cross-entropy in nats and its gradient for the scores y.

    Args:
        y: scores before the softmax (T, B, K).
        targets: the right classes (T, B), whole numbers in [0, K).

    Raises:
        ValueError: the shapes do not fit or a class lies outside [0, K).
    """
    T, B, K = y.shape
    check_shape("targets", targets, (T, B))
    if targets.min() < 0 or targets.max() >= K:
        raise ValueError(
            f"targets: expected classes from 0 to {K - 1}, got {targets.min()} to {targets.max()}"
        )
    shifted = y - y.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    one_hot = np.eye(K)[targets]
    return float(-(one_hot * log_p).sum() / (T * B)), (np.exp(log_p) - one_hot) / (T * B)


def check_sequence(p: Parameters, x: Array, h_0: Array | None) -> Array:
    """Refuse inputs that do not fit the weights; return `h_0`, or zeros in its place."""
    H, D = p.W_x.shape
    if np.ndim(x) != 3 or 0 in np.shape(x) or np.shape(x)[2] != D:
        raise ValueError(f"x: expected shape (T >= 1, B >= 1, D = {D}), got {np.shape(x)}")
    B = np.shape(x)[1]
    return np.zeros((B, H)) if h_0 is None else check_shape("h_0", h_0, (B, H))


def check_backward(p: Parameters, x: Array, h: Array, dy: Array) -> None:
    """Refuse arrays that cannot come from one forward pass with these weights."""
    check_sequence(p, x, None)
    T, B, _ = x.shape
    check_shape("h", h, (T + 1, B, len(p.b)))
    check_shape("dy", dy, (T, B, len(p.b_y)))
