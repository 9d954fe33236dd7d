"""The probes on systems whose answers are known, and against independent counts."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import rnnlib
from rnnlib import probes
from rnnlib.numpy_nets import gru, lstm, rnn

NETS = {"rnn": (rnn, 1), "lstm": (lstm, 4), "gru": (gru, 3)}


class Linear(nn.Module):
    """h_t = W h_{t-1} + x_t, y_t = h_t: its Jacobians are W, its gradient at lag k is W^k."""

    def __init__(self, W):
        super().__init__()
        self.W = nn.Parameter(torch.tensor(np.asarray(W)))
        self.dropout = nn.Dropout(0.5)

    def initial_state(self, batch_size):
        return self.W.new_zeros(batch_size, len(self.W))

    def step(self, x_t, state):
        h = state @ self.W.T + x_t
        return self.dropout(h), h

    def forward(self, x, state=None, lengths=None):
        state = self.initial_state(x.shape[1]) if state is None else state
        outputs = []
        for x_t in x:
            y, state = self.step(x_t, state)
            outputs.append(y)
        return torch.stack(outputs), state


def orthogonal(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def noise(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


# --- Gradient by lag


def test_gradient_by_lag_of_a_linear_network_is_the_power_of_its_matrix():
    W = np.random.default_rng(1).normal(size=(4, 4))
    curve = probes.gradient_by_lag(Linear(W), noise(7, 3, 4))
    wanted = [np.linalg.norm(np.linalg.matrix_power(W, lag)) for lag in range(7)]
    np.testing.assert_allclose(curve, wanted, rtol=1e-12)


def test_gradient_by_lag_of_an_orthogonal_network_is_flat():
    curve = probes.gradient_by_lag(Linear(orthogonal(9)), noise(50, 1, 9))
    np.testing.assert_allclose(curve, 3.0, rtol=1e-12)  # ‖Q‖ = √9 for every power


def test_gradient_by_lag_of_a_non_normal_network_grows_before_it_vanishes():
    W = np.diag(np.full(7, 3.0), 1) + 0.5 * np.eye(8)  # every eigenvalue 0.5
    curve = probes.gradient_by_lag(Linear(W), noise(80, 1, 8))
    assert probes.spectral_radius(W) == 0.5
    assert curve.max() > 1000 * curve[0] and curve[-1] < 1e-6 * curve[0]


def test_gradient_by_lag_averages_over_the_batch_and_keeps_tiny_numbers():
    W = np.full((1, 1), 1e-50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = probes.gradient_by_lag(Linear(W), noise(6, 3, 1))
    np.testing.assert_allclose(curve, [1, 1e-50, 1e-100, 1e-150, 1e-200, 1e-250], rtol=1e-12)


def test_gradient_by_lag_warns_of_underflow():
    model = Linear(np.full((1, 1), 0.1))
    x = noise(60, 1, 1)
    with pytest.warns(RuntimeWarning, match="from lag 38 on, 22 of 60"):
        short = probes.gradient_by_lag(model, x, torch.float32)
    assert short[-1] == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = probes.gradient_by_lag(model, x)
    np.testing.assert_allclose(curve, 0.1 ** np.arange(60), rtol=1e-10)
    np.testing.assert_allclose(short[:30], curve[:30], rtol=1e-4)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, rnnlib.RNN, rnnlib.LSTM, rnnlib.GRU])
def test_gradient_by_lag_agrees_with_differences_and_leaves_the_model_alone(kind):
    torch.manual_seed(0)
    model, x = kind(2, 3), noise(5, 1, 2)
    curve = probes.gradient_by_lag(model, x)
    assert next(model.parameters()).dtype == torch.float32 and model.training
    probe = model.double()

    def last(t, d, change):
        moved = x.clone()
        moved[t, 0, d] += change
        with torch.no_grad():
            return probe(moved)[0][-1, 0].numpy()

    for lag in range(5):
        columns = [(last(4 - lag, d, 1e-5) - last(4 - lag, d, -1e-5)) / 2e-5 for d in range(2)]
        assert curve[lag] == pytest.approx(np.linalg.norm(columns), rel=1e-6)


def test_gradient_by_lag_refuses_what_it_cannot_measure():
    with pytest.raises(TypeError, match="embedding"):
        probes.gradient_by_lag(nn.RNN(1, 1), torch.ones(3, 1, 1, dtype=torch.long))
    with pytest.raises(TypeError, match=r"^model: .*got function"):
        probes.gradient_by_lag(lambda x: x, noise(3, 1, 1))
    model = nn.RNN(1, 1).double()
    model.forward = lambda x: (x[-1], None)
    with pytest.raises(ValueError, match=r"^model: expected outputs \(T, B, K\)"):
        probes.gradient_by_lag(model, noise(3, 1, 1))
    with pytest.raises(ValueError, match=r"^model: .*batch_first"):
        probes.gradient_by_lag(nn.RNN(1, 1, batch_first=True), noise(3, 1, 1))
    for shape in [(3, 1), (0, 1, 1)]:
        with pytest.raises(ValueError, match=r"^x: "):
            probes.gradient_by_lag(nn.RNN(1, 1), noise(*shape))


# --- Recall by lag


class Delays(nn.Module):
    """Outputs the inputs of `n` steps ago and nothing else."""

    def __init__(self, *delays):
        super().__init__()
        self.delays = delays

    def forward(self, x, state=None, lengths=None):
        zeros = torch.zeros_like(x)
        shifted = [torch.cat([zeros[:n], x[: len(x) - n]]) for n in self.delays]
        return torch.cat(shifted, -1), None


def test_recall_finds_what_is_there_and_nothing_else():
    recall = probes.recall_by_lag(Delays(0, 2), noise(60, 80, 2).float(), longest=4)
    assert recall.shape == (5,) and recall.dtype == np.float64
    np.testing.assert_allclose(recall[[0, 2]], 1.0, atol=1e-12)
    assert np.abs(recall[[1, 3, 4]]).max() < 0.02


def test_recall_of_the_present_alone_and_of_small_inputs():
    recall = probes.recall_by_lag(Delays(0), 1e-3 * noise(9, 8, 1), longest=0)
    np.testing.assert_allclose(recall, [1.0])


def test_recall_of_a_mixture_is_its_share_of_variance():
    class Mixture(Delays):
        def forward(self, x, state=None, lengths=None):
            return super().forward(x)[0].sum(-1, keepdim=True), None

    recall = probes.recall_by_lag(Mixture(0, 1), noise(100, 200, 1), longest=2)
    np.testing.assert_allclose(recall, [0.5, 0.5, 0.0], atol=0.03)


def test_recall_is_scored_on_sequences_it_was_not_fitted_to():
    """31 coefficients fit 32 numbers almost perfectly, whatever they are: that is no recall."""
    recall = probes.recall_by_lag(Linear(orthogonal(30)), noise(27, 64, 30), longest=26)
    assert recall.max() < 0.1


def test_recall_refusals():
    for x, longest in [(noise(3, 4, 1), 3), (noise(5, 1, 1), 2)]:
        with pytest.raises(ValueError, match=r"^x: expected T > "):
            probes.recall_by_lag(Delays(0), x, longest)
    with pytest.raises(ValueError, match=r"^longest: "):
        probes.recall_by_lag(Delays(0), noise(5, 2, 1), -1)
    with pytest.raises(ValueError, match=r"^x: expected more than 3 time steps"):
        probes.recall_by_lag(Delays(0, 1), noise(4, 2, 1), 1)
    with pytest.raises(TypeError, match=r"^x: "):
        probes.recall_by_lag(Delays(0), torch.ones(5, 2, 1, dtype=torch.long), 1)
    with pytest.raises(ValueError, match="inputs that vary"):
        probes.recall_by_lag(Delays(0), torch.ones(5, 2, 1), 1)


def test_memory_horizon():
    curve = np.array([2.0, 1.0, 0.01, 0.3, 0.1])
    assert probes.memory_horizon(curve, 0.5) == 1
    assert probes.memory_horizon(curve, 0.1) == 3
    assert probes.memory_horizon(curve) == 4
    assert probes.memory_horizon(curve, 1.0) == 0
    assert probes.memory_horizon([1.0]) == 0
    for wrong in ([0.0, 1.0], [], [1.0, np.nan]):
        with pytest.raises(ValueError, match=r"^norms: "):
            probes.memory_horizon(np.array(wrong))
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"^fraction: "):
            probes.memory_horizon(curve, wrong)


# --- Jacobians


def test_jacobians_of_a_linear_network_are_its_matrix():
    W = np.random.default_rng(1).normal(size=(3, 3))
    jacobians = probes.state_jacobians(Linear(W), noise(4, 1, 3))
    np.testing.assert_allclose(jacobians, np.broadcast_to(W, (4, 3, 3)))


@pytest.mark.parametrize("start", [False, True])
def test_jacobians_of_the_rnn_are_those_of_the_derivation(start):
    """∂h_t/∂h_{t-1} = diag(1 - h_t²) W_h, along the whole trajectory."""
    p = rnn.initialise(2, 4, 1, seed=3, scale=3.0)
    layer = rnnlib.RNN(2, 4).double()
    weights = (p.W_x, p.W_h, p.b, 0 * p.b)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    layer.load_state_dict({n: torch.tensor(w) for n, w in zip(names, weights, strict=True)})
    x, h_0 = noise(6, 1, 2), noise(1, 4, seed=2)
    h = rnn.forward(p, x.numpy(), h_0.numpy() if start else None)[1]
    jacobians = probes.state_jacobians(layer, x, h_0[None] if start else None)
    np.testing.assert_allclose(jacobians, (1 - h[1:, 0] ** 2)[:, :, None] * p.W_h, rtol=1e-10)


def test_products_of_jacobians_give_the_gradient_by_lag_of_an_lstm():
    torch.manual_seed(0)
    layer, x = rnnlib.LSTM(2, 3), noise(6, 1, 2)
    jacobians = probes.state_jacobians(layer, x)
    assert jacobians.shape == (6, 6, 6)  # h and c
    state = tuple(torch.zeros(1, 1, 3, dtype=torch.float64) for _ in range(2))

    def last(flat):
        h, c = layer(x, (flat[:3].reshape(1, 1, 3), flat[3:].reshape(1, 1, 3)))[1]
        return torch.cat([h.flatten(), c.flatten()])

    layer = layer.double()
    whole = torch.autograd.functional.jacobian(last, torch.cat(state, -1).flatten()).numpy()
    product = np.linalg.multi_dot(jacobians[::-1])
    np.testing.assert_allclose(product, whole, rtol=1e-9, atol=1e-15)
    assert probes.product_norms(jacobians)[-1] == pytest.approx(np.linalg.norm(whole, 2))


def test_product_norms_go_back_from_the_last_step():
    matrices = np.random.default_rng(0).normal(size=(3, 2, 2))
    A, B, C = matrices
    wanted = [1.0, *(np.linalg.norm(M, 2) for M in (C, C @ B, C @ B @ A))]
    np.testing.assert_allclose(probes.product_norms(matrices), wanted)
    with pytest.warns(RuntimeWarning, match="product_norms: from lag 7 on"):
        probes.product_norms(np.full((8, 1, 1), 1e-50))


def test_singular_values_and_spectral_radius_of_known_matrices():
    np.testing.assert_allclose(probes.singular_values(orthogonal(5)), 1.0)
    assert probes.spectral_radius(orthogonal(5)) == pytest.approx(1.0)
    shear = np.array([[0.5, 10.0], [0.0, -0.6]])
    assert probes.spectral_radius(shear) == pytest.approx(0.6)
    product = probes.singular_values(shear).prod()
    assert product == pytest.approx(0.3) and probes.singular_values(shear)[0] > 10
    stack = np.stack([shear, 2 * shear])
    np.testing.assert_allclose(probes.spectral_radius(stack), [0.6, 1.2])
    assert probes.singular_values(stack).shape == (2, 2)


def test_jacobian_refusals():
    with pytest.raises(TypeError, match="step method"):
        probes.state_jacobians(nn.RNN(1, 1), noise(3, 1, 1))
    with pytest.raises(ValueError, match=r"^x: .*\(T, 1, D\)"):
        probes.state_jacobians(Linear(np.eye(1)), noise(3, 2, 1))
    with pytest.raises(TypeError, match=r"^state: "):
        probes.state_jacobians(Linear(np.eye(1)), noise(3, 1, 1), {"h": 0})
    with pytest.raises(TypeError, match="float64"):
        probes.product_norms(np.eye(2, dtype=np.float32)[None])
    with pytest.raises(ValueError, match="square"):
        probes.singular_values(np.ones((2, 3)))
    with pytest.raises(ValueError, match="jacobians: "):
        probes.product_norms(np.eye(2))


# --- Operations


def test_counting_by_hand():
    a, b, v = np.ones((2, 3)), np.ones((3, 5)), np.ones(3)
    count = probes.count_operations
    for product in (lambda a, b: a @ b, lambda a, b: np.dot(a, b), lambda a, b: a.dot(b)):
        assert count(product, a, b).multiply_adds == 30
        assert count(product, a, b).elementwise == 0
    assert count(lambda a, b: np.einsum("ij,jk->ik", a, b), a, b).multiply_adds == 30
    assert count(lambda a, b: np.einsum("ij,jk->", a, b), a, b).multiply_adds == 30
    assert count(lambda a, b: np.tensordot(a, b, 1), a, b).multiply_adds == 30
    assert count(lambda a, v: a @ v, a, v).multiply_adds == 6
    assert count(lambda v: v @ v, v).multiply_adds == 3
    assert count(lambda v: np.outer(v, v), v).multiply_adds == 9
    assert count(lambda v: np.inner(v, v), v).multiply_adds == 3
    batch = np.ones((7, 2, 3))
    assert count(lambda x, b: x @ b, batch, b).multiply_adds == 7 * 30
    assert count(lambda a: np.tanh(a) + 1, a) == probes.Operations(0, 12, {"add": 6, "tanh": 6})
    assert count(lambda a: a.sum(0), a).elementwise == 6
    assert count(lambda a: a.T.reshape(-1)[::-1].copy(), a).elementwise == 0


def test_counting_sees_results_of_counted_arrays_and_work_in_place():
    def function(a):
        total = np.zeros((2, 2))
        total += a
        return np.concatenate([a, total]) @ a

    assert probes.count_operations(function, np.ones((2, 2))).by_name == {"add": 4, "matmul": 16}
    inside = probes.count_operations(lambda d: d["a"][0] @ d["a"][0], {"a": [np.ones((2, 2))]})
    assert inside.multiply_adds == 8


def test_counting_changes_no_result():
    p = lstm.initialise(2, 3, 2, seed=0)
    x, results = np.random.default_rng(0).normal(size=(4, 2, 2)), []
    probes.count_operations(lambda p, x: results.append(lstm.forward(p, x)[0]), p, x)
    np.testing.assert_array_equal(np.asarray(results[0]), lstm.forward(p, x)[0])


def test_counting_refuses_what_it_has_no_rule_for():
    for function in (np.linalg.inv, np.linalg.svd, np.fft.fft, lambda a: np.convolve(a[0], a[0])):
        with pytest.raises(TypeError, match="no rule"):
            probes.count_operations(function, np.eye(2))
    with pytest.raises(TypeError, match="no rule for einsum"):
        probes.count_operations(lambda a: np.einsum("...i->...", a), np.eye(2))


SIZES = st.tuples(*(st.integers(1, n) for n in (9, 3, 4, 5, 3)))


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(SIZES, st.integers(1, 5), st.integers(0, 6))
def test_formulas_equal_counts(name, sizes, every, further):
    (T, B, D, H, K), (net, blocks) = sizes, NETS[name]
    p, x = net.initialise(D, H, K, seed=0), np.ones((T, B, D))
    (y, s), dy, depth = net.forward(p, x), np.ones((T, B, K)), every + further

    def count(function, *args):
        return probes.count_operations(function, *args).multiply_adds

    assert count(net.forward, p, x) == probes.forward_multiply_adds(T, B, D, H, K, blocks)
    assert count(net.backward, p, x, s, dy) == probes.backward_multiply_adds(T, B, D, H, K, blocks)
    measured = count(net.backward_truncated, p, x, s, dy, every, depth)
    assert measured == probes.truncated_multiply_adds(T, B, D, H, K, every, depth, blocks)
    if name == "rnn":
        measured = count(net.real_time_recurrent_learning, p, x[:, :1], np.ones((1, H)), y[:, :1])
        assert measured == probes.real_time_multiply_adds(T, D, H, K)


def test_formulas_have_the_textbook_orders():
    lengths = [1000, 2000, 4000]
    sizes = [200, 400, 800]
    exponent = probes.fitted_exponent
    backward, real_time = probes.backward_multiply_adds, probes.real_time_multiply_adds
    assert exponent(lengths, [backward(T, 1, 4, 8, 2) for T in lengths]) == pytest.approx(1)
    assert exponent(sizes, [backward(9, 1, 4, H, 2) for H in sizes]) == pytest.approx(2, abs=0.05)
    assert exponent(sizes, [real_time(9, 4, H, 2) for H in sizes]) == pytest.approx(4, abs=0.05)
    own_window = [probes.truncated_multiply_adds(T, 1, 1, 50, 1, 1, T) for T in lengths]
    assert exponent(lengths, own_window) == pytest.approx(2, abs=0.05)
    for wrong in ({"T": 0}, {"H": 1.5}, {"K": -1}, {"blocks": 0}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: "):
            probes.forward_multiply_adds(**{"T": 1, "B": 1, "D": 1, "H": 1, "K": 1, **wrong})
    with pytest.raises(ValueError, match=r"^depth: "):
        probes.truncated_multiply_adds(5, 1, 1, 1, 1, every=2, depth=1)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("layers, bidirectional", [(1, False), (2, True)])
def test_layer_formula_equals_torch_count_of_the_loop(kind, layers, bidirectional):
    """torch counts floating-point operations, two for a multiply-add, and sees the loop."""
    torch.manual_seed(0)
    arguments = {"num_layers": layers, "bidirectional": bidirectional}
    layer = getattr(rnnlib, kind)(3, 4, backend="loop", **arguments)
    rows = layers * (1 + bidirectional)
    h_0 = [torch.zeros(rows, 2, 4, requires_grad=True) for _ in range(1 + (kind == "LSTM"))]
    x = torch.randn(5, 2, 3, requires_grad=True)
    with FlopCounterMode(display=False) as forward_counter:
        y, _ = layer(x, tuple(h_0) if kind == "LSTM" else h_0[0])
    with FlopCounterMode(display=False) as backward_counter:
        y.sum().backward()
    counted = forward_counter.get_total_flops() / 2, backward_counter.get_total_flops() / 2
    assert probes.layer_multiply_adds(layer, T=5, B=2) == counted
    library = getattr(nn, kind)(3, 4, **arguments)
    assert probes.layer_multiply_adds(library, T=5, B=2) == counted


def test_layer_formula_refuses_other_layers():
    for layer in (nn.Linear(2, 2), nn.LSTM(3, 4, proj_size=2)):
        with pytest.raises(TypeError, match=r"^layer: "):
            probes.layer_multiply_adds(layer, 5, 2)


# --- Memory


def test_saved_bytes_by_hand():
    a = torch.randn(10, 20, requires_grad=True)
    b = torch.randn(20, 30, requires_grad=True)
    assert probes.saved_bytes(lambda: a @ b) == 4 * (200 + 600)
    assert probes.saved_bytes(lambda: a @ b, exclude=[b]) == 4 * 200
    assert probes.saved_bytes(lambda: (a * 2).sum()) == 0
    assert probes.saved_bytes(lambda: a.tanh()) == 4 * 200  # the result
    assert probes.saved_bytes(lambda: a.tanh().sin()) == 4 * 200  # one tensor, saved twice
    assert probes.saved_bytes(lambda: a[:5] @ b[:, :1], exclude=[b]) == 4 * 200  # a view keeps all
    with torch.no_grad():
        assert probes.saved_bytes(lambda: a @ b) == 4 * (200 + 600)


def test_saved_bytes_of_a_loop_grow_by_the_state_a_step():
    W = torch.randn(16, 16, requires_grad=True)

    def run(T):
        h = torch.zeros(2, 16)
        for _ in range(T):
            h = torch.tanh(h @ W.T)
        return h

    bytes_of = [probes.saved_bytes(lambda T=T: run(T), exclude=[W]) for T in (1, 2, 11)]
    assert np.diff(bytes_of).tolist() == [2 * 16 * 4, 9 * 2 * 16 * 4]


def test_peak_bytes_of_numpy():
    def function():
        first = np.ones(1_000_000)  # 8 MB
        second = first + 1  # 8 MB more
        del first
        return second.sum()

    assert probes.peak_bytes(function) == pytest.approx(16e6, rel=0.01)
    assert probes.peak_bytes(lambda: np.ones(1_000_000)) == pytest.approx(8e6, rel=0.01)
    tracemalloc.start()
    try:
        with pytest.raises(RuntimeError, match="tracemalloc"):
            probes.peak_bytes(function)
    finally:
        tracemalloc.stop()


def test_memory_of_backpropagation_grows_with_length_and_of_real_time_learning_does_not():
    p = rnn.initialise(1, 6, 1, seed=0)
    lengths = [1000, 2500]  # long enough for Python's own garbage to be collected

    def through_time(T):
        x = np.ones((T, 1, 1))
        y, h = rnn.forward(p, x)
        return rnn.backward(p, x, h, y)

    def in_real_time(x, d):
        return rnn.real_time_recurrent_learning(p, x, np.zeros((1, 6)), d)

    backward = [probes.peak_bytes(lambda T=T: through_time(T)) for T in lengths]
    data = [(np.ones((T, 1, 1)), np.ones((T, 1, 1))) for T in lengths]
    forward = [probes.peak_bytes(lambda d=d: in_real_time(*d)) for d in data]
    assert probes.fitted_exponent(lengths, backward) == pytest.approx(1, abs=0.05)
    assert probes.fitted_exponent(lengths, forward) == pytest.approx(0, abs=0.05)


# --- Scaling


def test_fitted_exponent():
    lengths = np.array([10, 20, 50, 100])
    assert probes.fitted_exponent(lengths, 3.7 * lengths**1.5) == pytest.approx(1.5)
    assert probes.fitted_exponent([1, 10], [5, 5]) == pytest.approx(0)
    assert probes.fitted_exponent([1, 2, 4], [1, 1, 4]) == pytest.approx(1)
    for lengths, values, match in [
        ([1, 2], [1, 2, 3], "^values: "),
        ([1, 1], [1, 2], "^lengths: "),
        ([1, 2], [0, 1], "^values: "),
        ([1, 2], [1, np.inf], "^values: "),
        ([-1, 2], [1, 2], "^lengths: "),
        ([], [], "^lengths: "),
    ]:
        with pytest.raises(ValueError, match=match):
            probes.fitted_exponent(lengths, values)
