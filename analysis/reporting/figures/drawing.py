"""How every picture is drawn: one style, and colours that a page may change for dark screens."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "FAILED",
    "FILLS",
    "GONE",
    "INK",
    "LOCKED",
    "MUTED",
    "ORANGE",
    "PAPER",
    "RULE",
    "SERIES",
    "THEME",
    "Drawing",
    "Legend",
    "drawn",
    "in_group",
]

INK, PAPER, RULE, MUTED = "#1b1f24", "#ffffff", "#d8dee4", "#656d76"
BLUE, GREEN, ORANGE, PURPLE = "#0072b2", "#00795c", "#c24e00", "#9b4f85"
FAILED = "#b3261e"
GONE, LOCKED = "#cfe3f1", "#8c959f"
"""Removed parts, and locked ones."""

SERIES = {
    "residual-blocks": BLUE,
    "skip-channels": GREEN,
    "classifier": ORANGE,
}
"""Colours of the policies, after Okabe and Ito's, which colour-blind readers can tell apart; any
other policy is purple."""

FILLS = (
    "#a6cee3", "#fdbf6f", "#b2df8a", "#fb9a99", "#cab2d6", "#ffe58a",
    "#8dd3c7", "#f4b6d2", "#c9c9c9", "#d9b38c", "#9fb8f0", "#d5e88f",
)  # fmt: skip
"""Light fills for groups, with dark numbers on them."""

THEME = {
    INK: "--ink",
    PAPER: "--paper",
    RULE: "--rule",
    MUTED: "--muted",
    BLUE: "--blue",
    GREEN: "--green",
    ORANGE: "--orange",
    PURPLE: "--purple",
    FAILED: "--bad",
    GONE: "--gone",
    LOCKED: "--locked",
}
"""The variable of the page's style for each colour."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold dollars
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "axes.axisbelow": True,
}


@dataclass(frozen=True)
class Legend:
    """A group of a picture that can be highlighted: number, colour, root, description."""

    key: str
    number: int
    fill: str
    root: str
    about: str


@dataclass(frozen=True)
class Drawing:
    """A picture.

    Attributes:
        name: of its file, unique on a page.
        title: what it is.
        description: what it shows, in words.
        svg: its text.
        table: anchor of the table with its numbers.
        legend: groups that can be highlighted.
    """

    name: str
    title: str
    description: str
    svg: str
    table: str
    legend: tuple[Legend, ...] = ()


@contextmanager
def drawn(name: str, size: tuple[float, float]) -> Iterator[tuple[Figure, list[str]]]:
    """An empty figure in the common style; its SVG is appended to the list at the end.

    Args:
        name: makes the ids inside the SVG the same each time and distinct between pictures.
        size: width and height in inches.
    """
    made: list[str] = []
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        yield figure, made
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    made.append(_compact(buffer.getvalue()))


_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_UNUSED_ID = re.compile(r'<g id="(?!group:)[^"]*"')
_BLANK = re.compile(r"\s*\n\s*")
_PLACES = re.compile(r' (?:d|x|y|transform)="[^"]*"')
_USUAL = re.compile(r' transform="rotate\(-0 [^"]*"|text-anchor: start; |; text-anchor: start')
_FAMILY = re.compile(r"font-family: ([^;]+); ")
_DIGITS = re.compile(r"\d+\.\d{3,}")


def _compact(svg: str) -> str:
    """Without what no reader sees, and with the one font of all words said once."""
    text = svg[svg.index("<svg") :]
    for pattern in (_COMMENT, _METADATA):
        text = pattern.sub("", text)
    text = _UNUSED_ID.sub("<g", text)
    text = _PLACES.sub(_rounded, _USUAL.sub("", text))
    if family := _FAMILY.search(text):
        text = _FAMILY.sub("", text).replace("<svg", f'<svg font-family="{family[1]}"', 1)
    return _BLANK.sub("\n", text).strip()


def _rounded(attribute: re.Match[str]) -> str:
    text = " ".join(attribute[0].split())
    return " " + _DIGITS.sub(lambda found: f"{float(found[0]):.2f}", text)


def in_group(artist: Artist, key: str, serial: Iterator[int]) -> None:
    """Mark an artist as part of a group; ``serial`` keeps its id unique in the picture."""
    if key:
        artist.set_gid(f"group:{key}:{next(serial)}")
