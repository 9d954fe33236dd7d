"""RNN, LSTM and GRU over whole sequences, drop-in for those of `torch.nn`.

They take the same arguments, draw the same initial weights from the same seed, return the same
shapes and load each other's `state_dict`; `isinstance(layer, torch.nn.LSTM)` holds. What they add:

- `backend` (keyword only) chooses how the same function is computed: "loop" (the cells of
  `rnnlib.cells`, one step at a time), "fused" (the hand-written backward passes of
  `rnnlib.kernels`), "library" (torch's own kernel), or "auto", the fastest that applies.
- The contract that all sequence models of this library keep: `layer(x, state, lengths)`,
  `layer.step(x_t, state)` and `layer.initial_state(batch_size)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnlib import cells, checks, kernels

BACKENDS = ("auto", "loop", "fused", "library")

States = tuple[Tensor, ...]  # (h,) or (h, c)


class _RecurrentLayer(torch.nn.RNNBase):
    """What the three layers share; `torch.nn` supplies constructor, weights and "library"."""

    backend: str = "auto"  # also for layers that were pickled before there was a choice
    weight_ih_l0: Tensor
    _has_cell_state = False
    # From how many time steps on "fused" beats "library" in training on a CPU, as
    # benchmarks/recurrent_layers.py measures it. Its gain is in the backward pass: without
    # gradients, the library is as fast.
    _fused_from: int | None = None

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        lengths: Tensor | Sequence[int] | None = None,
        *,
        state: Any = None,
    ) -> tuple[Any, Any]:
        """Run whole sequences.

        Args:
            input: (T, B, D); (B, T, D) with `batch_first`; (T, D) for a single sequence; or a
                PackedSequence.
            hx: state before the first step, (layers * directions, B, H), for an LSTM a pair
                `(h, c)` of such; without B for a single sequence; zeros if left out.
            lengths: real time steps of each sequence of a padded batch, (B,). What the padding
                holds then changes nothing.
            state: another name for `hx`.

        Returns:
            Outputs of the last layer, (T, B, directions * H), in the layout of the input, and
            the state after the last step, in the layout of `hx`. With `lengths`, outputs after
            a sequence's end are zero, and the state is that at each sequence's own end.

        Raises:
            InputError: if a shape, dtype, device or length does not fit (it is a ValueError
                and a RuntimeError), or both `hx` and `state` are given.
            TypeError: if an argument has a wrong type.
            RuntimeError: if "fused" is asked for what it cannot do (see `rnnlib.kernels`).
        """
        if hx is not None and state is not None:
            raise checks.InputError("hx and state are two names for one argument: give only one")
        hx = self._check(input, state if hx is None else hx)
        if lengths is not None:
            return self._run_padded(input, hx, lengths)
        backend = self._choose(input)
        if backend == "library":
            return super().forward(input, hx)
        if isinstance(input, PackedSequence):
            return self._run_packed(input, hx, backend)
        single = input.dim() == 2
        x = input.unsqueeze(1) if single else input.transpose(0, 1) if self.batch_first else input
        T, B, D = x.shape
        states: States | None = None
        if hx is not None:
            states = tuple(s.unsqueeze(1) if single else s for s in self._as_tuple(hx))
        rows, states = self._run_rows(x.reshape(T * B, D), states, (B,) * T, backend)
        output = rows.view(T, B, rows.shape[1])
        output = _own_memory(output.transpose(0, 1) if self.batch_first and not single else output)
        if single:
            return output.squeeze(1), self._as_given(tuple(s.squeeze(1) for s in states))
        return output, self._as_given(states)

    def step(self, x_t: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run one time step.

        Args:
            x_t: (B, D).
            state: as returned by `step`, `initial_state` or the layer itself, (layers, B, H);
                zeros if left out.

        Returns:
            Output of the last layer, (B, H), and the next state.

        Raises:
            InputError, TypeError: if an argument does not fit.
            RuntimeError: if the layer is bidirectional.
        """
        if self.bidirectional:
            raise RuntimeError(
                f"a bidirectional {type(self).__name__} cannot run step by step: its backward "
                "direction starts at the end of the sequence, which step() has not seen yet"
            )
        checks.tensor("x_t", x_t, ("B", self.input_size))
        time = 1 if self.batch_first else 0
        output, state = self(x_t.unsqueeze(time), state)
        return output.squeeze(time), state

    def initial_state(self, batch_size: int) -> Any:
        """Return zeros: h (layers * directions, B, H), for an LSTM the pair (h, c)."""
        checks.positive_integer("batch_size", batch_size)
        like: Any = self._parameters.get("weight_ih_l0", self._flat_weights[0])
        return self._as_given(self._zeros(batch_size, like))

    def extra_repr(self) -> str:
        """Return what `print` shows between the brackets, as `torch.nn` does."""
        backend = "" if self.backend == "auto" else f", backend={self.backend!r}"
        return super().extra_repr() + backend

    def _set_backend(self, backend: str) -> None:
        self.backend = checks.choice("backend", backend, BACKENDS)

    def _choose(self, input: Tensor | PackedSequence) -> str:
        if self.backend != "auto":
            return checks.choice("backend", self.backend, BACKENDS)
        if kernels.transforms_active():
            return "loop"
        if self._fused_from is None or not torch.is_grad_enabled():
            return "library"
        if isinstance(input, PackedSequence):
            x, steps = input.data, len(input.batch_sizes)
        else:
            x, steps = input, input.shape[1 if self.batch_first and input.dim() == 3 else 0]
        if steps < self._fused_from or x.dtype not in (torch.float32, torch.float64):
            return "library"
        if x.device.type != "cpu" or _autocast(x.device):
            return "library"
        return "library" if torch.jit.is_tracing() or torch.compiler.is_compiling() else "fused"

    # Input, at the door

    def _check(self, input: Tensor | PackedSequence, hx: Any) -> Any:
        # A weight that is computed (parametrized) is left alone: each look at it computes it anew,
        # and some of those computations change what comes after (spectral norm, dropout).
        weight = self._parameters.get("weight_ih_l0")
        if isinstance(input, PackedSequence):
            checks.tensor("input.data", input.data, ("N", self.input_size))
            _check_packing(input)
            batch: tuple[int, ...] = (int(input.batch_sizes[0]),)
            rows = input.data
        else:
            if not isinstance(input, Tensor):
                raise TypeError(
                    f"input must be a tensor or a PackedSequence; got {type(input).__name__}"
                )
            if input.dim() == 2:
                checks.tensor("input", input, ("T", self.input_size))
                batch = ()
            else:
                layout = ("B", "T") if self.batch_first else ("T", "B")
                checks.tensor("input", input, (*layout, self.input_size))
                batch = (input.shape[0 if self.batch_first else 1],)
            checks.not_empty("input", input, 1 if batch and self.batch_first else 0)
            rows = input
        like = None if _autocast(rows.device) else weight  # under autocast, torch converts
        if like is not None:
            checks.same_kind("input", rows, like)
        if hx is None:
            return None
        shape = (self.num_layers * (2 if self.bidirectional else 1), *batch, self.hidden_size)
        if not self._has_cell_state:
            return checks.tensor("hx", hx, shape, like=like)
        h, c = checks.pair("hx", hx)
        checks.tensor("hx[0] (h)", h, shape, like=like)
        checks.tensor("hx[1] (c)", c, shape, like=like)
        return h, c

    # The computation

    def _run_padded(self, input: Tensor | PackedSequence, hx: Any, lengths: Any) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence):
            raise checks.InputError("lengths: a PackedSequence has its own; give only one")
        if input.dim() == 2:
            raise checks.InputError("lengths needs a batch; got a single sequence (T, D)")
        T, B = input.shape[:2][:: -1 if self.batch_first else 1]
        lengths = checks.lengths(lengths, B, T)
        packed = pack_padded_sequence(input, lengths, self.batch_first, enforce_sorted=False)
        output, hx = self.forward(packed, hx)
        return pad_packed_sequence(output, self.batch_first, total_length=T)[0], hx

    def _run_packed(self, input: PackedSequence, hx: Any, backend: str) -> tuple[Any, Any]:
        rows, batch_sizes, order, original_order = input
        sizes = tuple(batch_sizes.tolist())
        states: States | None = None if hx is None else self._as_tuple(hx)
        if states is not None and order is not None:
            states = tuple(s.index_select(1, order) for s in states)
        rows, states = self._run_rows(rows, states, sizes, backend)
        rows = _own_memory(rows)
        if original_order is not None:
            states = tuple(s.index_select(1, original_order) for s in states)
        return PackedSequence(rows, batch_sizes, order, original_order), self._as_given(states)

    def _run_rows(
        self, rows: Tensor, states: States | None, sizes: kernels.Sizes, backend: str
    ) -> tuple[Tensor, States]:
        """All layers and directions over packed rows: (N, D) -> (N, directions * H)."""
        weights = self._weights()
        if not _autocast(rows.device):
            for name, tensor in (("input", rows), *(("hx", s) for s in states or ())):
                checks.same_kind(name, tensor, weights[0][0])
        if states is None:
            states = self._zeros(sizes[0], weights[0][0])
        run = self._loop if backend == "loop" else self._fused
        backwards = _reversal(sizes, rows.device) if self.bidirectional else None
        last_states: list[States] = []
        for layer in range(self.num_layers):
            if layer > 0:
                rows = F.dropout(rows, self.dropout, self.training)
            outputs = []
            for order in (None, backwards) if self.bidirectional else (None,):
                index = len(last_states)  # layer by layer, in each forward and then backward
                x = rows if order is None else rows.index_select(0, order)
                start = tuple(s[index] for s in states)
                output, last = run(x, start, weights[index], sizes)
                outputs.append(output if order is None else output.index_select(0, order))
                last_states.append(last)
            rows = torch.cat(outputs, dim=1) if self.bidirectional else outputs[0]
        return rows, tuple(torch.stack(each) for each in zip(*last_states, strict=True))

    def _loop(
        self, rows: Tensor, states: States, weights: Sequence[Tensor], sizes: kernels.Sizes
    ) -> tuple[Tensor, States]:
        return _repeat(self._step_function(), rows, states, weights, sizes)

    def _fused(
        self, rows: Tensor, states: States, weights: Sequence[Tensor], sizes: kernels.Sizes
    ) -> tuple[Tensor, States]:
        step = self._step_function()  # and not self, which would live as long as the graph

        def replay(x: Tensor, *tensors: Tensor | None) -> States:
            given = [tensor for tensor in tensors if tensor is not None]
            state, weights = tuple(given[: len(states)]), given[len(states) :]
            output, last = _repeat(step, x, state, weights, sizes)
            return output, *last

        # "auto" promises whatever torch.nn does: second derivatives and batches of gradients too.
        twice = replay if self.backend == "auto" else None
        inputs = (rows, *states)
        if not _autocast(rows.device):
            output, *last = self._kernel_function()(*inputs, *weights, sizes=sizes, replay=twice)
        else:  # the kernels work in place, in the type of the weights
            inputs = tuple(tensor.to(weights[0].dtype) for tensor in inputs)
            with torch.autocast(rows.device.type, enabled=False):
                output, *last = self._kernel_function()(
                    *inputs, *weights, sizes=sizes, replay=twice
                )
        return output, tuple(last)

    def _step_function(self) -> Callable[..., Any]:
        raise NotImplementedError

    def _kernel_function(self) -> Callable[..., States]:
        raise NotImplementedError

    def _weights(self) -> Sequence[Sequence[Tensor]]:
        """The weights of every layer and direction, each looked at as often as torch.nn does."""
        if all(name in self._parameters for name in self._flat_weights_names):
            return self.all_weights
        self._update_flat_weights()
        weights: Iterator[Any] = iter(self._flat_weights)
        return [[next(weights) for _ in names] for names in self._all_weights]

    # States are a tuple inside, (h,) or (h, c), and as torch.nn has them outside, h or (h, c).

    def _zeros(self, batch_size: int, like: Tensor) -> States:
        shape = (self.num_layers * (2 if self.bidirectional else 1), batch_size, self.hidden_size)
        return tuple(like.new_zeros(shape) for _ in range(2 if self._has_cell_state else 1))

    def _as_tuple(self, hx: Any) -> States:
        return hx if self._has_cell_state else (hx,)

    def _as_given(self, states: States) -> Any:
        return states if self._has_cell_state else states[0]


