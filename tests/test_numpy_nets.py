"""The NumPy networks against torch.nn, autograd and central differences, and with errors planted.

The checks take a module as argument, so that they can be run on the library's own and on copies
with an error in them. A check that passes on a broken copy is no check.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from types import ModuleType
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import mutants, planted
from torch import nn

from rnnlib import tiny
from rnnlib.numpy_nets import gru, lstm, rnn
from rnnlib.numpy_nets.activations import sigmoid
from rnnlib.numpy_nets.gradient_check import central_differences, relative_error

KINDS = {"rnn": rnn, "lstm": lstm, "gru after": gru, "gru before": gru}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
CLOSE = {"rtol": 1e-10, "atol": 1e-11}


# --- What the networks are compared with: torch, fed the same numbers


def case(kind, T, B, D, H, K, seed=0, scale=1.0):
    """Random weights, inputs, initial states and output errors."""
    generator = np.random.default_rng(seed)
    p = KINDS[kind].initialise(D, H, K, seed, scale)
    initial = [generator.normal(size=(B, H)) for _ in range(2 if kind == "lstm" else 1)]
    return p, generator.normal(size=(T, B, D)), initial, generator.normal(size=(T, B, K))


def forward(module, kind, p, x, initial):
    """Call `forward` with the kind's own arguments; return y, h and what backward wants."""
    arguments = {"reset": kind.split()[1]} if kind.startswith("gru") else {}
    y, s = module.forward(p, x, *initial, **arguments)
    return y, s if kind == "rnn" else s.h, s


def torch_step(kind, w, x_t, state):
    """One step by torch's own cells; Cho's GRU, which torch does not have, is written out."""
    if kind == "rnn":
        return [torch.rnn_tanh_cell(x_t, state[0], w["W_x"], w["W_h"], w["b"], 0 * w["b"])]
    if kind == "lstm":
        return list(torch.lstm_cell(x_t, state, w["W_x"], w["W_h"], w["b"], 0 * w["b"]))
    h = state[0]
    if kind == "gru after":
        b_h = torch.cat([torch.zeros_like(w["b_hn"]).repeat(2), w["b_hn"]])
        return [torch.gru_cell(x_t, h, w["W_x"], w["W_h"], w["b"], b_h)]
    H = h.shape[1]
    gates = torch.sigmoid(
        nn.functional.linear(x_t, w["W_x"][: 2 * H], w["b"][: 2 * H])
        + nn.functional.linear(h, w["W_h"][: 2 * H])
    )
    reset, keep = gates[:, :H], gates[:, H:]
    from_x = nn.functional.linear(x_t, w["W_x"][2 * H :], w["b"][2 * H :])
    from_h = nn.functional.linear(reset * h, w["W_h"][2 * H :], w["b_hn"])
    return [torch.lerp(torch.tanh(from_x + from_h), h, keep)]


def by_autograd(kind, p, x, initial, dy, every=None, depth=None):
    """Outputs, states and gradients of Σ dy · y, each window of steps cut off by `detach`."""
    w = {name: torch.tensor(array, requires_grad=True) for name, array in p.items()}
    x, dy = torch.tensor(x, requires_grad=True), torch.tensor(dy)
    first_state = [torch.tensor(s, requires_grad=True) for s in initial]
    states = [first_state]
    for x_t in x:
        states.append(torch_step(kind, w, x_t, states[-1]))
    h = torch.stack([state[0] for state in states])
    y = h[1:] @ w["W_y"].T + w["b_y"]
    loss, T = torch.zeros((), dtype=torch.float64), len(x)
    every, depth = every or T, depth or T
    for start in range(0, T, every):
        stop = min(start + every, T)
        first = max(0, start - (depth - every))  # steps before the block's own start
        state = [s if first == 0 else s.detach() for s in states[first]]
        for t in range(first, stop):
            state = torch_step(kind, w, x[t], state)
            if t >= start:
                loss = loss + (dy[t] * (state[0] @ w["W_y"].T + w["b_y"])).sum()
    leaves = {**w, "x": x, **dict(zip(("h_0", "c_0"), first_state, strict=False))}
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    named = {name: g.numpy() for name, g in zip(leaves, gradients, strict=True)}
    return y.detach().numpy(), h.detach().numpy(), named


