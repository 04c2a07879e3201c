"""Faults to plant in a page: the finder, its words, and the change of the page."""

import re
from dataclasses import dataclass

__all__ = ["FAULTS", "Fault"]


@dataclass(frozen=True)
class Fault:
    """One change to a sound page; what is added is at its end, a script after its own."""

    finder: str
    words: str
    added: str = ""
    removed: str = ""

    def plant(self, text: str) -> str:
        less = re.sub(self.removed, "", text, count=1, flags=re.DOTALL) if self.removed else text
        planted = less.replace("</body>", f"{self.added}</body>")
        assert planted != text, "the fault is not in the page"
        return planted


def _script(code: str) -> str:
    return f"<script>{code}</script>"


def _after(event: str, code: str) -> str:
    """Run once the page has answered an event of this kind."""
    return _script(f"document.addEventListener('{event}', event => {{ {code} }})")


def _instead(event: str) -> str:
    """The page never hears of events of this kind."""
    return _script(f"addEventListener('{event}', event => event.stopImmediatePropagation(), true)")


def _style(rules: str) -> str:
    return f"<style>{rules}</style>"


def _without_script(hidden: str) -> str:
    return f"<noscript>{_style(hidden + ' { display: none !important }')}</noscript>"


_TABLE = "const table = event.target.closest('table'), body = table.tBodies[0];"
_BY_TEXT = (
    "const at = event.target.closest('th').cellIndex, text = row => row.cells[at].textContent;"
    "const down = event.target.closest('th').ariaSort === 'descending' ? -1 : 1;"
    "body.append(...[...body.rows].sort((a, b) => text(a) < text(b) ? -down : down))"
)

