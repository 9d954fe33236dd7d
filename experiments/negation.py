"""Which models can hear what "not" belongs to, when pairs of sentences hold the same words?

A sentence has one "good", one "bad" and one "not", which turns the first of the two that follows
it. It is positive (1) if what is left is good twice, negative (0) if it is bad twice. "not" stands
before the first of the two or between them. Before, between and behind these three words stands
the same filler of `gap` neutral words; the rest of the sentence is neutral. Sentences 2k and
2k + 1 differ in one thing only: "good" and "bad" have changed places. So both hold the same words,
and even the same n-grams for every n up to gap + 1.

Models: "bag" (counts of words), "2-grams", "3-grams", "4-grams" (counts of n-grams), "window" (the
last WINDOW words, each at its place), "sentence" (all words, each at its place), "recurrent" (a
tanh network that reads word by word). All but the recurrent one are a network with one hidden
layer. All see the same sentences and make the same number of updates.

`places`: "all" trains on sentences where the phrase may begin anywhere, "early" on sentences where
it begins in the first half of the possible places (for longer, because the decisive words are
further from the end). The test always has all places.

Settings were chosen, and the intervals of C06 fixed, on seeds 0 to 4. The record holds seeds 20 to
29.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from rnnlib.data.synthetic import Negation

SEEDS = list(range(20, 30))
GAPS = (0, 1, 2)
MODELS = ("bag", "2-grams", "3-grams", "4-grams", "window", "sentence", "recurrent")
SETTINGS: list[dict[str, object]] = [
    {"model": model, "gap": gap, "places": "all"}
    for gap in GAPS
    for model in (*MODELS[:4], "recurrent")
] + [{"model": model, "gap": 0, "places": "all"} for model in ("window", "sentence")]
SETTINGS += [
    {"model": model, "gap": 0, "places": "early", "updates": 800}
    for model in ("sentence", "recurrent")
]
LENGTH, WINDOW, HIDDEN, UPDATES, BATCH, LEARNING_RATE = 16, 6, 32, 400, 64, 5e-3
WORDS = Negation.WORDS
V = len(WORDS)


def pairs(count: int, gap: int, generator: Generator, starts: range) -> tuple[Tensor, Tensor]:
    """Draw `count` sentences in pairs of the same words.

    Args:
        count: sentences, an even number.
        gap: neutral words between "not" and the word that it turns.
        generator: where all randomness comes from.
        starts: the places at which the phrase with "not" may begin.

    Returns:
        Words as numbers, shape (T, count), and labels, shape (count,), 0 and 1 in turn.
    """
    half = count // 2
    neutral = torch.randint(3, V, (LENGTH, half), generator=generator)
    filler = torch.randint(3, V, (gap, half), generator=generator).repeat_interleave(2, dim=1)
    start = torch.randint(starts.start, starts.stop, (half,), generator=generator)
    between = torch.randint(0, 2, (half,), generator=generator).repeat_interleave(2) == 1
    label = torch.arange(count) % 2
    turned, other = 1 + label, 2 - label  # "not" turns a "good" where the label is 0
    no = torch.zeros_like(label)
    three = [  # "not" stands between the two words, or before them
        torch.where(between, other, no),
        torch.where(between, no, turned),
        torch.where(between, turned, other),
    ]
    phrase = [*filler]
    for word in three:
        phrase += [word, *filler]
    x = neutral.repeat_interleave(2, dim=1)  # (T, count)
    for offset, word in enumerate(phrase):
        x[start.repeat_interleave(2) + offset, torch.arange(count)] = word
    return x, label


def phrase_length(gap: int) -> int:
    """Return how many words the phrase with "not" has: three, and four fillers."""
    return 3 + 4 * gap


def all_starts(gap: int) -> range:
    """Return every place at which a phrase with this gap may begin."""
    return range(LENGTH - phrase_length(gap) + 1)


def counts(x: Tensor, n: int) -> Tensor:
    """Count the n-grams of each sentence: (T, B) to (B, V^n)."""
    code = sum(x[i : len(x) - n + 1 + i] * V**i for i in range(n))
    table = torch.zeros(x.shape[1], V**n)
    return table.scatter_add_(1, code.T, torch.ones(code.T.shape))


def at_places(x: Tensor) -> Tensor:
    """Write the words one after the other, each as V numbers of which one is 1: (B, T V)."""
    return nn.functional.one_hot(x.T, V).float().flatten(1)


class Recurrent(nn.Module):
    """A state of HIDDEN numbers, updated at each word; the last state gives the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, HIDDEN)
        self.rnn = nn.RNN(HIDDEN, HIDDEN)
        self.readout = nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Read the words (T, B) and return two scores for each sentence, (B, 2)."""
        return self.readout(self.rnn(self.embedding(x))[0][-1])


class FeedForward(nn.Module):
    """Features of a sentence, a hidden layer, two scores."""

    def __init__(self, model: str) -> None:
        super().__init__()
        if model == "bag" or model.endswith("-grams"):
            n = 1 if model == "bag" else int(model[0])
            self.features, size = lambda x: counts(x, n), V**n
        elif model in ("window", "sentence"):
            steps = WINDOW if model == "window" else LENGTH
            self.features, size = lambda x: at_places(x[-steps:]), V * steps
        else:
            raise ValueError(f"model: expected one of {', '.join(MODELS)}, got {model!r}")
        self.layers = nn.Sequential(nn.Linear(size, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Return two scores for each sentence of the words (T, B), (B, 2)."""
        return self.layers(self.features(x))


def train(seed: int, model: str, gap: int, places: str, updates: int = UPDATES) -> nn.Module:
    """Train one model on fresh sentences at every update."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    starts = all_starts(gap)
    if places == "early":
        starts = starts[: len(starts) // 2]
    network = Recurrent() if model == "recurrent" else FeedForward(model)
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for _ in range(updates):
        x, labels = pairs(BATCH, gap, generator, starts)
        loss = nn.functional.cross_entropy(network(x), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    return network


@torch.no_grad()
def run(
    seed: int, model: str, gap: int, places: str, updates: int = UPDATES
) -> dict[str, float | list[float]]:
    """Train one model and test it on 100 fresh pairs for each place at which the phrase may begin.

    Returns:
        "accuracy": share of right answers over all places (guessing: 0.5); "by_place": the same
        for each place; "parameters": how many numbers were trained.
    """
    with torch.enable_grad():
        network = train(seed, model, gap, places, updates)
    fresh = torch.Generator().manual_seed(9000 + seed)
    by_place = []
    for place in all_starts(gap):
        x, labels = pairs(200, gap, fresh, range(place, place + 1))
        by_place.append(float((network(x).argmax(1) == labels).double().mean()))
    return {
        "accuracy": sum(by_place) / len(by_place),
        "by_place": by_place,
        "parameters": sum(w.numel() for w in network.parameters()),
    }
