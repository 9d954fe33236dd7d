"""Which parts of the LSTM does it take to keep two numbers? The cells of `lstm_ablations` again.

Task: add two marked numbers among 40 (`Adding`). Nothing has to be thrown away here before the
end, so the forget gate has little to do; the input gate must keep 38 numbers out.

All cells have 32 units, the initial weights and the forget bias of `lstm_ablations`, and Adam with
the same learning rate, 0.005, gradient norm clipped at 1, at most 1500 updates on batches of 32
new sequences. Training stops when the mean squared error on 500 held-out sequences, tried every 50
updates, is below 1/60, a tenth of that of a constant answer. Nothing was tuned cell by cell: the
record, seeds 10 to 14, is a report and carries no claim.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from experiments.lstm_ablations import CLIP, LEARNING_RATES, Network, batches_of
from rnnlib.data.synthetic import Adding
from rnnlib.training.loop import train

SEEDS = list(range(10, 15))
SETTINGS = [{"cell": cell} for cell in LEARNING_RATES]
LENGTH, HIDDEN_SIZE, LEARNING_RATE, UPDATES, TRIED_EVERY = 40, 32, 5e-3, 1500, 50
SOLVED_BELOW = Adding.baseline / 10


def error_of(model: torch.nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean squared error of the answer after the last step."""
    x, d = batch
    return functional.mse_loss(model(x)[-1], d)


def run(seed: int, cell: str, updates: int = UPDATES) -> dict[str, float | list[float]]:
    """Train one cell.

    Returns:
        "updates": how many it took until solved, infinite where it never was; "error": mean
        squared error on held-out sequences at the end, divided by that of the answer 1.
    """
    torch.manual_seed(seed)
    model = Network(cell, H=HIDDEN_SIZE)
    task = Adding(LENGTH)
    held_out = task.batch(500, Generator().manual_seed(7))
    history = train(
        model,
        lambda generator: batches_of(task, generator),
        error_of,
        torch.optim.Adam(model.parameters(), LEARNING_RATE),
        updates=updates,
        seed=1000 + seed,
        clip=CLIP,
        evaluate=lambda model: float(error_of(model, held_out)),
        evaluate_every=TRIED_EVERY,
        stop_when=lambda figures: figures["loss"] < SOLVED_BELOW,
    )
    solved = history.stopped == "solved"
    return {
        "updates": float(history.step) if solved else math.inf,
        "error": history.evaluations[-1]["loss"] / task.baseline,
    }
