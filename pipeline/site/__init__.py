"""The Sphinx extension that turns the theme's pages into the book's pages.

`_config.yml` loads it as ``pipeline.site``. One idea a module:

- `settings`: the theme's options, and the site's addresses, made from the repository's address;
- `offline`: no page asks another machine for anything; MathJax comes from a package;
- `trim`: unused shared files are taken out of the finished site;
- `markup`: repairs of markup for screen readers;
- `folds`: folded answers become native ``<details>`` elements;
- `notebooks`: every chapter's notebook, as a file that runs when it is opened;
- `launch`: the links that open that notebook.

`links`, `weight` and `browser` check a finished site and are not part of the build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import folds, launch, markup, notebooks, offline, settings, trim

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the parts to Sphinx's events, in the order in which they act."""
    for part in (settings, offline, markup, folds, notebooks, launch, trim):
        part.connect(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
