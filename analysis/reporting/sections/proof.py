"""Every pruning with its verdict and its checks, and how it is proved."""

from collections import Counter
from collections.abc import Iterator

from analysis.records import Run, Study, Verdict
from analysis.reporting.evidence import ended, words_of
from analysis.reporting.section import Section
from analysis.reporting.tables import RUN_HEADERS, Table, bound, run_cells, share

__all__ = ["section"]


def section(study: Study) -> Section:
    """What failed, all prunings, and what the proof compares."""
    judged = [run for _, run in study.judged]
    checks = Counter(ended(check) for run in judged for check in run.checks)
    verdicts = Counter(run.verification.verdict.value for run in judged)
    counted = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    tables = [_failures(study), _all_runs(study)]
    return Section(
        "proof",
        "Every pruning and its proof",
        tuple(_sentences(study)),
        tables=tuple(table for table in tables if table.rows),
        tests=("tests/case_study/test_safe_pruning.py",),
        checks=(
            "equivalent_to_masked",
            "kept_weights_are_originals",
            "forward_runs",
            "output_shape_stays",
            "gradients_reach_parameters",
            "structure_lines_up",
            "everything_exercised",
            "ties_kept",
            "survives_state_dict",
            "survives_pickling",
            "survives_export",
            "survives_onnx",
            "survives_gpu",
        ),
        gist="; ".join(filter(None, [counted, f"checks: {words_of(checks)}" if checks else ""])),
        passed=study.passed,
    )


def _sentences(study: Study) -> Iterator[str]:
    yield (
        "Each pruned network is compared with the masked dense network: the unpruned one with "
        "every removed channel masked where it is read. Both run in float64 on random inputs, with "
        "weights and statistics made distinct, and are lined up operator by operator."
    )
    cut = [run for subject in study.subjects for run in subject.runs if run.config.policy == "none"]
    if cut and study.is_case_study:
        broken = sum(run.verification.verdict is Verdict.BROKEN for run in cut)
        yield (
            f"The policy `none` also cuts the model's outputs: {broken} of its {len(cut)} prunings "
            "change the output's shape and are `broken`, which is expected."
        )


def _failures(study: Study) -> Table:
    rows = [
        (
            *run_cells(subject, run),
            check.name,
            ended(check),
            check.known or check.message,
        )
        for subject, run in study.judged
        for check in run.checks
        if not check.passed
    ]
    return Table(
        "checks that failed, and those that are expected to",
        (*RUN_HEADERS, "check", "outcome", "why"),
        tuple(rows),
    )


def _checks(run: Run) -> str:
    return words_of(Counter(map(ended, run.checks))) or "-"


_UNFOLDED = 16
"""Prunings that are shown at once."""


def _all_runs(study: Study) -> Table:
    runs = study.shown
    return Table(
        "every pruning, its verdict, and what is left",
        (
            *RUN_HEADERS,
            "verdict",
            "rel. error",
            "checks",
            "MACs left",
            "parameters left",
            "why not",
        ),
        tuple(
            (
                *run_cells(subject, run),
                run.verification.verdict,
                bound(run.verification),
                _checks(run),
                share(run.macs.share),
                share(run.params.share),
                run.verification.reason or "-",
            )
            for subject, run in runs
        ),
        wide=len(runs) > _UNFOLDED,
    )
