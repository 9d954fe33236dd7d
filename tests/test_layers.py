"""The layers equal torch.nn's: forward, states and every gradient, on every backend on its own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnnlib
from rnnlib import kernels, layers

KINDS = {
    "tanh": ("RNN", {}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
}
OWN = ("loop", "fused")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_backend = pytest.mark.parametrize("backend", layers.BACKENDS)
own_backend = pytest.mark.parametrize("backend", OWN)


def pair(kind: str, *sizes: int, backend: str, **options: Any) -> tuple[nn.Module, Any]:
    """The same layer twice, drawn from the same seed: torch's and ours."""
    name, more = KINDS[kind]
    options = {"dtype": torch.float64} | more | options
    torch.manual_seed(0)
    theirs = getattr(nn, name)(*sizes, **options)
    torch.manual_seed(0)
    ours = getattr(rnnlib, name)(*sizes, backend=backend, **options)
    return theirs, ours


def tensors(output: Any, state: Any) -> list[Tensor]:
    output = output.data if isinstance(output, PackedSequence) else output
    return [output, *(state if isinstance(state, tuple) else (state,))]


def everything(layer: nn.Module, x: Tensor, states: list[Tensor] | None, lengths: Any) -> list[Any]:
    """Outputs, states and the gradient of a random function of them to all that came in."""
    x = x.clone().requires_grad_()
    hx: Any = None
    leaves = [x]
    if states is not None:
        states = [s.clone().requires_grad_() for s in states]
        leaves += states
        hx = tuple(states) if isinstance(layer, nn.LSTM) else states[0]
    packed = x
    if lengths is not None:
        packed = pack_padded_sequence(x, lengths, layer.batch_first, enforce_sorted=False)
    results = tensors(*layer(packed, hx))
    generator = torch.Generator().manual_seed(1)
    total = sum(
        (r * torch.randn(r.shape, generator=generator, dtype=r.dtype)).sum() for r in results
    )
    layer.zero_grad()
    total.backward()
    return results + [leaf.grad for leaf in leaves] + [p.grad for p in layer.parameters()]


