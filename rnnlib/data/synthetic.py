"""Task families whose answer is known exactly: what the book's experiments train on.

Each family is a small frozen class. Its fields are the task's sizes; `batch(batch_size,
generator)` draws inputs and targets, time first; `baseline` is the mean loss of the best answer
that does not read the input, in the unit that the docstring names. A network that does not get
below it has learnt nothing. All randomness comes from the generator: the same seed gives the same
batch. Token inputs are int64 (T, B); a target of −100 (`IGNORED`) asks for no prediction, and
torch's `cross_entropy` leaves it out. A size out of its range raises `ValueError`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple, get_type_hints

import torch
from torch import Generator, Tensor

from rnnlib.data.text import IGNORED


class AtLeast(NamedTuple):
    """The smallest value of a size, counted from the field named `above` where there is one."""

    smallest: int
    above: str = ""


Size = Annotated[int, AtLeast(1)]
"""A size of a task. The note on a field's type is checked when a task is made."""


class Task(ABC):
    """What every task family offers, beside its sizes."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            for smallest, above in getattr(hint, "__metadata__", ()):
                _at_least(name, getattr(self, name), smallest + getattr(self, above, 0))

    @property
    def classes(self) -> int:
        """How many answers there are, all as likely: all tokens, where the task says no other."""
        return int(self.vocabulary_size)  # type: ignore[attr-defined]

    @property
    def baseline(self) -> float:
        """Mean loss of the best answer that does not read the input: here ln `classes` (nats)."""
        return math.log(self.classes)

    def batch(self, batch_size: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw (inputs, targets) for `batch_size` sequences.

        Raises:
            ValueError: fewer than one sequence, or a number that is not whole.
        """
        _at_least("batch_size", batch_size, 1)
        return self._draw(batch_size, generator)

    @abstractmethod
    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw B sequences; the class says how."""


@dataclass(frozen=True)
class Adding(Task):
    """Add two marked numbers far apart (Hochreiter and Schmidhuber 1997, experiment 4).

    In the form of Le et al. 2015: numbers uniform in 0 to 1, one marked in each half.
    Inputs (T, B, 2): the number, and 1 where it is marked; targets (B,): the sum of the two.
    Baseline: mean squared error 1/6, the variance of the sum, by always answering 1.

    Args:
        length: steps (T), at least 2.
    """

    length: Annotated[int, AtLeast(2)]
    baseline: ClassVar[float] = 1 / 6

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        T, half = self.length, self.length // 2
        numbers = torch.rand(T, B, generator=generator)
        first = torch.randint(0, half, (B,), generator=generator)
        second = torch.randint(half, T, (B,), generator=generator)
        column = torch.arange(B)
        marks = torch.zeros(T, B)
        marks[first, column] = marks[second, column] = 1
        total = numbers[first, column] + numbers[second, column]
        return torch.stack([numbers, marks], dim=-1), total


@dataclass(frozen=True)
class Latch(Task):
    """Report the first token after many distractors (after Bengio et al. 1994, section 3).

    Inputs (T, B): a 0 or a 1, then T − 1 distractors; targets (B,): the first token.
    Baseline: cross-entropy ln 2 nats, by guessing.

    Args:
        length: steps (T), at least 1.
        distractors: how many different ones, at least 1.
    """

    length: Size
    distractors: Size = 6
    classes: ClassVar[int] = 2

    @property
    def vocabulary_size(self) -> int:
        """Two tokens to remember, and the distractors."""
        return 2 + self.distractors

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        inputs = torch.randint(2, self.vocabulary_size, (self.length, B), generator=generator)
        inputs[0] = torch.randint(0, 2, (B,), generator=generator)
        return inputs, inputs[0].clone()


@dataclass(frozen=True)
class TemporalOrder(Task):
    """Report two signals in their order (Hochreiter and Schmidhuber 1997, task 6a).

    Inputs (T, B): noise 0 to 3; a signal (4 or 5) at a step from T/10 to T/5 and another from
    T/2 to 3T/5. Targets (B,): 0 to 3 for the signals 44, 45, 54, 55.
    Baseline: cross-entropy ln 4 nats, by guessing.

    Args:
        length: steps (T), at least 10.
    """

    length: Annotated[int, AtLeast(10)]
    vocabulary_size: ClassVar[int] = 6
    classes: ClassVar[int] = 4

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        T = self.length
        inputs = torch.randint(0, 4, (T, B), generator=generator)
        signals = torch.randint(0, 2, (2, B), generator=generator)
        first = torch.randint(T // 10, T // 5 + 1, (B,), generator=generator)
        second = torch.randint(T // 2, 3 * T // 5 + 1, (B,), generator=generator)
        column = torch.arange(B)
        inputs[first, column] = 4 + signals[0]
        inputs[second, column] = 4 + signals[1]
        return inputs, 2 * signals[0] + signals[1]


@dataclass(frozen=True)
class CopyMemory(Task):
    """Keep ten symbols over a delay (Hochreiter and Schmidhuber 1997; Arjovsky et al. 2016).

    Inputs (T + 20, B) for a delay T: ten of the symbols 1 to 8, blanks (0), the signal 9 at step
    T + 9 (counted from 0), blanks. Targets (T + 20, B): blanks, then the ten symbols.
    Baseline: cross-entropy 10 ln 8 / (T + 20) nats, by blanks until the signal and guesses after.

    Args:
        delay: T, at least 1.
        symbols: how many different ones; the book's tables use 8.
        items: how many to keep; 10 in the text above.
    """

    delay: Size
    symbols: Size = 8
    items: Size = 10

    @property
    def length(self) -> int:
        """Steps of a sequence."""
        return self.delay + 2 * self.items

    @property
    def vocabulary_size(self) -> int:
        """The blank, the symbols, the signal; targets use all but the signal."""
        return self.symbols + 2

    @property
    def baseline(self) -> float:
        """Mean cross-entropy (nats) of blanks until the signal and guesses after."""
        return self.items * math.log(self.symbols) / self.length

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        items = torch.randint(1, self.symbols + 1, (self.items, B), generator=generator)
        inputs = torch.zeros(self.length, B, dtype=torch.int64)
        targets = torch.zeros_like(inputs)
        inputs[: self.items] = targets[-self.items :] = items
        inputs[self.delay + self.items - 1] = self.symbols + 1
        return inputs, targets


@dataclass(frozen=True)
class SelectiveCopying(Task):
    """Copy the symbols, skip the noise between them (Jing et al. 2019; Gu and Dao 2023).

    Inputs (T + K, B): K of the symbols 1 to V at random places among T steps, 0 elsewhere, then K
    times the signal V + 1. Targets (T + K, B): −100, then the K symbols in order.
    Baseline: cross-entropy ln V nats on the last K steps, by guessing.

    Args:
        length: steps with symbols and noise (T), at least K.
        items: how many to copy (K).
        symbols: how many different ones (V).
    """

    length: Annotated[int, AtLeast(0, above="items")] = 48
    items: Size = 4
    symbols: Size = 8

    @property
    def vocabulary_size(self) -> int:
        """The noise, the symbols, the signal."""
        return self.symbols + 2

    @property
    def classes(self) -> int:
        """The symbols."""
        return self.symbols

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        T, K = self.length, self.items
        items = torch.randint(1, self.symbols + 1, (K, B), generator=generator)
        places = torch.rand(T, B, generator=generator).argsort(0)[:K].sort(0).values
        inputs = torch.full((T + K, B), self.symbols + 1)
        inputs[:T] = torch.zeros(T, B, dtype=torch.int64).scatter_(0, places, items)
        targets = torch.full((T + K, B), IGNORED)
        targets[T:] = items
        return inputs, targets


@dataclass(frozen=True)
class Parity(Task):
    """Say after each bit whether the ones so far are odd (Minsky and Papert 1969).

    Inputs (T, B): bits; targets (T, B): the running parity. Baseline: ln 2 nats, by guessing.

    Args:
        length: steps (T), at least 1.
    """

    length: Size
    vocabulary_size: ClassVar[int] = 2

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        inputs = torch.randint(0, 2, (self.length, B), generator=generator)
        return inputs, inputs.cumsum(0) % 2


@dataclass(frozen=True)
class CountAB(Task):
    """Predict the rest of a^n b^n from the first b on (Gers and Schmidhuber 2001).

    Tokens: 0 starts and ends a sequence, 1 is a, 2 is b. Inputs: 0 a^n b^n; targets: what comes
    next, but −100 until the first b has been read, since nobody can know how many a's will come
    (to train on those steps teaches the lengths of the training set instead of counting).
    Each n is drawn evenly from 1 to `longest`; behind shorter sequences stands 0, target −100.
    Baseline: the entropy (nats) of the targets over a uniform n, by answering their frequencies.

    Args:
        longest: the largest n, at least 1.
    """

    longest: Size
    vocabulary_size: ClassVar[int] = 3

    @property
    def baseline(self) -> float:
        """Entropy of the share of ends among the targets: one of the n targets, on average."""
        return _entropy(2 / (self.longest + 1))

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        n = torch.randint(1, self.longest + 1, (B,), generator=generator)
        return self.sequences(n.tolist())

    def sequences(self, counts: list[int]) -> tuple[Tensor, Tensor]:
        """Write the sequences for the given n, as inputs and targets (2 max(n) + 1, B)."""
        if not counts or min(counts) < 1:
            raise ValueError(f"counts: expected numbers of at least 1, got {counts}")
        n = torch.tensor(counts)
        t = torch.arange(2 * int(n.max()) + 1)[:, None]
        inputs = ((t >= 1) & (t <= n)) + 2 * ((t > n) & (t <= 2 * n)).long()
        targets = torch.where(t < 2 * n, 2, 0).masked_fill((t <= n) | (t > 2 * n), IGNORED)
        return inputs, targets


@dataclass(frozen=True)
class Dyck1(Task):
    """Say after each bracket whether a closing one may follow (after Suzgun et al. 2019).

    Inputs (T, B): 0 opens, 1 closes; where both are possible each has probability 1/2. Targets
    (T, B): 1 where a bracket is open. Baseline: the entropy (nats) of the targets over all steps.

    Args:
        length: steps (T), at least 1.
    """

    length: Size
    vocabulary_size: ClassVar[int] = 2

    @property
    def baseline(self) -> float:
        """Entropy of the targets' frequency: the depth is that of |a symmetric random walk|."""
        closed = [math.comb(t, t // 2) / 2**t for t in range(2, self.length + 1, 2)]
        return _entropy(sum(closed) / self.length)

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        coins = torch.randint(0, 2, (self.length, B), generator=generator)
        depth = torch.zeros(B, dtype=torch.int64)
        inputs, targets = torch.empty_like(coins), torch.empty_like(coins)
        for t in range(self.length):
            inputs[t] = coins[t] * (depth > 0)
            depth = depth + 1 - 2 * inputs[t]
            targets[t] = depth > 0
        return inputs, targets


@dataclass(frozen=True)
class Echo(Task):
    """Repeat the input of `delay` steps ago: recall at a known lag (the memory ruler's task).

    Inputs (T, B): tokens; targets (T, B): the token `delay` steps back, −100 in the first `delay`
    steps. Baseline: cross-entropy ln V nats, by guessing.

    Args:
        length: steps (T), more than `delay`.
        delay: steps back, at least 0.
        vocabulary_size: V, at least 2.
    """

    length: Annotated[int, AtLeast(1, above="delay")]
    delay: Annotated[int, AtLeast(0)]
    vocabulary_size: Annotated[int, AtLeast(2)] = 4

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        inputs = torch.randint(0, self.vocabulary_size, (self.length, B), generator=generator)
        targets = torch.full_like(inputs, IGNORED)
        targets[self.delay :] = inputs[: self.length - self.delay]
        return inputs, targets


@dataclass(frozen=True)
class FutureSum(Task):
    """Add the present token and one `ahead` steps later: no causal network can know it.

    Inputs (T, B): tokens 0 to V − 1; targets (T, B): (x_t + x_{t+ahead}) mod V, −100 in the last
    `ahead` steps. Baseline: cross-entropy ln V nats, accuracy 1/V; that is also the best that a
    causal network can do. Answered `ahead` steps late, the task is an easy one (the delayed
    targets of Graves and Schmidhuber 2005).

    Args:
        length: steps (T), more than `ahead`.
        ahead: steps forward, at least 1.
        vocabulary_size: V, at least 2.
    """

    length: Annotated[int, AtLeast(1, above="ahead")]
    ahead: Size = 2
    vocabulary_size: Annotated[int, AtLeast(2)] = 6

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        V, last = self.vocabulary_size, self.length - self.ahead
        inputs = torch.randint(0, V, (self.length, B), generator=generator)
        targets = torch.full_like(inputs, IGNORED)
        targets[:last] = (inputs[:last] + inputs[self.ahead :]) % V
        return inputs, targets


@dataclass(frozen=True)
class ResettableSum(Task):
    """Add up numbers until told to forget: the forget gate's task (after Gers et al. 2000).

    Inputs (T, B, 2): a number uniform in −1/2 to 1/2, and 1 (with probability `reset`) where the
    sum starts again with this number. Targets (T, B): the sum.
    Baseline: mean squared error of the answer 0, which is the targets' mean variance over time.

    Args:
        length: steps (T), at least 1.
        reset: probability, above 0 and up to 1.
    """

    length: Size
    reset: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.reset <= 1:
            raise ValueError(f"reset: expected a probability above 0, up to 1, got {self.reset}")

    @property
    def baseline(self) -> float:
        """Mean over t of the variance (1 − (1 − reset)^t) / (12 reset)."""
        kept = [(1 - self.reset) ** t for t in range(1, self.length + 1)]
        return sum(1 - k for k in kept) / (12 * self.reset * self.length)

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        shape = (self.length, B)
        numbers = torch.rand(shape, generator=generator) - 0.5
        resets = (torch.rand(shape, generator=generator) < self.reset).to(numbers.dtype)
        total, totals = torch.zeros(B), []
        for number, again in zip(numbers, resets, strict=True):
            total = total * (1 - again) + number
            totals.append(total)
        return torch.stack([numbers, resets], dim=-1), torch.stack(totals)


@dataclass(frozen=True)
class NoisySines(Task):
    """Sine waves of different pitch, observed with noise: one step ahead, or many.

    Inputs (T, B, 1): sin(w t + p) plus normal noise, w uniform in 0.15 to 0.40 radians a step;
    targets (T, B, 1): the same wave at the same step without noise.
    Baseline: mean squared error 1/2 of the answer 0, up to the few periods that T cuts.

    Args:
        length: steps (T), at least 1.
        noise: standard deviation, 0 or more.
    """

    length: Size
    noise: float = 0.2
    baseline: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"noise: expected a standard deviation of 0 or more, got {self.noise}")

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        pitch = 0.15 + 0.25 * torch.rand(B, generator=generator)
        phase = 2 * math.pi * torch.rand(B, generator=generator)
        wave = torch.sin(pitch * torch.arange(self.length)[:, None] + phase)
        noise = self.noise * torch.randn(wave.shape, generator=generator)
        return (wave + noise)[..., None], wave[..., None]


@dataclass(frozen=True)
class Negation(Task):
    """Sentences in pairs of the same words whose sentiment differs: only order tells.

    Each sentence has one "good", one "bad" and one "not" right before one of them, among
    neutral words. It is positive (1) if what is not negated is good, negative (0) if it is bad.
    Sentences 2k and 2k + 1 of a batch hold the same words: one with "not" before "good", one
    with "not" before "bad"; so every bag of words is right in half of the cases, whatever it does.

    Inputs (T, B), tokens of `WORDS`; targets (B,). Baseline: cross-entropy ln 2 nats.

    Args:
        length: words of a sentence (T), at least 3.
    """

    length: Annotated[int, AtLeast(3)] = 8
    WORDS: ClassVar[tuple[str, ...]] = (
        "not", "good", "bad", "the", "film", "was", "and", "music", "very", "long",
    )  # fmt: skip
    vocabulary_size: ClassVar[int] = len(WORDS)
    classes: ClassVar[int] = 2

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        if B % 2:
            raise ValueError(f"batch_size: expected an even number (pairs), got {B}")
        inputs = torch.empty(self.length, B, dtype=torch.int64)
        targets = torch.arange(B) % 2
        for pair in range(0, B, 2):
            neutral = torch.randint(3, len(self.WORDS), (self.length - 3,), generator=generator)
            places = torch.randperm(self.length - 1, generator=generator)[:2].tolist()
            for positive in (0, 1):
                # "not" and its word form one unit: T − 1 units, two of them carry sentiment.
                units = [[word] for word in neutral.tolist()]
                for place, word in sorted(zip(places, (1, 2), strict=True)):
                    negated = (word == 2) == bool(positive)
                    units.insert(place, [0, word] if negated else [word])
                inputs[:, pair + positive] = torch.tensor([w for unit in units for w in unit])
        return inputs, targets


@dataclass(frozen=True)
class Agreement(Task):
    """A verb agrees with a subject many words back (after Linzen et al. 2016).

    "the keys to the cabinet near the doors …": a subject, then `phrases` times a preposition and
    another noun, whose number (singular or plural) is drawn on its own. Inputs (2 + 3 phrases,
    B), tokens of `WORDS`; targets (B,): 0 for "is", 1 for "are". The distance from subject to
    verb is 3 phrases + 1 words. Baseline: cross-entropy ln 2 nats, by guessing.

    Args:
        phrases: how many stand between subject and verb, at least 0.
    """

    phrases: Annotated[int, AtLeast(0)]
    WORDS: ClassVar[tuple[str, ...]] = (
        "key", "cabinet", "door", "friend", "keys", "cabinets", "doors", "friends",
        "the", "to", "of", "near",
    )  # fmt: skip
    vocabulary_size: ClassVar[int] = len(WORDS)
    classes: ClassVar[int] = 2

    def _draw(self, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
        length = 2 + 3 * self.phrases
        inputs = torch.randint(0, 8, (length, B), generator=generator)
        inputs[0::3] = 8
        prepositions = inputs[2::3]
        prepositions[:] = torch.randint(9, 12, prepositions.shape, generator=generator)
        return inputs, inputs[1] // 4


def _entropy(share: float) -> float:
    """Return the entropy (nats) of two answers, of which one has this share."""
    return -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)


def _at_least(name: str, value: int, smallest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
        raise ValueError(f"{name}: expected a whole number of at least {smallest}, got {value!r}")
