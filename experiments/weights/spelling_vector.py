"""The book's trained speller of kind "vector": encoder and decoder, with one vector between them.

Task, words, split and metrics are those of `experiments.spelling`. After 400 updates, the
validation words preferred a peak of the learning rate of 0.008 to 0.004; this one lies between, for
a longer run. The test words were read once, for the figures.

    model = spelling_vector.load()
    spelling.pronounce(model, ["telephone"])  # [("T", "EH", "L", "AH", "F", "OW", "N")]
    figures = records.load_weights("spelling_vector")[1]["figures"]
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.spelling import LETTERS, PHONES, train_and_measure
from rnnlib import records
from rnnlib.seq2seq import EncoderDecoder

SEED, UPDATES, PEAK_RATE = 0, 2400, 6e-3
SIZES: dict[str, Any] = {"embedding_size": 64, "hidden_size": 300, "bidirectional": True}


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
    model.load_state_dict(records.load_weights("spelling_vector")[0])
    return model.eval()
