"""Spoken digits: ten different recordings, and what is said when they are not there."""

from __future__ import annotations

import importlib.util
import io
import wave

import numpy as np
import pytest

from rnnlib.data.spoken_digits import FILES, RATE, spoken_digits


def test_there_are_ten_recordings_of_a_plausible_length() -> None:
    digits = spoken_digits()
    lengths = [2747, 1974, 1947, 2280, 2287, 2630, 2383, 2745, 1807, 2341]
    assert [len(digit) for digit in digits] == lengths
    for digit in digits:
        assert digit.dtype == np.float64 and 0.3 < np.abs(digit).max() <= 1
        assert abs(digit.mean()) < 0.02  # silence is 0, not 128
        assert 0.2 < len(digit) / RATE < 0.4


def test_the_samples_are_those_of_the_file() -> None:
    with wave.open(io.BytesIO(FILES.read()["data/7/default.wav"])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 1)
        content = file.readframes(file.getnframes())
    assert (spoken_digits()[7] * 128 + 128).tolist() == list(content)


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install captcha==0\.7\.1"):
        spoken_digits()
