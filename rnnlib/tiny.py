"""The tiny network: two hidden units and a few round numbers that run through the whole book.

It is a latch. From the zero state the input +1 sets it, 0 lets it hold what it has, and -2 resets
it; the output is meant to report which of the two happened last. (When it has held for some steps
after a reset, +1 is too weak; a little more than +2 sets it.) Its numbers are small enough for
paper, and its steps are few enough for a blackboard.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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


def inputs() -> Array:
    """Return the three inputs set, hold, reset as a sequence of shape (T=3, B=1, D=1)."""
    return np.array([1.0, 0.0, -2.0]).reshape(3, 1, 1)


def targets() -> Array:
    """Return what the output should say after each input, shape (T=3, B=1, K=1)."""
    return np.array([1.0, 1.0, -1.0]).reshape(3, 1, 1)


def initial_state() -> Array:
    """Return the state before the first input: zeros of shape (B=1, H=2)."""
    return np.zeros((1, 2))
