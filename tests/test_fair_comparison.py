"""LSTM against GRU on equal terms, the trained character LSTM, and the search for named units."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Generator, nn

from experiments import lstm_or_gru, named_units
from experiments.character_rnn import Texts, load_texts
from experiments.lstm_or_gru import ARMS, RATES, SIZES, Network
from experiments.weights import character_lstm
from rnnlib import records
from rnnlib.data import text
from rnnlib.data.glucose import glucose_segments, glucose_windows, split_by_time

# ---------------------------------------------------------------------- LSTM or GRU, fairly


@pytest.mark.parametrize("task", SIZES)
def test_wider_arms_have_the_parameters_of_the_lstm(task):
    networks = {name: Network(arm, SIZES[task]) for name, arm in ARMS.items()}
    lstm = networks["LSTM"]
    for name, network in networks.items():
        arm, H = ARMS[name], network.recurrent.hidden_size
        assert network.size == lstm_or_gru.parameters(arm.kind, H, SIZES[task]), name
        if arm.wider:
            one_more = lstm_or_gru.parameters(arm.kind, H + 1, SIZES[task])
            one_less = lstm_or_gru.parameters(arm.kind, H - 1, SIZES[task])
            assert one_less < lstm.size < one_more and abs(network.size / lstm.size - 1) < 0.015
        else:
            assert lstm.recurrent.hidden_size == H


def test_only_one_arm_has_another_forget_bias():
    H = SIZES["adding"].H
    for name, arm in ARMS.items():
        if arm.kind != "LSTM":
            continue
        layer = Network(arm, SIZES["adding"]).recurrent
        bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach()
        forget = bias[H : 2 * H]
        if name == "LSTM, forget bias 1":
            assert torch.equal(forget, torch.ones(H))
        else:
            assert forget.abs().max() <= 2 / math.sqrt(H)
        assert torch.cat([bias[:H], bias[2 * H :]]).abs().max() <= 2 / math.sqrt(H)


def test_adding_stops_when_solved_and_only_then(monkeypatch):
    monkeypatch.setattr(lstm_or_gru, "LENGTH", 2)
    figures = lstm_or_gru.adding(Network(ARMS["GRU"], SIZES["adding"]), seed=3, rate=0.03)
    assert figures["solved"] == 1 and figures["error"] < 2 / 60
    assert figures["updates"] % lstm_or_gru.TRIED_EVERY == 0 and figures["updates"] < 1000
    monkeypatch.setattr(lstm_or_gru, "UPDATES", 60)
    figures = lstm_or_gru.adding(Network(ARMS["GRU"], SIZES["adding"]), seed=3, rate=1e-9)
    assert figures["solved"] == 0 and figures["updates"] == 60 and figures["error"] > 1 / 60


def test_all_arms_of_a_seed_see_the_same_batches(monkeypatch):
    monkeypatch.setattr(lstm_or_gru, "LENGTH", 4)
    monkeypatch.setattr(lstm_or_gru, "UPDATES", 3)
    monkeypatch.setattr(lstm_or_gru, "GLUCOSE_UPDATES", 3)
    monkeypatch.setattr(lstm_or_gru, "windows", lambda _: (torch.rand(24, 99), torch.rand(12, 99)))
    for task, train in (("adding", lstm_or_gru.adding), ("glucose", lstm_or_gru.glucose)):
        seen = []
        for name, seed in (("GRU", 3), ("LSTM", 3), ("LSTM", 4)):
            network, inputs = Network(ARMS[name], SIZES[task]), []
            network.register_forward_pre_hook(lambda _, given, all=inputs: all.append(given[0]))
            torch.manual_seed(0)
            train(network, seed=seed, rate=0.01)
            seen.append(torch.cat(inputs[:3], dim=1))
        assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])


def test_characters_are_learned_from_training_years_alone(monkeypatch):
    corpus = load_texts()
    read = []
    monkeypatch.setattr(lstm_or_gru, "CHARACTERS", 16 * 32 * 3 + 1)
    monkeypatch.setattr(lstm_or_gru, "bits_per_character", lambda model, ids: float(len(ids)))
    network = Network(ARMS["LSTM"], SIZES["characters"])
    network.register_forward_pre_hook(lambda _, given: read.append(given))
    figures = lstm_or_gru.characters(network, seed=0, rate=0.01)
    stream = torch.cat([x[:, 0] for x, _ in read])
    assert torch.equal(stream, corpus.training[: len(stream)])
    assert read[0][1] is None and all(state is not None for _, state in read[1:])
    assert not any(part.requires_grad for _, state in read[1:] for part in state)
    assert figures == {"bits": len(corpus.test), "bits_validation": len(corpus.validation)}


def test_bits_of_a_model_that_guesses():
    network = Network(ARMS["GRU"], SIZES["characters"])
    nn.init.zeros_(network.readout.weight)
    nn.init.zeros_(network.readout.bias)
    ids = torch.randint(84, (6000,), generator=Generator().manual_seed(0))
    assert lstm_or_gru.bits_per_character(network, ids) == pytest.approx(math.log2(84), abs=1e-5)


def test_glucose_is_scored_in_milligrams_against_the_right_readings(monkeypatch):
    monkeypatch.setattr(lstm_or_gru, "GLUCOSE_UPDATES", 10)
    network = Network(ARMS["RNN"], SIZES["glucose"])
    nn.init.zeros_(network.readout.weight)
    nn.init.zeros_(network.readout.bias)
    figures = lstm_or_gru.glucose(network, seed=0, rate=1e-12)  # stays: no change is forecast
    split = split_by_time(glucose_segments())
    for name, part in (("rmse", split.test), ("rmse_validation", split.validation)):
        x, d = glucose_windows(part, 24, 12)
        assert figures[name] == pytest.approx(np.sqrt(np.mean((d - x[:, -1:]) ** 2)), rel=1e-4)
        if name == "rmse":
            last = np.sqrt(np.mean((d[:, 11] - x[:, -1]) ** 2))
            assert figures["rmse_last"] == pytest.approx(last, rel=1e-4)


def test_every_arm_of_the_record_has_a_rate_and_fresh_seeds():
    assert set(RATES) <= set(itertools.product(SIZES, ARMS)) and min(RATES.values()) > 0
    assert min(lstm_or_gru.SEEDS) > 4 and len(lstm_or_gru.SEEDS) >= 10
    assert {task for task, _ in RATES} == set(SIZES)


# ---------------------------------------------------------------------- the trained character LSTM


def test_the_trained_character_lstm_is_as_good_as_its_figures_say():
    manifest = records.load_weights("character_lstm")[1]
    ids = load_texts().test[:30_000]
    model = character_lstm.load()
    bits = character_lstm.bits_per_character(model, ids)
    assert abs(bits - manifest["figures"]["bits"]) < 0.1 and manifest["bytes"] < 3 * 2**20
    x = ids[:40, None]
    scores, (h, c) = model(x)
    state = None
    for x_t, expected in zip(x, scores, strict=True):
        y, state = model.step(x_t, state)
        torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat([h, c]), torch.cat(state), atol=1e-4, rtol=1e-4)


def test_weights_are_learned_from_training_years_alone(monkeypatch):
    learned, tried = [], []
    monkeypatch.setattr(character_lstm, "learn", lambda model, ids, *_: learned.append(ids))
    monkeypatch.setattr(
        character_lstm, "bits_per_character", lambda model, ids: tried.append(ids) or 0.0
    )
    character_lstm.train()
    corpus = load_texts()
    assert len(learned) == 1 and torch.equal(learned[0], corpus.training)
    assert [len(ids) for ids in tried] == [200_000, len(corpus.validation), len(corpus.test)]


def test_learning_lowers_the_loss_and_carries_the_state():
    torch.manual_seed(0)
    model = character_lstm.CharacterLSTM(4, 8, 16)
    ids = torch.arange(32 * 64 * 4 + 1) % 4
    states = []
    hook = model.register_forward_pre_hook(lambda _, given: states.append(given[1]))
    character_lstm.learn(model, ids, passes=12, peak_rate=0.05)
    hook.remove()
    assert [state is None for state in states] == [True, False, False, False] * 12
    assert character_lstm.bits_per_character(model, ids) < 0.5  # 2 bits without learning


# ---------------------------------------------------------------------- named units

SENTENCES = 'In 1904, he said: "Go".\nYes, so.'


def test_features_say_where_a_character_stands():
    found = named_units.features(SENTENCES)
    assert len(found) == 12

    def marked(name: str) -> str:
        return "".join(c for c, yes in zip(SENTENCES, found[name], strict=True) if yes)

    assert marked("inside a capitalised word") == "InGoYes"
    assert marked("inside a number") == "1904"
    assert marked("inside quotation marks") == '"Go'
    assert marked("a comma came in this sentence") == ', he said: "Go", so'
    assert marked("first sentence of a paragraph") == 'In 1904, he said: "Go"' + "\nYes, so"
    assert marked("this character is a vowel") == "Ieaioeo"
    assert marked("this character is a blank").count(" ") == 5
    letters = found["letters of this word so far"]
    assert letters[:9].tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0] and letters.max() == 4
    words = found["words of this sentence so far"]
    assert words[:3].tolist() == [1, 1, 1] and words[SENTENCES.index("Go")] == 4
    assert words[SENTENCES.index("so")] == 2 and words[-1] == 0
    since = np.expm1(found["characters since a comma or stop (log)"])
    assert since[SENTENCES.index(",")] == 0 and round(since[SENTENCES.index("said")]) == 5
    paragraph = np.expm1(found["characters of this paragraph (log)"])
    assert paragraph[SENTENCES.index("\n")] == 0 and round(paragraph[-1]) == 8
    sentence = np.expm1(found["characters of this sentence (log)"])
    assert round(sentence[SENTENCES.index("1904")]) == 4 and sentence[-1] == 0


def test_a_new_line_ends_a_sentence_without_a_stop():
    found = named_units.features("To Congress\nWe met, so")
    assert (
        found["words of this sentence so far"].tolist()
        == [1] * 3 + [2] * 8 + [0] + [1] * 3 + [2] * 5 + [3] * 2
    )
    assert np.expm1(found["characters of this sentence (log)"])[-1] == pytest.approx(10)
    assert found["a comma came in this sentence"].sum() == 4


def test_features_know_nothing_of_what_comes():
    whole = named_units.features(SENTENCES * 2)
    for end in (1, 5, 20, len(SENTENCES) + 3):
        for name, values in named_units.features((SENTENCES * 2)[:end]).items():
            assert values.tolist() == whole[name][:end].tolist(), name


def small_model() -> character_lstm.CharacterLSTM:
    torch.manual_seed(0)
    return character_lstm.CharacterLSTM(5, 3, 6)


def test_watching_gives_the_states_of_the_layer_itself():
    model, ids = small_model(), torch.randint(5, (83,), generator=Generator().manual_seed(1))
    seen = named_units.watch(model, ids, "ifgoch", streams=4, warm_up=3)
    x = ids[:80].view(4, 20).T
    h, (_, c) = model.lstm(model.embedding(x))
    torch.testing.assert_close(seen.states["h"].view(17, 4, 6), h[3:].detach())
    torch.testing.assert_close(seen.states["c"].view(17, 4, 6)[-1], c[0].detach())
    assert torch.equal(ids[seen.places].view(17, 4), x[3:])
    s = {name: values.view(17, 4, 6) for name, values in seen.states.items()}
    torch.testing.assert_close(s["c"][1:], s["f"][1:] * s["c"][:-1] + s["i"][1:] * s["g"][1:])
    torch.testing.assert_close(s["h"], s["o"] * s["c"].tanh())


def test_a_clamped_cell_stays_and_acts_on_the_others():
    model, ids = small_model(), torch.randint(5, (80,), generator=Generator().manual_seed(1))
    free = named_units.watch(model, ids, "c", 4, 0).states["c"]
    seen = named_units.watch(model, ids, "coh", 4, 0, clamp=(2, 1.5)).states
    held = seen["c"]
    torch.testing.assert_close(seen["h"][:, 2], seen["o"][:, 2] * math.tanh(1.5))
    assert (held[:, 2] == 1.5).all() and not torch.allclose(held[8:, 0], free[8:, 0], atol=1e-4)
    assert torch.equal(held[:4, [0, 1, 3, 4, 5]], free[:4, [0, 1, 3, 4, 5]])


def test_holding_a_cell_costs_what_the_layer_itself_says():
    torch.manual_seed(0)
    vocabulary = text.CharacterVocabulary("abcde")
    ids = torch.randint(5, (6401,), generator=Generator().manual_seed(1))
    corpus, model = Texts(vocabulary, ids, ids, ids), small_model()
    nn.init.normal_(model.readout.weight, std=5.0)
    free = named_units.bits_when_held(model, corpus, read=6400)
    with torch.no_grad():
        x, targets = (part.view(64, 100).T for part in (ids[:-1], ids[1:]))
        scores, _ = model(x)
        nats = nn.functional.cross_entropy(scores[20:].flatten(0, 1), targets[20:].flatten())
    assert free == pytest.approx(float(nats) / math.log(2), abs=1e-5)
    assert abs(named_units.bits_when_held(model, corpus, (2, 3.0), read=6400) - free) > 0.01


def test_correlations_and_areas_are_those_of_the_textbook():
    generator = Generator().manual_seed(0)
    a, b = torch.randn(50, 3, generator=generator), torch.randn(50, 2, generator=generator)
    b[:, 0] += a[:, 1]
    expected = np.corrcoef(a.numpy().T, b.numpy().T)[:3, 3:]
    np.testing.assert_allclose(named_units.correlations(a, b.double()), expected, atol=1e-6)
    assert named_units.correlations(torch.ones(50, 1), b.double()).tolist() == [[0, 0]]
    yes = b[:, 0] > 0.3
    pairs = [float(p > n) for p in a[yes, 1] for n in a[~yes, 1]]
    assert named_units.area_under_curve(a[:, 1], yes) == pytest.approx(np.mean(pairs))


def corpus_of_sentences() -> Texts:
    vocabulary = text.CharacterVocabulary(SENTENCES)
    generator = np.random.default_rng(0)
    words = ["in ", "he ", "said ", "Yes ", "so, ", "Go. "]
    parts = ["".join(generator.choice(words, 4000)).replace("i", "I") for _ in range(3)]
    parts = ["".join(c for c in part if c in vocabulary.characters) for part in parts]
    return Texts(vocabulary, *(vocabulary.encode(part) for part in parts))


def test_a_planted_unit_is_found_and_a_shifted_feature_loses_it(monkeypatch):
    corpus, watch = corpus_of_sentences(), named_units.watch
    readers = iter([corpus.validation, corpus.test] * 2)

    def planted(model, ids):
        assert torch.equal(ids, next(readers)[: len(ids)])  # search on one text, confirm on another
        seen = watch(model, ids, "ch", 8, 10)
        described = named_units.features(corpus.vocabulary.decode(ids))
        letters = torch.from_numpy(described["letters of this word so far"])[seen.places]
        noise = torch.randn(len(letters), generator=Generator().manual_seed(0))
        seen.states["h"][:, 4] = (0.5 - letters + 0.1 * noise).float()
        if torch.equal(ids, corpus.test[: len(ids)]):  # perfect, but on the wrong text
            seen.states["h"][:, 2] = letters.float()
        return seen

    monkeypatch.setattr(named_units, "watch", planted)
    torch.manual_seed(0)
    model = character_lstm.CharacterLSTM(corpus.vocabulary.size, 3, 6)
    best = named_units.search(model, corpus, characters=8000)[0]
    assert (best.feature, best.state, best.unit) == ("letters of this word so far", "h", 4)
    assert best.searched < -0.98 and best.confirmed < -0.98
    shifted = named_units.search(model, corpus, shift_seed=0, characters=8000)[0]
    assert abs(shifted.confirmed) < 0.2
