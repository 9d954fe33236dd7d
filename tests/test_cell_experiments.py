"""The experiments on the LSTM's parts and on counting: what is taken away, and what is counted."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from experiments import counting, counting_more, lstm_ablations, lstm_ablations_adding
from rnnlib.data.synthetic import CountAB, ResettableSum


@pytest.mark.parametrize("cell", lstm_ablations.LEARNING_RATES)
def test_the_bias_of_one_is_the_forget_gates_and_no_others(cell):
    H = 3
    torch.manual_seed(0)
    model = lstm_ablations.Network(cell, H=H)
    ones = (model.layer.b_ih == lstm_ablations.FORGET_BIAS).nonzero()[:, 0]
    if "no_forget" in cell or "1997" in cell:
        assert len(ones) == 0
        return
    assert len(ones) == H
    for bias, kept in ((50.0, 1.0), (-50.0, 0.0)):
        with torch.no_grad():
            for parameter in model.layer.parameters():
                parameter.zero_()
            model.layer.b_ih[ones] = bias
        c = torch.full((1, H), 0.3, requires_grad=True)
        _, (_, after) = model.layer.step(torch.zeros(1, 2), (torch.zeros(1, H), c))
        (slope,) = torch.autograd.grad(after.sum(), c)
        torch.testing.assert_close(slope, torch.full((1, H), kept))


@pytest.mark.parametrize("cell", lstm_ablations.LEARNING_RATES)
def test_watching_a_network_changes_no_answer(cell):
    torch.manual_seed(0)
    model = lstm_ablations.Network(cell)
    x = torch.randn(7, 4, 2)
    y, c = model.watched(x)
    torch.testing.assert_close(y, model(x))
    torch.testing.assert_close(c[-1], model.layer(x)[1][1])
    assert c.shape == (7, 4, lstm_ablations.HIDDEN_SIZE)


def test_the_answer_0_has_error_1(monkeypatch):
    def silent(seed, cell, updates):
        model = lstm_ablations.Network(cell)
        nn.init.zeros_(model.readout.weight)
        nn.init.zeros_(model.readout.bias)
        return model

    monkeypatch.setattr(lstm_ablations, "trained", silent)
    results = lstm_ablations.run(0, "lstm")
    assert results["error"] == pytest.approx(1, abs=0.05)
    assert results["error_trained"] == pytest.approx(1, abs=0.1)
    assert len(results["error_by_block"]) == 10
    assert sum(results["error_by_block"][1:]) / 9 == pytest.approx(1, abs=0.05)
    assert results["error_by_block"][0] < 0.8  # the sum has not spread yet
    assert results["parameters"] == 4 * 16 * (2 + 16 + 1) + 17


@pytest.mark.parametrize("cell", ["lstm_no_forget_gate", "lstm_1997"])
def test_slope_and_growth_are_those_of_a_cell_that_only_adds(cell, monkeypatch):
    def adding(seed, cell, updates):
        model = lstm_ablations.Network(cell, H=16)
        with torch.no_grad():
            for parameter in model.layer.parameters():
                parameter.zero_()
            model.layer.b_ih[:16] = 50  # i = 1
            # the candidate is 0.01: tanh(a), or 4 sigmoid(a) - 2 = 2 tanh(a / 2)
            bias = math.atanh(0.01) if cell != "lstm_1997" else 2 * math.atanh(0.005)
            model.layer.b_ih[16:32] = bias
        return model

    monkeypatch.setattr(lstm_ablations, "trained", adding)
    results = lstm_ablations.run(0, cell)
    steps = torch.arange(1, 301).reshape(10, 30).double()
    c = 0.01 * steps
    assert results["cell_by_block"] == pytest.approx(c.mean(1).tolist(), rel=1e-4)
    assert results["cell_growth"] == pytest.approx(285.5 / 15.5, rel=1e-4)
    c.requires_grad_()
    h = torch.tanh(c) if cell != "lstm_1997" else 2 * torch.sigmoid(c) - 1
    (slope,) = torch.autograd.grad(h.sum(), c)
    assert results["slope_by_block"] == pytest.approx(slope.mean(1).tolist(), rel=1e-4)


def test_a_short_ablation_learns_and_is_repeatable():
    results = [lstm_ablations.run(0, "lstm_coupled", updates=60) for _ in range(2)]
    assert results[0] == results[1]
    assert results[0]["error_trained"] < 0.7


def test_adding_answers_after_the_last_step_and_says_when_nothing_was_learnt():
    torch.manual_seed(0)
    model = lstm_ablations.Network("lstm")
    x = torch.randn(5, 3, 2)
    answer = model(x)[-1]
    assert lstm_ablations_adding.error_of(model, (x, answer)).item() == 0
    assert lstm_ablations_adding.error_of(model, (x, answer + 2)).item() == pytest.approx(4)
    result = lstm_ablations_adding.run(0, "lstm", updates=2)
    assert result["updates"] == math.inf
    assert 0.5 < result["error"] < 10


def test_adding_stops_when_it_is_solved(monkeypatch):
    monkeypatch.setattr(lstm_ablations_adding, "SOLVED_BELOW", 100.0)
    assert lstm_ablations_adding.run(0, "lstm_1997", updates=60)["updates"] == 50


def hand_set(scale: float) -> counting.Counter:
    """Count in unit 0: +1 at an a, -1 at a b; all gates as open as `scale` makes them."""
    model = counting.Counter("LSTM", 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        i, f, g, o = (block * counting.HIDDEN_SIZE for block in range(4))
        model.recurrent.bias_ih_l0[[i, f, o]] = scale
        model.recurrent.weight_ih_l0[g, 1], model.recurrent.weight_ih_l0[g, 2] = scale, -scale
        model.readout.weight[2, 0], model.readout.bias[0] = 1.0, 0.5
    return model


@pytest.mark.parametrize(("scale", "longest"), [(50.0, 120), (5.0, 8), (10.0, 99)])
def test_a_counter_set_by_hand_counts_as_far_as_its_gates_stay_open(scale, longest):
    write = CountAB(1).sequences
    assert counting.longest_count(hand_set(scale), write, limit=120) == longest


def test_states_are_the_cell_and_steps_are_its_moves():
    model = hand_set(50.0)
    x, _ = CountAB(1).sequences([5])
    assert model.states(x)[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0]
    assert counting.largest_steps(model, "a^n b^n") == [1.0] * len(counting.STEPS_AT)
    torch.manual_seed(0)
    gru = counting.Counter("GRU", 3)
    torch.testing.assert_close(gru.readout(gru.states(x)), gru(x))
    states = gru.states(torch.tensor([[0], [1], [1], [1]]))[:, 0]  # after the start, a, aa, aaa
    moved = (states[2:] - states[1:-1]).abs().amax(1)
    steps = counting.largest_steps(gru, "a^n b^n")
    assert steps[:2] == pytest.approx(moved.tolist(), rel=1e-5)
    assert abs(steps[0] - steps[1]) > 0.01 * steps[0]


@pytest.mark.parametrize("first_wrong", [1, 50, 51, 73, 131])
def test_longest_count_is_the_last_before_the_first_mistake(first_wrong):
    class Mistaken:
        def right(self, x, d):
            n = (x == 1).sum(0)
            return ((n != first_wrong) & (n != first_wrong + 9)).expand(len(x), -1)

    write = CountAB(1).sequences
    assert counting.longest_count(Mistaken(), write, limit=130) == first_wrong - 1


def test_nests_open_close_and_say_when_nothing_is_open():
    x, d = counting.nests([1, 3])
    assert x[:2, 0].tolist() == [0, 1] and d[:, 0].tolist() == [1, 0, -100, -100, -100, -100]
    assert x[:, 1].tolist() == [0, 0, 0, 1, 1, 1] and d[:, 1].tolist() == [1, 1, 1, 1, 1, 0]


def test_relu_starts_from_the_identity_and_unknown_layers_are_refused():
    assert torch.equal(counting.Counter("relu", 3).recurrent.weight_hh_l0, torch.eye(10))
    assert counting.Counter("tanh", 3).recurrent.nonlinearity == "tanh"
    with pytest.raises(ValueError, match="layer"):
        counting.Counter("lstm", 3)


def test_short_counting_is_repeatable_and_its_rate_falls(monkeypatch):
    rates, train = [], counting.train

    def watched(*arguments, **more):
        history = train(*arguments, **more)
        rates.append(history.learning_rates)
        return history

    monkeypatch.setattr(counting, "train", watched)
    results = [counting.run(0, "Dyck-1", "GRU", updates=20) for _ in range(2)]
    assert results[0] == results[1]
    assert counting_more.run(0, "Dyck-1", "GRU", updates=20) == results[0]
    assert len(results[0]["accuracy"]) == len(results[0]["perfect"]) == 2
    assert rates[0][0] == counting.HIGHEST_RATE
    assert rates[0][-1] == pytest.approx(counting.LOWEST_RATE, rel=1)
    assert rates[0] == sorted(rates[0], reverse=True)


def test_task_baselines_are_what_errors_are_divided_by():
    assert ResettableSum(300).baseline < 1 / 1.2 < 1.05 * ResettableSum(300).baseline
