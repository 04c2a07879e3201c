"""Versions, seeds, commands, and what was not measured."""

from collections.abc import Iterable

from analysis.records import Study
from analysis.reporting.section import Absent, Section
from analysis.reporting.tables import Table, input_of

__all__ = ["section"]

_ELSEWHERE = (
    "byte, on the same kind of processor; on another, two channels of nearly equal rank may change "
    "places."
)
_MORE = (
    "More results have pages in the documentation (`tox run -e docs`): every model of torchvision, "
    "networks of other packages, counters compared, and printed figures."
)


def section(study: Study, absent: Iterable[Absent]) -> Section:
    """How to make the report again, and its gaps."""
    left_out = Table(
        "sections that have no data",
        ("section", "why it is left out"),
        tuple((entry.title, entry.why) for entry in absent),
    )
    networks = Table(
        "networks",
        ("network", "input", "weights", "seed"),
        tuple(
            (
                subject.info.name,
                input_of(subject.info),
                subject.info.weights,
                str(subject.info.seed),
            )
            for subject in study.subjects
        ),
    )
    tables = [networks, Table("versions", ("package", "version"), study.versions), left_out]
    return Section(
        "made-with",
        "How this report was made, and its limits",
        (
            f"Made by `{study.command}`. On the same versions the command makes it again, byte for "
            + ("byte, whatever the processor." if study.is_case_study else _ELSEWHERE),
            "Not measured: time (MACs are not time), memory of activations"
            + ("" if study.is_case_study else ", accuracy (no network is trained here)")
            + ". Not counted as MACs: activations, bias and residual additions, for "
            "which fvcore has no rule.",
            "`results.json` beside this page holds the measurements of every pruning; "
            "`results.schema.json` says what each field means. `report.md` is this page as "
            "Markdown.",
            *([_MORE] if study.is_case_study else []),
        ),
        tables=tuple(table for table in tables if table.rows),
        gist=f"`{study.command}`",
        tests=("tests/unit/test_environment.py",),
    )
