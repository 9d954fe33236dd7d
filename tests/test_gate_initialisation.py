"""How far gates stand open at the start, and the paths that a cell state's gradient takes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import rnnlib
from rnnlib.checks import InputError
from rnnlib.initialisation import chrono_initialise, initialise_gate_bias
from rnnlib.probes import cell_paths, gradient_by_lag, state_jacobians

GATED = [rnnlib.LSTM, nn.LSTM, rnnlib.GRU, nn.GRU]


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def deep(kind: type, H: int = 5) -> nn.RNNBase:
    return kind(3, H, num_layers=2, bidirectional=True)


def effective(layer: nn.RNNBase) -> torch.Tensor:
    """Sum torch's two biases: (layers * directions, blocks, H)."""
    biases = dict(layer.named_parameters())
    sums = [
        (biases[f"bias_ih_l{k}{d}"] + biases[f"bias_hh_l{k}{d}"]).detach()
        for k in range(layer.num_layers)
        for d in (("", "_reverse") if layer.bidirectional else ("",))
    ]
    return torch.stack(sums).view(len(sums), -1, layer.hidden_size)


@pytest.mark.parametrize("kind", GATED)
@pytest.mark.parametrize("bias", [-2.5, 0, 1, 3.0])
def test_a_gate_bias_is_the_sum_of_both_vectors_in_every_layer_and_direction(kind, bias):
    layer = deep(kind)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    is_lstm = isinstance(layer, nn.LSTM)
    gates = {"input": 0, "forget": 1, "output": 3} if is_lstm else {"reset": 0, "update": 1}
    for gate, block in gates.items():
        other = effective(layer)
        assert initialise_gate_bias(layer, gate, bias) is layer
        found = effective(layer)
        assert torch.equal(found[:, block], torch.full((4, 5), float(bias)))
        rest = [b for b in range(found.shape[1]) if b != block]
        assert torch.equal(found[:, rest], other[:, rest])
    for name, p in layer.named_parameters():
        assert p.requires_grad
        assert name.startswith("bias") or torch.equal(p, before[name])


def test_the_gates_open_as_far_as_the_bias_says():
    lstm, gru = rnnlib.LSTM(2, 4, dtype=torch.float64), rnnlib.GRU(2, 4, dtype=torch.float64)
    for layer in (lstm, gru):  # nothing but biases
        for p in layer.parameters():
            nn.init.zeros_(p)
    initialise_gate_bias(lstm, "forget", 1.0)
    initialise_gate_bias(gru, "update", 1.0)
    opened = 1 / (1 + math.exp(-1))
    start = torch.ones(1, 1, 4, dtype=torch.float64)
    x = torch.zeros(1, 1, 2, dtype=torch.float64)
    c = lstm(x, (start, start))[1][1]
    h = gru(x, start)[1]
    torch.testing.assert_close(c, opened * start)  # both keep their OLD state
    torch.testing.assert_close(h, opened * start)
    for b in (lstm.bias_ih_l0, lstm.bias_hh_l0):  # the trap: a "bias of 1" in both is 2
        nn.init.ones_(b)
        b.data[:4] = b.data[8:] = 0
    c = lstm(x, (start, start))[1][1]
    torch.testing.assert_close(c, start / (1 + math.exp(-2)))


@pytest.mark.parametrize("kind", GATED)
def test_chrono_spreads_the_times_evenly_from_2_to_the_longest(kind):
    layer = chrono_initialise(deep(kind, H=2000), 50, seeded(3))
    b = effective(layer).double()
    keeping = b[:, 1]
    times = (1 / (1 - keeping.sigmoid())).sort(1).values
    evenly = torch.linspace(2, 50, 2000, dtype=torch.float64).expand(4, -1)
    assert (times - evenly).abs().max() < 2.5
    assert times.min() >= 2 - 1e-5 and times.max() <= 50 + 1e-3
    for one, other in ((0, 1), (1, 2), (2, 3)):
        assert not torch.equal(keeping[one], keeping[other])
    if isinstance(layer, nn.LSTM):
        assert torch.equal(b[:, 0], -keeping)
    else:
        assert b[:, 0].abs().max() <= 2 / math.sqrt(2000)  # the reset gate as it was


def test_a_generator_decides_the_chrono_drawing_and_nothing_else_does():
    state = torch.get_rng_state()
    first, again, other = (chrono_initialise(nn.GRU(2, 4), 9, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(effective(first)[:, 1], effective(again)[:, 1])
    assert not torch.equal(effective(first)[:, 1], effective(other)[:, 1])
    torch.set_rng_state(state)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((nn.RNN(2, 2), "forget", 1.0), TypeError, "layer must be an LSTM or GRU.*got RNN"),
        ((nn.Linear(2, 2), "forget", 1.0), TypeError, "layer must be an LSTM or GRU.*got Linear"),
        ((nn.LSTM(2, 2), "update", 1.0), InputError, "gate must be one of 'input'.*got 'update'"),
        ((nn.GRU(2, 2), "forget", 1.0), InputError, "gate must be one of 'reset'.*got 'forget'"),
        ((nn.LSTM(2, 2), "forget", math.nan), InputError, "bias must be finite; got nan"),
        ((nn.LSTM(2, 2), "forget", math.inf), InputError, "bias must be finite; got inf"),
        ((nn.LSTM(2, 2), "forget", "1"), TypeError, "bias must be a number; got '1'"),
        ((nn.LSTM(2, 2), "forget", True), TypeError, "bias must be a number; got True"),
        ((nn.LSTM(2, 2, bias=False), "forget", 1), InputError, "biases; got one with bias=False"),
    ],
)
def test_wrong_gate_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        initialise_gate_bias(*arguments)


