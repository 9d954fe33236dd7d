"""Encoder and decoder: the steps equal the whole, padding counts for nothing, torch.nn agrees."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rnnlib import decoding
from rnnlib.checks import InputError
from rnnlib.seq2seq import ATTENTIONS, DecoderState, EncoderDecoder, check_ids

KINDS = (None, *ATTENTIONS)
SHAPES = [  # cell, attention, two directions, reversed source, layers
    ("lstm", None, False, False, 1),
    ("lstm", None, True, True, 2),
    ("gru", None, False, True, 2),
    ("gru", None, True, False, 1),
    ("lstm", "additive", True, False, 2),
    ("gru", "additive", False, True, 1),
    ("lstm", "dot", False, True, 1),
    ("gru", "dot", True, False, 2),
    ("lstm", "scaled", True, True, 1),
    ("lstm", "general", False, False, 2),
    ("gru", "general", True, True, 1),
]


def network(cell="lstm", attention=None, bidirectional=False, reverse=False, layers=1, **more):
    torch.manual_seed(0)
    sizes = more.pop("sizes", (9, 7, 4, 6))
    model = EncoderDecoder(*sizes, cell, attention, bidirectional, reverse, layers, **more)
    return model.double()


def draw(model, S, B, T, seed=0):
    """Sources, lengths (one of them S) and what the decoder reads."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(0, model.source_size, (S, B), generator=generator)
    lengths = torch.randint(1, S + 1, (B,), generator=generator)
    lengths[0] = S
    return source, lengths, torch.randint(0, model.target_size, (T, B), generator=generator)


def stepwise(model, state, target_in):
    scores = []
    for tokens in target_in:
        now, state = model.step(tokens, state)
        scores.append(now)
    return torch.stack(scores)


def tensors(state):
    recurrent = state.recurrent if isinstance(state.recurrent, tuple) else (state.recurrent,)
    return [t for t in (*recurrent, state.memory, state.mask) if t is not None]


