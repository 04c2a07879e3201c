"""The contrast of text in pictures, which axe does not check."""

from playwright.sync_api import Page

__all__ = ["findings"]

# WCAG 2.2, 1.4.3 at level AA; words of 24 pixels and more may be paler.
LEAST, LEAST_OF_LARGE = 4.5, 3.0

# The colour of each word, and what is painted beneath its middle, from the top down.
WORDS = """() => [...document.querySelectorAll("figure svg text")].map(text => {
    const placed = () => text.getBoundingClientRect();
    if (!placed().width) return null;
    if (placed().top < 0 || placed().bottom > innerHeight || placed().right > innerWidth)
        text.scrollIntoView({block: "center", inline: "center"});
    const box = placed();
    const clear = one => Array.from({length: 99}).reduce(
        ([at, left]) => at ? [at.parentElement, left * getComputedStyle(at).opacity] : [at, left],
        [one, 1])[1];
    const paint = (one, name) => [getComputedStyle(one)[name],
        clear(one) * (name === "fill" ? getComputedStyle(one).fillOpacity : 1)];
    const beneath = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2)
        .filter(one => !one.closest("text") && one.localName !== "svg")
        .map(one => paint(one, one.closest("svg") ? "fill" : "backgroundColor"));
    const size = parseFloat(getComputedStyle(text).fontSize) * (text.getScreenCTM()?.a ?? 1);
    return {text: text.textContent.trim(), size, own: paint(text, "fill"), beneath};
}).filter(one => one)"""

# Else shapes that take no part in pointing would not be found.
SOLID = "svg * { pointer-events: visiblePainted !important; }"

Colour = tuple[float, float, float]
Paint = tuple[str, float]
PAPER: Colour = (255, 255, 255)


def findings(page: Page) -> list[str]:
    """Each word of a picture that is too pale on what lies beneath it."""
    page.add_style_tag(content=SOLID)
    words = page.evaluate(WORDS)
    found = [] if words else ["no picture holds a word"]
    for word in words:
        ground = PAPER
        for paint in reversed(word["beneath"]):
            ground = _over(paint, ground)
        ratio = _contrast(_over(word["own"], ground), ground)
        if ratio < (LEAST if word["size"] < 24 else LEAST_OF_LARGE):
            found.append(f"`{word['text']}`: contrast {ratio:.2f}, {word['own']} on {ground}")
    return found


def _over(paint: Paint, ground: Colour) -> Colour:
    """A colour as CSS computes it, and how much of it shows, laid over another."""
    colour, shown = paint
    if not colour.startswith("rgb"):  # none, or a pattern
        return ground
    red, green, blue, *alpha = map(float, colour[colour.index("(") + 1 : -1].split(","))
    share = shown * (alpha[0] if alpha else 1)
    pairs = zip((red, green, blue), ground, strict=True)
    mixed = [share * top + (1 - share) * under for top, under in pairs]
    return mixed[0], mixed[1], mixed[2]


def _contrast(one: Colour, other: Colour) -> float:
    pale, deep = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (pale + 0.05) / (deep + 0.05)


def _luminance(colour: Colour) -> float:
    """WCAG's relative luminance."""
    linear = [
        part / 255 / 12.92 if part <= 0.04045 * 255 else ((part / 255 + 0.055) / 1.055) ** 2.4
        for part in colour
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
