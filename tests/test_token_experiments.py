"""The experiments on agreement, parity and the latch: what they train on, and how they test."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator

from experiments import agreement, latch_transfer, parity, token_network
from rnnlib.data.synthetic import Agreement
from rnnlib.data.text import IGNORED


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


class Rule:
    """Stands in for a network: answers (T, B) by a rule, given the tokens (T, B)."""

    def __init__(self, rule) -> None:
        self.rule = rule

    def right(self, x, d):
        return self.rule(x) == d


def number_of_first_noun(x):
    return (x[1] // 4).expand(x.shape)


def number_of_last_noun(x):
    """Of the latest noun read so far; 0 before the first one."""
    answer = torch.zeros_like(x)
    for t in range(len(x)):
        noun = x[t] < 8
        answer[t] = torch.where(noun, x[t] // 4, answer[t - 1] if t else 0)
    return answer


# ----------------------------------------------------------------------------------- agreement


def test_only_the_verb_is_asked_for_and_it_agrees_with_the_subject():
    x, d = agreement.training_batch("even", 3, 500, generator())
    asked = d != IGNORED
    assert asked.sum(0).eq(1).all()
    step = asked.long().argmax(0)
    assert set(step.tolist()) == {1, 4, 7, 10}
    assert torch.equal(d[asked.T.nonzero()[:, 1], torch.arange(500)], x[1] // 4)


@pytest.mark.parametrize(
    ("verbs", "longest", "expected"),
    [("even", 2, [1 / 3] * 3), ("mostly near", 8, [0.9, 0.09, 0.009]), ("even", 0, [1.0])],
)
def test_the_verbs_stand_as_far_as_the_training_set_says(verbs, longest, expected):
    phrases = agreement.draw_phrases(verbs, longest, 200_000, generator())
    assert phrases.max() <= longest
    shares = [float((phrases == n).double().mean()) for n in range(len(expected))]
    assert shares == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("share", agreement.SHARES)
def test_exactly_this_share_of_the_nouns_has_the_other_number(share):
    x, number = agreement.with_attractors(4, share, 50, generator())
    assert torch.equal(x[1] // 4, number)
    others = (x[4::3] // 4 != number).long().sum(0)
    assert others.eq(4 * share).all()
    assert x[4::3].max() < 8 and x[0::3].eq(8).all() and x[2::3].min() >= 9


def test_attractors_stand_at_any_place_and_nouns_are_all_drawn():
    x, number = agreement.with_attractors(4, 0.25, 2000, generator())
    places = (x[4::3] // 4 != number).double().mean(1)
    assert places.tolist() == pytest.approx([0.25] * 4, abs=0.04)
    assert set(x[4::3].flatten().tolist()) == set(range(8))


def test_sentences_without_other_nouns_have_one_word_with_number():
    x, number = agreement.without_number(5, 200, generator())
    assert x.lt(8).sum(0).eq(1).all()
    assert torch.equal(x[1] // 4, number) and set(x[4::3].flatten().tolist()) == {8, 9, 10, 11}


def test_fronted_sentences_put_the_other_number_before_the_subject():
    x, number = agreement.fronted(100, generator())
    words = [Agreement.WORDS[int(token)] for token in x[:, 0]]
    assert words[0] in ("to", "of", "near") and words[1] == words[3] == "the"
    assert torch.equal(x[4] // 4, number) and torch.equal(x[2] // 4, 1 - number)


def test_rules_score_as_they_must():
    share = agreement.last_right
    attracted = agreement.with_attractors(4, 0.75, 4000, generator())
    assert share(Rule(number_of_first_noun), *attracted) == 1.0
    assert share(Rule(number_of_last_noun), *attracted) == pytest.approx(0.25, abs=0.03)
    assert share(Rule(number_of_last_noun), *agreement.fronted(100, generator())) == 1.0


def test_a_network_trained_next_to_the_verb_answers_with_the_last_noun():
    results = agreement.run(seed=60, verbs="even", longest=0, updates=150)
    assert results["accuracy"][0] == 1.0 and results["fronted"] == 1.0
    assert results["attractors_4"][0] > 0.9 and results["attractors_4"][-1] < 0.1
    assert results["learned"][0] < math.inf and results["learned"][1] == math.inf
    assert results["accuracy"][1:] == pytest.approx([0.5] * 33, abs=0.05)


def test_a_network_trained_farther_learns_farther_verbs():
    results = agreement.run(seed=60, verbs="even", longest=2, updates=400)
    assert min(results["accuracy"][:3]) > 0.95
    assert results["learned"][2] < math.inf


# -------------------------------------------------------------------------------- parity, latch


def test_parity_is_asked_where_the_setting_says():
    x, every = parity.training_batch("every step", 30, generator())
    assert torch.equal(every, x.cumsum(0) % 2)
    _, last = parity.training_batch("last step", 30, generator())
    assert last[:-1].eq(IGNORED).all() and torch.equal(last[-1], every[-1])


def test_parity_learned_at_every_step_is_exact_far_beyond():
    results = parity.run(seed=60, asked="every step", updates=600)
    assert results["first_solved"] < 600
    assert results["perfect"] == [1.0] * 4 and results["accuracy"] == [1.0] * 4


def test_untrained_networks_guess():
    assert parity.run(seed=60, asked="last step", updates=1)["accuracy"][1] < 0.6
    results = latch_transfer.run(seed=60, lengths="always 10", updates=1)
    assert results["updates"] == math.inf
    assert 0.4 < results["far"][-1] < 0.6 and results["readable"][-1] < 0.65


@pytest.mark.parametrize(
    ("lengths", "steps"), [("always 10", {10}), ("5 to 15", set(range(5, 16)))]
)
def test_the_latch_is_asked_at_these_steps_for_the_first_token(lengths, steps):
    x, d = latch_transfer.draw(lengths, 800, generator())
    asked = d != IGNORED
    assert asked.sum(0).eq(1).all()
    assert set((asked.long().argmax(0) + 1).tolist()) == steps
    assert torch.equal(d.max(0).values, x[0])


def test_a_reader_finds_a_bit_that_the_answer_shows_upside_down():
    first = torch.randint(0, 2, (200,), generator=generator())
    h = torch.randn(200, 5, generator=generator(1))
    assert token_network.readable(h, first) < 0.65
    h[:, 2] = 1.0 - 2.0 * first
    assert token_network.readable(h, first) == 1.0


def test_a_latch_asked_at_many_steps_holds():
    results = latch_transfer.run(seed=60, lengths="5 to 15", updates=300)
    assert results["updates"] < 300
    assert min(results["accuracy"][4:15]) > 0.98


# ------------------------------------------------------------------------------------ the network


def test_steps_that_are_not_asked_do_not_count():
    torch.manual_seed(0)
    model = token_network.TokenNetwork(4)
    x = torch.randint(0, 4, (5, 3))
    d = torch.full((5, 3), IGNORED)
    d[2] = 1
    expected = torch.nn.functional.cross_entropy(model(x)[2], d[2])
    torch.testing.assert_close(token_network.cross_entropy(model, (x, d)), expected)


def test_training_is_the_same_for_the_same_seed():
    first, again = (latch_transfer.run(3, "always 10", updates=30) for _ in range(2))
    assert first == again
    assert first != latch_transfer.run(4, "always 10", updates=30)


@pytest.mark.parametrize(
    "call",
    [
        lambda: agreement.draw_phrases("far", 2, 3, generator()),
        lambda: parity.training_batch("never", 3, generator()),
        lambda: latch_transfer.draw("ten", 3, generator()),
    ],
)
def test_an_unknown_setting_is_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()
