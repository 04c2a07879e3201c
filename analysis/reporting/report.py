"""The whole report of a study: its page, its Markdown, its data and its pictures."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.resources import files as package_files
from itertools import count
from pathlib import Path

from analysis.gate.comparison import NamedRun
from analysis.records import Study
from analysis.reporting import as_json, files, markdown, outcomes, page
from analysis.reporting.coupling import coupled
from analysis.reporting.evidence import evidence
from analysis.reporting.figures.drawing import Drawing
from analysis.reporting.section import Absent, Section
from analysis.reporting.sections import (
    accuracy,
    against,
    asked,
    attribution,
    compared,
    cured,
    groups,
    layers,
    made_with,
    mismatch,
    mutants,
    policies,
    proof,
    pruners,
    ranking,
    savings,
    verdict,
    versions,
)
from analysis.reporting.tables import slug

__all__ = ["sections_of", "write_report"]

_SCHEMA = "results.schema.json"


def write_report(
    study: Study, directory: str, before: Iterable[NamedRun] | None = None
) -> list[Path]:
    """Write ``index.html``, ``report.md``, ``results.json`` and the pictures they show.

    The report of the case study also reads its directory: the baselines of other versions, in
    ``versions/``, ``accuracy.json`` and ``pruners.json`` become sections, and ``junit.xml`` gives
    the outcomes of the tests that the sections cite.

    Every file is made before the first is written, and each replaces its predecessor whole.

    Args:
        study: what it says.
        directory: where it goes.
        before: the prunings of an earlier report, whose differences become a section.

    Returns:
        The files written.

    Raises:
        InputError: a file of the directory cannot be read, or none can be written there.
    """
    study = _with_unique_names(study)
    ended = outcomes.read(directory) if study.is_case_study else {}
    shown = [
        (section, evidence(section, study, ended))
        for section in sections_of(study, directory, before)
    ]
    made = {
        "index.html": page.render(study, shown),
        "report.md": markdown.render(shown),
        "results.json": as_json.dump(as_json.study(study)),
        _SCHEMA: package_files("analysis.reporting").joinpath(_SCHEMA).read_text("utf-8"),
        **{f"{drawing.name}.svg": drawing.svg + "\n" for drawing in _drawings(shown)},
    }
    return [files.write_text(f"{directory}/{name}", text) for name, text in made.items()]


def sections_of(
    study: Study, directory: str, before: Iterable[NamedRun] | None = None
) -> list[Section]:
    """The sections in their order; the last one names those that have no data."""
    couplings = [coupled(subject, number) for number, subject in enumerate(study.subjects)]
    found: list[Section | Absent] = [
        verdict.section(study, couplings),
        proof.section(study),
        *([] if before is None else [against.section(study, before)]),
        *cured.sections(study),
        compared.section(study),
        asked.section(study),
        savings.section(study),
        layers.section(study, couplings),
        attribution.section(study, couplings),
        groups.section(study, couplings),
        policies.section(study),
        ranking.section(study),
        mutants.section(study),
        *(_of_the_case_study(study, directory) if study.is_case_study else ()),
    ]
    absent = [each for each in found if isinstance(each, Absent)]
    present = [each for each in found if isinstance(each, Section)]
    return [*present, made_with.section(study, absent)]


def _of_the_case_study(study: Study, directory: str) -> Iterator[Section | Absent]:
    """The sections that only the case study has."""
    yield mismatch.section(study)
    yield accuracy.section(directory)
    yield pruners.section(directory)
    yield versions.section(directory)


def _drawings(shown: Iterable[tuple[Section, object]]) -> Iterator[Drawing]:
    for section, _ in shown:
        yield from section.drawings
        for block in section.blocks:
            yield from block.drawings


def _with_unique_names(study: Study) -> Study:
    """The study with a name of its own for each subject: anchors and files are made of them."""
    seen: set[str] = set()
    subjects = []
    for subject in study.subjects:
        base, names = subject.info.name, count(2)
        name = base
        while slug(name) in seen:
            name = f"{base} ({next(names)})"
        seen.add(slug(name))
        subjects.append(replace(subject, info=replace(subject.info, name=name)))
    return replace(study, subjects=tuple(subjects))
