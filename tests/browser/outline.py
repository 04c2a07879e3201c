"""What a page is made of: its language, title, sections, and links that lead somewhere."""

from collections import Counter
from pathlib import Path
from typing import Any

from browser.visiting import Look, Visitor
from playwright.sync_api import Page

__all__ = ["findings", "missing_without_script"]

FACTS = """() => ({
    lang: document.documentElement.lang,
    title: document.title.trim(),
    mains: document.querySelectorAll("main").length,
    navs: document.querySelectorAll("nav[aria-label=Sections]").length,
    nav: [...document.querySelectorAll("nav[aria-label=Sections] a")]
        .map(one => one.getAttribute("href")),
    sections: [...document.querySelectorAll("section")]
        .map(one => [one.id, one.querySelector("h2")?.textContent.trim() ?? ""]),
    ids: [...document.querySelectorAll("[id]")].map(one => one.id),
    links: [...document.querySelectorAll("a[href^='#']")].map(one => one.getAttribute("href")),
})"""

UNFOLD = """() => document.querySelectorAll("summary")
    .forEach(one => one.parentElement.open || one.click())"""

WANTED: dict[str, Any] = {
    "lang": lambda facts: facts["lang"] == "en",
    "title": lambda facts: facts["title"],
    "mains": lambda facts: facts["mains"] == 1,
    "navs": lambda facts: facts["navs"] == 1,
    "sections": lambda facts: len(facts["sections"]) >= 1,
}


def findings(page: Page) -> list[str]:
    """What the page lacks of an outline; nothing if it is whole."""
    facts = page.evaluate(FACTS)
    found = [f"`{name}` is `{facts[name]}`" for name, wanted in WANTED.items() if not wanted(facts)]
    ids = Counter(facts["ids"])
    found += [f"{times} elements have the id `{name}`" for name, times in ids.items() if times > 1]
    found += [f"link to {link}, which is nowhere" for link in facts["links"] if link[1:] not in ids]
    found += [f"section `{name}` has no heading" for name, title in facts["sections"] if not title]
    if facts["nav"] != [f"#{name}" for name, _ in facts["sections"]]:
        found.append(f"the links of nav are {facts['nav']}, the sections {facts['sections']}")
    return found


def missing_without_script(visitor: Visitor, path: Path) -> list[str]:
    """What cannot be seen where scripts are off, and controls that would do nothing there."""
    plain = visitor.open(path, Look(script=False)).page
    whole = _seen(visitor.open(path).page)
    found = [
        f"{seen} of {whole[name]} {name}"
        for name, seen in _seen(plain).items()
        if seen != whole[name] or not seen
    ]
    dead = plain.locator("button:visible, input:visible").count()
    return found + ([f"{dead} controls that do nothing"] if dead else [])


def _seen(page: Page) -> dict[str, int]:
    """How much there is to see, with everything unfolded as a reader does it."""
    page.evaluate(UNFOLD)
    names = ("section", "h2", "table.data", "table.data tbody tr", "figure", "figure svg")
    return {name: page.locator(f"{name}:visible").count() for name in names}
