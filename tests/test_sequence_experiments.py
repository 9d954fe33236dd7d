"""The experiments of the chapter on sequences: what the pairs share, and how forecasts are made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments import glucose_horizons, negation


def read_aloud(words: list[str]) -> int:
    """Return 1 if what the sentence says is good twice, 0 if it is bad twice, by the rule."""
    opinions, turned = [], False
    for word in words:
        if word == "not":
            turned = True
        elif word in ("good", "bad"):
            opinions.append((word == "good") != turned)
            turned = False
    assert len(opinions) == 2 and opinions[0] == opinions[1]
    return int(opinions[0])


@pytest.fixture(params=negation.GAPS)
def drawn(request):
    gap = request.param
    generator = torch.Generator().manual_seed(0)
    return gap, *negation.pairs(400, gap, generator, negation.all_starts(gap))


def test_labels_follow_from_reading_the_sentence(drawn):
    _, x, labels = drawn
    sentences = [[negation.WORDS[i] for i in column] for column in x.T.tolist()]
    assert [read_aloud(sentence) for sentence in sentences] == labels.tolist()


def test_a_pair_shares_its_n_grams_up_to_the_gap_and_no_further(drawn):
    gap, x, _ = drawn
    for n in range(1, 5):
        bags = negation.counts(x, n)
        same = (bags[::2] == bags[1::2]).all(dim=1)
        assert same.all() if n <= gap + 1 else not same.any()


def test_neither_the_first_of_the_two_words_nor_the_place_of_not_gives_the_answer(drawn):
    _, x, labels = drawn
    good, bad, no = ((x == word).int().argmax(dim=0) for word in (1, 2, 0))
    for clue in (good < bad, no < torch.minimum(good, bad)):
        assert 0.4 < (clue == labels).double().mean() < 0.6


def test_counts_are_those_of_a_loop():
    x = torch.tensor([[0, 1], [1, 2], [0, 1], [1, 2]])  # (T, B)
    bags = negation.counts(x, 2)
    assert bags.sum(dim=1).tolist() == [3, 3]
    assert bags[0, 0 + negation.V * 1] == 2 and bags[0, 1 + negation.V * 0] == 1
    assert bags[1, 1 + negation.V * 2] == 2 and bags[1, 2 + negation.V * 1] == 1


def test_phrase_begins_only_where_it_may():
    generator = torch.Generator().manual_seed(0)
    x, _ = negation.pairs(40, 0, generator, range(5, 6))
    assert {int(place) for place in (x == 0).int().argmax(dim=0)} == {5, 6}
    assert ((x == 1).sum(dim=0) == 1).all() and ((x == 2).sum(dim=0) == 1).all()


@pytest.mark.parametrize(("model", "gap"), [("bag", 0), ("2-grams", 1), ("3-grams", 2)])
def test_a_bag_that_is_the_same_for_both_is_right_in_half_of_the_cases(model, gap):
    result = negation.run(0, model, gap, "all", updates=3)
    assert set(result["by_place"]) == {0.5}


def test_window_sees_its_last_words_only():
    network = negation.FeedForward("window")
    x = torch.randint(0, negation.V, (negation.LENGTH, 4))
    changed = x.clone()
    changed[: -negation.WINDOW] = (x[: -negation.WINDOW] + 1) % negation.V
    assert torch.equal(network(x), network(changed))
    changed[-negation.WINDOW] = (x[-negation.WINDOW] + 1) % negation.V
    assert not torch.equal(network(x), network(changed))


def test_training_places_differ_and_unknown_models_are_refused(monkeypatch):
    seen = []
    draw = negation.pairs
    monkeypatch.setattr(negation, "pairs", lambda *a: seen.append(a[3]) or draw(*a))
    for places in ("all", "early"):
        negation.train(0, "window", 0, places, updates=1)
    assert seen == [range(14), range(7)]
    with pytest.raises(ValueError, match="model"):
        negation.FeedForward("trees")


def test_iterated_forecast_reads_its_own_forecasts():
    torch.manual_seed(0)
    forecaster = glucose_horizons.Forecaster("iterated", "change")
    readings = np.random.default_rng(0).uniform(60, 250, (3, glucose_horizons.WINDOW))
    forecast = forecaster(readings)
    assert forecast.shape == (3, glucose_horizons.HORIZON)
    for k in range(3):
        again = forecaster(np.hstack([readings, forecast[:, :k]])[:, -glucose_horizons.WINDOW :])
        np.testing.assert_allclose(again[:, 0], forecast[:, k], rtol=1e-4)


def test_change_is_added_to_the_last_reading():
    for scheme in ("direct", "iterated"):
        forecaster = glucose_horizons.Forecaster(scheme, "change")
        for parameter in forecaster.network.parameters():
            torch.nn.init.zeros_(parameter)
        readings = np.full((1, glucose_horizons.WINDOW), 180.0)
        np.testing.assert_allclose(forecaster(readings), 180.0, rtol=1e-5)
    with pytest.raises(ValueError, match="scheme"):
        glucose_horizons.Forecaster("guessed", "level")


def test_short_training_beats_the_mean_and_is_repeatable():
    results = [glucose_horizons.run(0, "direct", "level", updates=150) for _ in range(2)]
    assert results[0] == results[1]
    mean = glucose_horizons.Forecaster("direct", "level").mean
    _, truth = glucose_horizons.windows("test")
    assert results[0]["rmse"][0] < 0.5 * glucose_horizons.rmse(np.float64(mean), truth)[0]


def test_sentences_of_the_test_are_not_those_of_the_training(monkeypatch):
    drawn, draw = [], negation.pairs

    def spy(count, gap, generator, starts):
        drawn.append((generator.initial_seed(), starts))
        return draw(count, gap, generator, starts)

    monkeypatch.setattr(negation, "pairs", spy)
    negation.run(3, "window", 0, "all", updates=2)
    (first, _), *fresh = drawn[1:]  # two updates, then one draw for each place
    assert [starts for _, starts in fresh] == [range(p, p + 1) for p in negation.all_starts(0)]
    assert len({seed for seed, _ in fresh}) == 1 and fresh[0][0] != first


def test_error_is_the_root_of_the_mean_square_of_each_horizon():
    forecast, truth = np.zeros((2, 2)), np.array([[3.0, 1.0], [4.0, 1.0]])
    np.testing.assert_allclose(glucose_horizons.rmse(forecast, truth), [np.sqrt(12.5), 1.0])


@pytest.mark.parametrize("scheme", ["direct", "iterated"])
def test_forecaster_learns_from_the_training_part_only(monkeypatch, scheme):
    asked, cut, seen = [], glucose_horizons.windows, []
    monkeypatch.setattr(glucose_horizons, "windows", lambda part: asked.append(part) or cut(part))
    loss = torch.nn.functional.mse_loss
    monkeypatch.setattr(
        torch.nn.functional, "mse_loss", lambda y, target: seen.append(target) or loss(y, target)
    )
    forecaster = glucose_horizons.train(0, scheme, "level", updates=1)
    assert set(asked) == {"training"}
    training = glucose_horizons.split_by_time(glucose_horizons.glucose_segments()).training
    known = np.concatenate([segment.values for segment in training])
    assert forecaster.mean == pytest.approx(known.mean())
    assert forecaster.spread == pytest.approx(known.std())
    rows = torch.randint(  # the targets of the first update, drawn as `train` draws them
        len(cut("training")[0]),
        (glucose_horizons.BATCH,),
        generator=torch.Generator().manual_seed(1000),
    )
    outputs = glucose_horizons.HORIZON if scheme == "direct" else 1
    assert torch.equal(seen[0], forecaster.standardised(cut("training")[1][rows, :outputs]))


def test_errors_are_reported_under_their_own_part():
    result = glucose_horizons.run(0, "direct", "level", updates=3)
    forecaster = glucose_horizons.train(0, "direct", "level", updates=3)
    for name, part in (("rmse", "test"), ("rmse_validation", "validation")):
        inputs, truth = glucose_horizons.windows(part)
        np.testing.assert_allclose(
            result[name], glucose_horizons.rmse(forecaster(inputs), truth), rtol=1e-6
        )
