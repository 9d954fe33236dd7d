"""From scores to a sequence: greedy, sampling, beam search, exact search.

Written once, for everything that can step: `model.step(tokens (B,), state) -> (scores (B, V),
state)`, where the scores are logits. Encoder-decoders, recurrent language models and Transformers
do. In every tensor of a state, wherever it is nested, the batch is dimension 1; so `select` can
pick rows of any state without knowing the model.

`start` is what the model reads first: one id for all rows, or a tensor (B,). Behind a prompt it is
the prompt's last id, with the state before it. `longest` counts the tokens made, END with them.
The model should be in evaluation mode, or its dropout draws another model at every step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from rnnlib import checks
from rnnlib.checks import InputError
from rnnlib.data.pairs import PAD

MOST_PREFIXES = 200_000  # exact search gives up beyond: it would need too much memory


class Stepping(Protocol):
    """A model that can be decoded."""

    def step(self, tokens: Tensor, state: Any, /) -> tuple[Tensor, Any]:
        """Read one token a row (B,); return the scores of the next (B, V) and the new state."""


class Hypothesis(NamedTuple):
    """A sequence that a search has made."""

    tokens: tuple[int, ...]
    """Without START; the last is END, unless `longest` cut it off."""
    log_probability: float
    """ln p of all tokens, END with them, in nats."""
    score: float
    """What it is ranked by: ln p / length ** length_power; the length counts END."""


def select(state: Any, indices: Tensor) -> Any:
    """Pick rows of a state: `indices` (N,) along dimension 1 of every tensor in it.

    Args:
        state: None, a tensor (…, B, …) with the batch as dimension 1, or tuples (named ones too),
            lists and dicts of such; numbers and texts in it stay as they are.
        indices: which rows, in which order; one may come more than once.

    Raises:
        InputError: a row that the state does not have.
        TypeError: the state holds something else.
    """
    if state is None or isinstance(state, int | float | str):
        return state
    if isinstance(state, Tensor):
        rows = _rows(state)
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < rows:
            raise InputError(
                f"indices must be rows of the state, from 0 to {rows - 1}; "
                f"got {int(indices.min())} to {int(indices.max())}"
            )
        return state.index_select(1, indices.to(state.device))
    if isinstance(state, dict):
        return {name: select(part, indices) for name, part in state.items()}
    if isinstance(state, tuple | list):
        parts = [select(part, indices) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    raise TypeError(f"state must be tensors in tuples, lists or dicts; got {type(state).__name__}")


@torch.no_grad()
def greedy(
    model: Stepping, state: Any, start: int | Tensor, longest: int, end: int | None = None
) -> Tensor:
    """Take the most probable token at every step.

    Args:
        model: anything that can step.
        state: before `start` is read; None for a model that can begin from nothing.
        start: what is read first, an id or (B,).
        longest: stop after so many tokens.
        end: the token that ends a row; without it, every row has `longest` tokens.

    Returns:
        Tokens (T, B), with `end` in them and PAD after it; T is at most `longest`.

    Raises:
        InputError: `longest` below 1, ids outside the vocabulary, a state of another batch size,
            or scores that are NaN. The other functions here raise it likewise.
    """
    tokens = _begin(state, start, longest, end)
    return _run(model, state, tokens, longest, end, lambda scores: scores.argmax(-1))


@torch.no_grad()
def sample(
    model: Stepping,
    state: Any,
    start: int | Tensor,
    longest: int,
    end: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    nucleus: float | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Draw every token from `token_probabilities`. Arguments and result as for `greedy`.

    Raises:
        InputError: also for what `token_probabilities` refuses.
    """
    _check_cut(temperature, top_k, nucleus)
    tokens = _begin(state, start, longest, end)

    def draw(scores: Tensor) -> Tensor:
        probabilities = token_probabilities(scores, temperature, top_k, nucleus)
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)

    return _run(model, state, tokens, longest, end, draw)


def token_probabilities(
    scores: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    nucleus: float | None = None,
) -> Tensor:
    """Turn scores (B, V) into the probabilities (B, V) that `sample` draws from.

    First the scores are divided by the temperature; then all but the `top_k` most probable tokens
    get 0; then all but the smallest set of most probable tokens whose probabilities reach `nucleus`
    (Holtzman et al. 2020). What is left adds up to 1.

    Raises:
        InputError: `temperature` not finite or not above 0, `top_k` below 1, `nucleus` not above 0
            or above 1.
    """
    _check_cut(temperature, top_k, nucleus)
    scores = scores.double()
    # The largest becomes 0 first: a tiny temperature would make it infinite.
    probabilities = ((scores - scores.amax(-1, keepdim=True)) / temperature).softmax(-1)
    ranked, places = probabilities.sort(descending=True, stable=True)
    if top_k is not None:
        ranked[..., top_k:] = 0.0
        ranked /= ranked.sum(-1, keepdim=True)
    if nucleus is not None and nucleus < 1:
        # A token stays while those before it have not reached the sum: one always does.
        ranked[ranked.cumsum(-1) - ranked >= nucleus] = 0.0
        ranked /= ranked.sum(-1, keepdim=True)
    return torch.zeros_like(ranked).scatter(-1, places, ranked)


