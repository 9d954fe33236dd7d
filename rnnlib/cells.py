"""One time step of each recurrent cell, written like its equations.

Every function maps an input `x` (B, D) and a state to the next state. The state of an RNN or a
GRU is `h` (B, H); that of an LSTM is the pair `(h, c)`. The weights are stacked gate by gate, as
in `torch.nn`: `W_ih` (gates * H, D), `W_hh` (gates * H, H), `b_ih` and `b_hh` (gates * H,). A
bias that is left out is zero.

`CellLayer` runs any of them over whole sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn, sigmoid, tanh

from rnnlib import checks

Bias = Tensor | float
Pair = tuple[Tensor, Tensor]
State = Tensor | Pair


def rnn(
    x: Tensor, h: Tensor, W_ih: Tensor, W_hh: Tensor, b_ih: Bias = 0.0, b_hh: Bias = 0.0
) -> Tensor:
    """Elman's simple recurrent network (1990)."""
    a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh  # (B, H)
    return tanh(a)


def rnn_relu(
    x: Tensor, h: Tensor, W_ih: Tensor, W_hh: Tensor, b_ih: Bias = 0.0, b_hh: Bias = 0.0
) -> Tensor:
    """The same with max(0, a) in place of tanh (Le et al., 2015)."""
    a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh  # (B, H)
    return torch.relu(a)


def gru(
    x: Tensor, h: Tensor, W_ih: Tensor, W_hh: Tensor, b_ih: Bias = 0.0, b_hh: Bias = 0.0
) -> Tensor:
    """Gated recurrent unit, reset gate after the product, as `torch.nn.GRU` has it."""
    x_r, x_z, x_n = (x @ W_ih.T + b_ih).chunk(3, dim=-1)  # each (B, H)
    h_r, h_z, h_n = (h @ W_hh.T + b_hh).chunk(3, dim=-1)
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    n = tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


def gru_reset_before(
    x: Tensor, h: Tensor, W_ih: Tensor, W_hh: Tensor, b_ih: Bias = 0.0, b_hh: Bias = 0.0
) -> Tensor:
    """Gated recurrent unit, reset gate before the product (Cho et al., 2014)."""
    x_r, x_z, x_n = (x @ W_ih.T + b_ih + b_hh).chunk(3, dim=-1)  # each (B, H)
    W_r, W_z, W_n = W_hh.chunk(3)  # each (H, H)
    r = sigmoid(x_r + h @ W_r.T)
    z = sigmoid(x_z + h @ W_z.T)
    n = tanh(x_n + (r * h) @ W_n.T)
    return (1 - z) * n + z * h


def lstm(
    x: Tensor, state: Pair, W_ih: Tensor, W_hh: Tensor, b_ih: Bias = 0.0, b_hh: Bias = 0.0
) -> Pair:
    """Long short-term memory with a forget gate (Gers et al., 2000), as `torch.nn.LSTM` has it."""
    h, c = state
    a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh  # (B, 4H)
    a_i, a_f, a_g, a_o = a.chunk(4, dim=-1)  # each (B, H)
    i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
    g = tanh(a_g)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


def lstm_no_forget_gate(
    x: Tensor, state: Pair, W_ih: Tensor, W_hh: Tensor, b_ih: Bias = 0.0, b_hh: Bias = 0.0
) -> Pair:
    """LSTM with f = 1; weights stacked as i, g, o (NFG in Greff et al., 2017)."""
    h, c = state
    a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh  # (B, 3H)
    a_i, a_g, a_o = a.chunk(3, dim=-1)
    i, o = sigmoid(a_i), sigmoid(a_o)
    c = c + i * tanh(a_g)
    h = o * tanh(c)
    return h, c


def lstm_no_input_gate(
    x: Tensor, state: Pair, W_ih: Tensor, W_hh: Tensor, b_ih: Bias = 0.0, b_hh: Bias = 0.0
) -> Pair:
    """LSTM with i = 1; weights stacked as f, g, o (NIG in Greff et al., 2017)."""
    h, c = state
    a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh  # (B, 3H)
    a_f, a_g, a_o = a.chunk(3, dim=-1)
    f, o = sigmoid(a_f), sigmoid(a_o)
    c = f * c + tanh(a_g)
    h = o * tanh(c)
    return h, c


