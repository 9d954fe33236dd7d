"""RNN, GRU and LSTM over whole sequences, with backward passes written by hand.

Three things make these faster than a loop that autograd records. The input's product with its
weights does not depend on the state, so one large matrix product does it for all time steps. The
steps work in place, in memory that is reserved once. And backward only carries the gradient of
the state from step to step; the weight gradients wait, and are one large product at the end.

Sequences arrive *packed*: the rows of all sequences that are still running at step 0, then those
at step 1, and so on, longest sequence first. `sizes[t]` counts the rows of step t and never
grows; N is the sum of all sizes, B is `sizes[0]`. A batch of equal lengths is the case in which
all sizes are B. Padding is thus never computed.

The equations are those of `rnnlib.cells`; the backward passes are those that the book derives
for `rnnlib.numpy_nets`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.nn import functional as F

Sizes = Sequence[int]
Gradients = tuple[Tensor | None, ...]
Replay = Callable[..., tuple[Tensor, ...]]

NO_TRANSFORMS = (
    'backend="fused" does not work inside torch.func transforms (grad, vmap, jvp, jacrev ...) or '
    'forward-mode differentiation: use backend="loop", which computes the same function'
)
NO_SECOND_DERIVATIVE = (
    'backend="fused" has first derivatives only, and a second derivative was asked for: use '
    'backend="loop", which computes the same function'
)


def rnn(
    x: Tensor,
    h: Tensor,
    W_ih: Tensor,
    W_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    *,
    sizes: Sizes,
    nonlinearity: str = "tanh",
    replay: Replay | None = None,
) -> tuple[Tensor, Tensor]:
    """Run h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh) over packed sequences.

    Args:
        x: inputs, packed, (N, D).
        h: state before the first step, (B, H).
        W_ih: input weights, (H, D).
        W_hh: recurrent weights, (H, H).
        b_ih: input bias, (H,), or None.
        b_hh: recurrent bias, (H,), or None.
        sizes: how many sequences are running at each step.
        nonlinearity: "tanh" or "relu".
        replay: see `lstm`.

    Returns:
        States after every step, packed, (N, H), and each sequence's last state, (B, H).

    Raises:
        RuntimeError: inside a `torch.func` transform, or for a second derivative without `replay`.
    """
    _refuse_transforms()
    return _RNN.apply(x, h, W_ih, W_hh, b_ih, b_hh, tuple(sizes), nonlinearity, replay)


def gru(
    x: Tensor,
    h: Tensor,
    W_ih: Tensor,
    W_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    *,
    sizes: Sizes,
    replay: Replay | None = None,
) -> tuple[Tensor, Tensor]:
    """Run a GRU, reset gate after the product, over packed sequences (Cho et al., 2014).

    Args:
        x: inputs, packed, (N, D).
        h: state before the first step, (B, H).
        W_ih: input weights of r, z, n, (3H, D).
        W_hh: recurrent weights of r, z, n, (3H, H).
        b_ih: input bias, (3H,), or None.
        b_hh: recurrent bias, (3H,), or None.
        sizes: how many sequences are running at each step.
        replay: see `lstm`.

    Returns:
        States after every step, packed, (N, H), and each sequence's last state, (B, H).

    Raises:
        RuntimeError: inside a `torch.func` transform, or for a second derivative without `replay`.
    """
    _refuse_transforms()
    return _GRU.apply(x, h, W_ih, W_hh, b_ih, b_hh, tuple(sizes), replay)


def lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    W_ih: Tensor,
    W_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    *,
    sizes: Sizes,
    replay: Replay | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run an LSTM over packed sequences (Hochreiter & Schmidhuber, 1997; Gers et al., 2000).

    Args:
        x: inputs, packed, (N, D).
        h: hidden state before the first step, (B, H).
        c: cell state before the first step, (B, H).
        W_ih: input weights of i, f, g, o, (4H, D).
        W_hh: recurrent weights of i, f, g, o, (4H, H).
        b_ih: input bias, (4H,), or None.
        b_hh: recurrent bias, (4H,), or None.
        sizes: how many sequences are running at each step.
        replay: computes the same values from the same tensors with operations that autograd
            records. It is called where a gradient must itself be differentiable; without it,
            a second derivative is refused.

    Returns:
        Hidden states after every step, packed, (N, H), and each sequence's last hidden and cell
        state, both (B, H).

    Raises:
        RuntimeError: inside a `torch.func` transform, or for a second derivative without `replay`.
    """
    _refuse_transforms()
    return _LSTM.apply(x, h, c, W_ih, W_hh, b_ih, b_hh, tuple(sizes), replay)


