"""Right prunings in place of those that are not."""

from collections.abc import Iterator

from analysis.records import Run, Study, SubjectStudy
from analysis.reporting.section import Section
from analysis.reporting.tables import RUN_HEADERS, Table, left, run_cells

__all__ = ["sections"]


def sections(study: Study) -> Iterator[Section]:
    """Prunings that are not right, each beside the same pruning by groups; if there are any."""
    pairs = [pair for subject in study.subjects for pair in _pairs(subject)]
    if not pairs:
        return
    proved = sum(cured.verification.verdict.passes for _, _, cured in pairs)
    yield Section(
        "cured",
        "A pruning that is right",
        (
            "The same ratios, pruned by groups: the sets of channels that are removed together are "
            "ranked. `pruning-analysis prune` makes, proves and saves these networks.",
        ),
        tables=(_table(pairs), *_attributes(pairs)),
        tests=("tests/unit/test_pruned.py",),
        gist=f"{proved} of {len(pairs)} that are not right are right when pruned by groups",
    )


_Pair = tuple[SubjectStudy, Run, Run]


def _pairs(subject: SubjectStudy) -> Iterator[_Pair]:
    for cured in subject.cured:
        own = next(run for run in subject.headline_runs if run.config.ratio == cured.config.ratio)
        yield subject, own, cured


def _table(pairs: list[_Pair]) -> Table:
    return Table(
        "prunings that are not right, and the same by groups",
        (*RUN_HEADERS, "verdict", "by groups", "MACs left", "parameters left", "reason"),
        tuple(
            (
                *run_cells(subject, own),
                own.verification.verdict,
                cured.verification.verdict,
                left(cured.macs),
                left(cured.params),
                cured.verification.reason or "-",
            )
            for subject, own, cured in pairs
        ),
    )


def _attributes(pairs: list[_Pair]) -> Iterator[Table]:
    rows = tuple(
        (
            *run_cells(subject, cured),
            each.module or "the model",
            each.name,
            str(each.before),
            str(each.after),
        )
        for subject, _, cured in pairs
        for each in cured.verification.attributes
    )
    if rows:
        yield Table(
            "numbers that modules keep of a size, and that were set",
            (*RUN_HEADERS, "module", "attribute", "before", "after"),
            rows,
            wide=True,
        )
