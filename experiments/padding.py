"""What does padding do to a classifier over the final states of both directions?

Task: sequences of 3 to 12 digits from 1 to 8; is exactly one of the first and the last digit odd?
Shorter sequences are padded with zeros behind their end to 12 steps. The classifier reads the
final state of each direction of one LSTM layer (2 x 24 units), forward `h[-2]` and backward
`h[-1]`.

Two arms: "lengths" tells the layer where each sequence ends; "padded" reads the padding as if it
belonged to the sequences. Both are tested on the same new sequences, with and without the lengths,
with the padding of training and with as much as 28 further steps of it, which a longer sequence in
the same batch would bring; and without any padding.

Settings were chosen, and the intervals fixed, on seeds 0 to 4. The record holds seeds 10 to 19.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rnnlib.layers import LSTM
from rnnlib.training import train

SEEDS = list(range(10, 20))
SETTINGS = [{"reads": reads} for reads in ("padded", "lengths")]
SHORTEST, LONGEST, DIGITS = 3, 12, 9
EMBEDDING_SIZE, HIDDEN_SIZE, BATCH, UPDATES, RATE = 8, 24, 64, 2000, 1e-2
EVERY, SOLVED = 100, 0.999
FURTHER, TESTED = (0, 4, 12, 28), 1000

Batch = tuple[Tensor, Tensor, Tensor]


def draw(B: int, generator: Generator) -> Batch:
    """Draw digits (T, B), zero behind each end, their lengths (B,) and their classes (B,)."""
    lengths = torch.randint(SHORTEST, LONGEST + 1, (B,), generator=generator)
    x = torch.randint(1, DIGITS, (LONGEST, B), generator=generator)
    x[torch.arange(LONGEST)[:, None] >= lengths] = 0
    return x, lengths, x[0] % 2 ^ x[lengths - 1, torch.arange(B)] % 2


class Classifier(nn.Module):
    """Embedding, one LSTM layer in both directions, and scores from its two final states."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(DIGITS, EMBEDDING_SIZE, padding_idx=0)
        self.lstm = LSTM(EMBEDDING_SIZE, HIDDEN_SIZE, bidirectional=True)
        self.readout = nn.Linear(2 * HIDDEN_SIZE, 2)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Score the two classes: (T, B) to (B, 2)."""
        _, (h, _) = self.lstm(self.embedding(x), lengths=lengths)
        return self.readout(torch.cat([h[-2], h[-1]], dim=1))


def run(seed: int, reads: str, updates: int = UPDATES) -> dict[str, float | list[float]]:
    """Train one classifier, and test it with more and with less padding.

    Returns:
        Shares of right classes. "padded": with as many further steps of padding as in `FURTHER`,
        read as if they belonged to the sequences; "lengths": the same, with the lengths given;
        "alone": without any padding. "updates": made until 999 of 1,000 new sequences were right.
    """
    if reads not in ("padded", "lengths"):
        raise ValueError(f"reads: expected 'padded' or 'lengths', got {reads!r}")
    torch.manual_seed(seed)
    model = Classifier()

    def right(x: Tensor, d: Tensor, lengths: Tensor | None = None) -> float:
        with torch.no_grad():
            return float((model(x, lengths).argmax(1) == d).double().mean())

    def batches(generator: Generator) -> Iterator[Batch]:
        while True:
            yield draw(BATCH, generator)

    def loss_of(_: nn.Module, batch: Batch) -> Tensor:
        x, lengths, d = batch
        return functional.cross_entropy(model(x, lengths if reads == "lengths" else None), d)

    checked = draw(TESTED // 2, Generator().manual_seed(7))

    def evaluate(_: nn.Module) -> dict[str, float]:
        lengths = checked[1] if reads == "lengths" else None
        return {"right": right(checked[0], checked[2], lengths)}

    history = train(
        model,
        batches,
        loss_of,
        torch.optim.Adam(model.parameters(), RATE),
        updates=updates,
        seed=1000 + seed,
        clip=1.0,
        evaluate=evaluate,
        evaluate_every=EVERY,
        stop_when=lambda figures: figures["right"] >= SOLVED,
    )
    x, lengths, d = draw(TESTED, Generator().manual_seed(99))

    results: dict[str, list[float]] = {"padded": [], "lengths": []}
    for further in FURTHER:
        longer = functional.pad(x, (0, 0, 0, further))
        results["padded"].append(right(longer, d))
        results["lengths"].append(right(longer, d, lengths))
    same = [lengths == n for n in range(SHORTEST, LONGEST + 1)]
    alone = [
        right(x[:n, those], d[those]) * int(those.sum())
        for n, those in enumerate(same, start=SHORTEST)
    ]
    return {**results, "alone": sum(alone) / TESTED, "updates": float(history.step)}