class _Kernel(Function):
    """What the three have in common: how a derivative of a derivative is answered, or refused.

    A subclass's `forward` sets `ctx.inputs` (how many of its arguments are tensors; they come
    first), saves those tensors first, and sets `ctx.replay`. Its hand-written backward pass is
    `first_derivative`, which returns one gradient for each of those tensors.
    """

    first_derivative: Callable[..., Gradients]

    @classmethod
    def differentiate(cls, ctx: Any, *d_results: Tensor) -> Gradients:
        others = (None,) * (len(ctx.needs_input_grad) - ctx.inputs)
        saved = ctx.saved_tensors  # read once: gradient checkpointing gives them out only once
        inputs = saved[: ctx.inputs]
        twice = torch.is_grad_enabled()  # true only where create_graph=True was asked for
        # is_grads_batched=True hands over many gradients at once, which no step can write into
        batched = any(map(torch._C._functorch.is_legacy_batchedtensor, d_results))
        if (twice or batched) and ctx.replay is not None:
            return *_replayed(ctx, inputs, d_results), *others
        if batched:
            raise RuntimeError(NO_TRANSFORMS)
        with torch.no_grad():
            gradients = cls.first_derivative(ctx, saved, *d_results)
        if twice:
            sources = [t for t in (*inputs, *d_results) if t is not None]
            results = [g for g in gradients if g is not None]
            guarded = iter(_FirstOnly.apply(len(sources), *sources, *results))
            gradients = tuple(None if g is None else next(guarded) for g in gradients)
        return *gradients, *others

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> NoReturn:
        raise RuntimeError(NO_TRANSFORMS)


class _RNN(_Kernel):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h0: Tensor,
        W_ih: Tensor,
        W_hh: Tensor,
        b_ih: Tensor | None,
        b_hh: Tensor | None,
        sizes: Sizes,
        nonlinearity: str,
        replay: Replay | None,
    ) -> tuple[Tensor, Tensor]:
        hs = _product(x, W_ih, b_ih, b_hh)  # (N, H): all but W_hh h; each step completes it
        activate = {"tanh": Tensor.tanh_, "relu": Tensor.relu_}[nonlinearity]
        steps, W = hs.split(sizes), W_hh.T.contiguous()
        for a, h in zip(steps, _before(h0, steps, sizes), strict=True):
            activate(a.addmm_(h, W))
        ctx.inputs, ctx.sizes, ctx.nonlinearity, ctx.replay = 6, sizes, nonlinearity, replay
        ctx.save_for_backward(x, h0, W_ih, W_hh, b_ih, b_hh, hs)
        return hs, _last(steps, sizes)

    @staticmethod
    def first_derivative(ctx: Any, saved: Sequence[Any], d_hs: Tensor, d_last: Tensor) -> Gradients:
        x, h0, W_ih, W_hh, _, _, hs = saved
        sizes = ctx.sizes
        tanh = ctx.nonlinearity == "tanh"
        slope = _one_minus_square(hs) if tanh else (hs > 0).to(hs.dtype)
        d_a, d_h0 = _copy(d_hs), torch.zeros_like(h0)
        steps = d_a.split(sizes)  # dL/dh_t, until slope_t turns it into dL/da_t
        _add_last(steps, d_last, sizes)
        walk = zip(steps, slope.split(sizes), _before(d_h0, steps, sizes), strict=True)
        for d, slope_t, d_before in reversed([*walk]):
            d_before.addmm_(d.mul_(slope_t), W_hh)
        d_b = d_a.sum(0)
        return (
            d_a @ W_ih if ctx.needs_input_grad[0] else None,
            d_h0,
            d_a.T @ x,
            d_a.T @ _previous(h0, hs, sizes),
            d_b if ctx.needs_input_grad[4] else None,
            d_b if ctx.needs_input_grad[5] else None,
        )

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor) -> Gradients:
        return _RNN.differentiate(ctx, *d_results)


