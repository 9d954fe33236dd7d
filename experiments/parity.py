"""Can a plain recurrent network keep one bit, changed at every step, far beyond its training?

Running parity (`rnnlib.data.synthetic.Parity`): after each bit, are the ones so far odd? One wrong
step would turn all later answers. The network is trained at `length` 20, until it makes no error
on 256 new sequences (looked at every 25 updates), and tested on up to 10,000 steps.

`asked` says where training asks: "every step", or only at the "last step" of each sequence. The
function to learn, the network and its initial weights are the same.

Settings were chosen, and the interval of C13 fixed, on seeds 0 to 4. The record holds seeds 10 to
19.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from experiments.token_network import TokenNetwork, fit
from rnnlib.data.synthetic import Parity
from rnnlib.data.text import IGNORED

SEEDS = list(range(10, 20))
SETTINGS = [{"asked": "every step"}, {"asked": "last step"}]
LENGTH, UPDATES, EVERY = 20, 1500, 25
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
        "updates": until solved, infinite where it was not; "accuracy": share of right answers
        over all steps (guessing: 0.5), on sequences of 20, 200, 1,000 and 10,000 steps; "perfect":
        share of these sequences without a single error; "last_accuracy": share of right answers
        at the last of 20 steps.
    """
    torch.manual_seed(seed)
    model = TokenNetwork(Parity.vocabulary_size)
    held_out = Parity(LENGTH).batch(256, Generator().manual_seed(7))
    asked_at = slice(-1, None) if asked == "last step" else slice(None)

    def evaluate(_: torch.nn.Module) -> dict[str, float]:
        return {"solved": float(model.right(*held_out)[asked_at].all())}

    history = fit(
        model,
        lambda B, generator: training_batch(asked, B, generator),
        1000 + seed,
        updates,
        evaluate,
        EVERY,
    )
    generator = Generator().manual_seed(99)
    right = [model.right(*Parity(steps).batch(B, generator)) for steps, B in TESTED]
    return {
        "updates": float(history.step) if history.stopped == "solved" else math.inf,
        "accuracy": [float(r.double().mean()) for r in right],
        "perfect": [float(r.all(0).double().mean()) for r in right],
        "last_accuracy": float(right[0][-1].double().mean()),
    }
