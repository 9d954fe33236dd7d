"""What does clipping the gradient do, and what does it not do?

The IRNN (64 relu units, W_h = I) on the adding task of 50 steps, batches of 32: a network whose
gradient explodes within a few updates of stochastic gradient descent (momentum 0.9). Clipping
divides a gradient whose norm is above 1 by its norm (Pascanu, Mikolov and Bengio 2013). The arms
differ in optimiser, learning rate and clipping; all make 1500 updates, or stop when the task is
solved (as in `memory_horizon`) or the loss or the gradient is no finite number.

Settings were chosen, and the intervals of C50 fixed, on seeds 0 to 2. The record holds seeds 10
to 19.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from experiments.memory_horizon import FAMILIES, Problem, error_of, loss_of

SEEDS = list(range(10, 20))
SETTINGS = [
    {"optimiser": "sgd", "rate": 0.02, "clip": 0.0},
    {"optimiser": "sgd", "rate": 0.02, "clip": 1.0},
    {"optimiser": "sgd", "rate": 0.001, "clip": 0.0},
    {"optimiser": "adam", "rate": 0.003, "clip": 0.0},
    {"optimiser": "adam", "rate": 0.003, "clip": 1.0},
]
LENGTH, UPDATES, TRIED_EVERY, BLOCK, FIRST = 50, 1500, 100, 10, 20


def run(
    seed: int, optimiser: str, rate: float, clip: float, updates: int = UPDATES
) -> dict[str, float | list[float]]:
    """Train one network.

    Args:
        seed: of the initial weights and the training sequences.
        optimiser: "sgd" (momentum 0.9) or "adam".
        rate: learning rate.
        clip: largest norm of a gradient; 0 leaves the gradient as it is.
        updates: how many to make at most.

    Returns:
        "finite": 1, or 0 where training diverged; "solved": 1 or 0; "updates": how many were made;
        "error": mean squared error on 1,000 new sequences (a constant answer: 1/6; infinite where
        training diverged); "largest_norms": the largest norm of a gradient, before clipping, in
        each block of `BLOCK` updates, NaN after the end; "first_norms": those of the first
        twenty updates, one by one.
    """
    problem = Problem(FAMILIES["adding"], LENGTH)
    torch.manual_seed(seed)
    model = problem.model("identity")
    held_out = problem.draw(500, torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(1000 + seed)
    optimizer = (
        torch.optim.SGD(model.parameters(), rate, momentum=0.9)
        if optimiser == "sgd"
        else torch.optim.Adam(model.parameters(), rate)
    )
    norms: list[float] = []
    finite, solved = True, False
    for batch in itertools.islice(problem.batches(generator), updates):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        norm = total_norm(model)
        norms.append(norm)
        if not (math.isfinite(float(loss.detach())) and math.isfinite(norm)):
            finite = False
            break
        if clip:
            shorten_gradient(model, clip / max(norm, clip))
        optimizer.step()
        if len(norms) % TRIED_EVERY == 0:
            solved = error_of(model, held_out) < problem.family.solved_below
            if solved:
                break
    error = error_of(model, problem.draw(1000, torch.Generator().manual_seed(8)))
    finite = finite and math.isfinite(error)
    blocks = [max(norms[start : start + BLOCK]) for start in range(0, len(norms), BLOCK)]
    return {
        "finite": float(finite),
        "solved": float(solved),
        "updates": float(len(norms)),
        "error": error if finite else math.inf,
        "first_norms": padded(norms[:FIRST], FIRST),
        "largest_norms": padded(blocks, UPDATES // BLOCK),
    }


def total_norm(model: nn.Module) -> float:
    """Return the norm of the whole gradient, all parameters taken as one vector."""
    return float(
        nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    )


def shorten_gradient(model: nn.Module, factor: float) -> None:
    """Multiply the whole gradient by one factor: its direction stays."""
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad *= factor


def padded(values: list[float], length: int) -> list[float]:
    """Round to four digits, for a figure, and fill up with NaN to a length of `length`."""
    return [float(f"{value:.4g}") for value in values] + [math.nan] * (length - len(values))
