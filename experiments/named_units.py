"""Is there a unit of the trained character LSTM whose behaviour has a name, and is it no luck?

The search. `features` describes the place of every character in a text by a fixed list of
numbers, from the text alone. `correlations` compares every unit's cell state c and hidden state h
with every feature, and the unit with the largest |r| on one text (the validation years) is
confirmed on another (the test years): only the second |r| counts, since the largest of 512 is
always flattering on the text where it was the largest.

Two baselines go through the same search: untrained LSTMs of the same sizes (the record: one for
each seed), and the trained one with every feature moved along the text by a random distance, so
that it keeps its own rhythm and loses its place.

`bits_when_held` intervenes: it holds one cell at a value while the model reads, and asks what that
costs. A unit may follow a feature and still be of no use to the rest of the network.

Which feature, which unit: the search decides on the validation years. The record holds seeds
10 to 19 of the untrained networks, on the same two texts.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from experiments.character_rnn import Texts, load_texts
from experiments.weights.character_lstm import CharacterLSTM
from rnnlib.data.text import bits_per_character

SEEDS = list(range(10, 20))
SETTINGS: list[dict[str, str]] = [{"weights": "untrained"}]

STREAMS, WARM_UP, CHARACTERS = 64, 100, 70_400
"""Streams side by side; steps at the start of each that do not count; characters read."""

Features = Mapping[str, NDArray[np.float64]]


def features(text: str) -> dict[str, NDArray[np.float64]]:
    """Describe the place of every character of a text, from what was read up to and with it.

    Returns:
        twelve features by name, each (N,); those that answer yes or no are 1 or 0.
    """
    characters = np.array(list(text))
    place = np.arange(len(text))
    letter, upper, digit = (
        np.array([test(c) for c in text]) for test in (str.isalpha, str.isupper, str.isdigit)
    )
    newline, mark = characters == "\n", np.isin(characters, list(",;:"))
    stop = np.isin(characters, list(".?!"))
    sentence_ends = stop | newline

    def since(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count characters since the last hit; at a hit, 0."""
        return place - np.maximum.accumulate(np.where(hits, place, -1))

    def hits_since(hits: NDArray[np.bool_], start: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count hits after the last start."""
        count = np.cumsum(hits)
        return count - np.maximum.accumulate(np.where(start, count, 0))

    letters = np.where(letter, since(~letter), 0)
    first_letter = np.where(letter, place - letters + 1, place)
    found = {
        "letters of this word so far": letters,
        "inside a capitalised word": letter & upper[first_letter],
        "inside a number": digit,
        "words of this sentence so far": hits_since(letters == 1, sentence_ends),
        "characters of this sentence (log)": np.log1p(since(sentence_ends)),
        "characters since a comma or stop (log)": np.log1p(since(sentence_ends | mark)),
        "characters of this paragraph (log)": np.log1p(since(newline)),
        "a comma came in this sentence": hits_since(mark, sentence_ends) > 0,
        "first sentence of a paragraph": hits_since(stop, newline) == 0,
        "inside quotation marks": np.cumsum(characters == '"') % 2 == 1,
        "this character is a vowel": np.isin(characters, list("aeiouAEIOU")),
        "this character is a blank": np.isin(characters, list(" \n")),
    }
    return {name: np.asarray(values, dtype=np.float64) for name, values in found.items()}


@dataclass(frozen=True)
class Watched:
    """What a model's units did while it read a text in streams.

    Attributes:
        states: "i", "f", "g", "o", "c" and "h" as far as asked for, each (N', H).
        places: the place of each row in the text, (N',).
    """

    states: dict[str, Tensor]
    places: Tensor


@torch.no_grad()
def watch(
    model: CharacterLSTM,
    ids: Tensor,
    keep: str = "ch",
    streams: int = STREAMS,
    warm_up: int = WARM_UP,
    clamp: tuple[int, float] | None = None,
) -> Watched:
    """Read a text and keep the gates and states of all units.

    Args:
        model: the network.
        ids: the text, (N,); the rest that does not fill the streams is left out.
        keep: which of the letters i, f, g, o, c, h to keep.
        streams: pieces of the text that are read side by side.
        warm_up: steps at the start of each piece that are not kept.
        clamp: a unit and the value at which its cell state is held.
    """
    steps = len(ids) // streams
    x = ids[: steps * streams].view(streams, steps).T  # (steps, streams)
    places = torch.arange(steps * streams).view(streams, steps).T
    weights = dict(model.lstm.named_parameters())
    W = weights["weight_hh_l0"].T
    table = model.embedding.weight @ weights["weight_ih_l0"].T
    table += weights["bias_ih_l0"] + weights["bias_hh_l0"]  # (V, 4H): one row a character
    h = c = torch.zeros(streams, model.lstm.hidden_size)
    kept: dict[str, list[Tensor]] = {letter: [] for letter in keep}
    for x_t in x:
        i, f, g, o = (table[x_t] + h @ W).chunk(4, dim=1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        if clamp is not None:
            c[:, clamp[0]] = clamp[1]
        h = o * c.tanh()
        now = {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h}
        for letter in keep:
            kept[letter].append(now[letter])
    return Watched(
        {letter: torch.stack(rows[warm_up:]).flatten(0, 1) for letter, rows in kept.items()},
        places[warm_up:].flatten(),
    )


def correlations(states: Tensor, wanted: Tensor) -> Tensor:
    """Correlate every unit with every feature: (N, H) and (N, F) to (H, F).

    A column that never changes has no correlation: its entries are 0.
    """
    a, b = ((x - x.mean(0)).to(torch.float32) for x in (states, wanted))
    norms = a.norm(dim=0)[:, None] * b.norm(dim=0)
    return torch.where(norms > 1e-6, (a.T @ b) / norms.clamp(min=1e-6), 0.0)


@dataclass(frozen=True)
class Best:
    """The unit that follows a feature best on the first text, and how it does on the second.

    Attributes:
        feature: its name.
        state: "c" or "h".
        unit: its number.
        searched: r on the text of the search.
        confirmed: r on the other text: the figure that counts.
    """

    feature: str
    state: str
    unit: int
    searched: float
    confirmed: float


def described(texts: Texts, part: str, characters: int) -> tuple[Tensor, Features]:
    """Return the first characters of a part as ids, and their features."""
    ids = getattr(texts, part)[:characters]
    return ids, features(texts.vocabulary.decode(ids))


def search(
    model: CharacterLSTM, texts: Texts, shift_seed: int | None = None, characters: int = CHARACTERS
) -> list[Best]:
    """Search on the validation years, confirm on the test years.

    Args:
        model: trained or untrained.
        texts: the addresses.
        shift_seed: with a number, every feature is moved along the text by a random distance of
            at least 1,000 characters (drawn with this seed): what is found then is luck.
        characters: read from each of the two texts.

    Returns:
        the best unit of each feature, in the order of `features`.
    """
    generator = None if shift_seed is None else Generator().manual_seed(shift_seed)
    found = []
    for part in ("validation", "test"):
        ids, described_by = described(texts, part, characters)
        wanted = torch.from_numpy(np.stack(list(described_by.values()), axis=1))  # (N, F)
        if generator is not None:
            moves = torch.randint(1000, len(ids) - 1000, (wanted.shape[1],), generator=generator)
            columns = zip(wanted.T, moves.tolist(), strict=True)
            wanted = torch.stack([column.roll(move) for column, move in columns], dim=1)
        watched = watch(model, ids)
        both = torch.cat([watched.states["c"], watched.states["h"]], dim=1)  # (N', 2H)
        found.append(correlations(both, wanted[watched.places]))
    first, second = found
    H = model.lstm.hidden_size
    best = first.abs().argmax(0).tolist()  # one of 2H for each feature
    return [
        Best(name, "ch"[row // H], row % H, float(first[row, j]), float(second[row, j]))
        for j, (name, row) in enumerate(zip(described_by, best, strict=True))
    ]


def area_under_curve(values: Tensor, yes: Tensor) -> float:
    """Return how often a place with the feature has a larger value than one without, (N,) each."""
    ranks = torch.empty(len(values), dtype=torch.float64)
    ranks[values.argsort()] = torch.arange(1, len(values) + 1, dtype=torch.float64)
    positive = yes > 0
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


@torch.no_grad()
def bits_when_held(
    model: CharacterLSTM, texts: Texts, clamp: tuple[int, float] | None = None, read: int = 12_800
) -> float:
    """Hold one cell at a value while the model reads the test years: what does a character cost?

    Args:
        model: the network.
        texts: the addresses.
        clamp: a unit and the value of its cell state; None leaves all cells alone.
        read: how many characters.

    Returns:
        bits a character.
    """
    ids = texts.test[: read + 1]
    seen = watch(model, ids[:-1], "h", warm_up=20, clamp=clamp)
    nats = functional.cross_entropy(model.readout(seen.states["h"]), ids[seen.places + 1])
    return bits_per_character(float(nats))


@functools.cache
def texts() -> Texts:
    """Return the addresses, read once."""
    return load_texts()


def run(seed: int, weights: str) -> dict[str, float | list[float]]:
    """Search in an untrained network.

    Returns:
        "confirmed": |r| on the test years of the best unit of each feature, in the order of
        `features`; "searched": the same on the validation years.
    """
    if weights != "untrained":
        raise ValueError(f"weights: expected 'untrained', got {weights!r}")
    torch.manual_seed(seed)
    best = search(CharacterLSTM(), texts())
    return {
        "searched": [abs(one.searched) for one in best],
        "confirmed": [abs(one.confirmed) for one in best],
    }