class _GRU(_Kernel):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h0: Tensor,
        W_ih: Tensor,
        W_hh: Tensor,
        b_ih: Tensor | None,
        b_hh: Tensor | None,
        sizes: Sizes,
        replay: Replay | None,
    ) -> tuple[Tensor, Tensor]:
        H = W_hh.shape[1]
        # The recurrent biases of r and z join the input product; that of n belongs inside r * (..).
        b_rz = None if b_hh is None else F.pad(b_hh[: 2 * H], (0, H))
        gates = _product(x, W_ih, b_ih, b_rz)  # (N, 3H): r, z, n, completed step by step
        q = gates.new_zeros(len(x), H)  # W_hn h_{t-1} + b_hn, likewise
        if b_hh is not None:
            q += b_hh[2 * H :]
        hs = torch.empty_like(q)
        steps, W = hs.split(sizes), W_hh.T
        W_rz, W_n = W[:, : 2 * H].contiguous(), W[:, 2 * H :].contiguous()
        walk = zip(
            _before(h0, steps, sizes),
            steps,
            q.split(sizes),
            gates[:, : 2 * H].split(sizes),
            *(gate.split(sizes) for gate in gates.chunk(3, dim=1)),
            strict=True,
        )
        for h, h_next, q_t, r_and_z, r, z, n in walk:
            r_and_z.addmm_(h, W_rz).sigmoid_()
            n.addcmul_(r, q_t.addmm_(h, W_n)).tanh_()
            torch.lerp(n, h, z, out=h_next)  # (1 - z) * n + z * h
        ctx.inputs, ctx.sizes, ctx.replay = 6, sizes, replay
        ctx.save_for_backward(x, h0, W_ih, W_hh, b_ih, b_hh, gates, q, hs)
        return hs, _last(steps, sizes)

    @staticmethod
    def first_derivative(ctx: Any, saved: Sequence[Any], d_hs: Tensor, d_last: Tensor) -> Gradients:
        x, h0, W_ih, W_hh, _, b_hh, gates, q, hs = saved
        sizes, H = ctx.sizes, h0.shape[1]
        r, z, n = gates.chunk(3, dim=1)
        previous = _previous(h0, hs, sizes)
        n_slope = _one_minus_square(n)
        n_slope.addcmul_(n_slope, z, value=-1)  # (1 - n²)(1 - z): what dL/dh_t is to dL/da_n
        # Gradient of the recurrent products W_hh h_{t-1} + b_hh, first without its factor dL/dh_t,
        # which each step multiplies in.
        d_q = torch.empty_like(gates)
        d_r, d_z, d_n = d_q.chunk(3, dim=1)
        torch.mul(n_slope, r, out=d_n)
        torch.mul(d_n, torch.addcmul(q, q, r, value=-1), out=d_r)  # q r (1 - r) n_slope
        torch.sub(previous, n, out=d_z).mul_(z)
        d_z.addcmul_(d_z, z, value=-1)  # (h_{t-1} - n) z (1 - z)
        d_h, d_h0 = _copy(d_hs), torch.zeros_like(h0)
        steps = d_h.split(sizes)
        _add_last(steps, d_last, sizes)
        walk = zip(
            steps,
            d_h.unsqueeze(1).split(sizes),
            d_q.view(-1, 3, H).split(sizes),
            d_q.split(sizes),
            z.split(sizes),
            _before(d_h0, steps, sizes),
            strict=True,
        )
        for d, d_row, d_q_blocks, d_q_t, z_t, d_before in reversed([*walk]):
            d_q_blocks.mul_(d_row)
            d_before.addcmul_(d, z_t).addmm_(d_q_t, W_hh)
        d_W_hh = d_q.T @ previous
        d_b_hh = None if b_hh is None else d_q.sum(0)
        torch.mul(n_slope, d_h, out=d_n)  # the input's part of a_n is outside r * (...)
        d_a = d_q
        return (
            d_a @ W_ih if ctx.needs_input_grad[0] else None,
            d_h0,
            d_a.T @ x,
            d_W_hh,
            d_a.sum(0) if ctx.needs_input_grad[4] else None,
            d_b_hh,
        )

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor) -> Gradients:
        return _GRU.differentiate(ctx, *d_results)


