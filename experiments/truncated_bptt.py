"""Can a network learn a dependency that is longer than its truncated gradient?

Task: a stream of random signs; at every step the network must say which sign came `lag` steps
ago. Guessing is right half of the time. The stream is cut into segments of 32 steps, the state
is carried from segment to segment, and every scheme makes one update of Adam a segment: same
data, same initial weights, same number of updates. No gradient leaves its segment, so "chunks"
of 32 steps are the longest gradient here, and windows are cut short at the segment's start.

Schemes: "chunks" (gradient cut every `depth` steps, state carried), "windows" (every output goes
`depth` steps back), "random" (each step back is taken with probability 1 - 1/depth and
reweighted), "reset" (like chunks, and in training the state is set to zero at every cut).

Besides the task itself, a linear reader is fitted to the states, before and after training: what
it can read shows whether the state holds the sign, whatever the network's own output does.

Settings were chosen, and the intervals of C48 fixed, on seeds 0 to 19 and 40 to 59. The record
holds seeds 20 to 39.
"""

from __future__ import annotations

import numpy as np

from rnnlib.numpy_nets import rnn
from rnnlib.numpy_nets.rnn import Array, Parameters

SEEDS = list(range(20, 40))
LAGS, DEPTHS = (4, 6, 8, 10), (1, 2, 4, 8, 16, 32)
SETTINGS = (
    [{"scheme": "chunks", "lag": lag, "depth": depth} for lag in LAGS for depth in DEPTHS]
    + [{"scheme": "windows", "lag": 6, "depth": depth} for depth in (2, 4, 8)]
    + [{"scheme": "random", "lag": lag, "depth": 4} for lag in (6, 10)]
    + [{"scheme": "reset", "lag": 6, "depth": 4}]
)
SEGMENT, STREAMS, HIDDEN, UPDATES, LEARNING_RATE, CLIP = 32, 16, 32, 1500, 3e-3, 1.0


def gradient(
    scheme: str,
    depth: int,
    p: Parameters,
    x: Array,
    d: Array,
    h_0: Array,
    coins: np.random.Generator,
) -> tuple[Parameters, Array]:
    """Return the scheme's gradient of the mean of ½ (y - d)² and the state to carry on with."""
    if scheme == "reset":
        total = p.zeros_like()
        for start in range(0, len(x), depth):
            part, goal = x[start : start + depth], d[start : start + depth]
            y, h = rnn.forward(p, part)
            for name, array in rnn.backward(p, part, h, (y - goal) / d.size).parameters.items():
                getattr(total, name)[...] += array
        return total, np.zeros_like(h_0)
    y, h = rnn.forward(p, x, h_0)
    dy = (y - d) / d.size
    if scheme == "chunks":
        result = rnn.backward_truncated(p, x, h, dy, every=depth, depth=depth)
    elif scheme == "windows":
        result = rnn.backward_truncated(p, x, h, dy, every=1, depth=depth)
    elif scheme == "random":
        result = rnn.backward_randomised(p, x, h, dy, keep=1 - 1 / depth, generator=coins)
    else:
        raise ValueError(f"scheme: expected one of the schemes above, got {scheme!r}")
    return result.parameters, h[-1]


def run(seed: int, scheme: str, lag: int, depth: int, updates: int = UPDATES) -> dict[str, float]:
    """Train one network and test it on fresh streams, with the state carried on.

    Returns:
        "accuracy": fraction of signs that are right (guessing: 0.5); "mse": mean squared error
        (always answering 0: 1.0); "readable_before" and "readable_after": fraction of signs that
        a linear reader of the state gets right, before and after training.
    """
    p, data = rnn.initialise(1, HIDDEN, 1, seed), np.random.default_rng(1000 + seed)
    coins, optimiser = np.random.default_rng(5000 + seed), Adam(p)
    before = readable(p, lag)
    h, past = np.zeros((STREAMS, HIDDEN)), np.zeros((lag, STREAMS, 1))
    for _ in range(updates):
        x = data.choice([-1.0, 1.0], (SEGMENT, STREAMS, 1))
        signs = np.concatenate([past, x])
        step, h = gradient(scheme, depth, p, x, signs[:SEGMENT], h, coins)
        past = signs[SEGMENT:]
        optimiser.update(p, step)
    y, _, d = tested(p, lag, seed=99)
    return {
        "accuracy": float(np.mean((y > 0) == (d > 0))),
        "mse": float(np.mean((y - d) ** 2)),
        "readable_before": before,
        "readable_after": readable(p, lag),
    }


def tested(p: Parameters, lag: int, seed: int) -> tuple[Array, Array, Array]:
    """Return outputs, states and targets on 64 fresh streams of 200 steps, after a warm-up."""
    warm_up, steps = 64, 200
    x = np.random.default_rng(seed).choice([-1.0, 1.0], (warm_up + steps, 64, 1))
    y, h = rnn.forward(p, x)
    return y[warm_up:], h[warm_up + 1 :], x[warm_up - lag : warm_up - lag + steps]


def readable(p: Parameters, lag: int) -> float:
    """Fit a linear reader of the state by least squares; return how many signs it gets right."""
    (_, h, d), (_, h_new, d_new) = tested(p, lag, seed=97), tested(p, lag, seed=98)
    rows, new_rows = (
        np.pad(s.reshape(-1, HIDDEN), ((0, 0), (0, 1)), constant_values=1.0) for s in (h, h_new)
    )
    reader = np.linalg.lstsq(rows, d.reshape(-1), rcond=None)[0]
    return float(np.mean((new_rows @ reader > 0) == (d_new.reshape(-1) > 0)))


class Adam:
    """Adam (Kingma and Ba 2015) for NumPy parameters, with the gradient's norm clipped first."""

    def __init__(self, p: Parameters) -> None:
        self.mean, self.square, self.updates = p.zeros_like(), p.zeros_like(), 0

    def update(self, p: Parameters, gradient: Parameters) -> None:
        """Move `p` in place."""
        self.updates += 1
        norm = np.sqrt(sum(np.sum(array**2) for _, array in gradient.items()))
        for name, array in gradient.items():
            g = array * min(1.0, CLIP / (norm + 1e-12))
            m, v = getattr(self.mean, name), getattr(self.square, name)
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            m_hat, v_hat = m / (1 - 0.9**self.updates), v / (1 - 0.999**self.updates)
            getattr(p, name)[...] -= LEARNING_RATE * m_hat / (np.sqrt(v_hat) + 1e-8)
