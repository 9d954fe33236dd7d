"""Blood glucose: one person's readings, one every five minutes, in unbroken segments.

Source: the package `bokeh-sampledata` 2026.1, file `_data/CGM.csv.gz`: 52,281 readings of a
continuous glucose monitor from 24 March to 10 October 2010, whole mg/dL between 40 and 400.
Licence: public domain; a person who is not named gave the readings to the package's maintainers.

Times are whole minutes. A reading continues a segment when it comes exactly five minutes after that
segment's last one, which gives 196 segments; the file does not say why there are gaps. From the
evening of 28 May, for 16 hours, the file holds two readings of every moment, one minute apart and
slightly different; by the rule they belong to two segments.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rnnlib.data.packages import PackagedFiles

STEP = timedelta(minutes=5)
"""The time between two readings of a segment."""

FILES = PackagedFiles(
    package="bokeh_sampledata",
    requirement="bokeh-sampledata==2026.1",
    pattern="_data/CGM.csv.gz",
    sha256="5593accea0acd62f9fbb781687c2bba0c765a2f93be38efe27efbd5b6607dc82",
)

Readings = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GlucoseSegment:
    """Readings without a gap.

    Attributes:
        start: date and time of the first reading, on the device's own clock.
        values: mg/dL, shape (N,), float64, one every five minutes.
    """

    start: datetime
    values: Readings

    @property
    def end(self) -> datetime:
        """Date and time of the last reading."""
        return self.start + (len(self.values) - 1) * STEP

    @property
    def hours(self) -> Readings:
        """Hours since the first reading, shape (N,): the axis to draw the values over."""
        return np.arange(len(self.values), dtype=np.float64) * (STEP / timedelta(hours=1))


@dataclass(frozen=True)
class GlucoseSplit:
    """Three parts of a recording, in the order of time and with no segment in two of them."""

    training: tuple[GlucoseSegment, ...]
    validation: tuple[GlucoseSegment, ...]
    test: tuple[GlucoseSegment, ...]


def glucose_segments() -> tuple[GlucoseSegment, ...]:
    """Read all segments, in the order of their first readings.

    Raises:
        ModuleNotFoundError: the package `bokeh-sampledata` is not installed.
        RuntimeError: it is installed, but its readings are not those of version 2026.1.
    """
    (content,) = FILES.read().values()
    segments: list[tuple[datetime, list[float]]] = []
    awaited: dict[datetime, list[float]] = {}  # what continues at this moment
    for row in csv.DictReader(io.StringIO(gzip.decompress(content).decode())):
        time = datetime.fromisoformat(row["datetime"])
        values = awaited.pop(time, None)
        if values is None:
            values = []
            segments.append((time, values))
        values.append(float(row["glucose"]))
        awaited[time + STEP] = values
    return tuple(GlucoseSegment(start, np.array(values)) for start, values in segments)


def split_by_time(
    segments: Sequence[GlucoseSegment], validation: float = 0.1, test: float = 0.2
) -> GlucoseSplit:
    """Give the last readings to the test, those before to validation, the first to training.

    No segment is cut: a part begins at the border between two segments that lies nearest to its
    share of the readings.

    Args:
        segments: in the order of time.
        validation: its share of all readings, above 0.
        test: its share of all readings, above 0; both together below 1.

    Raises:
        ValueError: segments out of order, a share out of its range, or a part without a segment.
    """
    if min(validation, test) <= 0 or validation + test >= 1:
        raise ValueError(
            "validation and test: expected shares above 0 with a sum below 1, "
            f"got {validation} and {test}"
        )
    starts = [segment.start for segment in segments]
    if starts != sorted(starts):
        raise ValueError("segments: expected the order of time, got an earlier start after a later")
    read = np.cumsum([0] + [len(segment.values) for segment in segments]) / max(
        1, sum(len(segment.values) for segment in segments)
    )
    first, second = (
        int(np.abs(read - share).argmin()) for share in (1 - validation - test, 1 - test)
    )
    parts = tuple(segments[:first]), tuple(segments[first:second]), tuple(segments[second:])
    if not all(parts):
        raise ValueError(f"segments: {len(segments)} are too few for these three shares")
    return GlucoseSplit(*parts)


def glucose_windows(
    segments: Sequence[GlucoseSegment], length: int, horizon: int
) -> tuple[Readings, Readings]:
    """Cut every run of `length` readings and the `horizon` readings that follow it.

    Windows overlap, and none crosses a gap: a segment shorter than length + horizon gives none.

    Returns:
        inputs (N, length) and targets (N, horizon), mg/dL, both copies.

    Raises:
        ValueError: a length or horizon below 1, or no segment is long enough.
    """
    for name, size in (("length", length), ("horizon", horizon)):
        if size < 1:
            raise ValueError(f"{name}: expected 1 or more, got {size}")
    long = [segment.values for segment in segments if len(segment.values) >= length + horizon]
    if not long:
        raise ValueError(
            f"segments: expected one of at least {length + horizon} readings, got none"
        )
    windows = np.concatenate([sliding_window_view(values, length + horizon) for values in long])
    return windows[:, :length].copy(), windows[:, length:].copy()
