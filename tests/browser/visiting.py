"""Open a page, and record its errors and requests."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, Page, Request, Route

__all__ = ["LOOKS", "Look", "Visit", "Visitor", "exercise", "unfold"]

HEIGHT = 900

# A4 less the usual margins, at 96 dots an inch.
PAPER = 718


@dataclass(frozen=True)
class Look:
    """What a reader holds: a window of this width, or paper, light or dark."""

    width: int = 1280
    scheme: Literal["light", "dark"] = "light"
    media: Literal["screen", "print"] = "screen"
    script: bool = True
    height: int = HEIGHT

    def __str__(self) -> str:
        return str(self.width) if self.media == "screen" else "print"


LOOKS = [
    Look(width, media=media)
    for width, media in ((1280, "screen"), (360, "screen"), (PAPER, "print"))
]


@dataclass
class Visit:
    """A page that is open, and what was raised and asked for since."""

    page: Page
    findings: list[str] = field(default_factory=list)


class Visitor:
    """Opens pages of files; anything but the file itself is noted and refused."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    def open(self, path: Path, look: Look | None = None) -> Visit:
        look = look or Look()
        context = self._browser.new_context(
            viewport={"width": look.width, "height": look.height},
            color_scheme=look.scheme,
            java_script_enabled=look.script,
            reduced_motion="reduce",
        )
        self._contexts.append(context)
        visit = Visit(context.new_page())
        _watch(visit, path.as_uri())
        visit.page.emulate_media(media=look.media)
        visit.page.goto(path.as_uri())
        return visit

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def _watch(visit: Visit, address: str) -> None:
    found = visit.findings

    def is_own(request: Request) -> bool:
        return request.url.partition("#")[0] == address or request.url.startswith("data:")

    def asked(request: Request) -> None:
        if not is_own(request):
            found.append(f"asks for {request.url}")

    def answer(route: Route) -> None:
        if is_own(route.request):
            route.continue_()
        else:
            route.abort()

    visit.page.route("**/*", answer)
    visit.page.on("request", asked)
    visit.page.on("pageerror", lambda error: found.append(f"raises {error}"))
    visit.page.on(
        "console", lambda said: said.type == "error" and found.append(f"console: {said.text}")
    )


def unfold(page: Page) -> None:
    """Open whatever is folded."""
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def exercise(page: Page) -> None:
    """Press, fill and focus everything that the page's script made."""
    page.evaluate(
        """() => {
            const all = name => document.querySelectorAll(name);
            all("button.sort").forEach(one => { one.click(); one.click(); });
            all("input.filter").forEach(one => {
                for (const text of ["0", "("  , ""]) {
                    one.value = text;
                    one.dispatchEvent(new Event("input", {bubbles: true}));
                }
            });
            all("button.group").forEach(one => { one.focus(); one.click(); one.blur(); });
        }"""
    )
