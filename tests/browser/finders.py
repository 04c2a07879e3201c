"""Each look at a page as one function: what it finds amiss, in a page that it opens itself."""

from collections.abc import Callable
from pathlib import Path

from browser import axe, contrast, filtering, keyboard, layout, lighting, outline, pictures, sorting
from browser.visiting import Look, Visitor, exercise, unfold
from playwright.sync_api import Page

__all__ = ["FINDERS", "Finder"]

Finder = Callable[[Visitor, Path], list[str]]


def _on(look: Look, find: Callable[[Page], list[str]]) -> Finder:
    def finder(visitor: Visitor, path: Path) -> list[str]:
        page = visitor.open(path, look).page
        unfold(page)
        return find(page)

    return finder


def _quiet(visitor: Visitor, path: Path) -> list[str]:
    visit = visitor.open(path)
    exercise(visit.page)
    return visit.findings


def _links(visitor: Visitor, path: Path) -> list[str]:
    return pictures.links_that_show_nothing(visitor.open(path).page)


def _axe(page: Page) -> list[str]:
    axe.thin(page)
    return axe.findings(page)


def _keyboard(page: Page) -> list[str]:
    if not keyboard.tab_to(page, "button.sort"):
        return ["the keyboard never gets there"]
    return [] if keyboard.shows_focus(page) else ["the focus cannot be seen"]


def _lighting(find: Callable[[Page, dict[str, str]], list[str]]) -> Finder:
    def finder(visitor: Visitor, path: Path) -> list[str]:
        page = visitor.open(path).page
        unfold(page)
        return find(page, lighting.roots(path))

    return finder


WIDE, NARROW, DARK = Look(), Look(360), Look(scheme="dark")

FINDERS: dict[str, Finder] = {
    "quiet": _quiet,
    "outline": _on(WIDE, outline.findings),
    "script": outline.missing_without_script,
    "pictures": _on(WIDE, pictures.findings),
    "links": _links,
    "sorting": _on(WIDE, sorting.findings),
    "filtering": _on(WIDE, filtering.findings),
    "keyboard": _on(WIDE, _keyboard),
    "pointed": _lighting(lighting.pointed),
    "focused": _lighting(lighting.focused),
    "axe": _on(WIDE, _axe),
    "axe in the dark": _on(DARK, _axe),
    "contrast": _on(WIDE, contrast.findings),
    "contrast in the dark": _on(DARK, contrast.findings),
    "layout": _on(WIDE, layout.findings),
    "layout of a phone": _on(NARROW, layout.findings),
    "layout of paper": _on(Look(718, media="print"), layout.findings),
}
