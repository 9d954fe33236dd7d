"""Copying through one vector, with the source reversed, and with attention: right at what length?

Networks learn to copy rows of 1 to 20 random symbols (`experiments.copying`), then copy rows of 5
to 40. "vector" hands the decoder the encoder's last state and nothing else; "reversed" does the
same after reading the source backwards; "attention" looks back at all the encoder's states. What
is lost at lengths up to 20 is lost on rows like those trained on: no question of extrapolation.
The width H asks whether a wider state saves the "vector".

Settings were chosen, and the intervals of C02 and C32 fixed, on seeds 0 to 2. The record holds
seeds 10 to 19.
"""

from __future__ import annotations

import torch

from experiments import copying

SEEDS = list(range(10, 20))
SETTINGS = [
    {"kind": "vector", "hidden_size": 64},
    {"kind": "reversed", "hidden_size": 64},
    {"kind": "attention", "hidden_size": 64},
    {"kind": "vector", "hidden_size": 32},
    {"kind": "vector", "hidden_size": 128},
]
LENGTHS = copying.TESTED


def run(
    seed: int, kind: str, hidden_size: int, updates: int = copying.UPDATES
) -> dict[str, float | list[float]]:
    """Train one network with teacher forcing.

    Returns:
        "free" and "told": share of right symbols for each of `LENGTHS`, reading its own symbols
        and the true ones (`copying.accuracies`); "parameters". For "vector" of width 64 also
        `copying.errors_by_position`.
    """
    torch.manual_seed(seed)
    model = copying.train(copying.network(kind, hidden_size), seed, updates=updates)
    figures = copying.accuracies(model)
    figures["parameters"] = float(sum(p.numel() for p in model.parameters()))
    if kind == "vector" and hidden_size == 64:
        figures |= copying.errors_by_position(model)
    return figures
