"""The experiments on copying: what the networks read in each arm, and how they are measured."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, nn

from experiments import copy_lengths, copying, own_symbols, search
from experiments.copying import END, FIRST, LONGEST, SIZE, START, SYMBOLS
from rnnlib.decoding import Hypothesis


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


class Copier(nn.Module):
    """Stands in for a network: copies, until it has read a symbol that is not the source's.

    Its state is the source, the step, and whether it is lost. Once lost, it says END if `stops`,
    and else the symbol 3. With `wrong_at`, it says 3 at that position on its own account.
    """

    def __init__(self, wrong_at=None, stops=False):
        super().__init__()
        self.wrong_at, self.stops, self.decoder = wrong_at, stops, nn.Identity()

    def encode(self, source, lengths):
        assert (lengths == len(source)).all()
        ends = torch.full_like(source[:1], END)
        return torch.cat([source, ends]), torch.zeros(1, len(lengths)), source[:1] * 0

    def step(self, tokens, state):
        said, step, lost = self.decoder(state)
        t = int(step[0, 0])
        if t > 0:
            lost = lost | (tokens != said[min(t, len(said)) - 1])[None]
        true = said[min(t, len(said) - 1)]
        answer = torch.where(lost[0] > 0, END if self.stops else FIRST, true)
        if t == self.wrong_at:
            answer = torch.full_like(answer, FIRST)
        return 50.0 * nn.functional.one_hot(answer, SIZE), (said, step + 1, lost)

    def forward(self, source, lengths, target_in):
        state, scores = self.encode(source, lengths), []
        for tokens in target_in:
            now, state = self.step(tokens, state)
            scores.append(now)
        return torch.stack(scores)


def without_first(length, count):
    """Sources without the symbol 3, so that saying 3 is always wrong."""
    return torch.randint(FIRST + 1, SIZE, (length, count), generator=generator())


def test_sequences_hold_symbols_only_and_all_of_them():
    source = copying.sequences(20, 500, generator())
    assert source.shape == (20, 500)
    assert sorted(set(source.flatten().tolist())) == list(range(FIRST, FIRST + SYMBOLS))


def test_what_is_read_and_said():
    source = torch.tensor([[3, 4], [5, 6]])
    read, said = copying.read_and_say(source)
    assert read.tolist() == [[START, START], [3, 4], [5, 6]]
    assert said.tolist() == [[3, 4], [5, 6], [END, END]]
    blind, said = copying.read_and_say(source, blind=True)
    assert (blind == START).all()
    assert said.tolist() == [[3, 4], [5, 6], [END, END]]


class Listener(Copier):
    """Writes down what it reads, and always says 7."""

    def __init__(self):
        super().__init__()
        self.read = []

    def step(self, tokens, state):
        self.read.append(tokens)
        return nn.functional.one_hot(tokens * 0 + 7, SIZE).float(), state

    def heard(self, share):
        source = without_first(30, 400)
        source[source == 7] = 8
        scores = copying.scores_with_own(self, source, share, generator())
        assert scores.shape == (31, 400, SIZE)
        read = torch.stack(self.read)
        assert (read[0] == START).all()
        true = read[1:] == source
        assert (true | (read[1:] == 7)).all()
        return copying.share(true)


def test_coins_decide_between_true_and_own_symbols():
    assert Listener().heard(1.0) == 1.0
    assert Listener().heard(0.0) == 0.0
    assert Listener().heard(0.3) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("arm", copying.ARMS)
def test_calls_of_the_decoder(arm):
    model, source = copying.network("vector", 8), copying.sequences(6, 3, generator())
    one = arm in ("teacher forcing", "blind")
    assert copying.decoder_calls(model, source, arm) == (1 if one else 7)


def test_arms_share_their_loss_where_they_read_the_same():
    torch.manual_seed(0)
    model, source = copying.network("vector", 8), copying.sequences(6, 3, generator())
    forced = copying.loss_of(model, source)
    scheduled = copying.loss_of(model, source, "scheduled", 1.0, generator())
    torch.testing.assert_close(scheduled, forced)
    own = copying.loss_of(model, source, "own", 1.0, generator())  # the share has no say
    torch.testing.assert_close(own, copying.loss_of(model, source, "scheduled", 0.0))
    assert not torch.isclose(own, forced)
    blind = copying.loss_of(model, source, "blind")
    assert len({round(each.item(), 6) for each in (forced, own, blind)}) == 3
    with pytest.raises(ValueError, match=r"arm: expected one of .*, got 'free'"):
        copying.loss_of(model, source, "free")


def test_the_share_of_true_symbols_falls_from_one_to_zero(monkeypatch):
    shares = []

    def watch(model, source, arm, share, coins):
        shares.append((arm, share))
        return sum(p.sum() for p in model.parameters())

    monkeypatch.setattr(copying, "loss_of", watch)
    copying.train(copying.network("vector", 4), 0, "scheduled", updates=4)
    assert shares == [("scheduled", s) for s in (1.0, 0.75, 0.5, 0.25)]
    shares.clear()
    copying.train(copying.network("vector", 4), 0, "scheduled", updates=4, last_share=0.5)
    assert shares == [("scheduled", s) for s in (1.0, 0.875, 0.75, 0.625)]


def test_only_symbols_that_were_read_get_a_gradient(monkeypatch):
    torch.manual_seed(0)
    model, source = copying.network("vector", 8), copying.sequences(4, 3, generator())
    read, step = [], model.step

    def listen(tokens, state):
        read.extend(tokens.tolist())
        return step(tokens, state)

    monkeypatch.setattr(model, "step", listen)
    copying.loss_of(model, source, "own").backward()
    gradient = model.target_embedding.weight.grad.abs().sum(1)
    assert {i for i in range(SIZE) if gradient[i] > 0} == set(read)
    assert set(read) != {START, *source.flatten().tolist()}  # what teacher forcing would read


@pytest.mark.parametrize(("kind", "parts"), [("vector", 0), ("reversed", 0), ("attention", 2)])
def test_networks(kind, parts):
    model = copying.network(kind, 8)
    names = [name for name, _ in model.named_parameters()]
    assert sum(name.startswith(("attention", "combine")) for name in names) == parts
    assert model.reverse_source == (kind == "reversed")
    for layer in (model.encoder, model.decoder):
        assert (layer.bias_ih_l0 + layer.bias_hh_l0)[8:16].tolist() == [1.0] * 8


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"kind: expected one of .*, got 'plain'"):
        copying.network("plain", 8)


def test_a_perfect_copier_is_right_everywhere():
    figures = copying.accuracies(Copier())
    assert figures == {"free": [1.0] * 8, "told": [1.0] * 8}


@pytest.mark.parametrize("stops", [False, True])
def test_one_error_costs_all_that_follows_only_when_its_own_symbols_are_read(stops):
    source = without_first(10, 50)
    lost = Copier(wrong_at=4, stops=stops)
    right = copying.free_running(lost, source) == source
    assert right[:4].all()
    assert not right[4:].any()  # also where an early END cuts the row off
    told = copying.told(lost, source, copying.read_and_say(source)[0]) == source
    assert told.all(1).tolist() == [t != 4 for t in range(10)]


def test_errors_by_position_of_a_known_copier(monkeypatch):
    monkeypatch.setattr(copying, "sequences", lambda n, B, _: without_first(n, B))
    perfect = copying.errors_by_position(Copier())
    assert perfect["told_at"] == perfect["free_at"] == [0.0] * LONGEST
    # the changed symbol is the tenth; what is lost begins right behind it
    assert perfect["swapped_at"] == [0.0] * 10 + [1.0] * 10
    figures = copying.errors_by_position(Copier(wrong_at=4))
    assert figures["told_at"] == [float(t == 4) for t in range(LONGEST)]
    assert figures["free_at"] == [float(t >= 4) for t in range(LONGEST)]
    assert figures["free_after"] == [1.0] * 10
    assert figures["told_after"] == [0.0] * 10


def test_what_lies_behind_the_end_is_left_out(monkeypatch):
    monkeypatch.setattr(copying, "sequences", lambda n, B, _: without_first(n, B))
    figures = copying.errors_by_position(Copier(wrong_at=13))
    assert figures["free_after"][:6] == [1.0] * 6
    assert all(math.isnan(value) for value in figures["free_after"][6:])


def test_the_same_seed_gives_the_same_network_in_both_experiments(monkeypatch):
    monkeypatch.setattr(copying, "TESTED", (5, 20))
    first = copy_lengths.run(3, "vector", 64, updates=2)
    assert copy_lengths.run(3, "vector", 64, updates=2) == first
    torch.manual_seed(3)
    model = copying.train(copying.network("vector", own_symbols.HIDDEN_SIZE), 3, updates=2)
    figures = copying.accuracies(model)
    assert {name: first[name] for name in figures} == figures
    positions = copying.errors_by_position(model)
    assert set(own_symbols.run(3, "own", updates=2)) == set(figures) | set(positions)
    blind = own_symbols.run(3, "blind", updates=2)
    assert blind["free"] == blind["told"]


@pytest.mark.parametrize("setting", copy_lengths.SETTINGS)
def test_positions_and_searches_are_measured_on_one_network_alone(setting, monkeypatch):
    monkeypatch.setattr(copying, "train", lambda model, seed, updates: model)
    monkeypatch.setattr(copying, "accuracies", lambda model: {})
    monkeypatch.setattr(copying, "errors_by_position", lambda model: {"position": 1.0})
    monkeypatch.setattr(copy_lengths, "search_errors", lambda model: {"search": 1.0})
    measured = set(copy_lengths.run(3, **setting)) - {"parameters"}
    assert measured == ({"position", "search"} if setting == copy_lengths.SETTINGS[0] else set())


def test_records_hold_seeds_that_were_not_explored():
    for experiment in (copy_lengths, own_symbols):
        assert len(experiment.SEEDS) == 10
        assert min(experiment.SEEDS) > 2
    assert copy_lengths.SEEDS == own_symbols.SEEDS  # they are compared seed by seed


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    model, source = copying.network("attention", 32), copying.sequences(3, 200, generator(9))
    before = copying.loss_of(model, source).item()
    copying.train(model, 0, updates=60)
    assert copying.loss_of(model, source).item() < before - 0.2


def test_a_search_has_missed_what_is_less_probable_or_has_not_ended():
    best = Hypothesis((5, END), -1.0, -1.0)
    found = [best, Hypothesis((6, END), -1.1, -1.1), Hypothesis((5, 5), -0.5, -0.5)]
    assert search.missed(found, [best] * 3) == [False, True, True]


def test_wider_beams_miss_less_and_the_exact_search_nothing():
    torch.manual_seed(0)
    model = copying.train(copying.network("vector", 16), 0, updates=40)
    rows = copying.sequences(3, 12, generator()).T.tolist()
    found = search.searches(model, rows, longest=5)
    assert list(found) == ["1", "2", "4", "10", "exact"]
    totals = [sum(h.log_probability for h in each) for each in found.values()]
    assert totals[-1] >= totals[-2] - 1e-3
    assert totals[-2] > totals[0]
    counts = [sum(search.missed(each, found["exact"])) for each in found.values()]
    assert counts[0] > counts[-2] >= counts[-1] == 0


def test_beams_that_rank_by_the_mean_say_more():
    torch.manual_seed(0)
    model = copying.train(copying.network("vector", 16), 0, updates=40)
    rows = copying.sequences(8, 12, generator()).T.tolist()
    plain, mean = (search.beams(model, rows, 12, power)["10"] for power in (0.0, 1.0))
    assert sum(len(h.tokens) for h in mean) > sum(len(h.tokens) for h in plain)


def test_figures_of_the_searches():
    figures = copy_lengths.search_errors(Copier())
    for length in copy_lengths.SEARCHED:
        assert figures[f"missed_{length}"] == [0.0] * 5
        assert figures[f"symbols_{length}"] == [1.0] * 5
        assert figures[f"normalised_{length}"] == [1.0] * 4
        assert figures[f"said_{length}"] == [float(length)] * 5


def test_symbols_count_where_they_stand():
    found = [Hypothesis((5, 6, END), 0.0, 0.0), Hypothesis((6, 5), 0.0, 0.0)]
    assert copy_lengths.right_symbols(found, [[5, 6, 7], [5, 5, 5]]) == pytest.approx(3 / 6)
