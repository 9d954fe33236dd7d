"""Time rnnlib's layers against torch.nn's and print the ratios as a table.

    python -m benchmarks.recurrent_layers [--json PATH] [--repeats N] [--threads N]

A ratio is torch's time over ours, so 2.00 means twice as fast. Both sides take turns inside one
run, which treats them alike when other work comes and goes, and each figure is the median of its
turns. On one thread, processor time is counted, which leaves out the waiting for other programs;
on several, the time on the wall. A training step is a forward and a backward pass, to the weights
and to the input.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable
from math import exp, log
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch
from torch import nn

import rnnlib

# (T, B, D, H): time steps, batch, input size, hidden size
SHAPES = [
    (500, 1, 64, 128),
    (100, 32, 64, 128),
    (100, 32, 128, 256),
    (50, 64, 256, 512),
    (20, 16, 32, 32),
]
KINDS = ("RNN", "GRU", "LSTM")
GOALS = {"RNN": 1.3, "GRU": 1.15, "LSTM": 0.95}  # geometric mean; for the LSTM at every shape


def take_turns(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return each side's median seconds over interleaved turns, after two turns to warm up."""
    clock = process_time if torch.get_num_threads() == 1 else perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 2):
        order = list(sides) if turn % 2 else list(reversed(sides))
        for name in order:
            start = clock()
            sides[name]()
            if turn >= 2:
                seconds[name].append(clock() - start)
    return {name: median(values) for name, values in seconds.items()}


def measure(
    kind: str, shape: tuple[int, int, int, int], repeats: int, backend: str
) -> dict[str, Any]:
    """Time one kind of layer at one shape: training step and inference, ours and torch's."""
    T, B, D, H = shape
    torch.manual_seed(0)
    x, target = torch.randn(T, B, D), torch.randn(T, B, H)
    made = {"ours": getattr(rnnlib, kind)(D, H, backend=backend), "torch": getattr(nn, kind)(D, H)}

    def train(layer: nn.Module) -> None:
        layer.zero_grad()
        layer(x.requires_grad_())[0].backward(target)

    def infer(layer: nn.Module) -> None:
        with torch.inference_mode():
            layer(x)

    row: dict[str, Any] = {"kind": kind, "backend": backend, "shape": shape}
    for what, run in (("train", train), ("infer", infer)):
        seconds = take_turns(
            {name: lambda run=run, layer=layer: run(layer) for name, layer in made.items()}, repeats
        )
        row[f"{what}_seconds"] = seconds
        row[f"{what}_ratio"] = seconds["torch"] / seconds["ours"]
    return row


def geometric_mean(values: list[float]) -> float:
    return exp(sum(map(log, values)) / len(values))


def benchmark(
    repeats: int = 15,
    kinds: tuple[str, ...] = KINDS,
    shapes: list[tuple[int, int, int, int]] = SHAPES,
    backend: str = "auto",
) -> list[dict[str, Any]]:
    """Measure every kind at every shape; `table` prints what this returns."""
    return [measure(kind, shape, repeats, backend) for kind in kinds for shape in shapes]


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the ratios out, one line for each shape and the geometric mean of each kind."""
    lines = [
        "How many times as fast as torch.nn",
        f"{'layer':6}{'T':>5}{'B':>5}{'D':>5}{'H':>5}{'training':>11}{'inference':>11}",
    ]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        mine = [row for row in rows if row["kind"] == kind]
        for row in mine:
            sizes = "".join(f"{size:5d}" for size in row["shape"])
            lines.append(f"{kind:6}{sizes}{row['train_ratio']:11.2f}{row['infer_ratio']:11.2f}")
        means = [geometric_mean([row[f"{w}_ratio"] for row in mine]) for w in ("train", "infer")]
        lowest = min(row["train_ratio"] for row in mine)
        goal = GOALS[kind]
        wanted = f"lowest at least {goal}" if kind == "LSTM" else f"mean at least {goal}"
        reached = lowest >= goal if kind == "LSTM" else means[0] >= goal
        lines.append(
            f"{kind:6}{'geometric mean':>20}{means[0]:11.2f}{means[1]:11.2f}"
            f"   goal: {wanted}, {'reached' if reached else 'missed'}"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the options, measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument("--repeats", type=int, default=15, help="turns of each side (15)")
    parser.add_argument("--threads", type=int, default=1, help="threads torch may use (1)")
    parser.add_argument("--backend", default="auto", help="backend of our layers (auto)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = benchmark(options.repeats, backend=options.backend)
    print(table(rows))
    if options.json:
        report = {
            "rows": rows,
            "threads": options.threads,
            "repeats": options.repeats,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "geometric_mean": {
                kind: geometric_mean([r["train_ratio"] for r in rows if r["kind"] == kind])
                for kind in KINDS
            },
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
