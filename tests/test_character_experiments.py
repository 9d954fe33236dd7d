"""The experiments on real text: what is held out, which state is carried, what recall scores."""

from __future__ import annotations

import itertools

import pytest
import torch

from experiments import character_rnn, state_recall
from rnnlib.data import text


def small_texts(characters: int, symbols: str = "abcd") -> character_rnn.Texts:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(len(symbols), (3, characters), generator=generator)
    return character_rnn.Texts(text.CharacterVocabulary(symbols), *ids)


def test_the_held_out_years_are_in_no_training_text():
    texts, corpus = character_rnn.load_texts(), text.state_of_the_union(1900, 1929)
    parts = {"training": [], "validation": [], "test": []}
    for address in corpus.addresses:
        part = "test" if address.year in text.TEST_YEARS else "training"
        part = "validation" if address.year in text.VALIDATION_YEARS else part
        parts[part].append(address.text)
    for name, addresses in parts.items():
        assert texts.vocabulary.decode(getattr(texts, name)) == "\n\n".join(addresses), name
    assert all(parts.values())


@pytest.mark.parametrize("carry", [True, False])
def test_training_carries_the_state_or_starts_afresh(carry, monkeypatch):
    states = []
    forward = character_rnn.CharacterModel.forward

    def spied(model, x, state=None):
        states.append(state)
        return forward(model, x, state)

    monkeypatch.setattr(character_rnn.CharacterModel, "forward", spied)
    character_rnn.train(0, small_texts(32 * 32 * 4), carry_state=carry, hidden_size=8)
    assert len(states) > 3 and states[0] is None
    for state in states[1:]:
        assert (state is not None and not state.requires_grad) if carry else state is None


def test_recall_is_scored_on_text_that_the_reader_has_not_seen():
    texts = small_texts(state_recall.STREAMS * state_recall.CHARACTERS)
    torch.manual_seed(0)
    model = character_rnn.CharacterModel(4, H=256)
    far = state_recall.recall(model, texts.training, texts.test, lag=45)
    near = state_recall.recall(model, texts.training, texts.test, lag=1)
    assert abs(far - 0.25) < 0.008 and near > 0.99  # on the text it has seen: 0.262


def test_two_texts_are_as_far_apart_as_the_states_say():
    torch.manual_seed(0)
    distance = state_recall.distances(
        character_rnn.CharacterModel(4, H=16), small_texts(19_200).test
    )
    assert distance[0] == 1 and all(a > b for a, b in itertools.pairwise(distance))
