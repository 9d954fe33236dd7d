"""The claims ledger: check a measured value against the interval that was fixed before.

`book/claims.yml` lists what articles and textbooks repeat about recurrent networks. A chapter
settles a claim with one call, the last expression of a cell::

    claims.check("C01", difference=difference)

It raises `ClaimError` when a quantity is missing, unknown, not finite or outside its interval, and
shows the verdict beside the numbers otherwise. The ledger page is generated from these results.
"""

from __future__ import annotations

import html
import math
import numbers
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

KINDS = ("measured", "exact", "cited")
VERDICTS = ("holds", "holds with conditions", "does not hold as said")
CLAIM_MEDIA_TYPE = "application/vnd.rnnlib.claim+json"

_REQUIRED = ("id", "kind", "chapter", "common", "careful", "sources")
_OPTIONAL = ("checks", "verdict", "published", "planned")
_TEXTS = ("id", "kind", "chapter", "common", "careful", "verdict", "published")

Keys = tuple[str, ...]


class ClaimError(ValueError):
    """A claim is unknown, badly written in the ledger, or not supported by what was measured."""


@dataclass(frozen=True)
class Quantity:
    """One number that a claim stands on, and the interval it must lie in (both ends belong to it).

    An infinite end means that there is no bound on that side.
    """

    name: str
    low: float
    high: float
    unit: str
    says: str

    @property
    def expected(self) -> str:
        """Unit and interval in words, for example `unit: nats; expected: between 0.2 and 0.3`."""
        low, high = show_number(self.low), show_number(self.high)
        words = f"between {low} and {high}"
        if self.low == self.high:
            words = f"exactly {low}"
        elif math.isinf(self.high):
            words = f"at least {low}"
        elif math.isinf(self.low):
            words = f"at most {high}"
        return f"unit: {self.unit}; expected: {words}" if self.unit else f"expected: {words}"


@dataclass(frozen=True)
class Claim:
    """One entry of `book/claims.yml`."""

    id: str
    kind: str
    chapter: str
    common: str
    careful: str
    sources: tuple[str, ...]
    checks: Mapping[str, Quantity] = field(default_factory=dict)
    verdict: str | None = None
    published: str | None = None
    planned: bool = False  # the intervals and the verdict are expectations, not frozen yet

    def __repr__(self) -> str:
        return (
            f"{self.id}: {'cited, not measured' if self.kind == 'cited' else 'not measured here'}"
        )

    def _repr_html_(self) -> str:
        return _box(self, None)


@dataclass(frozen=True)
class ClaimResult:
    """A claim whose measured values all lie in their intervals."""

    claim: Claim
    values: Mapping[str, float]

    def __repr__(self) -> str:
        return f"{self.claim.id}: {self.claim.verdict}"

    def _repr_html_(self) -> str:
        return _box(self.claim, self.values)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            "text/plain": repr(self),
            "text/html": self._repr_html_(),
            CLAIM_MEDIA_TYPE: self.to_json(),
        }

    def to_json(self) -> dict[str, Any]:
        """Return what the ledger needs: id, kind, verdict, and every value with its interval."""
        claim, quantities = self.claim, {}
        for name, q in claim.checks.items():
            low, high = (None if math.isinf(end) else end for end in (q.low, q.high))
            quantities[name] = {"value": self.values[name], "low": low, "high": high}
        return {"id": claim.id, "kind": claim.kind, "verdict": claim.verdict, "values": quantities}


def check(claim_id: str, /, **measured: Any) -> ClaimResult:
    """Compare measured values with the intervals of a claim.

    Args:
        claim_id: The claim's id in the ledger, for example `"C01"`.
        measured: One finite real number for every quantity that the ledger names: a Python
            number, a NumPy scalar, or an array or tensor without axes. True and False are refused,
            because a yes or no cannot lie in an interval: count instead.

    Returns:
        The result; a notebook shows it as a box.

    Raises:
        ClaimError: The id is unknown, the claim is cited or has no intervals yet, a quantity is
            missing, unknown, not a finite number, or outside its interval.
    """
    claim = _find(claim_id)
    if claim.kind == "cited":
        raise ClaimError(
            f"{claim_id} is cited, not measured: show it with claims.show({claim_id!r})"
        )
    if not claim.checks or claim.verdict is None:
        raise ClaimError(
            f"{claim_id} has no intervals or no verdict in the ledger yet: fix them first"
        )
    known = ", ".join(claim.checks)
    problems = [f"quantity {name!r} is missing" for name in claim.checks if name not in measured]
    for name in measured:
        if name not in claim.checks:
            problems.append(f"quantity {name!r} is unknown; the ledger names {known}")
    values = {}
    for name, quantity in claim.checks.items():
        if name not in measured:
            continue
        try:
            values[name] = value = _as_number(measured[name])
        except TypeError as error:
            problems.append(f"{name} {error}")
            continue
        if not math.isfinite(value):
            problems.append(f"{name} is {value}, which is not finite")
        elif not quantity.low <= value <= quantity.high:
            problems.append(
                f"{name} is {value!r}, outside its interval [{quantity.low!r}, {quantity.high!r}] "
                f"({quantity.says})"
            )
    if problems:
        raise ClaimError(f"{claim_id}: " + "; ".join(problems))
    return ClaimResult(claim, values)


