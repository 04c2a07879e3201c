"""The report as Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from analysis.reporting.evidence import Evidence
from analysis.reporting.figures.drawing import Drawing
from analysis.reporting.section import Block, Section
from analysis.reporting.tables import Table, as_markdown, cell, escaped

__all__ = ["TITLE", "render"]

TITLE = "What pruning saved, and whether it is right"


def render(shown: Iterable[tuple[Section, Sequence[Evidence]]]) -> str:
    """One document; wide tables are left to the page and the JSON."""
    parts = [f"# {TITLE}"]
    for section, evidence in shown:
        lead = [f"**{section.lead}**"] if section.lead else []
        lead += [f"{escaped(section.gist)}."] if section.gist else []
        parts += [f"## {section.title}", *lead, *map(escaped, section.paragraphs)]
        parts += [*_shown(section.drawings, section.tables)]
        for block in section.blocks:
            parts += _block(block, alone=len(section.blocks) == 1)
        parts += _evidence(evidence)
    return "\n\n".join(parts) + "\n"


def _block(block: Block, *, alone: bool) -> Iterator[str]:
    if not alone:
        yield f"### {escaped(block.subject)}"
    if block.answers:
        yield "\n".join(
            f"- **{answer.question}** {escaped(answer.text)}" for answer in block.answers
        )
    yield from map(escaped, block.paragraphs)
    yield from _shown(block.drawings, block.tables)


def _shown(drawings: Iterable[Drawing], tables: Iterable[Table]) -> Iterator[str]:
    for drawing in drawings:
        yield escaped(f"![{drawing.title}. {drawing.description}]({drawing.name}.svg)")
    for table in tables:
        if table.wide:
            yield f"_{escaped(table.caption)}: see index.html._"
        else:
            rows = [map(cell, row) for row in table.rows]
            yield f"**{escaped(table.caption)}**\n\n{as_markdown(map(cell, table.headers), rows)}"


def _evidence(found: Sequence[Evidence]) -> Iterator[str]:
    if found:
        yield (
            "Tests and checks: "
            + "; ".join(f"`{entry.name}` ({entry.outcome})" for entry in found)
            + "."
        )
