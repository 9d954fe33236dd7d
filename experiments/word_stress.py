"""Which vowels of an English word are stressed? Does the answer need what comes after them?

Input: the phones of a word without stress, one a step, such as B AH N AE N AH for "banana". Label
of each vowel: its stress (0 none, 1 primary, 2 secondary), here 0 1 0; consonants have no label.
All words of the CMU dictionary with a vowel take part, each in its usual pronunciation.

Eight networks of one LSTM layer read the same words, with as many parameters (within 2 %):
forward; backward; bidirectional, with two narrower layers; and forward with the answer for a phone
given `delay` steps later, when as many later phones have been read. Behind the end of a word,
these read a token that says so.

Words are held out by families: all words whose first four phones are the same fall into the same
part. So no held-out word has its inflections (bank, banks, banking) among the training words, nor
another word that sounds the same (bear, bare).

Baselines answer with the most frequent stress: over all vowels, of each vowel phone, of each place
(which vowel of how many), of phone and place together.

Settings were chosen, and the intervals fixed, on seeds 0 to 2 with the validation words. The
record holds seeds 10 to 19, measured on the test words.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rnnlib.data import pronunciation
from rnnlib.data.splits import Part, part_of
from rnnlib.data.text import IGNORED
from rnnlib.training import train, warmup_cosine

SEEDS = list(range(10, 20))
DELAYS = (0, 1, 2, 3, 5, 8)
SETTINGS = [
    *({"direction": "forward", "delay": delay} for delay in DELAYS),
    {"direction": "backward", "delay": 0},
    {"direction": "both", "delay": 0},
]
EMBEDDING_SIZE, HIDDEN_SIZE = 16, {"forward": 64, "backward": 64, "both": 43}
EPOCHS, BATCH, PEAK_RATE, LARGEST_NORM = 2, 256, 2e-2, 1.0
HELD_OUT = {"validation": 0.1, "test": 0.15}
FAMILY = 4  # words that begin with the same phones, so many, are held out together


class Words(NamedTuple):
    """Words with the same number of phones: phones and stresses, each (T, words)."""

    phones: Tensor
    stress: Tensor


class Stresses(NamedTuple):
    """The words of each part, by their number of phones, and the names of the phones by number."""

    names: tuple[str, ...]
    parts: dict[Part, list[Words]]


@functools.cache
def load_words() -> Stresses:
    """Read the dictionary; a phone's number is its place in `names`, a label −100 asks nothing."""
    ways = [ways[0] for ways in pronunciation.pronunciations().values()]
    bare = [pronunciation.without_stress(way) for way in ways]
    names = tuple(sorted({phone for way in bare for phone in way}))
    numbers = {phone: number for number, phone in enumerate(names)}
    found: dict[Part, dict[int, list[tuple[list[int], list[int]]]]] = {
        part: defaultdict(list) for part in ("training", "validation", "test")
    }
    for stressed, phones in zip(ways, bare, strict=True):
        labels = [int(p[-1]) if p[-1] in "012" else IGNORED for p in stressed]
        if max(labels) != IGNORED:
            part = part_of(" ".join(phones[:FAMILY]), **HELD_OUT)
            found[part][len(phones)].append(([numbers[p] for p in phones], labels))
    parts = {
        part: [Words(*(torch.tensor(w).T for w in zip(*words, strict=True)))
               for _, words in sorted(groups.items())]
        for part, groups in found.items()
    }  # fmt: skip
    return Stresses(names, parts)


