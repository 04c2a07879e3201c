"""Going through the page without a mouse."""

from playwright.sync_api import Page

__all__ = ["reveal", "shows_focus", "tab_to"]

# Only what holds the element: to press Tab through a page that is all unfolded takes long.
REVEAL = """name => {
    let one = document.querySelector(name);
    while (one = one?.parentElement) if (one.localName === "details") one.open = true;
}"""

# After the last element the focus leaves the page.
FOCUSED = """name => {
    const one = document.activeElement;
    return one === document.body ? "gone" : one.matches(name) ? "there" : "elsewhere";
}"""

RING = """() => {
    const style = getComputedStyle(document.activeElement);
    return style.outlineStyle !== "none" || style.boxShadow !== "none";
}"""


def reveal(page: Page, name: str) -> None:
    """Unfold what holds the first element that matches."""
    page.evaluate(REVEAL, name)


def tab_to(page: Page, name: str) -> bool:
    """Press Tab until an element that matches has the focus; whether one ever has."""
    seen = "elsewhere"
    while seen == "elsewhere":
        page.keyboard.press("Tab")
        seen = page.evaluate(FOCUSED, name)
    return seen == "there"


def shows_focus(page: Page) -> bool:
    return page.evaluate(RING)
