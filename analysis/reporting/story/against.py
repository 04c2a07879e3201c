"""What changed since an earlier report."""

from collections.abc import Iterable

from analysis.gate.comparison import Change, NamedRun, compared
from analysis.records import Study
from analysis.reporting import diff
from analysis.reporting.section import Absent, Section
from analysis.reporting.tables import Table

__all__ = ["section"]

_TITLE = "Changes since the earlier report"


def section(study: Study, before: Iterable[NamedRun] | None) -> Section | Absent:
    """Each pruning that is not as it was, the regressions first.

    Args:
        study: the later report.
        before: the prunings of the earlier one; None where none was given.
    """
    if before is None:
        return Absent(_TITLE, "no earlier report was given (`--against`)")
    after = [(subject.info.name, run) for subject in study.subjects for run in subject.runs]
    changes = compared(before, after)
    rows = tuple((str(each.change), *diff.cells(each)[1:]) for each in changes)
    table = Table("prunings that changed", ("change", *diff.HEADERS[1:]), rows)
    return Section(
        "against",
        _TITLE,
        (f"{diff.summary(changes)}.",),
        tables=(table,) if changes else (),
        passed=not any(each.change is Change.WORSE for each in changes),
    )