def assert_same(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype
        assert torch.allclose(mine, other, rtol=1e-10, atol=1e-10), (mine - other).abs().max()


small = st.integers(1, 5)


@every_kind
@every_backend
@settings(max_examples=12, deadline=None)
@given(
    data=st.data(),
    T=small,
    B=small,
    D=small,
    H=small,
    num_layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    batch_first=st.booleans(),
    form=st.sampled_from(["batch", "packed", "single"]),
    given_state=st.booleans(),
    long=st.booleans(),
)
def test_equals_torch_on_random_shapes(
    kind,
    backend,
    data,
    T,
    B,
    D,
    H,
    num_layers,
    bidirectional,
    bias,
    batch_first,
    form,
    given_state,
    long,
):
    T += 12 * long  # long enough for "auto" to take "fused"
    theirs, ours = pair(
        kind,
        D,
        H,
        num_layers,
        bias=bias,
        batch_first=batch_first,
        bidirectional=bidirectional,
        backend=backend,
    )
    shape = (B, T, D) if batch_first else (T, B, D)
    state_shape = (num_layers * (2 if bidirectional else 1), B, H)
    if form == "single":
        shape, state_shape = (T, D), (state_shape[0], H)
    lengths = None
    if form == "packed":
        lengths = torch.tensor(data.draw(st.lists(st.integers(1, T), min_size=B, max_size=B)))
    x = torch.randn(shape, dtype=torch.float64)
    states = [torch.randn(state_shape, dtype=torch.float64) for _ in range(1 + (kind == "lstm"))]
    states = states if given_state else None
    assert_same(everything(ours, x, states, lengths), everything(theirs, x, states, lengths))


@every_kind
@every_backend
@pytest.mark.parametrize(("T", "B", "H"), [(1, 1, 1), (1, 3, 2), (4, 1, 3), (3, 2, 1), (2, 0, 3)])
def test_equals_torch_at_the_smallest_sizes(kind, backend, T, B, H):
    theirs, ours = pair(kind, 2, H, 2, backend=backend, bidirectional=True)
    x = torch.randn(T, B, 2, dtype=torch.float64)
    assert_same(everything(ours, x, None, None), everything(theirs, x, None, None))


@every_kind
@every_backend
def test_equals_torch_in_float32(kind, backend):
    theirs, ours = pair(kind, 16, 32, 2, backend=backend, dtype=torch.float32)
    x = torch.randn(20, 8, 16)
    for mine, other in zip(
        everything(ours, x, None, None), everything(theirs, x, None, None), strict=True
    ):
        assert torch.allclose(mine, other, rtol=1e-4, atol=1e-4)


@every_kind
@every_backend
def test_packed_in_any_order_with_a_state(kind, backend):
    theirs, ours = pair(kind, 2, 3, 2, backend=backend, bidirectional=True)
    x = torch.randn(13, 4, 2, dtype=torch.float64)
    states = [torch.randn(4, 4, 3, dtype=torch.float64) for _ in range(1 + (kind == "lstm"))]
    lengths = torch.tensor([2, 13, 1, 5])
    assert_same(everything(ours, x, states, lengths), everything(theirs, x, states, lengths))


@every_kind
@own_backend
@pytest.mark.parametrize("used", [0, 1], ids=["only outputs", "only last state"])
def test_gradient_where_only_one_result_is_used(kind, backend, used):
    theirs, ours = pair(kind, 2, 3, backend=backend)
    x = torch.randn(4, 2, 2, dtype=torch.float64)
    gradients = []
    for layer in (ours, theirs):
        tensors(*layer(x))[used].pow(2).sum().backward()
        gradients.append([p.grad for p in layer.parameters()])
    assert_same(*gradients)


@every_kind
@own_backend
@pytest.mark.parametrize("form", ["batch", "packed"])
def test_gradient_equals_finite_differences(kind, backend, form):
    # Tiny, because the check runs the layer twice for every single number that goes in.
    _, layer = pair(kind, 1, 2, backend=backend)
    names = [name for name, _ in layer.named_parameters()]
    x = torch.randn(3, 2, 1, dtype=torch.float64, requires_grad=True)
    count = 1 + (kind == "lstm")
    states = [torch.randn(1, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(count)]

    def run(x, *rest):
        hx = rest[:count] if kind == "lstm" else rest[0]
        weights = dict(zip(names, rest[count:], strict=True))
        if form == "packed":
            x = pack_padded_sequence(x, torch.tensor([2, 3]), enforce_sorted=False)
        return tuple(tensors(*torch.func.functional_call(layer, weights, (x, hx))))

    assert torch.autograd.gradcheck(run, (x, *states, *layer.parameters()))


@pytest.mark.parametrize("backend", OWN)
@every_kind
def test_own_backends_never_call_torchs_recurrent_kernels(kind, backend, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("a recurrent kernel of torch was called")

    names = ["rnn_tanh", "rnn_relu", "gru", "lstm", "mkldnn_rnn_layer"]
    names += [f"{name}_cell" for name in names[:4]]
    for name in names:
        monkeypatch.setattr(torch, name, forbidden, raising=False)
        monkeypatch.setattr(torch._VF, name, forbidden, raising=False)
    _, layer = pair(kind, 2, 3, 2, backend=backend, bidirectional=True)
    x = torch.randn(4, 2, 2, dtype=torch.float64)
    for inputs, more in [
        (x, {}),
        (x[:, 0], {}),
        (x, {"lengths": [3, 4]}),
        (pack_padded_sequence(x, torch.tensor([4, 1])), {}),
    ]:
        output, _ = layer(inputs, **more)
        tensors(output, ())[0].sum().backward()
    _, layer = pair(kind, 2, 3, backend="library")
    with pytest.raises(AssertionError):
        layer(x)


@every_backend
@every_kind
@pytest.mark.parametrize("form", ["batch", "packed"])
def test_dropout_draws_the_numbers_that_torch_draws(kind, backend, form):
    theirs, ours = pair(kind, 2, 8, 3, backend=backend, dropout=0.4, bidirectional=True)
    x = torch.randn(4, 3, 2, dtype=torch.float64)
    lengths = torch.tensor([4, 2, 3]) if form == "packed" else None
    results = []
    for layer in (ours, theirs):
        torch.manual_seed(5)
        results.append([*everything(layer, x, None, lengths), torch.rand(1)])
    assert_same(*results)
    first = tensors(*ours(x))[0]
    assert not torch.equal(first, tensors(*ours(x))[0])
    ours.eval()
    theirs.eval()
    assert_same(everything(ours, x, None, lengths), everything(theirs, x, None, lengths))


@every_kind
@every_backend
def test_same_seed_same_weights_here_and_afterwards(kind, backend):
    name, more = KINDS[kind]
    drawn = []
    for library, options in ((nn, {}), (rnnlib, {"backend": backend})):
        torch.manual_seed(3)
        layer = getattr(library, name)(3, 4, 2, bidirectional=True, **more, **options)
        drawn.append([*layer.parameters(), nn.Linear(4, 5).weight])
    for mine, other in zip(*drawn, strict=True):
        assert torch.equal(mine, other)


@every_kind
def test_names_repr_and_weights_are_torchs(kind):
    theirs, ours = pair(kind, 3, 4, 2, backend="auto", bidirectional=True, batch_first=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert repr(ours) == repr(theirs)
    assert [[w.shape for w in ws] for ws in ours.all_weights] == [
        [w.shape for w in ws] for ws in theirs.all_weights
    ]
    assert isinstance(ours, type(theirs))
    loop = pair(kind, 3, 4, backend="loop")[1]
    assert "backend='loop'" in repr(loop)


def test_arguments_by_position_mean_what_they_mean_in_torch():
    for library in (nn, rnnlib):
        rnn = library.RNN(2, 3, 2, "relu", False, True, 0.5, True)
        assert (rnn.nonlinearity, rnn.bias, rnn.batch_first, rnn.dropout) == (
            "relu",
            False,
            True,
            0.5,
        )
        assert rnn.bidirectional
        for name in ("LSTM", "GRU"):
            layer = getattr(library, name)(2, 3, 2, False, True, 0.5, True, 0, "cpu", torch.float64)
            assert (layer.num_layers, layer.bias, layer.batch_first) == (2, False, True)
            assert layer.dropout == 0.5
            assert layer.bidirectional
            assert layer.weight_hh_l0.dtype == torch.float64


@every_kind
@every_backend
def test_state_dicts_load_both_ways(kind, backend, tmp_path):
    theirs, ours = pair(kind, 3, 4, 2, backend=backend, bidirectional=True)
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    for source, target in ((theirs, ours), (ours, theirs)):
        for p in source.parameters():
            nn.init.normal_(p)
        torch.save(source.state_dict(), tmp_path / "weights.pt")
        target.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert_same(tensors(*target(x)), tensors(*source(x)))


@every_kind
@every_backend
def test_copies_and_pickles_are_whole(kind, backend, tmp_path):
    _, layer = pair(kind, 3, 4, backend=backend)
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    expected = tensors(*layer(x))
    torch.save(layer, tmp_path / "layer.pt")
    for twin in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(tmp_path / "layer.pt", weights_only=False),
    ):
        assert twin.backend == backend
        twin.flatten_parameters()
        assert_same(tensors(*twin(x)), expected)
        with torch.no_grad():
            twin.weight_hh_l0.add_(1)
        assert not torch.allclose(tensors(*twin(x))[0], expected[0])
        assert_same(tensors(*layer(x)), expected)


@every_backend
@every_kind
def test_changes_of_type_and_of_weights_take_effect(kind, backend):
    theirs, ours = pair(kind, 3, 4, backend=backend, dtype=torch.float32)
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    assert_same(tensors(*ours.double()(x)), tensors(*theirs.double()(x)))
    assert ours.float().initial_state(1)[0].dtype == torch.float32
    ours.to(torch.float64)
    theirs.to(torch.float64)
    for layer in (ours, theirs):
        layer.weight_ih_l0 = nn.Parameter(torch.ones_like(layer.weight_ih_l0))
    assert_same(tensors(*ours(x)), tensors(*theirs(x)))
    for layer in (ours, theirs):
        nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
        layer.parametrizations.weight_hh_l0.original0.data.mul_(2)
    assert_same(everything(ours, x, None, None), everything(theirs, x, None, None))


@every_backend
@every_kind
def test_frozen_parts_get_no_gradient(kind, backend):
    theirs, ours = pair(kind, 3, 4, 2, backend=backend)
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    for frozen in ("weight_ih_l0", "weight_hh_l1", "bias_ih_l0", "bias_hh_l1"):
        for layer in (ours, theirs):
            layer.get_parameter(frozen).requires_grad_(False)
            layer.zero_grad()
            layer(x)[0].pow(2).sum().backward()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert (mine.grad is None) == (other.grad is None)
            assert mine.grad is None or torch.allclose(mine.grad, other.grad)


@every_kind
@every_backend
def test_step_over_the_state_by_either_name(kind, backend):
    _, layer = pair(kind, 3, 4, 2, backend=backend)
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    _, state = layer(x)
    expected = tensors(*layer(x, state))
    assert_same(tensors(*layer(x, hx=state)), expected)
    assert_same(tensors(*layer(x, state=state)), expected)
    assert_same(tensors(*layer(input=x, hx=state)), expected)
    assert not torch.allclose(tensors(*layer(x))[0], expected[0])


@every_backend
@every_kind
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_equal_packing_by_hand(kind, backend, batch_first, bidirectional):
    _, layer = pair(
        kind, 3, 4, 2, backend=backend, batch_first=batch_first, bidirectional=bidirectional
    )
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    x = x.transpose(0, 1) if batch_first else x
    lengths = torch.tensor([3, 5, 1, 4])
    packed, expected_state = layer(
        pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    )
    expected, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first, total_length=5)
    output, state = layer(x, lengths=lengths)
    assert_same(tensors(output, state), tensors(expected, expected_state))
    assert_same(tensors(*layer(x, None, lengths.tolist())), tensors(expected, expected_state))
    ends = output if batch_first else output.transpose(0, 1)
    for row, length in zip(ends, lengths.tolist(), strict=True):
        assert (row[length:] == 0).all()
        assert (row[:length] != 0).all() or kind == "relu"


# Derivatives of derivatives, and function transforms


def penalty(layer: nn.Module, x: Tensor, source: str) -> Tensor:
    """A second derivative, as a gradient penalty takes it."""
    x = x.clone().requires_grad_()
    wanted = {"input": x, "weight": layer.weight_hh_l0, "bias": layer.bias_ih_l0}[source]
    (gradient,) = torch.autograd.grad(layer(x)[0].pow(3).sum(), wanted, create_graph=True)
    layer.zero_grad()
    return gradient


@every_kind
@pytest.mark.parametrize("source", ["input", "weight", "bias"])
@pytest.mark.parametrize("backend", ["loop", "auto"])
def test_second_derivatives_equal_torchs(kind, backend, source):
    theirs, ours = pair(kind, 2, 3, 2, backend=backend, bidirectional=True)
    x = torch.randn(13, 2, 2, dtype=torch.float64)  # long enough for "auto" to take "fused"
    gradients = []
    for layer in (ours, theirs):
        penalty(layer, x, source).pow(2).sum().backward()
        gradients.append([p.grad for p in layer.parameters()])
    assert_same(*gradients)


@every_kind
def test_second_derivative_through_computed_weights_is_not_counted_twice(kind):
    results = []
    for layer in pair(kind, 2, 2, backend="auto"):
        # Packed, so that the kernel's own input is what the weights are computed from.
        x = torch.full((26, 2), 0.3, dtype=torch.float64, requires_grad=True)
        weights = {n: p.detach() * x.mean() for n, p in layer.named_parameters()}
        packed = PackedSequence(x, torch.full((13,), 2))
        output = torch.func.functional_call(layer, weights, (packed,))[0].data
        (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        results.append([gradient, *torch.autograd.grad(gradient.pow(2).sum(), x)])
    assert_same(*results)


@every_kind
@pytest.mark.parametrize("source", ["input", "weight", "bias"])
def test_fused_refuses_a_second_derivative(kind, source):
    _, layer = pair(kind, 2, 3, backend="fused")
    x = torch.randn(4, 2, 2, dtype=torch.float64)
    gradient = penalty(layer, x, source)  # the first one is there
    assert torch.isfinite(gradient).all()
    with pytest.raises(RuntimeError, match=r'second derivative.*backend="loop"'):
        gradient.sum().backward()


@every_kind
def test_fused_refuses_a_second_derivative_to_the_input_alone(kind):
    _, layer = pair(kind, 2, 3, backend="fused")
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r'second derivative.*backend="loop"'):
        torch.autograd.grad(gradient.sum(), x)


def loss_of(layer: nn.Module):
    def loss(weights, x):
        return torch.func.functional_call(layer, weights, (x,))[0].pow(2).sum()

    return loss


@every_kind
@pytest.mark.parametrize("backend", ["auto", "loop"])
def test_function_transforms_work(kind, backend):
    _, layer = pair(kind, 2, 3, 2, backend=backend, bidirectional=True)
    weights = {n: p.detach() for n, p in layer.named_parameters()}
    x = torch.randn(4, 3, 2, dtype=torch.float64)
    loss = loss_of(layer)

    layer(x)[0].pow(2).sum().backward()
    gradients = torch.func.grad(loss)(weights, x)
    for name, p in layer.named_parameters():
        assert torch.allclose(gradients[name], p.grad)

    one_by_one = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(weights, x.unsqueeze(2))
    for name, p in layer.named_parameters():
        assert torch.allclose(one_by_one[name].sum(0), p.grad)

    direction = torch.randn_like(x)
    _, slope = torch.func.jvp(lambda x: loss(weights, x), (x,), (direction,))
    step = 1e-6
    change = loss(weights, x + step * direction) - loss(weights, x - step * direction)
    assert torch.allclose(slope, change / (2 * step), rtol=1e-6)


@every_kind
@pytest.mark.parametrize("transform", ["grad", "vmap", "jvp", "forward_ad"])
def test_fused_refuses_function_transforms(kind, transform):
    _, layer = pair(kind, 2, 3, backend="fused")
    weights = {n: p.detach() for n, p in layer.named_parameters()}
    x = torch.randn(4, 3, 2, dtype=torch.float64)
    loss = loss_of(layer)
    with pytest.raises(RuntimeError, match=r'"fused" does not work inside.*backend="loop"'):
        if transform == "grad":
            torch.func.grad(loss)(weights, x)
        elif transform == "vmap":
            torch.func.vmap(loss, in_dims=(None, 0))(weights, x)
        elif transform == "jvp":
            torch.func.jvp(lambda x: loss(weights, x), (x,), (x,))
        else:
            with torch.autograd.forward_ad.dual_level():
                layer(torch.autograd.forward_ad.make_dual(x, x))


def test_auto_takes_the_fastest_that_applies():
    x = torch.zeros(50, 1, 3)
    assert rnnlib.RNN(3, 4)._choose(x) == "fused"
    assert rnnlib.GRU(3, 4)._choose(x) == "fused"
    assert rnnlib.GRU(3, 4, batch_first=True)._choose(x.transpose(0, 1)) == "fused"
    assert rnnlib.GRU(3, 4, batch_first=True)._choose(x[:, 0]) == "fused"
    assert rnnlib.GRU(3, 4)._choose(pack_padded_sequence(x, [50])) == "fused"
    assert rnnlib.LSTM(3, 4)._choose(x) == "library"
    assert rnnlib.GRU(3, 4)._choose(x[:2]) == "library"
    assert rnnlib.GRU(3, 4)._choose(x.to("meta")) == "library"
    assert rnnlib.GRU(3, 4)._choose(x.bfloat16()) == "library"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert rnnlib.GRU(3, 4)._choose(x) == "library"
    with torch.no_grad():
        assert rnnlib.GRU(3, 4)._choose(x) == "library"
    assert not kernels.transforms_active()


@every_kind
@every_backend
def test_autocast_gives_nearly_the_same(kind, backend):
    theirs, ours = pair(kind, 3, 4, 2, backend=backend, dtype=torch.float32)
    x = torch.randn(5, 2, 3)
    expected = theirs(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = ours(x)[0]
        output.float().sum().backward()
    assert torch.allclose(output.float(), expected, atol=0.05)
    assert torch.isfinite(ours.weight_hh_l0.grad).all()


@every_kind
@own_backend
def test_a_weight_changed_before_backward_is_noticed(kind, backend):
    _, layer = pair(kind, 2, 3, backend=backend)
    output, _ = layer(torch.randn(4, 2, 2, dtype=torch.float64))
    with torch.no_grad():
        layer.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()
