"""Decoding: searches against brute force, sampling against probabilities, for every kind of model.

A table model (the scores depend on the last two tokens, at random) is small enough to list all its
sequences. The other models are the book's own.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import pytest
import torch
from torch import nn

from experiments.character_rnn import CharacterModel
from experiments.weights.character_lstm import CharacterLSTM
from rnnlib import decoding
from rnnlib.checks import InputError
from rnnlib.data.pairs import END, PAD, START
from rnnlib.decoding import beam_search, exact_search, greedy, log_probability, sample, select
from rnnlib.seq2seq import EncoderDecoder
from rnnlib.transformer import TransformerEncoderDecoder, TransformerLanguageModel


class Remembered(NamedTuple):
    before: torch.Tensor  # (1, B), the token before the last one
    table: torch.Tensor  # (V, B, V, V): every row may have its own scores


class TableModel:
    """Scores from a table, by the two tokens before: of (1, 2, 3, …), the 2 is `before`."""

    def __init__(self, V, rows, seed=0, spread=1.0):
        generator = torch.Generator().manual_seed(seed)
        self.table = spread * torch.randn(V, rows, V, V, generator=generator)
        self.rows, self.steps = rows, []

    def begin(self):
        return Remembered(torch.full((1, self.rows), START), self.table)

    def step(self, tokens, state):
        self.steps.append(len(tokens))
        rows = torch.arange(len(tokens))
        return state.table[state.before[0], rows, tokens], Remembered(tokens[None], state.table)


def every_sequence(V, longest, end=END):
    """All sequences that end within `longest` tokens."""
    others = [token for token in range(V) if token != end]
    for length in range(longest):
        yield from ((*body, end) for body in itertools.product(others, repeat=length))


def ln_p(model, row, tokens):
    """The log-probability of one sequence of a table model, looked up by hand."""
    total, before, last = 0.0, START, START
    for token in tokens:
        total += model.table[before, row, last].double().log_softmax(-1)[token].item()
        before, last = last, token
    return total


def encoder_decoder(kind, seed=0, V=5):
    torch.manual_seed(seed)
    if kind == "transformer":
        return TransformerEncoderDecoder(V, V, d_model=8, heads=2, layers=1, d_ff=8).eval()
    cell, attention = kind.split()
    attention = None if attention == "vector" else attention
    return EncoderDecoder(V, V, 4, 8, cell=cell, attention=attention, bidirectional=True).eval()


KINDS = ["lstm vector", "gru vector", "lstm general", "gru additive", "transformer"]
SOURCE = torch.tensor([[3, 4, 3], [4, 4, 3], [3, 0, 4], [0, 0, 4]])
LENGTHS = torch.tensor([3, 2, 4])


def language_model(kind, V=6):
    torch.manual_seed(0)
    if kind == "rnn":
        return CharacterModel(V, 4, 8)
    if kind == "lstm":
        return CharacterLSTM(V, 4, 8)
    return TransformerLanguageModel(V, d_model=8, heads=2, layers=1).eval()


LANGUAGE_MODELS = ["rnn", "lstm", "transformer"]


# ---------------------------------------------------------------------------------- the searches


@pytest.mark.parametrize("spread", [0.3, 3.0])
@pytest.mark.parametrize("helped", [True, False])
def test_exact_search_finds_the_best_of_all_sequences(spread, helped, monkeypatch):
    if not helped:  # no beam to begin with: the search has to find everything itself
        nothing = decoding.Hypothesis((3,), -0.1, -0.1)
        monkeypatch.setattr(decoding, "beam_search", lambda *args, **more: [[nothing]])
    for seed in range(25):
        model = TableModel(V=5, rows=1, seed=seed, spread=spread)
        if seed % 2:  # an end that is seldom the first choice
            model.table[..., END] -= 1.0
        best = max(every_sequence(5, 4), key=lambda tokens: ln_p(model, 0, tokens))
        found = exact_search(model, model.begin(), START, 4, END)
        assert found.tokens == best
        assert found.log_probability == pytest.approx(ln_p(model, 0, best), abs=1e-9)
        assert found.score == found.log_probability


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_beam_that_drops_nothing_lists_all_sequences_in_order(power):
    V, T = 4, 4
    model = TableModel(V, rows=2, seed=5)
    found = beam_search(model, model.begin(), START, T, END, width=V**T, length_power=power)
    for row in range(2):
        ended = [one for one in found[row] if one.tokens[-1] == END]
        cut = found[row][len(ended) :]
        expected = {tokens: ln_p(model, row, tokens) for tokens in every_sequence(V, T)}
        assert {one.tokens: one.log_probability for one in ended} == pytest.approx(expected)
        order = sorted(expected, key=lambda tokens: -expected[tokens] / len(tokens) ** power)
        assert [one.tokens for one in ended] == order
        assert {one.tokens for one in cut} == set(itertools.product([0, 1, 3], repeat=T))
        scores = [one.score for one in cut]
        assert scores == sorted(scores, reverse=True)
        total = sum(math.exp(one.log_probability) for one in found[row])
        assert total == pytest.approx(1.0)  # nothing is missing, nothing is there twice


def test_a_narrow_beam_misses_what_exact_search_finds():
    missed = 0
    for seed in range(8):
        model = TableModel(V=5, rows=1, seed=seed, spread=2.0)
        exact = exact_search(model, model.begin(), START, 4, END)
        narrow, wide = (
            beam_search(model, model.begin(), START, 4, END, width)[0][0] for width in (2, 5**4)
        )
        assert wide.tokens == exact.tokens
        ended = narrow.tokens[-1] == END
        assert not ended or narrow.log_probability <= exact.log_probability + 1e-12
        missed += narrow.tokens != exact.tokens
    assert 0 < missed < 8


@pytest.mark.parametrize("kind", KINDS)
def test_searches_agree_on_real_models(kind):
    model = encoder_decoder(kind)
    state = model.encode(SOURCE, LENGTHS)
    wide = beam_search(model, state, START, 3, END, width=5**3)
    one = beam_search(model, state, START, 6, END, width=1)
    tokens = greedy(model, state, START, 6, END).T.tolist()
    for row in range(3):
        alone = exact_search(model, select(state, torch.tensor([row])), START, 3, END)
        assert alone.tokens == wide[row][0].tokens
        assert alone.log_probability == pytest.approx(wide[row][0].log_probability, abs=1e-5)
        assert len(one[row]) == 1
        said = tokens[row][: tokens[row].index(END) + 1] if END in tokens[row] else tokens[row]
        assert list(one[row][0].tokens) == said
        for found in wide[row][:3]:
            column = torch.tensor([START, *found.tokens])[:, None]
            again = log_probability(model, select(state, torch.tensor([row])), column)
            assert found.log_probability == pytest.approx(again.item(), abs=1e-5)


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_the_language_models_of_the_book_can_be_decoded(kind):
    model, start = language_model(kind), torch.tensor([1, 4])
    tokens = greedy(model, None, start, 7)
    assert tokens.shape == (7, 2)
    whole = model(torch.cat([start[None], tokens[:-1]]))[0]
    assert torch.equal(whole.argmax(-1), tokens)
    beam = beam_search(model, None, start, 7, end=5, width=3)
    assert [len(hypotheses) for hypotheses in beam] == [3, 3]
    given = torch.cat([start[None], tokens])
    expected = whole.double().log_softmax(-1).gather(-1, tokens[..., None]).sum(0).squeeze(-1)
    assert torch.allclose(log_probability(model, None, given), expected, atol=1e-5)


def test_after_a_prompt_the_state_goes_on():
    model = language_model("lstm")
    prompt = torch.tensor([[1], [3], [2]])
    _, state = model(prompt[:-1])
    tokens = greedy(model, state, prompt[-1], 4)
    assert torch.equal(model(torch.cat([prompt, tokens[:-1]]))[0][2:].argmax(-1), tokens)


def test_wider_lengths_favour_longer_answers():
    model = TableModel(V=5, rows=1, seed=1, spread=0.1)
    model.table[..., END] += 0.5  # the end is a little more probable than each other token
    lengths = [
        len(beam_search(model, model.begin(), START, 4, END, 500, power)[0][0].tokens)
        for power in (0.0, 3.0)
    ]
    assert lengths == [1, 4]


def test_a_beam_narrows_and_stops_when_all_have_finished():
    model = TableModel(V=5, rows=2, seed=0)
    model.table[..., END] += 100.0
    (first, second) = beam_search(model, model.begin(), START, 50, END, width=2)
    assert [one.tokens[-1] for one in first + second] == [END] * 4 and len(model.steps) == 2
    model = TableModel(V=5, rows=1, seed=0)
    exact_search(model, model.begin(), START, 5, END)
    assert max(model.steps) < 4**4 / 2  # branches were cut


def test_exact_search_gives_up_before_the_memory_does(monkeypatch):
    monkeypatch.setattr(decoding, "MOST_PREFIXES", 10)
    model = TableModel(V=6, rows=1, spread=0.01)
    model.table[..., END] -= 5.0
    with pytest.raises(RuntimeError, match="over 10"):
        exact_search(model, model.begin(), START, 6, END)


# ------------------------------------------------------------------------------------- the ends


@pytest.mark.parametrize("method", [greedy, sample])
def test_after_the_end_stands_padding(method):
    model = TableModel(V=5, rows=40, seed=2)
    torch.manual_seed(0)
    tokens = method(model, model.begin(), START, 9, END)
    assert tokens.shape[0] <= 9 and (tokens == END).any()
    for row in tokens.T.tolist():
        if END in row:
            place = row.index(END)
            assert row[place + 1 :] == [PAD] * (len(row) - place - 1)
    stopped = TableModel(V=5, rows=3)
    stopped.table[..., END] += 100.0
    assert method(stopped, stopped.begin(), START, 9, END).tolist() == [[END] * 3]
    assert method(stopped, stopped.begin(), START, 4).tolist() == [[END] * 3] * 4  # no end is named


def test_behind_the_end_nothing_is_scored():
    model = TableModel(V=5, rows=2)
    tokens = torch.tensor([[START, START], [3, END], [END, 4], [PAD, 3]])
    found = log_probability(model, model.begin(), tokens, END)
    expected = [ln_p(model, 0, (3, END)), ln_p(model, 1, (END,))]
    assert found.tolist() == pytest.approx(expected)
    whole = log_probability(model, model.begin(), tokens)
    assert whole.tolist() == pytest.approx(
        [ln_p(model, 0, (3, END, 0)), ln_p(model, 1, (END, 4, 3))]
    )


def test_gradients_flow_through_a_log_probability():
    model = encoder_decoder("gru additive")
    tokens = torch.tensor([[START] * 3, [3, 4, END], [END, 3, PAD]])
    log_probability(model, model.encode(SOURCE, LENGTHS), tokens, END).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


# ------------------------------------------------------------------------------- rows, and states


@pytest.mark.parametrize("kind", KINDS)
def test_rows_do_not_see_each_other(kind):
    model = encoder_decoder(kind, seed=3)
    state = model.encode(SOURCE, LENGTHS)
    together = greedy(model, state, START, 6, END)
    beams = beam_search(model, state, START, 6, END, width=3)
    for row in range(3):
        length = int(LENGTHS[row])
        alone = model.encode(SOURCE[:length, row : row + 1], LENGTHS[row : row + 1])
        tokens = greedy(model, alone, START, 6, END)[:, 0]
        assert torch.equal(together[: len(tokens), row], tokens)
        assert (together[len(tokens) :, row] == PAD).all()
        (beam,) = beam_search(model, alone, START, 6, END, width=3)
        assert [one.tokens for one in beam] == [one.tokens for one in beams[row]]
        probabilities = [one.log_probability for one in beams[row]]
        assert [one.log_probability for one in beam] == pytest.approx(probabilities, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_selected_rows_go_on_as_they_would_have(kind):
    model = encoder_decoder(kind)
    _, state = model.step(torch.tensor([START, START, START]), model.encode(SOURCE, LENGTHS))
    tokens = torch.tensor([3, 4, 3])
    scores, _ = model.step(tokens, state)
    order = torch.tensor([2, 0, 2, 1])
    again, _ = model.step(tokens[order], select(state, order))
    assert torch.allclose(again, scores[order], atol=1e-6)


def test_select_keeps_the_form_of_a_state():
    tensor = torch.arange(6).view(1, 3, 2)
    state = {"a": [tensor, None], "b": Remembered(tensor, (tensor, 7))}
    found = select(state, torch.tensor([2, 2]))
    assert found["a"][1] is None and found["b"].table[1] == 7
    assert isinstance(found["b"], Remembered) and isinstance(found["a"], list)
    for part in (found["a"][0], found["b"].before, found["b"].table[0]):
        assert part.tolist() == [[[4, 5], [4, 5]]]


# -------------------------------------------------------------------------------------- sampling


def test_samples_come_as_often_as_the_model_says():
    N = 40_000
    model = TableModel(V=5, rows=1, seed=3)
    model.table = model.table.expand(-1, N, -1, -1)
    model.rows = N
    generator = torch.Generator().manual_seed(0)
    tokens = sample(model, model.begin(), START, 2, temperature=0.7, generator=generator)
    first = (model.table[START, 0, START].double() / 0.7).softmax(-1)
    second = (model.table[START, 0].double() / 0.7).softmax(-1)
    expected = first[:, None] * second  # of each pair
    counts = torch.zeros(5, 5).index_put_(tuple(tokens), torch.tensor(1.0), accumulate=True)
    error = (expected * (1 - expected) / N).sqrt()
    assert ((counts / N - expected).abs() < 4 * error).all()
    again = sample(model, model.begin(), START, 2, temperature=0.7, generator=generator)
    assert not torch.equal(tokens, again)
    generator.manual_seed(0)
    same = sample(model, model.begin(), START, 2, temperature=0.7, generator=generator)
    assert torch.equal(tokens, same)


def test_only_what_is_kept_is_drawn():
    model = TableModel(V=6, rows=2000)
    generator = torch.Generator().manual_seed(0)
    (tokens,) = sample(model, model.begin(), START, 1, top_k=2, generator=generator)
    scores = model.table[START, torch.arange(2000), START]
    places = (scores.argsort(-1, descending=True) == tokens[:, None]).int().argmax(-1)
    assert set(places.tolist()) == {0, 1}


def test_cuts_are_exact():
    p = torch.tensor([[0.1, 0.4, 0.05, 0.3, 0.15], [0.96, 0.01, 0.01, 0.01, 0.01]]).double()
    probabilities = decoding.token_probabilities
    assert torch.allclose(probabilities(p.log()), p)
    kept = [[0, 4 / 7, 0, 3 / 7, 0], [1, 0, 0, 0, 0]]
    assert torch.allclose(probabilities(p.log(), nucleus=0.65)[0], torch.tensor(kept[0]).double())
    assert torch.allclose(probabilities(p.log(), nucleus=0.65)[1], torch.tensor(kept[1]).double())
    # 0.4 + 0.3 = 0.7 is enough for 0.69 and not for 0.71, which takes 0.15 as well.
    for nucleus, count in ((0.01, 1), (0.39, 1), (0.41, 2), (0.69, 2), (0.71, 3), (0.99, 5)):
        assert int((probabilities(p.log(), nucleus=nucleus)[0] > 0).sum()) == count, nucleus
    for k in range(1, 5):
        cut = probabilities(p.log(), top_k=k)
        assert ((cut > 0).sum(-1) == k).all() and torch.allclose(
            cut.sum(-1), torch.ones(2).double()
        )
    assert torch.allclose(probabilities(p.log(), top_k=50, nucleus=1.0), p)
    both = probabilities(p.log(), top_k=2, nucleus=0.5)[0]  # 0.4 of the 0.7 that are left: enough
    assert both.tolist() == [0, 1, 0, 0, 0]
    ties = probabilities(torch.zeros(1, 6), top_k=4)
    assert ties.tolist() == [[0.25] * 4 + [0, 0]]
    flat = probabilities(torch.zeros(1, 100_000), nucleus=1.0)
    assert (flat > 0).all()  # no token is lost by rounding


def test_temperature_divides_the_scores_and_its_limits_are_finite():
    scores = torch.tensor([[3.0, 1.0, 2.0]])
    expected = (scores.double() / 2).softmax(-1)
    assert torch.allclose(decoding.token_probabilities(scores, temperature=2.0), expected)
    cold = decoding.token_probabilities(1e4 * scores, temperature=1e-308)
    assert cold.tolist() == [[1, 0, 0]]
    hot = decoding.token_probabilities(scores, temperature=1e308)
    assert torch.allclose(hot, torch.full((1, 3), 1 / 3).double())


# ------------------------------------------------------------------------------------- bad input


def decode_all(model, state, start, longest, end):
    yield lambda: greedy(model, state, start, longest, end)
    yield lambda: sample(model, state, start, longest, end)
    yield lambda: beam_search(model, state, start, longest, end, 2)
    yield lambda: exact_search(model, state, start, longest, end)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"longest": 0}, "longest must be at least 1"),
        ({"start": 5}, "must hold ids from 0 to 4"),
        ({"start": -1}, "start must be ids of the vocabulary"),
        ({"start": torch.tensor([1.0])}, "start must be integers"),
        ({"start": torch.tensor([[1]])}, r"start must have shape \(B,\)"),
        ({"end": 5}, "end must be ids of the vocabulary, from 0 to 4"),
        ({"end": -1}, "end must be ids"),
        ({"start": torch.tensor([1, 1])}, "start has 2 rows, the state 1"),
    ],
)
@pytest.mark.parametrize("kind", ["lstm general", "transformer"])
def test_bad_input_is_refused_by_name(kind, change, message):
    model = encoder_decoder(kind)
    state = model.encode(SOURCE[:, 2:], LENGTHS[2:])
    arguments = {"start": START, "longest": 4, "end": END, **change}
    for call in decode_all(model, state, **arguments):
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_a_start_outside_the_vocabulary_of_a_language_model(kind):
    with pytest.raises(InputError, match="start must hold ids of the model's vocabulary"):
        greedy(language_model(kind), None, 6, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"temperature": t}, "temperature") for t in (0, -1.0, math.inf, math.nan)),
        *(({"top_k": k}, "top_k") for k in (0, -3)),
        *(({"nucleus": p}, "nucleus") for p in (0.0, -0.1, 1.01, math.nan)),
    ],
)
def test_bad_cuts_are_refused_by_name(change, message):
    model = TableModel(4, 1)
    for call in (
        lambda: sample(model, model.begin(), START, 2, **change),
        lambda: decoding.token_probabilities(torch.zeros(1, 4), **change),
    ):
        with pytest.raises(InputError, match=message):
            call()
    assert not model.steps  # refused before any work is done


def test_bad_beams_are_refused_by_name():
    model = TableModel(4, 1)
    for width in (0, -1):
        with pytest.raises(InputError, match="width"):
            beam_search(model, model.begin(), START, 2, END, width)
    with pytest.raises(TypeError, match="width"):
        beam_search(model, model.begin(), START, 2, END, 1.5)
    for power in (-1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="length_power"):
            beam_search(model, model.begin(), START, 2, END, 2, power)
    two = TableModel(4, 2)
    with pytest.raises(InputError, match="one row"):
        exact_search(two, two.begin(), START, 2, END)


def test_broken_states_and_scores_are_refused():
    model = TableModel(4, 2)
    with pytest.raises(InputError, match="one batch size"):
        greedy(model, Remembered(torch.zeros(1, 3), torch.zeros(1, 2, 4)), START, 2)
    with pytest.raises(InputError, match="dimension 1"):
        greedy(model, torch.zeros(3), START, 2)
    with pytest.raises(InputError, match="rows of the state, from 0 to 1"):
        select(model.begin(), torch.tensor([2]))
    with pytest.raises(TypeError, match="state"):
        select(object(), torch.tensor([0]))
    model.table[START, 0, START, 0] = math.nan
    for method in (greedy, sample):
        with pytest.raises(InputError, match="NaN"):
            method(model, model.begin(), START, 2)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([[START], [5]]), "tokens must be ids of the vocabulary, from 0 to 4"),
        (torch.tensor([[START], [-1]]), "tokens must be ids"),
        (torch.tensor([[START]]), "two steps or more"),
        (torch.tensor([START, 3]), "shape"),
        (torch.tensor([[1.0], [3.0]]), "int64"),
        (torch.tensor([[START, START], [3, 3]]), "start has 2 rows, the state 1"),
    ],
)
def test_bad_sequences_are_not_scored(tokens, message):
    model = TableModel(5, 1)
    with pytest.raises(InputError, match=message):
        log_probability(model, model.begin(), tokens)


def test_decoding_keeps_no_graph():
    model: nn.Module = encoder_decoder("gru additive")
    state = model.encode(SOURCE[:, :1], LENGTHS[:1])
    assert not greedy(model, state, START, 3).requires_grad
    assert isinstance(beam_search(model, state, START, 3, END, 2)[0][0].log_probability, float)
