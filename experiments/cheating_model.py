"""What happens to a language model that may read the answer from the other direction?

A GRU reads the State of the Union addresses of 1900 to 1929 and must predict the next character.
Four networks do it, and the first two have the same number of parameters (within one percent):

- "forward": one direction, the honest model;
- "both": two directions, so that the state of step t has read character t + 1, the answer;
- "shifted": two directions, but the answer for step t + 1 is read from the forward state of step
  t and the backward state of step t + 2, so that neither of them has read it;
- "shifted, 2 layers": the same with two bidirectional layers.

Each is scored on held-out text, once at all steps and once at the last step of each window, where
nothing of the future is there to be read. Then each model writes text: it is given twelve
characters of held-out text and draws one character after the other. A 5-gram model, fitted to the
training text, says how likely that writing is.

Settings were chosen on seeds 0 and 1. The record holds seeds 20 to 29.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from rnnlib.data import text
from rnnlib.layers import GRU

SEEDS = list(range(20, 30))
READINGS = ("forward", "both", "shifted", "shifted, 2 layers")
SETTINGS = [{"reads": reads} for reads in READINGS]
HIDDEN, HIDDEN_FORWARD, EMBEDDED = 64, 100, 32
STREAMS, LENGTH, UPDATES, LEARNING_RATE, CLIP = 16, 48, 300, 0.01, 1.0
PROMPT, WRITTEN, WRITERS = 12, 80, 20


class CharacterModel(nn.Module):
    """Scores for the next character, from a GRU that reads as its name says."""

    def __init__(self, vocabulary_size: int, reads: str) -> None:
        super().__init__()
        both, size = reads != "forward", HIDDEN_FORWARD if reads == "forward" else HIDDEN
        layers = 2 if reads == "shifted, 2 layers" else 1
        self.shifted = reads.startswith("shifted")
        self.embedding = nn.Embedding(vocabulary_size, EMBEDDED, dtype=torch.float32)
        self.recurrent = GRU(EMBEDDED, size, layers, bidirectional=both, dtype=torch.float32)
        self.output = nn.Linear(2 * size if both else size, vocabulary_size, dtype=torch.float32)

    def forward(self, characters: Tensor) -> Tensor:
        """Score the character after each of `characters`: (T, B) -> (T, B, V)."""
        states = self.recurrent(self.embedding(characters))[0]  # (T, B, directions * H)
        if self.shifted:
            past, future = states.chunk(2, dim=-1)
            nothing = future.new_zeros(2, *future.shape[1:])  # after the end
            states = torch.cat([past, torch.cat([future, nothing])[2:]], dim=-1)
        return self.output(states)


@cache
def encoded_text() -> tuple[Tensor, Tensor, text.CharacterVocabulary, text.WittenBell]:
    """Return training and held-out characters, the vocabulary, and a 5-gram model as a judge."""
    training, held_out = text.state_of_the_union(1900, 1929).split()
    vocabulary = text.CharacterVocabulary(training.text + held_out.text)
    known = vocabulary.encode(training.text)
    judge = text.WittenBell(5, vocabulary.size).fit(known)
    return known, vocabulary.encode(held_out.text), vocabulary, judge


def trained(seed: int, reads: str, updates: int = UPDATES) -> CharacterModel:
    """Train one model."""
    training, _, vocabulary, _ = encoded_text()
    torch.manual_seed(seed)
    model = CharacterModel(vocabulary.size, reads)
    generator = torch.Generator().manual_seed(1000 + seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(updates):
        x, d = text.random_windows(training, STREAMS, LENGTH, generator)
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), d.flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
    return model


@torch.no_grad()
def write(model: CharacterModel, prompt: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` characters behind each prompt (T, B); return them with it, (T + count, B)."""
    characters = prompt
    for _ in range(count):
        chances = torch.softmax(model(characters)[-1], dim=-1)  # (B, V)
        drawn = torch.multinomial(chances, 1, generator=generator)  # (B, 1)
        characters = torch.cat([characters, drawn.T])
    return characters


def run(seed: int, reads: str, updates: int = UPDATES) -> dict[str, float]:
    """Train, score, write; all figures but `parameters` are bits a character."""
    _, held_out, _, judge = encoded_text()
    model = trained(seed, reads, updates)
    generator = torch.Generator().manual_seed(2000 + seed)
    x, d = text.random_windows(held_out, 400, LENGTH, generator)
    with torch.no_grad():
        nats = nn.functional.cross_entropy(model(x).permute(0, 2, 1), d, reduction="none")  # (T, B)
    written = write(model, x[:PROMPT, :WRITERS], WRITTEN, generator)
    judged = [-judge.log2_probabilities(column)[PROMPT:].mean() for column in written.T.numpy()]
    return {
        "bits": text.bits_per_character(float(nats.mean())),
        "bits_at_the_end": text.bits_per_character(float(nats[-1].mean())),
        "written_bits": float(sum(judged) / len(judged)),
        "parameters": float(sum(p.numel() for p in model.parameters())),
    }
