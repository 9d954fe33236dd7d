"""The tiny network with an LSTM's gates does what its page says, by its gates alone."""

from __future__ import annotations

import numpy as np

from rnnlib import tiny
from rnnlib.numpy_nets import lstm


def test_it_sets_holds_and_resets() -> None:
    y, _ = lstm.forward(tiny.lstm_parameters(), tiny.inputs())
    assert np.array_equal(np.sign(y), tiny.targets())
    assert np.abs(y).min() > 0.7
    held = np.zeros((30, 1, 1))
    held[0] = 1.0
    assert lstm.forward(tiny.lstm_parameters(), held)[0][-1, 0, 0] > 0.4


def test_nothing_but_the_forget_gate_holds() -> None:
    p = tiny.lstm_parameters()
    assert not p.W_h.any()
    p.b[2:4] = -20.0  # forget gates shut where the input is 0
    y, _ = lstm.forward(p, tiny.inputs())
    assert abs(y[1, 0, 0]) < 1e-3


def test_every_call_returns_a_fresh_copy() -> None:
    p = tiny.lstm_parameters()
    p.b[:] = 0.0
    p.W_y[:] = 0.0
    fresh = tiny.lstm_parameters()
    assert fresh.b.any() and fresh.W_y.any()
    assert tiny.parameters().W_y.any()
