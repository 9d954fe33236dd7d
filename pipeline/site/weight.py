"""What a reader downloads: each page's own weight, and the files that all pages share.

python -m pipeline.site.weight _build/html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .links import SKIPPED_FOLDERS, read_page

LIMIT = 1_000_000
"""Bytes that a page's HTML and figures may weigh together."""


def own_weight(path: Path, site: Path) -> int:
    """Bytes of one page's HTML and of the files it shows that are not shared by all pages."""
    total = path.stat().st_size
    shown = set()
    for address, _ in read_page(path).links:
        parts = urlsplit(address)
        if parts.scheme or not parts.path or parts.path.endswith(".html"):
            continue
        target = (path.parent / unquote(parts.path)).resolve()
        inside = target.is_relative_to(site.resolve()) and target.is_file()
        if inside and target.parent.name == "_images":
            shown.add(target)
    return total + sum(target.stat().st_size for target in shown)


def weights(site: Path) -> dict[str, int]:
    """The own weight in bytes of every page, heaviest first."""
    files = [p for p in site.rglob("*.html") if not SKIPPED_FOLDERS & set(p.parts)]
    found = {p.relative_to(site).as_posix(): own_weight(p, site) for p in files}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def shared_weight(site: Path) -> dict[str, int]:
    """Bytes of the shared files: MathJax, and everything else under `_static`."""
    static = site / "_static"
    files = [p for p in static.rglob("*") if p.is_file()]
    mathjax = sum(p.stat().st_size for p in files if "mathjax" in p.parts)
    return {"MathJax": mathjax, "theme": sum(p.stat().st_size for p in files) - mathjax}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("site", type=Path)
    site = parser.parse_args(arguments).site
    over = 0
    for name, size in weights(site).items():
        mark = "  over the limit" if size > LIMIT else ""
        over += bool(mark)
        print(f"{size / 1000:8.0f} kB  {name}{mark}")
    for name, size in shared_weight(site).items():
        print(f"{size / 1000:8.0f} kB  shared: {name}")
    return min(over, 1)


if __name__ == "__main__":
    sys.exit(main())