@pytest.mark.parametrize(
    ("layer", "longest", "error", "message"),
    [
        (nn.RNN(2, 2), 9, TypeError, "layer must be an LSTM or GRU.*got RNN"),
        (nn.LSTM(2, 2), 2, InputError, "longest must be at least 3 steps; got 2"),
        (nn.LSTM(2, 2), -1, InputError, "longest must be at least 1; got -1"),
        (nn.LSTM(2, 2), 9.5, TypeError, "longest must be an integer; got 9.5"),
        (nn.GRU(2, 2, bias=False), 9, InputError, "layer must have biases"),
    ],
)
def test_wrong_chrono_arguments_are_refused(layer, longest, error, message):
    with pytest.raises(error, match=message):
        chrono_initialise(layer, longest)


# ------------------------------------------------------------------------------ paths of the cell


def test_the_full_path_is_the_product_of_step_jacobians():
    torch.manual_seed(2)
    layer = initialise_gate_bias(rnnlib.LSTM(3, 4), "forget", 2.0)
    x = torch.randn(7, 1, 3)
    found = cell_paths(layer, x)
    product = torch.eye(8, dtype=torch.float64)
    for J in torch.from_numpy(state_jacobians(layer, x)):  # of (h, c) together
        product = J @ product
    torch.testing.assert_close(torch.from_numpy(found.full), product[4:, 4:])
    gates = []
    h = c = torch.zeros(1, 4, dtype=torch.float64)
    cell = nn.LSTMCell(3, 4, dtype=torch.float64)
    cell.load_state_dict({n.removesuffix("_l0"): p for n, p in layer.state_dict().items()})
    for x_t in x.double():
        a = x_t @ cell.weight_ih.T + h @ cell.weight_hh.T + cell.bias_ih + cell.bias_hh
        gates.append(a[0, 4:8].sigmoid())
        h, c = cell(x_t, (h, c))
    expected = torch.stack(gates).prod(0)
    torch.testing.assert_close(torch.from_numpy(found.forget_product), expected)
    torch.testing.assert_close(torch.from_numpy(found.direct), torch.diag(expected))
    ratio = torch.linalg.matrix_norm(product[4:, 4:], 2) / expected.detach().max()
    assert found.ratio == pytest.approx(ratio.item(), rel=1e-10)
    assert layer.weight_hh_l0.dtype == torch.float32 and layer.weight_hh_l0.grad is None


def test_without_recurrent_weights_there_is_the_direct_path_only():
    layer = rnnlib.LSTM(1, 3, bias=False)
    nn.init.zeros_(layer.weight_hh_l0)
    assert cell_paths(layer, torch.randn(9, 1, 1)).ratio == pytest.approx(1, rel=1e-12)


def test_an_open_forget_gate_lets_the_gradient_through():
    ratios = []
    for bias in (-1.0, 1.0, 3.0):
        torch.manual_seed(0)
        layer = initialise_gate_bias(rnnlib.LSTM(2, 8), "forget", bias)
        norms = gradient_by_lag(layer, torch.randn(20, 4, 2))
        ratios.append(norms[-1] / norms[0])
    assert ratios[0] * 100 < ratios[1] < ratios[2] / 10


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        (nn.GRU(2, 2), torch.zeros(3, 1, 2), TypeError, "layer: expected an LSTM of one.*GRU"),
        (nn.LSTM(2, 2, 2), torch.zeros(3, 1, 2), TypeError, "one layer.*num_layers=2"),
        (nn.LSTM(2, 3, proj_size=2), torch.zeros(3, 1, 2), TypeError, "proj_size=2"),
        (nn.LSTM(2, 2, bidirectional=True), torch.zeros(3, 1, 2), TypeError, "bidirectional"),
        (nn.LSTM(2, 2, batch_first=True), torch.zeros(3, 1, 2), ValueError, "batch_first"),
        (nn.LSTM(2, 2), torch.zeros(3, 2, 2), ValueError, "x: expected a non-empty.*1, D"),
        (nn.LSTM(2, 2), torch.zeros(0, 1, 2), ValueError, "x: expected a non-empty"),
        (nn.LSTM(2, 2), torch.zeros(3, 1, 4), ValueError, "x: expected D = 2.*got 4"),
        (nn.LSTM(2, 2), torch.zeros(3, 1, 2, dtype=int), TypeError, "x: expected a floating"),
    ],
)
def test_wrong_arguments_of_the_probe_are_refused(layer, x, error, message):
    with pytest.raises(error, match=message):
        cell_paths(layer, x)
