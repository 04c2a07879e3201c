"""Several networks side by side."""

from analysis.records import Study, SubjectStudy, Verdict
from analysis.reporting.section import Absent, Section
from analysis.reporting.tables import Table, count, input_of, ratio_for, share
from analysis.reporting.words import listed

__all__ = ["section"]

_TITLE = "The networks side by side"


def section(study: Study) -> Section | Absent:
    """One row a network, under the policy and scope that the report is about."""
    if len(study.subjects) < 2:
        return Absent(_TITLE, "there is one network")
    ratios = sorted(
        {run.config.ratio for subject in study.subjects for run in subject.headline_runs}
    )
    table = Table(
        "networks compared",
        (
            "network",
            "input",
            "policy",
            "scope",
            "MACs",
            "parameters",
            "groups",
            "verdicts",
            "ratio for half of the MACs",
            *(f"MACs left at {ratio:g}" for ratio in ratios),
            *(f"parameters left at {ratio:g}" for ratio in ratios),
        ),
        tuple(_row(subject, ratios) for subject in study.subjects),
    )
    return Section(
        "compared",
        _TITLE,
        tables=(table,),
        tests=("tests/case_study/test_savings.py",),
        gist=_spread(study, ratios[-1:]),
    )


def _spread(study: Study, last: list[float]) -> str:
    """Who gains most and least from the greatest ratio."""
    gains = [
        (run.macs.share, subject.info.name)
        for subject in study.subjects
        for run in subject.headline_runs
        if [run.config.ratio] == last and run.macs.share is not None
    ]
    if len(gains) < 2:
        return ""
    (least, best), (most, worst) = min(gains), max(gains)
    return f"at {last[0]:g}, `{best}` keeps {least:.1%} of its MACs and `{worst}` {most:.1%}"


def _row(subject: SubjectStudy, ratios: list[float]) -> tuple[str, ...]:
    runs = {run.config.ratio: run for run in subject.headline_runs}
    entry = subject.account(*subject.headline)
    verdicts: list[Verdict] = [run.verification.verdict for run in subject.headline_runs]
    return (
        subject.info.name,
        input_of(subject.info),
        *subject.headline,
        count(subject.costs.macs),
        count(subject.costs.params),
        count(len(subject.groups)) if subject.groups else "-",
        listed(list(dict.fromkeys(verdicts))),
        ratio_for(entry.reach if entry else None),
        *(share(runs[r].macs.share) if r in runs else "-" for r in ratios),
        *(share(runs[r].params.share) if r in runs else "-" for r in ratios),
    )
