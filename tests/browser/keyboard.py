"""Going through the page without a mouse."""

from playwright.sync_api import Page

__all__ = ["shows_focus", "tab_to"]

# After the last element the focus leaves the page.
FOCUSED = """name => {
    const one = document.activeElement;
    return one === document.body ? "gone" : one.matches(name) ? "there" : "elsewhere";
}"""

RING = """() => {
    const style = getComputedStyle(document.activeElement);
    return style.outlineStyle !== "none" || style.boxShadow !== "none";
}"""


def tab_to(page: Page, name: str) -> bool:
    """Press Tab until an element that matches has the focus; whether one ever has."""
    seen = "elsewhere"
    while seen == "elsewhere":
        page.keyboard.press("Tab")
        seen = page.evaluate(FOCUSED, name)
    return seen == "there"


def shows_focus(page: Page) -> bool:
    return page.evaluate(RING)
