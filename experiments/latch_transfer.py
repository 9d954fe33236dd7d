"""A latch learned on short sequences: how long does it hold, and how?

The latch task (`rnnlib.data.synthetic.Latch`): report the first token after many distractors. The
network is trained until it makes no error on 500 new sequences (looked at every 25 updates), and
then asked after each of the first 100 steps, and after 200, 500 and 1,000.

`lengths` says what training asks for: "always 10" steps, or "5 to 15", each as often. A network
that is always asked at the same step may keep its bit in any way that comes out right at this
step, a swing to and fro included. So beside the network's answer, a linear reader is fitted at
each of `FAR` steps (on half of the sequences, tested on the others): it says whether the state
still holds the bit.

Settings were chosen on seeds 0 to 4. The record holds seeds 10 to 19.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from experiments.token_network import TokenNetwork, fit, readable
from rnnlib.data.synthetic import Latch
from rnnlib.data.text import IGNORED

SEEDS = list(range(10, 20))
SETTINGS = [{"lengths": "always 10"}, {"lengths": "5 to 15"}]
SHORTEST_LONGEST = {"always 10": (10, 10), "5 to 15": (5, 15)}
UPDATES, EVERY, SEQUENCES = 1500, 25, 500
STEPS, FAR = 100, (10, 100, 200, 500, 1000)


def draw(lengths: str, B: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw sequences (T, B) and targets (T, B): the first token at the step asked, else −100."""
    if lengths not in SHORTEST_LONGEST:
        raise ValueError(f"lengths: expected one of {list(SHORTEST_LONGEST)}, got {lengths!r}")
    shortest, longest = SHORTEST_LONGEST[lengths]
    x, first = Latch(longest).batch(B, generator)
    asked = torch.randint(shortest, longest + 1, (B,), generator=generator)
    d = torch.full_like(x, IGNORED)
    d[asked - 1, torch.arange(B)] = first
    return x, d


@torch.no_grad()
def run(seed: int, lengths: str, updates: int = UPDATES) -> dict[str, float | list[float]]:
    """Train one network, and test it far beyond.

    Returns:
        "updates": until solved, infinite where it was not; "accuracy": share of right answers
        after 1, 2, … 100 steps (guessing: 0.5); "far": the same after each of `FAR` steps;
        "readable": share that a linear reader of the state gets right there.
    """
    torch.manual_seed(seed)
    task = Latch(max(FAR))
    model = TokenNetwork(task.vocabulary_size)
    x_held, d_held = draw(lengths, SEQUENCES, Generator().manual_seed(7))

    def evaluate(_: torch.nn.Module) -> dict[str, float]:
        return {"solved": float(model.right(x_held, d_held)[d_held != IGNORED].all())}

    with torch.enable_grad():
        history = fit(
            model,
            lambda B, generator: draw(lengths, B, generator),
            1000 + seed,
            updates,
            evaluate,
            EVERY,
        )
    x, first = task.batch(SEQUENCES, Generator().manual_seed(99))
    h = model.states(x)
    right = (model.readout(h).argmax(-1) == first).double().mean(1)
    return {
        "updates": float(history.step) if history.stopped == "solved" else math.inf,
        "accuracy": right[:STEPS].tolist(),
        "far": [float(right[step - 1]) for step in FAR],
        "readable": [readable(h[step - 1], first) for step in FAR],
    }
