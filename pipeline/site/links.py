"""Check every link inside a finished site: each page, file and place that is named must exist.

Addresses of other sites are checked for their form only: a test must not depend on a network.

    python -m pipeline.site.links _build/html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINK_ATTRIBUTES = {
    "a": ("href",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "script": ("src",),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "audio": ("src",),
    "video": ("src", "poster"),
    "object": ("data",),
    "form": ("action",),
}
SKIPPED_FOLDERS = {"_static", "_sources", "_notebooks"}


@dataclass
class Page:
    """The links that one page holds, and the places in it that a link can name."""

    links: list[tuple[str, int]] = field(default_factory=list)
    places: set[str] = field(default_factory=set)
    repeated: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        for key in ("id", "name") if tag == "a" else ("id",):
            place = values.get(key)
            if place:
                if key == "id" and place in self.page.places:
                    self.page.repeated.append(place)
                self.page.places.add(place)
        for key in LINK_ATTRIBUTES.get(tag, ()):
            value = values.get(key)
            if value is None:
                continue
            addresses = [value]
            if key == "srcset":  # several addresses, each followed by a size
                addresses = [part.split()[0] for part in value.split(",") if part.split()]
            self.page.links += [(address, self.getpos()[0]) for address in addresses]


def read_page(path: Path) -> Page:
    """Read the links and places of one HTML file."""
    reader = _Reader()
    reader.feed(path.read_text("utf-8"))
    return reader.page


def malformed(address: str) -> str | None:
    """What is wrong with the form of an address outside the site; None when nothing is."""
    try:
        parts = urlsplit(address)
    except ValueError as error:
        return str(error)
    if parts.scheme == "mailto":
        return None if "@" in parts.path else "no address after mailto:"
    if parts.scheme not in ("http", "https"):
        return f"unknown scheme {parts.scheme!r}"
    if not parts.hostname or "." not in parts.hostname:
        return "no host name"
    if any(character in address for character in ' <>"{}'):
        return "a character that an address cannot hold"
    return None


def broken_links(site: Path) -> list[str]:
    """Every link of the site that leads nowhere, one line each: page, line, address, reason."""
    site = site.resolve()
    files = [p for p in sorted(site.rglob("*.html")) if not SKIPPED_FOLDERS & set(p.parts)]
    pages = {path: read_page(path) for path in files}
    found = []
    for path, page in pages.items():
        where = path.relative_to(site).as_posix()
        found += [f"{where}: the id {place!r} is used twice" for place in page.repeated]
        for address, line in page.links:
            reason = _reason(address, path, site, pages)
            if reason:
                found.append(f"{where}:{line}: {address!r}: {reason}")
    return found


def _reason(address: str, path: Path, site: Path, pages: dict[Path, Page]) -> str | None:
    if address.startswith(("data:", "javascript:")):
        return None
    if not address:
        return "empty"
    if "://" in address or address.startswith("mailto:"):
        return malformed(address)
    if address.startswith("//"):
        return "an address without a scheme does not work from a disk"
    parts = urlsplit(address)
    if parts.scheme:
        return malformed(address)
    target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
    if parts.path.startswith("/"):
        return "an address from the root does not work from a disk"
    if not target.is_relative_to(site):
        return "leaves the site"
    if not target.is_file():
        return (
            "names a folder; from a disk that shows a list of files"
            if target.is_dir()
            else ("no such file")
        )
    place = unquote(parts.fragment)
    if (
        place
        and target.suffix == ".html"
        and target in pages
        and place not in (pages[target].places | {"top"})
    ):
        return "no such place in that page"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("site", type=Path)
    site = parser.parse_args(arguments).site
    if not (site / "index.html").is_file():
        print(f"{site} holds no finished site; build it first: make book")
        return 1
    found = broken_links(site)
    for line in found:
        print(line)
    print(f"{len(found)} broken links" if found else "every link inside the site leads somewhere")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main())
