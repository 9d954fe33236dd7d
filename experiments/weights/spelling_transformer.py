"""The book's trained speller of kind "transformer": Transformer with encoder and decoder.

Task, words, split and metrics are those of `experiments.spelling`. After 200 updates, the
validation words preferred a peak of the learning rate of 0.004 to 0.002; this one lies between, for
a longer run. The test words were read once, for the figures.

    model = spelling_transformer.load()
    spelling.pronounce(model, ["telephone"])  # [("T", "EH", "L", "AH", "F", "OW", "N")]
    figures = records.load_weights("spelling_transformer")[1]["figures"]
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from experiments.spelling import LETTERS, PHONES, train_and_measure
from rnnlib import records
from rnnlib.transformer import TransformerEncoderDecoder

SEED, UPDATES, PEAK_RATE = 0, 2400, 3e-3
SIZES: dict[str, Any] = {"d_model": 128, "heads": 4, "layers": 2, "d_ff": 288}


def build() -> TransformerEncoderDecoder:
    """Build the model, untrained."""
    return TransformerEncoderDecoder(LETTERS.size, PHONES.size, **SIZES)


def train(updates: int = UPDATES) -> tuple[dict[str, Tensor], dict[str, float | list[float]]]:
    """Train and measure the model; returns what `train_and_measure` returns."""
    torch.manual_seed(SEED)
    return train_and_measure(build(), updates, PEAK_RATE, SEED)


def load() -> TransformerEncoderDecoder:
    """Return the trained model that comes with the library.

    Raises:
        RecordError: the weights are missing or damaged.
    """
    model = build()
    model.load_state_dict(records.load_weights("spelling_transformer")[0])
    return model.eval()
