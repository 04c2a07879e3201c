"""The report as one self-contained page."""

import re
from collections.abc import Iterable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.reporting.markdown import TITLE
from analysis.reporting.sections import Section

__all__ = ["render"]


def render(content: Iterable[Section]) -> str:
    """The text of ``index.html``: nothing in it is loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("analysis.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment.get_template("page.html").render(title=TITLE, sections=list(content)) + "\n"


def _code(text: str) -> Markup:
    """Escape the text, then set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))