def flat(gradients, kind):
    """All of a `Gradients` under the names that `by_autograd` uses."""
    initial = {"h_0": gradients.h_0} | ({"c_0": gradients.c_0} if kind == "lstm" else {})
    return dict(gradients.parameters.items()) | {"x": gradients.x} | initial


def assert_equal(measured, expected):
    assert measured.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(measured[name], expected[name], **CLOSE, err_msg=name)


def raises(argument, function, *args):
    """The refusal names the argument that is wrong."""
    with pytest.raises(ValueError, match=f"^{argument}: "):
        function(*args)


# --- The checks

SHAPE = (5, 2, 3, 4, 2)  # T, B, D, H, K, all different where it matters
WINDOWS = [(1, 1), (1, 3), (2, 2), (2, 3), (3, 4), (2, 9), (9, 9), (5, 5)]


@functools.cache
def expected(kind, shape, every=None, depth=None):
    return by_autograd(kind, *case(kind, *shape, scale=2.0), every, depth)


def check_forward(module: ModuleType, kind: str) -> None:
    p, x, initial, dy = case(kind, *SHAPE, scale=2.0)
    y, h, s = forward(module, kind, p, x, initial)
    np.testing.assert_allclose(y, expected(kind, SHAPE)[0], **CLOSE)
    np.testing.assert_allclose(h, expected(kind, SHAPE)[1], **CLOSE)
    assert_equal(flat(KINDS[kind].backward(p, x, s, dy), kind), expected(kind, SHAPE)[2])
    from_zeros = forward(module, kind, p, x, [np.zeros_like(s) for s in initial])[0]
    np.testing.assert_array_equal(forward(module, kind, p, x, [])[0], from_zeros)
    raises("x", forward, module, kind, p, x[:, :, :1], initial)
    raises("h_0", forward, module, kind, p, x, [s[:, :1] for s in initial])


def check_backward(module: ModuleType, kind: str) -> None:
    p, x, initial, dy = case(kind, *SHAPE, scale=2.0)
    _, _, s = forward(KINDS[kind], kind, p, x, initial)
    gradients = module.backward(p, x, s, dy)
    assert_equal(flat(gradients, kind), expected(kind, SHAPE)[2])
    np.testing.assert_allclose(gradients.a.sum((0, 1)), gradients.parameters.b, **CLOSE)
    raises("dy", module.backward, p, x, s, dy[:-1])
    raises("h", module.backward, p, x[:-1], s, dy)
    if kind == "rnn":
        check_last_error(module)


def check_last_error(module: ModuleType) -> None:
    """An error that reaches the last state from outside is an error at an output equal to it."""
    p, x, (h_0,), dy = case("rnn", *SHAPE, scale=2.0)
    h = rnn.forward(p, x, h_0)[1]
    dh_T = np.random.default_rng(1).normal(size=h_0.shape)
    measured = module.backward(p, x, h, dy, dh_T)
    both = rnn.Parameters(p.W_h, p.W_x, p.b, np.vstack([p.W_y, np.eye(len(p.b))]), np.zeros(6))
    dy_both = np.concatenate([dy, np.zeros((*dy.shape[:2], len(p.b)))], axis=2)
    dy_both[-1, :, 2:] = dh_T
    wanted = by_autograd("rnn", both, x, [h_0], dy_both)[2]
    for name in ("W_h", "W_x", "b", "x", "h_0"):
        np.testing.assert_allclose(flat(measured, "rnn")[name], wanted[name], **CLOSE)
    np.testing.assert_allclose(measured.parameters.W_y, wanted["W_y"][:2], **CLOSE)
    raises("dh_T", module.backward, p, x, h, dy, dh_T[:, :1])


