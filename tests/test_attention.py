"""Attention equals torch's, its masks leak nothing, and wrong input is refused by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from rnnlib import attention as A

small = st.integers(1, 5)


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


# attend


@settings(deadline=None, max_examples=30)
@given(small, small, small, small, small, st.booleans())
def test_attend_equals_torch(batch, n, m, d, e, masked):
    Q, K, V = torch.randn(batch, 2, n, d), torch.randn(batch, 2, m, d), torch.randn(batch, 2, m, e)
    mask = torch.rand(batch, 1, n, m) < 0.6 if masked else None
    if mask is not None:
        mask[..., 0] = True  # where torch is defined: every query may look at something
    output, weights = A.attend(Q, K, V, mask)
    close(output, F.scaled_dot_product_attention(Q, K, V, attn_mask=mask))
    close(weights.sum(-1), torch.ones(batch, 2, n))
    assert mask is None or (weights.masked_select(~mask) == 0).all()


def test_attend_takes_another_scale():
    Q, K, V = torch.randn(3, 4), torch.randn(5, 4), torch.randn(5, 2)
    close(A.attend(Q, K, V, scale=0.3)[0], F.scaled_dot_product_attention(Q, K, V, scale=0.3))


def test_causal_attend_equals_torch():
    Q, K, V = torch.randn(6, 4), torch.randn(6, 4), torch.randn(6, 3)
    ours = A.attend(Q, K, V, A.causal_mask(6))[0]
    close(ours, F.scaled_dot_product_attention(Q, K, V, is_causal=True))


def test_attend_has_the_gradient_that_finite_differences_give():
    mask = torch.tensor([[True, True, False], [False, False, False]])
    inputs = [torch.randn(2, 4), torch.randn(3, 4), torch.randn(3, 5)]
    inputs = [each.requires_grad_() for each in inputs]
    assert torch.autograd.gradcheck(lambda *qkv: A.attend(*qkv, mask), inputs)


def test_a_query_that_may_look_at_nothing_gets_zero_and_passes_no_gradient():
    Q, K, V = (torch.randn(3, 4, requires_grad=True) for _ in range(3))
    mask = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    output, weights = A.attend(Q, K, V, mask)
    assert (output[1] == 0).all() and (weights[1] == 0).all()
    output.pow(2).sum().backward()
    for each in (Q, K, V):
        assert torch.isfinite(each.grad).all()
    assert (Q.grad[1] == 0).all() and (Q.grad[0] != 0).all()
    assert A.attend(Q, K[:0], V[:0])[0].eq(0).all()  # no key at all


@pytest.mark.parametrize("large", [1e4, 1e300])
def test_what_stands_behind_the_mask_changes_nothing(large):
    Q, K, V = torch.randn(3, 4), torch.randn(5, 4), torch.randn(5, 2)
    mask = torch.tensor([True, True, False, True, False])
    before = A.attend(Q, K, V, mask)
    K[~mask], V[~mask] = large, -large
    for old, new in zip(before, A.attend(Q, K, V, mask), strict=True):
        assert torch.equal(old, new)


def test_large_scores_stay_finite():
    Q = torch.full((1, 4), 1e4)
    output, weights = A.attend(Q, torch.tensor([[1.0] * 4, [-1.0] * 4]) * 1e4, torch.eye(2))
    assert torch.equal(weights, torch.tensor([[1.0, 0.0]])) and torch.isfinite(output).all()


# Masks


def test_padding_mask():
    mask = A.padding_mask(torch.tensor([3, 1]), 4)
    assert mask.int().T.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert torch.equal(A.padding_mask([3, 1], 4), mask)


def test_causal_mask_with_a_past():
    assert torch.equal(A.causal_mask(3), torch.ones(3, 3).tril().bool())
    assert A.causal_mask(2, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


# Additive and dot attention


def modules():
    return [
        (A.AdditiveAttention(4, 6, 5), 4),
        (A.DotAttention(6, 6), 6),
        (A.DotAttention(6, 6, "scaled"), 6),
        (A.DotAttention(4, 6, "general"), 4),
    ]


def test_scores_are_their_formulas():
    additive, dot, scaled, general = (module for module, _ in modules())
    q, w, k = torch.randn(4), torch.randn(6), torch.randn(6)
    expected = additive.v.weight[0] @ torch.tanh(
        additive.W_q.weight @ q + additive.W_k.weight @ k + additive.W_k.bias
    )
    close(additive.scores(q[None, None], k[None, None])[0, 0, 0], expected)
    close(dot.scores(w[None, None], k[None, None])[0, 0, 0], w @ k)
    close(scaled.scores(w[None, None], k[None, None])[0, 0, 0], w @ k / 6**0.5)
    close(general.scores(q[None, None], k[None, None])[0, 0, 0], q @ general.W_a.weight @ k)


def test_scaled_dot_is_attend():
    query, keys, mask = torch.randn(2, 3, 6), torch.randn(5, 3, 6), A.padding_mask([5, 2, 1], 5)
    context, weights = A.DotAttention(6, 6, "scaled")(query, keys, mask)
    rows = [each.transpose(0, 1) for each in (query, keys, keys)]
    output, expected = A.attend(*rows, mask.T[:, None])
    close(context, output.transpose(0, 1))
    close(weights, expected.transpose(0, 1))


@pytest.mark.parametrize("module, size", modules())
def test_all_steps_at_once_equal_one_after_the_other(module, size):
    query, keys = torch.randn(7, 3, size), torch.randn(5, 3, 6)
    mask = A.padding_mask([5, 2, 1], 5)
    module = module.double()
    context, weights = module(query, keys, mask)
    assert context.shape == (7, 3, 6) and weights.shape == (7, 3, 5)
    for t in range(7):
        context_t, weights_t = module(query[t], keys, mask)
        assert weights_t.shape == (5, 3)
        close(context_t, context[t])
        close(weights_t, weights[t].T)
        close(context_t, (weights_t[:, :, None] * keys).sum(0))


@pytest.mark.parametrize("module, size", modules())
def test_padding_of_the_source_changes_nothing_and_gets_no_gradient(module, size):
    module = module.double()
    query, keys, mask = torch.randn(3, size), torch.randn(5, 3, 6), A.padding_mask([5, 2, 1], 5)
    other = torch.where(mask[:, :, None], keys, 100 * torch.randn(5, 3, 6)).requires_grad_()
    context, weights = module(query, other, mask)
    assert torch.equal(context, module(query, keys, mask)[0])
    assert (weights[~mask] == 0).all()
    context.pow(2).sum().backward()
    assert (other.grad[~mask] == 0).all() and (other.grad[mask] != 0).any()


# Several heads


@settings(deadline=None, max_examples=25)
@given(small, small, small, st.sampled_from([1, 2, 3]), st.booleans(), st.booleans())
def test_several_heads_equal_torch(n, m, B, heads, bias, padded):
    theirs = torch.nn.MultiheadAttention(6, heads, bias=bias)
    ours = A.MultiHeadAttention(6, heads, bias=bias)
    assert ours.load_state_dict(theirs.state_dict()).missing_keys == []
    query, key, value = torch.randn(n, B, 6), torch.randn(m, B, 6), torch.randn(m, B, 6)
    mask = A.padding_mask(torch.randint(1, m + 1, (B,)), m) if padded else None
    output, weights = ours(query, key, value, None if mask is None else mask[None])
    hidden = None if mask is None else ~mask.T
    expected = theirs(query, key, value, hidden, average_attn_weights=False)
    close(output, expected[0])
    close(weights, expected[1])


def test_several_heads_draw_the_weights_of_torch():
    torch.manual_seed(3)
    theirs = torch.nn.MultiheadAttention(8, 2)
    torch.manual_seed(3)
    ours = A.MultiHeadAttention(8, 2)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, weight in theirs.state_dict().items():
        assert torch.equal(weight, ours.state_dict()[name]), name


def test_self_attention_under_a_causal_mask_equals_torch():
    theirs, x = torch.nn.MultiheadAttention(8, 2), torch.randn(5, 3, 8)
    ours = A.MultiHeadAttention(8, 2)
    ours.load_state_dict(theirs.state_dict())
    mask = A.causal_mask(5)
    close(ours(x, mask=mask)[0], theirs(x, x, x, attn_mask=~mask)[0])
    close(ours(x, mask=mask[:, :, None])[0], ours(x, x, x, mask)[0])


def test_a_cache_equals_computing_keys_and_values_again():
    module, x = A.MultiHeadAttention(8, 2), torch.randn(6, 3, 8)
    whole = module(x, mask=A.causal_mask(6))[0]
    cache = module.keys_values(x[:1])
    close(module(x[:1], cache=cache)[0], whole[:1])
    for t in range(1, 6):
        cache = cache.append(module.keys_values(x[t : t + 1]))
        close(module(x[t : t + 1], cache=cache)[0], whole[t : t + 1])


def test_dropout_acts_in_training_only():
    module, x = A.MultiHeadAttention(8, 2, dropout=0.5), torch.randn(6, 3, 8)
    assert not torch.equal(module(x)[0], module(x)[0])
    assert torch.equal(module.eval()(x)[0], module(x)[0])


# Refusals


def heads():
    return A.MultiHeadAttention(8, 2)


REFUSALS = [
    (lambda: A.MultiHeadAttention(8, 3), "heads must divide d_model = 8 .*got 3"),
    (lambda: A.MultiHeadAttention(8, 2, dropout=1.5), "dropout must be .*1.5"),
    (lambda: A.DotAttention(4, 6), "query_size must be key_size = 6 .*got 4"),
    (lambda: A.DotAttention(4, 4, "cosine"), "kind must be one of .*'cosine'"),
    (lambda: A.causal_mask(3, 2), "m must be at least n = 3.*got 2"),
    (lambda: A.padding_mask([5], 4), r"lengths\[0\] is 5"),
    (lambda: A.padding_mask([0], 4), r"lengths\[0\] is 0"),
    (lambda: A.attend(torch.ones(2, 3), torch.ones(2, 4), torch.ones(2, 4)), "key must .*3"),
    (lambda: A.attend(torch.ones(2, 3), torch.ones(4, 3), torch.ones(2, 3)), "value must .*4"),
    (lambda: A.attend(torch.ones(3), torch.ones(4, 3), torch.ones(4, 3)), "query must"),
    (lambda: A.attend(*[torch.ones(2, 2)] * 3, mask=torch.ones(2, 2)), "mask must be bool.*float"),
    (lambda: heads()(torch.ones(4, 2, 7)), r"query must have shape \(n, B, 8\).*\(4, 2, 7\)"),
    (lambda: heads()(torch.ones(4, 2, 8).float()), "query has dtype"),
    (lambda: heads()(torch.ones(4, 2, 8), torch.ones(4, 3, 8)), "query holds a batch of 2 .* 3"),
    (lambda: heads()(torch.ones(4, 2, 8), mask=torch.ones(4, 5).bool()), r"mask must .*\(4, 5\)"),
    (lambda: heads()(torch.ones(4, 2, 8), mask=torch.ones(4).bool()), "mask must have shape"),
    (
        lambda: heads()(torch.ones(4, 2, 8), torch.ones(4, 2, 8), torch.ones(3, 2, 8)),
        "value must have the shape of key",
    ),
    (
        lambda: (
            heads()
            .keys_values(torch.ones(1, 2, 8))
            .append(heads().keys_values(torch.ones(1, 3, 8)))
        ),
        "the cache holds a batch of 2 sequences; the input holds 3",
    ),
    (
        lambda: heads()(
            torch.ones(1, 2, 8), torch.ones(1, 2, 8), cache=heads().keys_values(torch.ones(1, 2, 8))
        ),
        "already in the cache",
    ),
    (
        lambda: A.AdditiveAttention(4, 6, 5)(torch.ones(2, 4), torch.ones(3, 1, 6)),
        "query must have shape",
    ),
    (
        lambda: A.DotAttention(6, 6)(torch.ones(2, 6), torch.ones(3, 2, 6), torch.ones(2, 3) > 0),
        r"mask must have shape \(3, 2\); got \(2, 3\)",
    ),
]


@pytest.mark.parametrize("call, message", REFUSALS)
def test_wrong_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