def show(claim_id: str, /) -> Claim:
    """Return a claim to be shown without measured values, for example one that is only cited.

    Raises:
        ClaimError: The id is unknown.
    """
    return _find(claim_id)


def load_claims(path: Path | str | None = None) -> dict[str, Claim]:
    """Read and validate the ledger.

    Args:
        path: The YAML file; by default the repository's `book/claims.yml`, and in an installed
            copy the one packaged with the library.

    Returns:
        The claims by id, in the order of the file.

    Raises:
        ClaimError: The file is missing or badly written; every problem is listed with its id.
    """
    path = claims_file() if path is None else Path(path)
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except OSError as error:
        raise ClaimError(f"cannot read the claims ledger {path.name}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ClaimError(f"{path.name} is not valid YAML: {error}") from error
    if not isinstance(entries, list):
        raise ClaimError(f"{path.name} must be a list of claims, not {type(entries).__name__}")
    claims: dict[str, Claim] = {}
    problems: list[str] = []
    for position, entry in enumerate(entries, start=1):
        name = f"entry {position}"
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            name = entry["id"]
        found = list(_problems(entry))
        if name in claims:
            found.append("the id is used twice")
        problems += [f"{name}: {problem}" for problem in found]
        if not found:
            claims[name] = _claim(entry)
    if problems:
        raise ClaimError(f"{path.name}:\n  " + "\n  ".join(problems))
    return claims


def claims_file() -> Path:
    """Return where the ledger is: in the repository, else in the installed package."""
    package = Path(__file__).resolve().parent
    in_repository = package.parent / "book" / "claims.yml"
    return in_repository if in_repository.exists() else package / "_data" / "claims.yml"


def show_number(value: float) -> str:
    """Write a number with four significant digits, and powers of ten as `1.5 × 10⁻⁷`."""
    if float(value).is_integer() and abs(value) < 1e6:
        return str(int(value))
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    if not exponent:
        return mantissa
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _find(claim_id: str) -> Claim:
    claims = load_claims()
    if claim_id not in claims:
        raise ClaimError(f"no claim {claim_id!r} in the ledger; it has {', '.join(claims)}")
    return claims[claim_id]


def _as_number(value: Any) -> float:
    """Return a float for a real number, a NumPy scalar, or an array or tensor without axes."""
    if hasattr(value, "item") and hasattr(value, "shape"):
        if tuple(value.shape) != ():
            raise TypeError(f"has shape {tuple(value.shape)}: give one number")
        value = value.item()
    if isinstance(value, bool):
        raise TypeError(f"is {value}: give a number (a count, a share), not a yes or no")
    if not isinstance(value, numbers.Real):
        raise TypeError(f"is a {type(value).__name__}, not a real number")
    return float(value)


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key written twice is an error (PyYAML would keep the last one)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is written twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _problems(entry: Any) -> Iterator[str]:
    """Yield everything that is wrong with one entry of the file."""
    if not isinstance(entry, dict):
        yield f"must be a mapping, not {type(entry).__name__}"
        return
    yield from _key_problems(entry, _REQUIRED, _OPTIONAL, _TEXTS)
    kind, verdict, planned = entry.get("kind"), entry.get("verdict"), entry.get("planned", False)
    checks, sources = entry.get("checks") or {}, entry.get("sources", [])
    chapter, needed = entry.get("chapter"), kind != "cited" and not planned
    keys = isinstance(sources, list) and all(isinstance(key, str) and key for key in sources)
    rules = [
        (kind in (None, *KINDS), f"kind {kind!r} must be one of {', '.join(KINDS)}"),
        (
            verdict in (None, *VERDICTS),
            f"verdict {verdict!r} must be one of: {'; '.join(VERDICTS)}",
        ),
        (
            chapter is None or re.fullmatch(r"[a-z0-9_]+(/[a-z0-9_]+)?", str(chapter)),
            f"chapter {chapter!r} must look like recurrence/rnn",
        ),
        (keys, f"sources must be a list of bibliography keys, not {sources!r}"),
        (isinstance(planned, bool), f"planned must be true or false, not {planned!r}"),
        (
            isinstance(checks, dict),
            f"checks must be a mapping from quantity to interval: {checks!r}",
        ),
        (not (kind == "cited" and checks), "a cited claim is not measured, so it has no checks"),
        (kind != "cited" or sources, "a cited claim needs at least one source"),
        # Of a planned claim, the intervals or the verdict may not be fixed yet.
        (checks or not needed, "checks are missing (only a planned claim may do without)"),
        (verdict or not needed, "the verdict is missing (only a planned claim may do without)"),
    ]
    yield from (words for holds, words in rules if not holds)
    for name, bounds in checks.items() if isinstance(checks, dict) else ():
        yield from (f"{name}: {problem}" for problem in _interval_problems(name, bounds))


def _interval_problems(name: Any, bounds: Any) -> Iterator[str]:
    if not (isinstance(name, str) and name.isidentifier()):
        yield "a quantity must be a Python name"
    if not isinstance(bounds, dict):
        yield "must be a mapping with low, high, unit and says"
        return
    yield from _key_problems(bounds, ("low", "high", "says"), ("unit",), ("says",))
    if not isinstance(bounds.get("unit") or "", str):
        yield f"'unit' must be a text, not {bounds['unit']!r}"
    try:
        low, high = _bound(bounds.get("low", 0)), _bound(bounds.get("high", math.inf))
    except ValueError as error:
        yield f"low and high must be numbers, not {error}"
        return
    if low > high or low == math.inf or high == -math.inf:
        yield f"low {low!r} is above high {high!r}, or nothing could lie between"
    if low == -math.inf and high == math.inf:
        yield "without a bound on either side the check could not fail"


def _key_problems(
    entry: dict[Any, Any], required: Keys, optional: Keys, texts: Keys
) -> Iterator[str]:
    yield from (f"unknown key {key!r}" for key in entry if key not in required + optional)
    yield from (f"{key!r} is missing" for key in required if key not in entry)
    for key in texts:
        if key in entry and not (isinstance(entry[key], str) and entry[key].strip()):
            yield f"{key!r} must be a text, not {entry[key]!r}"


def _bound(value: Any) -> float:
    # YAML 1.1 reads 1e-6 (no decimal point) as a text, so a text that spells a number counts.
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(repr(value))
    return number


def _claim(entry: Mapping[str, Any]) -> Claim:
    def words(text: str | None) -> str:
        return " ".join((text or "").split())

    checks = {
        name: Quantity(
            name, _bound(q["low"]), _bound(q["high"]), words(q.get("unit")), words(q["says"])
        )
        for name, q in (entry.get("checks") or {}).items()
    }
    texts = {key: words(entry[key]) for key in _TEXTS if key in entry}
    planned = entry.get("planned", False)
    return Claim(**texts, sources=tuple(entry["sources"]), checks=checks, planned=planned)


def _box(claim: Claim, values: Mapping[str, float] | None) -> str:
    """Return the box that a page shows for a claim, with measured values or without."""
    verdict = "Cited, not measured" if claim.kind == "cited" else "Not measured here"
    css = "claim-cited"
    if values is not None:
        assert claim.verdict is not None  # check() refuses a claim without one
        verdict, css = f"Verdict: {claim.verdict}", f"claim-{claim.verdict.replace(' ', '-')}"
    lines = [
        f'<div class="claim-box {css}" role="group" aria-label="Claim {html.escape(claim.id)}">',
        f'<p class="claim-head"><span class="claim-id">Claim {html.escape(claim.id)}</span> '
        f'<span class="claim-verdict">{verdict}</span></p>',
        _line("Often said", claim.common),
        _line("More carefully", claim.careful),
    ]
    if values is not None:
        lines.append('<ul class="claim-values">')
        for name, quantity in claim.checks.items():
            measured = f'<span class="measured">{show_number(values[name])}</span>'
            expected = f'<span class="claim-expected">({html.escape(quantity.expected)})</span>'
            lines.append(f"<li>{_inline(quantity.says)}: {measured} {expected}</li>")
        lines.append("</ul>")
    if claim.published:
        lines.append(_line("Published", claim.published))
    if claim.kind == "cited":
        lines.append(_line("Sources", ", ".join(claim.sources)))
    return "\n".join([*lines, "</div>"])


def _line(label: str, text: str) -> str:
    return f'<p><span class="claim-label">{label}:</span> {_inline(text)}</p>'


INLINE = re.compile(
    r"\{cite(?::\w+)?\}`(?P<cite>[^`]+)`|\[(?P<key>[a-z]+\d{4}\w*(?:, ?[a-z]+\d{4}\w*)*)\]"
    r"|`(?P<code>[^`]+)`|\$(?P<math>[^$]+)\$|\*(?P<emphasis>[^*\s](?:[^*]*[^*\s])?)\*"
)


def _inline(text: str) -> str:
    """Turn the little Markdown that the ledger uses (code, formula, emphasis, citation) to HTML."""

    def replace(match: re.Match[str]) -> str:
        kind, inner = str(match.lastgroup), match[str(match.lastgroup)]
        if kind == "math":
            return f'<span class="math notranslate nohighlight">\\({inner}\\)</span>'
        if kind in ("cite", "key"):
            return f"({inner})"
        tag = "code" if kind == "code" else "em"
        return f"<{tag}>{inner}</{tag}>"

    return INLINE.sub(replace, html.escape(text, quote=False))