def check_truncated(module: ModuleType, kind: str) -> None:
    p, x, initial, dy = case(kind, *SHAPE, scale=2.0)
    _, _, s = forward(KINDS[kind], kind, p, x, initial)
    for every, depth in WINDOWS:
        gradients = module.backward_truncated(p, x, s, dy, every, depth)
        assert_equal(flat(gradients, kind), expected(kind, SHAPE, every, depth)[2])
        np.testing.assert_allclose(gradients.a.sum((0, 1)), gradients.parameters.b, **CLOSE)
    raises("dy", module.backward_truncated, p, x, s, dy[:-1], 1, 1)
    raises("every", module.backward_truncated, p, x, s, dy, 0, 1)
    raises("depth", module.backward_truncated, p, x, s, dy, 2, 1)


class Throws:
    """A generator whose coin throws are known in advance."""

    def __init__(self, values: list[float]) -> None:
        self.values = iter(values)

    def random(self) -> float:
        return next(self.values)


def check_randomised(module: ModuleType, kind: str = "rnn") -> None:
    """Over all 2³ outcomes of the coin throws, weighted by probability, the mean is exact."""
    p, x, (h_0,), dy = case("rnn", 3, 2, 3, 4, 2, scale=2.0)
    h = rnn.forward(p, x, h_0)[1]
    full = by_autograd("rnn", p, x, [h_0], dy)[2]
    keep, total = 0.4, {name: np.zeros_like(g) for name, g in full.items()}
    for crosses in itertools.product([True, False], repeat=3):
        throws = Throws([0.39 if c else 0.4 for c in crosses])  # random() < 0.4 with chance 0.4
        chance = np.prod([keep if c else 1 - keep for c in crosses])
        draw = module.backward_randomised(p, x, h, dy, keep, throws)
        np.testing.assert_allclose(draw.a.sum((0, 1)), draw.parameters.b, **CLOSE)
        for name, gradient in flat(draw, "rnn").items():
            total[name] += chance * gradient
    assert_equal(total, full)
    never = module.backward_randomised(p, x, h, dy, keep, Throws([0.99] * 3))
    assert_equal(
        flat(never, "rnn"),
        flat(rnn.backward_truncated(p, x, h, dy, 1, 1), "rnn") | {"h_0": np.zeros_like(h_0)},
    )
    certain = module.backward_randomised(p, x, h, dy, 1.0, np.random.default_rng(0))
    assert_equal(flat(certain, "rnn"), full)
    for wrong in (0.0, 1.5):
        raises("keep", module.backward_randomised, p, x, h, dy, wrong, Throws([0.0] * 3))
    raises("dy", module.backward_randomised, p, x, h, dy[:-1], 0.5, Throws([0.0] * 3))


def check_real_time(module: ModuleType, kind: str = "rnn") -> None:
    p, x, (h_0,), d = case("rnn", 5, 1, 3, 4, 2, scale=2.0)
    y = rnn.forward(p, x, h_0)[0]
    wanted = by_autograd("rnn", p, x, [h_0], y - d)[2]
    measured = module.real_time_recurrent_learning(p, x, h_0, d)
    assert_equal(dict(measured.items()), {n: wanted[n] for n, _ in p.items()})
    for argument, wrong in {
        "x": (np.tile(x, (1, 2, 1)), np.zeros((2, 4)), d),
        "x: expected shape .T": (x[:, :, :1], h_0, d),
        "h_0": (x, h_0[:, :1], d),
        "d": (x, h_0, d[:, :, :1]),
        "d: expected shape .5": (x, h_0, d[:-1]),
    }.items():
        with pytest.raises(ValueError, match=f"^{argument}"):
            module.real_time_recurrent_learning(p, *wrong)


