"""Attention: every query takes a weighted mean of the values, more of those whose keys fit it.

Time comes first and the batch second, in every tensor of the modules. Masks are bool: True means
that a place may be looked at. A query that may look at nothing gets weights zero and output zero.
A mask makes a weight exactly zero, so a place behind it receives no gradient either; the numbers
there may be anything finite (0 * nan is nan).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnnlib import checks


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, softmax(Q Kᵀ / sqrt(d)) V (Vaswani et al., 2017, eq. 1).

    Equal to `torch.nn.functional.scaled_dot_product_attention`, and returns the weights as well.

    Args:
        query: Q, (..., n, d), one row a query.
        key: K, (..., m, d).
        value: V, (..., m, e), one row a key.
        mask: bool, broadcast to (..., n, m); True where a query may look.
        scale: what the scores are multiplied by, 1 / sqrt(d) if left out.

    Returns:
        Output (..., n, e) and weights (..., n, m). Every row of weights sums to 1, or is zero
        where the mask leaves nothing to look at.

    Raises:
        InputError: if the sizes do not fit, or the mask is not bool.
    """
    _check_attend(query, key, value, mask)
    Q, K, V = query, key, value
    scale = 1 / sqrt(Q.shape[-1]) if scale is None else scale
    scores = Q @ K.transpose(-2, -1) * scale  # (..., n, m)
    weights = masked_softmax(scores, mask)  # (..., n, m)
    return weights @ V, weights


