"""How fast do forecasts of blood glucose get worse with the horizon, one step at a time or direct?

A network with one hidden layer reads the last WINDOW readings (two hours) and forecasts the next
HORIZON readings (three hours). It is trained on the first 70 % of the recording, settings were
chosen on the next 10 %, and the figures are those of the last 20 %. Readings are standardised with
the mean and the spread of the training part.

`scheme`: "direct" has one output for each horizon; "iterated" has one output, the next reading, and
takes its own forecast as the newest reading to go on. `answer`: "level" forecasts the readings
themselves, "change" forecasts the difference from the last reading that was read.

Settings were chosen on seeds 0 and 1. The record holds seeds 20 to 29.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnnlib.data.glucose import Readings, glucose_segments, glucose_windows, split_by_time

SEEDS = list(range(20, 30))
SETTINGS = [
    {"scheme": "direct", "answer": "level"},
    {"scheme": "iterated", "answer": "level"},
    {"scheme": "iterated", "answer": "change"},
]
WINDOW, HORIZON, HIDDEN, UPDATES, BATCH, LEARNING_RATE = 24, 36, 64, 4000, 256, 3e-3


@functools.cache
def windows(part: str) -> tuple[Readings, Readings]:
    """Return inputs (N, WINDOW) and targets (N, HORIZON) of a part of the recording, in mg/dL."""
    return glucose_windows(getattr(split_by_time(glucose_segments()), part), WINDOW, HORIZON)


def rmse(forecast: Readings, truth: Readings) -> NDArray[np.float64]:
    """Return the root of the mean squared error for each horizon: (N, HORIZON) to (HORIZON,)."""
    root: NDArray[np.float64] = np.sqrt(np.mean((forecast - truth) ** 2, axis=0))
    return root


class Forecaster:
    """A trained network with its standardisation."""

    def __init__(self, scheme: str, answer: str) -> None:
        if scheme not in ("direct", "iterated") or answer not in ("level", "change"):
            raise ValueError(
                f"scheme and answer: expected those listed above, got {scheme!r}, {answer!r}"
            )
        self.direct, self.change = scheme == "direct", answer == "change"
        known = np.concatenate([s.values for s in split_by_time(glucose_segments()).training])
        self.mean, self.spread = float(known.mean()), float(known.std())
        outputs = HORIZON if self.direct else 1
        self.network = nn.Sequential(
            nn.Linear(WINDOW, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, outputs)
        )

    def standardised(self, readings: Readings) -> Tensor:
        """Turn mg/dL into numbers near 0, float32."""
        return torch.tensor((readings - self.mean) / self.spread, dtype=torch.float32)

    def one_call(self, x: Tensor) -> Tensor:
        """Forecast with one use of the network: (N, WINDOW) to (N, HORIZON or 1)."""
        y: Tensor = self.network(x)
        return y + x[:, -1:] if self.change else y

    @torch.no_grad()
    def __call__(self, readings: Readings) -> Readings:
        """Forecast all horizons: (N, WINDOW) to (N, HORIZON), in mg/dL."""
        x = self.standardised(readings)
        if self.direct:
            y = self.one_call(x)
        else:
            for _ in range(HORIZON):
                x = torch.cat([x, self.one_call(x[:, -WINDOW:])], dim=1)
            y = x[:, WINDOW:]
        forecast: Readings = y.double().numpy() * self.spread + self.mean
        return forecast


def train(seed: int, scheme: str, answer: str, updates: int = UPDATES) -> Forecaster:
    """Train one network on the training part, by the mean squared error."""
    torch.manual_seed(seed)
    forecaster = Forecaster(scheme, answer)
    inputs, targets = (forecaster.standardised(array) for array in windows("training"))
    if not forecaster.direct:
        targets = targets[:, :1]
    parameters = forecaster.network.parameters()
    optimiser = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=max(updates, 1)
    )
    generator = torch.Generator().manual_seed(1000 + seed)
    for _ in range(updates):
        rows = torch.randint(len(inputs), (BATCH,), generator=generator)
        loss = nn.functional.mse_loss(forecaster.one_call(inputs[rows]), targets[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return forecaster


def run(
    seed: int, scheme: str, answer: str, updates: int = UPDATES
) -> dict[str, float | list[float]]:
    """Train one network and measure it.

    Returns:
        "rmse": root mean squared error on the test part in mg/dL, one for each horizon of 5 to 180
        minutes; "rmse_validation": the same on the validation part.
    """
    forecaster = train(seed, scheme, answer, updates)
    return {
        name: [float(error) for error in rmse(forecaster(windows(part)[0]), windows(part)[1])]
        for name, part in (("rmse", "test"), ("rmse_validation", "validation"))
    }