def check_losses(module: ModuleType, kind: str = "rnn") -> None:
    generator = np.random.default_rng(0)
    y, d = generator.normal(size=(2, 4, 3, 5))
    loss, gradient = module.squared_error(y, d)
    scores = torch.tensor(y, requires_grad=True)
    wanted = ((scores - torch.tensor(d)) ** 2).sum() / 2
    np.testing.assert_allclose(loss, wanted.item(), **CLOSE)
    np.testing.assert_allclose(gradient, torch.autograd.grad(wanted, scores)[0], **CLOSE)
    raises("d", module.squared_error, y, d[:1])

    targets = generator.integers(0, 5, size=(4, 3))
    targets[0, 0], targets[0, 1] = 0, 4
    for y in (y, 1000 * y):  # noqa: B020 (large scores must not overflow)
        scores = torch.tensor(y, requires_grad=True)
        wanted = nn.functional.cross_entropy(scores.reshape(12, 5), torch.tensor(targets.ravel()))
        loss, gradient = module.cross_entropy(y, targets)
        np.testing.assert_allclose(loss, wanted.item(), **CLOSE)
        np.testing.assert_allclose(gradient, torch.autograd.grad(wanted, scores)[0], **CLOSE)
    raises("targets", module.cross_entropy, y, targets[:1])
    raises("targets", module.cross_entropy, y, np.where(targets == 4, 5, targets))
    raises("targets", module.cross_entropy, y, np.where(targets == 0, -1, targets))


def check_initialise(module: ModuleType, kind: str) -> None:
    p, same = module.initialise(3, 16, 2, seed=1), module.initialise(3, 16, 2, seed=1)
    for (name, array), (_, again) in zip(p.items(), same.items(), strict=True):
        np.testing.assert_array_equal(array, again)
        assert np.abs(array).max() <= 0.25, name
    assert p.W_x.shape[1] == 3 and p.W_y.shape == (2, 16)
    assert np.abs(p.W_h).max() > 0.24 and p.W_h.min() < 0 < p.W_h.max()
    twice = module.initialise(3, 16, 2, seed=1, scale=2.0)
    np.testing.assert_allclose(twice.W_h, 2 * p.W_h)


# --- The library passes them


@EVERY_KIND
@pytest.mark.parametrize(
    "check", [check_forward, check_backward, check_truncated, check_initialise]
)
def test_networks(check, kind):
    check(KINDS[kind], kind)


@pytest.mark.parametrize("check", [check_randomised, check_real_time, check_losses])
def test_of_the_rnn_alone(check):
    check(rnn)


SIZES = st.tuples(*(st.integers(1, n) for n in (6, 3, 4, 5, 3)))


@EVERY_KIND
@settings(max_examples=25, deadline=None, derandomize=True)
@given(SIZES, st.integers(0, 99), st.integers(1, 4), st.integers(0, 4))
def test_gradients_on_random_shapes(kind, sizes, seed, every, further):
    p, x, initial, dy = case(kind, *sizes, seed)
    y, h, s = forward(KINDS[kind], kind, p, x, initial)
    wanted_y, wanted_h, full = by_autograd(kind, p, x, initial, dy)
    np.testing.assert_allclose(y, wanted_y, **CLOSE)
    np.testing.assert_allclose(h, wanted_h, **CLOSE)
    assert_equal(flat(KINDS[kind].backward(p, x, s, dy), kind), full)
    depth = every + further
    cut = KINDS[kind].backward_truncated(p, x, s, dy, every, depth)
    assert_equal(flat(cut, kind), by_autograd(kind, p, x, initial, dy, every, depth)[2])


@EVERY_KIND
@pytest.mark.parametrize("sizes", [(4, 2, 3, 3, 2), (1, 2, 1, 2, 1), (3, 1, 1, 1, 1)])
def test_gradients_by_central_differences(kind, sizes):
    p, x, initial, dy = case(kind, *sizes)

    def loss():
        return float((forward(KINDS[kind], kind, p, x, initial)[0] * dy).sum())

    s = forward(KINDS[kind], kind, p, x, initial)[2]
    measured = flat(KINDS[kind].backward(p, x, s, dy), kind)
    variables = dict(p.items()) | {"x": x} | dict(zip(("h_0", "c_0"), initial, strict=False))
    for name, array in variables.items():
        assert relative_error(measured[name], central_differences(loss, array)) < 1e-6, name


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru after"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(SIZES, st.integers(0, 99))
def test_equals_torch_nn_with_copied_weights(kind, sizes, seed):
    D, H = sizes[2:4]
    p, x, initial, _ = case(kind, *sizes, seed)
    layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru after": nn.GRU}[kind](D, H).double()
    second = np.zeros_like(p.b)
    if kind == "gru after":
        second[2 * H :] = p.b_hn
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    arrays_ = (p.W_x, p.W_h, p.b, second)
    layer.load_state_dict({n: torch.tensor(a) for n, a in zip(names, arrays_, strict=True)})
    state = tuple(torch.tensor(s)[None] for s in initial)
    outputs, last = layer(torch.tensor(x), state if kind == "lstm" else state[0])
    _, h, s = forward(KINDS[kind], kind, p, x, initial)
    np.testing.assert_allclose(h[1:], outputs.detach(), **CLOSE)
    if kind == "lstm":
        np.testing.assert_allclose(s.c[-1], last[1][0].detach(), **CLOSE)


