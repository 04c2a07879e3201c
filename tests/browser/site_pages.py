"""Serve the documentation site, and check its pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from playwright.sync_api import Page, Request

__all__ = ["dead_links", "from_elsewhere", "pages_of", "served", "wide"]

# Code may scroll inside a region of its own, where the keyboard gets it. A table may not, unless it
# is one of results on a phone.
STICKING = """() => {
    const page = document.documentElement, inner = document.querySelector("article");
    const right = inner.getBoundingClientRect().right;
    const scrolls = one => one && (["auto", "scroll"].includes(getComputedStyle(one).overflowX)
        || scrolls(one.parentElement));
    const found = page.scrollWidth > page.clientWidth
        ? [`the page is ${page.scrollWidth} wide in a window of ${page.clientWidth}`] : [];
    return found.concat([...inner.querySelectorAll("table, img, pre, p")]
        .filter(one => one.getBoundingClientRect().right > right + 1 && !scrolls(one.parentElement))
        .map(one => `${one.localName} sticks out: ${one.textContent.trim().slice(0, 60)}`));
}"""

SCROLLING = """() => [...document.querySelectorAll("article table:not(.highlighttable)")]
    .filter(one => innerWidth > 600 || !one.closest(".results"))
    .filter(one => one.scrollWidth > one.closest(".md-typeset__scrollwrap").clientWidth + 1)
    .map(one => `a table scrolls: ${one.textContent.trim().slice(0, 60)}`)"""

TARGETS = """() => [...document.querySelectorAll("a[href]")]
    .map(one => one.href).filter(one => one.startsWith(location.origin))"""

ANCHORS = "() => [...document.querySelectorAll('[id]')].map(one => one.id)"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, while the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def pages_of(folder: Path) -> list[str]:
    """The path of every page, below the site's address."""
    pages = folder.rglob("index.html")
    return sorted(str(page.parent.relative_to(folder)).removeprefix(".") for page in pages)


def from_elsewhere(page: Page, address: str) -> list[str]:
    """A list that grows by what the page asks for elsewhere, raises, or complains of."""
    found: list[str] = []

    def asked(request: Request) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            found.append(f"asks for {request.url}")

    page.on("request", asked)
    page.on("pageerror", lambda error: found.append(f"raises {error}"))
    page.on("console", lambda said: said.type == "error" and found.append(f"console: {said.text}"))
    return found


def dead_links(facts: dict[str, tuple[list[str], list[str]]]) -> list[str]:
    """Links that lead to no page, or to no place in it; of each page its links and its ids."""
    return [
        f"{address} links to {link}"
        for address, (links, _) in facts.items()
        for link in links
        if not _is_there(link, facts)
    ]


def _is_there(link: str, facts: dict[str, tuple[list[str], list[str]]]) -> bool:
    address, _, place = link.partition("#")
    address = address.removesuffix("index.html")
    return address in facts and (not place or place in facts[address][1])


def wide(page: Page) -> list[str]:
    """What sticks out of the page, and tables that are wider than their room."""
    found: list[str] = page.evaluate(STICKING) + page.evaluate(SCROLLING)
    return found
