"""From spelling to pronunciation: the task, three kinds of model, and how wrong they are.

A word of plain letters is given ("cat"), its phones are to be said (K AE T). The words are those
of the CMU dictionary without stress: 26 letters, 39 phones. `split_by_word` holds 5 % of the words
out for validation and 5 % for the test, with all their pronunciations. Models learn from every
listed pronunciation of the training words. An answer is right if it equals any listed one; its
edits are counted to the closest one.

Three kinds of model, with about as many parameters:

- "vector": an encoder and a decoder (LSTM); all that the decoder learns of the word is one vector;
- "attention": the same with attention over the encoder's outputs;
- "transformer": a Transformer with encoder and decoder.

The trained models are those of `experiments.weights.spelling_vector`, `spelling_attention` and
`spelling_transformer`. `small` trains a small one of a kind while the reader waits.

    model, history = spelling.small("attention", seed=0)
    spelling.pronounce(model, ["cat", "phone"])  # [("K", "AE", "T"), ("F", "OW", "N")]
    spelling.evaluate(model, spelling.some_words(500))  # Errors(phones=…, words=…)
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rnnlib import decoding, metrics
from rnnlib.data import pairs, pronunciation
from rnnlib.data.pairs import END, PAD, START, Batch, Symbols
from rnnlib.data.pronunciation import Dictionary, Phones
from rnnlib.data.splits import Part
from rnnlib.seq2seq import EncoderDecoder
from rnnlib.training import History, train, warmup_cosine
from rnnlib.transformer import TransformerEncoderDecoder

KINDS = ("vector", "attention", "transformer")
LETTERS = Symbols("abcdefghijklmnopqrstuvwxyz")
PHONES = Symbols(
    (
        "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G",
        "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T",
        "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
    )
)  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {  # of the models that are trained while the reader waits
    "vector": {"embedding_size": 32, "hidden_size": 112, "bidirectional": True},
    "attention": {
        "embedding_size": 32, "hidden_size": 96, "bidirectional": True, "attention": "general"
    },
    "transformer": {"d_model": 64, "heads": 4, "layers": 1, "d_ff": 192},
}  # fmt: skip
LENGTHS = tuple(range(4, 14))  # letters; 4 stands for 4 or fewer, 13 for 13 or more
LONGEST = 40  # phones of an answer, END with them; the longest listed one has 28 and END
BATCH, LARGEST_NORM = 256, 1.0
WIDTH = 4  # of the beam


@functools.cache
def load_words() -> dict[Part, Dictionary]:
    """Read the words of each part and their pronunciations without stress."""
    dictionary = {
        word: tuple(dict.fromkeys(map(pronunciation.without_stress, ways)))  # each once
        for word, ways in pronunciation.pronunciations().items()
    }
    return pronunciation.split_by_word(dictionary)


@functools.cache
def training_pairs() -> tuple[list[list[int]], list[list[int]]]:
    """Return sources and targets as numbers: every listed pronunciation of each training word."""
    both = [(word, way) for word, ways in load_words()["training"].items() for way in ways]
    return [LETTERS.encode(word) for word, _ in both], [PHONES.encode(way) for _, way in both]


def some_words(count: int, part: Part = "test", seed: int = 0) -> Dictionary:
    """Draw so many words of a part, always the same for a seed."""
    words = load_words()[part]
    order = torch.randperm(len(words), generator=Generator().manual_seed(seed)).tolist()
    names = list(words)
    return {names[i]: words[names[i]] for i in order[:count]}


def small_model(kind: str, source_size: int, target_size: int) -> nn.Module:
    """Build a small model of a kind, untrained.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {KINDS}, got {kind!r}")
    if kind == "transformer":
        return TransformerEncoderDecoder(source_size, target_size, **SMALL[kind])
    return EncoderDecoder(source_size, target_size, **SMALL[kind])


