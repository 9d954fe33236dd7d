"""The contract that every sequence model keeps, tested once over a list that all models join.

A model takes (T, B, D) and keeps `model(x, state, lengths)`, `model.step(x_t, state)` and
`model.initial_state(batch_size)`. To join: add a `Model` to MODELS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import rnnlib
from rnnlib import layers
from rnnlib.cells import CELLS, CellLayer


@dataclass(frozen=True)
class Model:
    name: str
    build: Callable[[int, int], Any]  # input size, hidden size -> model
    causal: bool = True


def layer(kind: str, **options: Any) -> Callable[[int, int], Any]:
    return lambda D, H: getattr(rnnlib, kind)(D, H, **options)


def cell(name: str) -> Callable[[int, int], Any]:
    return lambda D, H: CellLayer(name, D, H)


VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    " deep": {"num_layers": 3},
    " both ways": {"num_layers": 2, "bidirectional": True},
}
MODELS = [
    Model(
        f"{kind} {backend}{variant}",
        layer(kind, backend=backend, **options),
        causal=not options.get("bidirectional", False),
    )
    for kind in ("RNN", "GRU", "LSTM")
    for backend in layers.BACKENDS
    for variant, options in VARIANTS.items()
] + [Model(f"cell {name}", cell(name)) for name in CELLS]


def flat(state: Any) -> list[Tensor]:
    """All tensors of a state, whatever it is made of."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state for tensor in flat(part)]


def close(a: Any, b: Any) -> bool:
    pairs = zip(flat(a), flat(b), strict=True)
    return all(x.shape == y.shape and torch.allclose(x, y, rtol=1e-9, atol=1e-11) for x, y in pairs)


def step_by_step_equals_whole(model: Any, x: Tensor, data: st.DataObject) -> None:
    state = model.initial_state(x.shape[1])
    outputs = []
    for x_t in x:
        output, state = model.step(x_t, state)
        outputs.append(output)
    assert close((torch.stack(outputs), state), model(x))


def first_step_needs_no_state(model: Any, x: Tensor, data: st.DataObject) -> None:
    assert close(model.step(x[0]), model.step(x[0], model.initial_state(x.shape[1])))


def two_parts_equal_whole(model: Any, x: Tensor, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(x)))
    if cut in (0, len(x)):
        assert close(model(x, model.initial_state(x.shape[1])), model(x))
        return
    first, state = model(x[:cut])
    second, state = model(x[cut:], state)
    assert close((torch.cat((first, second)), state), model(x))


def future_changes_nothing_before(model: Any, x: Tensor, data: st.DataObject) -> None:
    t = data.draw(st.integers(0, len(x) - 1))
    changed = x.clone()
    changed[t:] += 1 + torch.rand_like(changed[t:])
    before, after = model(x)[0], model(changed)[0]
    assert torch.equal(before[:t], after[:t])


def padding_changes_nothing(model: Any, x: Tensor, data: st.DataObject) -> None:
    T, B, _ = x.shape
    lengths = data.draw(st.lists(st.integers(1, T), min_size=B, max_size=B))
    padded = x.clone()
    for b, length in enumerate(lengths):
        padded[length:, b] = float("nan")  # the worst that padding can hold
    model.zero_grad()
    output, state = model(padded, lengths=lengths)
    (output.sum() + sum(part.sum() for part in flat(state))).backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for b, length in enumerate(lengths):
        alone, its_state = model(x[:length, b : b + 1])
        assert close(output[:length, b : b + 1], alone)
        assert (output[length:, b] == 0).all()
        batch = [part[..., b : b + 1, :] for part in flat(state)]  # B is last but one
        assert close(batch, flat(its_state))
        (alone.sum() + sum(part.sum() for part in flat(its_state))).backward()
    assert close(gradients, [p.grad for p in model.parameters()])


def padding_changes_nothing_with_a_state(model: Any, x: Tensor, data: st.DataObject) -> None:
    T, B, _ = x.shape
    lengths = data.draw(st.lists(st.integers(1, T), min_size=B, max_size=B))
    start = model(torch.randn_like(x))[1]
    padded_part = model(x, start, torch.tensor(lengths))
    longer = torch.cat((x, torch.full_like(x, 1e30)))
    again, state = model(longer, start, lengths)
    assert close((again[:T], state), padded_part)
    assert (again[T:] == 0).all()


CAUSAL = [
    step_by_step_equals_whole,
    first_step_needs_no_state,
    two_parts_equal_whole,
    future_changes_nothing_before,
]
ALL = [padding_changes_nothing, padding_changes_nothing_with_a_state]


@pytest.mark.parametrize("property", CAUSAL + ALL, ids=lambda p: p.__name__)
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
@settings(max_examples=5, deadline=None)
@given(
    data=st.data(),
    T=st.integers(1, 5),
    B=st.integers(1, 3),
    D=st.integers(1, 3),
    H=st.integers(1, 4),
)
def test_keeps_the_contract(model, property, data, T, B, D, H):
    if property in CAUSAL and not model.causal:
        with pytest.raises(RuntimeError, match=r"bidirectional .* step by step: its backward"):
            model.build(D, H).step(torch.zeros(B, D))
        return
    torch.manual_seed(T)
    built = model.build(D, H).double()
    property(built, torch.randn(T, B, D, dtype=torch.float64), data)