def masked_softmax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over the last dimension, among the places where `mask` is True; zero elsewhere.

    The scores behind the mask become the lowest finite number, so that a row without any place
    stays finite; the second fill makes it zero.
    """
    if mask is None:
        return torch.softmax(scores, dim=-1)
    lowest = torch.finfo(scores.dtype).min
    weights = torch.softmax(scores.masked_fill(~mask, lowest), dim=-1)
    return weights.masked_fill(~mask, 0.0)


def padding_mask(lengths: Tensor | Sequence[int], steps: int) -> Tensor:
    """Return (steps, B): True at the real time steps of each sequence, False at its padding.

    Args:
        lengths: real time steps of each sequence, (B,), from 1 to `steps`.
        steps: time steps of the padded batch.

    Raises:
        InputError, TypeError: if the lengths do not fit.
    """
    steps = checks.positive_integer("steps", steps)
    given = checks.lengths(lengths, len(lengths), steps)
    device = lengths.device if isinstance(lengths, Tensor) else None
    return torch.arange(steps, device=device)[:, None] < given.to(device)


def causal_mask(n: int, m: int | None = None, device: torch.device | None = None) -> Tensor:
    """Return (n, m): query i may look at itself and at what came before it.

    With more keys than queries, the queries are the last n of the m places, as in generation
    with a cache: `causal_mask(1, m)` is all True.

    Raises:
        InputError: if there are fewer keys than queries.
    """
    n = checks.positive_integer("n", n)
    m = n if m is None else checks.positive_integer("m", m)
    if m < n:
        raise checks.InputError(f"m must be at least n = {n}, one key for each query; got {m}")
    return torch.ones(n, m, dtype=torch.bool, device=device).tril(diagonal=m - n)


class _ScoredAttention(nn.Module):
    """What additive and dot attention share: weights from scores, context from weights."""

    def __init__(self, query_size: int, key_size: int) -> None:
        super().__init__()
        self.query_size = checks.positive_integer("query_size", query_size)
        self.key_size = checks.positive_integer("key_size", key_size)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return how well each key fits each query: (T, B, Q), (S, B, K) -> (T, B, S)."""
        raise NotImplementedError

    def forward(
        self, query: Tensor, keys: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Look at the keys, which are the values as well.

        Args:
            query: (B, Q) for one time step, or (T, B, Q) for all of them at once.
            keys: such as the states of an encoder, (S, B, K).
            mask: bool, (S, B); True where a key may be looked at.

        Returns:
            Context (B, K) and weights (S, B); for all steps (T, B, K) and (T, B, S).

        Raises:
            InputError: if a shape does not fit, or the mask is not bool.
        """
        checks.tensor("keys", keys, ("S", "B", self.key_size))
        S, B, _ = keys.shape
        if query.dim() == 2:
            context, weights = self.forward(query[None], keys, mask)
            return context[0], weights[0].T
        checks.tensor("query", query, ("T", B, self.query_size), like=keys)
        if mask is not None:
            mask = _bool("mask", checks.tensor("mask", mask, (S, B))).T
        weights = masked_softmax(self.scores(query, keys), mask)  # (T, B, S)
        return torch.einsum("tbs,sbk->tbk", weights, keys), weights


class AdditiveAttention(_ScoredAttention):
    """Score = v · tanh(W_q q + W_k k) (Bahdanau et al., 2015): a small network compares.

    Args:
        query_size: Q.
        key_size: K.
        hidden_size: width of the layer in which query and key meet.
    """

    def __init__(self, query_size: int, key_size: int, hidden_size: int) -> None:
        super().__init__(query_size, key_size)
        hidden_size = checks.positive_integer("hidden_size", hidden_size)
        self.W_q = nn.Linear(query_size, hidden_size, bias=False)
        self.W_k = nn.Linear(key_size, hidden_size)
        self.v = nn.Linear(hidden_size, 1, bias=False)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return (T, B, S)."""
        q = self.W_q(query)[:, :, None]  # (T, B, 1, hidden)
        k = self.W_k(keys).transpose(0, 1)  # (B, S, hidden)
        return self.v(torch.tanh(q + k)).squeeze(-1)


class DotAttention(_ScoredAttention):
    """Score = q · k ("dot"), q · k / sqrt(K) ("scaled") or q · W_a k ("general").

    "dot" and "general" are those of Luong et al. (2015), "scaled" that of Vaswani et al. (2017).

    Args:
        query_size: Q; equal to K unless `kind` is "general".
        key_size: K.
        kind: which of the three.

    Raises:
        InputError: if the sizes differ and `kind` is not "general".
    """

    def __init__(self, query_size: int, key_size: int, kind: str = "dot") -> None:
        super().__init__(query_size, key_size)
        self.kind = checks.choice("kind", kind, ("dot", "scaled", "general"))
        if kind != "general" and query_size != key_size:
            raise checks.InputError(
                f"query_size must be key_size = {key_size} for a product of the two; "
                f'got {query_size} (kind="general" joins different sizes)'
            )
        self.W_a = nn.Linear(key_size, query_size, bias=False) if kind == "general" else None
        self.scale = 1 / sqrt(key_size) if kind == "scaled" else 1.0

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return (T, B, S)."""
        k = keys if self.W_a is None else self.W_a(keys)  # (S, B, Q)
        return torch.einsum("tbq,sbq->tbs", query, k) * self.scale


class KeysValues(NamedTuple):
    """Keys and values that were computed before and are used again: the cache of one layer."""

    K: Tensor
    """(m, B, d)"""
    V: Tensor
    """(m, B, d)"""

    def append(self, other: KeysValues) -> KeysValues:
        """Return both, one after the other in time.

        Raises:
            InputError: if the two hold different batches.
        """
        if self.K.shape[1] != other.K.shape[1]:
            raise checks.InputError(
                f"the cache holds a batch of {self.K.shape[1]} sequences; "
                f"the input holds {other.K.shape[1]}"
            )
        return KeysValues(torch.cat([self.K, other.K]), torch.cat([self.V, other.V]))


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own slice of d_model (Vaswani et al., 2017).

    It has the parameters of `torch.nn.MultiheadAttention`, draws the same ones from the same
    seed, and loads its `state_dict`. Differences: masks say True where one may look, and the
    weights come back for each head.

    Args:
        d_model: size of what comes in and goes out.
        heads: how many attentions; it divides d_model.
        dropout: probability that a weight is zeroed in training.
        bias: whether the projections have biases.

    Raises:
        InputError: if `heads` does not divide `d_model`, or `dropout` is outside [0, 1].
    """

    def __init__(self, d_model: int, heads: int, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.d_model = checks.positive_integer("d_model", d_model)
        self.heads = checks.positive_integer("heads", heads)
        if d_model % heads:
            raise checks.InputError(
                f"heads must divide d_model = {d_model} into equal slices; got {heads}"
            )
        self.dropout = nn.Dropout(_probability("dropout", dropout))
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d_model, d_model))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d_model)) if bias else None
        self.out_proj = nn.Linear(d_model, d_model, bias)
        nn.init.xavier_uniform_(self.in_proj_weight)
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    def queries(self, x: Tensor) -> Tensor:
        """Return Q = x W_qᵀ + b_q: (n, B, d) -> (n, B, d)."""
        return self._project("query", x, 0)

    def keys_values(self, key: Tensor, value: Tensor | None = None) -> KeysValues:
        """Return K = key W_kᵀ + b_k and V = value W_vᵀ + b_v; `value` is `key` if left out."""
        value = key if value is None else value
        return KeysValues(self._project("key", key, 1), self._project("value", value, 2))

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KeysValues | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Look from every query at every key.

        Args:
            query: (n, B, d).
            key: (m, B, d); the query itself if left out.
            value: (m, B, d); the key if left out.
            mask: bool, (n, m) for all sequences alike, such as `causal_mask(n)`, or (n, m, B);
                sizes of 1 stand for all, so `padding_mask(lengths, m)[None]` hides padding.
            cache: what `keys_values` returned, in place of `key` and `value`.

        Returns:
            Output (n, B, d) and weights (B, heads, n, m).

        Raises:
            InputError: if a shape does not fit, or both `key` and `cache` are given.
        """
        Q = self.queries(query)
        if cache is None:
            cache = self.keys_values(query if key is None else key, value)
        elif key is not None or value is not None:
            raise checks.InputError("key and value are already in the cache: give only one")
        return self.combine(Q, cache, mask)

    def combine(
        self, Q: Tensor, cache: KeysValues, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend in every head, join the heads and mix them with W_o."""
        _check_batch(Q, cache)
        if mask is not None:
            mask = _over_heads(mask, Q.shape[0], cache.K.shape[0], Q.shape[1])
        Q, K, V = (self.split(each) for each in (Q, *cache))  # each (B, heads, n or m, d / heads)
        output, weights = attend(Q, K, V, mask)  # (B, heads, n, d / heads), (B, heads, n, m)
        if self.training and self.dropout.p > 0:
            output = self.dropout(weights) @ V
        return self.out_proj(self.join(output)), weights  # out_proj is W_o

    def split(self, x: Tensor) -> Tensor:
        """Give each head its slice: (n, B, d) -> (B, heads, n, d / heads)."""
        return x.unflatten(-1, (self.heads, -1)).permute(1, 2, 0, 3)

    def join(self, x: Tensor) -> Tensor:
        """Put the slices back together: (B, heads, n, d / heads) -> (n, B, d)."""
        return x.permute(2, 0, 1, 3).flatten(-2)

    def _project(self, name: str, x: Tensor, which: int) -> Tensor:
        weight = self.in_proj_weight
        like = None if torch.is_autocast_enabled(weight.device.type) else weight
        checks.tensor(name, x, ("n", "B", self.d_model), like=like)
        bias = None if self.in_proj_bias is None else self.in_proj_bias.chunk(3)[which]
        return nn.functional.linear(x, weight.chunk(3)[which], bias)


