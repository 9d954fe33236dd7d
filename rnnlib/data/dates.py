"""Dates as people write them in twelve languages, with the ISO form of the same day.

Source: the package `babel` 2.18.0, which holds the Unicode Common Locale Data Repository (CLDR) and
writes a day by its rules. Licences: BSD with three clauses; Unicode licence for CLDR. Any number of
pairs can be made; nothing is stored. The `short` format is left out: its year has two digits, so
nobody can know the century. In the seven formats kept, no text means two different days.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from typing import NamedTuple

from rnnlib.data.splits import Part, part_of

LANGUAGES = ("cs", "de", "el", "en", "es", "fr", "it", "ja", "pl", "ru", "tr", "zh")
"""Czech, German, Greek, English, Spanish, French, Italian, Japanese, Polish, Russian, Turkish,
Chinese, by their ISO 639 codes."""

FORMATS = ("full", "long", "medium", "yMMMd", "yMMMMd", "yMMMEd", "yMMMMEEEEd")
"""Three named formats of CLDR, and four skeletons: which fields, in the language's own order."""

_INSTALL = "install it with: pip install babel==2.18.0"
_SHA256 = "f870c510c510c23266d389f848a7ff1a51235ed3d89c65495f53148de8b3b2e3"


class WrittenDate(NamedTuple):
    """A day in words and figures, the same day as YYYY-MM-DD, and the language's code."""

    text: str
    iso: str
    language: str


def written_dates(
    count: int,
    seed: int,
    part: Part = "training",
    languages: Sequence[str] = LANGUAGES,
    years: tuple[int, int] = (1950, 2049),
) -> list[WrittenDate]:
    """Draw days, languages and formats evenly, and write each day down.

    The part decides which days may be drawn: 90 % of all days are for training, 5 % for validation
    and 5 % for the test, whatever the seed, language or format (see `part_of`).

    Args:
        count: how many, at least 1; a day may come up twice.
        seed: the same seed gives the same dates.
        part: "training", "validation" or "test".
        languages: codes of `LANGUAGES`.
        years: first and last, both included, from 1000 to 9999.

    Raises:
        ValueError: an argument out of its range.
        ModuleNotFoundError: the package `babel` is not installed.
        RuntimeError: it is installed, but it writes other texts than version 2.18.0.
    """
    if count < 1:
        raise ValueError(f"count: expected 1 or more, got {count}")
    unknown = sorted(set(languages) - set(LANGUAGES))
    if unknown or not languages:
        raise ValueError(f"languages: expected some of {LANGUAGES}, got {unknown or 'none'}")
    if not 1000 <= years[0] <= years[1] <= 9999:
        raise ValueError(f"years: expected first and last of 1000 to 9999, got {years}")
    first = date(years[0], 1, 1)
    all_days = [first + timedelta(n) for n in range((date(years[1], 12, 31) - first).days + 1)]
    days = [day for day in all_days if part_of(day.isoformat()) == part]
    if not days:
        raise ValueError(f"part: expected training, validation or test, got {part!r}")
    _check_texts()
    generator = random.Random(seed)
    found = []
    for _ in range(count):
        day, language = generator.choice(days), generator.choice(languages)
        text = _write(day, generator.choice(FORMATS), language)
        found.append(WrittenDate(text, day.isoformat(), language))
    return found


def _write(day: date, format_name: str, language: str) -> str:
    from babel.dates import format_date, format_skeleton  # here: few chapters need it

    if format_name in ("full", "long", "medium"):
        return format_date(day, format_name, locale=language)
    return format_skeleton(format_name, day, locale=language)


@cache
def _check_texts() -> None:
    """Refuse a babel that writes months, days or formats in another way."""
    try:
        # Every month and every weekday comes up.
        days = [date(2001, 1, 1) + timedelta(13 * n) for n in range(28)]
        texts = [_write(d, f, language) for language in LANGUAGES for f in FORMATS for d in days]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the package babel is missing; {_INSTALL}", name="babel"
        ) from error
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    if digest != _SHA256:
        raise RuntimeError(
            f"the package babel writes dates in another way than version 2.18.0 "
            f"(sha256 {digest[:8]}…, expected {_SHA256[:8]}…); {_INSTALL}"
        )
