"""Links inside the site lead somewhere, and a page weighs little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.site import links, trim, weight
from tests.browser.planted import write_site

BROKEN = {
    '<a href="gone.html">gone</a>': "no such file",
    '<a href="other.html#nowhere">nowhere</a>': "no such place",
    '<a href="#nowhere">nowhere</a>': "no such place",
    '<img src="gone.png" alt="gone">': "no such file",
    '<link rel="stylesheet" href="gone.css">': "no such file",
    '<script src="gone.js"></script>': "no such file",
    '<a href="../outside.html">outside</a>': "leaves the site",
    '<a href="/index.html">from the root</a>': "from the root",
    '<a href="//example.org/x">no scheme</a>': "without a scheme",
    '<a href="mathjax">folder</a>': "names a folder",
    '<a href="">empty</a>': "empty",
    '<a href="https://">no host</a>': "no host name",
    '<a href="htps://example.org">wrong scheme</a>': "unknown scheme",
    '<a href="https://exa mple.org/">a space</a>': "cannot hold",
    '<p id="place">a second one</p>': "used twice",
}


def test_a_sound_site_has_no_broken_link(tmp_path: Path) -> None:
    sound = '<a href="https://doi.org/10.1/x">far</a> <a href="mailto:a@b.org">mail</a>'
    assert links.broken_links(write_site(tmp_path, sound)) == []


@pytest.mark.parametrize("fault", BROKEN)
def test_a_planted_broken_link_is_found(tmp_path: Path, fault: str) -> None:
    (found,) = links.broken_links(write_site(tmp_path, fault))
    assert found.startswith("index.html") and BROKEN[fault] in found


def test_links_of_the_site(built_site: Path) -> None:
    assert links.broken_links(built_site) == []


def test_weight_counts_the_page_and_its_figures_once(tmp_path: Path) -> None:
    site = write_site(tmp_path, '<img src="_images/a.png"><img src="_images/a.png">')
    (site / "_images").mkdir()
    (site / "_images" / "a.png").write_bytes(b"x" * 5000)
    page = (site / "index.html").stat().st_size
    assert weight.own_weight(site / "index.html", site) == page + 5000


def test_no_page_is_heavier_than_a_megabyte(built_site: Path) -> None:
    heavy = {n: size for n, size in weight.weights(built_site).items() if size > weight.LIMIT}
    assert heavy == {}


def test_shared_files_stay_trimmed(built_site: Path) -> None:
    shared = weight.shared_weight(built_site)
    assert shared["theme"] < 1_000_000
    assert shared["MathJax"] < 2_500_000


def test_nothing_names_another_machine(built_site: Path) -> None:
    """What a browser would load by itself: scripts, style sheets, images, fonts."""
    outside = []
    for path in built_site.rglob("*.html"):
        if links.SKIPPED_FOLDERS & set(path.parts):
            continue
        for tag, address in _loaded(path):
            if "://" in address or address.startswith("//"):
                outside.append(f"{path.name}: {tag} {address}")
    assert outside == []


def _loaded(path: Path) -> list[tuple[str, str]]:
    from html.parser import HTMLParser

    found: list[tuple[str, str]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            values = dict(attrs)
            if tag in ("script", "img", "iframe", "audio", "video", "source"):
                found.append((tag, values.get("src") or ""))
            if tag == "link" and (values.get("rel") or "") in ("stylesheet", "preload", "icon"):
                found.append((tag, values.get("href") or ""))

    Reader().feed(path.read_text("utf-8"))
    return found


def test_pages_carry_title_description_and_language(built_site: Path) -> None:
    for path in (built_site / "book").rglob("*.html"):
        text = path.read_text("utf-8")
        assert '<html lang="en"' in text, path
        assert '<meta name="description"' in text, path
        assert 'rel="icon"' in text, path
        assert 'property="og:title"' in text, path
    assert "<loc>https://" in (built_site / "sitemap.xml").read_text("utf-8")


def test_a_figure_gets_a_palette_and_looks_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = np.full((90, 120, 3), 252, np.uint8)
    pixels[20:60, 10:100] = (0, 114, 178)
    pixels[30:50, 40:60] = random.integers(0, 255, 3)
    pixels[70, :, 0] = np.arange(120)
    path = tmp_path / "figure.png"
    Image.fromarray(np.kron(pixels, np.ones((4, 4, 1), np.uint8))).save(path, compress_level=0)
    before, size = np.asarray(Image.open(path), int), path.stat().st_size
    trim.shrink_figure(path)
    after = Image.open(path)
    assert after.mode == "P" and path.stat().st_size < size / 3
    assert np.abs(np.asarray(after.convert("RGB"), int) - before).max() <= 6
    once = path.read_bytes()
    trim.shrink_figure(path)
    assert path.read_bytes() == once


def test_a_transparent_figure_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(path)
    before = path.read_bytes()
    trim.shrink_figure(path)
    assert path.read_bytes() == before


def test_figures_of_the_site_have_palettes(built_site: Path) -> None:
    modes = {p.name: Image.open(p).mode for p in (built_site / "_images").glob("*.png")}
    assert len(modes) > 20 and set(modes.values()) == {"P"}