def lstm_no_output_gate(
    x: Tensor, state: Pair, W_ih: Tensor, W_hh: Tensor, b_ih: Bias = 0.0, b_hh: Bias = 0.0
) -> Pair:
    """LSTM with o = 1; weights stacked as i, f, g (NOG in Greff et al., 2017)."""
    h, c = state
    a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh  # (B, 3H)
    a_i, a_f, a_g = a.chunk(3, dim=-1)
    i, f = sigmoid(a_i), sigmoid(a_f)
    c = f * c + i * tanh(a_g)
    h = tanh(c)
    return h, c


def lstm_coupled(
    x: Tensor, state: Pair, W_ih: Tensor, W_hh: Tensor, b_ih: Bias = 0.0, b_hh: Bias = 0.0
) -> Pair:
    """LSTM with i = 1 - f; weights stacked as f, g, o (CIFG in Greff et al., 2017)."""
    h, c = state
    a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh  # (B, 3H)
    a_f, a_g, a_o = a.chunk(3, dim=-1)
    f, o = sigmoid(a_f), sigmoid(a_o)
    c = f * c + (1 - f) * tanh(a_g)
    h = o * tanh(c)
    return h, c


def lstm_peepholes(
    x: Tensor,
    state: Pair,
    W_ih: Tensor,
    W_hh: Tensor,
    b_ih: Bias = 0.0,
    b_hh: Bias = 0.0,
    *,
    peepholes: Tensor,
) -> Pair:
    """LSTM whose gates see the cell, through `peepholes` (3, H) (Gers & Schmidhuber, 2000)."""
    h, c = state
    p_i, p_f, p_o = peepholes  # each (H,)
    a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh  # (B, 4H)
    a_i, a_f, a_g, a_o = a.chunk(4, dim=-1)
    i = sigmoid(a_i + p_i * c)  # these two see the old cell
    f = sigmoid(a_f + p_f * c)
    c = f * c + i * tanh(a_g)
    o = sigmoid(a_o + p_o * c)  # this one sees the new cell
    h = o * tanh(c)
    return h, c


def lstm_1997(
    x: Tensor,
    state: Pair,
    W_ih: Tensor,
    W_hh: Tensor,
    b_ih: Bias = 0.0,
    b_hh: Bias = 0.0,
    *,
    truncated: bool = False,
) -> Pair:
    """The first LSTM, weights stacked as i, g, o (Hochreiter & Schmidhuber, 1997).

    It has no forget gate, and squashes to (-2, 2) on the way in and to (-1, 1) on the way out.
    With `truncated`, error flows back through the cell only, as in the paper.
    """
    h, c = state
    if truncated:
        h = h.detach()
    a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh  # (B, 3H)
    a_i, a_g, a_o = a.chunk(3, dim=-1)
    i, o = sigmoid(a_i), sigmoid(a_o)
    c = c + i * (4 * sigmoid(a_g) - 2)
    h = o * (2 * sigmoid(c) - 1)
    return h, c


class Cell(NamedTuple):
    """A step function and what a layer must know to make its weights."""

    step: Callable[..., State]
    blocks: int  # gates and candidates: how many (H, D) blocks W_ih stacks
    states: int  # 1 for h, 2 for (h, c)
    peepholes: int = 0


CELLS = {
    "rnn": Cell(rnn, blocks=1, states=1),
    "rnn_relu": Cell(rnn_relu, blocks=1, states=1),
    "gru": Cell(gru, blocks=3, states=1),
    "gru_reset_before": Cell(gru_reset_before, blocks=3, states=1),
    "lstm": Cell(lstm, blocks=4, states=2),
    "lstm_no_forget_gate": Cell(lstm_no_forget_gate, blocks=3, states=2),
    "lstm_no_input_gate": Cell(lstm_no_input_gate, blocks=3, states=2),
    "lstm_no_output_gate": Cell(lstm_no_output_gate, blocks=3, states=2),
    "lstm_coupled": Cell(lstm_coupled, blocks=3, states=2),
    "lstm_peepholes": Cell(lstm_peepholes, blocks=4, states=2, peepholes=3),
    "lstm_1997": Cell(lstm_1997, blocks=3, states=2),
}


