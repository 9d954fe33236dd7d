"""Pairs as numbers: what is said, where it starts and ends, and that nothing is lost or mixed."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnlib.data.pairs import END, PAD, START, Symbols, batches, make_batch

SIDE = st.lists(st.integers(3, 9), max_size=6)
PAIRS = st.lists(st.tuples(SIDE.filter(bool), SIDE), min_size=1, max_size=20)


def test_symbols_are_numbered_behind_the_three_of_everybody():
    letters = Symbols("abc")
    assert (PAD, START, END) == (0, 1, 2) and letters.size == 6
    assert letters.encode("cab") == [5, 3, 4] and letters.encode(()) == []
    assert letters.decode([START, 5, PAD, 3, END, 4]) == ("c", "a")
    assert letters.decode(torch.tensor([3, 4, 5])) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Symbols("abca"), "'a' twice"),
        (lambda: Symbols(()), "got none"),
        (lambda: Symbols("abc").encode("abd"), "'d' is none of the 3 symbols"),
        (lambda: Symbols("abc").decode([6]), "from 0 to 5, got 6"),
        (lambda: Symbols("abc").decode([-1]), "from 0 to 5, got -1"),
        (lambda: make_batch([], []), "got 0 and 0"),
        (lambda: make_batch([[3]], []), "got 1 and 0"),
        (lambda: make_batch([[3], []], [[3], [3]]), "sources: number 1 is empty"),
        (lambda: make_batch([[3], [3]], [[3], [5, END]]), "targets: .* number 1 holds 2"),
        (lambda: make_batch([[PAD, 3]], [[3]]), "sources: .* number 0 holds 0"),
        (lambda: list(batches([[3]], [[3]], 0, torch.Generator())), "batch_size"),
        (lambda: list(batches([[3]], [[3], [4]], 2, torch.Generator())), "got 1 and 2"),
        (lambda: list(batches([], [], 2, torch.Generator())), "got 0 and 0"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(PAIRS)
def test_a_batch_holds_each_pair_and_nothing_else(both):
    sources, targets = [list(side) for side in zip(*both, strict=True)]
    batch = make_batch(sources, targets)
    assert batch.source.shape == (max(map(len, sources)), len(both))
    assert (
        batch.target_in.shape == batch.target_out.shape == (max(map(len, targets)) + 1, len(both))
    )
    assert batch.source_lengths.tolist() == list(map(len, sources))
    for column, (source, target) in enumerate(both):
        read, said = batch.target_in[:, column].tolist(), batch.target_out[:, column].tolist()
        padding = [PAD] * (len(said) - len(target) - 1)
        assert read == [START, *target, *padding] and said == [*target, END, *padding]
        kept = batch.source[:, column].tolist()
        assert kept == source + [PAD] * (len(kept) - len(source))


@given(PAIRS, st.integers(1, 7), st.integers(0, 99))
def test_an_epoch_draws_each_pair_once(both, size, seed):
    sources, targets = zip(*both, strict=True)
    drawn = list(batches(sources, targets, size, torch.Generator().manual_seed(seed)))
    found = Counter()
    for batch in drawn:
        for s, length, t in zip(
            batch.source.T, batch.source_lengths, batch.target_out.T, strict=True
        ):
            target = t.tolist()
            found[tuple(s[:length].tolist()), tuple(target[: target.index(END)])] += 1
    assert found == Counter((tuple(s), tuple(t)) for s, t in both)
    assert sorted(batch.source.shape[1] for batch in drawn)[1:] == [size] * (len(drawn) - 1)


def test_batches_are_shuffled_and_of_like_length():
    sources = [[3] * (1 + i % 8) for i in range(256)]
    targets = [[3 + i] for i in range(256)]

    def epoch(seed):
        drawn = list(batches(sources, targets, 16, torch.Generator().manual_seed(seed)))
        assert all(len(set(batch.source_lengths.tolist())) == 1 for batch in drawn)
        return [batch.target_out[0].tolist() for batch in drawn]

    first, second = epoch(0), epoch(1)
    assert first == epoch(0)
    assert {frozenset(batch) for batch in first}.isdisjoint(
        map(frozenset, second)
    )  # who meets whom
    generator = torch.Generator().manual_seed(0)
    again = [[b.source.shape[0] for b in batches(sources, targets, 16, generator)] for _ in "12"]
    assert again[0] != again[1] and sorted(again[0]) == sorted(again[1])  # the order of batches
