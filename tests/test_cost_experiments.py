"""The experiments behind the comparison: small data, and one symbol far back."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn

from experiments import distant_symbol, small_data, word_stress
from experiments.readers import KINDS, Reader, sinusoids
from rnnlib.data.text import IGNORED

TRAINING = "training"


@pytest.mark.parametrize("task", small_data.TASKS)
def test_both_networks_have_as_many_parameters(task):
    _, V, classes, directions = small_data.TASKS[task]
    sizes = [Reader(k, V, classes, directions=directions).size for k in ("LSTM", "Transformer")]
    assert max(sizes) <= 1.03 * min(sizes)
    assert 25_000 < min(sizes) < 28_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("directions", [1, 2])
def test_a_network_sees_the_future_only_if_it_may(kind, directions):
    torch.manual_seed(0)
    model = Reader(kind, 5, 3, d=8, layers=1, directions=directions)
    x = torch.randint(0, 4, (6, 2))
    changed = torch.cat([x[:-1], torch.full((1, 2), 4)])
    same = torch.allclose(model(x)[:-1], model(changed)[:-1], atol=1e-6)
    assert same == (directions == 1)
    assert model(x).shape == (6, 2, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_two_tokens_a_step_are_added(kind):
    torch.manual_seed(0)
    model = Reader(kind, 5, 3, d=8, layers=1)
    a, b = torch.randint(0, 5, (2, 4, 3))
    torch.testing.assert_close(model(a, b), model(b, a))
    assert not torch.allclose(model(a, b), model(a))


def test_sinusoids_are_those_of_the_paper():
    assert sinusoids(50, 8).shape == (50, 1, 8)
    torch.testing.assert_close(sinusoids(50, 8)[7, 0, 3], torch.tensor(7 / 10000 ** (2 / 8)).cos())
    torch.testing.assert_close(sinusoids(50, 8)[7, 0, 2], torch.tensor(7 / 10000 ** (2 / 8)).sin())


def test_recall_can_be_answered_by_looking_up():
    (keys, values), targets = small_data.recall(200, Generator().manual_seed(0), TRAINING)
    assert keys.shape == values.shape == targets.shape == (small_data.PAIRS + 1, 200)
    assert (targets[:-1] == IGNORED).all()
    for n in range(200):
        pairs = dict(zip(keys[:-1, n].tolist(), values[:-1, n].tolist(), strict=True))
        assert len(pairs) == small_data.PAIRS
        assert pairs[int(keys[-1, n])] - small_data.KEYS == targets[-1, n]
    assert set(keys.flatten().tolist()).isdisjoint(values.flatten().tolist())
    assert max(int(keys.max()), int(values.max())) < small_data.TASKS["recall"].V


def test_stress_has_enough_words_and_no_family_in_both_parts():
    names = word_stress.load_words().names
    assert len(names) == small_data.TASKS["stress"].V
    parts = []
    for part, number in ((TRAINING, max(small_data.SIZES)), ("test", small_data.TEST)):
        (phones,), stress = small_data.stress(number, Generator().manual_seed(0), part)
        assert phones.shape == stress.shape == (small_data.PHONES, number)
        parts.append({tuple(word[: word_stress.FAMILY]) for word in phones.T.tolist()})
    assert parts[0].isdisjoint(parts[1])


def test_right_and_the_constant_answer():
    class Constant(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(torch.zeros_like(x), 2).double()

    examples = small_data.test_examples("parity")
    even = float((examples.targets == 0).double().mean())
    assert small_data.right(Constant(), examples) == pytest.approx(even)
    assert small_data.constant_answer("parity") == pytest.approx(max(even, 1 - even), abs=1e-6)
    assert small_data.constant_answer("recall") == pytest.approx(1 / small_data.VALUES, abs=0.03)


@pytest.mark.parametrize("kind", ["LSTM", "Transformer"])
def test_a_run_on_small_data_is_repeatable_and_learns(monkeypatch, kind):
    monkeypatch.setattr(small_data, "UPDATES", 75)
    monkeypatch.setattr(small_data, "BITS", 3)
    small_data.test_examples.cache_clear()
    first = small_data.run(3, "parity", kind, 100)
    assert first == small_data.run(3, "parity", kind, 100)
    small_data.test_examples.cache_clear()
    assert first["right"] > 0.8
    assert first["updates"] in (25, 50, 75)


def test_rates_belong_to_every_task_network_and_size():
    assert set(small_data.RATES) == {
        (task, kind) for task in small_data.TASKS for kind in ("LSTM", "Transformer")
    }
    assert all(len(rates) == len(small_data.SIZES) for rates in small_data.RATES.values())


@pytest.mark.parametrize("arm", ["LSTM, chrono", "Transformer"])
def test_one_symbol_ten_steps_back_is_learnt(arm):
    found = distant_symbol.run(3, arm, 10)
    assert found["solved"] == 1
    assert found["updates"] < distant_symbol.UPDATES
    assert found["right"] > 0.95


def test_sizes_and_answers_of_the_distant_symbol():
    sizes = [sum(p.numel() for p in distant_symbol.make(a, 30).parameters())
             for a in distant_symbol.RATES]  # fmt: skip
    assert max(sizes) <= 1.03 * min(sizes)

    class First(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(x[:1], 8).double().expand(*x.shape, 8)

    assert distant_symbol.right(First(), 50) == 1
    chrono, plain = (distant_symbol.make(a, 30).recurrent for a in ("LSTM, chrono", "LSTM"))
    forget = slice(chrono.hidden_size, 2 * chrono.hidden_size)
    assert chrono.bias_ih_l0[forget].min() >= 0
    assert plain.bias_ih_l0[forget].min() < 0
