"""The whole report of a study: its page, its Markdown, its data and its pictures."""

from pathlib import Path

from analysis.records import Study
from analysis.reporting import (
    as_json,
    asked,
    costs,
    counters,
    figures,
    files,
    markdown,
    page,
    sections,
    versions,
    zoo,
)

__all__ = ["write_report"]


def write_report(study: Study, directory: str) -> list[Path]:
    """Write ``index.html``, ``report.md``, ``results.json`` and the pictures they show.

    A ``counters.json`` and a ``zoo.json`` that stand in the directory become sections, and so do
    the baselines of other versions under ``versions/`` beside a ``baseline.csv``.

    Every file is made before the first is written, and each replaces its predecessor whole.

    Returns:
        The files written.
    """
    drawn = figures.draw(study)
    content = sections.sections(study, drawn)
    found = [(each, each.read(directory)) for each in (versions, counters, zoo)]
    others = [each.section(data) for each, data in found if data is not None]
    # Before what it was made with.
    content[-1:-1] = [costs.section(study, drawn), asked.section(study), *others]
    made = {
        "index.html": page.render(content),
        "report.md": markdown.render(content),
        "results.json": as_json.dump(as_json.study(study)),
        **{f"{figure.name}.svg": figure.svg for figure in drawn},
    }
    return [files.write_text(f"{directory}/{name}", text) for name, text in made.items()]
