"""The report as Markdown."""

from collections.abc import Iterable

from analysis.reporting.sections import Section
from analysis.reporting.tables import as_markdown

__all__ = ["TITLE", "render"]

TITLE = "What pruning bought, and the proof that it is right"


def render(content: Iterable[Section]) -> str:
    """One document; wide tables are left to the page and the JSON."""
    return "\n\n".join([f"# {TITLE}", *(_section(section) for section in content)]) + "\n"


def _section(section: Section) -> str:
    parts = [f"## {section.title}", *section.paragraphs]
    parts += [f"![{drawing.description}]({drawing.name}.svg)" for drawing in section.drawings]
    for table in section.tables:
        if table.wide:
            parts.append(f"_{table.caption}: see index.html._")
        else:
            parts.append(f"**{table.caption}**\n\n{as_markdown(table.headers, table.rows)}")
    if section.tests:
        parts.append(f"Asserted by `{section.tests}`.")
    return "\n\n".join(parts)
