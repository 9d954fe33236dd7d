"""How far does plain gradient descent bridge, and what do clipping and a penalty on vanishing add?

After Pascanu, Mikolov and Bengio (2013, section 4.1), smaller: a tanh network of 50 units with
torch's initial weights learns temporal order, batches of 20, by stochastic gradient descent
without momentum. Three arms: "sgd", as it is; "clipped", the norm of the gradient clipped at 1;
"penalised", clipped, and with their penalty on gradients that shrink or grow on the way back
(their equations 9 and 10), times 2. At most 6000 updates; every 250 updates 500 held-out sequences
are tried, and training stops when fewer than 1 % of the answers are wrong. Two more arms tell what
the budget and the learning rate do: "sgd, longer", with 30,000 updates, and "clipped, slow", with
the learning rate of "sgd".

Learning rates were chosen among 0.01, 0.1 and 0.5 on seed 0 at 10 and 20 steps, the penalty's
factor among 1 and 2 on seeds 0 and 1. The record holds seeds 10 to 19.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from experiments.clipping import shorten_gradient, total_norm
from experiments.memory_horizon import FAMILIES, Problem, Reader, error_of, radius

SEEDS = list(range(10, 20))
RATES = {"sgd": 0.01, "clipped": 0.1, "penalised": 0.1, "sgd, longer": 0.01, "clipped, slow": 0.01}
SETTINGS = [
    {"arm": arm, "length": length}
    for arm in RATES
    for length in (10, 20, 30, 50)
    if arm in ("sgd", "clipped", "penalised") or length in (20, 30)
]
BATCH, CLIP, FACTOR, UPDATES, LONGER, TRIED_EVERY = 20, 1.0, 2.0, 6000, 30_000, 250


def penalty(W_h: Tensor, h: Tensor, delta: Tensor) -> Tensor:
    """Return Ω, which is 0 where each step back keeps the length of the gradient.

    Pascanu et al. (2013), equation 9, averaged over the batch: the sum over the steps of
    (‖∂E/∂h_t ∂h_t/∂h_{t-1}‖ / ‖∂E/∂h_t‖ - 1)². As in their equation 10, only W_h in the last
    factor counts as a variable: the states and the gradients ∂E/∂h_t are constants.

    Args:
        W_h: (H, H).
        h: states (T, B, H).
        delta: ∂E/∂h_T (B, H). Its length does not matter if it is above 1e-12.
    """
    directions = []
    with torch.no_grad():
        for h_t in h[1:].flip(0):
            delta = functional.normalize(delta, dim=1) * (1 - h_t**2)
            directions.append(delta)
            delta = delta @ W_h
    lengths = (torch.stack(directions) @ W_h).norm(dim=2)  # (T - 1, B)
    return (lengths - 1).square().sum(0).mean()


def add_gradient(model: Reader, x: Tensor, d: Tensor, factor: float) -> None:
    """Compute the gradient of the loss plus `factor` times the penalty."""
    h, _ = model.recurrent(x)
    y = model.output(h[-1])
    functional.cross_entropy(y, d).backward()
    if factor:
        W_h, W_y = model.recurrent.get_parameter("weight_hh_l0"), model.output.weight
        error = y.detach().softmax(1) - functional.one_hot(d, y.shape[1])
        (factor * penalty(W_h, h.detach(), error @ W_y.detach())).backward()


def run(seed: int, arm: str, length: int, updates: int = 0) -> dict[str, float]:
    """Train one network.

    Args:
        seed: of the initial weights and the training sequences.
        arm: a key of `RATES`.
        length: steps of a sequence.
        updates: how many to make at most; as said above if 0.

    Returns:
        "solved": 1 or 0; "updates": how many were made; "error": share of wrong answers on 1,000
        new sequences (a guess: 0.75); "radius": spectral radius of W_h after training.
    """
    problem = Problem(FAMILIES["temporal order"], length)
    torch.manual_seed(seed)
    model, generator = problem.model("default"), torch.Generator().manual_seed(1000 + seed)
    held_out = problem.draw(500, torch.Generator().manual_seed(7))
    optimizer = torch.optim.SGD(model.parameters(), RATES[arm])
    updates = updates or (LONGER if arm == "sgd, longer" else UPDATES)
    solved = False
    for made in itertools.count(1):
        optimizer.zero_grad()
        x, d = problem.draw(BATCH, generator)
        add_gradient(model, x, d, FACTOR if arm == "penalised" else 0.0)
        if not arm.startswith("sgd"):
            shorten_gradient(model, CLIP / max(total_norm(model), CLIP))
        optimizer.step()
        if made % TRIED_EVERY == 0:
            solved = error_of(model, held_out) < problem.family.solved_below
        if solved or made >= updates:
            break
    return {
        "solved": float(solved),
        "updates": float(made),
        "error": error_of(model, problem.draw(1000, torch.Generator().manual_seed(8))),
        "radius": radius(model),
    }
