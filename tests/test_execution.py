"""`probes.watch` on functions whose arithmetic is known by hand, and the layers side by side."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import rnnlib
from experiments import side_by_side
from rnnlib import probes
from rnnlib.attention import MultiHeadAttention

SIZES = st.tuples(*(st.integers(1, n) for n in (7, 3, 6)))


def test_products_by_hand():
    a, b, c = torch.randn(3, 4), torch.randn(4, 5), torch.randn(3, 5)
    assert probes.watch(lambda: a @ b).multiply_adds == 60
    assert probes.watch(lambda: torch.addmm(c, a, b)).multiply_adds == 60
    assert probes.watch(lambda: c.clone().addmm_(a, b)).multiply_adds == 60
    assert probes.watch(lambda: a.expand(2, 3, 4) @ b.expand(2, 4, 5)).multiply_adds == 120
    assert probes.watch(lambda: torch.baddbmm(c[None], a[None], b[None])).multiply_adds == 60
    assert probes.watch(lambda: torch.mv(a, a[0])).multiply_adds == 12
    assert probes.watch(lambda: torch.dot(a[0], a[1])).multiply_adds == 4
    assert probes.watch(lambda: torch.einsum("ij,jk->ik", a, b)).multiply_adds == 60


def test_calls_bytes_and_elementwise_by_hand():
    a = torch.randn(3, 4)
    seen = probes.watch(lambda: (a.T[1:].tanh() + 1).clone())
    assert seen.by_name == {"add": 1, "clone": 1, "tanh": 1}
    assert (seen.calls, seen.elementwise) == (3, 18)
    assert seen.bytes_moved == 4 * (9 + 9) * 3
    assert probes.watch(lambda: a.T[0].view(3)).calls == 0
    assert probes.watch(lambda: torch.zeros(5)).calls == 0


@pytest.mark.parametrize(
    "function, chain, products",
    [
        (lambda a: a.tanh().sin(), 2, 0),
        (lambda a: a.tanh() + a.sin(), 2, 0),
        (lambda a: (a @ a, a @ a), 1, 1),
        (lambda a: (a @ a).tanh() @ a, 3, 2),
        (lambda a: torch.cat([a.tanh(), a]).sin(), 2, 0),
        (lambda a: torch.zeros_like(a.tanh()).sin(), 1, 0),
        (lambda a: a.clone().tanh_().tanh_(), 2, 0),
        (lambda a: a.tanh().fill_(1.0).sin(), 1, 0),
        (lambda a: a.tanh().copy_(a).sin(), 1, 0),
        (lambda a: torch.mul(a, 2, out=a.tanh()), 1, 0),
    ],
)
def test_the_chain_follows_what_depends_on_what(function, chain, products):
    seen = probes.watch(lambda: function(torch.full((2, 2), 0.5)))
    assert (seen.chain, seen.products_in_chain) == (chain, products)


def test_rows_of_one_piece_of_memory_have_depths_of_their_own():
    def independent(rows):
        for t in range(5):
            rows[t].add_(1)
        return rows[4].tanh()

    def dependent(rows):
        for t in range(1, 5):
            torch.add(rows[t - 1], 1, out=rows[t])
        return rows[4].tanh()

    assert probes.watch(lambda: independent(torch.zeros(5, 3))).chain == 2
    assert probes.watch(lambda: dependent(torch.zeros(5, 3))).chain == 5

    def column(rows):
        rows[:, 1].add_(1).add_(1)
        return rows.T[0].tanh(), rows.T[1].sin()

    seen = probes.watch(lambda: column(torch.zeros(5, 3)))
    assert seen.chain == 3
    seen = probes.watch(lambda: column(torch.zeros(5, 3))[0])
    assert seen.chain == 3  # the deepest of all that was done, wanted or not


def test_levels_count_a_sum_as_a_tree():
    a = torch.randn(8, 8)
    assert probes.watch(lambda: a @ a).levels == 1 + 3
    assert probes.watch(lambda: a.sum()).levels == 6
    assert probes.watch(lambda: a[:5].sum(0)).levels == 3
    assert probes.watch(lambda: a.tanh()).levels == 1
    assert probes.watch(lambda: torch.softmax(a, -1)).levels == 3 + 2 * 3


def test_peak_is_what_is_held_at_once():
    def one_at_a_time():
        for _ in range(3):
            torch.ones(1000)

    def all_at_once():
        return [torch.ones(1000) for _ in range(3)]

    assert probes.watch(one_at_a_time).peak_bytes == 4000
    assert probes.watch(all_at_once).peak_bytes == 12_000
    a = torch.ones(1000, requires_grad=True)
    assert probes.watch(lambda: a.exp().exp().sum()).peak_bytes == 8004
    with torch.no_grad():
        assert probes.watch(lambda: a.exp().exp().exp()).peak_bytes == 8000
    assert probes.watch(lambda: a[:10].view(2, 5)).peak_bytes == 0


@settings(max_examples=15, deadline=None, derandomize=True)
@given(SIZES, st.sampled_from(["RNN", "GRU", "LSTM"]), st.sampled_from(["loop", "fused"]))
def test_recurrent_layers_execute_what_the_formula_says(sizes, kind, backend):
    T, B, H = sizes
    layer = getattr(rnnlib, kind)(H, H, backend=backend)
    x = torch.randn(T, B, H, requires_grad=True)
    h_0 = [torch.randn(1, B, H, requires_grad=True) for _ in range(1 + (kind == "LSTM"))]
    state = tuple(h_0) if kind == "LSTM" else h_0[0]
    forward = probes.watch(lambda: layer(x, state))
    both = probes.watch(lambda: layer(x, state)[0].sum().backward())
    expected = probes.layer_multiply_adds(layer, T, B)
    assert (forward.multiply_adds, both.multiply_adds) == (expected[0], sum(expected))
    with FlopCounterMode(display=False) as counter:
        getattr(rnnlib, kind)(H, H, backend="loop")(x, state)
    assert forward.multiply_adds == counter.get_total_flops() / 2


def test_opaque_kernels_are_refused():
    x = torch.randn(3, 2, 4)
    with pytest.raises(TypeError, match="mkldnn_rnn_layer"):
        probes.watch(lambda: nn.LSTM(4, 4)(x))
    with pytest.raises(TypeError, match="conv"):
        probes.watch(lambda: functional.conv1d(x, torch.randn(4, 2, 3)))


# --- One layer of each kind


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("T", [1, 5, 33])
def test_attention_executes_what_the_formula_says(fused, T):
    d, B = 8, 2
    layer, x = side_by_side.SelfAttention(d, 2, fused), torch.randn(T, B, d, requires_grad=True)
    forward = probes.watch(lambda: layer(x))
    assert forward.multiply_adds == B * (4 * T * d * d + 2 * T * T * d)
    both = probes.watch(lambda: layer(x)[0].sum().backward())
    backward = 2 * 4 * T * d * d + (5 if fused else 4) * T * T * d
    assert both.multiply_adds - forward.multiply_adds == B * backward
    assert forward.products_in_chain == 4


@pytest.mark.parametrize("kind", side_by_side.KINDS)
def test_depth_grows_with_length_for_recurrent_layers_only(kind):
    depths = []
    for T in (10, 30):
        layer = side_by_side.make_layer(kind, 4, backend="fused")
        seen = probes.watch(
            lambda layer=layer, T=T: side_by_side.training(layer, torch.randn(T, 1, 4))
        )
        depths.append((seen.chain, seen.products_in_chain))
    grown = depths[1][1] - depths[0][1]
    assert grown == (2 * 20 if kind in ("RNN", "LSTM") else 0)
    assert (depths[1][0] > depths[0][0]) == (kind in ("RNN", "LSTM"))


@pytest.mark.parametrize("kind", side_by_side.KINDS)
def test_generation_is_a_chain_for_every_layer(kind):
    products = []
    for n in (5, 15):
        layer = side_by_side.make_layer(kind, 4, backend="fused")
        seen = probes.watch(
            lambda layer=layer, n=n: side_by_side.generation(layer, torch.randn(1, 4), n)
        )
        products.append(seen.products_in_chain)
    assert products[1] == 3 * products[0]


@pytest.mark.parametrize("heads", [1, 2])
def test_plain_fused_and_the_librarys_attention_agree(heads):
    d = 8
    plain, fused = (side_by_side.SelfAttention(d, heads, f, causal=True) for f in (False, True))
    fused.load_state_dict(plain.state_dict())
    ours = MultiHeadAttention(d, heads)
    with torch.no_grad():
        ours.in_proj_weight.copy_(plain.into.weight)
        ours.in_proj_bias.copy_(plain.into.bias)
        ours.out_proj.load_state_dict(plain.out.state_dict())
    x = torch.randn(6, 3, d)
    torch.testing.assert_close(plain(x)[0], fused(x)[0])
    torch.testing.assert_close(plain(x)[0], ours(x, mask=rnnlib.attention.causal_mask(6))[0])


def test_steps_equal_the_whole_sequence():
    x = torch.randn(7, 2, 8, dtype=torch.float64)
    for layer in (
        side_by_side.SelfAttention(8, 2, causal=True),
        side_by_side.Block(8, 2, causal=True),
        side_by_side.make_layer("LSTM", 8),
    ):
        layer = layer.double()
        with torch.no_grad():
            whole, state, steps = layer(x)[0], layer.initial_state(2), []
            for x_t in x:
                y_t, state = layer.step(x_t, state)
                steps.append(y_t)
        torch.testing.assert_close(torch.stack(steps), whole)


def test_state_bytes_and_what_was_read_before():
    attention = side_by_side.make_layer("attention, fused", 64, longest=100)
    assert side_by_side.state_bytes(side_by_side.read_before(attention, 50)) == 2 * 50 * 64 * 4
    lstm = side_by_side.make_layer("LSTM", 64)
    assert side_by_side.state_bytes(side_by_side.read_before(lstm, 50)) == 2 * 64 * 4
    state = side_by_side.generation(attention, torch.randn(1, 64), 3)[1]
    assert side_by_side.state_bytes(state) == 2 * 3 * 64 * 4
    with pytest.raises(ValueError, match="kind: expected one of"):
        side_by_side.make_layer("attention", 4)
    assert math.isfinite(side_by_side.seconds(lambda: None, 1))
