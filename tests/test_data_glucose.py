"""Glucose readings: what the package holds, gaps, the split by time, windows; packaged files."""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import io
import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rnnlib.data import glucose
from rnnlib.data.glucose import (
    FILES,
    STEP,
    GlucoseSegment,
    glucose_segments,
    glucose_windows,
    split_by_time,
)


@pytest.fixture(scope="module")
def segments() -> tuple[GlucoseSegment, ...]:
    return glucose_segments()


def made(*lengths: int) -> list[GlucoseSegment]:
    """Segments whose values tell their place: 100 for the first reading of the second segment."""
    start = datetime(2010, 1, 1)
    return [
        GlucoseSegment(start + number * timedelta(days=1), 100.0 * number + np.arange(length))
        for number, length in enumerate(lengths)
    ]


def test_the_readings_are_what_the_book_says(segments: tuple[GlucoseSegment, ...]) -> None:
    assert len(segments) == 196
    values = np.concatenate([segment.values for segment in segments])
    assert values.dtype == np.float64 and len(values) == 52_281
    assert (values.min(), values.max()) == (40, 400)
    first, last = segments[0], segments[-1]
    assert first.start == datetime(2010, 3, 24, 9, 51)
    assert first.values[:3].tolist() == [258, 260, 258]
    assert last.end == datetime(2010, 10, 10, 23, 57)
    assert first.hours[:2].tolist() == [0, pytest.approx(1 / 12)]
    assert len(first.hours) == len(first.values)


def test_a_segment_has_no_gap_and_two_of_them_do_not_continue(
    segments: tuple[GlucoseSegment, ...],
) -> None:
    """Every reading's time is in the file, and no segment could have gone on in another one."""
    (content,) = FILES.read().values()
    rows = csv.DictReader(io.StringIO(gzip.decompress(content).decode()))
    written = sorted((datetime.fromisoformat(r["datetime"]), float(r["glucose"])) for r in rows)
    ours = [(s.start + i * STEP, v) for s in segments for i, v in enumerate(s.values.tolist())]
    assert sorted(ours) == written
    for before, after in itertools.pairwise(segments):
        assert before.start <= after.start
    assert not {segment.end + STEP for segment in segments} & {s.start for s in segments}


def test_two_readings_of_every_moment_become_two_segments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = ["isig,datetime,glucose"]
    lines += [f"0,2010-05-28 22:{m:02d}:00,{v}" for m, v in ((0, 1), (1, 9), (5, 2), (6, 8))]
    lines += ["0,2010-05-28 22:10:00,3", "0,2010-05-28 22:16:00,4"]
    content = gzip.compress("\n".join(lines).encode())
    monkeypatch.setattr(glucose, "FILES", SimpleNamespace(read=lambda: {"file": content}))
    assert [s.values.tolist() for s in glucose_segments()] == [[1, 2, 3], [9, 8], [4]]


def test_the_split_is_in_the_order_of_time_and_disjoint(
    segments: tuple[GlucoseSegment, ...],
) -> None:
    split = split_by_time(segments)
    assert split.training + split.validation + split.test == segments
    readings = [
        sum(len(s.values) for s in part) for part in (split.training, split.validation, split.test)
    ]
    assert readings == [36_628, 5_306, 10_347]
    assert max(s.end for s in split.training) < split.validation[0].start
    assert max(s.end for s in split.validation) < split.test[0].start


def test_a_split_that_cannot_be_made_is_refused() -> None:
    assert [len(p) for p in vars(split_by_time(made(7, 1, 2))).values()] == [1, 1, 1]
    with pytest.raises(ValueError, match=r"validation and test.*got 0 and 0\.2"):
        split_by_time(made(7, 1, 2), validation=0)
    with pytest.raises(ValueError, match="validation and test"):
        split_by_time(made(7, 1, 2), validation=0.5, test=0.5)
    for too_few in ([], made(10), made(5, 5)):
        with pytest.raises(ValueError, match=r"segments: .* too few"):
            split_by_time(too_few)
    with pytest.raises(ValueError, match="order of time"):
        split_by_time(made(7, 1, 2)[::-1])


def test_windows_stay_inside_their_segment() -> None:
    inputs, targets = glucose_windows(made(5, 2, 4), length=2, horizon=2)
    assert inputs.tolist() == [[0, 1], [1, 2], [200, 201]]
    assert targets.tolist() == [[2, 3], [3, 4], [202, 203]]
    with pytest.raises(ValueError, match="segments: expected one of at least 6 readings"):
        glucose_windows(made(5, 2, 4), length=5, horizon=1)
    with pytest.raises(ValueError, match="length: expected 1 or more, got 0"):
        glucose_windows(made(5), length=0, horizon=1)
    with pytest.raises(ValueError, match="horizon"):
        glucose_windows(made(5), length=1, horizon=-1)


# Packaged files, the code that all such data sets share


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"bokeh_sampledata is missing.*pip install bokeh-sampledata==2026\.1"
    with pytest.raises(ModuleNotFoundError, match=message) as error:
        glucose_segments()
    assert "\n" not in str(error.value) and error.value.name == "bokeh_sampledata"


def test_a_changed_or_absent_file_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = FILES.read()["_data/CGM.csv.gz"]
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    with pytest.raises(RuntimeError, match=r"0 files _data/CGM.*pip install bokeh-sampledata=="):
        glucose_segments()
    (tmp_path / "_data").mkdir()
    file = tmp_path / "_data" / "CGM.csv.gz"
    file.write_bytes(content[:-1] + b"!")
    with pytest.raises(RuntimeError, match=r"1 files _data/CGM.*expected 0?[0-9a-f]+…"):
        glucose_segments()
    file.write_bytes(content)
    assert len(glucose_segments()) == 196


def test_a_renamed_or_added_file_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    (tmp_path / "b.txt").write_bytes(b"2")
    (tmp_path / "a.txt").write_bytes(b"1")
    digest = hashlib.sha256(b"a.txt\x001b.txt\x002").hexdigest()
    files = replace(FILES, pattern="*.txt", sha256=digest)
    assert files.read() == {"a.txt": b"1", "b.txt": b"2"} and next(iter(files.read())) == "a.txt"
    (tmp_path / "c.txt").write_bytes(b"")
    with pytest.raises(RuntimeError, match="3 files"):
        files.read()
    (tmp_path / "c.txt").unlink()
    (tmp_path / "b.txt").rename(tmp_path / "d.txt")
    with pytest.raises(RuntimeError, match="2 files"):
        files.read()