class CellLayer(nn.Module):
    """One layer of any cell of this file, run over a sequence by a plain loop.

    Weights are drawn like those of `torch.nn`, uniformly from ±1/sqrt(H); there is one bias,
    `b_ih`, since a second one would add nothing but confusion to an ablation (`gru` alone has
    `b_hh` too: there the reset gate tells them apart). Peepholes start at zero.

    Args:
        cell: a key of `CELLS`.
        input_size: D.
        hidden_size: H.

    Raises:
        InputError: if the cell is unknown or a size is below 1.
        TypeError: if a size is no integer.
    """

    peepholes: nn.Parameter | None
    b_hh: nn.Parameter | None

    def __init__(self, cell: str, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = checks.choice("cell", cell, tuple(CELLS))
        self.input_size = checks.positive_integer("input_size", input_size)
        self.hidden_size = checks.positive_integer("hidden_size", hidden_size)
        rows = CELLS[cell].blocks * hidden_size
        self.W_ih = nn.Parameter(torch.empty(rows, input_size))
        self.W_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.b_ih = nn.Parameter(torch.empty(rows))
        self.b_hh = nn.Parameter(torch.empty(rows)) if cell == "gru" else None
        peepholes = CELLS[cell].peepholes
        self.peepholes = nn.Parameter(torch.empty(peepholes, hidden_size)) if peepholes else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        bound = 1 / sqrt(self.hidden_size)
        for name, weight in self.named_parameters():
            if name == "peepholes":
                nn.init.zeros_(weight)
            else:
                nn.init.uniform_(weight, -bound, bound)

    def initial_state(self, batch_size: int) -> State:
        """Return zeros: `h` (B, H), or `(h, c)` for the LSTMs."""
        checks.positive_integer("batch_size", batch_size)
        zeros = self.W_ih.new_zeros(batch_size, self.hidden_size)
        return zeros if CELLS[self.cell].states == 1 else (zeros, zeros.clone())

    def step(self, x_t: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run one time step: (B, D) -> output (B, H) and the next state.

        Raises:
            InputError, TypeError: if input or state does not fit.
        """
        checks.tensor("x_t", x_t, ("B", self.input_size), like=self.W_ih)
        return self._step(x_t, self._checked(state, len(x_t)))

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | list[int] | None = None
    ) -> tuple[Tensor, State]:
        """Run a whole sequence.

        Args:
            x: (T, B, D).
            state: before the first step; zeros if left out.
            lengths: real time steps of each sequence, (B,); all T if left out.

        Returns:
            Outputs (T, B, H), zero after a sequence's end, and the state at each sequence's end.

        Raises:
            InputError, TypeError: if an argument does not fit.
        """
        checks.tensor("x", x, ("T", "B", self.input_size), like=self.W_ih)
        checks.not_empty("x", x, 0)
        state = self._checked(state, x.shape[1])
        if lengths is not None:
            lengths = checks.lengths(lengths, x.shape[1], len(x)).to(x.device)
            running = torch.arange(len(x), device=x.device)[:, None, None] < lengths[:, None]
            x = x.masked_fill(~running, 0)  # padding may hold anything, even NaN
        outputs = []
        for t, x_t in enumerate(x):
            output, after = self._step(x_t, state)
            if lengths is not None:
                output = torch.where(running[t], output, 0)
                after = _where(running[t], after, state)
            outputs.append(output)
            state = after
        return torch.stack(outputs), state

    def extra_repr(self) -> str:
        """Return what `print` shows between the brackets."""
        return f"{self.cell!r}, {self.input_size}, {self.hidden_size}"

    def _step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        b_hh = 0.0 if self.b_hh is None else self.b_hh
        more = {} if self.peepholes is None else {"peepholes": self.peepholes}
        state = CELLS[self.cell].step(x_t, state, self.W_ih, self.W_hh, self.b_ih, b_hh, **more)
        return (state if isinstance(state, Tensor) else state[0]), state

    def _checked(self, state: State | None, batch: int) -> State:
        if state is None:
            zeros = self.W_ih.new_zeros(batch, self.hidden_size)
            return zeros if CELLS[self.cell].states == 1 else (zeros, zeros)
        shape = (batch, self.hidden_size)
        if CELLS[self.cell].states == 1:
            return checks.tensor("state", state, shape, like=self.W_ih)
        h, c = checks.pair("state", state)
        checks.tensor("state[0] (h)", h, shape, like=self.W_ih)
        checks.tensor("state[1] (c)", c, shape, like=self.W_ih)
        return h, c


def _where(condition: Tensor, new: State, old: State) -> State:
    if isinstance(new, Tensor) and isinstance(old, Tensor):
        return torch.where(condition, new, old)
    (h, c), (h_old, c_old) = new, old
    return torch.where(condition, h, h_old), torch.where(condition, c, c_old)
