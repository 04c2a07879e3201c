"""Each check of a page as a function that opens the page and lists what is wrong."""

from collections.abc import Callable
from pathlib import Path

from browser import (
    axe,
    contrast,
    cues,
    filtering,
    first_look,
    keyboard,
    layout,
    lighting,
    outline,
    pictures,
    sorting,
)
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


def _folded(look: Look, find: Callable[[Page], list[str]]) -> Finder:
    return lambda visitor, path: find(visitor.open(path, look).page)


def _quiet(visitor: Visitor, path: Path) -> list[str]:
    visit = visitor.open(path)
    exercise(visit.page)
    return visit.findings


def _links(visitor: Visitor, path: Path) -> list[str]:
    return pictures.links_that_show_nothing(visitor.open(path).page)


def _axe(page: Page) -> list[str]:
    axe.thin(page)
    return axe.findings(page)


def _pale(page: Page) -> list[str]:
    axe.thin(page)
    return axe.pale(page)


def _cues(page: Page) -> list[str]:
    return cues.findings(page, ".scroll")


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

LAPTOP, PHONE = (Look(width, height=height) for width, height in first_look.SCREENS)

FINDERS: dict[str, Finder] = {
    "first screen": _folded(LAPTOP, first_look.findings),
    "first screen of a phone": _folded(PHONE, first_look.findings),
    "folds": _folded(LAPTOP, first_look.folds),
    "wide tables": _on(LAPTOP, first_look.wide_tables),
    "cues": _on(NARROW, _cues),
    "paper": _folded(Look(718, media="print"), first_look.not_printed),
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
    "axe in the dark": _on(DARK, _pale),
    "contrast": _on(WIDE, contrast.findings),
    "contrast in the dark": _on(DARK, contrast.findings),
    "layout": _on(WIDE, layout.findings),
    "layout of a phone": _on(NARROW, layout.findings),
    "layout of paper": _on(Look(718, media="print"), layout.findings),
}
