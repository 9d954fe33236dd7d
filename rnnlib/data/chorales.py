"""Chorale melodies: the soprano lines of four-part settings by Johann Sebastian Bach.

Source: the corpus inside the package `music21` 10.5.1, files `corpus/bach/*.mxl` (compressed
MusicXML): 408 scores, of which 364 have exactly four parts, soprano, alto, tenor and bass. Their
soprano lines hold 18,518 notes after tied notes are joined; three grace notes are left out.
Licence: the compositions are in the public domain; the encodings have mixed terms ("some may not be
used for commercial uses"). So the book depends on the package, copies none of its files, and plays
and shows short, cited fragments only.

The files are read directly, with `zipfile` and `xml.etree`: some seconds for all of them, where
music21's own parser needs about a minute; both find the same notes. Repeats are not played twice.
Several settings share one hymn tune, so parts split by name have tunes in common.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from rnnlib.data.packages import PackagedFiles

FILES = PackagedFiles(
    package="music21",
    requirement="music21==10.5.1",
    pattern="corpus/bach/*.mxl",
    sha256="d9e7c3fb4edf935569c9630e1dcc9a1942c993c4d35c84fbcdc2344faa0abe72",
)

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Note(NamedTuple):
    """One note or rest.

    Attributes:
        pitch: MIDI number (60 is middle C, 61 the semitone above), None for a rest.
        duration: in quarter notes.
    """

    pitch: int | None
    duration: float


@dataclass(frozen=True)
class Chorale:
    """The soprano line of one setting.

    Attributes:
        name: the file's name without its ending: the number in the catalogue of Bach's works.
        notes: in the order of time.
        sharps: of the key signature; negative for flats.
        mode: "major" or "minor" as the file says, None where it does not.
    """

    name: str
    notes: tuple[Note, ...]
    sharps: int
    mode: str | None


def chorale(name: str) -> Chorale:
    """Read the soprano line of one setting, such as `"bwv66.6"` (a fraction of a second).

    Raises:
        ValueError: no file of that name, or its score has not exactly four parts.
        ModuleNotFoundError: the package `music21` is not installed.
        RuntimeError: it is installed, but its files are not those of version 10.5.1.
    """
    file, files = f"corpus/bach/{name}.mxl", FILES.read()
    if file not in files:
        raise ValueError(f"name: expected one like 'bwv66.6', no file has the name {name!r}")
    found = _read(name, files[file])
    if found is None:
        raise ValueError(f"name: the score of {name!r} has not exactly four parts")
    return found


@cache
def chorales() -> tuple[Chorale, ...]:
    """Read the soprano lines of all settings in four parts, in the order of their files' names.

    The first call takes seconds; a later one in the same process costs nothing.

    Raises:
        ModuleNotFoundError: the package `music21` is not installed.
        RuntimeError: it is installed, but its files are not those of version 10.5.1.
    """
    read = (_read(Path(file).stem, content) for file, content in FILES.read().items())
    return tuple(one for one in read if one is not None)


def _read(name: str, content: bytes) -> Chorale | None:
    """Read a file's first part, or return None where there are not four."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        score = archive.read(next(container.iter("rootfile")).attrib["full-path"])
    parts = ElementTree.fromstring(score).findall("part")
    if len(parts) != 4:
        return None
    soprano = parts[0]
    return Chorale(
        name,
        tuple(_notes(soprano)),
        int(soprano.findtext(".//key/fifths", "0")),
        soprano.findtext(".//key/mode"),
    )


def _notes(part: Element) -> Iterator[Note]:
    """Go through a part that has one voice and no chords: these have neither."""
    divisions = int(part.findtext(".//divisions", "1"))  # of a quarter note
    held: Note | None = None  # a note whose tie goes on
    for element in part.iter("note"):
        if element.find("grace") is not None:
            continue  # it takes no time of its own
        note = Note(_pitch(element), int(element.findtext("duration", "0")) / divisions)
        ties = {tie.get("type") for tie in element.findall("tie")}
        if held is not None and "stop" in ties:
            note = Note(held.pitch, held.duration + note.duration)
        held = note if "start" in ties else None
        if held is None:
            yield note


def _pitch(note: Element) -> int | None:
    step = note.findtext("pitch/step")
    if step is None:
        return None
    octave, alter = note.findtext("pitch/octave", "4"), note.findtext("pitch/alter", "0")
    return 12 * (int(octave) + 1) + _SEMITONES[step] + int(alter)
