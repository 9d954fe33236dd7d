"""The cells: equal to torch's where torch has them, to their equations where it has not."""

from __future__ import annotations

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rnnlib import cells
from rnnlib.cells import CELLS, CellLayer

small = st.integers(1, 4)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def sigma(a: float) -> float:
    return float(1 / (1 + torch.exp(torch.tensor(-a, dtype=torch.float64))))


def tanh(a: float) -> float:
    return float(torch.tanh(torch.tensor(a, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("name", "reference", "blocks"),
    [
        ("rnn", lambda D, H, b: nn.RNNCell(D, H, b), 1),
        ("rnn_relu", lambda D, H, b: nn.RNNCell(D, H, b, nonlinearity="relu"), 1),
        ("gru", lambda D, H, b: nn.GRUCell(D, H, b), 3),
        ("lstm", lambda D, H, b: nn.LSTMCell(D, H, b), 4),
    ],
)
@settings(max_examples=20, deadline=None)
@given(B=small, D=small, H=small, bias=st.booleans())
def test_equals_torchs_cell(name, reference, blocks, B, D, H, bias):
    torch.manual_seed(0)
    theirs = reference(D, H, bias).double()
    assert theirs.weight_ih.shape[0] == blocks * H == CELLS[name].blocks * H
    x, h, c = numbers(B, D), numbers(B, H), numbers(B, H)
    state = (h, c) if CELLS[name].states == 2 else h
    ours = CELLS[name].step(x, state, *theirs.parameters())
    expected = theirs(x, state)
    for mine, other in zip(
        ours if isinstance(ours, tuple) else (ours,),
        expected if isinstance(expected, tuple) else (expected,),
        strict=True,
    ):
        assert torch.allclose(mine, other, rtol=1e-12, atol=1e-12)


# One unit, one input: each equation written out once more, with plain numbers.
X, H0, C0 = 0.7, -0.4, 1.3
U = [0.5, -0.8, 1.1, 0.3]  # input weights, block by block
R = [-0.6, 0.9, 0.4, -1.2]  # recurrent weights
B1 = [0.1, -0.2, 0.3, 0.05]  # input biases
B2 = [0.02, 0.4, -0.3, 0.15]  # recurrent biases
P = [0.35, -0.55, 0.75]  # peepholes


def run(name: str, **more: torch.Tensor) -> list[float]:
    blocks = CELLS[name].blocks
    h, c = torch.tensor([[H0]]).double(), torch.tensor([[C0]]).double()
    columns = [torch.tensor(values[:blocks]).double() for values in (U, R, B1, B2)]
    weights = [columns[0][:, None], columns[1][:, None], columns[2], columns[3]]
    x = torch.tensor([[X]]).double()
    after = CELLS[name].step(x, (h, c) if CELLS[name].states == 2 else h, *weights, **more)
    return [float(s) for s in (after if isinstance(after, tuple) else (after,))]


def a(block: int, h: float = H0) -> float:
    return U[block] * X + B1[block] + R[block] * h + B2[block]


def expected(name: str) -> list[float]:
    if name == "gru":
        r, z = sigma(a(0)), sigma(a(1))
        n = tanh(U[2] * X + B1[2] + r * (R[2] * H0 + B2[2]))
        return [(1 - z) * n + z * H0]
    if name == "gru_reset_before":
        r, z = sigma(a(0)), sigma(a(1))
        n = tanh(a(2, r * H0))
        return [(1 - z) * n + z * H0]
    if name == "lstm_no_forget_gate":
        c = C0 + sigma(a(0)) * tanh(a(1))
        return [sigma(a(2)) * tanh(c), c]
    if name == "lstm_no_input_gate":
        c = sigma(a(0)) * C0 + tanh(a(1))
        return [sigma(a(2)) * tanh(c), c]
    if name == "lstm_no_output_gate":
        c = sigma(a(1)) * C0 + sigma(a(0)) * tanh(a(2))
        return [tanh(c), c]
    if name == "lstm_coupled":
        f = sigma(a(0))
        c = f * C0 + (1 - f) * tanh(a(1))
        return [sigma(a(2)) * tanh(c), c]
    if name == "lstm_peepholes":
        c = sigma(a(1) + P[1] * C0) * C0 + sigma(a(0) + P[0] * C0) * tanh(a(2))
        return [sigma(a(3) + P[2] * c) * tanh(c), c]
    if name == "lstm_1997":
        c = C0 + sigma(a(0)) * 2 * tanh(a(1) / 2)  # 4 sigma(a) - 2
        return [sigma(a(2)) * tanh(c / 2), c]  # 2 sigma(c) - 1
    raise KeyError(name)


@pytest.mark.parametrize("name", [n for n in CELLS if n not in ("rnn", "rnn_relu", "lstm")])
def test_equals_its_equation_with_plain_numbers(name):
    more = {"peepholes": torch.tensor(P).double()[:, None]} if name == "lstm_peepholes" else {}
    assert run(name, **more) == pytest.approx(expected(name), abs=1e-6)


def test_peepholes_of_zero_change_nothing():
    zero = torch.zeros(3, 1, dtype=torch.float64)
    assert run("lstm_peepholes", peepholes=zero) == pytest.approx(run("lstm"), abs=1e-12)


def test_the_two_gru_conventions_differ_unless_the_reset_gate_is_open():
    assert run("gru") != pytest.approx(run("gru_reset_before"), abs=1e-3)
    x, h, W_ih, W_hh = numbers(2, 3), numbers(2, 4), numbers(12, 3), numbers(12, 4)
    b_ih, b_hh = torch.zeros(2, 12, dtype=torch.float64)
    b_ih[:4] = 1e4  # r = 1
    after = cells.gru(x, h, W_ih, W_hh, b_ih, b_hh)
    assert torch.allclose(after, cells.gru_reset_before(x, h, W_ih, W_hh, b_ih, b_hh))


def test_the_update_gate_keeps_the_state_when_it_is_open():
    x, h, W_ih, W_hh = numbers(2, 3), numbers(2, 4), numbers(12, 3), numbers(12, 4)
    b_ih = torch.zeros(12, dtype=torch.float64)
    b_ih[4:8] = 1e4  # z = 1
    for cell in (cells.gru, cells.gru_reset_before):
        assert torch.allclose(cell(x, h, W_ih, W_hh, b_ih), h)


def test_truncated_1997_sends_error_through_the_cell_only():
    x, h, c = numbers(2, 3), numbers(2, 4).requires_grad_(), numbers(2, 4).requires_grad_()
    W_ih, W_hh = numbers(12, 3), numbers(12, 4)
    full = cells.lstm_1997(x, (h, c), W_ih, W_hh)
    cut = cells.lstm_1997(x, (h, c), W_ih, W_hh, truncated=True)
    assert torch.equal(full[0], cut[0])
    assert torch.autograd.grad(cut[1].sum(), h, allow_unused=True) == (None,)
    assert torch.equal(torch.autograd.grad(cut[1].sum(), c)[0], torch.ones(2, 4).double())
    cut = cells.lstm_1997(x, (h, c), W_ih, W_hh, truncated=True)
    assert torch.autograd.grad(full[1].sum(), h)[0].abs().min() > 0


@pytest.mark.parametrize("name", CELLS)
def test_gradient_equals_finite_differences(name):
    torch.manual_seed(1)
    layer = CellLayer(name, 2, 3).double()
    if layer.peepholes is not None:
        nn.init.normal_(layer.peepholes)
    names = [n for n, _ in layer.named_parameters()]
    x = numbers(2, 2, 2).requires_grad_()

    def run(x, *weights):
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))[0]

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()))


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("rnn", lambda: nn.RNN(3, 4)),
        ("rnn_relu", lambda: nn.RNN(3, 4, nonlinearity="relu")),
        ("gru", lambda: nn.GRU(3, 4)),
        ("lstm", lambda: nn.LSTM(3, 4)),
    ],
)
def test_cell_layer_equals_torchs_layer(cell, kind):
    theirs, ours = kind().double(), CellLayer(cell, 3, 4).double()
    with torch.no_grad():
        ours.W_ih.copy_(theirs.weight_ih_l0)
        ours.W_hh.copy_(theirs.weight_hh_l0)
        if ours.b_hh is None:
            ours.b_ih.copy_(theirs.bias_ih_l0 + theirs.bias_hh_l0)
        else:
            ours.b_ih.copy_(theirs.bias_ih_l0)
            ours.b_hh.copy_(theirs.bias_hh_l0)
    x = numbers(5, 2, 3)
    output, state = ours(x)
    expected, last = theirs(x)
    assert torch.allclose(output, expected)
    for mine, other in zip(
        state if isinstance(state, tuple) else (state,),
        last if isinstance(last, tuple) else (last,),
        strict=True,
    ):
        assert torch.allclose(mine, other[0])


