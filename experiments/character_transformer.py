"""A small causal Transformer on real text, with the budget of the recurrent networks.

The task, the text and the training are those of "characters" in `experiments.lstm_or_gru`: the
next character of the State of the Union addresses; the first 600,000 characters of the training
years are read once, 512 of them an update; Adam with a one-cycle rate; as many parameters as its
LSTM, about 60,800. Two things differ. The Transformer carries no state: every window starts with
an empty past, and "window" says how long it is (the batch shrinks as it grows, so that an update
always reads 512 characters). And on the held-out text, windows of the same length overlap by half
and only the second half of each is scored, so that every character is predicted from at least
half a window before it.

Then the heads of the trained model are taken away, one at a time: what each is worth in bits.

The peak rate is the better of 0.003 and 0.006 for windows of 32 on exploration seed 0, a quarter
of the text and the validation years. The record holds seeds 10 to 12, measured on the test years.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.character_rnn import cross_entropy
from experiments.lstm_or_gru import CHARACTERS, CLIP, texts
from rnnlib.data import text
from rnnlib.transformer import TransformerLanguageModel

SEEDS = [10, 11, 12]
SETTINGS = [
    {"window": 32, "positions": "rotary"},
    {"window": 128, "positions": "rotary"},
]

D_MODEL, HEADS, LAYERS, D_FF = 48, 4, 2, 176
CHARACTERS_AN_UPDATE, PEAK_RATE = 512, 0.006


def train(
    seed: int,
    window: int,
    positions: str,
    rate: float = PEAK_RATE,
    characters: int = CHARACTERS,
    d_model: int = D_MODEL,
    d_ff: int = D_FF,
) -> TransformerLanguageModel:
    """Read a part of the training years once."""
    torch.manual_seed(seed)
    model = TransformerLanguageModel(
        texts().vocabulary.size, d_model, HEADS, LAYERS, d_ff, positions
    )
    ids, streams = texts().training[:characters], CHARACTERS_AN_UPDATE // window
    batches = list(text.contiguous_streams(ids, streams, window))
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=len(batches), pct_start=0.1
    )
    for x, targets in batches:
        loss = cross_entropy(model(x)[0], targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP, error_if_nonfinite=True)
        optimizer.step()
        schedule.step()
    return model


@torch.no_grad()
def bits_per_character(model: TransformerLanguageModel, ids: Tensor, window: int) -> float:
    """Return the bits that each character cost, behind at least half a window of others."""
    first = window // 2
    windows = ids.unfold(0, window + 1, window - first).T  # (window + 1, N)
    nats, count = 0.0, 0
    for part in windows.split(64, dim=1):
        scores, targets = model(part[:-1])[0][first:], part[1 + first :]
        nats += cross_entropy(scores, targets).item() * targets.numel()
        count += targets.numel()
    return text.bits_per_character(nats / count)


@torch.no_grad()
def bits_without_head(
    model: TransformerLanguageModel, ids: Tensor, window: int, layer: int, head: int
) -> float:
    """Return the bits a character when one head's output does not reach the mixing matrix W_o."""
    W_o = model.transformer.blocks[layer].self_attn.out_proj.weight
    kept, size = W_o.clone(), W_o.shape[1] // HEADS
    W_o[:, head * size : (head + 1) * size] = 0.0
    bits = bits_per_character(model, ids, window)
    W_o.copy_(kept)
    return bits


def run(
    seed: int, window: int, positions: str, rate: float = PEAK_RATE
) -> dict[str, float | list[float]]:
    """Train one model.

    Returns:
        "parameters"; "bits" a character on the test years and "bits_validation"; "bits_longer" on
        the test years with windows four times as long as those of the training;
        "bits_without_head", one figure a head, first layer first, on 50,000 characters of the
        validation years, and "bits_all_heads" on the same.
    """
    model = train(seed, window, positions, rate)
    few = texts().validation[:50_000]
    places = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
    return {
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "bits": bits_per_character(model, texts().test, window),
        "bits_longer": bits_per_character(model, texts().test, 4 * window),
        "bits_validation": bits_per_character(model, texts().validation, window),
        "bits_all_heads": bits_per_character(model, few, window),
        "bits_without_head": [bits_without_head(model, few, window, *place) for place in places],
    }
