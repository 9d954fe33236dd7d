"""Every page in a real browser, as readers see it; and proof that each check can fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.chapters import listed_pages, missing_pages
from pipeline.site import browser as look
from tests.browser.planted import FAULTS, write_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DESKTOP = look.VIEWS[0]
PAGES = [
    *(f"book/{name}.html" for name in listed_pages() if name not in missing_pages()),
    "genindex.html",
    "search.html",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = look.find_browser()
    if executable is None:
        if look.required():
            pytest.fail(look.NO_BROWSER)
        pytest.skip(look.NO_BROWSER)
    with look.open_browser(executable) as opened:
        yield opened


@pytest.fixture(scope="module")
def served_site(built_site: Path) -> Iterator[str]:
    with look.serve(built_site) as base:
        yield base


# The checks themselves


def test_a_sound_page_has_no_problem(browser: Browser, tmp_path: Path) -> None:
    with look.serve(write_site(tmp_path)) as base:
        for view in look.VIEWS:
            report = look.examine(browser, base, "index.html", view)
            assert report.problems == []
            assert report.formulas == 2


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(browser: Browser, tmp_path: Path, name: str) -> None:
    fault, expected = FAULTS[name]
    with look.serve(write_site(tmp_path, fault)) as base:
        report = look.examine(browser, base, "index.html", DESKTOP)
    assert any(expected in problem for problem in report.problems), report.problems


def test_without_a_browser_it_is_a_skip_here_and_a_failure_on_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOOK_BROWSER", str(tmp_path / "no-such-browser"))
    assert look.find_browser() is None
    monkeypatch.setenv("CI", "true")
    assert look.required()
    monkeypatch.delenv("CI")
    assert not look.required()


# The site


@pytest.mark.parametrize("view", look.VIEWS, ids=lambda view: view.name.replace(" ", "-"))
@pytest.mark.parametrize("page", PAGES)
def test_page(browser: Browser, served_site: str, page: str, view: look.View) -> None:
    accessible = view.name != "phone dark"  # its markup and its colours are in the other views
    report = look.examine(browser, served_site, page, view, axe=accessible)
    assert report.problems == []


def test_no_page_was_left_out(built_site: Path) -> None:
    assert set(look.pages(built_site)) <= {*PAGES, "index.html", "py-modindex.html"}


@pytest.mark.parametrize("page", PAGES)
def test_page_opens_from_a_disk(browser: Browser, built_site: Path, page: str) -> None:
    base = built_site.resolve().as_uri() + "/"
    report = look.examine(browser, base, page, DESKTOP, axe=False)
    assert report.problems == []


@pytest.mark.parametrize("where", ["disk", "server"])
def test_search_finds_pages(
    browser: Browser, built_site: Path, served_site: str, where: str
) -> None:
    base = served_site if where == "server" else built_site.resolve().as_uri() + "/"
    hits, report = look.search(browser, base, "hidden state")
    assert hits > 0
    assert report.problems == []
    none, _ = look.search(browser, base, "xylophonist")
    assert none == 0


def folded_page(site: Path) -> str:
    """The first page that has a folded answer."""
    for page in PAGES:
        if "<details" in (site / page).read_text("utf-8"):
            return page
    pytest.skip("no page has a folded answer")


def test_answers_open_by_keyboard_and_for_printing(
    browser: Browser, built_site: Path, served_site: str
) -> None:
    report = look.Report("", DESKTOP.name)
    with look.watched_page(browser, served_site, DESKTOP, report) as page:
        page.goto(served_site + folded_page(built_site))
        fold = page.locator("article details").first
        assert fold.get_attribute("open") is None
        fold.locator("summary").first.focus()
        page.keyboard.press("Enter")
        assert fold.get_attribute("open") is not None
        page.keyboard.press("Enter")
        assert fold.get_attribute("open") is None
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert page.locator("article details:not([open])").count() == 0
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert fold.get_attribute("open") is None
    assert report.problems == []


def test_index_leads_to_the_first_page(browser: Browser, served_site: str) -> None:
    report = look.Report("index.html", DESKTOP.name)
    with look.watched_page(browser, served_site, DESKTOP, report) as page:
        page.goto(served_site)
        page.wait_for_url("**/book/index.html")
    assert report.problems == []