def parameters(model: nn.Module) -> int:
    """Count the parameters."""
    return sum(p.numel() for p in model.parameters())


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy (nats) a phone under teacher forcing, END counted, PAD not."""
    scores = model(batch.source, batch.source_lengths, batch.target_in)
    return functional.cross_entropy(
        scores.flatten(0, 1), batch.target_out.flatten(), ignore_index=PAD
    )


def learn(
    model: nn.Module,
    updates: int,
    peak_rate: float,
    seed: int,
    batch_size: int = BATCH,
    **more: Any,
) -> History:
    """Train on the training pairs: Adam, linear warm-up over a twentieth, then a cosine to 0."""
    sources, targets = training_pairs()

    def epoch(generator: Generator) -> Iterator[Batch]:
        return pairs.batches(sources, targets, batch_size, generator)

    optimizer = torch.optim.Adam(model.parameters(), peak_rate)
    return train(
        model,
        epoch,
        cross_entropy,
        optimizer,
        updates=updates,
        seed=1000 + seed,
        clip=LARGEST_NORM,
        schedule=warmup_cosine(optimizer, updates, updates // 20),
        **more,
    )


@torch.no_grad()
def pronounce(
    model: Any, words: Sequence[str], width: int = 1, length_power: float = 0.0
) -> list[Phones]:
    """Say the phones of each word, greedily or with a beam of a `width`."""
    was_training = model.training
    model.eval()
    said: dict[int, Phones] = {}
    order = sorted(range(len(words)), key=lambda i: len(words[i]))
    for places in (order[start : start + BATCH] for start in range(0, len(order), BATCH)):
        sources = [LETTERS.encode(words[i]) for i in places]
        batch = pairs.make_batch(sources, [[]] * len(sources))
        state = model.encode(batch.source, batch.source_lengths)
        if width == 1:
            made = decoding.greedy(model, state, START, LONGEST, END).T.tolist()
        else:
            found = decoding.beam_search(model, state, START, LONGEST, END, width, length_power)
            made = [hypotheses[0].tokens for hypotheses in found]
        said.update(zip(places, map(PHONES.decode, made), strict=True))
    model.train(was_training)
    return [said[i] for i in range(len(words))]


class Errors(NamedTuple):
    """Phone error rate and word error rate, both as shares."""

    phones: float
    words: float


def errors(said: Sequence[Phones], listed: Sequence[Sequence[Phones]]) -> Errors:
    """Compare answers with the listed pronunciations of their words."""
    return Errors(metrics.phone_error_rate(said, listed), metrics.word_error_rate(said, listed))


def evaluate(model: nn.Module, words: Mapping[str, Sequence[Phones]], width: int = 1) -> Errors:
    """Say words, greedily or with a beam, and compare with their listed pronunciations."""
    return errors(pronounce(model, list(words), width), list(words.values()))


def errors_by_length(
    said: Sequence[Phones], words: Mapping[str, Sequence[Phones]]
) -> dict[str, list[float]]:
    """Return "words" and "phones", error rates for each of `LENGTHS`, and "counts", of words."""
    found: dict[str, list[float]] = {"words": [], "phones": [], "counts": []}
    for length in LENGTHS:
        group = [
            (answer, listed)
            for answer, (word, listed) in zip(said, words.items(), strict=True)
            if min(max(len(word), LENGTHS[0]), LENGTHS[-1]) == length
        ]
        rates = errors(*zip(*group, strict=True))
        found["words"].append(rates.words)
        found["phones"].append(rates.phones)
        found["counts"].append(float(len(group)))
    return found


def train_and_measure(
    model: nn.Module, updates: int, peak_rate: float, seed: int
) -> tuple[dict[str, Tensor], dict[str, float | list[float]]]:
    """Train the model of a weight file, then measure it; the test words are read once.

    Returns:
        its state dict, and the figures. Rates of errors are shares: "phones" and "words" on all
        test words, said greedily; "phones_beam" and "words_beam" with a beam of `WIDTH`;
        "words_by_length", "phones_by_length" and "counts_by_length" (greedily, for `LENGTHS`);
        "phones_validation", "words_validation"; "words_training", on 2,000 words it has learned.
        Then "parameters", "updates", "pairs" (seen in training, with repetitions), and "losses"
        (nats a phone, the mean of every 100 updates).
    """
    history = learn(model, updates, peak_rate, seed)
    words = load_words()
    said = pronounce(model, list(words["test"]))
    test = errors(said, list(words["test"].values()))
    beam = evaluate(model, words["test"], WIDTH)
    validation = evaluate(model, words["validation"])
    lengths = errors_by_length(said, words["test"])
    losses = torch.tensor(history.losses)
    return model.state_dict(), {
        "phones": test.phones,
        "words": test.words,
        "phones_beam": beam.phones,
        "words_beam": beam.words,
        "phones_validation": validation.phones,
        "words_validation": validation.words,
        "words_training": evaluate(model, some_words(2000, "training")).words,
        **{f"{name}_by_length": values for name, values in lengths.items()},
        "parameters": float(parameters(model)),
        "updates": float(updates),
        "pairs": float(updates * BATCH),
        "losses": [part.mean().item() for part in losses.split(100)],
    }


def align(model: Any, word: str, phones: Phones) -> Tensor:
    """Return the attention weights (T, S) over the letters, for each of the phones and END."""
    batch = pairs.make_batch([LETTERS.encode(word)], [PHONES.encode(phones)])
    with torch.no_grad():
        return model.align(batch.source, batch.source_lengths, batch.target_in)[:, 0]


SMALL_TRAINING = {  # updates, pairs a batch, peak of the learning rate
    "vector": (500, 128, 2e-2),
    "attention": (500, 128, 2e-2),
    "transformer": (500, 128, 1e-2),
}


def small(kind: str, seed: int) -> tuple[nn.Module, History]:
    """Train a small model of a kind, about 10 seconds on one core; the same for a seed.

    Raises:
        ValueError: an unknown kind.
    """
    torch.manual_seed(seed)
    model = small_model(kind, LETTERS.size, PHONES.size)
    updates, batch_size, peak_rate = SMALL_TRAINING[kind]
    return model.eval(), learn(model, updates, peak_rate, seed, batch_size)
