"""Which part of a data set an item belongs to, decided by the item alone."""

from __future__ import annotations

import hashlib
from typing import Literal

Part = Literal["training", "validation", "test"]


def part_of(key: str, validation: float = 0.05, test: float = 0.05) -> Part:
    """Give an item its part by a hash of its name: the same on every machine and in every order.

    All that has one key falls into one part, so a word with two pronunciations, or a day written in
    twelve languages, is never on both sides. About the given shares of many keys are held out.

    Raises:
        ValueError: a share below 0, or nothing left for training.
    """
    if min(validation, test) < 0 or validation + test >= 1:
        raise ValueError(
            "validation and test: expected shares of at least 0 with a sum below 1, "
            f"got {validation} and {test}"
        )
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
    if place < test:
        return "test"
    return "validation" if place < test + validation else "training"
