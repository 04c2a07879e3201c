"""The text of a picture, for readers who do not see it."""

from playwright.sync_api import Page

__all__ = ["findings", "links_that_show_nothing"]

FACTS = """() => [...document.querySelectorAll("figure")].map((figure, index) => {
    const svg = figure.querySelector("svg[role=img]");
    const named = (svg?.getAttribute("aria-labelledby") ?? "").split(" ")
        .map(id => document.getElementById(id)).filter(one => svg?.contains(one));
    const text = name => named.find(one => one.localName === name)?.textContent.trim() ?? "";
    const tables = [...figure.querySelectorAll("figcaption a[href^='#']")]
        .map(link => document.getElementById(link.getAttribute("href").slice(1)))
        .filter(one => one && (one.matches("table") || one.querySelector("table")));
    const box = svg?.getBoundingClientRect();
    return {
        name: text("title") || `figure ${index}`,
        "an svg with role=img": !!svg,
        "a title": !!text("title"),
        "a description": !!text("desc"),
        "real text": !!svg?.querySelector("text")?.textContent.trim(),
        "a link to its data table": tables.length > 0,
        "a place on the page": !!box && box.width > 0 && box.height > 0,
    };
})"""

# The link itself may be folded away, as its reader has seen to before.
REVEAL = """one => {
    while (one = one.parentElement) if (one.localName === "details") one.open = true;
}"""

STRAYS = "() => document.querySelectorAll('svg:not(figure svg):not([aria-hidden=true])').length"


def findings(page: Page) -> list[str]:
    """Each thing that a picture should have and has not."""
    pictures = page.evaluate(FACTS)
    found = [
        f"{picture['name']}: without {what}"
        for picture in pictures
        for what, there in picture.items()
        if not there
    ]
    if not pictures:
        found.append("no picture on the page")
    if page.evaluate(STRAYS):
        found.append("a picture that is in no figure")
    return found


def links_that_show_nothing(page: Page) -> list[str]:
    """Follow each picture's link: its table must come into view, also where it was folded."""
    found = []
    links = page.locator("figcaption a[href^='#']")
    for link in links.all():
        link.evaluate(REVEAL)
        link.click()
        target = page.locator(f"[id='{(link.get_attribute('href') or '#')[1:]}']")
        if not target.is_visible():
            found.append(f"{link.get_attribute('href')} stays folded")
    if not links.count():
        found.append("no picture links to anything")
    return found