def test_gru_gates_mean_what_the_text_says():
    p, x, (h_0,), _ = case("gru after", 1, 2, 3, 4, 2)
    p.b[4:8] = 50.0  # z = 1
    np.testing.assert_allclose(gru.forward(p, x, h_0)[1].h[1], h_0)
    p.b[4:8], p.b[:4] = -50.0, -50.0  # z = 0, r = 0: the candidate sees the input alone
    for reset in ("after", "before"):
        _, s = gru.forward(p, x, h_0, reset)
        bias = 0 if reset == "after" else p.b_hn
        np.testing.assert_allclose(s.h[1], np.tanh(x[0] @ p.W_x[8:].T + p.b[8:] + bias))


def test_the_two_gru_conventions_differ():
    p, x, (h_0,), _ = case("gru after", 4, 2, 3, 4, 2)
    assert np.abs(gru.forward(p, x, h_0)[0] - gru.forward(p, x, h_0, "before")[0]).max() > 1e-3


def test_lstm_cell_with_open_forget_gate_adds_up():
    p, x, _, _ = case("lstm", 6, 1, 2, 3, 1)
    p.b[3:6] = 50.0  # f = 1
    _, s = lstm.forward(p, x)
    np.testing.assert_allclose(s.c[-1], (s.i * s.g).sum(0))


def test_tiny_network_by_hand():
    p, x, d = tiny.parameters(), tiny.inputs(), tiny.targets()
    y, h = rnn.forward(p, x, tiny.initial_state())
    np.testing.assert_allclose(h[1, 0], [np.tanh(1.0), np.tanh(-0.4)])
    np.testing.assert_allclose(y[0, 0, 0], np.tanh(1.0) + np.tanh(0.4))
    assert (np.sign(y) == d).all()


@EVERY_KIND
def test_copies_share_nothing_and_keep_their_type(kind):
    p = case(kind, *SHAPE)[0]
    other, zeros = p.copy(), p.zeros_like()
    assert type(other) is type(zeros) is type(p)
    for name, array in other.items():
        assert not np.shares_memory(array, getattr(p, name))
        assert not getattr(zeros, name).any() and getattr(zeros, name).shape == array.shape


@EVERY_KIND
def test_parameters_that_do_not_fit_are_refused(kind):
    p = dict(case(kind, *SHAPE)[0].items())
    for name in p:
        if name != "b_y":  # its length defines K
            with pytest.raises(ValueError, match=r"expected shape \("):
                type(case(kind, *SHAPE)[0])(**{**p, name: p[name][:-1]})
    with pytest.raises(ValueError, match="without empty axes"):
        KINDS[kind].initialise(0, 3, 1, seed=0)


def test_wrong_arguments_of_the_gated_networks():
    p, x, initial, dy = case("lstm", *SHAPE)
    s = lstm.forward(p, x, *initial)[1]
    raises("c_0", lstm.forward, p, x, initial[0], initial[1][:1])
    for name in ("c", "i", "f", "g", "o"):
        wrong = dataclasses.replace(s, **{name: getattr(s, name)[:-1]})
        raises(name, lstm.backward, p, x, wrong, dy)
    p, x, initial, dy = case("gru after", *SHAPE)
    s = gru.forward(p, x, *initial)[1]
    raises("reset", gru.forward, p, x, initial[0], "later")
    raises("reset", gru.backward, p, x, dataclasses.replace(s, reset="later"), dy)
    for name in ("r", "z", "n", "m"):
        wrong = dataclasses.replace(s, **{name: getattr(s, name)[:-1]})
        raises(name, gru.backward, p, x, wrong, dy)
    for x in (np.ones((0, 2, 3)), np.ones((4, 0, 3)), np.ones((4, 3)), np.ones((4, 2, 2))):
        raises("x", gru.forward, p, x)
        raises("x", lstm.forward, lstm.initialise(3, 4, 2, seed=0), x)
        raises("x", rnn.forward, rnn.initialise(3, 4, 2, seed=0), x)


