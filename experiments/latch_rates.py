"""The latch of 50 steps at another learning rate than its arm's own.

`memory_horizon` trained the default tanh network with a rate of 0.01, `gate_bias` the default LSTM
with 0.001. Which of the two is better at this task could be a matter of the rate alone. So each
runs here with the other's rate, with everything else as there.

No setting was chosen; the record holds seeds 10 to 14.
"""

from __future__ import annotations

from experiments import gate_bias, memory_horizon

SEEDS = list(range(10, 15))
LENGTH = 50
SETTINGS = [{"network": "plain", "rate": 1e-3}, {"network": "LSTM", "rate": 1e-2}]


def run(
    seed: int, network: str, rate: float, updates: int = memory_horizon.UPDATES
) -> dict[str, float | list[float]]:
    """Train one network with the default initial weights.

    Args:
        seed: of the initial weights and the training sequences.
        network: "plain" (one tanh layer) or "LSTM".
        rate: learning rate.
        updates: the limit.

    Returns:
        As `memory_horizon.run` and `gate_bias.run`.
    """
    if network == "plain":
        return memory_horizon.run(seed, "latch", "default", LENGTH, updates, rate)
    if network == "LSTM":
        return gate_bias.run(seed, "LSTM", "default", LENGTH, updates, rate)
    raise ValueError(f"network: expected 'plain' or 'LSTM', got {network!r}")
