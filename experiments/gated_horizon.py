"""How long a lag can training bridge with gates, and does it depend on how far they stand open?

Adding and temporal order of `memory_horizon` with its sizes and protocol (Adam, gradient norm
clipped at 1, at most 3000 updates, all on new sequences; stopped when 500 held-out ones are
solved), with an LSTM or a GRU in place of the plain network: equal width, not equal numbers of
weights. What a gate's bias is set to is the sum of torch's two.

The learning rate of each task and start was chosen among 0.001, 0.003 and 0.01 on seed 0 at 50
steps: the one that solved the task in the fewest updates (for the LSTM with a bias of 3 on adding,
0.01 alone was tried). This is a thinner search than that of `memory_horizon`, which had three seeds
and three lengths. In temporal order a default LSTM solved 50 steps with 0.001 only, after 1400
updates; it did not solve 100 steps.

The intervals of C20 were fixed on seed 0. The record holds seeds 10 to 14.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from experiments.memory_horizon import (
    CLIP,
    FAMILIES,
    TRIED_EVERY,
    UPDATES,
    Problem,
    error_of,
    gradient_ratio,
    loss_of,
)
from rnnlib.data.synthetic import Adding
from rnnlib.initialisation import chrono_initialise, initialise_gate_bias
from rnnlib.layers import GRU, LSTM
from rnnlib.training.loop import TrainingDiverged, train

SEEDS = list(range(10, 15))
LEARNING_RATES = {
    ("adding", "LSTM", "default"): 1e-2,
    ("adding", "LSTM", "bias 3"): 1e-2,
    ("adding", "GRU", "default"): 1e-2,
    ("temporal order", "LSTM", "default"): 1e-3,
    ("temporal order", "LSTM", "bias 1"): 3e-3,
    ("temporal order", "LSTM", "bias 3"): 3e-3,
    ("temporal order", "GRU", "default"): 1e-2,
}
LENGTHS = {
    ("adding", "LSTM", "default"): (20, 50, 100, 200),
    ("adding", "GRU", "default"): (20, 50, 100),
}
SETTINGS = [
    {"task": task, "cell": cell, "start": start, "length": length}
    for length in (20, 50, 100, 200)
    for task, cell, start in LEARNING_RATES
    if length in LENGTHS.get((task, cell, start), (50,))
]
LAYERS = {"LSTM": LSTM, "GRU": GRU}


def open_gates(layer: LSTM | GRU, start: str, longest: int) -> None:
    """Set the gate biases of a layer of one direction that torch has just initialised.

    Args:
        layer: changed in place.
        start: "default" (as they are), "bias 1" and so on (forget or update gate), "reset bias 1"
            and so on, "chrono", or "both vectors 1" (the forget gate's part of both of torch's
            vectors filled with 1, as a beginner might do).
        longest: steps of a sequence, for "chrono".
    """
    words, _, number = start.rpartition(" ")
    if start == "chrono":
        chrono_initialise(layer, longest)  # type: ignore[type-var]
    elif start == "both vectors 1":
        with torch.no_grad():
            for b in (layer.bias_ih_l0, layer.bias_hh_l0):
                b[layer.hidden_size : 2 * layer.hidden_size] = 1  # type: ignore[operator]
    elif words == "bias":
        gate = "forget" if isinstance(layer, LSTM) else "update"
        initialise_gate_bias(layer, gate, float(number))  # type: ignore[type-var]
    elif words == "reset bias":
        initialise_gate_bias(layer, "reset", float(number))  # type: ignore[type-var]
    elif start != "default":
        raise ValueError(f"start: expected 'default', 'bias 1', 'chrono' or the like, got {start}")


class GatedReader(nn.Module):
    """One gated layer that reads a sequence; a linear layer answers from its last h.

    Args:
        problem: gives the sizes.
        cell: "LSTM" or "GRU".
        start: as for `open_gates`.
    """

    def __init__(self, problem: Problem, cell: str, start: str) -> None:
        super().__init__()
        data, H = problem.family.task(problem.length), problem.family.hidden_size
        D, K = (2, 1) if isinstance(data, Adding) else (data.vocabulary_size, data.classes)
        self.recurrent = LAYERS[cell](D, H, dtype=torch.float32)
        open_gates(self.recurrent, start, problem.length)  # type: ignore[arg-type]
        self.output = nn.Linear(H, K, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Answer (B, K) after reading x (T, B, D)."""
        h, _ = self.recurrent(x)
        return self.output(h[-1])


def fit(
    seed: int, problem: Problem, cell: str, start: str, rate: float, updates: int
) -> dict[str, float | list[float]]:
    """Train one network until it solves the problem, or the updates are used up.

    Returns:
        "solved": 1 or 0; "updates": how many were made; "error": as of `error_of`, on 1,000
        sequences never used before (infinite where training diverged); "curve": the error at each
        trial on the way, NaN after the end; "ratio_before" and "ratio_after" training: the
        gradient of the last h at the first input divided by that at the last, on 32 sequences.
    """
    torch.manual_seed(seed)
    model = GatedReader(problem, cell, start)
    x, _ = problem.draw(32, Generator().manual_seed(6))
    before = gradient_ratio(model, x)  # type: ignore[arg-type]
    held_out = problem.draw(500, Generator().manual_seed(7))
    curve: list[float] = []

    def evaluate(trained: nn.Module) -> float:
        curve.append(error_of(trained, held_out))
        return curve[-1]

    try:
        history = train(
            model,
            problem.batches,
            loss_of,
            torch.optim.Adam(model.parameters(), rate),
            updates=updates,
            seed=1000 + seed,
            clip=CLIP,
            evaluate=evaluate,
            evaluate_every=TRIED_EVERY,
            stop_when=lambda figures: figures["loss"] < problem.family.solved_below,
        )
    except TrainingDiverged as diverged:
        made, solved, error, after = diverged.step - 1, False, math.inf, math.nan
    else:
        made, solved = history.step, history.stopped == "solved"
        error = error_of(model, problem.draw(1000, Generator().manual_seed(8)))
        after = gradient_ratio(model, x)  # type: ignore[arg-type]
    return {
        "solved": float(solved),
        "updates": float(made),
        "error": error,
        "curve": [float(f"{value:.4g}") for value in curve]
        + [math.nan] * (UPDATES // TRIED_EVERY - len(curve)),
        "ratio_before": before,
        "ratio_after": after,
    }


def run(
    seed: int,
    task: str,
    cell: str,
    start: str,
    length: int,
    updates: int = UPDATES,
    rate: float = 0.0,
) -> dict[str, float | list[float]]:
    """Train one network on a task of `memory_horizon`.

    Args:
        seed: of the initial weights and the training sequences.
        task: a key of `FAMILIES`.
        cell: "LSTM" or "GRU".
        start: as for `open_gates`.
        length: steps of a sequence.
        updates: the limit.
        rate: learning rate; that of `LEARNING_RATES` if 0.

    Returns:
        As `fit`.
    """
    problem = Problem(FAMILIES[task], length)
    return fit(seed, problem, cell, start, rate or LEARNING_RATES[task, cell, start], updates)