@torch.no_grad()
def beam_search(
    model: Stepping,
    state: Any,
    start: int | Tensor,
    longest: int,
    end: int,
    width: int,
    length_power: float = 0.0,
) -> list[list[Hypothesis]]:
    """Keep the `width` most probable beginnings at every step.

    A hypothesis that says `end` is finished and leaves the beam, which gets narrower by one: so did
    Sutskever et al. (2014, section 3.2). Width 1 is greedy. Finished ones are ranked by
    ln p / length ** `length_power` (Wu et al. 2016, section 7, tried this form first); 0 ranks by
    the probability, which favours short ones, 1 by the mean per token.

    Returns:
        For each row at most `width` hypotheses, best first. Those that `longest` cut off, where
        there are any, come after all finished ones.

    Raises:
        InputError: also for `width` below 1, or a `length_power` that is negative or not finite.
    """
    checks.positive_integer("width", width)
    if not 0 <= length_power < math.inf:
        raise InputError(f"length_power must be finite and at least 0; got {length_power}")
    tokens = _begin(state, start, longest, end)
    B = tokens.shape[0]
    finished: list[list[Hypothesis]] = [[] for _ in range(B)]
    # Every row starts as `width` copies; all but the first have probability zero.
    first_of_row = torch.arange(B)[:, None] * width
    copies = torch.arange(B).repeat_interleave(width)
    state, tokens = select(state, copies), tokens[copies]
    log_p = torch.full((B, width), -math.inf, dtype=torch.float64)
    log_p[:, 0] = 0.0
    made = torch.empty(B, width, 0, dtype=torch.int64)

    def hypothesis(row: int, place: int, total: float) -> Hypothesis:
        length = made.shape[-1]
        return Hypothesis(tuple(made[row, place].tolist()), total, total / length**length_power)

    for _ in range(longest):
        scores, state = _step(model, tokens, state, end)
        V = scores.shape[-1]
        longer = log_p[:, :, None] + scores.double().log_softmax(-1).view(B, width, V)
        log_p, place = longer.flatten(1).topk(width)
        parent, token = place // V, place % V
        room = torch.tensor([[width - len(done)] for done in finished])
        log_p = log_p.masked_fill(torch.arange(width) >= room, -math.inf)
        made = torch.cat([made.gather(1, parent[..., None].expand_as(made)), token[..., None]], -1)
        ends = (token == end) & log_p.isfinite()
        for row, k in ends.nonzero().tolist():
            finished[row].append(hypothesis(row, k, log_p[row, k].item()))
        log_p = log_p.masked_fill(ends, -math.inf)
        if not log_p.isfinite().any():
            break
        state, tokens = select(state, (first_of_row + parent).flatten()), token.flatten()
    cut: list[list[Hypothesis]] = [[] for _ in range(B)]
    for row, k in log_p.isfinite().nonzero().tolist():
        cut[row].append(hypothesis(row, k, log_p[row, k].item()))
    return [_ranked(finished[row]) + _ranked(cut[row]) for row in range(B)]


@torch.no_grad()
def exact_search(model: Stepping, state: Any, start: int, longest: int, end: int) -> Hypothesis:
    """Find the most probable of all sequences that finish within `longest` tokens; for one row.

    Branch and bound: a longer sequence is never more probable than its beginning, so a beginning
    that is not more probable than the best finished sequence known, p*, is given up. The
    beginnings of one length have probabilities that add up to at most 1: fewer than 1/p* are kept.

    Raises:
        InputError: also for more than one row.
        RuntimeError: more than `MOST_PREFIXES` beginnings would be kept.
    """
    if _begin(state, start, longest, end).shape[0] != 1:
        raise InputError("state must hold one row: exact search takes one sequence at a time")
    best = beam_search(model, state, start, longest, end, width=4)[0][0]
    if best.tokens[-1] != end:
        best = Hypothesis((), -math.inf, -math.inf)
    tokens = torch.as_tensor(start).reshape(1)
    log_p, made = torch.zeros(1, dtype=torch.float64), torch.empty(1, 0, dtype=torch.int64)
    for _ in range(longest):
        scores, state = _step(model, tokens, state, end)
        longer = log_p[:, None] + scores.double().log_softmax(-1)
        total, row = longer[:, end].max(0)
        if total > best.log_probability:
            sequence = (*made[row].tolist(), end)
            best = Hypothesis(sequence, total.item(), total.item())
        longer[:, end] = -math.inf
        parent, token = (longer > best.log_probability).nonzero().unbind(1)
        if len(parent) == 0:
            break
        if len(parent) > MOST_PREFIXES:
            raise RuntimeError(
                f"exact search would have to keep {len(parent):,} beginnings, over "
                f"{MOST_PREFIXES:,}: give a shorter `longest`, or a model that is more certain"
            )
        log_p, made = longer[parent, token], torch.cat([made[parent], token[:, None]], 1)
        state, tokens = select(state, parent), token
    return best


