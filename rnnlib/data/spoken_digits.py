"""Spoken digits: one real recording of each, zero to nine, in English.

Source: the package `captcha` 0.7.1, files `data/0/default.wav` to `data/9/default.wav`: 8,000
samples a second, 8 bits, 0.2 to 0.4 seconds each. Licence: BSD with three clauses.
"""

from __future__ import annotations

import io
import wave

import numpy as np
from numpy.typing import NDArray

from rnnlib.data.packages import PackagedFiles

RATE = 8000
"""Samples a second."""

FILES = PackagedFiles(
    package="captcha",
    requirement="captcha==0.7.1",
    pattern="data/[0-9]/default.wav",
    sha256="6616cfd0049ade61f797ba0ed1f7813738890dd6de2a154e0fe7d1a57d077611",
)


def spoken_digits() -> tuple[NDArray[np.float64], ...]:
    """Read the recordings: at place d the digit d, samples from −1 to 1, shape (N_d,).

    Raises:
        ModuleNotFoundError: the package `captcha` is not installed.
        RuntimeError: it is installed, but its recordings are not those of version 0.7.1.
    """
    return tuple(_samples(content) for content in FILES.read().values())


def _samples(content: bytes) -> NDArray[np.float64]:
    with wave.open(io.BytesIO(content)) as recording:
        levels = np.frombuffer(recording.readframes(recording.getnframes()), dtype=np.uint8)
    return (levels.astype(np.float64) - 128) / 128  # 8-bit WAV counts from 0, silence is 128
