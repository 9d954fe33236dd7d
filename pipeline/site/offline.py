"""A page that asks no other machine for anything, and loads each script once.

MathJax comes from the package sphinx-mathjax-offline, of which only the parts that typeset TeX
are copied. Thebe, which would load a remote kernel library, is disconnected.
"""

from __future__ import annotations

import shutil
from importlib.metadata import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MATHJAX_SCRIPT = "mathjax/tex-chtml.js"
# The script itself, the fonts that it draws with, and the TeX extensions that it loads on demand.
MATHJAX_PARTS = (
    "tex-chtml.js",
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
)
UNWANTED_EXTENSIONS = ("sphinx_thebe", "sphinx_comments", "sphinx_togglebutton")
UNWANTED_FILES = ("sphinx-thebe", "togglebutton", "thebe")
UNWANTED_BODIES = ("THEBE_JS_URL", "toggleHint", "toggleOpenOnPrint", "togglebuttonSelector")

MATHJAX_CONFIG: dict[str, dict[str, Any]] = {
    # No menu: it would make every formula a stop for the Tab key, and it offers
    # parts of MathJax (speech, other outputs) that are not copied.
    "options": {
        "enableMenu": False,
        "processHtmlClass": "tex2jax_process|mathjax_process|math|output_area",
    },
    # An error stays an error that tests can see; it is not printed as red text.
    "tex": {"packages": {"[-]": ["noerrors", "noundefined"]}},
}


def mathjax_folder() -> Path:
    """The folder of MathJax inside the installed package.

    Raises:
        FileNotFoundError: when the package is missing or holds no MathJax.
    """
    for entry in files("sphinx-mathjax-offline") or []:
        if entry.name == "tex-chtml.js":
            return Path(str(entry.locate())).parent
    raise FileNotFoundError(
        "sphinx-mathjax-offline holds no tex-chtml.js; mend it with "
        "pip install --force-reinstall sphinx-mathjax-offline"
    )


def silence_extensions(app: Sphinx) -> None:
    """Disconnect the handlers of extensions whose scripts the book does without."""
    for event, listeners in app.events.listeners.items():
        app.events.listeners[event] = [
            listener
            for listener in listeners
            if listener.handler.__module__.partition(".")[0] not in UNWANTED_EXTENSIONS
            and listener.handler.__module__.partition(".")[0] != "sphinx-mathjax-offline"
        ]


def use_own_mathjax(app: Sphinx, config: Any) -> None:
    config.mathjax_path = MATHJAX_SCRIPT
    given = config.mathjax3_config or {}
    config.mathjax3_config = {
        **MATHJAX_CONFIG,
        **given,
        "options": {**given.get("options", {}), **MATHJAX_CONFIG["options"]},
        "tex": {**given.get("tex", {}), **MATHJAX_CONFIG["tex"]},
    }


def drop_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Take unwanted and repeated scripts and style sheets out of one page."""
    for kind in ("script_files", "css_files"):
        seen = set()
        kept = []
        for entry in context.get(kind, []):
            name = str(getattr(entry, "filename", entry) or "").split("?")[0]
            body = str(getattr(entry, "attributes", {}).get("body", "") or "")
            unwanted = any(part in name for part in UNWANTED_FILES) or any(
                part in body for part in UNWANTED_BODIES
            )
            if unwanted or (name, body) in seen:
                continue
            seen.add((name, body))
            kept.append(entry)
        context[kind] = kept


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    source = mathjax_folder()
    target = Path(app.outdir) / "_static" / "mathjax"
    shutil.rmtree(target, ignore_errors=True)
    for part in MATHJAX_PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / part, target / part)


def connect(app: Sphinx) -> None:
    silence_extensions(app)
    # Once more when all extensions are loaded, whatever their order in _config.yml.
    app.connect("config-inited", lambda app, config: silence_extensions(app), priority=1)
    app.connect("config-inited", use_own_mathjax, priority=900)
    app.connect("html-page-context", drop_scripts, priority=900)
    app.connect("build-finished", copy_mathjax, priority=800)
