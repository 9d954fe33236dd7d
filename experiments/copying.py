"""Copy a random sequence: the task, the networks and their training, used by several experiments.

The source is a row of symbols drawn from ten, the target the same row and END. Nothing can be
guessed from the symbols before: each is right by luck one time in ten.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rnnlib import decoding
from rnnlib.data.pairs import END, START
from rnnlib.initialisation import initialise_gate_bias
from rnnlib.seq2seq import EncoderDecoder

FIRST, SYMBOLS = 3, 10
SIZE = FIRST + SYMBOLS
LONGEST, BATCH, UPDATES, EMBEDDING, LEARNING_RATE, CLIP = 20, 32, 1500, 32, 8e-3, 1.0
KINDS: dict[str, dict[str, Any]] = {
    "vector": {},
    "reversed": {"reverse_source": True},
    "attention": {"attention": "general"},
}
TESTED = (5, 10, 15, 20, 25, 30, 35, 40)
ARMS = ("teacher forcing", "scheduled", "own", "blind")


def sequences(length: int, count: int, generator: Generator) -> Tensor:
    """Draw rows of symbols, (length, count)."""
    return torch.randint(FIRST, SIZE, (length, count), generator=generator)


def network(kind: str, hidden_size: int) -> EncoderDecoder:
    """Build an encoder and decoder with a forget bias of 1."""
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {tuple(KINDS)}, got {kind!r}")
    model = EncoderDecoder(SIZE, SIZE, EMBEDDING, hidden_size, **KINDS[kind])
    for layer in (model.encoder, model.decoder):
        initialise_gate_bias(layer, "forget", 1.0)
    return model


def lengths_of(source: Tensor) -> Tensor:
    """Return the length of every row of a batch without padding, (B,)."""
    return torch.full((source.shape[1],), len(source))


def read_and_say(source: Tensor, blind: bool = False) -> tuple[Tensor, Tensor]:
    """Return what the decoder reads and what it is to say, (n + 1, B) each.

    A blind decoder reads START at every step.
    """
    edge = torch.ones_like(source[:1])
    target_in = torch.cat([START * edge, source])
    return torch.full_like(target_in, START) if blind else target_in, torch.cat(
        [source, END * edge]
    )


def scores_with_own(
    model: EncoderDecoder, source: Tensor, true_share: float, coins: Generator
) -> Tensor:
    """Score every next symbol; each symbol read is the true one with probability `true_share`.

    In the other cases it is the symbol that the network itself finds most probable. One coin a
    symbol, and no gradient through the choice (Bengio et al., 2015).
    """
    state = model.encode(source, lengths_of(source))
    tokens, made = torch.full_like(source[0], START), []
    for true in [*source, None]:
        scores, state = model.step(tokens, state)
        made.append(scores)
        if true is not None:
            said = scores.detach().argmax(-1)
            tokens = torch.where(torch.rand(len(said), generator=coins) < true_share, true, said)
    return torch.stack(made)


def loss_of(
    model: EncoderDecoder,
    source: Tensor,
    arm: str = "teacher forcing",
    true_share: float = 0.0,
    coins: Generator | None = None,
) -> Tensor:
    """Return the cross-entropy (nats a symbol) of one batch, trained in one of the `ARMS`.

    Args:
        model: reads and says.
        source: (n, B).
        arm: "teacher forcing" reads the true symbols, "own" those the network has said, and
            "scheduled" each with a coin; "blind" reads nothing.
        true_share: of the symbols read, for "scheduled".
        coins: source of the coins.
    """
    if arm not in ARMS:
        raise ValueError(f"arm: expected one of {ARMS}, got {arm!r}")
    target_in, target_out = read_and_say(source, arm == "blind")
    if arm in ("scheduled", "own"):
        coins = Generator().manual_seed(0) if coins is None else coins
        scores = scores_with_own(model, source, true_share if arm == "scheduled" else 0.0, coins)
    else:
        scores = model(source, lengths_of(source), target_in)
    return functional.cross_entropy(scores.flatten(0, 1), target_out.flatten())


def decoder_calls(model: EncoderDecoder, source: Tensor, arm: str) -> int:
    """Count how often the decoder must be called, one call after the other, for one update."""
    calls = []
    handle = model.decoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        loss_of(model, source, arm)
    finally:
        handle.remove()
    return len(calls)


def train(
    model: EncoderDecoder,
    seed: int,
    arm: str = "teacher forcing",
    updates: int = UPDATES,
    last_share: float = 0.0,
) -> EncoderDecoder:
    """Train on lengths from 1 to 20; each batch holds rows of one length.

    In the arm "scheduled", the share of true symbols falls from 1 to `last_share`, linearly.
    """
    data, coins = Generator().manual_seed(seed), Generator().manual_seed(1000 + seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, updates, pct_start=0.1)
    for update in range(updates):
        length = int(torch.randint(1, LONGEST + 1, (1,), generator=data))
        source = sequences(length, BATCH, data)
        true_share = 1 - (1 - last_share) * update / updates
        loss = loss_of(model, source, arm, true_share, coins)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        schedule.step()
    return model


@torch.no_grad()
def free_running(model: EncoderDecoder, source: Tensor) -> Tensor:
    """Let the network read its own symbols; return what it says, (n, B), 0 after an early END."""
    state = model.encode(source, lengths_of(source))
    said = decoding.greedy(model, state, START, len(source), END)
    return torch.cat([said, said.new_zeros(len(source) - len(said), said.shape[1])])


@torch.no_grad()
def told(model: EncoderDecoder, source: Tensor, target_in: Tensor) -> Tensor:
    """Let it read `target_in` (n + 1, B); return what it would say, (n, B)."""
    return model(source, lengths_of(source), target_in)[:-1].argmax(-1)


Figures = dict[str, float | list[float]]


def accuracies(model: EncoderDecoder, blind: bool = False) -> Figures:
    """Test on 200 rows of each of `TESTED` lengths, drawn alike for every network.

    Returns:
        Share of right symbols by length: "free" when it reads its own symbols, "told" when it
        reads the true ones. A blind network reads neither, and both are the same.
    """
    free, with_truth = [], []
    for length in TESTED:
        source = sequences(length, 200, Generator().manual_seed(length))
        said = told(model, source, read_and_say(source, blind)[0])
        with_truth.append(share(said == source))
        free.append(with_truth[-1] if blind else share(free_running(model, source) == source))
    return {"free": free, "told": with_truth}


def errors_by_position(model: EncoderDecoder) -> Figures:
    """Test on 1,000 rows of 20 symbols.

    Returns:
        Share of wrong symbols at each of the 20 positions: "told_at" when the true symbols are
        read, "free_at" when its own are, "swapped_at" when one of the true symbols, the tenth, is
        changed. And 1 to 10 positions behind a row's first own error: "free_after" of it, and
        "told_after" at the same places of the same rows.
    """
    source = sequences(LONGEST, 1000, Generator().manual_seed(20))
    target_in, _ = read_and_say(source)
    swapped = target_in.clone()
    swapped[10] = FIRST + (swapped[10] - FIRST + 1 + torch.arange(1000) % (SYMBOLS - 1)) % SYMBOLS
    wrong = {
        "told": told(model, source, target_in) != source,
        "free": free_running(model, source) != source,
        "swapped": told(model, source, swapped) != source,
    }
    figures: Figures = {f"{name}_at": each.float().mean(1).tolist() for name, each in wrong.items()}
    erred = wrong["free"].any(0)
    first = wrong["free"].float().argmax(0)  # of the largest, the first
    for name in ("free", "told"):
        after = []
        for lag in range(1, 11):
            rows = (erred & (first + lag < LONGEST)).nonzero().flatten()
            after.append(share(wrong[name][first[rows] + lag, rows]))
        figures[f"{name}_after"] = after
    return figures


def share(which: Tensor) -> float:
    """Return how many of the entries are True, of 1."""
    return float(which.float().mean())