@pytest.mark.parametrize("name", CELLS)
def test_cell_layer_counts_only_the_weights_that_it_uses(name):
    torch.manual_seed(0)
    layer = CellLayer(name, 3, 4)
    layer(torch.randn(5, 2, 3))[0].sum().backward()
    for parameter in layer.parameters():
        assert (parameter.grad != 0).any()
    assert repr(layer) == f"CellLayer({name!r}, 3, 4)"
    bound = 1 / 4**0.5
    assert all(parameter.abs().max() <= bound for parameter in layer.parameters())


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_fits_on_a_slide(name):
    """Chapters print these; more than 15 lines of code are not read."""
    lines = inspect.getsource(CELLS[name].step).splitlines()
    body = lines[next(n for n, line in enumerate(lines) if line.strip().endswith('"""')) + 1 :]
    assert len(body) <= 15


def test_reset_before_the_product_gates_each_unit_that_is_read():
    """Two units tell W_n (r * h) from r * (W_n h), and W_n from its transpose."""
    torch.manual_seed(0)
    x, h = numbers(1, 3), numbers(1, 2)
    W_ih, W_hh, b_ih, b_hh = numbers(6, 3), numbers(6, 2), numbers(6), numbers(6)
    after = cells.gru_reset_before(x, h, W_ih, W_hh, b_ih, b_hh)

    def total(row: int, read: list[float]) -> float:
        from_input = sum(float(W_ih[row, d] * x[0, d]) for d in range(3))
        from_state = sum(float(W_hh[row, k]) * read[k] for k in range(2))
        return from_input + from_state + float(b_ih[row] + b_hh[row])

    old = h[0].tolist()
    r = [sigma(total(k, old)) for k in range(2)]
    for j in range(2):
        z = sigma(total(2 + j, old))
        n = tanh(total(4 + j, [r[k] * old[k] for k in range(2)]))
        assert float(after[0, j]) == pytest.approx((1 - z) * n + z * old[j], abs=1e-6)
