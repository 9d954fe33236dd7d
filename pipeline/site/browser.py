"""Look at finished pages in a real browser, as readers do, and say what is wrong with them.

Uses a Chromium-like browser that is already on the machine; nothing is downloaded.

    python -m pipeline.site.browser _build/html                    every page, every view
    python -m pipeline.site.browser _build/html --picture docs/page.png
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COMMANDS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
    "microsoft-edge-stable",
)
USUAL_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
NO_BROWSER = (
    "no browser found: looked for " + ", ".join(COMMANDS) + " on PATH. "
    "Install Chromium or Google Chrome, or name one in the variable BOOK_BROWSER."
)
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@dataclass(frozen=True)
class View:
    """One way of looking at a page."""

    name: str
    width: int
    height: int
    scheme: str


VIEWS = (
    View("desktop light", 1280, 900, "light"),
    View("desktop dark", 1280, 900, "dark"),
    View("phone", 390, 844, "light"),
    View("phone dark", 390, 844, "dark"),
)

# Folded answers are opened first: what is wrong inside them counts too.
INSPECT = r"""
async () => {
  document.querySelectorAll("details").forEach(d => { d.open = true; });
  if (window.MathJax && MathJax.startup && MathJax.startup.promise) await MathJax.startup.promise;
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const problems = [];
  const article = document.querySelector("article, main") || document.body;
  const say = (what, where) =>
    problems.push(where ? `${what}: ${where.trim().slice(0, 100)}` : what);

  for (const image of document.images) {
    image.loading = "eager";
    try { await image.decode(); } catch (error) { say("broken image", image.src.slice(-80)); }
  }
  for (const image of article.querySelectorAll("img")) {
    const alt = (image.getAttribute("alt") || "").trim();
    if (!alt) say("image without alternative text", image.src.slice(-80));
    else if (/[\/\\]|\.(png|svg|jpe?g|gif|webp)\b/i.test(alt) && !/\s/.test(alt))
      say("alternative text is a path", alt);
    else if (alt.length < 10) say("alternative text says too little", alt);
  }

  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) {
    const wide = [...article.querySelectorAll("*")].filter(e => {
      const box = e.getBoundingClientRect();
      if (box.right <= page.clientWidth + 1) return false;
      for (let p = e.parentElement; p && p !== page; p = p.parentElement)
        if (/auto|scroll|hidden|clip/.test(getComputedStyle(p).overflowX)) return false;
      return true;
    });
    const first = wide.length ? `${wide[0].tagName} ${wide[0].textContent.slice(0, 60)}` : "";
    say(`page scrolls sideways by ${page.scrollWidth - page.clientWidth} px`, first);
  }

  const formulas = [...document.querySelectorAll(".math")];
  for (const formula of formulas) {
    const set = formula.querySelectorAll("mjx-container").length;
    if (set === 0) say("formula is not typeset", formula.textContent);
    else if (/\\[(\[)\]]/.test([...formula.childNodes].filter(n => n.nodeType === 3)
      .map(n => n.textContent).join(""))) say("formula is typeset in part", formula.textContent);
  }
  const expected = formulas.length;
  const found = document.querySelectorAll(".math > mjx-container").length;
  if (found !== expected) say(`${expected} formulas in the page, ${found} typeset`);
  for (const bad of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
    say("formula with an error", bad.getAttribute("data-mjx-error") || bad.textContent);
  for (const red of document.querySelectorAll('mjx-container [style*="color: red"]'))
    say("undefined command in a formula", red.textContent);
  const walk = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent;
    if (/\\\(|\\\[|\$\$|\\begin\{|\\frac/.test(text) &&
        !walk.currentNode.parentElement.closest("code, pre, script, style, .math, mjx-container"))
      say("TeX left in the text", text);
  }
  return {problems, formulas: expected};
}
"""


def find_browser() -> Path | None:
    """The first Chromium-like browser on this machine, or None."""
    named = os.environ.get("BOOK_BROWSER")
    candidates = [named] if named else [shutil.which(c) for c in COMMANDS] + list(USUAL_PLACES)
    return next((Path(c) for c in candidates if c and Path(c).is_file()), None)


def required() -> bool:
    """Whether a missing browser is a failure (on CI) and not a reason to skip."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


@contextmanager
def serve(site: Path) -> Iterator[str]:
    """Serve a folder on this machine; yields its address, which ends with a slash."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def open_browser(executable: Path) -> Iterator[Browser]:
    """Start the browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(executable), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


@functools.cache
def axe_script() -> str:
    """The accessibility checker, from the installed package."""
    spec = find_spec("axe_core_python")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("axe-core-python is missing: pip install axe-core-python")
    return (Path(spec.origin).parent / "axe.min.js").read_text("utf-8")


@dataclass
class Report:
    """What one look at one page found."""

    page: str
    view: str
    problems: list[str] = field(default_factory=list)
    formulas: int = 0


@contextmanager
def watched_page(browser: Browser, base: str, view: View, report: Report) -> Iterator[Page]:
    """A page whose console and network are watched; what leaves `base` is blocked."""
    context = browser.new_context(
        viewport={"width": view.width, "height": view.height},
        color_scheme=view.scheme,  # type: ignore[arg-type]
        bypass_csp=True,
    )
    page = context.new_page()

    def route(handler: Any) -> None:
        address = handler.request.url
        if address.startswith((base, "data:", "blob:")):
            handler.continue_()
        else:
            report.problems.append(f"external request: {address[:120]}")
            handler.abort()

    def console(message: Any) -> None:
        if message.type == "error":
            report.problems.append(f"console error: {message.text[:160]}")

    page.route("**/*", route)
    page.on("console", console)
    page.on("pageerror", lambda error: report.problems.append(f"script error: {error}"[:200]))
    try:
        yield page
    finally:
        context.close()


def examine(browser: Browser, base: str, name: str, view: View, axe: bool = True) -> Report:
    """Open one page and list its problems.

    Args:
        browser: From `open_browser`.
        base: Address of the site, http:// or file://, with a slash at its end.
        name: The page's path from the site's root, for example `book/recurrence/rnn.html`.
        view: Width and colour scheme.
        axe: Whether to run the accessibility checker too.
    """
    report = Report(name, view.name)
    with watched_page(browser, base, view, report) as page:
        page.goto(base + name, wait_until="load", timeout=60_000)
        found = page.evaluate(INSPECT)
        report.problems += found["problems"]
        report.formulas = found["formulas"]
        if axe:
            page.evaluate(axe_script())
            violations = page.evaluate(
                """async rules => (await axe.run(
                       {include: [["html"]], exclude: [["mjx-container > *"]]},
                       {runOnly: rules, resultTypes: ["violations"], preload: false}
                     )).violations.map(
                     v => `${v.id} (${v.nodes.length}): ${v.help}: ` + v.nodes.slice(0, 3).map(
                       n => n.target + " " + (n.any[0] ? n.any[0].message : "")).join(" | "))""",
                AXE_RULES,
            )
            report.problems += [f"accessibility: {v[:600]}" for v in violations]
    report.problems = list(dict.fromkeys(report.problems))
    return report


def search(browser: Browser, base: str, words: str, view: View = VIEWS[0]) -> tuple[int, Report]:
    """Use the site's own search; the number of pages found, and the problems seen on the way."""
    report = Report("search.html", view.name)
    with watched_page(browser, base, view, report) as page:
        page.goto(f"{base}search.html?q={words.replace(' ', '+')}", wait_until="load")
        page.wait_for_function(
            "document.querySelector('#search-results .search-summary')"
            "?.textContent.match(/found|did not match/)",
            timeout=20_000,
        )
        hits = page.locator("#search-results li").count()
    return hits, report


def pages(site: Path) -> list[str]:
    """Every page of a finished site, by its path from the root."""
    return sorted(
        path.relative_to(site).as_posix()
        for path in site.rglob("*.html")
        if not {"_static", "_sources", "_notebooks"} & set(path.relative_to(site).parts)
        and 'http-equiv="Refresh"' not in path.read_text("utf-8")[:200]
    )


def take_picture(browser: Browser, address: str, target: Path, view: View) -> None:
    """Save what a reader sees first."""
    context = browser.new_context(
        viewport={"width": view.width, "height": view.height},
        color_scheme=view.scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    page.goto(address, wait_until="load")
    page.evaluate(
        "async () => { if (window.MathJax?.startup?.promise) await MathJax.startup.promise; }"
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(target))
    context.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("pages", nargs="*", help="paths from the site's root; default: all")
    parser.add_argument("--picture", type=Path, help="save a picture of the (first) page instead")
    parser.add_argument("--view", choices=[v.name for v in VIEWS], help="one view only")
    options = parser.parse_args(arguments)
    executable = find_browser()
    if executable is None:
        print(NO_BROWSER)
        return 1
    views = [v for v in VIEWS if options.view in (None, v.name)]
    names = options.pages or pages(options.site)
    if not names:
        print(f"{options.site} holds no page; build the book first: make book")
        return 1
    failures = 0
    with serve(options.site) as base, open_browser(executable) as browser:
        if options.picture:
            take_picture(browser, base + names[0], options.picture, views[0])
            print(options.picture)
            return 0
        for name in names:
            for view in views:
                report = examine(browser, base, name, view)
                failures += bool(report.problems)
                print(f"{name}, {view.name}: {len(report.problems)} problems")
                for problem in report.problems:
                    print(f"    {problem}")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