@pytest.mark.parametrize(("cell", "attention", "bidirectional", "reverse", "layers"), SHAPES)
@settings(max_examples=4, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_step_by_step_equals_all_at_once(
    cell, attention, bidirectional, reverse, layers, S, B, T, seed
):
    model = network(cell, attention, bidirectional, reverse, layers)
    source, lengths, target_in = draw(model, S, B, T, seed)
    whole = model(source, lengths, target_in)
    assert whole.shape == (T, B, 7)
    state = model.encode(source, lengths)
    assert all(tensor.shape[1] == B for tensor in tensors(state))
    torch.testing.assert_close(stepwise(model, state, target_in), whole)


@pytest.mark.parametrize(("cell", "attention", "bidirectional", "reverse", "layers"), SHAPES)
def test_padding_changes_nothing(cell, attention, bidirectional, reverse, layers):
    model = network(cell, attention, bidirectional, reverse, layers)
    source, lengths, target_in = draw(model, 5, 4, 3)
    scores = model(source, lengths, target_in)
    other = source.clone()
    behind = torch.arange(5)[:, None] >= lengths
    other[behind] = (other[behind] + 4) % 9
    assert torch.equal(model(other, lengths, target_in), scores)
    longer = torch.cat([source, torch.randint(0, 9, (3, 4))])
    torch.testing.assert_close(model(longer, lengths, target_in), scores)
    for row in range(4):  # alone and without padding
        n = int(lengths[row])
        alone = model(
            source[:n, row : row + 1], lengths[row : row + 1], target_in[:, row : row + 1]
        )
        torch.testing.assert_close(alone, scores[:, row : row + 1])


@pytest.mark.parametrize("attention", KINDS)
def test_the_future_changes_nothing_and_the_past_does(attention):
    model = network(attention=attention)
    source, lengths, target_in = draw(model, 4, 2, 6)
    scores, other = model(source, lengths, target_in), target_in.clone()
    other[3] = (other[3] + 1) % 7
    changed = model(source, lengths, other)
    assert torch.equal(changed[:3], scores[:3])
    assert (changed[3:] != scores[3:]).all(-1).all()


@pytest.mark.parametrize(("cell", "layers"), [("lstm", 1), ("lstm", 2), ("gru", 1), ("gru", 2)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_equals_layers_of_torch_with_the_same_weights(cell, layers, bidirectional):
    model = network(cell, None, bidirectional, layers=layers)
    kind = nn.LSTM if cell == "lstm" else nn.GRU
    encoder = kind(4, 3 if bidirectional else 6, layers, bidirectional=bidirectional).double()
    decoder = kind(4, 6, layers).double()
    encoder.load_state_dict(model.encoder.state_dict())
    decoder.load_state_dict(model.decoder.state_dict())
    source, _, target_in = draw(model, 5, 3, 4)
    _, last = encoder(model.source_embedding(source))

    def joined(h):
        if not bidirectional:
            return h
        h = h.view(layers, 2, 3, 3)  # torch's documentation: layers, directions, B, H
        return torch.cat([h[:, 0], h[:, 1]], -1)

    first = tuple(map(joined, last)) if cell == "lstm" else joined(last)
    h, _ = decoder(model.target_embedding(target_in), first)
    expected = h @ model.scores.weight.T + model.scores.bias
    torch.testing.assert_close(model(source, torch.tensor([5, 5, 5]), target_in), expected)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention_is_that_of_luongs_equations(kind):
    model = network(attention=kind)
    source, lengths, target_in = draw(model, 5, 3, 4)
    hbar, last = model.encoder(model.source_embedding(source), lengths=lengths)
    h, _ = model.decoder(model.target_embedding(target_in), last)
    weights = model.align(source, lengths, target_in)
    for t, b in itertools.product(range(4), range(3)):
        n, own = int(lengths[b]), []
        for s in range(n):
            key, query, a = hbar[s, b], h[t, b], model.attention
            if kind == "additive":
                score = a.v.weight[0] @ torch.tanh(
                    a.W_q.weight @ query + a.W_k.weight @ key + a.W_k.bias
                )
            else:
                score = query @ (a.W_a.weight @ key if kind == "general" else key)
                score = score / 6**0.5 if kind == "scaled" else score
            own.append(score)
        alpha = torch.stack(own).softmax(0)
        torch.testing.assert_close(weights[t, b, :n], alpha)
        c = sum(alpha[s] * hbar[s, b] for s in range(n))
        htilde = torch.tanh(model.combine.weight @ torch.cat([c, h[t, b]]))
        expected = model.scores.weight @ htilde + model.scores.bias
        torch.testing.assert_close(model(source, lengths, target_in)[t, b], expected)


@pytest.mark.parametrize("kind", ATTENTIONS)
@pytest.mark.parametrize("reverse", [False, True])
def test_weights_sum_to_one_and_are_zero_on_padding(kind, reverse):
    model = network(attention=kind, reverse=reverse)
    source, lengths, target_in = draw(model, 6, 4, 3)
    lengths[1] = 1
    weights = model.align(source, lengths, target_in)
    assert weights.shape == (3, 4, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4).double())
    for row, n in enumerate(lengths.tolist()):
        assert (weights[:, row, n:] == 0).all()
        assert (weights[:, row, :n] > 0).all()


def test_padding_gets_no_gradient():
    model = network(attention="general")
    source = torch.tensor([[1, 2], [3, 8]])  # 8 stands only on padding
    model(source, torch.tensor([2, 1]), torch.tensor([[1, 1]])).sum().backward()
    gradient = model.source_embedding.weight.grad
    assert (gradient[8] == 0).all()
    assert (gradient[3] != 0).any()


@pytest.mark.parametrize("attention", [None, "general"])
def test_reversing_is_reading_the_mirrored_row(attention):
    plain, reverse = network(attention=attention), network(attention=attention, reverse=True)
    source = torch.tensor([[1, 4], [2, 5], [3, 0]])
    mirrored = torch.tensor([[3, 5], [2, 4], [1, 0]])  # the second row has two symbols
    lengths, target_in = torch.tensor([3, 2]), torch.tensor([[1, 1], [2, 2]])
    read = reverse(source, lengths, target_in)
    torch.testing.assert_close(read, plain(mirrored, lengths, target_in))
    assert not torch.allclose(read, plain(source, lengths, target_in))
    if attention is not None:  # the weights stand in the order of the source all the same
        weights = reverse.align(source, lengths, target_in)
        turned = plain.align(mirrored, lengths, target_in)
        torch.testing.assert_close(weights[:, 0], turned[:, 0].flip(-1))
        torch.testing.assert_close(weights[:, 1, :2], turned[:, 1, :2].flip(-1))
        assert (weights[:, 1, 2] == 0).all()


def test_without_attention_the_last_state_is_all_that_is_known_of_the_source():
    model = network()
    source, lengths, _ = draw(model, 5, 3, 4)
    state = model.encode(source, lengths)
    _, last = model.encoder(model.source_embedding(source), lengths=lengths)
    for ours, theirs in zip(state.recurrent, last, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert state.memory is None
    assert state.mask is None


def test_dropout_works_in_training_only():
    model = network(dropout=0.5, layers=2)
    source, lengths, target_in = draw(model, 5, 3, 4)
    assert not torch.equal(model(source, lengths, target_in), model(source, lengths, target_in))
    model.eval()
    assert torch.equal(model(source, lengths, target_in), model(source, lengths, target_in))


def test_dropout_falls_on_embeddings_and_on_what_the_scores_are_read_from():
    seen = []

    class Zeros(nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return 0 * x

    model = network(attention="general")
    model.dropout = Zeros()
    source, lengths, target_in = draw(model, 5, 3, 2)
    scores = model(source, lengths, target_in)
    assert seen == [(5, 3, 4), (2, 3, 4), (2, 3, 6)]
    torch.testing.assert_close(scores, model.scores.bias.expand(2, 3, 7))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("attention", [None, "additive"])
def test_rows_of_a_state_can_be_picked(cell, attention):
    model = network(cell, attention)
    source, lengths, _ = draw(model, 5, 3, 1)
    state = model.encode(source, lengths)
    picked = decoding.select(state, torch.tensor([2, 2, 0, 1]))
    assert isinstance(picked, DecoderState)
    scores, _ = model.step(torch.tensor([1, 1, 1, 1]), picked)
    alone, _ = model.step(torch.tensor([1, 1, 1]), state)
    torch.testing.assert_close(scores, alone[[2, 2, 0, 1]])


def test_greedy_decoding_takes_the_best_score_at_every_step():
    model = network(attention="general")
    source, lengths, _ = draw(model, 5, 3, 1)
    said = decoding.greedy(model, model.encode(source, lengths), 1, 6)
    read = torch.cat([torch.ones(1, 3, dtype=torch.int64), said[:-1]])
    assert torch.equal(model(source, lengths, read).argmax(-1), said)


SOURCE, LENGTHS, TARGET = torch.ones(4, 2, dtype=torch.int64), torch.tensor([4, 2]), [[1, 1]]
TARGET = torch.tensor(TARGET)
CALLS = {
    "source above": (lambda m: m(SOURCE + 8, LENGTHS, TARGET), r"source .* 0 to 8.*got 9"),
    "source below": (lambda m: m(SOURCE - 2, LENGTHS, TARGET), r"source .* 0 to 8.*got -1"),
    "source float": (
        lambda m: m(SOURCE.float(), LENGTHS, TARGET),
        r"source .*int64; got .*float32",
    ),
    "source bool": (lambda m: m(SOURCE.bool(), LENGTHS, TARGET), r"source .*int64; got .*bool"),
    "source flat": (lambda m: m(SOURCE[0], LENGTHS, TARGET), r"source .*\(S, B\); got \(2,\)"),
    "source empty": (lambda m: m(SOURCE[:0], LENGTHS, TARGET), r"source .*at least one time step"),
    "length zero": (lambda m: m(SOURCE, LENGTHS - 2, TARGET), r"lengths.*from 1 to 4.*is 0"),
    "length above": (lambda m: m(SOURCE, LENGTHS + 1, TARGET), r"lengths.*from 1 to 4.*is 5"),
    "lengths of another batch": (lambda m: m(SOURCE, LENGTHS[:1], TARGET), r"lengths .*\(2,\)"),
    "target above": (lambda m: m(SOURCE, LENGTHS, TARGET + 6), r"target_in .* 0 to 6.*got 7"),
    "target float": (lambda m: m(SOURCE, LENGTHS, TARGET / 1), r"target_in .*int64; got"),
    "target empty": (lambda m: m(SOURCE, LENGTHS, TARGET[:0]), r"target_in .*at least one"),
    "target batch": (
        lambda m: m(SOURCE, LENGTHS, TARGET[:, :1]),
        r"state must have shape \(1, 1, 6\); got \(1, 2, 6\)",
    ),
    "token above": (
        lambda m: m.step(TARGET[0] + 6, m.encode(SOURCE, LENGTHS)),
        r"tokens .* 0 to 6.*got 7",
    ),
    "tokens in two dimensions": (
        lambda m: m.step(TARGET, m.encode(SOURCE, LENGTHS)),
        r"tokens must have shape \(B,\)",
    ),
    "state of another batch": (
        lambda m: m.step(torch.ones(3, dtype=torch.int64), m.encode(SOURCE, LENGTHS)),
        r"state must have shape \(1, 3, 6\); got \(1, 2, 6\)",
    ),
    "state of another width": (
        lambda m: m.step(TARGET[0], network(sizes=(9, 7, 4, 5)).encode(SOURCE, LENGTHS)),
        r"state must have shape \(1, 2, 6\); got \(1, 2, 5\)",
    ),
    "memory of another batch": (
        lambda m: m.step(
            TARGET[0],
            m.encode(SOURCE, LENGTHS)._replace(memory=torch.ones(4, 3, 6).double()),
        ),
        r"state.memory must have shape \(S, 2, 6\); got \(4, 3, 6\)",
    ),
    "mask of another length": (
        lambda m: m.step(
            TARGET[0], m.encode(SOURCE, LENGTHS)._replace(mask=torch.ones(3, 2).bool())
        ),
        r"state.mask must have shape \(4, 2\); got \(3, 2\)",
    ),
}


@pytest.mark.parametrize("mistake", CALLS)
def test_wrong_input_is_refused(mistake):
    call, message = CALLS[mistake]
    with pytest.raises(InputError, match=message):
        call(network(attention="general"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": (0, 7, 4, 6)}, "source_size must be at least 1; got 0"),
        ({"sizes": (9, 7, 4, -1)}, "hidden_size must be at least 1; got -1"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"cell": "rnn"}, "cell must be one of 'lstm', 'gru'; got 'rnn'"),
        ({"attention": "luong"}, "attention must be one of .*; got 'luong'"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1; got 1.0"),
        ({"dropout": float("nan")}, "dropout must be"),
        ({"bidirectional": True, "sizes": (9, 7, 4, 5)}, "hidden_size must be even .*got 5"),
    ],
)
def test_wrong_networks_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        network(**arguments)


def test_align_needs_attention():
    with pytest.raises(RuntimeError, match=r"align\(\) needs attention.*attention=None"):
        network().align(SOURCE, LENGTHS, TARGET)


def test_a_state_must_be_one():
    with pytest.raises(TypeError, match=r"state must be what encode.*got NoneType"):
        network().step(TARGET[0], None)
    looked = network(attention="dot").encode(SOURCE, LENGTHS)
    with pytest.raises(InputError, match=r"state has a memory, but this network has no attention"):
        network().step(TARGET[0], looked)
    with pytest.raises(TypeError, match=r"state\.memory must be a tensor; got NoneType"):
        network(attention="dot").step(TARGET[0], network().encode(SOURCE, LENGTHS))
    with pytest.raises(TypeError, match="an LSTM must be a pair"):
        network().step(TARGET[0], network("gru").encode(SOURCE, LENGTHS))
    with pytest.raises(TypeError, match="source must be a tensor; got list"):
        network()([[1, 2]], LENGTHS, TARGET)


def test_ids_are_checked_by_their_bounds():
    assert check_ids("ids", torch.tensor([0, 4]), ("B",), 5).tolist() == [0, 4]
    assert check_ids("ids", torch.empty(0, dtype=torch.int32), ("B",), 5).numel() == 0
    with pytest.raises(InputError, match="ids must hold ids from 0 to 3, the vocabulary; got 4"):
        check_ids("ids", torch.tensor([0, 4]), ("B",), 4)