class RNN(_RecurrentLayer, torch.nn.RNN):
    """Elman's recurrent network, h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    Drop-in for `torch.nn.RNN`: its documentation describes the arguments, weights and shapes.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: how many layers stand on top of each other.
        nonlinearity: "tanh" or "relu".
        bias: whether the layers have biases.
        batch_first: whether batches are (B, T, D) in place of (T, B, D).
        dropout: probability that an output of a layer but the last is zeroed in training.
        bidirectional: whether a second network reads each sequence from its end.
        proj_size: for `torch.nn`'s order of arguments only; must be 0.
        device: where the weights live.
        dtype: their type.
        backend: "auto", "loop", "fused" or "library".

    Raises:
        InputError, TypeError: if an argument does not fit.
    """

    _fused_from = 12

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
    ) -> None:
        checks.choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        sizes = _sizes(input_size, hidden_size, num_layers, proj_size)
        super().__init__(
            *sizes, nonlinearity, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )
        self._set_backend(backend)

    def _step_function(self) -> Callable[..., Any]:
        return cells.rnn if self.nonlinearity == "tanh" else cells.rnn_relu

    def _kernel_function(self) -> Callable[..., States]:
        return partial(kernels.rnn, nonlinearity=self.nonlinearity)


class GRU(_RecurrentLayer, torch.nn.GRU):
    """Gated recurrent unit (Cho et al., 2014), reset gate after the product.

    Drop-in for `torch.nn.GRU`: its documentation describes the arguments, weights and shapes.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: how many layers stand on top of each other.
        bias: whether the layers have biases.
        batch_first: whether batches are (B, T, D) in place of (T, B, D).
        dropout: probability that an output of a layer but the last is zeroed in training.
        bidirectional: whether a second network reads each sequence from its end.
        proj_size: for `torch.nn`'s order of arguments only; must be 0.
        device: where the weights live.
        dtype: their type.
        backend: "auto", "loop", "fused" or "library".

    Raises:
        InputError, TypeError: if an argument does not fit.
    """

    _fused_from = 8

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
    ) -> None:
        sizes = _sizes(input_size, hidden_size, num_layers, proj_size)
        super().__init__(*sizes, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        self._set_backend(backend)

    def _step_function(self) -> Callable[..., Any]:
        return cells.gru

    def _kernel_function(self) -> Callable[..., States]:
        return kernels.gru


class LSTM(_RecurrentLayer, torch.nn.LSTM):
    """Long short-term memory (Hochreiter & Schmidhuber, 1997), forget gate (Gers et al., 2000).

    Drop-in for `torch.nn.LSTM`: its documentation describes the arguments, weights and shapes.
    Its state is the pair `(h, c)`.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: how many layers stand on top of each other.
        bias: whether the layers have biases.
        batch_first: whether batches are (B, T, D) in place of (T, B, D).
        dropout: probability that an output of a layer but the last is zeroed in training.
        bidirectional: whether a second network reads each sequence from its end.
        proj_size: not supported; must be 0.
        device: where the weights live.
        dtype: their type.
        backend: "auto", "loop", "fused" or "library".

    Raises:
        InputError, TypeError: if an argument does not fit.
    """

    _has_cell_state = True  # and "fused" is never chosen: the library's own kernel is faster

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
    ) -> None:
        sizes = _sizes(input_size, hidden_size, num_layers, proj_size)
        super().__init__(*sizes, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        self._set_backend(backend)

    def _step_function(self) -> Callable[..., Any]:
        return cells.lstm

    def _kernel_function(self) -> Callable[..., States]:
        return kernels.lstm


def _sizes(input_size: int, hidden_size: int, num_layers: int, proj_size: int) -> list[int]:
    if proj_size != 0:
        raise checks.InputError(
            f"proj_size must be 0, projections are not supported (torch.nn.LSTM has them); "
            f"got {proj_size!r}"
        )
    names = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    return [checks.positive_integer(name, value) for name, value in names.items()]


def _autocast(device: torch.device) -> bool:
    if not torch._C._is_any_autocast_enabled():  # by far the most frequent answer, and quick
        return False
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def _own_memory(output: Tensor) -> Tensor:
    """A copy that is no view: a caller may write on it, and `detach_` it, as with torch.nn.

    The kernels keep what they computed for their backward pass.
    """
    return output.clone() if output.requires_grad or output._is_view() else output


def _repeat(
    step: Callable[..., Any],
    rows: Tensor,
    states: States,
    weights: Sequence[Tensor],
    sizes: kernels.Sizes,
) -> tuple[Tensor, States]:
    """Run one step of a cell after the other over packed rows."""
    outputs, ended = [], []
    for x in rows.split(list(sizes)):
        if len(x) < len(states[0]):  # the shortest sequences have ended
            ended.append(tuple(s[len(x) :] for s in states))
            states = tuple(s[: len(x)] for s in states)
        after = step(x, states if len(states) == 2 else states[0], *weights)
        states = after if len(states) == 2 else (after,)
        outputs.append(states[0])
    ended.append(states)
    return torch.cat(outputs), tuple(torch.cat(each[::-1]) for each in zip(*ended, strict=True))


def _check_packing(packed: PackedSequence) -> None:
    sizes = packed.batch_sizes
    good = len(sizes) > 0 and int(sizes[-1]) > 0 and bool((sizes[1:] <= sizes[:-1]).all())
    if not good or int(sizes.sum()) != len(packed.data):
        raise checks.InputError(
            "input.batch_sizes must be positive, must not grow, and must sum up to the "
            f"{len(packed.data)} rows of input.data; got {sizes.tolist()[:20]}"
        )


def _reversal(sizes: kernels.Sizes, device: torch.device) -> Tensor:
    """For each packed row, the row that takes its place when every sequence is read backwards."""
    counts = torch.tensor(sizes)
    first_rows = counts.cumsum(0) - counts
    time = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    sequence = torch.arange(len(time)) - first_rows[time]
    lengths = (counts[:, None] > torch.arange(sizes[0])).sum(0)
    return (first_rows[lengths[sequence] - 1 - time] + sequence).to(device)