class StressTagger(nn.Module):
    """Embedding, one LSTM layer that reads in a direction, and scores of the three stresses.

    Args:
        V: how many phones there are; the token V stands behind the end of a word.
        direction: "forward", "backward" or "both".
        delay: how many steps after a phone its scores are given.
    """

    def __init__(self, V: int, direction: str, delay: int = 0) -> None:
        super().__init__()
        self.direction, self.delay = direction, delay
        both, H = direction == "both", HIDDEN_SIZE[direction]
        self.embedding = nn.Embedding(V + 1, EMBEDDING_SIZE)
        self.lstm = nn.LSTM(EMBEDDING_SIZE, H, bidirectional=both)
        self.readout = nn.Linear(2 * H if both else H, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Score the stresses of each phone: (T, B) to (T, B, 3)."""
        behind = x.new_full((self.delay, x.shape[1]), self.embedding.num_embeddings - 1)
        x = torch.cat([x, behind])
        if self.direction == "backward":
            return self.readout(self.lstm(self.embedding(x.flip(0)))[0]).flip(0)
        return self.readout(self.lstm(self.embedding(x))[0][self.delay :])


def cross_entropy(model: nn.Module, words: Words) -> Tensor:
    """Mean cross-entropy (nats) over the vowels."""
    return functional.cross_entropy(model(words.phones).flatten(0, 1), words.stress.flatten())


def batches(groups: list[Words], generator: Generator) -> Iterator[Words]:
    """Draw each word once, in batches of words with the same number of phones."""
    chunks = [
        (group, chunk)
        for group in groups
        for chunk in torch.randperm(group.phones.shape[1], generator=generator).split(BATCH)
    ]
    for i in torch.randperm(len(chunks), generator=generator).tolist():
        group, chunk = chunks[i]
        yield Words(group.phones[:, chunk], group.stress[:, chunk])


class Shares(NamedTuple):
    """Shares of right answers; those by vowel are of first, second, third and later vowels."""

    vowels: float
    words: float
    by_vowel: list[float]


def right_shares(answer: Callable[[Words], Tensor], groups: list[Words]) -> Shares:
    """Compare `answer(words)`, stresses (T, B), with the words' own."""
    vowels, right, whole, total = torch.zeros(4), torch.zeros(4), 0, 0
    for group in groups:
        asked = group.stress != IGNORED
        hit = (answer(group) == group.stress) & asked
        place = (asked.cumsum(0) - 1).clamp(0, 3)  # first, second, third, later
        vowels += torch.bincount(place[asked], minlength=4)
        right += torch.bincount(place[hit], minlength=4)
        whole += int((hit.sum(0) == asked.sum(0)).sum())
        total += group.phones.shape[1]
    return Shares(float(right.sum() / vowels.sum()), whole / total, (right / vowels).tolist())


def run(
    seed: int,
    direction: str,
    delay: int,
    part: Part = "test",
    epochs: int = EPOCHS,
) -> dict[str, float | list[float]]:
    """Train one network, and measure it on held-out words.

    Returns:
        "vowels": share of vowels with the right stress; "words": share of words in which all are
        right; "by_vowel": share among first, second, third and later vowels; "parameters".
    """
    torch.manual_seed(seed)
    data = load_words()
    model = StressTagger(len(data.names), direction, delay)
    training = data.parts["training"]
    updates = epochs * sum(-(-group.phones.shape[1] // BATCH) for group in training)
    optimizer = torch.optim.Adam(model.parameters(), PEAK_RATE)
    train(
        model,
        lambda generator: batches(training, generator),
        cross_entropy,
        optimizer,
        updates=updates,
        seed=1000 + seed,
        clip=LARGEST_NORM,
        schedule=warmup_cosine(optimizer, updates, updates // 20),
    )
    with torch.no_grad():
        shares = right_shares(lambda words: model(words.phones).argmax(-1), data.parts[part])
    parameters = sum(p.numel() for p in model.parameters())
    return {**shares._asdict(), "parameters": float(parameters)}


LOOKED_UP = ("nothing", "vowel", "place", "vowel and place")
MOST = 20  # no word has more vowels


def majority(looked_up: str, part: Part = "test") -> Shares:
    """Answer each vowel with the most frequent stress among training words that look the same.

    Args:
        looked_up: what of a vowel is looked at, one of `LOOKED_UP`: its phone, its place (which
            vowel of how many), both, or nothing.
        part: which words to measure.
    """
    if looked_up not in LOOKED_UP:
        raise ValueError(f"looked_up: expected one of {LOOKED_UP}, got {looked_up!r}")
    data = load_words()
    phone, place = "vowel" in looked_up, "place" in looked_up

    def keys(words: Words) -> Tensor:
        asked = words.stress != IGNORED
        places = (asked.cumsum(0) - 1) * MOST + asked.sum(0)
        return words.phones * phone * MOST**2 + places * place

    counts = torch.zeros(len(data.names) * MOST**2, 3)
    for group in data.parts["training"]:
        asked = group.stress != IGNORED
        seen = keys(group)[asked], group.stress[asked]
        counts.index_put_(seen, torch.tensor(1.0), accumulate=True)
    answers = counts.argmax(1)
    return right_shares(lambda words: answers[keys(words).clamp(min=0)], data.parts[part])
