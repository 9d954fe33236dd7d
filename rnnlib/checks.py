"""Refuse wrong input at the door: each message names the argument, what came, what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Size = int | str
"""A size that is required, or the letter of one that is free."""


class InputError(ValueError, RuntimeError):
    """An argument has a wrong value, shape, dtype or device.

    It is both a ValueError and a RuntimeError, because `torch.nn` raises sometimes the one and
    sometimes the other for such mistakes, and programs that catch either keep working.
    """


def choice(name: str, value: object, allowed: Sequence[str]) -> str:
    """Return `value` if it is one of `allowed`, else raise InputError."""
    if isinstance(value, str) and value in allowed:
        return value
    raise InputError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")


def positive_integer(name: str, value: object) -> int:
    """Return `value` if it is a whole number of at least 1.

    Raises:
        TypeError: if it is no integer (True and False are none).
        InputError: if it is less than 1.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or isinstance(value, Tensor):
        raise TypeError(f"{name} must be an integer; got {value!r} of type {_kind(value)}")
    number = int(value.__index__())
    if number < 1:
        raise InputError(f"{name} must be at least 1; got {number}")
    return number


def tensor(
    name: str, value: object, shape: Sequence[Size], *, like: Tensor | None = None
) -> Tensor:
    """Return `value` if it is a tensor of the given shape and of the kind of `like`.

    Args:
        name: what the caller calls it.
        value: what was given.
        shape: one entry a dimension; a number is required, a letter such as "T" is free.
        like: a tensor, such as a weight, whose dtype and device are expected.

    Raises:
        TypeError: if it is no tensor.
        InputError: if its shape, dtype or device differs.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor; got {_kind(value)}")
    came = value.shape
    fits = len(shape) == len(came)
    for expected, size in zip(shape, came, strict=False):
        fits = fits and (expected == size or isinstance(expected, str))
    if not fits:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise InputError(f"{name} must have shape ({wanted}); got {tuple(came)}")
    if like is not None:
        same_kind(name, value, like)
    return value


def same_kind(name: str, value: Tensor, like: Tensor) -> None:
    """Raise InputError unless `value` has the dtype and the device of `like`, a weight."""
    if value.device != like.device:
        raise InputError(f"{name} is on {value.device}, but the weights are on {like.device}")
    if value.dtype != like.dtype:
        raise InputError(
            f"{name} has dtype {value.dtype}, but the weights have {like.dtype}: "
            f"convert it with .to({like.dtype}), or the model with .to({value.dtype})"
        )


def pair(name: str, value: object) -> tuple[Any, Any]:
    """Return the two members of an LSTM's state (h, c).

    Raises:
        TypeError: if it is no tuple or list.
        InputError: if it does not have two members.
    """
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name} of an LSTM must be a pair of tensors (h, c); got {_kind(value)}")
    if len(value) != 2:
        raise InputError(f"{name} of an LSTM must be a pair (h, c); got {len(value)} members")
    return value[0], value[1]


def lengths(value: object, batch: int, steps: int) -> Tensor:
    """Return the lengths of the sequences in a padded batch as int64 on the CPU, shape (B,).

    Args:
        value: a tensor or list of B whole numbers, each from 1 to `steps`.
        batch: B, how many sequences the batch holds.
        steps: T, how many time steps the padded batch has.

    Raises:
        TypeError: if it is no tensor or list, or its entries are no integers.
        InputError: if there are not B of them, or one is below 1 or above `steps`.
    """
    try:
        given = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"lengths must be a tensor or list of integers; got {_kind(value)}"
        ) from error
    if given.dtype == torch.bool or given.is_floating_point() or given.is_complex():
        raise TypeError(f"lengths must be integers; got {given.dtype}")
    if given.shape != (batch,):
        raise InputError(
            f"lengths must have shape ({batch},), one for each sequence; got {tuple(given.shape)}"
        )
    given = given.detach().to("cpu", torch.int64)
    wrong = ((given < 1) | (given > steps)).nonzero().flatten().tolist()
    if wrong:
        raise InputError(
            f"lengths must be from 1 to {steps}, the number of time steps; "
            f"lengths[{wrong[0]}] is {int(given[wrong[0]])}"
        )
    return given


def not_empty(name: str, value: Tensor, dimension: int) -> None:
    """Raise InputError if `value` has no time step along `dimension`."""
    if value.shape[dimension] == 0:
        raise InputError(
            f"{name} must hold at least one time step; got shape {tuple(value.shape)}, "
            f"where dimension {dimension} is time"
        )


def _kind(value: Any) -> str:
    return type(value).__name__
