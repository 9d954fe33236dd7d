"""The network of the experiments on agreement, parity and the latch: tanh units that read tokens.

32 units behind an embedding of 8 numbers a token, with the initial weights of torch, trained with
Adam (learning rate 0.003, gradients clipped to norm 1) on batches of 64 new sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rnnlib.training import History, train

EMBEDDING_SIZE, HIDDEN_SIZE, BATCH, LEARNING_RATE, CLIP = 8, 32, 64, 3e-3, 1.0

Draw = Callable[[int, Generator], tuple[Tensor, Tensor]]


class TokenNetwork(nn.Module):
    """Embedding, one tanh layer, and a score for every answer after every token."""

    def __init__(self, V: int, K: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, EMBEDDING_SIZE)
        self.rnn = nn.RNN(EMBEDDING_SIZE, HIDDEN_SIZE)
        self.readout = nn.Linear(HIDDEN_SIZE, K)

    def states(self, x: Tensor) -> Tensor:
        """Return the state after each token: (T, B) to (T, B, H)."""
        return self.rnn(self.embedding(x))[0]

    def forward(self, x: Tensor) -> Tensor:
        """Score the answers after each token: (T, B) to (T, B, K)."""
        return self.readout(self.states(x))

    @torch.no_grad()
    def right(self, x: Tensor, d: Tensor) -> Tensor:
        """Say where the likelier answer is `d`, (T, B) or (B,): booleans (T, B)."""
        return self(x).argmax(-1) == d


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy (nats) over the steps whose target is not −100."""
    x, d = batch
    return functional.cross_entropy(model(x).flatten(0, 1), d.flatten())


def fit(
    model: TokenNetwork,
    draw: Draw,
    seed: int,
    updates: int,
    evaluate: Callable[[nn.Module], dict[str, float]],
    every: int,
) -> History:
    """Train on batches from `draw(batch_size, generator)`: tokens and targets, each (T, B).

    Args:
        model: changed in place.
        draw: all its randomness must come from the generator.
        seed: of the generator.
        updates: how many to make at most.
        evaluate: measures the model; its "solved" says whether training may stop.
        every: updates between two evaluations.
    """

    def batches(generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield draw(BATCH, generator)

    return train(
        model,
        batches,
        cross_entropy,
        torch.optim.Adam(model.parameters(), LEARNING_RATE),
        updates=updates,
        seed=seed,
        clip=CLIP,
        evaluate=evaluate,
        evaluate_every=every,
        stop_when=lambda figures: bool(figures["solved"]),
    )


def readable(h: Tensor, bit: Tensor) -> float:
    """Fit a linear reader of states (B, H) on one half; return its share right on the other."""
    rows = functional.pad(h.double(), (0, 1), value=1.0)
    signs = 2.0 * bit.double() - 1
    half = len(rows) // 2
    reader = torch.linalg.lstsq(rows[:half], signs[:half, None], driver="gelsd").solution
    return float(((rows[half:] @ reader)[:, 0] * signs[half:] > 0).double().mean())
