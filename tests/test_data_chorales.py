"""Chorales: counts, one melody note by note, the same notes as music21's own parser finds."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from types import SimpleNamespace

import pytest

from rnnlib.data import chorales as room
from rnnlib.data.chorales import Chorale, Note, chorale, chorales


@pytest.fixture(scope="module")
def every_one() -> tuple[Chorale, ...]:
    return chorales()


def score(*notes: str, parts: int = 4, mode: str = "<mode>minor</mode>") -> bytes:
    """A compressed MusicXML file with two divisions of a quarter note and two flats."""
    attributes = f"<divisions>2</divisions><key><fifths>-2</fifths>{mode}</key>"
    first = f"<measure><attributes>{attributes}</attributes>{''.join(notes)}</measure>"
    others = "<part><measure/></part>" * (parts - 1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("META-INF/container.xml", '<c><rootfile full-path="any.xml"/></c>')
        archive.writestr("any.xml", f"<s><part>{first}</part>{others}</s>")
    return buffer.getvalue()


def note(step: str, duration: int, *ties: str, alter: int | None = None, octave: int = 4) -> str:
    change = "" if alter is None else f"<alter>{alter}</alter>"
    tied = "".join(f'<tie type="{tie}"/>' for tie in ties)
    pitch = f"<pitch><step>{step}</step>{change}<octave>{octave}</octave></pitch>"
    return f"<note>{pitch}<duration>{duration}</duration>{tied}</note>"


def test_the_corpus_is_what_the_book_says(every_one: tuple[Chorale, ...]) -> None:
    assert len(every_one) == len({one.name for one in every_one}) == 364
    notes = [n for one in every_one for n in one.notes]
    assert sum(n.pitch is not None for n in notes) == 18_518
    assert sum(n.pitch is None for n in notes) == 186
    assert all(n.pitch is None or 55 <= n.pitch <= 84 for n in notes)
    assert min(n.duration for n in notes) == 0.125 and max(n.duration for n in notes) == 16
    assert [one.name for one in every_one if one.mode is None] == ["bwv62.6"]


def test_one_melody_note_by_note(every_one: tuple[Chorale, ...]) -> None:
    found = chorale("bwv66.6")
    assert found in every_one and (found.sharps, found.mode) == (3, "minor")
    assert found.notes[:6] == (
        Note(73, 0.5),
        Note(71, 0.5),
        Note(69, 1.0),
        Note(71, 1.0),
        Note(73, 1.0),
        Note(76, 1.0),
    )
    assert Note(66, 2.0) in found.notes[-5:]  # the tie over the last bar line
    assert sum(n.duration for n in found.notes) == 36  # nine bars of four quarters


@pytest.mark.parametrize("name", ["bwv66.6", "bwv299", "bwv62.6", "bwv113.8"])
def test_music21_finds_the_same_notes(name: str) -> None:
    from music21 import converter  # heavy: only here

    path = room.FILES._folder() / "corpus" / "bach" / f"{name}.mxl"
    soprano = converter.parse(path, forceSource=True, storePickle=False).parts[0].stripTies()
    theirs = [
        Note(None if n.isRest else n.pitch.midi, float(n.quarterLength))
        for n in soprano.flatten().notesAndRests
        if not n.duration.isGrace
    ]
    assert list(chorale(name).notes) == theirs


def test_pitches_rests_ties_and_grace_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    grace = "<note><grace/><pitch><step>D</step><octave>5</octave></pitch></note>"
    content = score(
        note("C", 2),
        note("B", 1, alter=-1),
        "<note><rest/><duration>3</duration></note>",
        grace,
        note("F", 2, "start", alter=1, octave=5),
        note("F", 4, "stop", "start", alter=1, octave=5),
        note("F", 1, "stop", alter=1, octave=5),
        note("G", 8, alter=0),
    )
    files = {"corpus/bach/a.mxl": content, "corpus/bach/b.mxl": score(note("C", 2), parts=5)}
    monkeypatch.setattr(room, "FILES", SimpleNamespace(read=lambda: files))
    expected = (Note(60, 1), Note(70, 0.5), Note(None, 1.5), Note(78, 3.5), Note(67, 4))
    assert chorale("a") == Chorale("a", expected, -2, "minor")
    with pytest.raises(ValueError, match="name: the score of 'b' has not exactly four parts"):
        chorale("b")
    with pytest.raises(ValueError, match="no file has the name 'c'"):
        chorale("c")


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install music21==10\.5\.1"):
        chorale("bwv66.6")
