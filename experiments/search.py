"""How often does a search miss the most probable output? Used by experiments with decoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rnnlib import decoding
from rnnlib.data import pairs
from rnnlib.data.pairs import END, START
from rnnlib.decoding import Hypothesis

WIDTHS = (1, 2, 4, 10)
ROUNDING = 1e-4  # nats: sums of float32 scores differ by this when rows stand in other batches


@torch.no_grad()
def beams(
    model: Any, sources: Sequence[Sequence[int]], longest: int, length_power: float = 0.0
) -> dict[str, list[Hypothesis]]:
    """Return what beams of every width rank first, by their width ("1" is greedy).

    Args:
        model: an encoder and decoder.
        sources: ids, without START and END.
        longest: stop after so many tokens.
        length_power: rank by log-probability over the length to this power.
    """
    batch = pairs.make_batch(sources, [[]] * len(sources))
    found = {}
    for width in WIDTHS:
        state = model.encode(batch.source, batch.source_lengths)
        each = decoding.beam_search(model, state, START, longest, END, width, length_power)
        found[str(width)] = [hypotheses[0] for hypotheses in each]
    return found


@torch.no_grad()
def searches(
    model: Any, sources: Sequence[Sequence[int]], longest: int
) -> dict[str, list[Hypothesis]]:
    """Return what `beams` does, and "exact": the most probable output that ends in time."""
    found = beams(model, sources, longest)
    found["exact"] = []
    for source in sources:
        state = model.encode(torch.tensor([source]).T, torch.tensor([len(source)]))
        found["exact"].append(decoding.exact_search(model, state, START, longest, END))
    return found


def missed(found: Sequence[Hypothesis], best: Sequence[Hypothesis]) -> list[bool]:
    """Say where a search found an output less probable than the best one, or none that ended."""
    return [
        ours.tokens[-1] != END or ours.log_probability < most.log_probability - ROUNDING
        for ours, most in zip(found, best, strict=True)
    ]
