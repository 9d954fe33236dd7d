"""Spelling and dates: what is held out, who is compared with whom, and how answers are counted."""

from __future__ import annotations

import importlib

import pytest
import torch

from experiments import dates_to_iso, spelling
from rnnlib import records
from rnnlib.data.dates import LANGUAGES, written_dates
from rnnlib.data.pairs import END
from rnnlib.data.pronunciation import pronunciations, without_stress

TRAINED = [f"spelling_{kind}" for kind in spelling.KINDS]


class Dictated:
    """Says what a table says, whatever the state: `step` spells the answers out, a row each."""

    training = False

    def __init__(self, answers):
        self.answers = answers

    def encode(self, source, lengths):
        words = [
            "".join(spelling.LETTERS.decode(column[:length]))
            for column, length in zip(source.T, lengths, strict=True)
        ]
        self.said = [[*spelling.PHONES.encode(self.answers[word]), END] for word in words]
        return torch.zeros(1, len(words))

    def step(self, tokens, state):
        t = int(state[0, 0])
        following = torch.tensor([ids[min(t, len(ids) - 1)] for ids in self.said])
        return torch.nn.functional.one_hot(following, spelling.PHONES.size).float(), state + 1

    def eval(self):
        return self

    def train(self, mode):
        return self


def test_no_test_word_is_learned_from():
    words, (sources, targets) = spelling.load_words(), spelling.training_pairs()
    learned = {"".join(spelling.LETTERS.decode(source)) for source in sources}
    assert learned == set(words["training"])
    assert not learned & set(words["test"]) and not learned & set(words["validation"])
    assert sum(map(len, words.values())) == len(pronunciations())
    assert len(sources) == len(targets) == sum(map(len, words["training"].values()))


def test_every_listed_pronunciation_is_there_without_stress():
    words, whole = spelling.load_words(), pronunciations()
    for part in words.values():
        for word, ways in list(part.items())[:2000]:
            assert set(ways) == {without_stress(way) for way in whole[word]}
            assert len(set(ways)) == len(ways)
    longest = max(len(way) for part in words.values() for ways in part.values() for way in ways)
    assert longest + 1 < spelling.LONGEST
    used = {phone for ways in words["training"].values() for way in ways for phone in way}
    assert used == set(spelling.PHONES.symbols) and len(used) == 39


def test_answers_come_in_the_order_of_the_words():
    words = spelling.some_words(300)
    assert words == spelling.some_words(300) != spelling.some_words(300, seed=1)
    model = Dictated({word: ways[-1] for word, ways in words.items()})
    assert spelling.pronounce(model, list(words)) == [ways[-1] for ways in words.values()]
    assert spelling.evaluate(model, words) == (0.0, 0.0)
    wrong = {**words, (first := next(iter(words))): ((*words[first][-1], "ZH"),)}
    rates = spelling.evaluate(model, wrong)
    assert rates.words == 1 / 300
    edited = spelling.pronounce(model, list(words))
    table = spelling.errors_by_length(edited, wrong)
    assert sum(table["counts"]) == 300 and sum(rate > 0 for rate in table["words"]) == 1
    place = spelling.LENGTHS.index(min(max(len(first), 4), 13))
    assert table["words"][place] == pytest.approx(1 / table["counts"][place])


@pytest.mark.parametrize("kind", spelling.KINDS)
def test_a_small_model_is_the_same_for_a_seed(kind, monkeypatch):
    monkeypatch.setitem(spelling.SMALL_TRAINING, kind, (4, 32, 1e-2))
    (one, history), (two, _), (other, _) = (spelling.small(kind, seed) for seed in (0, 0, 1))
    assert len(history.losses) == 4 and not one.training
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="kind: expected one of"):
        spelling.small("lstm", 0)


def test_the_kinds_have_as_many_parameters():
    sizes = [importlib.import_module(f"experiments.weights.{name}").build() for name in TRAINED]
    counts = [spelling.parameters(model) for model in sizes]
    assert max(counts) < 1.03 * min(counts)
    small = [spelling.parameters(spelling.small_model(kind, 29, 42)) for kind in spelling.KINDS]
    assert max(small) < 1.1 * min(small)


@pytest.mark.parametrize("name", TRAINED)
def test_trained_weights_do_what_their_figures_say(name):
    figures = records.load_weights(name)[1]["figures"]
    model = importlib.import_module(f"experiments.weights.{name}").load()
    words = spelling.some_words(400)
    found, expected = spelling.evaluate(model, words), figures["words"]
    assert abs(found.words - expected) < 4 * (expected * (1 - expected) / 400) ** 0.5
    counts, by_length = figures["counts_by_length"], figures["words_by_length"]
    assert sum(counts) == len(spelling.load_words()["test"])
    mean = sum(n * rate for n, rate in zip(counts, by_length, strict=True)) / sum(counts)
    assert mean == pytest.approx(expected)
    if "vector" not in name:
        weights = spelling.align(model, "cat", ("K", "AE", "T"))
        assert weights.shape == (4, 3) and torch.allclose(weights.sum(1), torch.ones(4))


# ----------------------------------------------------------------------------------------- dates


def test_no_test_day_is_learned_from_and_no_language_held_out(monkeypatch):
    read = []
    monkeypatch.setattr(dates_to_iso, "train", lambda model, epoch, *rest, **more: (
        read.extend(epoch(torch.Generator()))))  # fmt: skip
    monkeypatch.setattr(dates_to_iso, "TRAINING_DATES", 3000)
    dates_to_iso.learn("vector", 0, held_out="zh", updates=40)
    learned = {
        "".join(dates_to_iso.DIGITS.decode(target))
        for batch in read
        for target in batch.target_out.T
    }
    held_out = {date.iso for part in ("test", "validation") for date in written_dates(900, 1, part)}
    assert len(learned) > 2000 and not learned & held_out
    texts = {
        "".join(dates_to_iso.characters().decode(source))
        for batch in read
        for source in batch.source.T
    }
    assert not any("周" in text or "星期" in text for text in texts)  # only Chinese has these
    assert any("曜日" in text for text in texts)


def test_every_character_of_every_language_has_a_number():
    known = dates_to_iso.characters()
    for part in ("training", "validation", "test"):
        for language in LANGUAGES:
            for date in written_dates(400, 7, part, [language]):
                assert "".join(known.decode(known.encode(date.text))) == date.text


def test_fields_are_counted_one_by_one(monkeypatch):
    dates = [d._replace(iso="2031-03-05") for d in written_dates(4, 0)]
    said = ["2031-03-05", "2031-05-05", "1931-03-05", "2031-03-5"]
    monkeypatch.setattr(dates_to_iso, "read", lambda model, texts: said)
    assert dates_to_iso.right_shares(None, dates) == (0.25, 0.75, 0.75, 0.75)
