"""The Transformer equals torch's blocks, keeps the contract, and refuses wrong input by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rnnlib import decoding
from rnnlib import transformer as T
from rnnlib.attention import causal_mask, padding_mask

small = st.integers(1, 5)
kinds = st.sampled_from(T.POSITIONS)
norms = st.sampled_from(T.NORMS)


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


# Positions


def test_sinusoidal_positions_are_the_formula():
    table = T.sinusoidal_positions(50, 6)
    for position, i in ((0, 0), (1, 0), (7, 1), (49, 2)):
        angle = torch.tensor(position / 10000 ** (2 * i / 6))
        close(table[position, 2 * i], angle.sin())
        close(table[position, 2 * i + 1], angle.cos())


def test_a_shift_of_sinusoidal_positions_is_one_rotation_for_all_places():
    table, by = T.sinusoidal_positions(40, 6), 5
    a = T.angles(torch.tensor(by), 6)
    sine, cosine = table[:-by, 0::2], table[:-by, 1::2]
    close(table[by:, 0::2], sine * a.cos() + cosine * a.sin())
    close(table[by:, 1::2], cosine * a.cos() - sine * a.sin())


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_rotary_scores_depend_on_the_distance_only(i, j, shift):
    q, k = torch.randn(8), torch.randn(8)
    first = T.rotate(q, torch.tensor(i)) @ T.rotate(k, torch.tensor(j))
    moved = T.rotate(q, torch.tensor(i + shift)) @ T.rotate(k, torch.tensor(j + shift))
    close(first, moved)


def test_rotation_keeps_the_length_and_does_turn():
    x = torch.randn(5, 3, 8)
    turned = T.rotate(x, torch.arange(5)[:, None])
    close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[0], x[0]) and not torch.allclose(turned[1:], x[1:])
    pair = torch.view_as_complex(x[3, 0, :2])
    close(torch.view_as_complex(turned[3, 0, :2]), pair * torch.exp(torch.tensor(3j)))


# Blocks


@settings(deadline=None, max_examples=20)
@given(small, small, norms, st.booleans())
def test_encoder_block_equals_torch(n, B, norm, padded):
    theirs = nn.TransformerEncoderLayer(6, 2, 5, dropout=0.0, norm_first=norm == "pre")
    ours = T.EncoderBlock(6, 2, 5, norm=norm)
    ours.load_state_dict(theirs.state_dict())
    x, causal = torch.randn(n, B, 6), causal_mask(n)
    real = padding_mask(torch.randint(1, n + 1, (B,)), n) if padded else None
    mask = causal if real is None else causal[:, :, None] & real
    hidden = None if real is None else ~real.T
    close(ours(x, mask), theirs(x, src_mask=~causal, src_key_padding_mask=hidden))
    close(ours(x), theirs(x))


@settings(deadline=None, max_examples=20)
@given(small, small, small, norms)
def test_decoder_block_equals_torch(n, S, B, norm):
    theirs = nn.TransformerDecoderLayer(6, 2, 5, dropout=0.0, norm_first=norm == "pre")
    ours = T.DecoderBlock(6, 2, 5, norm=norm)
    ours.load_state_dict(theirs.state_dict())
    x, memory, causal = torch.randn(n, B, 6), torch.randn(S, B, 6), causal_mask(n)
    real = padding_mask(torch.randint(1, S + 1, (B,)), S)
    expected = theirs(x, memory, tgt_mask=~causal, memory_key_padding_mask=~real.T)
    close(ours(x, memory, causal, real[None]), expected)
    close(ours(x, memory), theirs(x, memory))


@pytest.mark.parametrize(
    "block, layer",
    [(T.EncoderBlock, nn.TransformerEncoderLayer), (T.DecoderBlock, nn.TransformerDecoderLayer)],
)
def test_blocks_draw_the_weights_of_torch(block, layer):
    torch.manual_seed(3)
    theirs = layer(8, 2, 16)
    torch.manual_seed(3)
    ours = block(8, 2, 16)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, weight in theirs.state_dict().items():
        assert torch.equal(weight, ours.state_dict()[name]), name


def test_a_stack_equals_torch():
    theirs = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, norm_first=True),
        3,
        nn.LayerNorm(8),
        enable_nested_tensor=False,
    )
    ours = T.CausalTransformer(8, 2, 3, positions="none")
    names = {name.replace("layers.", "blocks."): w for name, w in theirs.state_dict().items()}
    ours.load_state_dict(names)
    x = torch.randn(5, 2, 8)
    close(ours(x)[0], theirs(x, mask=~causal_mask(5)))


# The contract of every sequence model


def causal(positions="sinusoidal", norm="pre"):
    return T.CausalTransformer(8, 2, 2, 12, positions, longest=40, norm=norm)


@settings(deadline=None, max_examples=40)
@given(small, small, kinds, norms, st.integers(0, 5))
def test_step_by_step_and_in_pieces_equal_the_whole(steps, B, positions, norm, cut):
    model, x = causal(positions, norm), torch.randn(steps, B, 8)
    whole, last = model(x)
    state = model.initial_state(B)
    for t in range(steps):
        y, state = model.step(x[t], state)
        close(y, whole[t])
    for ours, theirs in zip(state.layers, last.layers, strict=True):
        close(ours.K, theirs.K)
        close(ours.V, theirs.V)
    if 0 < cut < steps:
        first, state = model(x[:cut])
        second, _ = model(x[cut:], state)
        close(torch.cat([first, second]), whole)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 6), small, kinds, norms)
def test_the_future_changes_nothing_before_it(steps, B, positions, norm):
    model, x = causal(positions, norm), torch.randn(steps, B, 8)
    changed = x.clone()
    changed[steps // 2 :] += 10 * torch.randn(steps - steps // 2, B, 8)
    before, after = model(x)[0], model(changed)[0]
    close(before[: steps // 2], after[: steps // 2])
    assert not torch.allclose(before[steps // 2 :], after[steps // 2 :])


@settings(deadline=None, max_examples=30)
@given(small, small, kinds, norms)
def test_padding_changes_nothing(steps, B, positions, norm):
    model, x = causal(positions, norm), torch.randn(steps, B, 8)
    lengths = torch.randint(1, steps + 1, (B,))
    real = padding_mask(lengths, steps)
    other = torch.where(real[:, :, None], x, torch.full_like(x, torch.nan)).requires_grad_()
    outputs, state = model(x, lengths=lengths)
    outputs_2, state_2 = model(other, lengths=lengths)
    assert torch.equal(outputs, outputs_2) and (outputs[~real] == 0).all()
    outputs_2.pow(2).sum().backward()
    assert (other.grad[~real] == 0).all() and torch.isfinite(other.grad).all()
    more = torch.randn(3, B, 8)  # the sequences go on, each behind its own end
    after, after_2 = model(more, state)[0], model(more, state_2)[0]
    assert torch.equal(after, after_2)
    for b, length in enumerate(lengths.tolist()):
        alone = torch.cat([x[:length, b : b + 1], more[:, b : b + 1]])
        expected = model(alone)[0][:, 0]
        close(outputs[:length, b], expected[:length])
        close(after[:, b], expected[length:])


def test_two_padded_pieces_equal_one_sequence():
    model, x, y = causal("rotary"), torch.randn(4, 2, 8), torch.randn(3, 2, 8)
    _, state = model(x, lengths=[4, 2])
    outputs, state = model(y, state, lengths=[1, 3])
    last, _ = model.step(x[0], state)
    for b, (n, m) in enumerate(((4, 1), (2, 3))):
        alone = torch.cat([x[:n, b : b + 1], y[:m, b : b + 1], x[:1, b : b + 1]])
        expected = model(alone)[0][:, 0]
        close(outputs[:m, b], expected[n : n + m])
        close(last[b], expected[-1])


@pytest.mark.parametrize("positions", T.POSITIONS)
def test_rows_of_a_state_can_be_selected(positions):
    model, x = causal(positions), torch.randn(4, 3, 8)
    rows = torch.tensor([2, 0, 2, 1])
    for lengths in (None, torch.tensor([4, 1, 2])):
        _, state = model(x, lengths=lengths)
        y, _ = model.step(x[0], state)
        picked, _ = model.step(x[0][rows], decoding.select(state, rows))
        close(picked, y[rows])


# Order: a set without positions, and what a causal mask tells


def test_without_positions_and_mask_a_block_does_not_see_the_order():
    block, x, order = T.EncoderBlock(8, 2, 12), torch.randn(6, 2, 8), torch.randperm(6)
    close(block(x[order]), block(x)[order])
    mask = causal_mask(6)
    assert not torch.allclose(block(x[order], mask), block(x, mask)[order], atol=1e-3)
    model = causal("none")
    assert not torch.allclose(model(x[order])[0], model(x)[0][order], atol=1e-3)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary"])
def test_positions_change_what_the_last_step_sees(positions):
    x = torch.randn(6, 2, 8)
    swapped = x[[1, 0, 2, 3, 4, 5]]
    one_layer = [T.CausalTransformer(8, 2, 1, positions=p) for p in ("none", positions)]
    without, with_positions = (torch.dist(m(x)[0][-1], m(swapped)[0][-1]) for m in one_layer)
    assert without < 1e-12 and with_positions > 1e-6


# Language model, encoder and decoder


@settings(deadline=None, max_examples=20)
@given(small, small, kinds, norms)
def test_language_model_keeps_the_contract(steps, B, positions, norm):
    model = T.TransformerLanguageModel(7, 8, 2, 2, None, positions, 40, norm)
    ids = torch.randint(7, (steps, B))
    scores, _ = model(ids)
    assert scores.shape == (steps, B, 7)
    state = None
    for t in range(steps):
        scores_t, state = model.step(ids[t], state)
        close(scores_t, scores[t])
    lengths = torch.randint(1, steps + 1, (B,))
    other = torch.where(padding_mask(lengths, steps), ids, (ids + 1) % 7)
    assert torch.equal(model(ids, lengths=lengths)[0], model(other, lengths=lengths)[0])


def pairs(positions="sinusoidal", norm="pre", **more):
    return T.TransformerEncoderDecoder(9, 7, 8, 2, 2, 12, positions, 40, norm, **more)


@settings(deadline=None, max_examples=20)
@given(small, small, small, kinds, norms)
def test_encoder_decoder_steps_equal_teacher_forcing(S, steps, B, positions, norm):
    model = pairs(positions, norm)
    source, target = torch.randint(9, (S, B)), torch.randint(7, (steps, B))
    lengths = torch.randint(1, S + 1, (B,))
    scores = model(source, lengths, target)
    assert scores.shape == (steps, B, 7)
    state = model.encode(source, lengths)
    for t in range(steps):
        scores_t, state = model.step(target[t], state)
        close(scores_t, scores[t])
    rows = torch.arange(B - 1, -1, -1)
    close(
        model.step(target[0][rows], decoding.select(state, rows))[0],
        model.step(target[0], state)[0][rows],
    )


def test_encoder_decoder_ignores_padding_and_future():
    model, lengths = pairs(), torch.tensor([5, 2, 1])
    source, target = torch.randint(9, (5, 3)), torch.randint(7, (4, 3))
    scores = model(source, lengths, target)
    other = torch.where(padding_mask(lengths, 5), source, (source + 1) % 9)
    assert torch.equal(model(other, lengths, target), scores)
    close(model(source[:2, 1:2], [2], target[:, 1:2]), scores[:, 1:2])
    later = target.clone()
    later[2:] = (later[2:] + 1) % 7
    close(model(source, lengths, later)[:2], scores[:2])
    assert not torch.allclose(model(source, lengths, later)[2:], scores[2:])


def test_the_source_is_read_once():
    model, calls = pairs(), []
    for block in model.decoder:
        block.multihead_attn.keys_values = lambda *x, f=block.multihead_attn.keys_values: (
            calls.append(1),
            f(*x),
        )[1]
    state = model.encode(torch.randint(9, (5, 2)), [5, 3])
    for _ in range(4):
        _, state = model.step(torch.tensor([1, 2]), state)
    assert len(calls) == len(model.decoder)


def test_align_is_the_mean_over_the_heads():
    model, lengths = pairs(), torch.tensor([5, 2])
    source, target = torch.randint(9, (5, 2)), torch.randint(7, (4, 2))
    weights = model.align(source, lengths, target)
    assert weights.shape == (4, 2, 5)
    close(weights.sum(-1), torch.ones(4, 2))
    assert (weights[:, 1, 2:] == 0).all()
    assert not torch.allclose(weights, model.align(source, lengths, target, layer=0))
    seen = []
    keep = model.decoder[-1].multihead_attn.combine
    model.decoder[-1].multihead_attn.combine = lambda *a: (seen.append(keep(*a)), seen[-1])[1]
    model(source, lengths, target)
    close(weights, seen[0][1].mean(1).transpose(0, 1))


def test_every_parameter_gets_a_gradient():
    model = pairs("learned")
    model(torch.randint(9, (5, 2)), [5, 3], torch.randint(7, (4, 2))).pow(2).sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []


def test_dropout_acts_in_training_only():
    model, source, target = pairs(dropout=0.5), torch.randint(9, (5, 2)), torch.randint(7, (4, 2))
    runs = [model(source, [5, 3], target) for _ in range(2)]
    assert not torch.equal(*runs)
    model.eval()
    assert torch.equal(model(source, [5, 3], target), model(source, [5, 3], target))


# Refusals


def state_of(batch):
    return causal()(torch.randn(3, batch, 8))[1]


REFUSALS = [
    (lambda: T.CausalTransformer(8, 3, 1), "heads must divide d_model = 8"),
    (lambda: T.CausalTransformer(8, 2, 0), "layers must be at least 1"),
    (lambda: T.CausalTransformer(8, 2, 1, d_ff=0), "d_ff must be at least 1"),
    (lambda: T.CausalTransformer(8, 2, 1, positions="alibi"), "positions must be one of"),
    (lambda: T.CausalTransformer(8, 2, 1, norm="middle"), "norm must be one of"),
    (lambda: T.CausalTransformer(6, 2, 1, positions="rotary"), "d_model / heads must be even"),
    (lambda: T.sinusoidal_positions(3, 5), "d_model must be even.*5"),
    (lambda: T.sinusoidal_positions(0, 4), "steps must be at least 1"),
    (lambda: T.LearnedPositions(4, 8)(torch.arange(5)), "longest = 4.*got 4"),
    (lambda: causal("learned")(torch.randn(41, 2, 8)), "longest = 40.*got 40"),
    (lambda: causal()(torch.randn(0, 2, 8)), "x must hold at least one time step"),
    (lambda: causal()(torch.randn(4, 2, 7)), r"x must have shape \(T, B, 8\)"),
    (lambda: causal().step(torch.randn(1, 2, 8)), r"x_t must have shape \(B, 8\)"),
    (lambda: causal()(torch.randn(4, 2, 8).float()), "dtype"),
    (lambda: causal()(torch.randn(4, 2, 8), lengths=[4]), "lengths must have shape"),
    (lambda: causal()(torch.randn(4, 2, 8), lengths=[4, 5]), r"lengths\[1\] is 5"),
    (lambda: causal()(torch.randn(4, 2, 8), state_of(3)), "state belongs to a batch of 3.*holds 2"),
    (lambda: causal().step(torch.randn(2, 8), state_of(3)), "state belongs to a batch of 3"),
    (
        lambda: T.CausalTransformer(8, 2, 3)(torch.randn(4, 2, 8), state_of(2)),
        "state must be the CausalState of a model of 3 layers",
    ),
    (lambda: causal().initial_state(0), "batch_size must be at least 1"),
    (lambda: T.TransformerLanguageModel(7, 8, 2, 1)(torch.tensor([[7]])), "x must .* 0 to 6.* 7"),
    (lambda: T.TransformerLanguageModel(7, 8, 2, 1)(torch.tensor([[-1]])), "x must hold ids"),
    (lambda: T.TransformerLanguageModel(7, 8, 2, 1)(torch.ones(2, 1)), "integers; got .*float"),
    (lambda: T.TransformerLanguageModel(0, 8, 2, 1), "V must be at least 1"),
    (lambda: pairs().encode(torch.tensor([[9]]), [1]), "source must hold ids from 0 to 8"),
    (lambda: pairs().encode(torch.ones(0, 2).long(), [1, 1]), "source must hold at least one"),
    (lambda: pairs().encode(torch.ones(3, 2).long(), [0, 1]), r"lengths\[0\] is 0"),
    (lambda: pairs("learned").encode(torch.ones(41, 1).long(), [41]), "longest = 40"),
    (
        lambda: pairs()(torch.ones(3, 1).long(), [3], torch.tensor([[7]])),
        "target_in must hold ids from 0 to 6",
    ),
    (
        lambda: pairs().step(torch.ones(3).long(), pairs().encode(torch.ones(3, 2).long(), [3, 1])),
        "state belongs to a batch of 2 sequences; the input holds 3",
    ),
    (lambda: pairs().step(torch.ones(3).long(), None), "state must be what encode"),
    (
        lambda: pairs().align(torch.ones(3, 1).long(), [3], torch.ones(2, 1).long(), layer=2),
        "layer must name one of 2; got 2",
    ),
]


@pytest.mark.parametrize("call, message", REFUSALS)
def test_wrong_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
