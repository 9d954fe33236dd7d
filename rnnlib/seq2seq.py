"""Encoder and decoder: one recurrent network reads the source, another writes the target.

`EncoderDecoder` is the network of Sutskever, Vinyals and Le (2014), and with `attention` close to
that of Luong, Pham and Manning (2015). Time is the first dimension and the batch the second one,
in ids (T, B) as in every tensor of a state, so that `rnnlib.decoding` can pick rows of any state.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnnlib import checks
from rnnlib.attention import AdditiveAttention, DotAttention, padding_mask
from rnnlib.layers import GRU, LSTM

CELLS = {"lstm": LSTM, "gru": GRU}
ATTENTIONS = ("additive", "dot", "scaled", "general")


class DecoderState(NamedTuple):
    """What the decoder carries from step to step, and what it looks at.

    Without attention, `recurrent` is all that it ever learns of the source.
    """

    recurrent: Any
    """h (layers, B, H), for an LSTM the pair (h, c); before the first step: the encoder's last."""
    memory: Tensor | None
    """(S, B, H), the encoder's outputs in the order of the source; None without attention."""
    mask: Tensor | None
    """(S, B), True where the source has a symbol; None without attention."""


class EncoderDecoder(nn.Module):
    """Reads a source of symbols and scores, step by step, the next symbol of the target.

    The encoder's last state is the decoder's first one (Sutskever et al., 2014, section 2). That
    state is the whole context vector: it is not given to the decoder again at later steps, as Cho
    et al. (2014) do. The scores are V numbers a step; their softmax is the probability of the next
    symbol.

    With attention, the decoder's output h_t scores the encoder's outputs, their weighted mean is
    the context c_t, and the scores are read from tanh(W_c [c_t; h_t]) (Luong et al., 2015,
    equations 5 and 6, without input feeding). No step waits for the attention of the step before,
    so teacher forcing runs all steps at once. "additive" takes the scoring function of Bahdanau,
    Cho and Bengio (2015) on this same path; in their network it scores with the state before,
    h_{t-1}, and the context is part of the next step's input.

    Args:
        source_size: how many symbols the source may have, PAD included.
        target_size: V, the same for the target.
        embedding_size: numbers a symbol is turned into.
        hidden_size: H, of each decoder layer, and of each encoder layer over all directions.
        cell: "lstm" or "gru".
        attention: None, "additive", "dot", "scaled" (dot / sqrt(H)) or "general" (h W s).
        bidirectional: the encoder reads in both directions, with H / 2 units each; so the two
            last states, joined, are as wide as the decoder's.
        reverse_source: read every source from its last symbol to its first one (Sutskever et al.,
            2014, section 3.3); the padding stays at the end. Attention still sees the source in
            its own order.
        layers: of encoder and decoder.
        dropout: probability of a zero, in training, in the embeddings, between layers, and in
            what the scores are read from.

    Raises:
        InputError: a size below 1, an unknown cell or attention, a dropout outside [0, 1), or an
            odd hidden_size in two directions.
        TypeError: a size that is no integer.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        embedding_size: int,
        hidden_size: int,
        cell: str = "lstm",
        attention: str | None = None,
        bidirectional: bool = False,
        reverse_source: bool = False,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.source_size = checks.positive_integer("source_size", source_size)
        self.target_size = checks.positive_integer("target_size", target_size)
        D = checks.positive_integer("embedding_size", embedding_size)
        H = self.hidden_size = checks.positive_integer("hidden_size", hidden_size)
        layers = checks.positive_integer("layers", layers)
        Layer = CELLS[checks.choice("cell", cell, tuple(CELLS))]
        if attention is not None:
            checks.choice("attention", attention, ATTENTIONS)
        if bidirectional and H % 2:
            raise checks.InputError(
                f"hidden_size must be even where two directions share it; got {H}"
            )
        if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise checks.InputError(f"dropout must be from 0 to below 1; got {dropout!r}")
        self.reverse_source = reverse_source
        between = float(dropout) if layers > 1 else 0.0  # torch warns where it has no effect
        self.source_embedding = nn.Embedding(source_size, D)
        self.target_embedding = nn.Embedding(target_size, D)
        self.encoder: Any = Layer(
            D, H // 2 if bidirectional else H, layers, dropout=between, bidirectional=bidirectional
        )
        self.decoder: Any = Layer(D, H, layers, dropout=between)
        self.attention: Any = None
        if attention == "additive":
            self.attention = AdditiveAttention(H, H, H)
        elif attention is not None:
            self.attention = DotAttention(H, H, attention)
        if attention is not None:
            self.combine = nn.Linear(2 * H, H, bias=False)
        self.scores = nn.Linear(H, target_size)
        self.dropout = nn.Dropout(dropout)

    def encode(self, source: Tensor, source_lengths: Tensor) -> DecoderState:
        """Read the sources.

        Args:
            source: (S, B), ids; what stands behind a source's length changes nothing.
            source_lengths: (B,), from 1 to S.

        Returns:
            The decoder's first state; in every tensor of it, dimension 1 is the batch.

        Raises:
            InputError, TypeError: as `forward`.
        """
        check_ids("source", source, ("S", "B"), self.source_size)
        checks.not_empty("source", source, 0)
        steps, batch = source.shape
        lengths = checks.lengths(source_lengths, batch, steps)
        places = _reversed_places(lengths, steps).to(source.device) if self.reverse_source else None
        x = self.dropout(self.source_embedding(_reorder(source, places)))  # (S, B, D)
        # Without padding, the layers need not pack the batch, which is faster.
        memory, last = self.encoder(x, lengths=None if int(lengths.min()) == steps else lengths)
        if self.encoder.bidirectional:
            last = tuple(map(_join, last)) if isinstance(last, tuple) else _join(last)
        if self.attention is None:
            return DecoderState(last, None, None)
        mask = padding_mask(lengths.to(source.device), steps)
        return DecoderState(last, _reorder(memory, places), mask)

    def forward(self, source: Tensor, source_lengths: Tensor, target_in: Tensor) -> Tensor:
        """Score every next symbol, given the true symbols before it (teacher forcing).

        Args:
            source: (S, B), ids; what stands behind a source's length changes nothing.
            source_lengths: (B,), from 1 to S.
            target_in: (T, B), what the decoder reads: START and the target.

        Returns:
            (T, B, V), the scores of the symbol that follows each of `target_in`.

        Raises:
            InputError: ids outside the vocabulary or of no integer type, a wrong shape, no time
                step, or a length below 1 or above S.
            TypeError: something that is no tensor.
        """
        return self.decode(target_in, self.encode(source, source_lengths))[0]

    def decode(self, target_in: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Read target symbols (T, B) from a state on; return scores (T, B, V) and the next state.

        Raises:
            InputError, TypeError: as `step`.
        """
        h, state = self._read(target_in, state)
        return self._score(h, state), state

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Read one target symbol a row.

        Args:
            tokens: (B,), ids.
            state: as returned by `encode` or `step`, of the same batch.

        Returns:
            (B, V), the scores of the symbol that follows, and the next state.

        Raises:
            InputError: ids outside the vocabulary or of no integer type, or a state of another
                batch or network.
            TypeError: something that is no tensor or no state.
        """
        check_ids("tokens", tokens, ("B",), self.target_size)
        scores, state = self.decode(tokens.unsqueeze(0), state)
        return scores.squeeze(0), state

    def align(self, source: Tensor, source_lengths: Tensor, target_in: Tensor) -> Tensor:
        """Return the attention weights under teacher forcing, (T, B, S).

        Entry [t, b, s] is the weight of source symbol s in the scores that follow symbol t of
        `target_in`. Each row of S sums to 1, and weights on padding are zero.

        Raises:
            RuntimeError: a network without attention.
            InputError, TypeError: as `forward`.
        """
        if self.attention is None:
            raise RuntimeError(
                "align() needs attention: this network was built with attention=None, and its "
                "decoder never looks back at single symbols of the source"
            )
        h, state = self._read(target_in, self.encode(source, source_lengths))
        return self.attention(h, state.memory, state.mask)[1]

    def _read(self, target_in: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        check_ids("target_in", target_in, ("T", "B"), self.target_size)
        checks.not_empty("target_in", target_in, 0)
        state = self._check(state, target_in.shape[1])
        x = self.dropout(self.target_embedding(target_in))  # (T, B, D)
        h, recurrent = self.decoder(x, state.recurrent)  # (T, B, H)
        return h, state._replace(recurrent=recurrent)

    def _score(self, h: Tensor, state: DecoderState) -> Tensor:
        if self.attention is not None:
            c, _ = self.attention(h, state.memory, state.mask)  # (T, B, H)
            h = torch.tanh(self.combine(torch.cat([c, h], dim=-1)))
        return self.scores(self.dropout(h))

    def _check(self, state: Any, batch: int) -> DecoderState:
        if not isinstance(state, tuple) or len(state) != 3:
            raise TypeError(
                f"state must be what encode() or step() returned; got {type(state).__name__}"
            )
        state = DecoderState(*state)
        shape = (self.decoder.num_layers, batch, self.hidden_size)
        is_lstm = isinstance(self.decoder, LSTM)
        parts = checks.pair("state", state.recurrent) if is_lstm else (state.recurrent,)
        for part in parts:
            checks.tensor("state", part, shape)
        if self.attention is not None:
            memory = checks.tensor("state.memory", state.memory, ("S", batch, self.hidden_size))
            checks.tensor("state.mask", state.mask, tuple(memory.shape[:2]))
        elif state.memory is not None:
            raise checks.InputError("state has a memory, but this network has no attention")
        return state


def check_ids(name: str, ids: object, shape: tuple[str, ...], size: int) -> Tensor:
    """Return `ids` if it is a tensor of this shape that holds numbers from 0 to size - 1.

    Args:
        name: what the caller calls it.
        ids: what was given.
        shape: a letter a dimension, such as ("T", "B").
        size: how many symbols there are.

    Raises:
        TypeError: it is no tensor.
        InputError: its shape or dtype (int64 or int32) is another, or a number is outside.
    """
    given = checks.tensor(name, ids, shape)
    if given.dtype not in (torch.int64, torch.int32):
        raise checks.InputError(f"{name} must hold ids of dtype torch.int64; got {given.dtype}")
    if given.numel():
        lowest, highest = (int(bound) for bound in given.aminmax())
        if lowest < 0 or highest >= size:
            raise checks.InputError(
                f"{name} must hold ids from 0 to {size - 1}, the vocabulary; "
                f"got {lowest if lowest < 0 else highest}"
            )
    return given


def _reversed_places(lengths: Tensor, steps: int) -> Tensor:
    """Where each step of a reversed source comes from, (S, B); the padding stays where it is."""
    s = torch.arange(steps)[:, None]
    return torch.where(s < lengths, lengths - 1 - s, s)


def _reorder(x: Tensor, places: Tensor | None) -> Tensor:
    """Pick (S, B) or (S, B, H) along time, in each row by its own `places` (S, B)."""
    if places is None:
        return x
    return x.gather(0, places if x.dim() == 2 else places[:, :, None].expand_as(x))


def _join(last: Tensor) -> Tensor:
    """Join the last states of two directions: (2 * layers, B, H / 2) to (layers, B, H)."""
    return torch.cat([last[0::2], last[1::2]], dim=-1)
