"""Several networks side by side."""

from analysis.records import OWN_PRUNER, Study, SubjectStudy, Verdict, ratio_text
from analysis.reporting.section import Absent, Section
from analysis.reporting.tables import Table, count, input_of, ratio_for, share
from analysis.reporting.words import listed, scoped

__all__ = ["section"]

_TITLE = "The networks side by side"


def section(study: Study) -> Section | Absent:
    """One row a network, under the policy and scope that the report is about."""
    if len(study.subjects) < 2:
        return Absent(_TITLE, "there is one network")
    ratios = sorted(
        {run.config.ratio for subject in study.subjects for run in subject.headline_runs}
    )
    alike = len({subject.headline for subject in study.subjects}) == 1
    how = ("policy", "scope")
    table = Table(
        f"networks compared{_under(study) if alike else ''}",
        (
            "network",
            "input",
            *(() if alike else how),
            "MACs",
            "parameters",
            "verdicts",
            "ratio for half of the MACs",
            *(f"MACs left at {ratio_text(ratio)}" for ratio in ratios),
            *(f"parameters left at {ratio_text(ratio)}" for ratio in ratios),
        ),
        tuple(
            _row(subject, ratios, () if alike else subject.headline) for subject in study.subjects
        ),
    )
    return Section(
        "compared",
        _TITLE,
        tables=(table,),
        tests=("tests/case_study/test_savings.py",),
        gist=_spread(study, ratios[-1:]),
    )


def _under(study: Study) -> str:
    """The policy and the scope that all networks have."""
    policy, scope = study.subjects[0].headline
    return f" under {policy}" + ("" if policy == OWN_PRUNER else f", {scoped(scope)}")


def _spread(study: Study, last: list[float]) -> str:
    """The networks that the greatest ratio saves most and least."""
    gains = [
        (run.macs.share, subject.info.name)
        for subject in study.subjects
        for run in subject.headline_runs
        if [run.config.ratio] == last and run.macs.share is not None
    ]
    if len(gains) < 2:
        return ""
    (least, best), (most, worst) = min(gains), max(gains)
    return (
        f"at {ratio_text(last[0])}, `{best}` keeps {least:.1%} of its MACs and `{worst}` {most:.1%}"
    )


def _row(subject: SubjectStudy, ratios: list[float], how: tuple[str, ...]) -> tuple[str, ...]:
    runs = {run.config.ratio: run for run in subject.headline_runs}
    entry = subject.account(*subject.headline)
    verdicts: list[Verdict] = [run.verification.verdict for run in subject.headline_runs]
    return (
        subject.info.name,
        input_of(subject.info),
        *how,
        count(subject.costs.macs),
        count(subject.costs.params),
        listed(list(dict.fromkeys(verdicts))),
        ratio_for(entry.reach if entry else None),
        *(share(runs[r].macs.share) if r in runs else "-" for r in ratios),
        *(share(runs[r].params.share) if r in runs else "-" for r in ratios),
    )
