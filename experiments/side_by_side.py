"""One layer of each kind, with the same call and the same width: what is compared side by side.

Every layer reads `layer(x) -> (outputs, state)` with x (T, B, d), and `layer.step(x_t, state)`.
The recurrent ones are rnnlib's. Attention looks at all places, as in Table 1 of Vaswani et al.
(2017); its `step` looks back at the places before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlib.layers import LSTM, RNN

KINDS = ("RNN", "LSTM", "attention, plain", "attention, fused", "Transformer block")


class Cache(NamedTuple):
    """Memory reserved for keys and values (longest, B, d), and how many places of it are filled."""

    K: Tensor
    V: Tensor
    filled: int


class SelfAttention(nn.Module):
    """Four projections, and between them softmax(Q Kᵀ / sqrt(d / heads)) V.

    Args:
        d: width.
        heads: how many attentions share the width.
        fused: let one kernel of torch do it, which never holds the (T, T) weights as a whole.
        causal: whether a place may look only at itself and at those before.
        longest: places that a cache is made for.
    """

    def __init__(
        self,
        d: int,
        heads: int = 1,
        fused: bool = False,
        causal: bool = False,
        longest: int = 1024,
    ) -> None:
        super().__init__()
        self.d, self.heads, self.fused, self.causal, self.longest = d, heads, fused, causal, longest
        self.into, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Read (T, B, d); return outputs (T, B, d), and no state."""
        Q, K, V = (self._split(part) for part in self.into(x).chunk(3, dim=-1))
        return self.out(self._join(self._attend(Q, K, V))), None

    def initial_state(self, batch_size: int) -> Cache:
        """Reserve an empty cache."""
        K, V = self.into.weight.new_zeros(2, self.longest, batch_size, self.d)
        return Cache(K, V, 0)

    def step(self, x_t: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        """Write one place (B, d) into the cache, and look from it at all that are filled."""
        K, V, filled = state
        q, K[filled], V[filled] = self.into(x_t).chunk(3, dim=-1)
        K_, V_ = (self._split(part[: filled + 1]) for part in (K, V))
        output = self._join(functional.scaled_dot_product_attention(self._split(q[None]), K_, V_))
        return self.out(output[0]), Cache(K, V, filled + 1)

    def _attend(self, Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        if self.fused:
            return functional.scaled_dot_product_attention(Q, K, V, is_causal=self.causal)
        scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])  # (B, heads, T, T)
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        return torch.softmax(scores, dim=-1) @ V

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).permute(1, 2, 0, 3)  # (B, heads, T, d / heads)

    def _join(self, x: Tensor) -> Tensor:
        return x.permute(2, 0, 1, 3).flatten(-2)


class Block(nn.Module):
    """A Transformer block, norm first: fused attention and a network of four times the width."""

    def __init__(self, d: int, heads: int = 1, causal: bool = False, longest: int = 1024) -> None:
        super().__init__()
        self.attention = SelfAttention(d, heads, fused=True, causal=causal, longest=longest)
        self.norm, self.norm_after = nn.LayerNorm(d), nn.LayerNorm(d)
        self.network = nn.Sequential(nn.Linear(d, 4 * d), nn.ReLU(), nn.Linear(4 * d, d))

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Read (T, B, d); return outputs (T, B, d), and no state."""
        x = x + self.attention(self.norm(x))[0]
        return x + self.network(self.norm_after(x)), None

    def initial_state(self, batch_size: int) -> Cache:
        """Reserve an empty cache."""
        return self.attention.initial_state(batch_size)

    def step(self, x_t: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        """Read one place (B, d)."""
        found, state = self.attention.step(self.norm(x_t), state)
        x_t = x_t + found
        return x_t + self.network(self.norm_after(x_t)), state


def make_layer(kind: str, d: int, longest: int = 1024, backend: str = "auto") -> nn.Module:
    """Make one of `KINDS`, of width d: inputs, outputs and state have d numbers a place.

    Args:
        kind: which.
        d: width.
        longest: places that a cache is made for.
        backend: how the recurrent layers are computed; `probes.watch` needs "fused" or "loop".

    Raises:
        ValueError: there is no such kind.
    """
    if kind in ("RNN", "LSTM"):
        return {"RNN": RNN, "LSTM": LSTM}[kind](d, d, backend=backend)
    if kind in ("attention, plain", "attention, fused"):
        return SelfAttention(d, fused=kind.endswith("fused"), longest=longest)
    if kind == "Transformer block":
        return Block(d, longest=longest)
    raise ValueError(f"kind: expected one of {KINDS}, got {kind!r}")


def training(layer: nn.Module, x: Tensor) -> None:
    """One forward and one backward pass over x (T, B, d), for a loss that looks at all outputs."""
    layer.zero_grad()
    layer(x)[0].square().mean().backward()


@torch.no_grad()
def prefill(layer: nn.Module, x: Tensor) -> Tensor:
    """Read a sequence that is there as a whole; return the outputs."""
    outputs: Tensor = layer(x)[0]
    return outputs


@torch.no_grad()
def generation(layer: Any, x_t: Tensor, steps: int, state: Any = None) -> tuple[Tensor, Any]:
    """Make places one by one: each output (B, d) is the next input. Return the last, and the state.

    Args:
        layer: anything with `step` and `initial_state`.
        x_t: the first input, (B, d).
        steps: how many to make.
        state: what was read before; nothing if left out.
    """
    state = layer.initial_state(len(x_t)) if state is None else state
    for _ in range(steps):
        x_t, state = layer.step(x_t, state)
    return x_t, state


def read_before(layer: nn.Module, n: int, batch_size: int = 1) -> Any:
    """Return the state of a layer that has n places behind it, with random numbers in it.

    What the numbers are makes no difference to cost, and a cache of 32,768 places need not be
    computed first.
    """
    state = layer.initial_state(batch_size)  # type: ignore[operator]
    if isinstance(state, Cache):
        state = Cache(torch.randn_like(state.K), torch.randn_like(state.V), n)
    return state


def state_bytes(state: Any) -> int:
    """Return the bytes that must be kept of a state: of a cache, the places that are filled."""
    if isinstance(state, Cache):
        return sum(part[: state.filled].nbytes for part in (state.K, state.V))
    parts: Iterable[Tensor] = state if isinstance(state, tuple) else (state,)
    return sum(part.nbytes for part in parts)


def seconds(function: Callable[[], Any], repeats: int = 5) -> float:
    """Return the wall-clock seconds of the fastest of several calls, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
