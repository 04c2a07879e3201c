"""Whether everything fits: the page in its window, a figure or table in its section."""

from playwright.sync_api import Page

__all__ = ["findings"]

# Half a pixel is rounding. A region that scrolls may hold more than it shows, but not on paper.
STICKING = """() => [...document.querySelectorAll("section")].flatMap(section => {
    const outer = section.getBoundingClientRect(), isPaper = matchMedia("print").matches;
    const scrolls = one => one && !isPaper
        && ["auto", "scroll"].includes(getComputedStyle(one).overflowX);
    return [...section.querySelectorAll("figure, svg, table, .scroll, details, p, pre, ul, dl")]
        .filter(one => !scrolls(one.parentElement.closest(".scroll")))
        .map(one => [one, one.getBoundingClientRect()])
        .filter(([one, box]) => box.width
            && (box.right > outer.right + 0.5 || box.left < outer.left - 0.5))
        .map(([one, box]) => `${one.localName}.${one.getAttribute("class")} in ${section.id}: from`
            + ` ${box.left} to ${box.right}, its section from ${outer.left} to ${outer.right}`);
})"""

WIDTHS = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"

# A picture's own edge cuts off what lies beyond it.
CUT = """() => [...document.querySelectorAll("figure svg")].flatMap(svg => {
    const outer = svg.getBoundingClientRect();
    const isCut = box => box.width && (box.left < outer.left - 1 || box.right > outer.right + 1
        || box.top < outer.top - 1 || box.bottom > outer.bottom + 1);
    return [...svg.querySelectorAll("text")].filter(one => isCut(one.getBoundingClientRect()))
        .map(one => `"${one.textContent.trim()}" is cut off by the edge of its picture`);
})"""


def findings(page: Page) -> list[str]:
    """Everything that sticks out or is cut off."""
    whole, seen = page.evaluate(WIDTHS)
    found = [f"the page is {whole} wide in a window of {seen}"] if whole > seen else []
    return found + page.evaluate(STICKING) + page.evaluate(CUT)
