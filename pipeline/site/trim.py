"""Take out of the finished site what no page of it uses.

The theme brings Font Awesome three times (a script, three fonts, 2,000 style rules), source maps
and translations: over 6 MB. The pages use about thirty icons. They become fonts of a few
kilobytes that are written into the style sheet itself, so that they also show when a page is
opened from a disk.

Figures keep their size in pixels and get a palette of 256 colours, which makes them a third as
heavy: they are drawn in few colours, and a colour map of 256 steps has no more.
"""

from __future__ import annotations

import base64
import io
import logging
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fontTools import subset
from fontTools.ttLib import TTFont
from PIL import Image

if TYPE_CHECKING:
    from sphinx.application import Sphinx

logging.getLogger("fontTools").setLevel(logging.WARNING)

UNUSED = (
    "**/*.map",
    "**/*.LICENSE.txt.map",
    "locales",
    "scripts/fontawesome.js",
    "scripts/fontawesome.js.LICENSE.txt",
    "sbt-webpack-macros.html",
    "webpack-macros.html",
    "nbsphinx-*.css",
    "sphinx-thebe.*",
    "togglebutton.*",
    "vendor",
)
THEME_CSS = "styles/pydata-sphinx-theme.css"
BOOK_THEME_CSS = "styles/sphinx-book-theme.css"
FONT_FILE = re.compile(r"vendor/fontawesome/webfonts/(fa-[a-z]+-\d+)\.woff2")
ICON_RULE = re.compile(r"((?:\.fa-[a-z0-9-]+:{1,2}before,?)+)\{content:\"([^\"]*)\"\}")
FONT_SOURCES = re.compile(r"src:(?:url\([^)]*vendor/fontawesome[^)]*\)[^,;}]*,?)+")


def icon_names(site: Path) -> set[str]:
    """Every class ``fa-…`` that a page or a script of the site names."""
    names: set[str] = set()
    for path in [*site.rglob("*.html"), *(site / "_static").rglob("*.js")]:
        if "mathjax" not in path.parts and path.name != "fontawesome.js":
            names.update(re.findall(r"\bfa-[a-z0-9-]+", path.read_text("utf-8", "ignore")))
    return names


def character(content: str) -> str:
    r"""The character of a CSS content value: ``\f015`` or the character itself."""
    found = re.fullmatch(r"\\([0-9a-fA-F]{2,6}) ?", content)
    return chr(int(found.group(1), 16)) if found else content


def font_of(characters: set[str], font: Path) -> str | None:
    """A WOFF font with only these characters, as a data address; None when it has none of them."""
    with TTFont(font) as face:
        wanted = {ord(c) for c in characters} & set(face.getBestCmap())
        if not wanted:
            return None
        options = subset.Options(flavor="woff", notdef_outline=True, desubroutinize=True)
        options.drop_tables += ["GSUB", "GPOS"]
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=wanted)
        subsetter.subset(face)
        buffer = io.BytesIO()
        subset.save_font(face, buffer, options)
    return "data:font/woff;base64," + base64.b64encode(buffer.getvalue()).decode()


def shrink_icons(site: Path, fonts: Path) -> None:
    """Keep the icons that the site uses, inside the theme's style sheet."""
    sheet = site / "_static" / THEME_CSS
    if not sheet.is_file():
        return
    css = sheet.read_text("utf-8")
    used = icon_names(site)
    characters: set[str] = set()

    def keep_used(rule: re.Match[str]) -> str:
        selectors = [s for s in rule.group(1).split(",") if re.split(r":", s)[0].strip(".") in used]
        if not selectors:
            return ""
        characters.update(character(rule.group(2)))
        return f'{",".join(selectors)}{{content:"{rule.group(2)}"}}'

    css = ICON_RULE.sub(keep_used, css)
    # Icons that style sheets place themselves: on admonitions, on external links, on folds.
    others = [p for p in (site / "_static").rglob("*.css") if p != sheet]
    for text in (css, *(p.read_text("utf-8", "ignore") for p in others)):
        characters.update(c for c in text if "\ue000" <= c <= "\uf8ff")
        codes = re.findall(r"[\"']\\([ef][0-9a-f]{3})[\"']", text)
        characters.update(chr(int(code, 16)) for code in codes)

    def embed(source: re.Match[str]) -> str:
        name = FONT_FILE.search(source.group(0))
        data = font_of(characters, fonts / f"{name.group(1)}.ttf") if name else None
        return f'src:url({data}) format("woff")' if data else 'src:local("none")'

    sheet.write_text(FONT_SOURCES.sub(embed, css), "utf-8")


def shrink_figure(path: Path) -> None:
    """Write a PNG with at most 256 colours, where that makes the file smaller."""
    with Image.open(path) as image:
        if image.mode == "P" or image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            return  # done already, or transparent
        few = image.convert("RGB").quantize(
            256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
    buffer = io.BytesIO()
    few.save(buffer, "PNG", optimize=True)
    if len(buffer.getvalue()) < path.stat().st_size:
        path.write_bytes(buffer.getvalue())


def trim(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    static = site / "_static"
    import pydata_sphinx_theme

    fonts = (
        Path(pydata_sphinx_theme.__file__).parent
        / "theme/pydata_sphinx_theme/static/vendor/fontawesome/webfonts"
    )
    shrink_icons(site, fonts)
    for pattern in UNUSED:
        for path in sorted(static.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    for sheet in (static / THEME_CSS, static / BOOK_THEME_CSS):
        if sheet.is_file():
            text = sheet.read_text("utf-8")
            sheet.write_text(re.sub(r"/\*# sourceMappingURL=.*?\*/", "", text), "utf-8")
    for script in (static / "scripts").glob("*.js"):
        text = script.read_text("utf-8")
        script.write_text(re.sub(r"//# sourceMappingURL=\S+", "", text), "utf-8")
    for figure in (site / "_images").glob("*.png"):
        shrink_figure(figure)
    (site / ".nojekyll").touch()  # GitHub Pages would hide folders that begin with "_"


def connect(app: Sphinx) -> None:
    app.connect("build-finished", trim, priority=900)
