"""The experiments on gates that start open, and on the lags that gated networks bridge."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from experiments import gate_bias, gated_horizon
from experiments.gated_horizon import GatedReader, open_gates
from experiments.memory_horizon import FAMILIES, Problem
from rnnlib.layers import GRU, LSTM


def effective(layer: nn.RNNBase) -> torch.Tensor:
    """Sum torch's two biases: (blocks, H)."""
    biases = dict(layer.named_parameters())
    return (biases["bias_ih_l0"] + biases["bias_hh_l0"]).detach().view(-1, layer.hidden_size)


@pytest.mark.parametrize(
    ("cell", "start", "block", "value"),
    [
        (LSTM, "bias 1", 1, 1.0),
        (LSTM, "bias 3", 1, 3.0),
        (LSTM, "both vectors 1", 1, 2.0),
        (GRU, "bias 3", 1, 3.0),
        (GRU, "reset bias 3", 0, 3.0),
    ],
)
def test_a_start_sets_one_gate_and_nothing_else(cell, start, block, value):
    layer = cell(2, 4)
    before = effective(layer)
    open_gates(layer, start, 50)
    after = effective(layer)
    torch.testing.assert_close(after[block], torch.full((4,), value))
    rest = [b for b in range(len(after)) if b != block]
    assert torch.equal(after[rest], before[rest])


def test_the_default_start_leaves_torchs_biases_and_chrono_fits_the_length():
    layer = LSTM(2, 500)
    before = effective(layer)
    open_gates(layer, "default", 50)
    assert torch.equal(effective(layer), before)
    open_gates(layer, "chrono", 50)
    times = 1 / (1 - effective(layer)[1].double().sigmoid())
    assert 45 < times.max() < 50.001 and times.min() < 5


@pytest.mark.parametrize("start", ["", "bias", "biases 1", "both vectors 2", "Chrono"])
def test_an_unknown_start_is_refused(start):
    with pytest.raises(ValueError, match="start: expected"):
        open_gates(LSTM(2, 2), start, 50)


@pytest.mark.parametrize("task", FAMILIES)
@pytest.mark.parametrize("cell", gated_horizon.LAYERS)
def test_a_reader_answers_from_its_last_state(task, cell):
    problem = Problem(FAMILIES[task], 12)
    model = GatedReader(problem, cell, "bias 1")
    x, _ = problem.draw(3, torch.Generator().manual_seed(0))
    h = model.recurrent(x)[0]
    assert isinstance(model.recurrent, gated_horizon.LAYERS[cell])
    assert h.shape == (12, 3, problem.family.hidden_size)
    torch.testing.assert_close(model(x), model.output(h[-1]))
    assert model(x).shape == (3, 1 if task == "adding" else int(problem.family.task(12).classes))


def test_a_latch_that_is_solved_stops_there():
    found = gate_bias.run(0, "LSTM", "bias 3", 12)
    assert found["solved"] == 1
    assert found["updates"] < 3000
    assert found["error"] < 0.02
    assert 0.05 < found["ratio_before"] < 20
    tried = int(found["updates"]) // 100
    assert found["curve"][tried - 1] < 0.01
    assert len(found["curve"]) == 30 and all(math.isnan(value) for value in found["curve"][tried:])


def test_a_latch_that_is_not_solved_says_so():
    found = gate_bias.run(0, "LSTM", "default", 50, updates=2)
    assert (found["solved"], found["updates"]) == (0, 2)
    assert 0.4 < found["error"] < 0.6
    assert 1e-12 < found["ratio_before"] < 1e-7


@pytest.mark.parametrize("cell", gate_bias.LEARNING_RATES)
def test_the_optimiser_is_adam_at_the_rate_of_the_cell_with_clipping_at_one(monkeypatch, cell):
    seen = {}

    def note(model, batches, loss_of, optimizer, **named):
        seen.update(named, optimizer=optimizer)
        return train(model, batches, loss_of, optimizer, **named)

    train = gated_horizon.train
    monkeypatch.setattr(gated_horizon, "train", note)
    gate_bias.run(4, cell, "chrono", 10, updates=1)
    assert isinstance(seen["optimizer"], torch.optim.Adam)
    assert seen["optimizer"].param_groups[0]["lr"] == gate_bias.LEARNING_RATES[cell]
    assert (seen["clip"], seen["seed"]) == (1.0, 1004)


def test_a_run_that_diverges_is_not_solved(monkeypatch):
    monkeypatch.setattr(gated_horizon, "CLIP", 1e30)
    problem = Problem(FAMILIES["adding"], 10)
    found = gated_horizon.fit(0, problem, "LSTM", "default", 1e30, 20)
    assert found["solved"] == 0
    assert found["updates"] < 20
    assert found["error"] == math.inf
    assert math.isnan(found["ratio_after"])


def test_settings_are_those_the_chapters_compare_and_seeds_are_fresh():
    keys = {tuple(setting.values()) for setting in gate_bias.SETTINGS}
    assert len(keys) == len(gate_bias.SETTINGS)
    assert ("LSTM", "default", 50) in keys and ("GRU", "reset bias 3", 50) in keys
    assert not set(gate_bias.SEEDS) & {0, 1, 2}


def test_each_run_has_the_rate_of_its_task_and_start(monkeypatch):
    asked = []
    monkeypatch.setattr(gated_horizon, "fit", lambda *arguments: asked.append(arguments))
    for setting in gated_horizon.SETTINGS:
        gated_horizon.run(7, **setting)
        seed, problem, cell, start, rate, updates = asked.pop()
        assert (seed, cell, start, updates) == (7, setting["cell"], setting["start"], 3000)
        assert problem == Problem(FAMILIES[setting["task"]], setting["length"])
        assert rate == gated_horizon.LEARNING_RATES[setting["task"], cell, start]
    gated_horizon.run(7, **setting, rate=0.5)
    assert asked.pop()[4] == 0.5
    assert len({tuple(s.values()) for s in gated_horizon.SETTINGS}) == len(gated_horizon.SETTINGS)
    assert 0 not in gated_horizon.SEEDS
