"""How a cost grows: the exponent of a power law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = Sequence[float] | NDArray[np.float64]


def fitted_exponent(lengths: Numbers, values: Numbers) -> float:
    """Return the p of the power law value ∝ length^p that fits best.

    Least squares on the logarithms: 1 means that doubling the length doubles the value, 2 that
    it makes it four times as large, 0 that it changes nothing.

    Args:
        lengths: at least two different positive numbers.
        values: as many positive numbers.

    Raises:
        ValueError: numbers are missing, not positive or not finite, or all lengths are equal.
    """
    x, y = np.asarray(lengths, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"values: expected {x.shape[:1]} numbers for as many lengths, got {y.shape}"
        )
    for name, numbers in [("lengths", x), ("values", y)]:
        if not (np.isfinite(numbers).all() and (numbers > 0).all()):
            raise ValueError(f"{name}: expected positive finite numbers, got {numbers.tolist()}")
    if len(set(x.tolist())) < 2:
        raise ValueError(f"lengths: expected at least two different ones, got {x.tolist()}")
    x, y = np.log(x), np.log(y)
    return float((x - x.mean()) @ (y - y.mean()) / ((x - x.mean()) @ (x - x.mean())))