class _LSTM(_Kernel):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h0: Tensor,
        c0: Tensor,
        W_ih: Tensor,
        W_hh: Tensor,
        b_ih: Tensor | None,
        b_hh: Tensor | None,
        sizes: Sizes,
        replay: Replay | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        H = W_hh.shape[1]
        gates = _product(x, W_ih, b_ih, b_hh)  # (N, 4H): i, f, g, o, completed step by step
        hs, cs, bounded = gates.new_empty(3, len(gates), H).unbind()  # bounded: tanh(c_t)
        h_steps, c_steps, W = hs.split(sizes), cs.split(sizes), W_hh.T.contiguous()
        walk = zip(
            _before(h0, h_steps, sizes),
            _before(c0, c_steps, sizes),
            h_steps,
            c_steps,
            bounded.split(sizes),
            gates.split(sizes),
            gates[:, : 2 * H].split(sizes),
            *(gate.split(sizes) for gate in gates.chunk(4, dim=1)),
            strict=True,
        )
        for h, c, h_next, c_next, tanh_c, a, i_and_f, i, f, g, o in walk:
            a.addmm_(h, W)
            i_and_f.sigmoid_()
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, c, out=c_next).addcmul_(i, g)
            torch.mul(o, torch.tanh(c_next, out=tanh_c), out=h_next)
        ctx.inputs, ctx.sizes, ctx.replay = 7, sizes, replay
        ctx.save_for_backward(x, h0, c0, W_ih, W_hh, b_ih, b_hh, gates, hs, cs, bounded)
        return hs, _last(h_steps, sizes), _last(c_steps, sizes)

    @staticmethod
    def first_derivative(
        ctx: Any, saved: Sequence[Any], d_hs: Tensor, d_h_last: Tensor, d_c_last: Tensor
    ) -> Gradients:
        x, h0, c0, W_ih, W_hh, _, _, gates, hs, cs, tanh_c = saved
        sizes, H = ctx.sizes, h0.shape[1]
        i, f, g, o = gates.chunk(4, dim=1)
        c_slope = o * (1 - tanh_c * tanh_c)  # dh / dc
        # Each step multiplies the first three by dL/dc_t and the last by dL/dh_t: then dL/da_t.
        previous_c = _previous(c0, cs, sizes)
        d_a = torch.cat(
            (g * i * (1 - i), previous_c * f * (1 - f), i * (1 - g * g), tanh_c * o * (1 - o)),
            dim=1,
        )
        d_h, d_c = _copy(d_hs), torch.zeros_like(cs)
        d_h0, d_c0 = torch.zeros_like(h0), torch.zeros_like(c0)
        h_steps, c_steps = d_h.split(sizes), d_c.split(sizes)
        _add_last(h_steps, d_h_last, sizes)
        _add_last(c_steps, d_c_last, sizes)
        walk = zip(
            h_steps,
            c_steps,
            d_c.unsqueeze(1).split(sizes),
            c_slope.split(sizes),
            f.split(sizes),
            d_a.split(sizes),
            d_a.view(-1, 4, H)[:, :3].split(sizes),
            d_a[:, 3 * H :].split(sizes),
            _before(d_h0, h_steps, sizes),
            _before(d_c0, c_steps, sizes),
            strict=True,
        )
        for dh, dc, dc_row, slope, f_t, d, d_ifg, d_o, dh_before, dc_before in reversed([*walk]):
            dc.addcmul_(dh, slope)
            d_ifg.mul_(dc_row)
            d_o.mul_(dh)
            dh_before.addmm_(d, W_hh)
            dc_before.addcmul_(dc, f_t)
        d_b = d_a.sum(0)
        return (
            d_a @ W_ih if ctx.needs_input_grad[0] else None,
            d_h0,
            d_c0,
            d_a.T @ x,
            d_a.T @ _previous(h0, hs, sizes),
            d_b if ctx.needs_input_grad[5] else None,
            d_b if ctx.needs_input_grad[6] else None,
        )

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor) -> Gradients:
        return _LSTM.differentiate(ctx, *d_results)


