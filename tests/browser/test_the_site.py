"""The documentation site: its links lead somewhere, it loads nothing, it fits and can be read."""

import os
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Literal

import pytest
from browser import axe, site_pages
from playwright.sync_api import Browser, Page

PluginError = pytest.importorskip("mkdocs.exceptions").PluginError

ROOT = Path(__file__).parents[2]
SIZES = {"desk": (1280, 800), "phone": (390, 844)}
Scheme = Literal["light", "dark"]

# One page of each kind: prose, sessions, tables, what is generated, docstrings.
LOOKED_AT = ("", "tutorial", "howto/ci", "explanation/eighty-percent", "reference/command-line",
             "reference/pytest", "reference/json", "style")  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    site_pages.build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with site_pages.served(site) as address:
        yield address


def opened(browser: Browser, size: str = "desk", scheme: Scheme = "light") -> Page:
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    return context.new_page()


def test_every_page_is_quiet_and_every_link_leads_somewhere(
    browser: Browser, site: Path, address: str
) -> None:
    page, facts = opened(browser), {}
    found = site_pages.from_elsewhere(page, address)
    for name in site_pages.pages_of(site):
        page.goto(f"{address}{name}/" if name else address)
        facts[page.url] = (
            page.evaluate(site_pages.TARGETS),
            page.evaluate(site_pages.ANCHORS),
        )
    assert len(facts) > 20
    assert found == []
    pictures = [f"{address}{one.relative_to(site)}" for one in site.rglob("*.svg")]
    facts |= {picture: ([], []) for picture in pictures}
    assert site_pages.dead_links(facts) == []


@pytest.mark.parametrize("size", SIZES)
def test_nothing_sticks_out_of_a_page(
    browser: Browser, site: Path, address: str, size: str
) -> None:
    page, found = opened(browser, size), {}
    for name in site_pages.pages_of(site):
        page.goto(f"{address}{name}/" if name else address)
        if sticking := site_pages.wide(page):
            found[name] = sticking
    assert found == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", LOOKED_AT)
def test_axe_finds_nothing_serious(
    browser: Browser, address: str, name: str, scheme: Scheme
) -> None:
    for size in SIZES:
        page = opened(browser, size, scheme)
        page.goto(f"{address}{name}/" if name else address)
        if folder := os.environ.get("SCREENSHOTS"):
            shown = name.replace("/", "-") or "home"
            page.screenshot(path=f"{folder}/site-{shown}-{size}-{scheme}.png")
        axe.thin(page)
        assert axe.findings(page) == []
        page.context.close()


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
    ("planted", "told"),
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
    browser: Browser, site: Path, tmp_path: Path, planted: str, told: str
) -> None:
    text = (site / "style" / "index.html").read_text()
    assert "</article>" in text
    (tmp_path / "index.html").write_text(text.replace("</article>", f"{planted}</article>", 1))
    (tmp_path / "assets").symlink_to(site / "assets")
    with site_pages.served(tmp_path) as address:
        page = opened(browser)
        found = site_pages.from_elsewhere(page, address)
        page.goto(address)
        facts = {page.url: (page.evaluate(site_pages.TARGETS), page.evaluate(site_pages.ANCHORS))}
        found += site_pages.dead_links(facts) + site_pages.wide(page)
        axe.thin(page)
        found += axe.findings(page)
        page.context.close()
    assert [one for one in found if told in one], found
