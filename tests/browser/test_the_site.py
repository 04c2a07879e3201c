"""The documentation site: its links lead somewhere, it loads nothing, it fits and can be read."""

import os
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Literal

import pytest
from browser import axe, cues, site_pages
from browser.visiting import unfold
from playwright.sync_api import Browser, Page, ViewportSize

PluginError = pytest.importorskip("mkdocs.exceptions").PluginError

ROOT = Path(__file__).parents[2]
SIZES: dict[str, ViewportSize] = {
    "desk": {"width": 1280, "height": 800},
    "phone": {"width": 390, "height": 844},
}

# One page of each kind: prose, sessions, pictures, what is generated, docstrings, results.
LOOKED_AT = ("", "tutorial", "howto/ci", "explanation/eighty-percent", "reference/command-line",
             "reference/pytest", "results/torchvision", "style")  # fmt: skip


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with site_pages.served(site) as address:
        yield address


def window(browser: Browser, scheme: Literal["light", "dark"]) -> Iterator[Page]:
    context = browser.new_context(
        viewport=SIZES["desk"], color_scheme=scheme, reduced_motion="reduce"
    )
    yield context.new_page()
    context.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A wide light window."""
    yield from window(browser, "light")


@pytest.fixture
def dark_page(browser: Browser) -> Iterator[Page]:
    """A wide dark window."""
    yield from window(browser, "dark")


def test_every_page_is_quiet_and_fits_and_every_link_leads_somewhere(
    page: Page, site: Path, address: str
) -> None:
    facts, sticking = {}, {}
    found = site_pages.from_elsewhere(page, address)
    for name in site_pages.pages_of(site):
        page.set_viewport_size(SIZES["desk"])
        page.goto(f"{address}{name}/" if name else address)
        unfold(page)
        facts[page.url] = (
            page.evaluate(site_pages.TARGETS),
            page.evaluate(site_pages.ANCHORS),
        )
        for size in SIZES:
            page.set_viewport_size(SIZES[size])
            sticking[name, size] = site_pages.wide(page)
    assert len(facts) > 20
    assert found == []
    pictures = [f"{address}{one.relative_to(site)}" for one in site.rglob("*.svg")]
    facts |= {picture: ([], []) for picture in pictures}
    assert site_pages.dead_links(facts) == []
    assert {place: what for place, what in sticking.items() if what} == {}


@pytest.mark.parametrize("name", ["torchvision", "networks", "counters", "published"])
def test_tables_of_results_scroll_on_a_phone_and_show_that_there_is_more(
    page: Page, address: str, name: str
) -> None:
    page.set_viewport_size(SIZES["phone"])
    page.goto(f"{address}results/{name}/")
    unfold(page)
    assert page.locator(".md-typeset__scrollwrap table").count() >= 1
    assert cues.findings(page, ".md-typeset__scrollwrap") == []


def test_a_table_that_shows_no_sign_of_more_is_found(page: Page, address: str) -> None:
    page.set_viewport_size(SIZES["phone"])
    page.goto(f"{address}results/networks/")
    page.add_style_tag(content=".md-typeset__scrollwrap { background: none !important }")
    (found,) = cues.findings(page, ".md-typeset__scrollwrap")
    assert found.startswith("no shadow shows that there is more: network")


@pytest.mark.parametrize("name", LOOKED_AT)
def test_axe_finds_nothing_serious(page: Page, dark_page: Page, address: str, name: str) -> None:
    # A phone changes what is around every page, and tables of results.
    for size in SIZES if name in ("", "results/torchvision") else ("desk",):
        page.set_viewport_size(SIZES[size])
        page.goto(f"{address}{name}/" if name else address)
        keep(page, f"{name.replace('/', '-') or 'home'}-{size}")
        axe.thin(page)
        assert axe.findings(page) == []
    dark_page.goto(f"{address}{name}/" if name else address)
    dark_page.locator("body[data-md-color-scheme=slate]").wait_for(state="attached")
    keep(dark_page, f"{name.replace('/', '-') or 'home'}-dark")
    axe.thin(dark_page)
    assert axe.pale(dark_page) == []


def keep(page: Page, name: str) -> None:
    """A picture of the page in the folder that SCREENSHOTS names."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/site-{name}.png")


@pytest.mark.parametrize(
    "loading",
    [
        '<script defer src="https://example.org/a.js"></script>',
        "<img alt=a src=http://example.org/a.png>",
        '<link rel="stylesheet" href="https://example.org/a.css">',
    ],
)
def test_a_page_that_would_load_from_elsewhere_is_not_built(loading: str) -> None:
    hook = run_path(str(ROOT / "docs" / "hooks" / "generated.py"))["on_post_page"]
    page = SimpleNamespace(url="here/")
    link = '<a href="https://example.org/">there</a>'
    assert hook(link, page=page) == link
    with pytest.raises(PluginError, match=r"here/ loads .*example"):
        hook(link + loading, page=page)


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        ('<img src="http://example.org/a.png" alt="a">', "asks for http://example.org/a.png"),
        ("<script>throw new Error('planted')</script>", "raises planted"),
        ('<a href="nowhere/">there</a>', "links to"),
        ('<a href="#nowhere">there</a>', "#nowhere"),
        ('<p style="width: 3000px">wide</p>', "p sticks out"),
        ("<table><tr><td>" + "wide" * 400 + "</td></tr></table>", "table"),
        ('<p style="color: #bbb; background: #fff">pale</p>', "color-contrast"),
    ],
)
def test_a_planted_fault_is_found(
    page: Page, site: Path, tmp_path: Path, planted: str, expected: str
) -> None:
    text = (site / "style" / "index.html").read_text()
    assert "</article>" in text
    (tmp_path / "index.html").write_text(text.replace("</article>", f"{planted}</article>", 1))
    (tmp_path / "assets").symlink_to(site / "assets")
    with site_pages.served(tmp_path) as address:
        found = site_pages.from_elsewhere(page, address)
        page.goto(address)
        facts = {page.url: (page.evaluate(site_pages.TARGETS), page.evaluate(site_pages.ANCHORS))}
        found += site_pages.dead_links(facts) + site_pages.wide(page)
        axe.thin(page)
        found += axe.findings(page)
    assert [one for one in found if expected in one], found
