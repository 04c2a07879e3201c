"""The report as one self-contained page."""

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.records import Study
from analysis.reporting.evidence import Evidence
from analysis.reporting.figures.drawing import FILLS, THEME, Drawing
from analysis.reporting.markdown import TITLE
from analysis.reporting.section import Section

__all__ = ["render"]


def render(study: Study, told: Sequence[tuple[Section, Sequence[Evidence]]]) -> str:
    """The text of ``index.html``: nothing in it is loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("analysis.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": _code, "inline": _inline, "fill": _fill}
    names = [subject.info.name for subject in study.subjects]
    return environment.get_template("page.html").render(title=TITLE, names=names, told=told) + "\n"


def _code(text: str) -> Markup:
    """Escape the text, then set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


_COLOUR = re.compile("|".join(THEME))
_WIDTH = re.compile(r' width="([\d.]+)pt"')
_WIDEST = 800
"""Points: a wider picture is scrolled, as its words would be too small."""

_GROUP = re.compile(r'id="group:([\d-]+):\d+"')


def _inline(drawing: Drawing) -> Markup:
    """The picture as part of the page: named, in the page's colours, its groups marked."""
    svg = _COLOUR.sub(lambda found: f"var({THEME[found[0]]})", drawing.svg)
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


def _fill(number: int) -> str:
    """The colour of the group with this number, counted from one."""
    return FILLS[(number - 1) % len(FILLS)]
