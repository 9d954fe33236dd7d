"""Checks on arrays and numbers that the NumPy networks share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def check_shape(name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray:
    """Return `array` if it has exactly this non-empty shape, and raise ValueError otherwise."""
    if np.shape(array) != shape or 0 in shape:
        raise ValueError(
            f"{name}: expected shape {shape} without empty axes, got {np.shape(array)}"
        )
    return array


def check_whole_number(name: str, value: int, at_least: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        raise ValueError(f"{name}: expected a whole number of at least {at_least}, got {value!r}")
