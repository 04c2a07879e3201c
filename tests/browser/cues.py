"""Whether a region that scrolls shows that there is more to the right."""

import base64

from playwright.sync_api import Locator, Page

__all__ = ["findings"]

# The height of the strip that is looked at, and how much darker a shadow makes it, of 255.
HEIGHT, LEAST = 40, 15

# The first tables and pictures that hide more than the padding of a cell: all have one style.
PICK = """regions => [...document.querySelectorAll(regions)]
    .map((one, place) => [one, place])
    .filter(([one]) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 12)
    .reduce(([tables, pictures], [one, place]) => one.querySelector("svg")
        ? [tables, [...pictures, place]] : [[...tables, place], pictures], [[], []])
    .flatMap(places => places.slice(0, 2))"""

# A page that is unfolded as a whole is slow to picture.
REVEAL = """one => document.querySelectorAll("details")
    .forEach(each => each.open = each.contains(one))"""

# The strip's lightest pixel: the ground between letters and rules.
LIGHTEST = """async png => {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height), brush = canvas.getContext("2d");
    brush.drawImage(image, 0, 0);
    const {data} = brush.getImageData(0, 0, image.width, image.height);
    let most = 0;
    for (let at = 0; at < data.length; at += 4) most = Math.max(most, data[at + 1]);
    return most;
}"""


def findings(page: Page, regions: str) -> list[str]:
    """Regions of an unfolded page whose right edge shows no shadow before they are scrolled."""
    found = []
    for place in page.evaluate(PICK, regions):
        region = page.locator(regions).nth(place)
        region.evaluate(REVEAL)
        region.scroll_into_view_if_needed()
        more = _edge(region, "one => one.scrollLeft = 0")
        end = _edge(region, "one => one.scrollLeft = one.scrollWidth")
        if more > end - LEAST:
            text = region.inner_text().strip()[:60]
            found.append(f"no shadow shows that there is more: {text}")
    return found


def _edge(region: Locator, scroll: str) -> int:
    """How light the ground is at the right edge of a region that is scrolled first."""
    region.evaluate(scroll)
    box, window = region.bounding_box(), region.page.viewport_size
    assert box
    assert window
    # The middle of what is seen of the region: a bar of the page may cover its top.
    top, bottom = max(box["y"], 0), min(box["y"] + box["height"], window["height"])
    height = min(HEIGHT, bottom - top)
    picture = region.page.screenshot(
        clip={
            "x": box["x"] + box["width"] - 3,
            "y": (top + bottom - height) / 2,
            "width": 2,
            "height": height,
        }
    )
    return region.page.evaluate(LIGHTEST, base64.b64encode(picture).decode())
