"""Pairs of sequences as numbers: a word and its pronunciation, a date and its ISO form.

Both sides are numbered by `Symbols`. The first three numbers are the same everywhere: `PAD` fills
up what is shorter than its batch, `START` is what a decoder reads first, `END` is what it says
when it has finished. A source holds its symbols only; `make_batch` puts START and END around the
target: the decoder reads START, K, AE, T and is to say K, AE, T, END.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

PAD, START, END = 0, 1, 2
_FIRST = 3  # the number of the first symbol


class Symbols:
    """Gives each symbol a number, from 3 on, in the order given.

    Args:
        symbols: letters, phones or other texts, each once.

    Raises:
        ValueError: no symbol, or one comes twice.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = tuple(symbols)
        self._numbers = {symbol: i for i, symbol in enumerate(self.symbols, _FIRST)}
        if not self.symbols:
            raise ValueError("symbols: expected one or more, got none")
        if len(self._numbers) < len(self.symbols):
            twice = next(s for s in self.symbols if self.symbols.count(s) > 1)
            raise ValueError(f"symbols: expected each once, got {twice!r} twice")

    @property
    def size(self) -> int:
        """How many numbers there are: the symbols, and PAD, START and END."""
        return _FIRST + len(self.symbols)

    def encode(self, sequence: Iterable[str]) -> list[int]:
        """Return the number of every symbol, without START and END.

        Raises:
            ValueError: a symbol that has no number.
        """
        try:
            return [self._numbers[symbol] for symbol in sequence]
        except KeyError as error:
            raise ValueError(
                f"sequence: {error.args[0]!r} is none of the {len(self.symbols)} symbols known"
            ) from None

    def decode(self, ids: Iterable[int]) -> tuple[str, ...]:
        """Return the symbols up to the first END; PAD and START are left out.

        Args:
            ids: numbers, or a tensor (T,).

        Raises:
            ValueError: a number that stands for nothing.
        """
        found = []
        for number in map(int, ids):
            if number == END:
                break
            if not 0 <= number < self.size:
                raise ValueError(f"ids: expected numbers from 0 to {self.size - 1}, got {number}")
            if number >= _FIRST:
                found.append(self.symbols[number - _FIRST])
        return tuple(found)


class Batch(NamedTuple):
    """B pairs, filled up with PAD behind their ends.

    The target stands there twice, shifted by one step: at each step, the decoder reads
    `target_in` and is to say `target_out`.
    """

    source: Tensor
    """(S, B), without START or END."""
    source_lengths: Tensor
    """(B,), symbols of each source."""
    target_in: Tensor
    """(T, B), begins with START."""
    target_out: Tensor
    """(T, B), ends with END."""


def make_batch(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> Batch:
    """Put pairs side by side, time first.

    Args:
        sources: numbers of each source, one or more.
        targets: numbers of each target, without START and END; may be empty.

    Raises:
        ValueError: no pairs, not as many targets as sources, an empty source, or a pair that holds
            PAD, START, END or a negative number.
    """
    _check_pairs(sources, targets)
    return Batch(
        _columns(sources),
        torch.tensor([len(source) for source in sources]),
        _columns([[START, *target] for target in targets]),
        _columns([[*target, END] for target in targets]),
    )


def batches(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    batch_size: int,
    generator: Generator,
) -> Iterator[Batch]:
    """Draw every pair once, in batches of pairs of like length, in a random order.

    Pairs are shuffled, then sorted by the lengths of source and target, cut into batches, and the
    batches shuffled. So little is padded, and pairs of equal length meet others in every epoch.

    Raises:
        ValueError: as `make_batch`; or `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: expected 1 or more, got {batch_size}")
    _check_pairs(sources, targets)
    order = torch.randperm(len(sources), generator=generator).tolist()
    order.sort(key=lambda i: (len(sources[i]), len(targets[i])))  # keeps the order of equals
    starts = torch.randperm(-(-len(order) // batch_size), generator=generator) * batch_size
    for start in starts.tolist():
        chosen = order[start : start + batch_size]
        yield make_batch([sources[i] for i in chosen], [targets[i] for i in chosen])


def _columns(rows: Sequence[Sequence[int]]) -> Tensor:
    """Write each row as a column, with PAD below: (longest, rows)."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows]).T.contiguous()


def _check_pairs(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> None:
    if len(sources) != len(targets) or not sources:
        raise ValueError(
            "sources and targets: expected as many of both, one or more; "
            f"got {len(sources)} and {len(targets)}"
        )
    for name, side in (("sources", sources), ("targets", targets)):
        for place, ids in enumerate(side):
            if name == "sources" and not ids:
                raise ValueError(f"sources: number {place} is empty")
            if ids and min(ids) < _FIRST:
                raise ValueError(
                    f"{name}: expected symbols, numbered from {_FIRST} on; "
                    f"number {place} holds {min(ids)}"
                )
