"""How does a network solve a latch of 100 steps when its gradient cannot reach the first token?

The latch task of `memory_horizon` at 100 steps, default initial weights, with the same settings;
here training is stopped every 25 updates to look at the network: its error, its gradient at the
first input divided by that at the last (`memory_horizon.gradient_ratio`), and the spectral radius
of W_h. At most 1500 updates; the end is the first look at which fewer than 1 % of 500 answers are
wrong.

That the gradient comes alive just before the task is solved was seen on seeds 10 to 12. The record
holds seeds 20 to 29.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Generator, nn

from experiments.memory_horizon import (
    CLIP,
    FAMILIES,
    LEARNING_RATES,
    Problem,
    error_of,
    gradient_ratio,
    loss_of,
    radius,
)

SEEDS = list(range(20, 30))
SETTINGS = [{"length": 100}]
UPDATES, EVERY = 1500, 25


def run(seed: int, length: int, updates: int = UPDATES) -> dict[str, float | list[float]]:
    """Train one network and look at it every 25 updates.

    Returns:
        "solved": 1 or 0; "updates": at the last look; "error": share of wrong answers (guessing:
        0.5), "ratio" and "radius": a list each, one value a look, NaN after the last.
    """
    problem = Problem(FAMILIES["latch"], length)
    torch.manual_seed(seed)
    model = problem.model("default")
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATES["latch", "default"])
    held_out = problem.draw(500, Generator().manual_seed(7))
    looked_at = problem.draw(16, Generator().manual_seed(6))[0]
    looks: list[tuple[float, float, float]] = []
    batches = problem.batches(Generator().manual_seed(1000 + seed))
    for update, batch in enumerate(itertools.islice(batches, updates + 1)):
        if update % EVERY == 0:
            error = error_of(model, held_out)
            looks.append((error, gradient_ratio(model, looked_at), radius(model)))
            if error < FAMILIES["latch"].solved_below:
                break
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
    missing = [math.nan] * (updates // EVERY + 1 - len(looks))
    errors, ratios, radii = (
        [float(f"{value:.4g}") for value in column] + missing for column in zip(*looks, strict=True)
    )
    return {
        "solved": float(looks[-1][0] < FAMILIES["latch"].solved_below),
        "updates": float(EVERY * (len(looks) - 1)),
        "error": errors,
        "ratio": ratios,
        "radius": radii,
    }
