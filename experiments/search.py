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
def searches(
    model: Any, sources: Sequence[Sequence[int]], longest: int, length_power: float = 0.0
) -> dict[str, list[Hypothesis]]:
    """Search each source's output exactly and with beams.

    Args:
        model: an encoder and decoder.
        sources: ids, without START and END.
        longest: stop after so many tokens.
        length_power: what the beams' log-probabilities are divided by is the length to this power.

    Returns:
        "exact": the most probable output of every source among those that end in time; "1", "2",
        "4" and "10": what a beam of this width ranks first; 1 is greedy.
    """
    found: dict[str, list[Hypothesis]] = {"exact": []}
    batch = pairs.make_batch(sources, [[]] * len(sources))
    for width in WIDTHS:
        state = model.encode(batch.source, batch.source_lengths)
        beams = decoding.beam_search(model, state, START, longest, END, width, length_power)
        found[str(width)] = [hypotheses[0] for hypotheses in beams]
    for source in sources:
        state = model.encode(torch.tensor([source]).T, torch.tensor([len(source)]))
        found["exact"].append(decoding.exact_search(model, state, START, longest, END))
    return found


def missed(found: dict[str, list[Hypothesis]], name: str) -> list[bool]:
    """Say for which sources a search found an output less probable than the most probable one."""
    return [
        ours.tokens[-1] != END or ours.log_probability < best.log_probability - ROUNDING
        for ours, best in zip(found[name], found["exact"], strict=True)
    ]