def log_probability(model: Stepping, state: Any, tokens: Tensor, end: int | None = None) -> Tensor:
    """Return ln p (B,) of given sequences, step by step, in float64; gradients flow.

    Args:
        model: anything that can step.
        state: before the first token is read.
        tokens: (T, B); the first row is what is read first (START), and not scored itself.
        end: behind the first `end` of a row nothing counts; without it, everything does.

    Raises:
        InputError: tokens that are no integers (T, B) with T of 2 or more, or outside the
            vocabulary; a state of another batch size.
    """
    checks.tensor("tokens", tokens, ("T", "B"))
    if tokens.dtype != torch.int64 or tokens.shape[0] < 2:
        raise InputError(
            "tokens must be int64 with two steps or more (what is read first, what is scored); "
            f"got {tokens.dtype} and shape {tuple(tokens.shape)}"
        )
    _begin(state, tokens[0], 1, end)
    total = torch.zeros(tokens.shape[1], dtype=torch.float64, device=tokens.device)
    counts = torch.ones_like(tokens[0], dtype=torch.bool)
    for now, following in itertools.pairwise(tokens):
        scores, state = _step(model, now, state, end)
        _check_ids("tokens", following, scores.shape[-1])
        said = scores.double().log_softmax(-1).gather(1, following[:, None]).squeeze(1)
        total = total + said.where(counts, 0.0)
        if end is not None:
            counts = counts & (following != end)
    return total


def _run(
    model: Stepping, state: Any, tokens: Tensor, longest: int, end: int | None, choose: Any
) -> Tensor:
    """Step until every row has ended; `choose` makes tokens (B,) of scores (B, V)."""
    made: list[Tensor] = []
    ended = torch.zeros_like(tokens, dtype=torch.bool)
    while len(made) < longest and not ended.all():
        scores, state = _step(model, tokens, state, end)
        tokens = choose(scores)
        made.append(tokens.masked_fill(ended, PAD))
        if end is not None:
            ended = ended | (tokens == end)
    return torch.stack(made)


def _step(model: Stepping, tokens: Tensor, state: Any, end: int | None) -> tuple[Tensor, Any]:
    try:
        scores, state = model.step(tokens, state)
    except IndexError as error:  # what an embedding raises
        raise InputError(f"start must hold ids of the model's vocabulary: {error}") from error
    if scores.isnan().any():
        raise InputError("model gives scores that are NaN: its weights or its state are broken")
    if end is not None:
        _check_ids("end", torch.tensor(end), scores.shape[-1])
    return scores, state


def _begin(state: Any, start: int | Tensor, longest: int, end: int | None) -> Tensor:
    """Return `start` as tokens (B,), after a look at all that every function here is given."""
    checks.positive_integer("longest", longest)
    if end is not None:
        _check_ids("end", torch.as_tensor(end), None)
    sizes = {_rows(tensor) for tensor in _tensors(state)}
    if len(sizes) > 1:
        raise InputError(f"state must have one batch size, as dimension 1; got {sorted(sizes)}")
    tokens = torch.as_tensor(start)
    if tokens.dim() == 0:
        tokens = tokens.repeat(next(iter(sizes), 1))
    checks.tensor("start", tokens, ("B",))
    _check_ids("start", tokens, None)
    if sizes and sizes != {len(tokens)}:
        raise InputError(
            f"state must be that of the batch: start has {len(tokens)} rows, "
            f"the state {next(iter(sizes))}"
        )
    return tokens


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict | tuple | list):
        for part in state.values() if isinstance(state, dict) else state:
            yield from _tensors(part)


def _rows(tensor: Tensor) -> int:
    if tensor.dim() < 2:
        raise InputError(
            f"state must have the batch as dimension 1 of every tensor; got {tuple(tensor.shape)}"
        )
    return tensor.shape[1]


def _ranked(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    return sorted(hypotheses, key=lambda one: -one.score)


def _check_ids(name: str, ids: Tensor, V: int | None) -> None:
    if ids.dtype not in (torch.int64, torch.int32):
        raise InputError(f"{name} must be integers; got {ids.dtype}")
    if ids.numel() == 0:
        raise InputError(f"{name} must hold one id or more; got none")
    if int(ids.min()) < 0 or (V is not None and int(ids.max()) >= V):
        raise InputError(
            f"{name} must be ids of the vocabulary, from 0 to {'V - 1' if V is None else V - 1}; "
            f"got {int(ids.min())} to {int(ids.max())}"
        )


def _check_cut(temperature: float, top_k: int | None, nucleus: float | None) -> None:
    if not 0 < temperature < math.inf:
        raise InputError(f"temperature must be finite and above 0; got {temperature}")
    if top_k is not None:
        checks.positive_integer("top_k", top_k)
    if nucleus is not None and not 0 < nucleus <= 1:
        raise InputError(f"nucleus must be above 0 and at most 1; got {nucleus}")