def _over_heads(mask: Tensor, n: int, m: int, B: int) -> Tensor:
    """Bring a mask (n, m) or (n, m, B) to (B or 1, 1, n, m)."""
    mask = _bool("mask", mask)
    sizes = (n, m, B)[: mask.dim()] if mask.dim() in (2, 3) else ()
    fits = all(came in (1, size) for came, size in zip(mask.shape, sizes, strict=False))
    if not sizes or not fits:
        raise checks.InputError(
            f"mask must have shape ({n}, {m}) or ({n}, {m}, {B}), or 1 in a place that stands "
            f"for all; got {tuple(mask.shape)}"
        )
    return mask[None, None] if mask.dim() == 2 else mask.permute(2, 0, 1)[:, None]


def _check_attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> None:
    for name, each in (("query", query), ("key", key), ("value", value)):
        if not isinstance(each, Tensor) or each.dim() < 2:
            raise checks.InputError(f"{name} must be a tensor with at least two dimensions")
    d, m = query.shape[-1], key.shape[-2]
    checks.tensor("key", key, (*key.shape[:-1], d), like=query)
    checks.tensor("value", value, (*value.shape[:-2], m, value.shape[-1]), like=query)
    if mask is not None:
        _bool("mask", mask)


def _check_batch(Q: Tensor, cache: KeysValues) -> None:
    if Q.shape[1] != cache.K.shape[1]:
        raise checks.InputError(
            f"query holds a batch of {Q.shape[1]} sequences; keys and values hold a batch of "
            f"{cache.K.shape[1]}"
        )
    if cache.K.shape != cache.V.shape:
        raise checks.InputError(
            f"value must have the shape of key, {tuple(cache.K.shape)}; got {tuple(cache.V.shape)}"
        )


def _bool(name: str, mask: Tensor) -> Tensor:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        came = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise checks.InputError(f"{name} must be bool, True where one may look; got {came}")
    return mask


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise checks.InputError(f"{name} must be a probability from 0 to 1; got {value}")
    return value
