"""Hold a printed formula against an independent computation of the same quantity."""

from __future__ import annotations

from typing import Any

import numpy as np


class FormulaError(AssertionError):
    """A formula and the independent computation disagree."""


class Agreement:
    """The outcome of a check that succeeded; shown in the page, the same on every machine."""

    def __init__(self, label: str, against: str, tolerance: float) -> None:
        self.label, self.against, self.tolerance = label, against, tolerance

    def __repr__(self) -> str:
        if self.tolerance == 0:
            return f"{self.label}: agrees with {self.against} exactly"
        return f"{self.label}: agrees with {self.against} (difference below {self.tolerance:g})"


def check_formula(
    label: str, formula: Any, independent: Any, against: str, tolerance: float = 1e-10
) -> Agreement:
    """Compare a formula's values with values that were computed in another way.

    Args:
        label: the label of the displayed equation, for example "eq-bptt-delta".
        formula: what the formula gives: a number, an array, or a list of arrays.
        independent: the same from elsewhere. One side may be a list of rows, one for each step,
            where the other is an array that has them all.
        against: where the independent values come from, in words.
        tolerance: the largest difference allowed, relative to the largest value, or absolute
            where all values are below one.

    Returns:
        An object that says what was compared and how closely it agreed.

    Raises:
        FormulaError: shapes differ, a value is not finite, all values are zero (such a
            comparison would hold for wrong formulas as well), or the difference is too large.
    """
    ours, theirs = _parts(formula), _parts(independent)
    if len(ours) != len(theirs) and 1 in (len(ours), len(theirs)):
        ours, theirs = (p if len(p) == 1 else [np.stack(p)] for p in (ours, theirs))
    if [part.shape for part in ours] != [part.shape for part in theirs]:
        raise FormulaError(
            f"{label}: shapes {[p.shape for p in ours]} against {[p.shape for p in theirs]}"
        )
    if not any(part.any() for part in theirs):
        raise FormulaError(f"{label}: all values are zero, so the comparison says nothing")
    for a, b in zip(ours, theirs, strict=True):
        difference, scale = np.abs(a - b).max(), max(1.0, np.abs(b).max())
        if not difference <= tolerance * scale:
            raise FormulaError(
                f"{label}: differs from {against} by {difference:.3g}, "
                f"allowed {tolerance * scale:g}"
            )
    return Agreement(label, against, tolerance)


def _parts(values: Any) -> list[np.ndarray]:
    items = values if isinstance(values, list | tuple) else [values]
    return [np.asarray(v.detach() if hasattr(v, "detach") else v, dtype=np.float64) for v in items]
