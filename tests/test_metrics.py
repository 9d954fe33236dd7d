"""Edits, phone and word error rate: known values, and an independent count of the edits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlib.metrics import edit_distance, phone_error_rate, word_error_rate

PHONES = st.lists(st.sampled_from(["AH", "B", "AA", "BA", "A"]), max_size=7)


def count_edits(a, b):
    """The table of Wagner and Fischer (1974), row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


@given(PHONES, PHONES)
def test_edits_are_counted_in_whole_phones(a, b):
    assert edit_distance(a, b) == edit_distance(tuple(b), tuple(a)) == count_edits(a, b)


@given(st.lists(st.integers(0, 50), max_size=7), st.lists(st.integers(0, 50), max_size=7))
def test_edits_of_numbers(a, b):
    assert edit_distance(a, b) == count_edits(a, b)


def test_the_closest_listed_pronunciation_counts():
    said = [("R", "EH", "D"), ("K", "AE", "T", "S")]
    listed = [[("R", "IY", "D"), ("R", "EH", "D")], [("K", "AE", "T"), ("K", "AH", "T", "AH", "S")]]
    assert phone_error_rate(said, listed) == 1 / 6  # "cats": one edit to the first, three phones
    assert word_error_rate(said, listed) == 1 / 2
    assert phone_error_rate([("A", "B", "C")], [[("D",)]]) == 3.0  # above 1: mostly insertions
    assert phone_error_rate([()], [[("D", "A")]]) == 1.0


def test_lists_and_tuples_are_the_same_word():
    assert word_error_rate([["K", "AE", "T"]], [[("K", "AE", "T")]]) == 0.0


@pytest.mark.parametrize("rate", [phone_error_rate, word_error_rate])
@pytest.mark.parametrize(
    ("said", "listed", "message"),
    [
        ([], [], "got 0 and 0"),
        ([("A",)], [], "got 1 and 0"),
        ([("A",)], [[]], "number 0"),
        ([("A",), ("B",)], [[("A",)], [("A",), ()]], "number 1"),
        ([("A",)], ["AB"], "number 0 is 'AB'"),
    ],
)
def test_bad_input_is_refused(rate, said, listed, message):
    with pytest.raises(ValueError, match=message):
        rate(said, listed)