def test_sigmoid():
    a = np.array([-1000.0, -3.0, 0.0, 2.0, 1000.0])
    with np.errstate(all="raise"):
        np.testing.assert_allclose(sigmoid(a), torch.sigmoid(torch.tensor(a)), atol=1e-16)


def test_central_differences_of_known_functions():
    a = np.random.default_rng(0).normal(size=(2, 3))
    kept = a.copy()
    gradient = central_differences(lambda: float((a**3).sum()), a)
    np.testing.assert_allclose(gradient, 3 * a**2, rtol=1e-8)
    np.testing.assert_array_equal(a, kept)
    coarse = central_differences(lambda: float((a**3).sum()), a, step=0.1)
    np.testing.assert_allclose(coarse - 3 * a**2, 0.01)  # the error is ε² here
    for wrong in (a.astype(np.float32), [1.0]):
        with pytest.raises(TypeError, match="float64"):
            central_differences(lambda: 0.0, wrong)


def test_relative_error_uses_one_scale_for_the_array():
    assert relative_error(np.array([1.0, 0.0]), np.array([1.0, 1e-3])) == pytest.approx(1e-3)
    assert relative_error(np.array([3.0]), np.array([4.0])) == 0.25
    assert relative_error(np.zeros(2), np.zeros(2)) == 0.0
    with pytest.raises(ValueError, match=r"^measured: "):
        relative_error(np.zeros(2), np.zeros(3))


# --- Errors planted: each must be noticed

PLANTED = [
    # (kind, function, text, replaced by, check that must fail)
    ("rnn", "step", "h @ p.W_h.T", "h @ p.W_h", check_forward),
    ("rnn", "step", " + p.b", "", check_forward),
    ("rnn", "forward", "h[t - 1])", "h[0])", check_forward),
    ("rnn", "backward", "(1 - h[t + 1] ** 2)", "(1 - h[t] ** 2)", check_backward),
    ("rnn", "backward", "delta[t] @ p.W_h", "delta[t] @ p.W_h.T", check_backward),
    ("rnn", "backward", "dh = dh + dy[t]", "dh = dy[t]", check_backward),
    ("rnn", "collect", "delta, h[:-1]", "delta, h[1:]", check_backward),
    ("rnn", "collect", '"tbk,tbj->kj", dy, h[1:]', '"tbk,tbj->kj", dy, h[:-1]', check_backward),
    ("rnn", "collect", "b=delta.sum((0, 1))", "b=delta.mean((0, 1))", check_backward),
    ("rnn", "backward_truncated", "total[t] += delta", "total[t] = delta", check_truncated),
    ("rnn", "backward_truncated", "start + every - depth", "start - depth", check_truncated),
    ("rnn", "backward_truncated", "if t >= start:", "if True:", check_truncated),
    ("rnn", "backward_randomised", " / keep", "", check_randomised),
    ("rnn", "backward_randomised", " / keep", " / (1 - keep)", check_randomised),
    ("rnn", "real_time_recurrent_learning", "p.W_h @ P + da", "p.W_h @ P", check_real_time),
    (
        "rnn",
        "real_time_recurrent_learning",
        "np.kron(eye, h), np",
        "0 * np.kron(eye, h), np",
        check_real_time,
    ),
    ("rnn", "cross_entropy", "/ (T * B), (", "/ (T * B), T * (", check_losses),
    ("lstm", "step", "a_i, a_f, a_g, a_o =", "a_i, a_f, a_o, a_g =", check_forward),
    ("lstm", "step", "a_i, a_f, a_g, a_o =", "a_f, a_i, a_g, a_o =", check_forward),
    ("lstm", "step", "o * np.tanh(c)", "o * c", check_forward),
    ("lstm", "step_backward", "dc = dc + dh * o", "dc = dh * o", check_backward),
    ("lstm", "step_backward", " * (1 - c**2)", "", check_backward),
    ("lstm", "step_backward", "s.c[t] * f", "s.c[t + 1] * f", check_backward),
    ("lstm", "step_backward", "dc * f\n", "dc * i\n", check_backward),
    ("lstm", "backward", "da[t] @ p.W_h", "da[t] @ p.W_h * 0", check_backward),
    ("gru after", "step", "(1 - z) * n + z * h", "z * n + (1 - z) * h", check_forward),
    (
        "gru after",
        "step",
        "r = sigmoid(a_r + h @ W_hr.T)",
        "r = sigmoid(a_r + h @ W_hz.T)",
        check_forward,
    ),
    ("gru after", "step", "r * m)", "m)", check_forward),
    ("gru after", "step_backward", "(h - n)", "(n - h)", check_backward),
    ("gru after", "step_backward", "(da_n * r) @ W_hn", "da_n @ W_hn", check_backward),
    ("gru after", "step_backward", "dh * z + dh_n", "dh_n", check_backward),
    ("gru after", "step_backward", " + da_z @ W_hz", "", check_backward),
    ("gru after", "collect", "dm = da_n * s.r", "dm = da_n", check_backward),
    ("gru before", "step", "(r * h) @ W_hn.T", "r * (h @ W_hn.T)", check_forward),
    ("gru before", "step_backward", "drh * h, drh * r", "drh * h, drh", check_backward),
    ("gru before", "collect", "s.r * h", "h", check_backward),
]


