"""How far back must the gradient go on real text?

A tanh network reads the State of the Union addresses of 1900 to 1929, character by character, in
32 parallel streams, and predicts the next character. Every update sees the next 64 characters of
each stream, and the state is carried on. Within these 64 characters the gradient is cut every
`depth` characters. All else is equal: data, initial weights, number of updates.

Settings were chosen on seeds 0 and 1. The record holds seeds 10 to 19.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from rnnlib.data import text

SEEDS = list(range(10, 20))
DEPTHS = (1, 2, 4, 8, 16, 64)
SETTINGS = [{"depth": depth} for depth in DEPTHS]
HIDDEN, STREAMS, SEGMENT, UPDATES, LEARNING_RATE, CLIP = 128, 32, 64, 500, 3e-3, 1.0


class CharacterModel(nn.Module):
    """One-hot characters, one tanh layer, scores for the next character."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, HIDDEN, dtype=torch.float32)
        self.recurrent = nn.RNN(HIDDEN, HIDDEN, dtype=torch.float32)
        self.output = nn.Linear(HIDDEN, vocabulary_size, dtype=torch.float32)

    def forward(self, characters: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Score the character after each of `characters` (T, B), from the state h (1, B, H)."""
        states, h = self.recurrent(self.embedding(characters), h)
        return self.output(states), h


def truncated_loss(
    model: CharacterModel, x: Tensor, d: Tensor, h: Tensor, depth: int
) -> tuple[Tensor, Tensor]:
    """Return the mean loss over x (T, B) in nats, with the gradient cut every `depth` steps."""
    loss = h.new_zeros(())
    for start in range(0, len(x), depth):
        scores, h = model(x[start : start + depth], h.detach())  # detach: the cut
        goal = d[start : start + depth]
        loss = loss + nn.functional.cross_entropy(
            scores.flatten(0, 1), goal.flatten(), reduction="sum"
        )
    return loss / x.numel(), h.detach()


@cache
def encoded_text() -> tuple[Tensor, Tensor, int]:
    """Return training and held-out characters as numbers, and the vocabulary's size."""
    training, held_out = text.state_of_the_union(1900, 1929).split()
    vocabulary = text.CharacterVocabulary(training.text + held_out.text)
    return vocabulary.encode(training.text), vocabulary.encode(held_out.text), vocabulary.size


def run(seed: int, depth: int, updates: int = UPDATES) -> dict[str, float]:
    """Train with this depth; return bits a character on the first 100,000 held-out characters."""
    training, held_out, size = encoded_text()
    torch.manual_seed(seed)
    model = CharacterModel(size)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    h, done = torch.zeros(1, STREAMS, HIDDEN, dtype=torch.float32), 0
    while done < updates:
        for x, d in text.contiguous_streams(training, STREAMS, SEGMENT):
            if done == updates:
                break
            loss, h = truncated_loss(model, x, d, h[:, : x.shape[1]], depth)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
            done += 1
    with torch.no_grad():
        x, d = held_out[:100_000].view(20, -1).T, held_out[1:100_001].view(20, -1).T
        start = torch.zeros(1, 20, HIDDEN, dtype=torch.float32)
        loss, _ = truncated_loss(model, x, d, start, len(x))
    return {"bits": text.bits_per_character(float(loss))}
