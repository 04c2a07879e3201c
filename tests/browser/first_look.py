"""The page before anything is scrolled or unfolded."""

from playwright.sync_api import Page

__all__ = ["findings", "folds", "not_printed", "wide_tables"]

# A screen of a laptop, and of a phone.
SCREENS = ((1280, 800), (390, 844))

# The page is read in a minute: it is no longer than this many screens of a laptop.
MOST = 3

SEEN = """names => Object.entries(names).flatMap(([what, name]) => {
    const found = [...document.querySelectorAll(name)];
    const box = found[0]?.getBoundingClientRect();
    if (!box?.width) return [`there is no ${what}`];
    const isSeen = box.top >= 0 && box.left >= 0
        && box.bottom <= innerHeight && box.right <= innerWidth;
    return isSeen ? [] : [`the ${what} ends at ${box.right}, ${box.bottom}`];
})"""

WIDE = """() => [...document.querySelectorAll("table.data")].flatMap(table => {
    const width = table.getBoundingClientRect().width, place = table.closest(".scroll").clientWidth;
    return width > place + 0.5
        ? [`"${table.caption.textContent.trim()}" is ${width} wide in a place of ${place}`] : [];
})"""

OPEN = """() => [...document.querySelectorAll("section > details")]
    .map(one => [one.parentElement.id, one.open, one.querySelectorAll(".failed").length > 0])"""

HIDDEN = """() => [...document.querySelectorAll("table.data, figure")]
    .filter(one => !one.checkVisibility() || !one.getBoundingClientRect().height)
    .map(one => `a ${one.localName} is not printed`)"""


def findings(page: Page) -> list[str]:
    """What of the verdict and the picture is not on the first screen, or does not fit on it."""
    names = {"verdict": ".lead", "picture": "figure.headline svg"}
    if page.viewport_size and page.viewport_size["width"] >= SCREENS[0][0]:
        names["last answer"] = ".answers > :last-child"
    return page.evaluate(SEEN, names)


def wide_tables(page: Page) -> list[str]:
    """Tables of which a column is out of sight."""
    return page.evaluate(WIDE)


def folds(page: Page) -> list[str]:
    """What is unfolded though nothing in it failed, or makes the page long."""
    found = [f"{name} is unfolded" for name, is_open, failed in page.evaluate(OPEN)
             if is_open and not failed]  # fmt: skip
    height = page.evaluate("document.documentElement.scrollHeight")
    most = MOST * SCREENS[0][1]
    return found + ([f"the page is {height} high, over {most}"] if height > most else [])


def not_printed(page: Page) -> list[str]:
    """Folded parts that would be missing on paper."""
    return page.evaluate(HIDDEN)
