"""Does a deeper network learn better? With and without residual connections and normalisation.

One to eight LSTM layers read the State of the Union addresses and predict the next character. All
networks have about as many parameters (119,000 to 128,000): the deeper, the narrower. All make 300
updates with Adam on the same random windows.

Settings were chosen, and the intervals fixed, on seeds 0 and 1 with the validation years. The
record holds seeds 10 to 14, measured on the test years.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from experiments.character_rnn import Texts, load_texts
from experiments.deep_stack import DeepStack
from rnnlib.data import text
from rnnlib.training import History, train

SEEDS = list(range(10, 15))
WIDTHS = {1: 112, 2: 84, 4: 60, 8: 42}
SETTINGS: list[dict[str, Any]] = [
    *({"layers": n, "residual": False, "normalise": False} for n in (1, 2, 4, 8)),
    *({"layers": n, "residual": True, "normalise": False} for n in (2, 4, 8)),
    *({"layers": 8, "residual": residual, "normalise": True} for residual in (False, True)),
]
BATCH, LENGTH, RATE, LARGEST_NORM, UPDATES, EVERY = 32, 32, 1e-2, 1.0, 300, 50

texts = functools.cache(load_texts)


class CharacterStack(nn.Module):
    """Embedding, a deep stack of the same width, and a score for every next character."""

    def __init__(self, V: int, H: int, layers: int, **options: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, H)
        self.stack = DeepStack(H, layers, **options)
        self.readout = nn.Linear(H, V)

    def forward(self, x: Tensor) -> Tensor:
        """Read ids (T, B); return scores (T, B, V)."""
        return self.readout(self.stack(self.embedding(x)))


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean loss in nats."""
    x, d = batch
    return functional.cross_entropy(model(x).flatten(0, 1), d.flatten())


def fit(
    model: nn.Module, ids: Tensor, held_out: Tensor, seed: int, batch: int, updates: int, every: int
) -> History:
    """Train on random windows; evaluations hold "bits", a character of fixed held-out windows."""
    kept = text.random_windows(held_out, 100, 2 * LENGTH, Generator().manual_seed(7))

    def batches(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield text.random_windows(ids, batch, LENGTH, generator)

    return train(
        model,
        batches,
        cross_entropy,
        torch.optim.Adam(model.parameters(), RATE),
        updates=updates,
        seed=1000 + seed,
        clip=LARGEST_NORM,
        evaluate=lambda model: {"bits": text.bits_per_character(float(cross_entropy(model, kept)))},
        evaluate_every=every,
    )


def held_out_years(data: Texts, part: str) -> Tensor:
    """Return the text of the years kept for choosing ("validation") or for the record ("test")."""
    if part not in ("validation", "test"):
        raise ValueError(f"part: expected 'validation' or 'test', got {part!r}")
    return data.test if part == "test" else data.validation


def run(
    seed: int,
    layers: int,
    residual: bool,
    normalise: bool,
    part: str = "test",
    updates: int = UPDATES,
) -> dict[str, float | list[float]]:
    """Train one network.

    Returns:
        "bits": a character of held-out text, after each 50 updates; "parameters".
    """
    torch.manual_seed(seed)
    data = texts()
    model = CharacterStack(
        data.vocabulary.size, WIDTHS[layers], layers, residual=residual, normalise=normalise
    )
    held_out = held_out_years(data, part)
    history = fit(model, data.training, held_out, seed, BATCH, updates, EVERY)
    return {
        "bits": [e["bits"] for e in history.evaluations],
        "parameters": float(sum(p.numel() for p in model.parameters())),
    }
