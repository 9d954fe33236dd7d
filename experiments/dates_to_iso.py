"""From a date as people write it, in twelve languages, to its ISO form.

Which kinds of model learn it, how soon, and does a language that was never read come out right?

Source: the characters of a text such as "Mittwoch, 5. März 2031". Target: the ten characters of
"2031-03-05". The texts are those of `rnnlib.data.dates`: twelve languages, seven formats, days from
1950 to 2049; 5 % of all days are held out for validation and 5 % for the test, in all languages.

The kinds are those of `experiments.spelling`, in the sizes of its small models: an encoder-decoder
with one vector between encoder and decoder, the same with attention, and a Transformer.

`held_out` names a language that is left out of training; the record asks this of the model with
attention. Chinese writes its dates with the signs of the Japanese ones (年, 月, 日), which are read
in training; Polish has its own names of months.

How far a model has come is measured every `EVERY` updates of one training run, whose learning rate
falls to zero at its end. Rates were chosen, and the intervals fixed, on seed 0 with the validation
days. The record holds seeds 10 to 12, measured on the test days.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from experiments.spelling import cross_entropy, small_model
from rnnlib import decoding
from rnnlib.data import pairs
from rnnlib.data.dates import LANGUAGES, WrittenDate, written_dates
from rnnlib.data.pairs import END, START, Batch, Symbols
from rnnlib.data.splits import Part
from rnnlib.training import History, train, warmup_cosine

SEEDS = [10, 11, 12]
SETTINGS = [
    {"kind": "vector", "held_out": ""},
    {"kind": "attention", "held_out": ""},
    {"kind": "transformer", "held_out": ""},
    {"kind": "attention", "held_out": "zh"},
    {"kind": "attention", "held_out": "pl"},
]
DIGITS = Symbols("0123456789-")
TRAINING_DATES, BATCH, LARGEST_NORM = 20_000, 100, 1.0
UPDATES, EVERY, PEAK_RATES = 900, 100, {"vector": 1e-2, "attention": 1e-2, "transformer": 5e-3}


@functools.cache
def characters() -> Symbols:
    """Number every character that a date may be written with, in any of the languages."""
    return Symbols(sorted({sign for date in written_dates(20_000, 0) for sign in date.text}))


def learn(
    kind: str,
    seed: int,
    held_out: str = "",
    updates: int = UPDATES,
    evaluate: Callable[[nn.Module], float] | None = None,
) -> tuple[Any, History]:
    """Train a model of a kind on all languages but one (or on all): Adam, warm-up, cosine to 0.

    `evaluate` measures it every `EVERY` updates.
    """
    languages = [language for language in LANGUAGES if language != held_out]
    dates = written_dates(TRAINING_DATES, seed, "training", languages)
    sources = [characters().encode(date.text) for date in dates]
    targets = [DIGITS.encode(date.iso) for date in dates]
    torch.manual_seed(seed)
    model = small_model(kind, characters().size, DIGITS.size)
    optimizer = torch.optim.Adam(model.parameters(), PEAK_RATES[kind])

    def epoch(generator: Generator) -> Iterator[Batch]:
        return pairs.batches(sources, targets, BATCH, generator)

    history = train(
        model,
        epoch,
        cross_entropy,
        optimizer,
        updates=updates,
        seed=1000 + seed,
        clip=LARGEST_NORM,
        schedule=warmup_cosine(optimizer, updates, updates // 20),
        evaluate=evaluate,
        evaluate_every=EVERY,
    )
    return model.eval(), history


@torch.no_grad()
def read(model: Any, texts: Sequence[str]) -> list[str]:
    """Return what the model makes of each text, greedily."""
    batch = pairs.make_batch([characters().encode(text) for text in texts], [[]] * len(texts))
    state = model.encode(batch.source, batch.source_lengths)
    tokens = decoding.greedy(model, state, START, 12, END)
    return ["".join(DIGITS.decode(row)) for row in tokens.T.tolist()]


class Right(NamedTuple):
    """Shares of dates that are right: as a whole, and in each of its three fields."""

    whole: float
    year: float
    month: float
    day: float


def right_shares(model: nn.Module, dates: Sequence[WrittenDate]) -> Right:
    """Read dates and compare with their ISO forms."""
    said = read(model, [date.text for date in dates])
    fields = [
        (answer == date.iso, answer[:4] == date.iso[:4], answer[5:7] == date.iso[5:7],
         answer[8:] == date.iso[8:])
        for answer, date in zip(said, dates, strict=True)
    ]  # fmt: skip
    return Right(*(sum(column) / len(dates) for column in zip(*fields, strict=True)))


def align(model: Any, text: str, iso: str) -> Tensor:
    """Return the attention weights (T, S) over the text, for each character of `iso` and END."""
    batch = pairs.make_batch([characters().encode(text)], [DIGITS.encode(iso)])
    with torch.no_grad():
        return model.align(batch.source, batch.source_lengths, batch.target_in)[:, 0]


def run(
    seed: int, kind: str, held_out: str = "", part: Part = "test", updates: int = UPDATES
) -> dict[str, float | list[float]]:
    """Train one model, and measure it on days that it has not seen.

    Returns:
        "whole", "year", "month", "day": shares of right answers on 2,400 dates in the languages
        of the training; "by_language": share of right answers, of 200 dates in each of `LANGUAGES`;
        "whole_held_out" and so on: shares for 600 dates in the language held out, where there is
        one; "course", share of right answers to 600 dates in the languages of the training, after
        every `EVERY` updates; "losses" (nats a character, the mean of so many), "parameters".
    """
    known = [language for language in LANGUAGES if language != held_out]
    asked = written_dates(600, 4000 + seed, part, known)
    model, history = learn(
        kind, seed, held_out, updates, lambda model: right_shares(model, asked).whole
    )
    found: dict[str, float | list[float]] = {}
    found.update(right_shares(model, written_dates(2400, 5000 + seed, part, known))._asdict())
    found["by_language"] = [
        right_shares(model, written_dates(200, 6000 + seed, part, [language])).whole
        for language in LANGUAGES
    ]
    if held_out:
        shares = right_shares(model, written_dates(600, 7000 + seed, part, [held_out]))
        found.update({f"{name}_held_out": share for name, share in shares._asdict().items()})
    found["course"] = [evaluation["loss"] for evaluation in history.evaluations]
    losses = torch.tensor(history.losses)
    found["losses"] = [part.mean().item() for part in losses.split(EVERY)]
    found["parameters"] = float(sum(p.numel() for p in model.parameters()))
    return found
