"""The tiny network: two hidden units and a few round numbers that run through the whole book.

It is a latch. From the zero state the input +1 sets it, 0 lets it hold what it has, and -2 resets
it; the output is meant to report which of the two happened last. (When it has held for some steps
after a reset, +1 is too weak; a little more than +2 sets it.) Its numbers are small enough for
paper, and its steps are few enough for a blackboard.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnlib.numpy_nets import gru, lstm
from rnnlib.numpy_nets.rnn import Parameters

Array = NDArray[np.float64]


def parameters() -> Parameters:
    """Return the tiny network's weights as a fresh copy.

    Returns:
        `W_h` (2, 2), `W_x` (2, 1), `b` (2,), `W_y` (1, 2), `b_y` (1,), float64.
    """
    return Parameters(
        W_h=np.array([[1.5, -0.5], [-1.0, 0.5]]),
        W_x=np.array([[1.0], [-0.5]]),
        b=np.array([0.0, 0.1]),
        W_y=np.array([[1.0, -1.0]]),
        b_y=np.array([0.0]),
    )


def lstm_parameters() -> lstm.Parameters:
    """Return the same latch with gates: an LSTM of two units that holds by its gates alone.

    Unit 1 is written by the input +1 and wiped by -2, unit 2 the other way round; 0 leaves both
    alone. All recurrent weights are zero: the gates and candidates look at the input only.

    Returns:
        `W_h` (8, 2), `W_x` (8, 1), `b` (8,) in the blocks i, f, g, o; `W_y`, `b_y` as in
        `parameters`, float64.
    """
    W_x = {"i": [8.0, -4.0], "f": [4.0, -8.0], "g": [2.0, -1.0], "o": [0.0, 0.0]}
    b = {"i": -4.0, "f": 4.0, "g": 0.0, "o": 4.0}
    return lstm.Parameters(
        W_h=np.zeros((8, 2)),
        W_x=np.array([W_x[block] for block in "ifgo"]).reshape(8, 1),
        b=np.repeat([b[block] for block in "ifgo"], 2),
        W_y=parameters().W_y,
        b_y=parameters().b_y,
    )


def gru_parameters() -> gru.Parameters:
    """Return the tiny network with a reset and an update gate that look at the input only.

    Its old weights are those of the candidate. The reset gates are σ(1 ± x_t), the update gates
    σ(-1) and σ(x_t - 1).

    Returns:
        `W_h` (6, 2), `W_x` (6, 1), `b` (6,) in the blocks r, z, n; `W_y`, `b_y` as in
        `parameters`; `b_hn` (2,), zero; float64.
    """
    old = parameters()
    return gru.Parameters(
        W_h=np.vstack([np.zeros((4, 2)), old.W_h]),
        W_x=np.vstack([[[1.0], [-1.0], [0.0], [1.0]], old.W_x]),
        b=np.concatenate([[1.0, 1.0, -1.0, -1.0], old.b]),
        W_y=old.W_y,
        b_y=old.b_y,
        b_hn=np.zeros(2),
    )


def inputs() -> Array:
    """Return the three inputs set, hold, reset as a sequence of shape (T=3, B=1, D=1)."""
    return np.array([1.0, 0.0, -2.0]).reshape(3, 1, 1)


def targets() -> Array:
    """Return what the output should say after each input, shape (T=3, B=1, K=1)."""
    return np.array([1.0, 1.0, -1.0]).reshape(3, 1, 1)


def initial_state() -> Array:
    """Return the state before the first input: zeros of shape (B=1, H=2)."""
    return np.zeros((1, 2))
