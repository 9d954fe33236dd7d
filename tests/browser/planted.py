"""A tiny static site, and ways to break it."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

from pipeline.site.offline import MATHJAX_CONFIG, mathjax_folder

# One grey pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>body { color: #111; background: #fff; } pre { overflow-x: auto; }</style>
<script>window.MathJax = {config};</script>
<script defer src="mathjax/tex-chtml.js"></script></head>
<body><main><article class="mathjax_ignore"><h1>A page</h1>
<p id="place">The state <span class="math">\\(h_t = \\tanh a_t\\)</span> is a number.</p>
<div class="math">\\[ a_t = w h_{t-1} + x_t \\]</div>
<p><img src="pixel.png" alt="A grey square that stands for a figure"></p>
<p><a href="other.html#there">The other page</a></p>
{fault}
</article></main></body></html>
"""

FAULTS = {
    "unbalanced formula": (
        r'<p><span class="math">\(\frac{1}{2\)</span> cannot be read.</p>',
        "formula is not typeset",
    ),
    "formula with a mistake": (
        r'<p><span class="math">\(\frac{1} + \begin{matrix} x\)</span> cannot be read.</p>',
        "formula with an error",
    ),
    "undefined command": (
        r'<p><span class="math">\(\nosuchcommand x\)</span> has no meaning.</p>',
        "formula with an error",
    ),
    "formula outside a formula": (
        r"<p>The sum $$ a + b $$ was not recognised.</p>",
        "TeX left in the text",
    ),
    "formula not typeset": (
        r'<div class="math">a_t = b without its marks</div>',
        "formula is not typeset",
    ),
    "missing alternative text": (
        '<p><img src="pixel.png" alt=""></p>',
        "image without alternative text",
    ),
    "path as alternative text": (
        '<p><img src="pixel.png" alt="_images/3f2a.png"></p>',
        "alternative text is a path",
    ),
    "broken image": (
        '<p><img src="gone.png" alt="A figure that is not there"></p>',
        "broken image",
    ),
    "external image": (
        '<p><img src="https://example.org/figure.png" alt="A figure from elsewhere"></p>',
        "external request",
    ),
    "external script": (
        '<script src="https://example.org/script.js"></script>',
        "external request",
    ),
    "external font": (
        "<style>@font-face { font-family: far; src: url(https://example.org/far.woff2); } "
        "b { font-family: far; }</style><p><b>Text in a far font</b></p>",
        "external request",
    ),
    "overflow": ('<div style="width: 2000px">A wide box</div>', "page scrolls sideways"),
    "overflow inside a fold": (
        '<details><summary>Answer</summary><div style="width: 2000px">A wide box</div></details>',
        "page scrolls sideways",
    ),
    "console error": ('<script>console.error("a complaint")</script>', "console error"),
    "script error": ("<script>noSuchFunction()</script>", "script error"),
    "faint text": ('<p style="color: #bbb">Hardly readable</p>', "accessibility: color-contrast"),
    "button without a name": ("<p><button></button></p>", "accessibility: button-name"),
}


def write_site(folder: Path, fault: str = "") -> Path:
    """Write a site of two pages, the first with a fault; return its folder."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    page = PAGE.replace("{config}", json.dumps(MATHJAX_CONFIG)).replace("{fault}", fault)
    (folder / "index.html").write_text(page, "utf-8")
    (folder / "other.html").write_text(
        '<!DOCTYPE html><html lang="en"><head><title>Other</title></head>'
        '<body><h1 id="there">Other</h1></body></html>',
        "utf-8",
    )
    (folder / "pixel.png").write_bytes(PIXEL)
    (folder / "mathjax").mkdir(exist_ok=True)
    source = mathjax_folder()
    shutil.copy2(source / "tex-chtml.js", folder / "mathjax")
    fonts = "output/chtml/fonts/woff-v2"
    shutil.copytree(source / fonts, folder / "mathjax" / fonts, dirs_exist_ok=True)
    return folder
