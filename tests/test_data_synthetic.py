"""Synthetic tasks: every target is worked out again, slowly, from the inputs alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rnnlib.data import synthetic
from rnnlib.data.text import IGNORED

TASKS = [
    synthetic.Adding(9),
    synthetic.Latch(7),
    synthetic.TemporalOrder(20),
    synthetic.CopyMemory(6),
    synthetic.SelectiveCopying(12, items=3, symbols=5),
    synthetic.Parity(9),
    synthetic.CountAB(6),
    synthetic.Dyck1(11),
    synthetic.Echo(10, delay=3),
    synthetic.FutureSum(10),
    synthetic.ResettableSum(15),
    synthetic.NoisySines(30),
    synthetic.Negation(8),
    synthetic.Agreement(3),
]
IDS = [type(task).__name__ for task in TASKS]


def draw(task: Any, batch_size: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    return task.batch(batch_size, torch.Generator().manual_seed(seed))


def expected(task: Any, x: list[Any]) -> Any:
    """The target of one sequence, from its input alone, in plain Python."""
    match task:
        case synthetic.Adding():
            return sum(value for value, mark in x if mark == 1)
        case synthetic.Latch():
            return x[0]
        case synthetic.TemporalOrder():
            first, second = (s for s in x if s >= 4)
            return {(4, 4): 0, (4, 5): 1, (5, 4): 2, (5, 5): 3}[first, second]
        case synthetic.CopyMemory(delay=delay):
            return [0] * (delay + 10) + x[:10]
        case synthetic.SelectiveCopying(items=items, symbols=symbols):
            kept = [s for s in x if 1 <= s <= symbols]
            return [IGNORED] * (len(x) - items) + kept
        case synthetic.Parity():
            return [sum(x[: t + 1]) % 2 for t in range(len(x))]
        case synthetic.CountAB():
            n = x.count(1)
            return [IGNORED] * (n + 1) + [2] * (n - 1) + [0] + [IGNORED] * (len(x) - 2 * n - 1)
        case synthetic.Dyck1():
            return [int(x[: t + 1].count(0) > x[: t + 1].count(1)) for t in range(len(x))]
        case synthetic.Echo(delay=delay):
            return [IGNORED] * delay + x[: len(x) - delay]
        case synthetic.FutureSum(ahead=ahead, vocabulary_size=v):
            sums = [(x[t] + x[t + ahead]) % v for t in range(len(x) - ahead)]
            return sums + [IGNORED] * ahead
        case synthetic.ResettableSum():
            sums = []
            for t in range(len(x)):
                start = max([i for i in range(t + 1) if x[i][1] == 1], default=0)
                sums.append(sum(value for value, _ in x[start : t + 1]))
            return sums
        case synthetic.Negation(WORDS=words):
            sentence = [words[i] for i in x]
            return int(sentence[sentence.index("not") + 1] == "bad")
        case synthetic.Agreement(WORDS=words):
            return int(words[x[1]].endswith("s"))
    raise AssertionError(task)


@pytest.mark.parametrize(
    "task", [t for t in TASKS if not isinstance(t, synthetic.NoisySines)], ids=lambda t: repr(t)
)
def test_targets_are_right_by_brute_force(task: Any) -> None:
    inputs, targets = draw(task)
    assert inputs.shape[1] == targets.shape[-1] == 64
    for b in range(64):
        y = targets[..., b].tolist()
        assert y == pytest.approx(expected(task, inputs[:, b].tolist()), abs=1e-5)


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_the_seed_decides(task: Any) -> None:
    (x, y), (same_x, same_y), (other_x, _) = draw(task), draw(task), draw(task, seed=1)
    assert torch.equal(x, same_x) and torch.equal(y, same_y)
    assert x.shape != other_x.shape or not torch.equal(x, other_x)


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_the_baseline_is_the_loss_of_the_best_blind_answer(task: Any) -> None:
    """Measure it: the targets' variance, or their entropy at each step that has targets."""
    _, targets = draw(task, batch_size=20_000 if not isinstance(task, synthetic.Negation) else 4000)
    if targets.is_floating_point():
        measured = float(((targets - targets.mean()) ** 2).mean())
    elif isinstance(task, synthetic.CopyMemory):
        measured = float(torch.tensor([entropy(row) for row in targets]).mean())
    else:
        measured = entropy(targets[targets != IGNORED])
    assert measured == pytest.approx(task.baseline, rel=0.02)


