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
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import yaml

KINDS = ("measured", "exact", "cited")
VERDICTS = ("holds", "holds with conditions", "does not hold as said")
CLAIM_MEDIA_TYPE = "application/vnd.rnnlib.claim+json"

Text = Annotated[str, r".*\S.*"]
"""A text of the ledger. The note on a field's type is the pattern that it must match."""


class ClaimError(ValueError):
    """A claim is unknown, badly written in the ledger, or not supported by what was measured."""


@dataclass(frozen=True)
class Quantity:
    """One number that a claim stands on, and the interval it must lie in (both ends belong to it).

    An infinite end means that there is no bound on that side.
    """

    name: Annotated[str, r"[^\W\d]\w*"]  # a Python name
    low: float
    high: float
    says: Text
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.high or self.low == math.inf or self.high == -math.inf:
            raise ClaimError(f"nothing could lie between low {self.low!r} and high {self.high!r}")
        if (self.low, self.high) == (-math.inf, math.inf):
            raise ClaimError("without a bound on either side the check could not fail")

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

    id: Text
    kind: Annotated[str, "|".join(KINDS)]
    chapter: Annotated[str, "[a-z0-9_]+(/[a-z0-9_]+)?"]
    common: Text
    careful: Text
    sources: list[str]
    checks: dict[str, Quantity] = field(default_factory=dict)
    verdict: Annotated[str, "|".join(VERDICTS)] = ""
    published: Text = ""
    planned: bool = False  # the intervals and the verdict are expectations, not frozen yet

    def __post_init__(self) -> None:
        if self.kind == "cited" and (self.checks or not self.sources):
            raise ClaimError("a cited claim is not measured: it has sources and no checks")
        if self.kind != "cited" and not (self.planned or (self.checks and self.verdict)):
            raise ClaimError("only a planned claim may do without checks or verdict")
        if not all(isinstance(key, str) for key in self.sources):
            raise ClaimError(f"sources must be keys of the bibliography, not {self.sources!r}")

    @property
    def unmeasured(self) -> str:
        """What is said where the claim is shown without values."""
        return "cited, not measured" if self.kind == "cited" else "not measured here"

    def __repr__(self) -> str:
        return f"{self.id}: {self.unmeasured}"

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
    claim = show(claim_id)
    if claim.kind == "cited":
        show_it = f"show it with claims.show({claim_id!r})"
        raise ClaimError(f"{claim_id} is cited, not measured: {show_it}")
    if not (claim.checks and claim.verdict):
        raise ClaimError(f"{claim_id} has no intervals or no verdict in the ledger yet")
    known, values = ", ".join(claim.checks), {}
    problems = [f"quantity {name!r} is missing" for name in claim.checks if name not in measured]
    for name, given in measured.items():
        try:
            values[name] = _inside(claim.checks[name], given)
        except KeyError:
            problems.append(f"quantity {name!r} is unknown; the ledger names {known}")
        except ValueError as error:
            problems.append(f"{name} {error}")
    if problems:
        raise ClaimError(f"{claim_id}: " + "; ".join(problems))
    return ClaimResult(claim, values)


def _inside(quantity: Quantity, given: Any) -> float:
    """Return a measured quantity as a float, or raise ValueError if it cannot be accepted."""
    shape = getattr(given, "shape", ())  # of an array or a tensor
    if hasattr(given, "item") and shape == ():
        given = given.item()
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        what = f"has shape {tuple(shape)}" if shape else f"is {given!r}, a {type(given).__name__}"
        raise ValueError(f"{what}: give one number (a count, a share; not a yes or no)")
    value = float(given)
    if not math.isfinite(value):
        raise ValueError(f"is {value}, which is not finite")
    if not quantity.low <= value <= quantity.high:
        interval = f"[{quantity.low!r}, {quantity.high!r}] ({quantity.says})"
        raise ValueError(f"is {value!r}, outside its interval {interval}")
    return value


def show(claim_id: str, /) -> Claim:
    """Return a claim to be shown without measured values, for example one that is only cited.

    Raises:
        ClaimError: The id is unknown.
    """
    claims = load_claims()
    if claim_id not in claims:
        raise ClaimError(f"no claim {claim_id!r} in the ledger; it has {', '.join(claims)}")
    return claims[claim_id]


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
        given = entry.get("id") if isinstance(entry, dict) else None
        name = given if isinstance(given, str) else f"entry {position}"
        try:
            if name in claims:
                raise ClaimError("the id is used twice")
            claims[name] = _read(Claim, entry)
        except ClaimError as error:
            problems.append(f"\n  {name}: {error}")
    if problems:
        raise ClaimError(f"{path.name}:" + "".join(problems))
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


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key written twice is an error (PyYAML would keep the last one).

    It also reads 1e-6 (no decimal point) as a number, as YAML 1.2 does.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is written twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789")
)


Entry = TypeVar("Entry", Claim, Quantity)


def _read(kind: type[Entry], given: Any) -> Entry:
    """Build a claim or a quantity from a mapping of the file.

    Raises:
        ClaimError: a key is unknown, is missing, or holds something else than its field may.
    """
    if not isinstance(given, dict):
        raise ClaimError(f"must be a mapping, not {type(given).__name__}")
    hints, entry = get_type_hints(kind, include_extras=True), {}
    wrong = [f"unknown key {key!r}" for key in given if key not in hints]
    for own in fields(kind):
        pattern = "".join(getattr(hints[own.name], "__metadata__", ()))
        expected = getattr(hints[own.name], "__origin__", hints[own.name])
        if own.name in given:
            entry[own.name] = value = _tidy(given[own.name])
            if not isinstance(value, expected) or (pattern and not re.fullmatch(pattern, value)):
                wanted = f"like {pattern}" if pattern else f"a {expected.__name__}"
                wrong.append(f"{own.name!r} must be {wanted}, not {value!r}")
        elif own.default is own.default_factory is MISSING:
            wrong.append(f"{own.name!r} is missing")
    if wrong:
        raise ClaimError("; ".join(wrong))
    for name, bounds in entry.get("checks", {}).items():
        try:
            with_name = {**bounds, "name": name} if isinstance(bounds, dict) else bounds
            entry["checks"][name] = _read(Quantity, with_name)
        except ClaimError as error:
            raise ClaimError(f"{name}: {error}") from error
    return kind(**entry)


def _tidy(value: Any) -> Any:
    """Return a value of the file with line breaks as spaces, and whole numbers as floats."""
    if isinstance(value, str):
        return " ".join(value.split())
    return float(value) if type(value) is int else value


def _box(claim: Claim, values: Mapping[str, float] | None) -> str:
    """Return the box that a page shows for a claim, with measured values or without."""
    name, verdict, css = html.escape(claim.id), claim.unmeasured.capitalize(), "claim-cited"
    if values is not None:
        verdict, css = f"Verdict: {claim.verdict}", f"claim-{claim.verdict.replace(' ', '-')}"
    lines = [
        f'<div class="claim-box {css}" role="group" aria-label="Claim {name}">',
        f'<p class="claim-head"><span class="claim-id">Claim {name}</span> '
        f'<span class="claim-verdict">{verdict}</span></p>',
        _line("Often said", claim.common),
        _line("More carefully", claim.careful),
    ]
    if values is not None:
        lines.append('<ul class="claim-values">')
        for quantity in claim.checks.values():
            measured = f'<span class="measured">{show_number(values[quantity.name])}</span>'
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
