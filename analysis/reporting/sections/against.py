"""What changed since an earlier report."""

from collections.abc import Iterable

from analysis.gate.comparison import Change, NamedRun, compared
from analysis.records import Study
from analysis.reporting import diff
from analysis.reporting.section import Section
from analysis.reporting.tables import Table

__all__ = ["section"]


def section(study: Study, before: Iterable[NamedRun]) -> Section:
    """Each pruning that is not as it was, the regressions first.

    Args:
        study: the later report.
        before: the prunings of the earlier one.
    """
    after = [(subject.info.name, run) for subject in study.subjects for run in subject.runs]
    changes = compared(before, after)
    rows = tuple((str(each.change), *diff.cells(each)[1:]) for each in changes)
    table = Table("prunings that changed", ("change", *diff.HEADERS[1:]), rows)
    return Section(
        "against",
        "Changes since the earlier report",
        tables=(table,) if changes else (),
        gist=diff.summary(changes),
        passed=not any(each.change is Change.WORSE for each in changes),
    )
