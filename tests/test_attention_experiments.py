"""The experiments on attention: what is asked, what is scored, what a measured number means."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Generator, nn
from torch.nn import functional

from experiments import attention_gradient, character_transformer, norm_depth, positions
from experiments.character_rnn import Texts
from rnnlib.data import text
from rnnlib.transformer import TransformerLanguageModel

# attention_gradient


@pytest.mark.parametrize("place", [None, 2])
def test_the_target_is_the_marked_symbol(place):
    x, targets, places = attention_gradient.batch(7, 50, Generator().manual_seed(0), place)
    assert x.shape == (7, 50, attention_gradient.SYMBOLS + 1)
    assert (x[:, :, -1].sum(0) == 1).all() and (x[:, :, :-1].sum(-1) == 1).all()
    assert (places == 2).all() if place == 2 else len(places.unique()) == 7
    for b in range(50):
        assert x[places[b], b, -1] == 1 and x[places[b], b, targets[b]] == 1


def test_an_untrained_look_shares_the_gradient_out():
    results = attention_gradient.run(0, "attention", 0)
    by_length = results["by_length"]
    assert 0.8 < by_length[-1] * 100 / by_length[0] < 1.25
    assert 0.8 < results["far_to_near"] < 1.25
    assert attention_gradient.run(0, "RNN", 0)["far_to_near"] < 1e-20


def test_a_trained_look_is_measured_at_the_marked_place():
    finder, learned = attention_gradient.train("attention", 0, 10, updates=120)
    assert learned in range(20, 121, 20)
    finder = finder.double().requires_grad_(False)
    found = attention_gradient.tried(finder, 10)
    assert found["accuracy"] > 0.9 and found["gradient"] > 10 * found["gradient_elsewhere"]
    expected = 1 / (1 + 9 * exp(-found["margin"]))  # if all others scored alike
    assert abs(log(found["weight"] / expected)) < 0.3


def test_the_measured_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    finder = attention_gradient.Finder("attention").double().requires_grad_(False)
    steps, step = 6, 1e-6
    x, targets, places = attention_gradient.batch(
        steps, attention_gradient.TESTED, Generator().manual_seed(7)
    )
    x, rows, norms = x.double(), torch.arange(attention_gradient.TESTED), 0.0
    for symbol in range(attention_gradient.SYMBOLS):
        moved = x.clone()
        moved[places, rows, symbol] += step
        change = (finder(moved)[0] - finder(x)[0])[rows, targets] / step
        norms = norms + change.square()
    found = attention_gradient.tried(finder, steps)["gradient"]
    assert found == pytest.approx(norms.sqrt().mean().item(), rel=1e-4)


def test_a_network_that_never_learns_says_so():
    _, learned = attention_gradient.train("LSTM", 0, 40, updates=3)
    assert learned == 3 + attention_gradient.TRIED_EVERY


# positions


def test_the_target_came_some_steps_ago():
    ids, targets = positions.batch(9, 4, Generator().manual_seed(0))
    assert targets.shape == (9 - positions.LAG, 4)
    for t in range(positions.LAG, 9):
        assert torch.equal(targets[t - positions.LAG], ids[t - positions.LAG])


def test_the_loss_counts_the_steps_with_a_target():
    class Oracle(nn.Module):
        def forward(self, ids):
            answers = torch.cat([torch.zeros_like(ids[: positions.LAG]), ids[: -positions.LAG]])
            return 50.0 * functional.one_hot(answers, positions.SYMBOLS).float(), None

    ids, targets = positions.batch(9, 4, Generator().manual_seed(0))
    assert positions.loss_of(Oracle(), ids, targets) < 1e-6
    assert positions.loss_of(Oracle(), ids, (targets + 1) % positions.SYMBOLS) > 49


@pytest.mark.parametrize("kind", ["learned", "none"])
def test_a_short_run_reports_every_stretch(kind):
    results = positions.run(0, kind, updates=50)
    assert len(results["by_stretch"]) == positions.TRIED // positions.STRETCH
    assert len(results["curve"]) == 2 and all(0 <= a <= 1 for a in results["by_stretch"])
    beyond = sum(results["by_stretch"][positions.TRAINED // positions.STRETCH :]) / 6
    assert results["beyond"] == pytest.approx(beyond)


# norm_depth


def test_block_gradients_are_those_of_backward():
    torch.manual_seed(0)
    model = TransformerLanguageModel(8, 8, 2, 3)
    ids, targets = positions.batch(6, 4, Generator().manual_seed(0))
    norms = norm_depth.block_gradients(model, positions.loss_of(model, ids, targets))
    positions.loss_of(model, ids, targets).backward()
    for norm, block in zip(norms, model.transformer.blocks, strict=True):
        expected = sum(float(p.grad.square().sum()) for p in block.parameters()) ** 0.5
        assert norm == pytest.approx(expected, rel=1e-4)


def test_the_rate_rises_during_the_warm_up(monkeypatch):
    rates = []

    class Watched(torch.optim.Adam):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    norm_depth.run(0, "pre", 4, updates=6, rate=0.4)
    norm_depth.run(0, "post", 0, updates=2, rate=0.4)
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4])


# character_transformer


def test_as_many_parameters_as_the_recurrent_network():
    size = character_transformer
    model = TransformerLanguageModel(84, size.D_MODEL, size.HEADS, size.LAYERS, size.D_FF)
    parameters = sum(p.numel() for p in model.parameters())
    assert abs(parameters / 60_756 - 1) < 0.02  # the LSTM of lstm_or_gru


@pytest.fixture
def small_texts(monkeypatch):
    ids = torch.randint(4, (3, 4000), generator=Generator().manual_seed(0))
    texts = Texts(text.CharacterVocabulary("abcd"), *ids)
    monkeypatch.setattr(character_transformer, "texts", lambda: texts)
    return texts


def test_every_character_is_scored_once_behind_half_a_window():
    seen = []

    class Uniform(nn.Module):
        def forward(self, ids):
            seen.append(ids)
            return torch.zeros(*ids.shape, 4), None

    ids = torch.arange(200) % 4
    assert character_transformer.bits_per_character(Uniform(), ids, 16) == pytest.approx(2.0)
    starts = torch.cat([part[0] for part in seen], dim=0)
    assert seen[0].shape[0] == 16 and len(starts) == (200 - 17) // 8 + 1

    class Next(Uniform):
        def forward(self, ids):
            right = functional.one_hot((ids + 1) % 4, 4).float()
            right[: len(ids) // 2] *= -1  # the first half would be all wrong
            return 50.0 * right, None

    assert character_transformer.bits_per_character(Next(), ids, 16) < 1e-6


def test_a_head_is_taken_away_and_given_back(small_texts):
    torch.manual_seed(0)
    model = TransformerLanguageModel(4, 8, character_transformer.HEADS, 2)
    before = [p.clone() for p in model.parameters()]
    whole = character_transformer.bits_per_character(model, small_texts.test, 16)
    without = [
        character_transformer.bits_without_head(model, small_texts.test, 16, layer, head)
        for layer in range(2)
        for head in range(character_transformer.HEADS)
    ]
    assert len({round(bits, 6) for bits in [whole, *without]}) == 9
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new)


def test_training_reads_the_text_once(small_texts):
    model = character_transformer.train(0, 32, "rotary", d_model=16, d_ff=16, characters=2048)
    bits = character_transformer.bits_per_character(model, small_texts.test, 32)
    assert 1.9 < bits < 2.8  # random letters: two bits at best
