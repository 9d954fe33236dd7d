"""The experiments on depth and direction: deep stacks, word stress, padding."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn

import rnnlib
from experiments import deep_stack, depth, dropout, padding, word_stress
from experiments.deep_stack import DeepStack
from rnnlib.data.text import IGNORED

X = torch.randn(7, 3, 5, generator=Generator().manual_seed(0))  # (T, B, H)

# Deep stacks


def test_a_plain_stack_is_an_lstm_of_several_layers() -> None:
    torch.manual_seed(0)
    stack = DeepStack(5, 3, dropout=0.5, recurrent_dropout=0.5).eval()
    whole = nn.LSTM(5, 5, num_layers=3)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for i, layer in enumerate(stack.layers):
        for name in names:
            getattr(whole, f"{name}_l{i}").data = getattr(layer, f"{name}_l0").data
    assert torch.allclose(stack(X), whole(X)[0], atol=1e-6)


def test_what_residual_connections_and_normalisation_compute() -> None:
    torch.manual_seed(0)
    stack = DeepStack(5, 2, residual=True, normalise=True)

    def normal(x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(-1, keepdim=True)) / (
            x.var(-1, keepdim=True, correction=0) + 1e-5
        ).sqrt()

    one, two = stack.layers
    x = X + one(normal(X))[0]
    x = x + two(normal(x))[0]
    assert torch.allclose(stack(X), normal(x), atol=1e-5)


def test_dropout_inside_the_recurrence(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    stack = DeepStack(5, 1, recurrent_dropout=0.5)
    (layer,) = stack.layers
    masks = []

    def fixed(ones: torch.Tensor, p: float) -> torch.Tensor:
        masks.append(torch.arange(15.0).view(3, 5) % 2 / p + 0 * ones)
        return masks[-1]

    expected = layer(X)[0]
    assert torch.allclose(stack.eval()(X), expected, atol=1e-6)
    stack.train()
    monkeypatch.setattr(deep_stack.functional, "dropout", lambda ones, p, training=True: ones)
    assert torch.allclose(stack(X), expected, atol=1e-6)  # nothing dropped: the layer itself
    monkeypatch.setattr(
        deep_stack.functional,
        "dropout",
        lambda x, p, training=True: fixed(x, p) if x.shape == (3, 5) else x,
    )
    h, c = torch.zeros(3, 5), torch.zeros(3, 5)
    (weights,) = layer.all_weights  # type: ignore[misc]
    by_hand = []
    for x_t in X:
        h, c = rnnlib.cells.lstm(x_t, (h * (torch.arange(15.0).view(3, 5) % 2 / 0.5), c), *weights)
        by_hand.append(h)
    assert torch.allclose(stack(X), torch.stack(by_hand), atol=1e-6)
    assert len(masks) == 1  # one mask for all steps
    stack.new_masks = True
    stack(X)
    assert len(masks) == 1 + 1 + len(X)


def test_dropout_between_layers_leaves_evaluation_alone() -> None:
    stack = DeepStack(5, 2, dropout=0.9)
    assert (stack(X) == 0).double().mean() > 0.7
    assert (stack.eval()(X) != 0).all()


def test_stacks_of_every_depth_have_about_as_many_parameters() -> None:
    sizes = [
        sum(p.numel() for p in depth.CharacterStack(90, width, layers).parameters())
        for layers, width in depth.WIDTHS.items()
    ]
    assert max(sizes) < 1.08 * min(sizes)


def test_depth_and_dropout_run_and_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = {"layers": 2, "residual": True, "normalise": True}
    one = depth.run(0, **kind, part="validation", updates=2)
    assert one == depth.run(0, **kind, part="validation", updates=2)
    assert one["bits"][-1] < 8
    monkeypatch.setattr(dropout, "EVERY", 2)
    results = dropout.run(0, "inside, new masks", "validation", updates=4)
    assert results["best"] <= results["last"] < 8 and len(results["training"]) == 2  # type: ignore
    with pytest.raises(ValueError, match="kind: expected one of"):
        dropout.run(0, "everywhere")
    with pytest.raises(ValueError, match="part: expected"):
        depth.run(0, **kind, part="training", updates=1)


# Word stress


def test_families_of_words_are_held_out_together() -> None:
    data = word_stress.load_words()
    seen: dict[tuple[int, ...], str] = {}
    for part, groups in data.parts.items():
        for group in groups:
            assert group.phones.shape == group.stress.shape
            for word in group.phones[: word_stress.FAMILY].T.tolist():
                assert seen.setdefault(tuple(word), part) == part
    test = sum(group.phones.shape[1] for group in data.parts["test"])
    assert test >= 10_000


def test_labels_are_the_stresses_of_the_vowels() -> None:
    data = word_stress.load_words()
    banana = [data.names.index(phone) for phone in ("B", "AH", "N", "AE", "N", "AH")]
    found = []
    for groups in data.parts.values():
        for group in groups:
            if len(group.phones) == 6:
                same = (group.phones == torch.tensor(banana)[:, None]).all(0)
                found += group.stress[:, same].T.tolist()
    assert found == [[IGNORED, 0, IGNORED, 1, IGNORED, 0]]


@pytest.mark.parametrize(
    ("direction", "delay", "sees"),
    [
        ("forward", 0, [0, 1]),
        ("forward", 1, [0, 1, 2]),
        ("forward", 5, [0, 1, 2, 3, 4]),  # all, and the end
        ("backward", 0, [1, 2, 3, 4]),
        ("both", 0, [0, 1, 2, 3, 4]),
    ],
)
def test_each_tagger_sees_what_its_direction_says(
    direction: str, delay: int, sees: list[int]
) -> None:
    torch.manual_seed(0)
    model = word_stress.StressTagger(9, direction, delay)
    x = torch.tensor([1, 2, 3, 4, 5])[:, None]
    scores = model(x)
    assert scores.shape == (5, 1, 3)
    changed = []
    for t in range(5):
        other = x.clone()
        other[t] = 8
        if not torch.equal(model(other)[1], scores[1]):
            changed.append(t)
    assert changed == sees


def test_taggers_have_as_many_parameters() -> None:
    sizes = [
        sum(p.numel() for p in word_stress.StressTagger(39, direction).parameters())
        for direction in ("forward", "backward", "both")
    ]
    assert max(sizes) <= 1.02 * min(sizes)


def test_shares_are_counted_by_vowel_and_by_word() -> None:
    stress = torch.tensor([[1, 0], [IGNORED, 1], [0, IGNORED]])  # two words of three phones
    words = word_stress.Words(torch.zeros_like(stress), stress)
    answer = torch.tensor([[1, 0], [2, 2], [0, 0]])  # the second word's second vowel is wrong
    shares = word_stress.right_shares(lambda _: answer, [words])
    assert shares.vowels == 0.75 and shares.words == 0.5
    assert shares.by_vowel[:2] == [1.0, 0.5]


def test_baselines_look_up_what_they_say() -> None:
    data = word_stress.load_words()
    counts, total = torch.zeros(3), torch.zeros(3)
    for group in data.parts["training"]:
        counts += torch.bincount(group.stress[group.stress != IGNORED], minlength=3)
    for group in data.parts["test"]:
        total += torch.bincount(group.stress[group.stress != IGNORED], minlength=3)
    expected = float(total[counts.argmax()] / total.sum())
    assert word_stress.majority("nothing").vowels == pytest.approx(expected)
    better = [word_stress.majority(name).vowels for name in word_stress.LOOKED_UP]
    assert better[0] < min(better[1:3]) and better[3] > max(better[1:3])
    with pytest.raises(ValueError, match="looked_up: expected one of"):
        word_stress.majority("letters")


def test_every_training_word_is_read_once_an_epoch() -> None:
    groups = word_stress.load_words().parts["validation"]
    chunks = list(word_stress.batches(groups, Generator().manual_seed(0)))
    assert max(chunk.phones.shape[1] for chunk in chunks) <= word_stress.BATCH
    assert sum(chunk.phones.sum() for chunk in chunks) == sum(g.phones.sum() for g in groups)


# Padding


def test_classes_are_those_of_the_first_and_the_last_digit() -> None:
    x, lengths, d = padding.draw(200, Generator().manual_seed(0))
    for b in range(200):
        digits = x[: lengths[b], b].tolist()
        assert 0 not in digits and x[lengths[b] :, b].sum() == 0
        assert d[b] == (digits[0] % 2 != digits[-1] % 2)
    assert int(lengths.min()) == padding.SHORTEST and int(lengths.max()) == padding.LONGEST


def test_lengths_make_padding_harmless() -> None:
    torch.manual_seed(0)
    model = padding.Classifier()
    x, lengths, _ = padding.draw(20, Generator().manual_seed(0))
    longer = nn.functional.pad(x, (0, 0, 0, 9))
    assert torch.allclose(model(longer, lengths), model(x, lengths), atol=1e-6)
    assert not torch.allclose(model(longer), model(x), atol=1e-3)
    results = padding.run(0, "lengths", updates=2)
    assert results["lengths"] == [results["alone"]] * len(padding.FURTHER)
    with pytest.raises(ValueError, match="reads: expected"):
        padding.run(0, "packed")
