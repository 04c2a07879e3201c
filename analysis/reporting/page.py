"""The report as one self-contained page."""

import re
from collections.abc import Sequence
from dataclasses import replace

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.records import Study, Verdict
from analysis.reporting.evidence import Evidence
from analysis.reporting.figures.drawing import PAPER, THEME, Drawing
from analysis.reporting.markdown import TITLE
from analysis.reporting.section import Section
from analysis.reporting.tables import RUN_HEADERS, Table

__all__ = ["render"]


def render(study: Study, shown: Sequence[tuple[Section, Sequence[Evidence]]]) -> str:
    """The text of ``index.html``: nothing in it is loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("analysis.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": _code, "inline": _inline, "outcome": _outcome, "cell": _cell}
    names = [subject.info.name for subject in study.subjects]
    only = f"{names[0]}: " if len(names) == 1 else ""
    environment.filters["short"] = lambda text: text.removeprefix(only)
    if only:
        shown = [(_of_one(section), found) for section, found in shown]
    return (
        environment.get_template("page.html").render(title=TITLE, names=names, shown=shown) + "\n"
    )


def _of_one(section: Section) -> Section:
    """A section without the columns that name the only network."""
    return replace(section, tables=tuple(map(_nameless, section.tables)))


def _nameless(table: Table) -> Table:
    if table.headers[0] != RUN_HEADERS[0]:
        return table
    return replace(table, headers=table.headers[1:], rows=tuple(row[1:] for row in table.rows))


def _code(text: str) -> Markup:
    """Escape the text, then set parts between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


_FAILING = "|".join(re.escape(verdict) for verdict in Verdict if not verdict.passes)
_FAILED = re.compile(rf"\b(?:[\d,]+ )?failed\b|(?:\d+ )?(?:{_FAILING})|\bworse\b")
_OUTCOMES = re.compile(
    rf"(?:(?:prunings|checks): |[\d,]+ |passed|failed|skipped|expected to fail|{'|'.join(Verdict)}"
    r"|worse|; |, )+"
)


def _outcome(text: str) -> Markup:
    """Text in which failures have their colour, if it is an outcome."""
    if not _OUTCOMES.fullmatch(text):
        return _code(text)
    return Markup(_FAILED.sub(r'<span class="failed">\g<0></span>', str(escape(text))))


_PARTS = re.compile(r"(?<=\w[._/:])(?=\w)")


def _cell(text: str) -> Markup:
    """A cell of a table, whose long names may break at their dots alone."""
    parts = _PARTS.split(text) if len(text) > _SHORT and " " not in text else [text]
    return Markup("<wbr>").join(map(_outcome, parts))


_SHORT = 14


_COLOUR = re.compile("|".join(THEME))
_WIDTH = re.compile(r' width="([\d.]+)pt"')
_WIDEST = 800
"""Points: a wider picture is scrolled, as its words would be too small."""

_GROUP = re.compile(r'id="group:([\d-]+):\d+"')


def _inline(drawing: Drawing) -> Markup:
    """The picture as part of the page: named, in the page's colours, its groups marked."""
    # The ground of the page, with its shadow where a picture scrolls, shows through.
    svg = drawing.svg.replace(f"fill: {PAPER}", "fill: none", 1)
    svg = _COLOUR.sub(lambda found: f"var({THEME[found[0]]})", svg)
    svg = _GROUP.sub(r'data-group="\1"', svg)
    name = escape(drawing.name)
    wide = ' class="wide"' if float(_WIDTH.findall(svg)[0]) > _WIDEST else ""
    label = (
        f'<svg role="img"{wide} aria-labelledby="{name}-title {name}-desc"'
        f"{svg[len('<svg') : svg.index('>') + 1]}"
        f'<title id="{name}-title">{escape(drawing.title)}</title>'
        f'<desc id="{name}-desc">{escape(drawing.description)}</desc>'
    )
    return Markup(label + svg[svg.index(">") + 1 :])
