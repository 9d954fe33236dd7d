"""Dropout in a recurrent network: on the way up, or inside the recurrence?

Two LSTM layers (80 units each) read 8,000 characters of the State of the Union addresses again
and again, few enough to learn them by heart. Three kinds of dropout, each of probability 0.3:
"between" layers (on the outputs of each layer); "inside" the recurrence, on the state h that goes
to the next step, with one mask a sequence (Gal and Ghahramani, 2016); and "inside, new masks",
drawn anew at each step.

Settings were chosen, and the intervals fixed, on seed 0 with the validation years. The record
holds seeds 10 to 14, measured on the test years.
"""

from __future__ import annotations

import torch

from experiments.depth import CharacterStack, fit, held_out_years, texts

SEEDS = list(range(10, 15))
KINDS: dict[str, dict[str, float | bool]] = {
    "none": {},
    "between": {"dropout": 0.3},
    "inside": {"recurrent_dropout": 0.3},
    "inside, new masks": {"recurrent_dropout": 0.3, "new_masks": True},
}
SETTINGS = [{"kind": kind} for kind in KINDS]
CHARACTERS, HIDDEN_SIZE, LAYERS, BATCH, UPDATES, EVERY = 8_000, 80, 2, 16, 800, 100


def run(
    seed: int, kind: str, part: str = "test", updates: int = UPDATES
) -> dict[str, float | list[float]]:
    """Train one network.

    Returns:
        Bits a character after each 100 updates: "training" over the windows of these updates, with
        dropout; "held_out" without dropout. "best" and "last" of the held-out ones.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {tuple(KINDS)}, got {kind!r}")
    torch.manual_seed(seed)
    data = texts()
    model = CharacterStack(data.vocabulary.size, HIDDEN_SIZE, LAYERS, **KINDS[kind])
    ids, held_out = data.training[:CHARACTERS], held_out_years(data, part)
    history = fit(model, ids, held_out, seed, BATCH, updates, EVERY)
    losses = torch.tensor(history.losses).view(-1, EVERY).mean(1) / torch.tensor(2.0).log()
    bits = [e["bits"] for e in history.evaluations]
    return {
        "training": losses.tolist(),
        "held_out": bits,
        "best": min(bits),
        "last": bits[-1],
    }
