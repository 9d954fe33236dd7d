"""Sound: the frequency and length of tones, no clicks, and what a player puts into a page."""

from __future__ import annotations

import base64
import io
import re
import wave

import numpy as np
import pytest

from pipeline import references
from rnnlib.sound import RATE, Player, player, tone_sequence


def loudest_hertz(samples: np.ndarray, rate: int) -> float:
    padded = np.fft.rfft(samples, 8 * len(samples))
    return float(np.abs(padded).argmax() * rate / (8 * len(samples)))


def test_a_note_has_its_frequency_and_length() -> None:
    for pitch, hertz in ((69, 440.0), (60, 261.63), (81, 880.0)):
        samples = tone_sequence([pitch], [1], tempo=60)
        assert samples.shape == (RATE,) and samples.dtype == np.float64
        assert loudest_hertz(samples, RATE) == pytest.approx(hertz, abs=1)


def test_notes_follow_each_other_and_rests_are_silent() -> None:
    samples = tone_sequence([69, None, 81], [1, 0.5, 2], tempo=120, rate=4000)
    assert len(samples) == 2000 + 1000 + 4000
    assert not samples[2000:3000].any()
    assert loudest_hertz(samples[:2000], 4000) == pytest.approx(440, abs=1)
    assert loudest_hertz(samples[3000:], 4000) == pytest.approx(880, abs=1)


def test_rounding_does_not_add_up() -> None:
    assert len(tone_sequence([69] * 999, [1 / 3] * 999, tempo=77, rate=100)) == round(
        333 * 60 / 77 * 100
    )


def test_there_is_no_click_and_no_overload() -> None:
    samples = tone_sequence([40, 64, 88, 127], [0.25, 1, 1, 1], tempo=100)
    assert 0.1 < np.abs(samples).max() <= 1
    step = np.abs(np.diff(samples, prepend=0, append=0))
    borders = [round(q * 60 / 100 * RATE) for q in (0, 0.25, 1.25, 2.25, 3.25)]
    assert max(step[border] for border in borders) < 0.02


def test_overtones_above_half_the_rate_are_left_out() -> None:
    """They would be heard as lower, wrong tones."""
    samples = tone_sequence([96], [1], tempo=60, rate=8000)  # 2093 Hz: no overtone fits
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    far = np.abs(np.arange(len(spectrum)) - 2093) > 50
    assert spectrum[far].max() < 0.01 * spectrum.max()
    assert not tone_sequence([127], [1], rate=8000).any()  # 12.5 kHz


def test_a_player_holds_the_samples() -> None:
    samples = np.linspace(-1, 1, 4000)
    made = player(samples, 8000, 'a "rising" <line>')
    html = made._repr_html_()
    assert repr(made) == '0.5 s of sound: a "rising" <line>'
    assert '<audio controls aria-label="a &quot;rising&quot; &lt;line&gt;"' in html
    data = re.search(r'src="data:audio/wav;base64,([^"]+)"', html)
    assert data
    with wave.open(io.BytesIO(base64.b64decode(data[1]))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        levels = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    np.testing.assert_allclose(levels / 32767, samples, atol=1 / 32767)
    five_seconds = player(tone_sequence([69], [5], tempo=60), RATE, "one long tone")
    assert len(five_seconds._repr_html_()) < 110_000


def test_references_hold_a_word_instead_of_the_sound() -> None:
    """A reference stays small, and the last bit of a sample is not compared."""
    quiet, loud = (player([level, 0.0], 8000, "a step")._repr_html_() for level in (0.1, 0.2))
    assert quiet != loud and references.sanitize(quiet) == references.sanitize(loud)
    kept = references.sanitize(quiet)
    assert "base64,SOUND" in kept and 'aria-label="a step"' in kept
    other = player([0.1, 0.0], 8000, "a jump")._repr_html_()
    assert references.sanitize(other) != kept


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([[0.1]], 8000, "x"), "samples"),
        (([], 8000, "x"), "samples"),
        (([0.0, 1.1], 8000, "x"), "samples"),
        (([float("nan")], 8000, "x"), "samples"),
        (([0.1], 0, "x"), "rate"),
        (([0.1], 8000, " "), "says"),
    ],
)
def test_a_player_refuses(arguments: tuple, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        player(*arguments)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([], []), "pitches and durations"),
        (([60, 62], [1]), "pitches and durations"),
        (([128], [1]), "pitches"),
        (([60], [0]), "durations, tempo and rate"),
        (([60, 62], [1, float("nan")]), "durations, tempo and rate"),
        (([60], [1], 0.0), "durations, tempo and rate"),
        (([60], [1], 90.0, 0), "durations, tempo and rate"),
    ],
)
def test_a_tone_sequence_refuses(arguments: tuple, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        tone_sequence(*arguments)


def test_a_player_is_one_line_in_a_terminal() -> None:
    assert str(Player(b"", 2.13, "a melody")) == "2.1 s of sound: a melody"