def entropy(values: Tensor) -> float:
    share = values.flatten().unique(return_counts=True)[1] / values.numel()
    return float(-(share * share.log()).sum())


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_no_empty_batch(task: Any) -> None:
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="batch_size: expected"):
            task.batch(wrong, torch.Generator())


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: synthetic.Adding(1), "length"),
        (lambda: synthetic.Adding(10.0), "length"),
        (lambda: synthetic.Latch(0), "length"),
        (lambda: synthetic.Latch(5, distractors=0), "distractors"),
        (lambda: synthetic.TemporalOrder(9), "length"),
        (lambda: synthetic.CopyMemory(0), "delay"),
        (lambda: synthetic.SelectiveCopying(3, items=4), "length"),
        (lambda: synthetic.Parity(0), "length"),
        (lambda: synthetic.CountAB(0), "longest"),
        (lambda: synthetic.CountAB(3).sequences([]), "counts"),
        (lambda: synthetic.CountAB(3).sequences([2, 0]), "counts"),
        (lambda: synthetic.Dyck1(0), "length"),
        (lambda: synthetic.Echo(3, delay=3), "length"),
        (lambda: synthetic.FutureSum(2), "length"),
        (lambda: synthetic.ResettableSum(5, reset=0), "reset"),
        (lambda: synthetic.NoisySines(5, noise=-1), "noise"),
        (lambda: synthetic.Negation(2), "length"),
        (lambda: synthetic.Negation(5).batch(3, torch.Generator()), "batch_size"),
        (lambda: synthetic.Agreement(-1), "phrases"),
    ],
)
def test_wrong_sizes_are_refused(make: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        make()


def test_smallest_sizes_work() -> None:
    for task in (
        synthetic.Adding(2), synthetic.Latch(1), synthetic.TemporalOrder(10),
        synthetic.CopyMemory(1, symbols=1, items=1), synthetic.SelectiveCopying(1, 1, 1),
        synthetic.Parity(1), synthetic.CountAB(1), synthetic.Dyck1(1), synthetic.Echo(1, 0),
        synthetic.FutureSum(2, ahead=1), synthetic.ResettableSum(1), synthetic.NoisySines(1),
        synthetic.Negation(3), synthetic.Agreement(0),
    ):  # fmt: skip
        inputs, _ = draw(task, batch_size=2)
        assert inputs.shape[1] == 2 and math.isfinite(task.baseline)


def test_adding_marks_one_number_in_each_half() -> None:
    inputs, _ = draw(synthetic.Adding(11))
    marks = inputs[..., 1]
    assert bool((marks[:5].sum(0) == 1).all()) and bool((marks[5:].sum(0) == 1).all())
    assert bool((marks.sum(1) > 0).all())  # every step is marked somewhere


def test_latch_and_order_hide_the_signal_only_where_they_say() -> None:
    inputs, _ = draw(synthetic.Latch(30), 500)
    assert bool((inputs[0] < 2).all()) and bool((inputs[1:] >= 2).all())
    inputs, _ = draw(synthetic.TemporalOrder(60), 500)
    steps = (inputs >= 4).nonzero()[:, 0].unique().tolist()
    assert steps == [*range(6, 13), *range(30, 37)]


def test_copy_memory_shows_one_signal_and_blanks() -> None:
    inputs, _ = draw(synthetic.CopyMemory(100))
    assert inputs.shape == (120, 64)
    assert bool((inputs[109] == 9).all())
    assert bool((inputs[10:109] == 0).all()) and bool((inputs[110:] == 0).all())


def test_selective_copying_uses_every_place() -> None:
    inputs, _ = draw(synthetic.SelectiveCopying(12, 3, 5), 400)
    assert bool(((inputs[:12] > 0).sum(0) == 3).all()) and bool((inputs[12:] == 6).all())
    assert bool(((inputs[:12] > 0).sum(1) > 50).all())


def test_count_ab_spells_the_sequence() -> None:
    inputs, targets = synthetic.CountAB(5).sequences([1, 3])
    assert inputs.T.tolist() == [[0, 1, 2, 0, 0, 0, 0], [0, 1, 1, 1, 2, 2, 2]]
    assert targets.T.tolist()[1] == [IGNORED] * 4 + [2, 2, 0]


def test_dyck_never_closes_what_is_not_open() -> None:
    inputs, _ = draw(synthetic.Dyck1(40), 200)
    depth = (1 - 2 * inputs).cumsum(0)
    assert int(depth.min()) == 0 and int(depth.max()) > 5


def test_negation_pairs_hold_the_same_words() -> None:
    inputs, targets = draw(synthetic.Negation(7), 200)
    words = inputs.sort(0).values
    assert torch.equal(words[:, 0::2], words[:, 1::2])
    assert targets[0::2].unique().tolist() == [0] and targets[1::2].unique().tolist() == [1]
    # The bag holds nothing else to go by, and neither does the sentiment word that comes first.
    first = torch.tensor([next(w for w in s if w in (1, 2)) for s in inputs.T.tolist()])
    assert abs(float((first[targets == 1] == 1).float().mean()) - 0.5) < 0.15


def test_agreement_reads_like_a_sentence() -> None:
    task = synthetic.Agreement(2)
    inputs, targets = draw(task, 500)
    kinds = ["the", "noun", "preposition"]
    for b in range(20):
        words = [task.WORDS[i] for i in inputs[:, b]]
        for t, word in enumerate(words):
            kind = "the" if word == "the" else "noun" if inputs[t, b] < 8 else "preposition"
            assert kind == kinds[t % 3]
    # The attractor nearest to the verb says nothing about the subject.
    assert abs(float((inputs[-1] // 4 == targets).float().mean()) - 0.5) < 0.1


def test_sines_are_sines() -> None:
    task = synthetic.NoisySines(50, noise=0.2)
    inputs, clean = draw(task, 2000)
    assert inputs.shape == clean.shape == (50, 2000, 1)
    assert float((inputs - clean).std()) == pytest.approx(0.2, rel=0.02)
    # A sine with pitch w obeys s(t+1) + s(t-1) = 2 cos(w) s(t).
    middle, sides = clean[1:-1, :, 0], clean[2:, :, 0] + clean[:-2, :, 0]
    cosine = (middle * sides).sum(0) / (middle**2).sum(0) / 2
    assert torch.allclose(sides, 2 * cosine * middle, atol=1e-4)
    pitch = cosine.acos()
    assert 0.149 < float(pitch.min()) < 0.16 and 0.39 < float(pitch.max()) < 0.401
