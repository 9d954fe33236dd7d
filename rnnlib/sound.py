"""Sound in a page: notes as samples, and a player for samples that needs no file and no network."""

from __future__ import annotations

import base64
import html
import io
import itertools
import wave
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 8000
"""Samples a second: enough for a voice or a melody, and small inside a page."""

_OVERTONES = ((1, 1.0), (2, 0.45), (3, 0.2), (4, 0.08))  # multiple of the frequency, loudness
_ATTACK, _RELEASE, _DECAY = 0.01, 0.03, 0.6  # seconds; a jump of the samples would be a click


@dataclass(frozen=True)
class Player:
    """A sound that a notebook shows as a player, and a terminal as one line of text.

    Attributes:
        wav: the file, 16-bit WAV with one channel.
        seconds: how long it lasts.
        says: what is to be heard, in words.
    """

    wav: bytes
    seconds: float
    says: str

    def __repr__(self) -> str:
        return f"{self.seconds:.1f} s of sound: {self.says}"

    def _repr_html_(self) -> str:
        says, data = html.escape(self.says), base64.b64encode(self.wav).decode()
        return (
            f'<figure class="sound"><audio controls aria-label="{says}" style="max-width: 100%" '
            f'src="data:audio/wav;base64,{data}"></audio>'
            f"<figcaption>{says} ({self.seconds:.1f} s)</figcaption></figure>"
        )


def player(samples: Sequence[float] | NDArray[np.floating], rate: int, says: str) -> Player:
    """Make a player for one channel of sound.

    One second at a rate of 8000 adds 21 KB to the page.

    Args:
        samples: numbers from −1 to 1, shape (N,).
        rate: samples a second.
        says: what is to be heard, for those who cannot hear it; shown below the player.

    Raises:
        ValueError: samples of another shape, none, not finite or outside −1 to 1; a rate below 1;
            no words.
    """
    levels = np.asarray(samples, dtype=np.float64)
    if levels.ndim != 1 or not len(levels):
        raise ValueError(f"samples: expected shape (N,) with N ≥ 1, got {levels.shape}")
    if not np.abs(levels).max() <= 1:  # also where one is not a number
        raise ValueError("samples: expected finite numbers from -1 to 1, got others")
    if rate < 1:
        raise ValueError(f"rate: expected 1 or more samples a second, got {rate}")
    if not says.strip():
        raise ValueError("says: expected words for what is to be heard, got none")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(levels * 32767).astype("<i2").tobytes())
    return Player(buffer.getvalue(), len(levels) / rate, says)


def tone_sequence(
    pitches: Sequence[int | None],
    durations: Sequence[float],
    tempo: float = 90.0,
    rate: int = RATE,
) -> NDArray[np.float64]:
    """Play notes one after the other, each a soft tone with three overtones that dies away.

    A note of MIDI number p has the frequency 440 · 2^((p − 69) / 12) Hz; overtones that the rate
    cannot carry (above half of it) are left out.

    Args:
        pitches: MIDI numbers (60 is middle C, 69 the A of 440 Hz); None is a rest.
        durations: as many, in quarter notes.
        tempo: quarter notes a minute.
        rate: samples a second.

    Returns:
        Samples from −1 to 1, shape (N,), float64.

    Raises:
        ValueError: no note, another number of durations than of pitches, or a pitch, duration,
            tempo or rate out of its range.
    """
    if not len(pitches) or len(pitches) != len(durations):
        raise ValueError(
            "pitches and durations: expected the same number, at least 1, "
            f"got {len(pitches)} and {len(durations)}"
        )
    if not all(pitch is None or 0 <= pitch <= 127 for pitch in pitches):
        raise ValueError(f"pitches: expected 0 to 127 or None, got {list(pitches)}")
    if not all(0 < number < float("inf") for number in (*durations, tempo, rate)):
        raise ValueError(
            "durations, tempo and rate: expected finite numbers above 0, "
            f"got {list(durations)}, {tempo} and {rate}"
        )
    # Rounded ends, not rounded lengths: the rounding does not add up.
    ends = [round(quarters * 60 / tempo * rate) for quarters in itertools.accumulate(durations)]
    samples = np.zeros(ends[-1])
    for pitch, start, end in zip(pitches, [0, *ends], ends, strict=False):
        if pitch is not None:
            samples[start:end] = _tone(pitch, end - start, rate)
    return samples


def _tone(pitch: int, count: int, rate: int) -> NDArray[np.float64]:
    frequency, seconds = 440 * 2 ** ((pitch - 69) / 12), np.arange(count) / rate
    heard = [(n * frequency, loud) for n, loud in _OVERTONES if n * frequency < rate / 2]
    waves = np.zeros(count)
    for hertz, loud in heard:
        waves += loud * np.sin(2 * np.pi * hertz * seconds)
    rise = np.minimum(1, seconds / _ATTACK)
    fall = np.minimum(1, (count / rate - seconds) / _RELEASE)
    loudest = sum(loud for _, loud in _OVERTONES)
    return waves / loudest * np.exp(-seconds / _DECAY) * rise * fall
