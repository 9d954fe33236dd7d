"""The Transformer (Vaswani et al., 2017): positions, blocks, causal model, encoder and decoder.

Time comes first and the batch second, in every tensor and in every state, so that a row of a
state can be selected along dimension 1. Masks are as in `rnnlib.attention`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnnlib import checks
from rnnlib.attention import KeysValues, MultiHeadAttention, causal_mask, padding_mask

POSITIONS = ("sinusoidal", "learned", "rotary", "none")
NORMS = ("pre", "post")
Lengths = Tensor | Sequence[int]


# Positions


def angles(positions: Tensor, d_model: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return position / 10000^(2i / d) for i = 0, 1, ..., d/2 - 1: (...) -> (..., d/2)."""
    if d_model % 2:
        raise checks.InputError(f"d_model must be even, to hold pairs; got {d_model}")
    dtype = dtype or torch.get_default_dtype()
    i = torch.arange(d_model // 2, device=positions.device)
    return positions[..., None].to(dtype) / 10000 ** (2 * i.to(dtype) / d_model)


def sinusoids(positions: Tensor, d_model: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return sines at the even and cosines at the odd places: (...) -> (..., d)."""
    a = angles(positions, d_model, dtype)  # (..., d/2)
    return torch.stack([a.sin(), a.cos()], dim=-1).flatten(-2)


def sinusoidal_positions(steps: int, d_model: int) -> Tensor:
    """Return the vectors that are added at positions 0, 1, 2, ...: (steps, d_model).

    Source: Vaswani et al. (2017), section 3.5.
    """
    return sinusoids(torch.arange(checks.positive_integer("steps", steps)), d_model)


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Turn every pair of numbers by an angle that grows with the position (Su et al., 2024).

    The product of a rotated query and a rotated key then depends on the distance of their
    positions only.

    Args:
        x: queries or keys, (..., d), with d even.
        positions: (...), or what broadcasts to it.
    """
    a = angles(positions, x.shape[-1], x.dtype)  # (..., d/2)
    x_1, x_2 = x[..., 0::2], x[..., 1::2]
    turned = x_1 * a.cos() - x_2 * a.sin(), x_1 * a.sin() + x_2 * a.cos()
    return torch.stack(turned, dim=-1).flatten(-2)


class LearnedPositions(nn.Module):
    """A table with one learned vector a position.

    Args:
        longest: how many positions it holds.
        d_model: size of a vector.
    """

    def __init__(self, longest: int, d_model: int) -> None:
        super().__init__()
        self.longest = checks.positive_integer("longest", longest)
        self.weight = nn.Parameter(torch.randn(longest, d_model) * d_model**-0.5)

    def forward(self, positions: Tensor) -> Tensor:
        """Return the vectors: (...) -> (..., d).

        Raises:
            InputError: if a position is past the end of the table.
        """
        if positions.numel() and int(positions.max()) >= self.longest:
            raise checks.InputError(
                f"positions must be below longest = {self.longest}, the size of the learned "
                f"table; got {int(positions.max())}: the sequence is too long for it"
            )
        return self.weight[positions]


class _Positions(nn.Module):
    """Adds to x what says where it stands; "rotary" happens later, inside the attention."""

    def __init__(self, kind: str, d_model: int, heads: int, longest: int) -> None:
        super().__init__()
        self.kind = checks.choice("positions", kind, POSITIONS)
        if kind == "rotary" and d_model // heads % 2:
            raise checks.InputError(
                f"d_model / heads must be even, to turn pairs; got {d_model} / {heads}"
            )
        self.table = LearnedPositions(longest, d_model) if kind == "learned" else None

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        if self.kind == "sinusoidal":
            return x + sinusoids(positions, x.shape[-1], x.dtype)
        return x if self.table is None else x + self.table(positions)

    def turned_by(self, positions: Tensor) -> Tensor | None:
        return positions if self.kind == "rotary" else None


# Blocks


class EncoderBlock(nn.Module):
    """Attention of a sequence to itself, then a small network at every position.

    Each of the two is added to what came in. `norm` says where the layer norm stands: "post",
    norm(x + f(x)), as in Vaswani et al. (2017), or "pre", x + f(norm(x)), as Xiong et al. (2020)
    recommend. It has the parameters of `torch.nn.TransformerEncoderLayer` and loads its
    `state_dict`. With a causal mask it is the block of a decoder-only model.

    Args:
        d_model: size of a vector.
        heads: how many attentions; it divides d_model.
        d_ff: width of the small network.
        dropout: probability that a number is zeroed in training.
        norm: "pre" or "post".
    """

    def __init__(
        self, d_model: int, heads: int, d_ff: int, dropout: float = 0.0, norm: str = "pre"
    ) -> None:
        super().__init__()
        self.norm_first = checks.choice("norm", norm, NORMS) == "pre"
        self.self_attn = MultiHeadAttention(d_model, heads, dropout)
        self._between(d_model, heads, dropout)
        self.linear1 = nn.Linear(d_model, checks.positive_integer("d_ff", d_ff))
        self.linear2 = nn.Linear(d_ff, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (n, B, d) to (n, B, d); `mask` is that of `MultiHeadAttention`."""
        return self.extend(x, mask)[0]

    def extend(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        past: KeysValues | None = None,
        turned_by: Tensor | None = None,
    ) -> tuple[Tensor, KeysValues, Tensor]:
        """Run the block behind a past whose keys and values are known.

        Args:
            x: the new time steps, (n, B, d).
            mask: (n, m) or (n, m, B), where m counts the past as well.
            past: what the call before returned.
            turned_by: positions (n, B) or (n, 1) for rotary attention; None for none.

        Returns:
            Output (n, B, d); keys and values (m, B, d) to keep; weights (B, heads, n, m).
        """
        x, kept, weights = self._look_back(x, mask, past, turned_by)
        return self._think(x, self.norm2), kept, weights

    def _look_back(
        self, x: Tensor, mask: Tensor | None, past: KeysValues | None, turned_by: Tensor | None
    ) -> tuple[Tensor, KeysValues, Tensor]:
        y = self._enter(x, self.norm1)
        Q, new = self.self_attn.queries(y), self.self_attn.keys_values(y)
        if turned_by is not None:
            Q = _rotate_heads(Q, self.self_attn.heads, turned_by)
            new = KeysValues(_rotate_heads(new.K, self.self_attn.heads, turned_by), new.V)
        kept = new if past is None else past.append(new)
        y, weights = self.self_attn.combine(Q, kept, mask)
        return self._leave(x, y, self.norm1), kept, weights

    def _think(self, x: Tensor, norm: nn.Module) -> Tensor:
        y = torch.relu(self.linear1(self._enter(x, norm)))  # (n, B, d_ff)
        return self._leave(x, self.linear2(self.dropout(y)), norm)

    def _enter(self, x: Tensor, norm: nn.Module) -> Tensor:
        return norm(x) if self.norm_first else x

    def _leave(self, x: Tensor, y: Tensor, norm: nn.Module) -> Tensor:
        x = x + self.dropout(y)
        return x if self.norm_first else norm(x)

    def _between(self, d_model: int, heads: int, dropout: float) -> None:
        """Make what stands between the two attentions; torch draws its weights in this order."""


class DecoderBlock(EncoderBlock):
    """The same with a second attention in the middle, to the encoder's output ("memory").

    It has the parameters of `torch.nn.TransformerDecoderLayer` and loads its `state_dict`. As
    there, only the mask that is given makes it causal.
    """

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """Map (n, B, d), with a memory of (S, B, d), to (n, B, d)."""
        return self.extend(x, mask, None, None, self.remember(memory), memory_mask)[0]

    def remember(self, memory: Tensor) -> KeysValues:
        """Return keys and values of the encoder's output: they serve every step of decoding."""
        return self.multihead_attn.keys_values(memory)

    def extend(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        past: KeysValues | None = None,
        turned_by: Tensor | None = None,
        memory: KeysValues | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, KeysValues, Tensor]:
        """Run the block behind a past; the weights (B, heads, n, S) are those to the memory."""
        if memory is None:
            raise checks.InputError("memory is missing: give what remember() returned")
        x, kept, _ = self._look_back(x, mask, past, turned_by)
        Q = self.multihead_attn.queries(self._enter(x, self.norm2))
        y, weights = self.multihead_attn.combine(Q, memory, memory_mask)
        x = self._leave(x, y, self.norm2)
        return self._think(x, self.norm3), kept, weights

    def _between(self, d_model: int, heads: int, dropout: float) -> None:
        self.multihead_attn = MultiHeadAttention(d_model, heads, dropout)
        self.norm3 = nn.LayerNorm(d_model)


def _rotate_heads(x: Tensor, heads: int, positions: Tensor) -> Tensor:
    """Rotate each head's slice: (n, B, d) -> (n, B, d)."""
    return rotate(x.unflatten(-1, (heads, -1)), positions[..., None]).flatten(-2)


# Decoder-only: the causal model


class CausalState(NamedTuple):
    """What a causal Transformer keeps of the past: everything, where a recurrent net has a sum."""

    layers: tuple[KeysValues, ...]
    """Keys and values of every layer, (m, B, d) each."""
    real: Tensor | None
    """(m, B), False at padding; None if there is none."""


class CausalTransformer(nn.Module):
    """Blocks on top of each other in which nothing looks ahead; keeps the sequence contract.

    Args:
        d_model: size of a vector, of input and output.
        heads: attentions in each block.
        layers: number of blocks.
        d_ff: width of the network in each block, 4 * d_model if left out.
        positions: "sinusoidal", "learned", "rotary" or "none".
        longest: positions that the "learned" table holds; the other kinds have no end.
        norm: "pre" (one more layer norm follows the last block) or "post".
        dropout: probability that a number is zeroed in training.
    """

    blocks: Any  # a ModuleList of EncoderBlock

    def __init__(
        self,
        d_model: int,
        heads: int,
        layers: int,
        d_ff: int | None = None,
        positions: str = "sinusoidal",
        longest: int = 1024,
        norm: str = "pre",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers = checks.positive_integer("layers", layers)
        self.d_model, d_ff = d_model, 4 * d_model if d_ff is None else d_ff
        self.positions = _Positions(positions, d_model, heads, longest)
        self.blocks = nn.ModuleList(
            EncoderBlock(d_model, heads, d_ff, dropout, norm) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(d_model) if norm == "pre" else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: CausalState | None = None, lengths: Lengths | None = None
    ) -> tuple[Tensor, CausalState]:
        """Run whole sequences.

        Args:
            x: (T, B, D) with D = d_model.
            state: as returned before; the sequences go on from there.
            lengths: real time steps of each sequence of a padded batch, (B,).

        Returns:
            Outputs (T, B, D), zero at padding, and the next state.

        Raises:
            InputError: if a shape, dtype or length does not fit, if the state belongs to another
                batch or model, or if a sequence is longer than the table of learned positions.
        """
        weight = self.blocks[0].linear1.weight
        autocast = torch.is_autocast_enabled(weight.device.type)  # then torch converts
        checks.tensor("x", x, ("T", "B", self.d_model), like=None if autocast else weight)
        checks.not_empty("x", x, 0)
        T, B, _ = x.shape
        state = self.initial_state(B) if state is None else _of_batch(state, B, len(self.blocks))
        x, mask, positions, real = _place(x, state, lengths)
        x, turned_by = (
            self.dropout(self.positions(x, positions)),
            self.positions.turned_by(positions),
        )
        kept = []
        for block, past in zip(self.blocks, state.layers, strict=True):
            x, new, _ = block.extend(x, mask, past, turned_by)
            kept.append(new)
        outputs = self.norm(x)
        if lengths is not None and real is not None:
            outputs = outputs.masked_fill(~real[-T:, :, None], 0.0)
        return outputs, CausalState(tuple(kept), real)

    def step(self, x_t: Tensor, state: CausalState | None = None) -> tuple[Tensor, CausalState]:
        """Run one time step: (B, D) -> (B, D) and the next state, one place longer."""
        checks.tensor("x_t", x_t, ("B", self.d_model))
        outputs, state = self(x_t[None], state)
        return outputs[0], state

    def initial_state(self, batch_size: int) -> CausalState:
        """Return an empty cache for a batch."""
        B = checks.positive_integer("batch_size", batch_size)
        like: Tensor = next(self.blocks.parameters())
        empty = KeysValues(*(like.new_zeros(0, B, self.d_model) for _ in range(2)))
        return CausalState((empty,) * len(self.blocks), None)


def _of_batch(state: CausalState, B: int, layers: int) -> CausalState:
    if not isinstance(state, CausalState) or len(state.layers) != layers:
        raise checks.InputError(f"state must be the CausalState of a model of {layers} layers")
    held = state.layers[0].K.shape[1]
    if held != B:
        raise checks.InputError(
            f"state belongs to a batch of {held} sequences; the input holds {B}: start with "
            "state=None, or select the rows of the state"
        )
    return state


def _place(
    x: Tensor, state: CausalState, lengths: Lengths | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return x with padding zeroed, mask (T, m[, B]), positions (T, 1 or B), real (m, B) | None."""
    T, B, _ = x.shape
    past, real = state.layers[0].K.shape[0], state.real
    steps = torch.arange(T, device=x.device)[:, None]
    mask = causal_mask(T, past + T, x.device)
    if lengths is None and real is None:
        return x, mask, past + steps, None
    old = x.new_ones(past, B, dtype=torch.bool) if real is None else real
    new = x.new_ones(T, B, dtype=torch.bool)
    if lengths is not None:
        new = padding_mask(checks.lengths(lengths, B, T), T).to(x.device)
        x = x.masked_fill(~new[:, :, None], 0.0)
    real = torch.cat([old, new])
    return x, mask[:, :, None] & real, old.sum(0) + steps, real


class TransformerLanguageModel(nn.Module):
    """Embedding, `CausalTransformer`, and a score for every token that may come next.

    Args:
        V: vocabulary size.
        d_model, heads, layers, d_ff, positions, longest, norm, dropout: as `CausalTransformer`.
    """

    def __init__(
        self,
        V: int,
        d_model: int,
        heads: int,
        layers: int,
        d_ff: int | None = None,
        positions: str = "sinusoidal",
        longest: int = 1024,
        norm: str = "pre",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = _embedding("V", V, d_model)
        self.transformer = CausalTransformer(
            d_model, heads, layers, d_ff, positions, longest, norm, dropout
        )
        self.readout = nn.Linear(d_model, V)

    def forward(
        self, x: Tensor, state: CausalState | None = None, lengths: Lengths | None = None
    ) -> tuple[Tensor, CausalState]:
        """Read ids (T, B); return scores (T, B, V) and the next state.

        Raises:
            InputError: as `CausalTransformer`, and if an id is outside the vocabulary.
        """
        outputs, state = self.transformer(
            _embed("x", x, ("T", "B"), self.embedding), state, lengths
        )
        return self.readout(outputs), state

    def step(self, x_t: Tensor, state: CausalState | None = None) -> tuple[Tensor, CausalState]:
        """Read one id of each sequence, (B,); return scores (B, V) and the next state."""
        checks.tensor("x_t", x_t, ("B",))
        scores, state = self(x_t[None], state)
        return scores[0], state

    def initial_state(self, batch_size: int) -> CausalState:
        """Return an empty cache for a batch."""
        return self.transformer.initial_state(batch_size)


def _embedding(name: str, size: int, d_model: int) -> nn.Embedding:
    table = nn.Embedding(checks.positive_integer(name, size), d_model)
    nn.init.normal_(table.weight, std=d_model**-0.5)  # times sqrt(d_model) below: about 1
    return table


def _embed(name: str, ids: Tensor, shape: tuple[checks.Size, ...], table: nn.Embedding) -> Tensor:
    """Look the ids up and multiply by sqrt(d_model), as Vaswani et al. (2017), section 3.4."""
    checks.tensor(name, ids, shape)
    if ids.dtype not in (torch.int64, torch.int32):
        raise checks.InputError(f"{name} must hold ids, integers; got {ids.dtype}")
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < table.num_embeddings:
        raise checks.InputError(
            f"{name} must hold ids from 0 to {table.num_embeddings - 1}, the vocabulary; got "
            f"{int(ids.min())} to {int(ids.max())}"
        )
    return table(ids) * sqrt(table.embedding_dim)


# Encoder and decoder


class DecoderState(NamedTuple):
    """What the decoder needs at every step; every tensor holds the batch in dimension 1."""

    memory: tuple[KeysValues, ...]
    """Keys and values of the source for every decoder block, (S, B, d), computed once."""
    source_mask: Tensor
    """(S, B), True at real source tokens."""
    target: CausalState
    """Cache of the target tokens so far."""


class TransformerEncoderDecoder(nn.Module):
    """Encoder, decoder, and a score for every target token that may come next.

    It has the methods of `rnnlib.seq2seq.EncoderDecoder`.

    Args:
        source_size: size of the source vocabulary.
        target_size: V, size of the target vocabulary.
        d_model, heads, d_ff, positions, longest, norm, dropout: as `CausalTransformer`.
        layers: blocks in the encoder, and again in the decoder.
    """

    encoder: Any  # a ModuleList of EncoderBlock
    decoder: Any  # a ModuleList of DecoderBlock

    def __init__(
        self,
        source_size: int,
        target_size: int,
        d_model: int,
        heads: int,
        layers: int,
        d_ff: int | None = None,
        positions: str = "sinusoidal",
        longest: int = 1024,
        norm: str = "pre",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers = checks.positive_integer("layers", layers)
        sizes = (d_model, heads, 4 * d_model if d_ff is None else d_ff, dropout, norm)
        self.source_embedding = _embedding("source_size", source_size, d_model)
        self.target_embedding = _embedding("target_size", target_size, d_model)
        self.source_positions = _Positions(positions, d_model, heads, longest)
        self.target_positions = _Positions(positions, d_model, heads, longest)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderBlock(*sizes) for _ in range(layers))
        last = (nn.LayerNorm(d_model) if norm == "pre" else nn.Identity() for _ in range(2))
        self.encoder_norm, self.decoder_norm = last
        self.readout = nn.Linear(d_model, target_size)
        self.dropout = nn.Dropout(dropout)

    def encode(self, source: Tensor, source_lengths: Lengths) -> DecoderState:
        """Read the source (S, B) with its lengths (B,); return the state that decoding starts with.

        Raises:
            InputError: if the source is empty, holds ids outside the vocabulary, is longer than
                the table of learned positions, or the lengths do not fit.
        """
        x = _embed("source", source, ("S", "B"), self.source_embedding)  # (S, B, d)
        checks.not_empty("source", source, 0)
        S, B = source.shape
        real = padding_mask(checks.lengths(source_lengths, B, S), S).to(x.device)
        x = x.masked_fill(~real[:, :, None], 0.0)
        positions = torch.arange(S, device=x.device)[:, None]
        x = self.dropout(self.source_positions(x, positions))
        for block in self.encoder:
            x = block.extend(x, real[None], None, self.source_positions.turned_by(positions))[0]
        memory = tuple(block.remember(self.encoder_norm(x)) for block in self.decoder)
        empty = KeysValues(*(x.new_zeros(0, B, x.shape[2]) for _ in range(2)))
        return DecoderState(memory, real, CausalState((empty,) * len(self.decoder), None))

    def forward(self, source: Tensor, source_lengths: Lengths, target_in: Tensor) -> Tensor:
        """Teacher forcing: ids (S, B), (B,) and (T, B) to scores (T, B, V), all steps at once."""
        return self._decode(target_in, self.encode(source, source_lengths))[0]

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Read one target token of each row, (B,); return scores (B, V) and the next state."""
        checks.tensor("tokens", tokens, ("B",))
        scores, state, _ = self._decode(tokens[None], state)
        return scores[0], state

    def align(
        self, source: Tensor, source_lengths: Lengths, target_in: Tensor, layer: int = -1
    ) -> Tensor:
        """Return where decoder block `layer` looks: the mean over its heads, (T, B, S)."""
        if not -len(self.decoder) <= layer < len(self.decoder):
            raise checks.InputError(f"layer must name one of {len(self.decoder)}; got {layer}")
        weights = self._decode(target_in, self.encode(source, source_lengths))[2][layer]
        return weights.mean(1).transpose(0, 1)

    def _decode(
        self, target: Tensor, state: DecoderState
    ) -> tuple[Tensor, DecoderState, list[Tensor]]:
        x = _embed("target_in", target, ("T", "B"), self.target_embedding)  # (T, B, d)
        checks.not_empty("target_in", target, 0)
        if not isinstance(state, DecoderState):
            raise checks.InputError("state must be what encode() or step() returned")
        past = _of_batch(state.target, target.shape[1], len(self.decoder))
        x, mask, positions, _ = _place(x, past, None)
        x = self.dropout(self.target_positions(x, positions))
        kept, weights, turned_by = [], [], self.target_positions.turned_by(positions)
        for block, before, memory in zip(self.decoder, past.layers, state.memory, strict=True):
            args = (x, mask, before, turned_by, memory, state.source_mask[None])
            x, new, looked_at = block.extend(*args)
            kept.append(new)
            weights.append(looked_at)
        next_state = state._replace(target=CausalState(tuple(kept), None))
        return self.readout(self.decoder_norm(x)), next_state, weights
