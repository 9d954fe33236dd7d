"""LSTM or GRU, fairly: same tasks, same budgets and the same search for everybody.

Three tasks, one recurrent layer and a linear output in all of them:

- "adding": two marked numbers among 100 are to be added (Hochreiter and Schmidhuber 1997). Batches
  of 32 new sequences, at most 3000 updates of Adam. 500 held-out sequences are tried every 25
  updates, and training stops when their mean squared error is below 1/60, a tenth of that of a
  constant answer.
- "characters": the next character of the State of the Union addresses. The first 600,000
  characters of the training years are read once, in 16 streams, 32 characters at a time, with the
  state carried on. The figure is bits a character on the test years.
- "glucose": from the readings of two hours, one every five minutes, forecast those of the next
  hour, all at once, as differences from the last reading. 1000 batches of 64.

The arms. "RNN" (tanh), "GRU" and "LSTM" have the same width. "RNN, wider" and "GRU, wider" have as
many parameters, embedding and output included, as the LSTM, as near as a whole number of units
allows. "LSTM, forget bias 1" is the LSTM with that one change; all other arms start as torch
starts them. Adam everywhere, gradient norm clipped at 1; on characters and glucose the learning
rate rises to its peak and falls again (OneCycleLR). The arms of one seed see the same batches.

The (peak) learning rate of every task and arm is the one with the fewest updates, or the lowest
error on validation, on exploration seed 0 or 1. On adding, 0.001, 0.003, 0.01, 0.03 and 0.1 were
tried (0.1 is too much for the GRU: its gradient overflows); on glucose 0.003, 0.01 and 0.03; on
characters steps of two from 0.006 or 0.003 upwards until it got worse (LSTM: 0.096, GRU: 0.024,
RNN: 0.024, wider 0.012). "LSTM, forget bias 1" takes the LSTM's rate. "LSTM, the GRU's rate" shows
what one rate for both does. The plain network is not run on adding: `memory_horizon` has it.

The intervals of C24 and C25 were fixed on exploration seeds 0 to 2. The record holds seeds 10 to
19.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from experiments.character_rnn import Texts, cross_entropy, load_texts
from rnnlib.data import text
from rnnlib.data.glucose import glucose_segments, glucose_windows, split_by_time
from rnnlib.data.synthetic import Adding
from rnnlib.initialisation import initialise_gate_bias
from rnnlib.layers import GRU, LSTM, RNN

LAYERS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4}


class Arm(NamedTuple):
    """A kind of layer, whether it is as large as the LSTM, and its forget bias (None: torch's)."""

    kind: str
    wider: bool = False
    forget_bias: float | None = None


ARMS = {
    "RNN": Arm("RNN"),
    "GRU": Arm("GRU"),
    "LSTM": Arm("LSTM"),
    "LSTM, forget bias 1": Arm("LSTM", forget_bias=1.0),
    "LSTM, the GRU's rate": Arm("LSTM"),
    "RNN, wider": Arm("RNN", wider=True),
    "GRU, wider": Arm("GRU", wider=True),
}


class Sizes(NamedTuple):
    """Numbers an input (D), units at equal width (H), outputs (K), characters embedded (V)."""

    D: int
    H: int
    K: int
    V: int = 0


SIZES = {
    "adding": Sizes(D=2, H=64, K=1),
    "characters": Sizes(D=32, H=96, K=84, V=84),
    "glucose": Sizes(D=1, H=32, K=12),
}
RATES = {
    ("adding", "GRU"): 0.03,
    ("adding", "LSTM"): 0.03,
    ("adding", "LSTM, forget bias 1"): 0.03,
    ("adding", "GRU, wider"): 0.03,
    ("glucose", "RNN"): 0.01,
    ("glucose", "GRU"): 0.03,
    ("glucose", "LSTM"): 0.03,
    ("glucose", "RNN, wider"): 0.003,
    ("glucose", "GRU, wider"): 0.03,
    ("characters", "RNN"): 0.012,
    ("characters", "GRU"): 0.012,
    ("characters", "LSTM"): 0.048,
    ("characters", "LSTM, the GRU's rate"): 0.012,
    ("characters", "LSTM, forget bias 1"): 0.048,
    ("characters", "RNN, wider"): 0.006,
    ("characters", "GRU, wider"): 0.012,
}
SEEDS = list(range(10, 20))
SETTINGS = [{"task": task, "arm": arm} for task, arm in RATES]

CLIP = 1.0
LENGTH, BATCH, UPDATES, TRIED_EVERY, SOLVED_BELOW = 100, 32, 3000, 25, 1 / 60
STREAMS, STEPS, CHARACTERS = 16, 32, 600_000
WINDOW, HORIZON, GLUCOSE_BATCH, GLUCOSE_UPDATES = 24, 12, 64, 1000


class Network(nn.Module):
    """One recurrent layer and a linear output; ids are embedded, numbers are read as they are."""

    def __init__(self, arm: Arm, sizes: Sizes) -> None:
        super().__init__()
        D, _, K, V = sizes
        H = width(arm, sizes)
        self.embedding = nn.Embedding(V, D) if V else nn.Identity()
        self.recurrent = LAYERS[arm.kind](D, H)
        if arm.forget_bias is not None:
            initialise_gate_bias(self.recurrent, "forget", arm.forget_bias)
        self.readout = nn.Linear(H, K)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Read ids (T, B) or numbers (T, B, D); return outputs (T, B, K) and the last state."""
        h, state = self.recurrent(self.embedding(x), state)
        return self.readout(h), state

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def parameters(kind: str, H: int, sizes: Sizes) -> int:
    """Count the parameters of a network of H units by formula."""
    D, _, K, V = sizes
    return V * D + BLOCKS[kind] * H * (H + D + 2) + K * (H + 1)


def width(arm: Arm, sizes: Sizes) -> int:
    """Return the number of units: that of the sizes, or as many as give the LSTM's parameters."""
    if not arm.wider:
        return sizes.H
    goal = parameters("LSTM", sizes.H, sizes)
    return min(
        range(sizes.H, 4 * sizes.H), key=lambda H: abs(parameters(arm.kind, H, sizes) - goal)
    )


def update(model: Network, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Make one step down the gradient of the loss."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP, error_if_nonfinite=True)
    optimizer.step()


def adding(model: Network, seed: int, rate: float) -> dict[str, float]:
    """Train until the task is solved or the updates are used up."""
    task, generator = Adding(LENGTH), Generator().manual_seed(1000 + seed)
    held_out = task.batch(500, Generator().manual_seed(7))
    optimizer = torch.optim.Adam(model.parameters(), rate)

    def error(x: Tensor, d: Tensor) -> Tensor:
        return functional.mse_loss(model(x)[0][-1, :, 0], d)

    made, solved = 0, False
    while made < UPDATES and not solved:
        update(model, optimizer, error(*task.batch(BATCH, generator)))
        made += 1
        if made % TRIED_EVERY == 0:
            with torch.no_grad():
                solved = float(error(*held_out)) < SOLVED_BELOW
    with torch.no_grad():
        final = float(error(*task.batch(1000, Generator().manual_seed(8))))
    return {"solved": float(solved), "updates": float(made), "error": final}


@functools.cache
def texts() -> Texts:
    """Return the addresses, read once."""
    return load_texts()


def characters(model: Network, seed: int, rate: float) -> dict[str, float]:
    """Read a part of the training years once; the seed acts through the initial weights alone."""
    batches = list(text.contiguous_streams(texts().training[:CHARACTERS], STREAMS, STEPS))
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=len(batches), pct_start=0.1
    )
    state = None
    for x, targets in batches:
        scores, state = model(x, state)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        update(model, optimizer, cross_entropy(scores, targets))
        schedule.step()
    return {
        "bits": bits_per_character(model, texts().test),
        "bits_validation": bits_per_character(model, texts().validation),
    }


@torch.no_grad()
def bits_per_character(model: Network, ids: Tensor) -> float:
    """Read a text (N,) in streams, and say how many bits each character cost."""
    nats, count, state = 0.0, 0, None
    for x, targets in text.contiguous_streams(ids, 64, 64):
        scores, state = model(x, state)
        counted = int((targets != text.IGNORED).sum())
        nats += cross_entropy(scores, targets).item() * counted
        count += counted
    return text.bits_per_character(nats / count)


@functools.cache
def windows(part: str) -> tuple[Tensor, Tensor]:
    """Return inputs (WINDOW, N) and targets (HORIZON, N) of a part, in units of `spread`."""
    mean, spread = scale()
    arrays = glucose_windows(getattr(split_by_time(glucose_segments()), part), WINDOW, HORIZON)
    x, d = (torch.from_numpy((a - mean) / spread).float().T.contiguous() for a in arrays)
    return x, d


@functools.cache
def scale() -> tuple[float, float]:
    """Return the mean and the standard deviation of the training part, in mg/dL."""
    training = split_by_time(glucose_segments()).training
    readings = torch.cat([torch.from_numpy(segment.values) for segment in training])
    return float(readings.mean()), float(readings.std())


def glucose(model: Network, seed: int, rate: float) -> dict[str, float]:
    """Train on windows of the training part drawn at random."""
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=GLUCOSE_UPDATES)
    generator = Generator().manual_seed(1000 + seed)
    inputs, targets = windows("training")

    def forecast(x: Tensor) -> Tensor:
        y: Tensor = model(x[:, :, None])[0][-1].T + x[-1]  # (HORIZON, B)
        return y

    for _ in range(GLUCOSE_UPDATES):
        chosen = torch.randint(inputs.shape[1], (GLUCOSE_BATCH,), generator=generator)
        update(
            model,
            optimizer,
            functional.mse_loss(forecast(inputs[:, chosen]), targets[:, chosen]),
        )
        schedule.step()
    with torch.no_grad():
        (x, d), (x_, d_) = windows("test"), windows("validation")
        test, validation = (forecast(x) - d).square(), (forecast(x_) - d_).square()
    return {
        "rmse": float(test.mean().sqrt()) * scale()[1],
        "rmse_last": float(test[-1].mean().sqrt()) * scale()[1],
        "rmse_validation": float(validation.mean().sqrt()) * scale()[1],
    }


TASKS = {"adding": adding, "characters": characters, "glucose": glucose}


def run(seed: int, task: str, arm: str, rate: float = 0.0) -> dict[str, float]:
    """Train one network.

    Args:
        seed: of the initial weights and the batches.
        task: "adding", "characters" or "glucose".
        arm: a key of `ARMS`.
        rate: (peak) learning rate; that of `RATES` if 0.

    Returns:
        "parameters" and "units" of the network, and for "adding" "solved" (1 or 0), "updates"
        made, and "error" (mean squared, on 1,000 new sequences); for "characters" "bits" a
        character on the test years and "bits_validation"; for "glucose" root mean squared errors
        in mg/dL: "rmse" over all horizons of the test part, "rmse_last" at one hour, and
        "rmse_validation".
    """
    torch.manual_seed(seed)
    model = Network(ARMS[arm], SIZES[task])
    figures = TASKS[task](model, seed, rate or RATES[task, arm])
    return {
        "parameters": float(model.size),
        "units": float(model.recurrent.hidden_size),
        **figures,
    }