@pytest.mark.parametrize("kind, function, old, new, check", PLANTED)
def test_planted_error_is_noticed(kind, function, old, new, check):
    with pytest.raises(AssertionError):
        check(planted(KINDS[kind], function, old, new), kind)


RNN_CHECKS = {
    "initialise": check_initialise,
    "step": check_forward,
    "forward": check_forward,
    "backward": check_backward,
    "collect": check_backward,
    "backward_truncated": check_truncated,
    "backward_randomised": check_randomised,
    "real_time_recurrent_learning": check_real_time,
    "squared_error": check_losses,
    "cross_entropy": check_losses,
}
GATED_CHECKS = {
    name: RNN_CHECKS[name]
    for name in ("initialise", "step", "forward", "backward", "collect", "backward_truncated")
} | {"step_backward": check_backward}
ALL_FUNCTIONS = [
    *[(rnn, name, check, ["rnn"]) for name, check in RNN_CHECKS.items()],
    *[(lstm, name, check, ["lstm"]) for name, check in GATED_CHECKS.items()],
    *[(gru, name, check, ["gru after", "gru before"]) for name, check in GATED_CHECKS.items()],
]


def empty(shape, dtype=np.float64):
    """Memory that nobody has written to is not a number, rather than what was there before."""
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -9, dtype=dtype)


def empty_like(array, shape=None):
    return empty(array.shape if shape is None else shape, array.dtype)


def equivalent(text):
    """No error at all: zeros in the shape of another state; `collect` does not read the weights."""
    other_state = "zeros_like(" in text and text.endswith(": 0 -> 1")
    return other_state or ("collect(p, " in text and ": p -> " in text)


def noticed(check, module, kinds):
    """Whether a check fails, in whatever way, on a broken module."""
    nans = patch.multiple(np, empty=empty, empty_like=empty_like)
    with np.errstate(all="ignore"), nans:
        for kind in kinds:
            try:
                check(module, kind)
            except (Exception, pytest.fail.Exception):
                return True
    return False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "module, function, check, kinds", ALL_FUNCTIONS, ids=lambda v: getattr(v, "__name__", None)
)
def test_every_small_change_is_noticed(module, function, check, kinds):
    assert not noticed(check, module, kinds)
    changed = [(text, m) for text, m in mutants(module, function) if not equivalent(text)]
    assert len(changed) > 5
    assert [text for text, m in changed if not noticed(check, m, kinds)] == []
