"""The experiments on memory horizons and on clipping, and the initial weights that they use."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

import rnnlib
from experiments import clipping, latch_watched, memory_horizon, optimiser_arms
from experiments.memory_horizon import FAMILIES, Problem, Reader
from rnnlib.checks import InputError
from rnnlib.initialisation import initialise_recurrent

ALL_LAYERS = [
    kind(3, 5, num_layers=2, bidirectional=True)
    for kind in (rnnlib.RNN, rnnlib.GRU, rnnlib.LSTM, nn.RNN, nn.GRU, nn.LSTM)
]


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def blocks(layer: nn.RNNBase) -> list[torch.Tensor]:
    """Cut the recurrent weights into their (H, H) matrices, in another way than the library."""
    H = layer.hidden_size
    stacked = [layer.get_parameter(f"weight_hh_l{k}{d}") for k in (0, 1) for d in ("", "_reverse")]
    return [m for w in stacked for m in w.detach().double().view(-1, H, H)]


# ------------------------------------------------------------------------------- initial weights


@pytest.mark.parametrize("layer", ALL_LAYERS, ids=lambda layer: repr(type(layer)))
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_orthogonal_and_identity_are_exact_in_every_gate_layer_and_direction(layer, scale):
    gates = {"R": 1, "G": 3, "L": 4}[type(layer).__name__[0]]
    inputs = layer.weight_ih_l0.detach().clone()
    eye = torch.eye(5, dtype=torch.float64)
    assert initialise_recurrent(layer, "orthogonal", scale, seeded()) is layer
    drawn = blocks(layer)
    assert len(drawn) == 4 * gates
    for W in drawn:
        torch.testing.assert_close(W @ W.T, scale**2 * eye, atol=1e-6, rtol=0)
    for one, other in itertools.pairwise(drawn):
        assert (one - other).abs().max() > 0.01 * scale
    assert all(not b.any() for name, b in layer.named_parameters() if name.startswith("bias"))
    initialise_recurrent(layer, "identity", scale)
    for W in blocks(layer):
        torch.testing.assert_close(W, scale * eye, atol=1e-7, rtol=0)
    assert torch.equal(layer.weight_ih_l0, inputs)


def test_default_is_torchs_own_drawing():
    layer = initialise_recurrent(rnnlib.LSTM(3, 5), "identity")
    torch.manual_seed(4)
    initialise_recurrent(layer, "default")
    torch.manual_seed(4)
    layer_of_torch = nn.LSTM(3, 5)
    torch.manual_seed(4)
    layer_of_torch.reset_parameters()
    for ours, theirs in zip(layer.parameters(), layer_of_torch.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("scheme", ["default", "orthogonal"])
def test_a_generator_decides_the_drawing_and_nothing_else_does(scheme):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (rnnlib.RNN(2, 4) for _ in range(3))
    torch.set_rng_state(state)
    initialise_recurrent(first, scheme, generator=seeded(7))
    assert torch.equal(torch.get_rng_state(), state)
    initialise_recurrent(again, scheme, generator=seeded(7))
    initialise_recurrent(other, scheme, generator=seeded(8))
    assert torch.equal(first.weight_hh_l0, again.weight_hh_l0)
    assert not torch.equal(first.weight_hh_l0, other.weight_hh_l0)


def test_scale_multiplies_the_recurrent_matrix_alone():
    one = initialise_recurrent(rnnlib.RNN(2, 4), "default", generator=seeded())
    half = initialise_recurrent(rnnlib.RNN(2, 4), "default", 0.5, seeded())
    assert torch.equal(half.weight_hh_l0, 0.5 * one.weight_hh_l0)
    assert torch.equal(half.weight_ih_l0, one.weight_ih_l0)
    assert torch.equal(half.bias_hh_l0, one.bias_hh_l0)


def test_a_layer_without_biases_and_in_training_can_be_set():
    layer = initialise_recurrent(rnnlib.RNN(2, 4, bias=False), "identity")
    assert layer.weight_hh_l0.requires_grad
    h, _ = layer(torch.zeros(3, 1, 2), torch.full((1, 1, 4), 0.1))
    h.sum().backward()
    assert layer.weight_hh_l0.grad is not None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((nn.Linear(2, 2), "identity"), TypeError, "layer must be an RNN.*got Linear"),
        ((nn.RNN(2, 2), "unit"), InputError, "scheme must be one of 'default'.*got 'unit'"),
        ((nn.RNN(2, 2), "identity", 0.0), InputError, "scale must be positive and finite; got 0"),
        ((nn.RNN(2, 2), "identity", -1), InputError, "scale must be positive.*got -1"),
        ((nn.RNN(2, 2), "identity", math.nan), InputError, "scale must be positive.*got nan"),
        ((nn.RNN(2, 2), "identity", math.inf), InputError, "scale must be positive.*got inf"),
        ((nn.RNN(2, 2), "identity", "1"), TypeError, "scale must be a number; got '1'"),
        ((nn.RNN(2, 2), "identity", True), TypeError, "scale must be a number; got True"),
        ((nn.LSTM(2, 3, proj_size=2), "identity"), InputError, "layer must.*proj_size=2"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        initialise_recurrent(*arguments)


# -------------------------------------------------------------------------------- memory horizon


def test_each_kind_of_weights_is_what_it_is_called():
    torch.manual_seed(0)
    eye = torch.eye(8)
    default, orthogonal, identity = (
        Reader(2, 8, 1, kind).recurrent for kind in ("default", "orthogonal", "identity")
    )
    assert default.nonlinearity == orthogonal.nonlinearity == "tanh"
    assert identity.nonlinearity == "relu"
    assert torch.equal(identity.weight_hh_l0, eye)
    W = orthogonal.weight_hh_l0
    torch.testing.assert_close(W @ W.T, eye, atol=1e-5, rtol=0)
    assert default.weight_hh_l0.abs().max() <= 1 / math.sqrt(8)
    assert default.bias_ih_l0.any()


@pytest.mark.parametrize("task", FAMILIES)
def test_the_answer_is_in_the_inputs_and_errors_are_counted_right(task):
    problem = Problem(FAMILIES[task], 12)
    x, d = problem.draw(200, seeded())
    assert x.shape[:2] == (12, 200)
    assert x.dtype == torch.float32
    if task == "adding":
        y = (x[..., 0] * x[..., 1]).sum(0)[:, None]
        constant, expected = torch.ones(200, 1), float(((1 - d) ** 2).mean())
    else:
        assert torch.equal(x.sum(2), torch.ones(12, 200))
        tokens = x.argmax(2)
        if task == "latch":
            classes = tokens[0]
        else:
            signals = tokens.T[tokens.T >= 4].view(200, 2) - 4
            classes = 2 * signals[:, 0] + signals[:, 1]
        K = problem.family.task(12).classes
        y = nn.functional.one_hot(classes, K).float() * 50
        constant, expected = torch.eye(K)[:1].expand(200, K), float((d != 0).double().mean())
    assert memory_horizon.error_of(lambda _: y, (x, d)) == pytest.approx(0, abs=1e-6)
    assert float(memory_horizon.loss_of(lambda _: y, (x, d))) == pytest.approx(0, abs=1e-6)
    assert memory_horizon.error_of(lambda _: constant, (x, d)) == pytest.approx(expected)
    assert expected > 5 * problem.family.solved_below


def test_training_uses_new_sequences_all_the_time():
    batches = Problem(FAMILIES["latch"], 12).batches(seeded())
    assert not torch.equal(next(batches)[0], next(batches)[0])


def test_the_gradient_ratio_compares_the_first_input_with_the_last():
    model = Reader(2, 4, 1, "identity")
    with torch.no_grad():  # h_t = 0.5 h_{t-1} + |x_t|-like sums of positive inputs: relu is open
        model.recurrent.weight_hh_l0.mul_(0.5)
        model.recurrent.weight_ih_l0.fill_(1.0)
    x = torch.rand(6, 3, 2) + 0.1
    assert memory_horizon.gradient_ratio(model, x) == pytest.approx(0.5**5, rel=1e-12)


def test_a_run_that_solves_its_task_stops_there():
    found = memory_horizon.run(0, "latch", "orthogonal", 10)
    assert found["solved"] == 1
    assert found["updates"] < memory_horizon.UPDATES
    assert found["error"] < 0.02
    tried = int(found["updates"]) // memory_horizon.TRIED_EVERY
    assert found["curve"][tried - 1] < FAMILIES["latch"].solved_below
    assert all(math.isnan(value) for value in found["curve"][tried:])
    assert len(found["curve"]) == memory_horizon.UPDATES // memory_horizon.TRIED_EVERY


def test_a_run_that_does_not_solve_it_says_so():
    found = memory_horizon.run(0, "latch", "default", 50, updates=3)
    assert (found["solved"], found["updates"]) == (0, 3)
    assert 0.4 < found["error"] < 0.6
    assert found["ratio_before"] < 1e-5


def test_a_run_that_diverges_is_not_solved(monkeypatch):
    monkeypatch.setattr(memory_horizon, "CLIP", 1e30)
    found = memory_horizon.run(0, "adding", "identity", 100, updates=20, rate=1e6)
    assert found["solved"] == 0
    assert found["updates"] < 20
    assert found["error"] == math.inf


def test_the_gradient_is_clipped_at_one(monkeypatch):
    seen = {}

    def note(*arguments, **named):
        seen.update(named)
        return memory_horizon_train(*arguments, **named)

    memory_horizon_train = memory_horizon.train
    monkeypatch.setattr(memory_horizon, "train", note)
    memory_horizon.run(0, "latch", "default", 10, updates=1)
    assert seen["clip"] == 1.0


def test_settings_cover_every_task_kind_of_weights_and_length_once():
    keys = {(s["task"], s["weights"], s["length"]) for s in memory_horizon.SETTINGS}
    assert len(keys) == len(memory_horizon.SETTINGS) == 3 * 3 * len(memory_horizon.LENGTHS) + 6
    assert not set(memory_horizon.SEEDS) & {0, 1, 2}
    assert not set(clipping.SEEDS) & {0, 1, 2}


# -------------------------------------------------------------------------------------- clipping


def test_shortening_keeps_the_direction():
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    before = [p.grad.clone() for p in model.parameters()]
    norm = clipping.total_norm(model)
    assert norm == pytest.approx(math.sqrt(sum(float((g**2).sum()) for g in before)), rel=1e-6)
    clipping.shorten_gradient(model, 1 / norm)
    assert clipping.total_norm(model) == pytest.approx(1, rel=1e-6)
    for parameter, g in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, g / norm)


def test_an_unclipped_gradient_explodes_and_a_clipped_one_moves_by_the_rate_at_most():
    free = clipping.run(0, "sgd", 0.02, 0.0, updates=20)
    assert (free["finite"], free["error"]) == (0, math.inf)
    assert free["updates"] < 20
    assert math.isnan(free["first_norms"][int(free["updates"])])
    clipped = clipping.run(0, "sgd", 0.02, 1.0, updates=20)
    assert (clipped["finite"], clipped["solved"], clipped["updates"]) == (1, 0, 20)
    assert math.isfinite(clipped["error"])
    assert clipped["first_norms"][0] == free["first_norms"][0] > 1  # the norm before clipping
    assert max(clipped["first_norms"][:10]) == clipped["largest_norms"][0]


def test_clipping_changes_long_gradients_only(monkeypatch):
    factors = []
    monkeypatch.setattr(clipping, "shorten_gradient", lambda _, factor: factors.append(factor))
    norms = iter([4.0, 0.5])
    monkeypatch.setattr(clipping, "total_norm", lambda _: next(norms))
    clipping.run(0, "sgd", 1e-6, 1.0, updates=2)
    assert factors == [0.25, 1.0]


# -------------------------------------------------------------------------------- optimiser arms


def test_the_penalty_is_pascanus_sum_over_step_jacobians():
    torch.manual_seed(0)
    model = Reader(2, 4, 3, "default").double()
    x = torch.randn(6, 2, 2, dtype=torch.float64)
    h, _ = model.recurrent(x)
    weights = torch.randn(2, 4, dtype=torch.float64)
    W = model.recurrent.weight_hh_l0
    expected = 0.0
    for b in range(2):  # one sequence at a time, with automatic differentiation
        states = [torch.zeros(4, dtype=torch.float64, requires_grad=True)]
        for t in range(6):
            a = model.recurrent.weight_ih_l0 @ x[t, b] + W @ states[-1]
            states.append(torch.tanh(a + model.recurrent.bias_ih_l0 + model.recurrent.bias_hh_l0))
        gradients = torch.autograd.grad(states[-1] @ weights[b], states[1:])
        norms = torch.stack(gradients).norm(dim=1)  # of dE/dh_1 to dE/dh_6
        expected += float(((norms[:-1] / norms[1:] - 1) ** 2).sum()) / 2
    found = optimiser_arms.penalty(W, h.detach(), 1e-6 * weights)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_the_penalty_vanishes_where_every_step_keeps_the_length():
    W = nn.init.orthogonal_(torch.empty(5, 5))
    h, delta = torch.zeros(7, 3, 5), torch.randn(3, 5)  # at h = 0 tanh has slope 1
    assert float(optimiser_arms.penalty(W, h, delta)) == pytest.approx(0, abs=1e-10)
    assert float(optimiser_arms.penalty(0.5 * W, h, delta)) == pytest.approx(6 * 0.25, rel=1e-5)


def test_arms_differ_in_what_they_are_called_after(monkeypatch):
    factors, shortened = [], []
    original = optimiser_arms.add_gradient

    def note(model, x, d, factor):
        factors.append(factor)
        original(model, x, d, factor)

    monkeypatch.setattr(optimiser_arms, "add_gradient", note)
    monkeypatch.setattr(optimiser_arms, "shorten_gradient", lambda *_: shortened.append(1))
    for arm in ("sgd", "clipped", "penalised"):
        found = optimiser_arms.run(0, arm, 10, updates=1)
        assert (found["solved"], found["updates"]) == (0, 1)
    assert factors == [0, 0, 2]
    assert len(shortened) == 2


def test_the_gradient_of_the_penalty_is_added_to_that_of_the_loss():
    problem = Problem(FAMILIES["temporal order"], 10)
    torch.manual_seed(0)
    model = problem.model("default")
    x, d = problem.draw(20, seeded())
    optimiser_arms.add_gradient(model, x, d, 0.0)
    plain = {name: p.grad.clone() for name, p in model.named_parameters()}
    memory_horizon.loss_of(model, (x, d)).backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, 2 * plain[name])
    model.zero_grad()
    optimiser_arms.add_gradient(model, x, d, 2.0)
    changed = {n for n, p in model.named_parameters() if not torch.allclose(p.grad, plain[n])}
    assert changed == {"recurrent.weight_hh_l0"}


@pytest.mark.parametrize(
    ("arm", "rate"),
    [("sgd", 0.01), ("sgd, longer", 0.01), ("clipped, slow", 0.01), ("clipped", 0.1)],
)
def test_an_arm_steps_with_its_rate_along_its_gradient(monkeypatch, arm, rate):
    models: list[Reader] = []
    original = optimiser_arms.add_gradient

    def note(model, x, d, factor):
        original(model, x, d, factor)
        models.append(model)
        before.extend(p.detach().clone() for p in model.parameters())

    before: list[torch.Tensor] = []
    monkeypatch.setattr(optimiser_arms, "add_gradient", note)
    optimiser_arms.run(0, arm, 20, updates=1)
    (model,) = models
    for old, p in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), old - rate * p.grad)


@pytest.mark.parametrize("arm", ["sgd", "sgd, longer"])
def test_only_the_longer_arm_has_more_updates(monkeypatch, arm):
    monkeypatch.setattr(optimiser_arms, "UPDATES", 3)
    monkeypatch.setattr(optimiser_arms, "LONGER", 5)
    assert optimiser_arms.run(0, arm, 20)["updates"] == (5 if "longer" in arm else 3)


def test_momentum_of_the_clipping_experiment_is_nine_tenths(monkeypatch):
    used = []
    original = torch.optim.SGD

    def note(parameters, *arguments, **options):
        used.append((arguments, options))
        return original(parameters, *arguments, **options)

    monkeypatch.setattr(torch.optim, "SGD", note)
    clipping.run(0, "sgd", 0.001, 1.0, updates=1)
    assert used == [((0.001,), {"momentum": 0.9})]


# --------------------------------------------------------------------------- a latch, watched


def watched_network(weight: float) -> Reader:
    """One tanh unit: +1 for token 0, −1 for token 1, and h_t = tanh(weight h_{t-1}) after it."""
    model = Reader(8, 1, 2, "default")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.recurrent.weight_ih_l0[0, :2] = torch.tensor([3.0, -3.0])
        model.recurrent.weight_hh_l0.fill_(weight)
        model.output.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    return model


def test_a_watched_run_says_what_the_network_does(monkeypatch):
    monkeypatch.setattr(Problem, "model", lambda self, weights: watched_network(2.0))
    found = latch_watched.run(0, length=30, updates=50)
    h = 0.9575  # where tanh(2 h) = h
    first = (1 - math.tanh(3.0) ** 2) * (2 * (1 - h**2)) ** 29
    assert (found["solved"], found["updates"]) == (1, 0)
    assert found["error"][0] == 0 and math.isnan(found["error"][1])
    assert found["radius"][0] == 2
    assert math.log10(found["ratio"][0]) == pytest.approx(math.log10(first / (1 - h**2)), abs=0.5)


def test_a_watched_run_looks_every_25_updates_until_the_limit(monkeypatch):
    monkeypatch.setattr(Problem, "model", lambda self, weights: watched_network(0.1))
    found = latch_watched.run(0, length=60, updates=50)
    assert (found["solved"], found["updates"]) == (0, 50)
    assert len(found["error"]) == 3 and all(0.3 < e < 0.7 for e in found["error"])
