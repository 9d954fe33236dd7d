"""Writes requirements.lock: the exact versions of this environment.

    python -m pipeline.lock      (called by `make lock` in a fresh environment)

Only what requirements.txt needs, directly or through others, is written down. Packages that
belong to one kind of graphics card are left out, because they install only where that card's
driver has a use for them, and torch itself asks for them there.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PYTHONS = ("3.11", "3.12", "3.13")
FOR_SOME_HARDWARE = re.compile(r"^(nvidia-|cuda-|triton$|pytorch-triton)")

HEADER = """\
# Exact versions of everything the book needs; written by `make lock` from requirements.txt.
"""


def requirements() -> list[Requirement]:
    """Return the lines of requirements.txt."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf8")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [Requirement(line) for line in lines if line]


def pinned() -> dict[str, str]:
    """Return name and version of all that requirements.txt needs, from this environment."""
    found: dict[str, str] = {}
    queue = [(requirement, frozenset[str]()) for requirement in requirements()]
    while queue:
        requirement, asked = queue.pop()
        name = canonicalize_name(requirement.name)
        if _is_for_hardware(name) or not _applies(requirement, asked):
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # needed by another Python or system than this one: pip adds it there
        extras = frozenset(requirement.extras)
        if name in found and not extras:
            continue
        found[name] = package.version.split("+")[0]
        queue += [(Requirement(text), extras) for text in package.requires or []]
    return dict(sorted(found.items()))


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Say whether a requirement counts in at least one of the Pythons that the book promises."""
    if requirement.marker is None:
        return True
    environments = [
        {"python_version": python, "python_full_version": f"{python}.0", "extra": extra}
        for python in PYTHONS
        for extra in extras or {""}
    ]
    return any(requirement.marker.evaluate(environment) for environment in environments)


def locked() -> dict[str, str]:
    """Return name and version of all that requirements.lock names."""
    lines = LOCK.read_text(encoding="utf8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def problems() -> list[str]:
    """Return what is out of step between requirements.txt, requirements.lock and pyproject.toml."""
    versions, found = locked(), []
    names = {canonicalize_name(requirement.name): requirement for requirement in requirements()}
    for name, requirement in names.items():
        version = versions.get(name)
        if version is None or not requirement.specifier.contains(version):
            found.append(f"{requirement} is {version} in {LOCK.name}: run `make lock`")
    found += [f"{name}: no hardware's own packages" for name in versions if _is_for_hardware(name)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    for dependency in map(Requirement, project["dependencies"]):
        if canonicalize_name(dependency.name) not in names:
            found.append(f"pyproject.toml needs {dependency}, requirements.txt does not name it")
    return found


def _is_for_hardware(name: str) -> bool:
    return bool(FOR_SOME_HARDWARE.match(name))


def main() -> None:
    """Write the lock file."""
    lines = [f"{name}=={version}" for name, version in pinned().items()]
    LOCK.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf8")
    print(f"{LOCK.name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
