"""The book's trained speller of kind "attention": encoder and decoder with attention.

Task, words, split and metrics are those of `experiments.spelling`. The peak of the learning rate is
that of `spelling_vector`; 0.008 went well for 200 updates. The test words were read once, for the
figures.

    model = spelling_attention.load()
    spelling.pronounce(model, ["telephone"])  # [("T", "EH", "L", "AH", "F", "OW", "N")]
    figures = records.load_weights("spelling_attention")[1]["figures"]
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.spelling import LETTERS, PHONES, train_and_measure
from rnnlib import records
from rnnlib.seq2seq import EncoderDecoder

SEED, UPDATES, PEAK_RATE = 0, 2400, 6e-3
SIZES: dict[str, Any] = {
    "embedding_size": 64, "hidden_size": 250, "bidirectional": True, "attention": "general"
}  # fmt: skip


def build() -> EncoderDecoder:
    """Build the model, untrained."""
    return EncoderDecoder(LETTERS.size, PHONES.size, **SIZES)


def train(updates: int = UPDATES) -> tuple[dict[str, Tensor], dict[str, float | list[float]]]:
    """Train and measure the model; returns what `train_and_measure` returns."""
    torch.manual_seed(SEED)
    return train_and_measure(build(), updates, PEAK_RATE, SEED)


def load() -> EncoderDecoder:
    """Return the trained model that comes with the library.

    Raises:
        RecordError: the weights are missing or damaged.
    """
    model = build()
    model.load_state_dict(records.load_weights("spelling_attention")[0])
    return model.eval()
