"""How wrong a predicted sequence is: edits, phone error rate, word error rate.

Thin over the package rapidfuzz, which counts the edits. The conventions are those of the papers on
spelling to pronunciation (Bisani and Ney 2008): a word may have several listed pronunciations, and
the one closest to the prediction counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from rapidfuzz.distance import Levenshtein

Sequences = Sequence[Sequence[Hashable]]


def edit_distance(predicted: Sequence[Hashable], reference: Sequence[Hashable]) -> int:
    """Return the fewest insertions, deletions and substitutions that turn one into the other."""
    return Levenshtein.distance(predicted, reference)


def phone_error_rate(predicted: Sequences, references: Sequence[Sequences]) -> float:
    """Return edits / phones: all edits over all phones of the references they were counted to.

    It can be above 1. Of two listed pronunciations that are equally close, the first one counts.

    Args:
        predicted: one pronunciation for each word.
        references: for each word its listed pronunciations, one or more.

    Raises:
        ValueError: no words, not as many of both, or a word that has no reference with a phone.
    """
    _check_pairs(predicted, references)
    edits = phones = 0
    for said, listed in zip(predicted, references, strict=True):
        distance, length = min(
            ((edit_distance(said, way), len(way)) for way in listed), key=lambda pair: pair[0]
        )
        edits, phones = edits + distance, phones + length
    return edits / phones


def word_error_rate(predicted: Sequences, references: Sequence[Sequences]) -> float:
    """Return the share of words whose prediction equals none of their listed pronunciations.

    Arguments and errors as for `phone_error_rate`.
    """
    _check_pairs(predicted, references)
    wrong = sum(
        all(tuple(said) != tuple(way) for way in listed)
        for said, listed in zip(predicted, references, strict=True)
    )
    return wrong / len(predicted)


def _check_pairs(predicted: Sequences, references: Sequence[Sequences]) -> None:
    if len(predicted) != len(references) or not predicted:
        raise ValueError(
            "predicted and references: expected as many of both, one or more; "
            f"got {len(predicted)} and {len(references)}"
        )
    for place, listed in enumerate(references):
        if isinstance(listed, str) or not listed or not all(listed):
            raise ValueError(
                "references: expected a list of pronunciations for each word, none empty; "
                f"number {place} is {listed!r}"
            )
