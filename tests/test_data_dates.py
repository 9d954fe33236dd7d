"""Dates: what one day looks like, that no text has two meanings, seeds and parts."""

from __future__ import annotations

import sys
from datetime import date, timedelta

import pytest

from rnnlib.data import dates
from rnnlib.data.dates import FORMATS, LANGUAGES, written_dates


def test_one_day_in_three_languages() -> None:
    day = date(1992, 11, 30)
    assert dates._write(day, "full", "en") == "Monday, November 30, 1992"
    assert dates._write(day, "yMMMEd", "fr") == "lun. 30 nov. 1992"
    assert dates._write(day, "medium", "ja") == "1992/11/30"


def test_every_text_means_one_day() -> None:
    """Every day of two years, in every language and format: 61,404 texts at most."""
    first, meaning = date(1999, 1, 1), dict[str, date]()
    for number in range(731):
        day = first + timedelta(number)
        for language in LANGUAGES:
            for name in FORMATS:
                text = dates._write(day, name, language)
                assert meaning.setdefault(text, day) == day, text
                assert str(day.year) in text
    assert len(meaning) > 20_000


def test_the_seed_decides() -> None:
    drawn = written_dates(200, seed=1)
    assert drawn == written_dates(200, seed=1) != written_dates(200, seed=2)
    assert drawn[:50] == written_dates(50, seed=1)
    assert {one.language for one in drawn} == set(LANGUAGES)
    assert all("1950-01-01" <= one.iso <= "2049-12-31" for one in drawn)


def test_no_day_is_in_two_parts() -> None:
    days = {
        part: {one.iso for one in written_dates(3000, 0, part)}
        for part in ("training", "validation", "test")
    }
    assert not days["training"] & days["validation"]
    assert not days["training"] & days["test"]
    assert not days["validation"] & days["test"]
    assert len(days["training"]) > 2500 and len(days["test"]) > 1000


def test_a_choice_of_languages_and_years() -> None:
    drawn = written_dates(50, 0, languages=("de",), years=(1789, 1789))
    assert {one.language for one in drawn} == {"de"}
    assert all(one.iso.startswith("1789-") for one in drawn)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"count": 0}, "count"),
        ({"languages": ("en", "xx")}, r"languages: .*xx"),
        ({"languages": ()}, "languages"),
        ({"years": (2000, 1999)}, "years"),
        ({"years": (999, 1999)}, "years"),
        ({"years": (1999, 10_000)}, "years"),
        ({"part": "train"}, r"part: .*'train'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}"):
        written_dates(**{"count": 5, "seed": 0, **arguments})


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    dates._check_texts.cache_clear()
    monkeypatch.setitem(sys.modules, "babel.dates", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install babel==2\.18\.0") as error:
        written_dates(1, 0)
    assert error.value.name == "babel"


def test_a_package_that_writes_in_another_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    dates._check_texts.cache_clear()
    write = dates._write

    def changed(day: date, name: str, language: str) -> str:
        return write(day, name, language).replace("Sept.", "Sep.")

    monkeypatch.setattr(dates, "_write", changed)
    with pytest.raises(RuntimeError, match=r"another way than version 2\.18\.0.*pip install babel"):
        written_dates(1, 0)
    dates._check_texts.cache_clear()
