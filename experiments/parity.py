"""Can a plain recurrent network keep one bit, changed at every step, far beyond its training?

Running parity (`rnnlib.data.synthetic.Parity`): after each bit, are the ones so far odd? One wrong
step would turn all later answers. The network makes 1,000 updates on sequences of 20 steps, and is
tested on up to 10,000.

`asked` says where training asks: "every step", or only at the "last step" of each sequence. The
function to learn, the network and its initial weights are the same.

In a first version training stopped as soon as 256 sequences had no error. On seeds 0 to 4 all
networks were then exact at 200 steps; on seeds 10 to 19, meant to confirm it, three of ten were
not (0.77 to 0.96 right). The bit was held too loosely. So training now goes on, seeds 0 to 19
count as those on which the settings were chosen and the intervals of C13 fixed, and the record
holds seeds 20 to 39.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from experiments.token_network import TokenNetwork, fit
from rnnlib.data.synthetic import Parity
from rnnlib.data.text import IGNORED

SEEDS = list(range(20, 40))
SETTINGS = [{"asked": "every step"}, {"asked": "last step"}]
LENGTH, UPDATES, EVERY = 20, 1000, 25
TESTED = ((20, 256), (200, 256), (1000, 256), (10000, 32))  # steps, sequences


def training_batch(asked: str, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw bits (T, B) and targets (T, B), −100 where training does not ask."""
    if asked not in ("every step", "last step"):
        raise ValueError(f"asked: expected 'every step' or 'last step', got {asked!r}")
    x, d = Parity(LENGTH).batch(B, generator)
    if asked == "last step":
        d[:-1] = IGNORED
    return x, d


def run(seed: int, asked: str, updates: int = UPDATES) -> dict[str, float | list[float]]:
    """Train one network, and test it on new sequences, at every step of each.

    Returns:
        "first_solved": updates until 256 new sequences had no error where training asks (looked
        at every 25 updates), infinite where they never did; "accuracy": share of right answers
        over all steps (guessing: 0.5), on sequences of 20, 200, 1,000 and 10,000 steps; "perfect":
        share of these sequences without a single error; "last_accuracy": share of right answers
        at the last of 20 steps.
    """
    torch.manual_seed(seed)
    model = TokenNetwork(Parity.vocabulary_size)
    held_out = Parity(LENGTH).batch(256, Generator().manual_seed(7))
    asked_at = slice(-1, None) if asked == "last step" else slice(None)

    def evaluate(_: torch.nn.Module) -> dict[str, float]:
        return {"solved": 0.0, "right": float(model.right(*held_out)[asked_at].double().mean())}

    history = fit(
        model,
        lambda B, generator: training_batch(asked, B, generator),
        1000 + seed,
        updates,
        evaluate,
        EVERY,
    )
    solved = [float(e["step"]) for e in history.evaluations if e["right"] == 1]
    generator = Generator().manual_seed(99)
    right = [model.right(*Parity(steps).batch(B, generator)) for steps, B in TESTED]
    return {
        "first_solved": min(solved, default=math.inf),
        "accuracy": [float(r.double().mean()) for r in right],
        "perfect": [float(r.all(0).double().mean()) for r in right],
        "last_accuracy": float(right[0][-1].double().mean()),
    }