class _FirstOnly(Function):
    """Hand first derivatives on; say clearly that there is no second one, if it is asked for."""

    @staticmethod
    def forward(ctx: Any, sources: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(gradient.view_as(gradient) for gradient in tensors[sources:])

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor) -> NoReturn:
        raise RuntimeError(NO_SECOND_DERIVATIVE)


def _replayed(ctx: Any, inputs: Sequence[Tensor | None], d_results: Sequence[Tensor]) -> Gradients:
    """Gradients by running the sequence once more, with operations that autograd records."""
    wanted = ctx.needs_input_grad[: len(inputs)]
    twice = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases, so that a weight computed from the input does not lead back into the input.
        aliases = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
        found = torch.autograd.grad(
            ctx.replay(*aliases),
            [
                tensor
                for tensor, want in zip(aliases, wanted, strict=True)
                if want and tensor is not None
            ],
            d_results,
            create_graph=twice,
            allow_unused=True,
        )
    there = iter(found)
    return tuple(next(there) if want else None for want in wanted)


def transforms_active() -> bool:
    """Whether a `torch.func` transform or forward-mode differentiation is under way."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _refuse_transforms() -> None:
    if transforms_active():
        raise RuntimeError(NO_TRANSFORMS)


def _product(x: Tensor, W: Tensor, *biases: Tensor | None) -> Tensor:
    """W x + b for every time step at once, (N, D) -> (N, H), in memory of its own."""
    given = [b for b in biases if b is not None]
    return torch.addmm(sum(given[1:], given[0]), x, W.T) if given else x @ W.T


def _one_minus_square(h: Tensor) -> Tensor:
    return torch.addcmul(h.new_ones(()), h, h, value=-1)  # one pass over memory, not two


def _before(first: Tensor, steps: Sequence[Tensor], sizes: Sizes) -> list[Tensor]:
    """For each step, the rows one step earlier of the sequences that are still running."""
    earlier = zip((first, *steps[:-1]), (sizes[0], *sizes[:-1]), sizes, strict=True)
    return [rows if were == are else rows[:are] for rows, were, are in earlier]


def _previous(first: Tensor, rows: Tensor, sizes: Sizes) -> Tensor:
    """All rows of `_before` as one matrix, (N, H)."""
    if sizes[0] == sizes[-1]:
        return torch.cat((first, rows[: len(rows) - len(first)]))
    return torch.cat(_before(first, rows.split(sizes), sizes))


def _endings(sizes: Sizes) -> list[tuple[int, int, int]]:
    """Triples (t, first, end): sequences first to end - 1 have their last step at time t."""
    after = zip(sizes, (*sizes[1:], 0), strict=True)
    return [(t, are, were) for t, (were, are) in enumerate(after) if are < were]


def _last(steps: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """Each sequence's last row, (B, H), in memory of its own."""
    ends = [steps[t][first:] for t, first, _ in reversed(_endings(sizes))]
    return torch.cat([*ends, steps[-1][:0]])  # nothing more, but enough for a batch of none


def _add_last(steps: Sequence[Tensor], d_last: Tensor, sizes: Sizes) -> None:
    """Add a gradient of each sequence's last row, (B, H), to that row."""
    for t, first, end in _endings(sizes):
        steps[t][first:] += d_last[first:end]


def _copy(gradient: Tensor) -> Tensor:
    # Gradients may arrive as one number expanded to a whole matrix.
    return gradient.clone(memory_format=torch.contiguous_format)