FAULTS = [
    Fault("first screen", "the picture ends at", _style(".lead { margin-bottom: 6in !important }")),
    Fault("first screen", "there is no verdict", _style(".lead { display: none }")),
    Fault("first screen", "the last answer ends at", _style("dd { min-height: 3in }")),
    Fault("first screen of a phone", "the picture ends at", _style(
        "figure svg { width: 5in !important; max-width: none !important }"
    )),
    Fault("folds", "made-with is unfolded", _script(
        "document.querySelector('#made-with > details').open = true"
    )),
    Fault("folds", "the page is", _style("dd { min-height: 9in }")),
    Fault("wide tables", "wide in a place of", _style("td { min-width: 9in }")),
    Fault("cues", "no shadow shows that there is more", _style(
        ".scroll { background: none !important }"
    )),
    Fault("paper", "a table is not printed", _style(
        "@media print { details::details-content { content-visibility: hidden !important } }"
    )),
    Fault("quiet", "console: planted", _script("console.error('planted')")),
    Fault("quiet", "raises planted", _script("throw new Error('planted')")),
    Fault("quiet", "raises planted", _after("input", "throw new Error('planted')")),
    Fault("quiet", "asks for http://", '<img src="http://example.org/a.png" alt="a">'),
    Fault("quiet", "asks for https://", _style("@import url(https://example.org/a.css)")),
    Fault("quiet", "asks for file:", '<script src="other.js"></script>'),
    Fault("quiet", "asks for https://", _after("click", "fetch('https://example.org/')")),
    Fault("outline", "`lang` is", removed=' lang="en"'),
    Fault("outline", "`title` is", removed=r"(?<=<title>)[^<]+"),
    Fault("outline", "which is nowhere", '<a href="#nowhere">there</a>'),
    Fault("outline", "2 elements have the id", '<i id="twice"></i><i id="twice"></i>'),
    Fault("outline", "has no heading", '<section id="bare"></section>'),
    Fault("outline", "the links of nav", removed=r"(?<=<nav).*?<li>.*?</li>"),
    Fault("script", "section", _without_script("section")),
    Fault("script", "figure svg", _without_script("svg")),
    Fault("script", "1 controls", "<button>does nothing</button>"),
    Fault("pictures", "a description", removed=r"<desc id.*?</desc>"),
    Fault("pictures", "a title", removed=r"<title id.*?</title>"),
    Fault("pictures", "role=img", removed=r' role="img"'),
    Fault("pictures", "a link to its data", removed=r'(?<=<figcaption>)(.*?)<a href="#.*?</a>'),
    Fault("pictures", "real text", _script("document.querySelector('figure').innerHTML = '<svg>'")),
    Fault("pictures", "is in no figure", '<svg viewBox="0 0 1 1"></svg>'),
    Fault("links", "stays folded", _style(".scroll[id] { display: none }")),
    Fault("sorting", "no button", _script("document.querySelector('button.sort').remove()")),
    Fault("sorting", "aria-sort is", _instead("click")),
    Fault("sorting", "ascending: [", _after("click", _TABLE + _BY_TEXT)),
    Fault("sorting", "descending: [", _after("click", _TABLE + _BY_TEXT.replace("-down", "-1"))),
    Fault("sorting", "doubled", _after("click", _TABLE + "body.append(body.rows[0].cloneNode(1))")),
    Fault("sorting", "dash is not last", _after("click", _TABLE + "body.prepend(body.lastChild)")),
    Fault("filtering", "is in 0 rows, left are", _instead("input")),
    Fault("filtering", "long tables", _script("document.querySelector('.filter').remove()")),
    Fault("filtering", "no name", _script(
        "const one = document.querySelector('.filter');"
        "one.removeAttribute('aria-label'); one.placeholder = ''"
    )),
    Fault("filtering", "announced: ", _after(
        "input", "event.target.parentElement.lastChild.textContent = ''"
    )),
    Fault("filtering", "`` is in", _after("input", "event.target.value"
        " || (document.querySelectorAll('tbody tr').forEach(row => row.hidden = true))")),
    Fault("keyboard", "never", _script(
        "document.querySelectorAll('button').forEach(one => one.tabIndex = -1)"
    )),
    Fault("keyboard", "cannot be seen", _style("* { outline: none !important }")),
    Fault("pointed", "nowhere to point at", _style("svg { pointer-events: none }")),
    Fault("pointed", "nothing is lit", _instead("mouseover")),
    Fault("pointed", "is left", _instead("mouseout")),
    Fault("pointed", "elements stray", _after(
        "mouseover", "document.querySelector('h1').classList.add('lit')"
    )),
    Fault("pointed", "elements unlit", _after(
        "mouseover", "document.querySelector('tr.lit')?.classList.remove('lit')"
    )),
    Fault("pointed", "its root is", _after(
        "mouseover", "document.querySelectorAll('.about').forEach(one => one.textContent = '%')"
    )),
    Fault("focused", "nothing is lit", _instead("focusin")),
    Fault("focused", "is left", _instead("focusout")),
    Fault("focused", "is left", _instead("keydown")),
    Fault("focused", "lighting", _after("focusin", "document.body.classList.remove('lighting')")),
    Fault("axe", "color-contrast", '<p style="color: #bbb; background: #fff">pale</p>'),
    Fault("axe", "image-alt", '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'),
    Fault("axe", "button-name", "<button></button>"),
    Fault("axe in the dark", "color-contrast", _style("h2 { color: #333 }")),
    Fault("contrast", "contrast 1.", _style("svg text { fill: #ddd !important }")),
    Fault("contrast", "contrast 1.", _style("svg { opacity: .1 }")),
    Fault("contrast in the dark", "contrast 1.", _style("svg text { fill: #222 !important }")),
    Fault("layout", "the page is 3", '<div style="width: 3000px; height: 1px"></div>'),
    Fault("layout", "figure.", _style("html { overflow: hidden } figure { margin-right: -9in }")),
    Fault("layout", "is cut off", _style("svg text { transform: translateY(-30cm) }")),
    Fault("layout of a phone", "the page is", _style("p { min-width: 500px }")),
    Fault("layout of paper", "table.data", _style("@media print { table { min-width: 9in } }")),
    Fault("layout of paper", "table.data", _style(
        "@media print { .scroll { overflow: auto !important } table { min-width: 9in } }"
    )),
]  # fmt: skip
