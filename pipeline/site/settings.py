"""Theme options and addresses. The repository's address in `_config.yml` is the only one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.errors import ConfigError

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

HERE = Path(__file__).parent
PUBLISHED_BRANCH = "gh-pages"
NOTEBOOK_FOLDER = "_notebooks"
SOURCE_FOLDER = "book/"

THEME_OPTIONS: dict[str, Any] = {
    # Empty: the theme would add a second header with a second search box.
    "navbar_persistent": [],
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "header_links_before_dropdown": 0,
    "use_download_button": False,  # launch.py offers the notebook instead
    "use_fullscreen_button": False,
    "use_repository_button": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "back_to_top_button": False,
    "home_page_in_toc": True,
    "footer_content_items": ["author.html", "extra-footer.html"],
    "extra_footer": "<p>Text: CC BY 4.0. Code: MIT.</p>",
}


@dataclass(frozen=True)
class Addresses:
    """Where the book's files are published, all built from the repository's address."""

    owner: str
    repository: str
    site: str

    @property
    def source(self) -> str:
        return f"https://github.com/{self.owner}/{self.repository}"

    @property
    def install(self) -> str:
        """What pip installs when a notebook runs outside this repository."""
        return f"rnnlib @ git+{self.source}"

    def page(self, docname: str) -> str:
        return f"{self.site}{docname}.html"

    def colab(self, notebook: str) -> str:
        return (
            f"https://colab.research.google.com/github/{self.owner}/{self.repository}"
            f"/blob/{PUBLISHED_BRANCH}/{notebook}"
        )

    def binder(self, notebook: str) -> str:
        path = f"lab/tree/{notebook}".replace("/", "%2F")
        return (
            f"https://mybinder.org/v2/gh/{self.owner}/{self.repository}"
            f"/{PUBLISHED_BRANCH}?urlpath={path}"
        )


def addresses(repository_url: str, site: str = "") -> Addresses:
    """Take a GitHub address apart.

    Raises:
        ConfigError: when the address is not of the form https://github.com/OWNER/NAME.
    """
    prefix = "https://github.com/"
    parts = repository_url.removeprefix(prefix).removesuffix(".git").strip("/").split("/")
    if not repository_url.startswith(prefix) or len(parts) != 2 or not all(parts):
        raise ConfigError(
            f"repository: url in _config.yml is {repository_url!r}; "
            "expected https://github.com/OWNER/NAME"
        )
    owner, name = parts
    return Addresses(owner, name, site or f"https://{owner}.github.io/{name}/")


def of(app: Sphinx) -> Addresses:
    """The addresses of the book that is being built."""
    options = app.config.html_theme_options
    return addresses(options.get("repository_url", ""), app.config.html_baseurl)


def notebook_path(docname: str) -> str:
    """The place of a page's notebook in the published site, from the site's root."""
    return f"{NOTEBOOK_FOLDER}/{docname.removeprefix(SOURCE_FOLDER)}.ipynb"


def apply_settings(app: Sphinx, config: Config) -> None:
    """Give the theme and the extensions their options; `_config.yml` keeps the addresses."""
    values: dict[str, Any] = vars(config)
    # Not setdefault: Jupyter Book writes defaults of its own into the options.
    config.html_theme_options.update(THEME_OPTIONS)
    site = addresses(config.html_theme_options.get("repository_url", ""), config.html_baseurl).site
    values["html_baseurl"] = site
    values["ogp_site_url"] = site
    values["ogp_social_cards"] = {"enable": False}  # drawing them needs a downloaded font
    values["ogp_enable_meta_description"] = True
    values["sitemap_url_scheme"] = "{link}"
    values["sitemap_show_lastmod"] = False
    values["language"] = "en"
    values["html_copy_source"] = True
    # A claim's machine-readable twin is for the ledger, not for the page.
    config.suppress_warnings.append("mystnb.unknown_mime_type")
    config.html_context.setdefault("default_mode", "auto")
    static = Path(app.srcdir) / "book" / "_static"
    for folder in (HERE / "assets", static):
        if folder.is_dir() and str(folder) not in config.html_static_path:
            config.html_static_path.append(str(folder))
    if (static / "logo.svg").is_file():
        values["html_logo"] = str(static / "logo.svg")
        values["html_favicon"] = str(static / "favicon.svg")
        config.html_theme_options.setdefault("logo", {"text": config.html_title})
    for stylesheet in sorted(static.glob("*.css")):
        app.add_css_file(stylesheet.name, priority=900)
    config.templates_path.insert(0, str(HERE / "templates"))


def connect(app: Sphinx) -> None:
    app.setup_extension("sphinxext.opengraph")
    app.setup_extension("sphinx_sitemap")
    app.connect("config-inited", apply_settings, priority=100)
    app.add_js_file("book.js", loading_method="defer", priority=900)
