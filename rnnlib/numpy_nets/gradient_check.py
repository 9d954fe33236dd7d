"""Central differences: the slow, independent way to compute a gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def central_differences(loss: Callable[[], float], array: Array, step: float = 1e-5) -> Array:
    """Estimate the gradient of `loss` for every entry of `array`.

    Each entry is moved up and down by `step` in place, and restored:
    (L(θ + ε) - L(θ - ε)) / 2ε, with an error of order ε².

    Args:
        loss: computes the loss from the current content of `array`.
        array: float64 array that `loss` reads, of any shape.
        step: the ε above.

    Returns:
        The estimated gradient, in the shape of `array`.

    Raises:
        TypeError: `array` is not float64; in float32 the differences drown in rounding.
    """
    if not isinstance(array, np.ndarray) or array.dtype != np.float64:
        raise TypeError(
            f"array: expected a float64 array, got {getattr(array, 'dtype', type(array))}"
        )
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = loss()
        array[index] = kept - step
        below = loss()
        array[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient


def relative_error(measured: Array, reference: Array) -> float:
    """Return the largest difference divided by the largest entry of either array.

    One scale for the whole array: an entry that is zero by chance does not blow up the figure.
    """
    measured, reference = np.asarray(measured), np.asarray(reference)
    if measured.shape != reference.shape:
        raise ValueError(f"measured: expected shape {reference.shape}, got {measured.shape}")
    scale = max(np.abs(measured).max(), np.abs(reference).max())
    return float(np.abs(measured - reference).max() / scale) if scale > 0 else 0.0
