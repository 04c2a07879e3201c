"""Records to files: the report's pages and data. Imports no torch."""

from pathlib import Path

from analysis.records import Study
from analysis.reporting import as_json, figures, files, markdown, page, sections, zoo

__all__ = ["write_report"]


def write_report(study: Study, directory: str) -> list[Path]:
    """Write ``index.html``, ``report.md``, ``results.json`` and the pictures they show.

    A ``zoo.json`` that stands in the directory becomes a section of the report.

    Every file is made before the first is written, and each replaces its predecessor whole.

    Returns:
        The files written.
    """
    drawn = figures.draw(study)
    content = sections.sections(study, drawn)
    models = zoo.read(directory)
    if models is not None:
        content.insert(-1, zoo.section(models))  # before what it was made with
    made = {
        "index.html": page.render(content),
        "report.md": markdown.render(content),
        "results.json": as_json.dump(as_json.study(study)),
        **{f"{figure.name}.svg": figure.svg for figure in drawn},
    }
    return [files.write_text(f"{directory}/{name}", text) for name, text in made.items()]
