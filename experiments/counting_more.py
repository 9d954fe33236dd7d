"""Counting beyond the training range: two plain layers, and brackets.

The networks, the training and the figures are those of `counting`. Here are what no claim rests
on: plain layers with relu and with tanh on a^n b^n, and the LSTM and the GRU on Dyck-1. The record
holds seeds 10 to 14.
"""

from __future__ import annotations

from experiments.counting import UPDATES
from experiments.counting import run as count

SEEDS = list(range(10, 15))
SETTINGS = [
    {"task": "Dyck-1", "layer": "LSTM"},
    {"task": "Dyck-1", "layer": "GRU"},
    {"task": "a^n b^n", "layer": "relu"},
    {"task": "a^n b^n", "layer": "tanh"},
]


def run(seed: int, task: str, layer: str, updates: int = UPDATES) -> dict[str, float | list[float]]:
    """Train one network, and test it on longer strings; figures as in `counting.run`."""
    return count(seed, task, layer, updates)
