"""What can be read back from the hidden state about the characters that went in?

Two measurements on character models of two widths, trained as in `character_rnn`, and on a
network that was never trained.

Recall: a linear read-out (logistic regression) is trained to name the character that came `lag`
steps ago from the present state. It learns on the validation years and answers on the test years.

Distance: two copies of the network read different texts, then the same one. How far apart are
their states after that many characters in common? Measured in float64, so that rounding plays no
part. Where the states are equal, no read-out of any kind could tell the two pasts apart.

Settings and intervals were chosen on seeds 0 and 1. The record holds seeds 10 to 19.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional

from experiments import character_rnn
from experiments.character_rnn import CharacterModel

SEEDS = list(range(10, 20))
SETTINGS = [
    {"hidden_size": 64, "trained": True},
    {"hidden_size": 256, "trained": True},
    {"hidden_size": 256, "trained": False},
]

LAGS = (0, 1, 2, 3, 4, 5, 7, 10, 20)
STREAMS, WARM_UP, CHARACTERS = 32, 50, 1000
COMMON = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50)


@torch.no_grad()
def read(model: CharacterModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Read the beginning of a text in streams; return ids (T, B) and states (T, B, H)."""
    x = ids[: STREAMS * CHARACTERS].view(STREAMS, CHARACTERS).T
    h, _ = model.rnn(model.embedding(x))
    return x, h


def pairs(x: Tensor, h: Tensor, lag: int) -> tuple[Tensor, Tensor]:
    """Pair each state (N, H) with the character read `lag` steps before (N,)."""
    return h[WARM_UP:].flatten(0, 1), x[WARM_UP - lag : len(x) - lag].flatten()


def fit_readout(h: Tensor, characters: Tensor, V: int, iterations: int = 30) -> torch.nn.Linear:
    """Fit scores W h + b for `characters` (N,) from states (N, H) by logistic regression."""
    readout = torch.nn.Linear(h.shape[1], V)
    torch.nn.init.zeros_(readout.weight)
    torch.nn.init.zeros_(readout.bias)
    optimiser = torch.optim.LBFGS(
        readout.parameters(), max_iter=iterations, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = functional.cross_entropy(readout(h), characters)
        value = value + 1e-3 * readout.weight.square().sum()  # keeps rare characters in bounds
        value.backward()
        return value

    optimiser.step(loss)
    return readout


def recall(model: CharacterModel, learn: Tensor, answer: Tensor, lag: int) -> float:
    """Return the share of characters `lag` steps back that a linear read-out names rightly."""
    h, characters = pairs(*read(model, learn), lag)
    readout = fit_readout(h, characters, model.readout.out_features)
    h, characters = pairs(*read(model, answer), lag)
    return float((readout(h).argmax(1) == characters).double().mean())


@torch.no_grad()
def distances(model: CharacterModel, ids: Tensor, starts: int = 64) -> list[float]:
    """Return the median distance of two states after each of `COMMON` characters in common.

    The pairs have read 100 characters from different places of the text before. Distances are
    divided by the one that they have then.
    """
    model = copy.deepcopy(model).double()
    parts = ids[: 3 * starts * 100].view(3, starts, 100).transpose(1, 2)  # (3, 100, starts)
    x = torch.cat([parts[[0, 2]], parts[[1, 2]]], dim=2).flatten(0, 1)  # (200, 2 * starts)
    h, _ = model.rnn(model.embedding(x))
    one, other = h[99 : 100 + max(COMMON)].chunk(2, dim=1)  # (51, starts, H) each
    apart = (one - other).norm(dim=2).median(dim=1).values  # (51,)
    return (apart[list(COMMON)] / apart[0]).tolist()


def run(seed: int, hidden_size: int, trained: bool) -> dict[str, float | list[float]]:
    """Train one network (or only draw its weights) and measure its memory.

    Returns:
        "recall": a share for each of `LAGS`; "distance": a ratio for each of `COMMON`;
        "distance_at_50": the last of them.
    """
    texts = character_rnn.load_texts()
    if trained:
        model, _ = character_rnn.train(seed, texts, hidden_size=hidden_size)
    else:
        torch.manual_seed(seed)
        model = CharacterModel(texts.vocabulary.size, H=hidden_size)
    distance = distances(model, texts.test)
    return {
        "recall": [recall(model, texts.validation, texts.test, lag) for lag in LAGS],
        "distance": distance,
        "distance_at_50": distance[-1],
    }
